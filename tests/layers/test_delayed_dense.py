"""Weights with delays that are trained: beside their formula, in NumPy."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_spiking_nengo as ksn
from tests.arrays import numpy
from tests.conftest import BACKEND
from tests.gradients import gradient
from tests.marks import TAKES_TURNS

pytestmark = TAKES_TURNS

X = np.random.RandomState(0).uniform(-1, 1, (2, 12, 3))
PLACES = ("synapse", "axon", "dendrite")
LONGEST, DT = 4, 0.002


def layer_with_delays(per, dtype="float64", **arguments):
    layer = ksn.layers.DelayedDense(
        *(5, LONGEST * DT, DT, per),
        bias_initializer="random_normal",
        return_sequences=True,
        dtype=dtype,
        **arguments,
    )
    layer.build((None, None, 3))
    return layer


def expected(x, kernel, share, sigma, bias):
    """A loop over steps, delays and synapses."""
    batch, n_steps, size = x.shape
    y = np.zeros((batch, n_steps, kernel.shape[1])) + bias
    for i, j in np.ndindex(*kernel.shape):
        delay = LONGEST * share[i, j]
        if sigma == 0:
            filters = [float(k == np.rint(delay)) for k in range(LONGEST + 1)]
        else:
            width = sigma / DT
            filters = [np.exp(-0.5 * ((k - delay) / width) ** 2) for k in range(5)]
        for k in range(LONGEST + 1):
            weight = kernel[i, j] * filters[k] / np.sum(filters)
            y[:, k:, j] += weight * x[:, : n_steps - k, i]
    return y


def numbers_of(layer):
    """Kernel, shares as those of synapses, width and bias."""
    cell = layer.cell
    share = numpy(cell.delays.share)
    share = share[:, None] if cell.per == "axon" else share
    kernel = numpy(cell.kernel)
    share = np.broadcast_to(share, kernel.shape)
    return kernel, share, float(numpy(cell.delays.sigma)), numpy(cell.bias)


# Keras's products are of single precision on torch, whatever they are of.
NEAR = 1e-6 if BACKEND == "torch" else 1e-12


@pytest.mark.torch
@pytest.mark.parametrize("sigma", [None, 0.001, 0.0])
@pytest.mark.parametrize("per", PLACES)
def test_is_its_formula(per, sigma, float64):
    layer = layer_with_delays(per)
    if sigma == 0:
        layer.round_delays()
    elif sigma:
        layer.cell.delays.narrow(sigma)
    y = expected(X, *numbers_of(layer))
    np.testing.assert_allclose(numpy(layer(X)), y, rtol=NEAR, atol=NEAR)
    looped = keras.layers.RNN(layer.cell, return_sequences=True, dtype="float64")
    np.testing.assert_allclose(numpy(looped(X)), y, rtol=NEAR, atol=NEAR)
    # Fewer steps than the longest delay.
    np.testing.assert_allclose(numpy(layer(X[:, :2])), y[:, :2], atol=NEAR)


@pytest.mark.parametrize("per", PLACES)
def test_gradients_are_those_of_finite_differences(per, float64):
    layer = layer_with_delays(per, sigma=0.0015)
    direction = np.random.RandomState(1).normal(size=(2, 12, 5))

    values = [numpy(w) for w in layer.trainable_weights]
    fixed = [ops.convert_to_tensor(w) for w in layer.non_trainable_variables]

    def run(*values):
        return layer.stateless_call(values, fixed, ops.convert_to_tensor(X))[0]

    _, slopes = gradient(run, *values, weights=direction)
    for k, slope in enumerate(slopes):
        for at in np.ndindex(*slope.shape):
            ends = []
            for step in (1e-6, -1e-6):
                moved = [value.copy() for value in values]
                moved[k][at] += step
                y = numpy(run(*map(ops.convert_to_tensor, moved)))
                ends.append(np.sum(y * direction))
            difference = (ends[0] - ends[1]) / 2e-6
            np.testing.assert_allclose(slope[at], difference, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("per", PLACES)
def test_rounded_delays_are_whole_steps_and_stay(per):
    layer = layer_with_delays(per, dtype=None)
    before = layer.delays() / DT
    layer.round_delays()
    np.testing.assert_array_equal(layer.delays() / DT, np.rint(before))
    model = keras.Sequential([keras.Input((12, 3)), layer])
    model.compile("adam", "mse")
    kernel = numpy(layer.cell.kernel)
    model.fit(X, np.ones((2, 12, 5)), verbose=0)
    assert np.any(numpy(layer.cell.kernel) != kernel)
    np.testing.assert_array_equal(layer.delays() / DT, np.rint(before))


def test_delays_stay_in_their_range():
    layer = ksn.layers.DelayedDense(
        *(40, 0.004),
        delay_initializer=keras.initializers.RandomUniform(-0.01, 0.01),
        return_sequences=True,
    )
    model = keras.Sequential([keras.Input((12, 3)), layer])
    assert layer.delays().min() == 0
    assert layer.delays().max() == 0.004
    model.compile(keras.optimizers.SGD(1e4), "mse")
    model.fit(X, 100 * np.ones((2, 12, 40)), verbose=0)
    assert 0 <= layer.delays().min() <= layer.delays().max() <= 0.004


def test_by_default_delays_are_uniform_over_their_range():
    layer = ksn.layers.DelayedDense(50, 0.02)
    layer.build((None, None, 40))
    assert abs(layer.delays().mean() - 0.01) < 1e-3
    assert abs(layer.delays().std() - 0.02 / np.sqrt(12)) < 1e-3


def test_finds_the_delay_of_a_signal():
    """A delay that starts 11 steps off its own is found while sigma narrows."""
    rng = np.random.RandomState(0)
    x = rng.normal(size=(64, 60, 1))
    y = np.concatenate([np.zeros((64, 14, 1)), x[:, :-14]], axis=1)
    layer = ksn.layers.DelayedDense(
        *(1, 0.02),
        use_bias=False,
        kernel_initializer="ones",
        delay_initializer=keras.initializers.Constant(0.003),
        return_sequences=True,
    )
    model = keras.Sequential([keras.Input((60, 1)), layer])
    model.compile(keras.optimizers.Adam(0.02), "mse")
    narrow = ksn.callbacks.NarrowDelays(round_at_end=True)
    history = model.fit(
        x, y, epochs=60, batch_size=16, verbose=0, callbacks=[narrow]
    ).history
    np.testing.assert_allclose(history["sigma"][0], 0.01, rtol=1e-6)
    np.testing.assert_allclose(history["sigma"][-15:], 0.0005, rtol=1e-6)
    np.testing.assert_allclose(layer.delays(), 0.014, rtol=1e-6)


@pytest.mark.parametrize("delay", [0.0, -0.001, 0.0015, 1e-12, np.nan, "long", [0.1]])
def test_refuses_what_is_no_longest_delay(delay):
    with pytest.raises(ValueError, match=r"max_delay is .* received"):
        ksn.layers.DelayedDense(3, delay)


def test_refuses_images():
    with pytest.raises(ValueError, match="needs vectors"):
        ksn.layers.DelayedDense(3, 0.002)(np.ones((1, 2, 3, 4)))
