"""Fixtures shared by all tests."""

import keras
import numpy as np
import pytest

BACKEND = keras.backend.backend()


def pytest_configure(config):
    """Let JAX keep what it compiled: many tests compile the same."""
    if BACKEND == "jax" and config.cache is not None:
        import jax

        jax.config.update("jax_compilation_cache_dir", str(config.cache.mkdir("jax")))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)


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
