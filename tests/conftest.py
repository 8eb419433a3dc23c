"""Fixtures shared by all tests."""

import keras
import numpy as np
import pytest

BACKEND = keras.backend.backend()


@pytest.fixture(autouse=True)
def _fresh():
    keras.utils.set_random_seed(0)
    yield
    keras.backend.clear_session(free_memory=False)


@pytest.fixture
def float64():
    """Everything in double precision, in which Nengo itself computes."""
    keras.config.set_floatx("float64")
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float64")
    if BACKEND == "jax":
        import jax

        jax.config.update("jax_enable_x64", True)
    yield np.float64
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy(policy)
    if BACKEND == "jax":
        jax.config.update("jax_enable_x64", False)
