"""Marks that say which tests are not among the default ones."""

import pytest

from tests.conftest import BACKEND

# What JAX compiles for longer than all else takes, and TensorFlow tests by default.
SLOW_ON_JAX = [pytest.mark.slow] if BACKEND == "jax" else []
