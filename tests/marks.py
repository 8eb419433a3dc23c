"""Marks that say which tests are not among the default ones."""

import pytest

from tests.conftest import BACKEND

# What JAX compiles for longer than all else takes, and TensorFlow tests by default.
SLOW_ON_JAX = [pytest.mark.slow if BACKEND == "jax" else pytest.mark.slow_on_jax]

# Tests whose meaning does not depend on the backend, but which take long: each is among
# the default ones on TensorFlow or on JAX (tests/conftest.py). `nox -s slow` has both.
TAKES_TURNS = [pytest.mark.takes_turns]


def slow_on_jax(test):
    """`test`, which is not among the default ones on JAX."""
    return SLOW_ON_JAX[0](test)


def quick(names, chosen):
    """All of the names; those not chosen are not among the default tests."""
    slow = pytest.mark.slow
    return [n if n in chosen else pytest.param(n, marks=slow) for n in names]


def some_on_jax(names, chosen):
    """All of the names; on JAX only those chosen are among the default tests."""
    return [n if n in chosen else pytest.param(n, marks=SLOW_ON_JAX) for n in names]
