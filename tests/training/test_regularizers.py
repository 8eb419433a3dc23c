"""Rates are pushed into their band, and Keras's division is reckoned with."""

import inspect
import json

import keras
import nengo
import numpy as np
import pytest
from keras import ops

import keras_spiking_nengo as ksn
from tests.arrays import numpy
from tests.gradients import gradient
from tests.marks import SLOW_ON_JAX
from tests.training.models import JIT, TIME, currents, spiking

# By default JAX runs the examples of the docstrings.
pytestmark = SLOW_ON_JAX

FiringRate = ksn.regularizers.FiringRate
RNG = np.random.RandomState(0)
# Spikes of neurons with an amplitude of 0.5.
SPIKES = RNG.binomial(1, RNG.uniform(0, 0.4, size=(5, 1, 2, 3)), size=(5, TIME, 2, 3))
SPIKES = (SPIKES * 0.5 / 0.001).astype("float32")
RATES = SPIKES.mean(axis=1) / 0.5


def penalty(rates, lo=-np.inf, hi=np.inf, l1=0.0, l2=0.0):
    outside = np.maximum(lo - rates, 0) + np.maximum(rates - hi, 0)
    return np.sum(l1 * outside + l2 * outside**2)


@pytest.mark.torch
@pytest.mark.parametrize(
    ("target", "bounds"),
    [
        ((100, 250), {"lo": 100, "hi": 250}),
        ((None, 250), {"hi": 250}),
        ((100, None), {"lo": 100}),
        (150, {"lo": 150, "hi": 150}),
        (0, {"lo": 0, "hi": 0}),
    ],
)
def test_what_is_outside_of_the_band_is_penalised(target, bounds):
    expected = penalty(RATES, **bounds, l1=0.5, l2=0.25)
    assert expected > 0
    actual = FiringRate(target, l1=0.5, l2=0.25, amplitude=0.5)(SPIKES)
    np.testing.assert_allclose(float(actual), expected, rtol=1e-5)


@pytest.mark.torch
@pytest.mark.parametrize("percentile", [0, 40, 100])
def test_a_percentile_is_over_the_batch(percentile):
    regularizer = FiringRate((100, 250), 0.5, 0.25, percentile, amplitude=0.5)
    found = np.percentile(RATES, percentile, axis=0)
    expected = len(RATES) * penalty(found, 100, 250, 0.5, 0.25)
    np.testing.assert_allclose(float(regularizer(SPIKES)), expected, rtol=1e-4)


@pytest.mark.torch
def test_a_target_of_0_is_a_plain_penalty_on_rates():
    for strength in ({"l1": 0.3}, {"l2": 0.3}):
        plain = keras.regularizers.L1L2(**{"l1": 0.0, "l2": 0.0, **strength})
        actual = FiringRate(0, **strength, amplitude=0.5)(SPIKES)
        np.testing.assert_allclose(float(actual), float(plain(RATES)), rtol=1e-5)


@pytest.mark.torch
@pytest.mark.parametrize("percentile", [None, 100])
def test_a_layers_loss_does_not_depend_on_the_size_of_the_batch(percentile):
    regularizer = FiringRate((300, None), l1=0.01, percentile=percentile)
    layer = ksn.layers.Neurons(
        seed=0, return_sequences=True, activity_regularizer=regularizer
    )
    x = currents(batch=1)
    rates = numpy(layer(x)).mean(axis=1)
    expected = penalty(rates, 300, l1=0.01)
    assert expected > 0
    np.testing.assert_allclose(float(layer.losses[0]), expected, rtol=1e-5)
    layer = layer.from_config(layer.get_config())
    layer(np.repeat(x, 5, axis=0))
    np.testing.assert_allclose(float(layer.losses[0]), expected, rtol=1e-5)


@pytest.mark.torch
def test_silent_neurons_are_pushed_up_and_loud_ones_down():
    spikes = np.zeros((2, TIME, 3), "float32")
    spikes[..., 1] = 200  # within the band
    spikes[:, ::2, 2] = 1000
    regularizer = FiringRate((100, 300), l1=1, l2=0.5)
    _, slope = gradient(regularizer, spikes)
    expected = np.array([-1 - 100, 0, 1 + 200]) / TIME
    np.testing.assert_allclose(slope, np.broadcast_to(expected, slope.shape), rtol=1e-5)


@pytest.mark.torch
def test_the_gradient_of_a_percentile_is_that_of_the_item_it_is_read_from():
    rates = np.array([10.0, 40.0, 20.0], "float32")[:, None, None]
    regularizer = FiringRate(30, l1=1, percentile=100)
    _, slope = gradient(regularizer, np.repeat(rates, 2, axis=1))
    np.testing.assert_allclose(slope[:, :, 0], [[0, 0], [1.5, 1.5], [0, 0]], atol=1e-5)


def test_half_precision_activities_do_not_overflow():
    spikes = np.full((1, 500, 2), 30000, "float16")
    actual = FiringRate(0, l1=1)(ops.convert_to_tensor(spikes))
    np.testing.assert_allclose(float(actual), 60000, rtol=1e-3)


# --- in training ------------------------------------------------------------------


LO, HI = 60, 100


def trained(regularizer):
    """Rates of the neurons of a trained classifier, and its accuracy."""
    keras.utils.set_random_seed(1)
    neurons = ksn.layers.Neurons(
        nengo.LIF(amplitude=0.01),
        dt=0.002,
        seed=0,
        return_sequences=True,
        activity_regularizer=regularizer,
        name="lif",
    )
    dense = keras.layers.Dense(8, kernel_initializer=keras.initializers.HeNormal(1))
    model = keras.Sequential([keras.Input((25, 2)), dense, neurons])
    model.add(keras.layers.GlobalAveragePooling1D())
    model.add(keras.layers.Dense(2))
    labels = np.arange(8) % 2
    x = np.repeat(4 * np.eye(2, dtype="float32")[labels][:, None], 25, axis=1)
    x += np.random.RandomState(0).uniform(-0.2, 0.2, x[:, :1].shape)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.05), loss, jit_compile=JIT)
    often = [np.concatenate([data] * 15) for data in (x, labels)]
    model.fit(*often, epochs=10, batch_size=8, shuffle=False, verbose=0)
    rates = numpy(keras.Sequential(model.layers[:2])(x)).mean(axis=1) / 0.01
    return rates, np.mean(numpy(model(x)).argmax(1) == labels)


def inside(rates):
    """Share of rates in the band."""
    return np.mean((rates >= LO - 0.1) & (rates <= HI + 0.1))


@pytest.mark.torch
def test_training_brings_rates_into_the_band():
    free, accuracy = trained(None)
    assert accuracy == 1
    assert inside(free) < 0.3 and np.any(free > 2 * HI) and np.any(free == 0)
    held, accuracy = trained(FiringRate((LO, HI), l1=0.003, amplitude=0.01))
    assert accuracy == 1
    assert inside(held) > 0.85
    # A spike more or less in 50 ms is 20 Hz.
    assert np.percentile(held, 5) > LO - 21 and np.max(held) < HI + 21


@pytest.mark.slow
def test_training_brings_the_highest_rates_into_the_band():
    regularizer = FiringRate((LO, HI), l1=0.003, percentile=100, amplitude=0.01)
    held, accuracy = trained(regularizer)
    assert accuracy == 1
    assert inside(held.max(axis=0)) > 0.85 > inside(held)


@pytest.mark.torch
def test_saved_with_the_layer(tmp_path):
    numbers = np.float32([20, 90, 0.5])
    regularizer = FiringRate((numbers[0], None), 0, 0.125, *numbers[1:])
    model = spiking(activity_regularizer=regularizer)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    loaded = again.get_layer("lif").activity_regularizer
    config = regularizer.get_config()
    assert json.loads(json.dumps(config)) == config
    assert set(inspect.signature(FiringRate).parameters) == set(config)
    assert type(loaded) is FiringRate and loaded.get_config() == config


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FiringRate(10), "l1 and l2 are both 0"),
        (lambda: FiringRate((1, 2, 3), 1), r"band \(lo, hi\).*\(1, 2, 3\)"),
        (lambda: FiringRate((None, None), 1), "may be None"),
        (lambda: FiringRate("high", 1), "received 'high'"),
        (lambda: FiringRate((0, np.inf), 1), "may be None.*inf"),
        (lambda: FiringRate((20, 10), 1), "lower rate first"),
        (lambda: FiringRate(10, -1), "l1 is at least 0.*-1"),
        (lambda: FiringRate(10, l2=np.nan), "l2 is at least 0.*nan"),
        (lambda: FiringRate(10, 1, percentile=101), "from 0 to 100.*101"),
        (lambda: FiringRate(10, 1, percentile="90"), "from 0 to 100.*'90'"),
        (lambda: FiringRate(10, 1, amplitude=0), "amplitude is above 0"),
        (lambda: FiringRate(10, 1, amplitude=np.nan), "amplitude is above 0.*nan"),
        (lambda: FiringRate(10, 1)(np.ones((2, 3))), r"\(2, 3\).*return_sequences"),
    ],
)
def test_impossible_arguments_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
