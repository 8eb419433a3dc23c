"""The random numbers are random, and the same everywhere."""

import numpy as np
import pytest
from keras import ops

from keras_spiking_nengo.dynamics import random

pytestmark = pytest.mark.torch


def draws(n_streams, n_draws):
    rng = np.random.RandomState(0)
    keys = rng.randint(random.MAX_KEY, size=n_streams).astype("int32")
    state = [ops.convert_to_tensor(keys), ops.zeros((n_streams,), dtype="int32")]
    numbers = []
    for _ in range(n_draws):
        u, state = random.uniform(state, "float32")
        numbers.append(ops.convert_to_numpy(u))
    return np.array(numbers)


def test_uniform_and_independent():
    u = draws(2000, 50)
    assert u.min() > 0 and u.max() < 1
    counts, _ = np.histogram(u, bins=64, range=(0, 1))
    expected = u.size / 64
    chi_squared = np.sum((counts - expected) ** 2 / expected)
    assert chi_squared < 64 + 6 * np.sqrt(2 * 64)
    in_time = np.corrcoef(u[:-1].ravel(), u[1:].ravel())[0, 1]
    in_space = np.corrcoef(u[:, :-1].ravel(), u[:, 1:].ravel())[0, 1]
    assert abs(in_time) < 0.02 and abs(in_space) < 0.02


def test_equal_on_every_backend():
    # Written down once from TensorFlow: a change would change saved results.
    expected = [[0.317118, 0.766035, 0.706169, 0.912157]]
    expected += [[0.891487, 0.013877, 0.78903, 0.064686]]
    np.testing.assert_allclose(draws(4, 2), expected, atol=1e-6)


@pytest.mark.parametrize("mean", [0.0, 0.1, 3.0, 60.0, 200.0])
def test_poisson_has_equal_mean_and_variance(mean):
    keys = np.random.RandomState(1).randint(random.MAX_KEY, size=40000).astype("int32")
    state = [ops.convert_to_tensor(keys), ops.zeros((40000,), dtype="int32")]
    means = ops.full((40000,), mean, dtype="float32")
    counts, _ = random.poisson(means, state)
    counts = ops.convert_to_numpy(counts)
    assert np.array_equal(counts, np.round(counts)) and counts.min() >= 0
    deviation = np.sqrt(mean / 40000) + 1e-9
    assert abs(counts.mean() - mean) < 5 * deviation
    np.testing.assert_allclose(counts.var(), mean, rtol=0.05)


def test_nan_means_do_not_hang():
    state = [ops.zeros((2,), dtype="int32"), ops.zeros((2,), dtype="int32")]
    mean = ops.convert_to_tensor(np.array([np.nan, 1e30], "float32"))
    counts, _ = random.poisson(mean, state)
    assert np.isfinite(ops.convert_to_numpy(counts)[1])
