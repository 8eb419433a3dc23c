"""Each surrogate is the derivative of what it says it is."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_spiking_nengo as ksn
from keras_spiking_nengo import surrogates
from tests.gradients import gradient

SURROGATES = [
    surrogates.SoftLIF(0.2),
    surrogates.Arctan(0.5),
    surrogates.FastSigmoid(0.3),
    surrogates.Triangle(0.7),
    surrogates.StraightThrough(2.0),
]
X = np.linspace(-1.5, 1.5, 41)


def test_every_surrogate_has_a_case():
    every = {getattr(surrogates, name) for name in surrogates.__all__}
    every = {c for c in every if isinstance(c, type)}
    assert every - {surrogates.Surrogate} == {type(s) for s in SURROGATES}


@pytest.mark.parametrize("surrogate", SURROGATES, ids=repr)
def test_gradient_is_the_derivative_of_smooth(surrogate, float64):
    h = 1e-3  # XLA's arctan is good to single precision only

    def smooth(x):
        return ops.convert_to_numpy(surrogate.smooth(ops.convert_to_tensor(x)))

    x = X + 0.02  # off the kinks of the piecewise ones
    numerical = (smooth(x + h) - smooth(x - h)) / (2 * h)
    analytic = ops.convert_to_numpy(surrogate.gradient(ops.convert_to_tensor(x)))
    np.testing.assert_allclose(analytic, numerical, rtol=1e-3, atol=3e-4)


@pytest.mark.parametrize("surrogate", SURROGATES, ids=repr)
def test_spike_is_a_step_with_that_gradient(surrogate):
    spikes, slope = gradient(surrogate.spike, X.astype("float32"))
    np.testing.assert_array_equal(spikes, X > 0)
    expected = surrogate.gradient(ops.convert_to_tensor(X.astype("float32")))
    np.testing.assert_allclose(slope, ops.convert_to_numpy(expected), rtol=1e-5)
    inline, inline_slope = gradient(surrogate.inline().spike, X.astype("float32"))
    np.testing.assert_array_equal(inline, spikes)
    np.testing.assert_allclose(inline_slope, slope, rtol=1e-5)
    plain = surrogate.plain()
    x = ops.convert_to_tensor(X.astype("float32"))
    np.testing.assert_array_equal(ops.convert_to_numpy(plain.spike(x)), spikes)


@pytest.mark.parametrize("surrogate", SURROGATES, ids=repr)
def test_counts_are_differentiated_about_the_nearest_threshold(surrogate):
    x = np.array([-2.3, -0.9, 0.2, 0.9, 1.1, 2.6], "float32")

    def at(d):
        d = ops.convert_to_tensor(np.array(d, "float32"))
        return ops.convert_to_numpy(surrogate.gradient(d))

    count, slope = gradient(surrogate.trunc, x)
    np.testing.assert_array_equal(count, [-2, 0, 0, 0, 1, 2])
    distance = [0.3, -0.1, -0.8, -0.1, 0.1, -0.4]
    np.testing.assert_allclose(slope, at(distance), rtol=1e-4)
    count, slope = gradient(surrogate.floor, x)
    np.testing.assert_array_equal(count, [-3, -1, 0, 0, 1, 2])
    distance = [-0.3, 0.1, 0.2, -0.1, 0.1, -0.4]
    np.testing.assert_allclose(slope, at(distance), rtol=1e-4)


@pytest.mark.parametrize("surrogate", SURROGATES, ids=repr)
def test_serialisation(surrogate):
    config = keras.saving.serialize_keras_object(surrogate)
    assert keras.saving.deserialize_keras_object(config) == surrogate


def test_bad_input():
    with pytest.raises(ValueError, match="Unknown surrogate 'nope'.*'arctan'"):
        ksn.layers.Neurons("lif", surrogate="nope")
    with pytest.raises(ValueError, match="width of .* is above 0.*-1"):
        surrogates.Arctan(-1)
