"""What the encoders promise over and above the contract of every layer."""

import keras
import numpy as np
import pytest
from keras import ops
from scipy import stats

import keras_spiking_nengo as ksn
from keras_spiking_nengo.layers import (
    BernoulliEncoder,
    DeltaEncoder,
    LatencyEncoder,
    PoissonEncoder,
    Repeat,
)
from tests.arrays import numpy
from tests.conftest import BACKEND
from tests.gradients import gradient
from tests.marks import SLOW_ON_JAX, slow_on_jax

# By default JAX runs the examples of the docstrings.
pytestmark = SLOW_ON_JAX

DT = 0.001


def counts(layer, x):
    """Numbers of spikes, which have to be whole."""
    y = numpy(layer(np.asarray(x, "float32"))) * layer.cell.dt
    np.testing.assert_allclose(y, np.round(y), atol=1e-5)
    return np.round(y).astype(int)


def static(layer, **arguments):
    return layer(**arguments, return_sequences=True)


def poisson(x, **arguments):
    """Numbers of spikes of rates: of one shape, which JAX compiles once."""
    x = np.broadcast_to(np.resize(x, 50), (2, 50))
    return counts(static(PoissonEncoder, n_steps=400, **arguments), x)


def slope_of_inputs(layer, x, weights=None):
    weights = None if weights is None else ops.convert_to_tensor(weights, "float32")
    return gradient(lambda x: layer(x, training=True), x, weights=weights)[1]


# --- Poisson ------------------------------------------------------------------


@pytest.mark.torch
@pytest.mark.parametrize("mean", [0.02, 0.9, 7.0, 150.0])
def test_poisson_spikes_have_the_poisson_distribution(mean):
    n = poisson(mean / (500.0 * DT), max_rate=500.0, seed=3).ravel()
    # Five standard deviations of a mean and a variance over so many samples.
    assert abs(n.mean() - mean) < 5 * np.sqrt(mean / n.size)
    spread = np.sqrt((mean + 2 * mean**2) / n.size)
    assert abs(n.var() - mean) < 5 * spread
    low, high = stats.poisson.ppf([1e-3, 1 - 1e-3], mean).astype(int)
    edges = np.arange(low, high + 1)
    observed = [np.sum(n <= low), *(np.sum(n == k) for k in edges[1:])]
    observed = [*observed, np.sum(n > high)]
    expected = [stats.poisson.cdf(low, mean), *stats.poisson.pmf(edges[1:], mean)]
    expected = np.array([*expected, stats.poisson.sf(high, mean)]) * n.size
    assert stats.chisquare(observed, expected).pvalue > 1e-3


@pytest.mark.torch
def test_poisson_spikes_are_independent_in_time_space_and_batch():
    n = poisson(1.0, max_rate=800.0, seed=1)
    n = n - n.mean()
    pairs = {"time": (n[:, :-1], n[:, 1:]), "space": (n[..., :-1], n[..., 1:])}
    pairs |= {"batch": (n[:-1], n[1:])}
    for a, b in pairs.values():
        assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 5 / np.sqrt(a.size)


@pytest.mark.torch
def test_a_seed_gives_these_spikes_on_every_backend():
    # Written down once: a change would change what saved models do.
    spikes = poisson(1.0, max_rate=700.0, seed=2)
    expected = [[0, 0, 0, 0, 0, 1], [0, 2, 0, 0, 0, 1]]
    np.testing.assert_array_equal(spikes[0, :6, :2].T, expected)
    assert np.any(spikes[0] != spikes[1])
    assert np.any(poisson(1.0, max_rate=700.0, seed=3) != spikes)


@pytest.mark.torch
def test_negative_rates_count_as_none_and_features_have_their_own_rates():
    n = poisson([-500.0, 0.0, 100.0, 400.0, 200.0], seed=0)
    n = n.reshape(2, 400, 10, 5).transpose(3, 0, 1, 2).reshape(5, -1)
    assert not np.any(n[:2])
    np.testing.assert_allclose(n.mean(axis=1)[2:] / DT, [100, 400, 200], rtol=0.15)


# --- Bernoulli ----------------------------------------------------------------


@pytest.mark.torch
def test_bernoulli_spikes_have_their_probability():
    layer = static(BernoulliEncoder, seed=4, n_steps=2000)
    p = np.array([[-1.0, 0.0, 0.1, 0.5, 0.97, 1.0, 3.0]])
    n = counts(layer, p)[0]
    assert set(np.unique(n)) == {0, 1}
    assert not np.any(n[:, :2]) and np.all(n[:, -2:])
    for column, probability in zip(n.T[2:5], p[0, 2:5], strict=True):
        assert stats.binomtest(column.sum(), 2000, probability).pvalue > 1e-3


# --- latency ------------------------------------------------------------------

VALUES = np.array([[0.0, 0.01, 0.1, 0.3, 0.55, 0.7, 0.95, 1.0, 4.0]])
FORMULAS = {
    "linear": lambda x: 0.02 * (1 - np.minimum(x, 1)),
    "logarithmic": lambda x: 0.02 * np.log(x / (x - 0.1)),
}


@pytest.mark.torch
@pytest.mark.parametrize("code", FORMULAS)
def test_the_latency_is_that_of_the_formula(code):
    layer = static(LatencyEncoder, tau=0.02, threshold=0.1, code=code, n_steps=60)
    n = counts(layer, VALUES)[0]
    fires = VALUES[0] > 0.1 + 1e-6
    np.testing.assert_array_equal(n.sum(axis=0), fires)
    # Step number k has the time k dt, and the first is 1.
    steps = np.ceil(FORMULAS[code](VALUES[0][fires]) / DT - 1e-3)
    found = np.argmax(n[:, fires], axis=0) + 1
    np.testing.assert_array_equal(found, np.maximum(steps, 1))
    assert np.all(np.diff(found) <= 0) and found[0] > found[-1]


@pytest.mark.torch
def test_the_logarithmic_latency_is_that_of_a_membrane():
    layer = static(LatencyEncoder, tau=0.02, threshold=0.1, code="logarithmic")
    layer.build((1, 5, 1))
    x = np.linspace(0.11, 3, 40)
    t = numpy(layer.cell.latency(ops.convert_to_tensor(x, "float32")))
    # tau dv/dt = x - v from v = 0.
    np.testing.assert_allclose(x * (1 - np.exp(-t / 0.02)), 0.1, rtol=1e-4)


@slow_on_jax
@pytest.mark.torch
def test_in_a_sequence_the_present_value_counts_and_fires_once():
    layer = LatencyEncoder(tau=0.01, return_sequences=True, return_state=True)
    x = np.zeros((1, 20, 3), "float32")
    x[0, :, 0] = 0.5  # due at step 5
    x[0, 12:, 1] = 0.5  # by then it is
    spikes, waited = layer(x)
    expected = np.zeros((20, 3))
    expected[4, 0] = expected[12, 1] = 1 / DT
    np.testing.assert_array_equal(numpy(spikes)[0], expected)
    np.testing.assert_array_equal(numpy(waited)[0], [-1, -1, 20])


# --- delta --------------------------------------------------------------------


def signals():
    rng = np.random.RandomState(0)
    t = np.arange(200) * DT
    walk = np.cumsum(rng.uniform(-0.3, 0.3, size=(2, 200)), axis=1)
    sine = 2 * np.sin(2 * np.pi * np.array([[3.0], [20.0]]) * t)
    return np.stack([walk, sine], axis=-1).astype("float32")


@pytest.mark.torch
@pytest.mark.parametrize("split", [False, True])
def test_the_level_stays_within_the_threshold_of_the_signal(split):
    x = signals()
    layer = DeltaEncoder(
        0.15, initial_level=0.5, split=split, return_sequences=True, return_state=True
    )
    spikes, level = map(numpy, layer(x))
    decoded = numpy(layer.decode(spikes))
    assert np.max(np.abs(decoded - x)) < 0.15 * (1 + 1e-4)
    np.testing.assert_allclose(decoded[:, -1], level, atol=1e-5)
    assert (spikes.min() >= 0) == split and np.max(spikes) * DT > 1
    assert layer.compute_output_shape((2, 9, 2))[0] == (2, 9, 4 if split else 2)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_many_spikes_are_decoded_in_half_precision(policy):
    x = np.linspace(0, 51, 200, dtype="float32")[None, :, None]
    layer = DeltaEncoder(0.05, split=True, return_sequences=True, dtype=policy)
    spikes = layer(x)
    assert keras.backend.standardize_dtype(spikes.dtype) == policy[6:]
    decoded = numpy(layer.decode(spikes))
    assert np.max(np.abs(decoded - x)) < 0.05 * (1 + 1e-3)
    # Five spikes in a step are 4992 in bfloat16.
    assert np.max(numpy(ops.cast(spikes, "float32"))) > 4900
    slope = gradient(layer.decode, numpy(spikes).astype("float32"))[1]
    assert np.all(np.abs(slope) > 0)


@pytest.mark.torch
def test_spikes_come_where_the_signal_has_moved_and_nowhere_else():
    x = np.array([[0.0, 0.4, 0.6, 1.2, 1.0, 0.4, -0.6, -0.6]]).T[None]
    n = counts(DeltaEncoder(0.5, return_sequences=True), x)[0, :, 0]
    # Levels: 0, 0, 0.5, 1, 1, 0.5, -0.5, -0.5.
    np.testing.assert_array_equal(n, [0, 0, 1, 1, 0, -1, -2, 0])


@pytest.mark.torch
@pytest.mark.parametrize("split", [False, True])
def test_a_signal_in_steps_of_the_threshold_sends_a_spike_with_each(split):
    # 0.1 is no float: sums of it lie above and below the signal.
    n = np.arange(60) % 37
    x = (0.1 * n[None, :, None]).astype("float32")
    layer = DeltaEncoder(0.1, split=split, return_sequences=True)
    found = counts(layer, x)[0]
    found = found[:, 0] - found[:, 1] if split else found[:, 0]
    np.testing.assert_array_equal(found, np.diff(n, prepend=0))


@pytest.mark.torch
@pytest.mark.parametrize("training", [False, True])
def test_what_is_not_a_number_stays_so(training):
    x = np.array([[[0.5, np.nan]] * 3], "float32")
    for layer in (
        BernoulliEncoder(seed=0, return_sequences=True),
        LatencyEncoder(return_sequences=True),
        DeltaEncoder(return_sequences=True),
    ):
        y = numpy(layer(x, training=training))
        np.testing.assert_array_equal(np.isnan(y), np.isnan(x))


# --- gradients ----------------------------------------------------------------


@pytest.mark.torch
def test_random_encoders_have_the_gradient_of_their_mean():
    x = np.array([[-1.0, 0.3, 0.8, 2.0]], "float32")
    layer = static(PoissonEncoder, max_rate=200.0, seed=0, n_steps=3)
    slope = slope_of_inputs(layer, x)
    np.testing.assert_allclose(slope, 3 * 200.0 * np.array([[0, 1, 1, 1]]), rtol=1e-5)
    slope = slope_of_inputs(static(BernoulliEncoder, seed=0, n_steps=3), x)
    np.testing.assert_allclose(slope, 3 / DT * np.array([[0, 1, 1, 0]]), rtol=1e-5)


@pytest.mark.torch
@pytest.mark.parametrize("code", FORMULAS)
def test_a_latency_has_the_gradient_of_a_spike_between_two_steps(code):
    layer = static(LatencyEncoder, tau=0.02, threshold=0.1, code=code, n_steps=40)
    x = np.array([[0.33, 0.52, 0.81]], "float32")
    # The time of the spike, whose area is 1.
    time = np.arange(1, 41)[None, :, None] * np.ones((1, 40, 3)) * DT
    slope = slope_of_inputs(layer, x, time * DT)
    h = 1e-5
    latency = FORMULAS[code]
    expected = (latency(x + h) - latency(x - h)) / (2 * h)
    np.testing.assert_allclose(slope, expected, rtol=0.02)


@pytest.mark.torch
@pytest.mark.parametrize("split", [False, True])
def test_delta_spikes_have_the_gradient_of_differences(split):
    x = signals()[:, :20]
    weights = np.random.RandomState(1).standard_normal(x.shape)
    layer = DeltaEncoder(0.25, split=split, return_sequences=True)
    signs = np.concatenate([weights, -weights], axis=-1) if split else weights
    slope = slope_of_inputs(layer, x, signs)
    after = np.concatenate([weights[:, 1:], np.zeros_like(weights[:, :1])], axis=1)
    scale = 1 / (0.25 * DT)
    np.testing.assert_allclose(slope, (weights - after) * scale, atol=1e-3 * scale)


# --- presenting, saving, serving ----------------------------------------------

STATIC = {
    "poisson": lambda **kw: PoissonEncoder(300.0, seed=1, **kw),
    "bernoulli": lambda **kw: BernoulliEncoder(seed=1, **kw),
    "latency": lambda **kw: LatencyEncoder(0.005, **kw),
}


@pytest.mark.torch
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=SLOW_ON_JAX * (n != "latency")) for n in STATIC]
)
def test_n_steps_presents_as_repeat_does(name):
    x = np.random.RandomState(0).uniform(size=(3, 4, 2)).astype("float32")
    model = keras.Sequential(
        [keras.Input((4, 2)), STATIC[name](n_steps=7, return_sequences=True)]
    )
    assert model.output_shape == (None, 7, 4, 2)
    y = model.predict(x, verbose=0)
    sequence = STATIC[name](return_sequences=True)(Repeat(7)(x))
    np.testing.assert_array_equal(y, numpy(sequence))
    last = STATIC[name](n_steps=7)
    np.testing.assert_array_equal(numpy(last(x)), y[:, -1])
    again = keras.Sequential.from_config(model.get_config())
    assert again.layers[0].n_steps == 7
    np.testing.assert_array_equal(again.predict(x, verbose=0), y)


@slow_on_jax
@pytest.mark.torch
def test_a_stateful_encoder_presents_with_new_numbers_each_time(tmp_path):
    layer = PoissonEncoder(
        300.0, seed=1, n_steps=50, return_sequences=True, stateful=True
    )
    inputs = keras.Input(batch_shape=(2, 3))
    model = keras.Model(inputs, layer(inputs))
    x = np.ones((2, 3), "float32")
    first, second = (model.predict(x, batch_size=2, verbose=0) for _ in range(2))
    assert np.any(first != second)
    layer.reset_state()
    np.testing.assert_array_equal(model.predict(x, batch_size=2, verbose=0), first)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again.predict(x, batch_size=2, verbose=0), first)
    both = PoissonEncoder(300.0, seed=1, n_steps=100, return_sequences=True)(x)
    np.testing.assert_array_equal(np.concatenate([first, second], 1), numpy(both))


@slow_on_jax
@pytest.mark.torch
def test_encoders_feed_neurons():
    model = keras.Sequential(
        [
            keras.Input((5,)),
            PoissonEncoder(200.0, n_steps=40, seed=0, return_sequences=True),
            keras.layers.Dense(4, kernel_initializer="ones"),
            ksn.layers.Neurons("lif", seed=0, return_sequences=True),
        ]
    )
    x = np.random.RandomState(0).uniform(size=(2, 5))
    assert np.any(model.predict(x, verbose=0))


@pytest.mark.skipif(BACKEND == "torch", reason="Keras cannot export from torch")
def test_an_exported_encoder_sends_the_same_spikes(tmp_path):
    import tensorflow as tf

    x = inputs = keras.Input((None, 3))
    outputs = [
        PoissonEncoder(400.0, seed=1, return_sequences=True)(x),
        LatencyEncoder(0.004, return_sequences=True)(x),
        DeltaEncoder(0.2, return_sequences=True)(x),
    ]
    model = keras.Model(inputs, keras.layers.Concatenate()(outputs))
    model.export(tmp_path / "model", verbose=False)
    served = tf.saved_model.load(str(tmp_path / "model"))
    for shape in ((2, 9, 3), (1, 15, 3)):
        # Eighths, whose products with the rate are exact.
        x = np.random.RandomState(0).randint(0, 9, shape).astype("float32") / 8
        expected = model.predict(x, verbose=0)
        assert np.any(expected[..., :3]) and np.any(expected[..., 3:6])
        np.testing.assert_array_equal(served.serve(x).numpy(), expected)


# --- refusals -----------------------------------------------------------------

WRONG = {
    "max_rate": (lambda: PoissonEncoder(0), "max_rate is above 0"),
    "rate": (lambda: PoissonEncoder("100"), "received '100'"),
    "dt": (lambda: BernoulliEncoder(dt=0), "dt is the length of a step"),
    "seed": (lambda: PoissonEncoder(seed=-1), "seed is an integer"),
    "tau": (lambda: LatencyEncoder(-0.1), "tau is above 0 s, and finite"),
    "threshold": (lambda: LatencyEncoder(threshold=1.0), "between 0 and 1"),
    "code": (lambda: LatencyEncoder(code="log"), "code is one of .*'log'"),
    "delta": (lambda: DeltaEncoder(0.0), "threshold is above 0"),
    "level": (lambda: DeltaEncoder(initial_level=None), "initial_level is a finite"),
    "n_steps": (lambda: PoissonEncoder(n_steps=0), "at least 1; received 0"),
}


@pytest.mark.torch
@pytest.mark.parametrize("name", WRONG)
def test_wrong_arguments_are_refused(name):
    make, message = WRONG[name]
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.torch
def test_a_sequence_that_is_none_is_refused():
    with pytest.raises(ValueError, match=r"shape \(batch, time, \*features\)"):
        PoissonEncoder()(np.ones((2, 3), "float32"))
    layer = PoissonEncoder(n_steps=4)
    with pytest.raises(ValueError, match="a mask has no time axis"):
        layer(np.ones((2, 3), "float32"), mask=np.ones((2, 4), bool))
    with pytest.raises(ValueError, match="a mask has no time axis"):
        PoissonEncoder(n_steps=4)(keras.layers.Masking()(keras.Input((5, 3))))
    with pytest.raises(ValueError, match=r"\(batch, \*features\); received \(2,\)"):
        PoissonEncoder(n_steps=4)(np.ones(2, "float32"))
