"""Fixtures shared by all tests."""

from zlib import crc32

import keras
import numpy as np
import pytest

BACKEND = keras.backend.backend()
# Backends of the default tests that take turns.
TURNS = ("tensorflow", "jax")


def pytest_configure(config):
    """Let JAX keep what it compiled: many tests compile the same."""
    if BACKEND == "jax" and config.cache is not None:
        import jax

        jax.config.update("jax_compilation_cache_dir", str(config.cache.mkdir("jax")))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)


@pytest.hookimpl(tryfirst=True)  # before slow tests are left out
def pytest_collection_modifyitems(items):
    """Tests that take turns are default ones on one backend, as their names have it."""
    for item in items:
        named = item.get_closest_marker("takes_turns") and BACKEND in TURNS
        if named and not item.get_closest_marker("slow_on_jax"):
            turn = TURNS[crc32(item.nodeid.encode()) % len(TURNS)]
            if turn != BACKEND:
                item.add_marker(pytest.mark.slow)


@pytest.fixture(autouse=True)
def _fresh():
    keras.utils.set_random_seed(0)
    yield
    keras.backend.clear_session(free_memory=False)


@pytest.fixture
def traced(monkeypatch):
    """Programs whose sequences are traced, one entry for each time."""
    from keras_spiking_nengo.engine import Program

    programs, sequence = [], Program.sequence

    def noted(self, *args, **kwargs):
        programs.append(self)
        return sequence(self, *args, **kwargs)

    monkeypatch.setattr(Program, "sequence", noted)
    return programs


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
