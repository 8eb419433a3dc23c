"""Arrays to compute with, and how those are compared that come out."""

import keras
import numpy as np
from keras import ops


def numpy(structure):
    """All tensors of a structure as arrays."""
    return keras.tree.map_structure(ops.convert_to_numpy, structure)


def frames(*shape, seed=0):
    """Numbers between -1 and 1."""
    return np.random.RandomState(seed).uniform(-1, 1, size=shape)


def run(layer, x, **kwargs):
    """What a layer makes of an array, as arrays."""
    return numpy(layer(ops.convert_to_tensor(x), **kwargs))


def difference(actual, expected):
    """Largest difference, in parts of the range of what is expected."""
    assert actual.shape == expected.shape
    scale = np.max(np.abs(expected), initial=0)
    return np.max(np.abs(actual - expected), initial=0) / (scale or 1)


def assert_near(actual, expected, tolerance):
    """Equal to `tolerance` parts of the largest value, or of one if all are less."""
    assert actual.shape == expected.shape
    scale = max(np.max(np.abs(expected), initial=0), 1)
    np.testing.assert_allclose(actual / scale, expected / scale, atol=tolerance)
