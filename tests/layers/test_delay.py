"""Signals as they were some time ago."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_spiking_nengo as ksn

X = np.random.RandomState(0).uniform(-1, 1, (2, 12, 2, 3)).astype("float32")
DELAYS = {
    "one": np.array(0.003),
    "none": np.array(0.0),
    "longer than the data": np.array(0.02),
    "each": np.array([[0.0, 0.001, 0.002], [0.003, 0.002, 0.0]]),
}


@pytest.mark.parametrize("name", DELAYS)
def test_each_element_comes_later(name):
    delay = DELAYS[name]
    steps = np.broadcast_to(np.rint(delay * 1000).astype(int), (2, 3))
    expected = np.zeros_like(X)
    for where, step in np.ndenumerate(steps):
        expected[:, step:, *where] = X[:, : max(12 - step, 0), *where]
    layer = ksn.layers.Delay(delay, return_sequences=True)
    looped = keras.layers.RNN(ksn.layers.DelayCell(delay), return_sequences=True)
    np.testing.assert_array_equal(ops.convert_to_numpy(layer(X)), expected)
    np.testing.assert_array_equal(ops.convert_to_numpy(looped(X)), expected)


@pytest.mark.parametrize("delay", [-0.001, np.nan, np.inf, "long", [], 0.0015])
def test_refuses_what_is_no_delay(delay):
    with pytest.raises(ValueError, match=r"delay is a .* received"):
        ksn.layers.Delay(delay)


def test_refuses_delays_of_another_shape():
    layer = ksn.layers.Delay([0.001, 0.002], return_sequences=True)
    with pytest.raises(ValueError, match="does not fit the features"):
        layer(X)
