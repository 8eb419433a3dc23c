"""What Neurons promises over and above the contract of every layer."""

import re

import keras
import nengo
import numpy as np
import pytest
from keras import ops

import keras_spiking_nengo as ksn
from keras_spiking_nengo.layers import Neurons, NeuronsCell
from tests.arrays import numpy, run
from tests.cases import NEURONS, RANDOM
from tests.conftest import BACKEND
from tests.gradients import gradient
from tests.marks import TAKES_TURNS, quick, slow_on_jax

pytestmark = TAKES_TURNS

DT, N, TIME = 0.001, 5, 40
CURRENTS = np.random.RandomState(0).uniform(0.5, 4, (2, TIME, N))
# Types with a rate curve.
RATED = {
    "LIF": nengo.LIF(tau_rc=0.03, tau_ref=0.004, amplitude=2),
    "AdaptiveLIF": nengo.AdaptiveLIF(tau_n=0.1, inc_n=0.02),
    "SpikingRectifiedLinear": nengo.SpikingRectifiedLinear(amplitude=50),
    "RegularSpiking": nengo.RegularSpiking(nengo.LIFRate(tau_rc=0.03)),
    "PoissonSpiking": nengo.PoissonSpiking(nengo.LIFRate(tau_rc=0.03)),
}


def currents(name):
    """About as strong as it takes to fire within `TIME`."""
    scale = {"SpikingRectifiedLinear": 100, "Izhikevich": 10}
    return CURRENTS * scale.get(name, 1)


def neurons(*args, seed=1, **kwargs):
    return Neurons(*args, seed=seed, return_sequences=True, **kwargs)


def slope_of_inputs(layer, x, weights):
    weights = ops.convert_to_tensor(weights)
    return gradient(lambda x: layer(x, training=True), x, weights=weights)[1]


# --- the three training modes -------------------------------------------------


@pytest.mark.torch
@pytest.mark.parametrize("name", RATED)
def test_rate_gives_nengos_rates_in_training_and_spikes_without(name, float64):
    layer = neurons(RATED[name], forward="rate")
    x = currents(name)
    rates = RATED[name].rates(x.ravel(), np.ones(1), np.zeros(1))
    actual = run(layer, x, training=True)
    np.testing.assert_allclose(actual.ravel(), rates.ravel(), rtol=1e-6)
    spikes = run(neurons(RATED[name]), x)
    assert np.any(spikes)
    np.testing.assert_array_equal(run(layer, x, training=False), spikes)


@pytest.mark.torch
@pytest.mark.parametrize("name", RATED)
def test_spike_aware_gives_exactly_the_spikes(name):
    x = currents(name).astype("float32")
    actual = run(neurons(RATED[name], forward="spike_aware"), x, training=True)
    assert np.any(actual)
    # Those of training, where a random type draws others than without.
    spikes = run(neurons(RATED[name]), x, training=name in RANDOM)
    tolerance = 1e-3 if name in RANDOM else 0
    np.testing.assert_allclose(actual, spikes, rtol=0, atol=tolerance)


def rate_slope(neuron_type, J, width):
    """Finite differences of the curve, its kink smoothed as a soft LIF's."""
    if isinstance(neuron_type, nengo.SpikingRectifiedLinear):
        return np.where(J > 0, neuron_type.amplitude, 0.0)
    lif = getattr(neuron_type, "base_type", neuron_type)
    soft = ksn.types.SoftLIFRate(width, lif.tau_rc, lif.tau_ref, lif.amplitude)
    rates = [soft.rates(J.ravel() + d, np.ones(1), np.zeros(1)) for d in (1e-6, -1e-6)]
    return (rates[0] - rates[1]).reshape(J.shape) / 2e-6


@pytest.mark.torch
@pytest.mark.parametrize("width", quick([None, 0.2], {0.2}))
@pytest.mark.parametrize("forward", ["rate", "spike_aware"])
@pytest.mark.parametrize("name", RATED)
def test_rate_modes_have_the_slope_of_the_softened_curve(name, forward, width, float64):
    surrogate = None if width is None else ksn.surrogates.SoftLIF(width)
    layer = neurons(RATED[name], forward=forward, surrogate=surrogate)
    weights = np.random.RandomState(1).standard_normal(CURRENTS.shape)
    actual = slope_of_inputs(layer, currents(name), weights)
    expected = weights * rate_slope(RATED[name], currents(name), width or 0.02)
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-4)


@pytest.mark.torch
@pytest.mark.parametrize("name", [*RATED, "Izhikevich"])
def test_spikes_are_the_same_in_training_if_none_are_drawn(name):
    layer = neurons(RATED.get(name) or NEURONS[name])
    x = currents(name).astype("float32")
    spikes = run(layer, x, training=True)
    assert np.any(spikes)
    same = np.array_equal(spikes, run(layer, x, training=False))
    assert same == (name not in RANDOM)


@pytest.mark.torch
@pytest.mark.parametrize("forward", ["spikes", "spike_aware", "rate"])
def test_only_spikes_carries_gradients_through_the_membrane(forward):
    layer = neurons("lif", forward=forward)
    x = np.full((1, 6, N), 0.9, "float32")  # no spike ends the membrane's memory
    last = np.zeros((1, 6, N), "float32")
    last[:, -1] = 1
    slope = slope_of_inputs(layer, x, last)
    assert np.all(slope[:, -1] > 0)
    assert np.all(slope[:, :-1] > 0) == (forward == "spikes")
    assert np.any(slope[:, :-1]) == (forward == "spikes")


# --- trainable parameters -----------------------------------------------------

LIF_RATE = nengo.LIFRate(tau_rc=0.03, tau_ref=0.004, amplitude=2)
TRAINED = {
    "RectifiedLinear-amplitude": (nengo.RectifiedLinear(2.0), "amplitude", {}),
    "Tanh-tau_ref": (nengo.Tanh(0.01), "tau_ref", {}),
    "LeakyReLU-negative_slope": (NEURONS["LeakyReLU"], "negative_slope", {}),
    "LIFRate-tau_rc": (LIF_RATE, "tau_rc", {}),
    "LIFRate-tau_ref": (LIF_RATE, "tau_ref", {}),
    "SoftLIFRate-tau_rc": (NEURONS["SoftLIFRate"], "tau_rc", {}),
    "AdaptiveLIFRate-tau_n": (NEURONS["AdaptiveLIFRate"], "tau_n", {}),
    "AdaptiveLIFRate-inc_n": (NEURONS["AdaptiveLIFRate"], "inc_n", {}),
    "LIF-amplitude": (RATED["LIF"], "amplitude", {}),
    "LIF-tau_rc-rate": (RATED["LIF"], "tau_rc", {"forward": "rate"}),
    "RegularSpiking-base_tau_rc-rate": (
        RATED["RegularSpiking"],
        "base_tau_rc",
        {"forward": "rate"},
    ),
    "SpikingRectifiedLinear-amplitude": (
        RATED["SpikingRectifiedLinear"],
        "amplitude",
        {},
    ),
}


def check_weight_gradient(layer, x, weights, observe=lambda outputs: outputs):
    """The gradient of the one trainable weight equals finite differences."""
    layer.build(x.shape)
    (weight,) = layer.trainable_variables
    fixed = [v.value for v in layer.non_trainable_variables]

    def output(value):
        outputs, _ = layer.stateless_call(
            [value], fixed, ops.convert_to_tensor(x), training=True
        )
        return observe(outputs)

    start = numpy(weight)
    slope = gradient(output, start, weights=ops.convert_to_tensor(weights))[1]
    assert slope.shape == start.shape
    assert np.all(slope != 0)
    for index in np.ndindex(start.shape):
        step = np.zeros(start.shape)
        step[index] = 1e-6
        values = (ops.convert_to_tensor(start + s) for s in (step, -step))
        up, down = (np.sum(numpy(output(v)) * weights) for v in values)
        np.testing.assert_allclose(slope[index], (up - down) / 2e-6, rtol=1e-4)


@pytest.mark.torch
@pytest.mark.parametrize("kind", quick(["shared", "unit"], {"unit"}))
@pytest.mark.parametrize("name", TRAINED)
def test_gradients_of_parameters_equal_finite_differences(name, kind, float64):
    neuron_type, parameter, options = TRAINED[name]
    layer = neurons(neuron_type, trainable_parameters={parameter: kind}, **options)
    # Far from the threshold, where the curve and the soft curve agree.
    x = currents(name.partition("-")[0]) + 1.5
    x = -x if parameter == "negative_slope" else x
    weights = np.random.RandomState(1).standard_normal(x.shape)
    check_weight_gradient(layer, x, weights)
    shape = () if kind == "shared" else (N,)
    assert layer.trainable_variables[0].shape == shape


@pytest.mark.parametrize("kind", ["shared", "unit"])
def test_gradient_of_tau_rc_through_the_membrane(kind, float64):
    """Below threshold the voltage is smooth in the time constant."""
    kwargs = {"trainable_parameters": {"tau_rc": kind}, "return_state": True}
    start = nengo.LIF(initial_state={"voltage": nengo.dists.Choice([0.2])})
    x = np.random.RandomState(0).uniform(0.5, 0.9, (2, 10, N))
    weights = np.random.RandomState(1).standard_normal((2, N))
    check_weight_gradient(neurons(start, **kwargs), x, weights, lambda y: y[1])


@pytest.mark.torch
def test_a_positive_parameter_stays_positive_whatever_the_step():
    layer = neurons(nengo.RectifiedLinear(), trainable_parameters=("amplitude",))
    model = keras.Sequential([keras.Input((3, 2)), layer])
    model.compile(keras.optimizers.SGD(0.5), "mse")
    x, impossible = np.ones((4, 3, 2)), -np.ones((4, 3, 2))
    model.fit(x, impossible, epochs=10, verbose=0)
    amplitude = numpy(layer.cell.parameters()["amplitude"])
    assert 0 < amplitude < 0.5
    assert layer.trainable_variables[0].name == "log_amplitude"


RANGES = {
    "tau_n": (nengo.AdaptiveLIF(), 0.001, 1e4),
    "tau_rc": (nengo.LIF(), 0.02 / 1e4, 0.02 * 1e4),
    "base_tau_n": (nengo.RegularSpiking(nengo.AdaptiveLIFRate()), 0.001, 1e4),
    "tau_recovery": (nengo.Izhikevich(), 0.02 / 1e4, 1.0),
    "tau_mem": (
        ksn.types.IntegrateAndFire(0.01, discretization="euler"),
        0.001,
        0.01 * 1e4,
    ),
    "negative_slope": (ksn.types.LeakyReLU(), 0.0, None),
    "alpha": (ksn.types.Elementwise("celu"), 1e-3, None),
}


@pytest.mark.parametrize("name", RANGES)
def test_an_optimizer_holds_parameters_to_where_steps_mean_something(name):
    kind, low, high = RANGES[name]
    layer = neurons(kind, trainable_parameters={name: "unit"})
    layer.build((None, None, N))
    (weight,) = layer.trainable_variables
    for sign, end in (1, low), (-1, high):
        optimizer = keras.optimizers.SGD(1e6)
        optimizer.apply([sign * ops.ones(weight.shape)], [weight])
        value = numpy(layer.cell.parameters()[name])
        if end is not None:
            np.testing.assert_allclose(value, end, rtol=1e-4, atol=1e-9)
        assert np.all(np.isfinite(value))


def test_a_start_beyond_the_range_is_kept():
    layer = neurons(nengo.AdaptiveLIF(tau_n=0.0005), trainable_parameters=["tau_n"])
    layer.build((None, None, N))
    keras.optimizers.SGD(1.0).apply([ops.zeros(())], layer.trainable_variables)
    value = numpy(layer.cell.parameters()["tau_n"])
    np.testing.assert_allclose(value, 0.0005, rtol=1e-5)


def test_what_starts_at_zero_has_no_logarithm_to_train():
    with pytest.raises(ValueError, match="tau_ref is trained as its logarithm.*0.0"):
        neurons(nengo.LIFRate(tau_ref=0), trainable_parameters=["tau_ref"])


@pytest.mark.parametrize("reset", ["value", "subtract"])
def test_a_reset_that_is_trained_into_the_threshold_has_slopes(reset):
    kind = ksn.types.IntegrateAndFire(0.01, reset=reset)
    layer = neurons(
        kind,
        surrogate="triangle",
        trainable_parameters=["v_reset", "v_threshold"],
    )
    x = np.full((1, 5, N), 3.0, "float32")
    layer.build(x.shape)
    for weight in layer.trainable_variables:
        weight.assign(ops.ones(()))
    y, slopes = gradient(lambda x: layer(x, training=True), x)
    assert np.any(y) and np.all(np.isfinite(y)) and np.all(np.isfinite(slopes))


@pytest.mark.torch
def apart(**kwargs):
    """A type whose neurons start with constants of their own."""
    taus = np.linspace(0.002, 0.02, 6)
    kind = ksn.types.IntegrateAndFire(tau_mem=taus, r=[1.0, 1.2, 1.4], v_threshold=0.5)
    return taus, neurons(kind, **kwargs)


@slow_on_jax
def test_parameters_that_start_apart_are_trained(tmp_path):
    taus, plain = apart()
    _, layer = apart(trainable_parameters={"tau_mem": "unit", "v_threshold": "unit"})
    x = np.random.RandomState(0).uniform(0, 2, (2, 15, 2, 3)).astype("float32")
    expected = run(plain, x)
    assert np.any(expected)
    np.testing.assert_allclose(run(layer, x), expected, rtol=1e-5)
    np.testing.assert_allclose(
        numpy(layer.cell.parameters()["tau_mem"]), taus.reshape(2, 3), rtol=1e-6
    )
    model = keras.Sequential([keras.Input(x.shape[1:]), layer])
    model.compile(keras.optimizers.Adam(0.05), "mse")
    model.fit(x, 0 * x, epochs=2, verbose=0)
    trained = numpy(layer.cell.parameters()["tau_mem"])
    assert np.all(np.abs(trained - taus.reshape(2, 3)) > 1e-6)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(
        loaded.predict(x, verbose=0), model.predict(x, verbose=0)
    )


@slow_on_jax
def test_parameters_that_start_apart_reach_nengo_once_trained():
    kind = ksn.types.IntegrateAndFire(
        tau_mem=np.linspace(0.002, 0.02, 8), amplitude=1e-3
    )
    layer = neurons(kind, trainable_parameters={"tau_mem": "unit"})
    inputs = keras.Input((20, 4))
    outputs = keras.layers.Dense(2)(layer(keras.layers.Dense(8)(inputs)))
    model = keras.Model(inputs, outputs)
    (weight,) = layer.trainable_weights
    weight.assign(weight + np.linspace(-0.5, 0.5, 8))
    x = np.random.RandomState(0).uniform(0, 5, (2, 20, 4)).astype("float32")
    assert np.any(run(model, x))
    assert ksn.to_nengo(model).verify(x).ok


def test_one_value_for_parameters_that_start_apart_is_refused():
    with pytest.raises(ValueError, match="tau_mem.*'unit'"):
        apart(trainable_parameters=("tau_mem",))


def test_trained_parameters_start_at_the_types_own():
    names = {"tau_rc": "unit", "amplitude": "shared"}
    layer = neurons(RATED["LIF"], trainable_parameters=names)
    x = CURRENTS.astype("float32")
    np.testing.assert_allclose(run(layer, x), run(neurons(RATED["LIF"]), x), rtol=1e-5)
    parameters = layer.cell.parameters()
    np.testing.assert_allclose(numpy(parameters["tau_rc"]), np.full(N, 0.03), rtol=1e-6)
    np.testing.assert_allclose(numpy(parameters["amplitude"]), 2, rtol=1e-6)


# --- initial state and random types -------------------------------------------


@pytest.mark.torch
def test_a_seed_draws_nengos_initial_state_on_every_backend():
    layer = Neurons("lif", seed=5)
    layer.build((None, None, 2, 3))
    rng = np.random.RandomState(5)
    expected = nengo.LIF().make_state(6, rng=rng)["voltage"].reshape(2, 3)
    actual = numpy(layer.get_initial_state(2)[0])
    np.testing.assert_allclose(actual, np.stack([expected] * 2), rtol=1e-6)


@pytest.mark.torch
@pytest.mark.parametrize("name", ["LIF", "PoissonSpiking"])
def test_without_a_seed_kerass_own_makes_runs_reproducible(name):
    x = CURRENTS.astype("float32")
    runs = []
    for seed in (1, 1, 2):
        keras.utils.set_random_seed(seed)
        runs.append(run(neurons(RATED[name], seed=None), x))
    np.testing.assert_array_equal(runs[0], runs[1])
    assert np.any(runs[0] != runs[2])


@pytest.mark.torch
@pytest.mark.parametrize("name", ["LIF", "PoissonSpiking"])
def test_the_drawn_state_is_one_of_the_weights(name):
    layer, other = (neurons(RATED[name], seed=seed) for seed in (1, 2))
    x = CURRENTS.astype("float32")
    y = run(layer, x)
    assert np.any(run(other, x) != y)
    other.set_weights(layer.get_weights())
    np.testing.assert_array_equal(run(other, x), y)


@pytest.mark.torch
@pytest.mark.parametrize("name", ["PoissonSpiking", "StochasticSpiking", "LIF"])
def test_items_of_a_batch_differ_only_if_the_type_is_random(name):
    y = run(neurons(NEURONS[name]), np.full((3, TIME, N), 2, "float32"))
    assert np.any(y)
    for i in range(3):
        assert np.any(y[i] != y[i - 1]) == (name != "LIF")


@pytest.mark.torch
def test_random_spikes_go_on_where_the_state_ended():
    x = np.full((2, TIME, N), 2, "float32")
    layer = neurons(NEURONS["PoissonSpiking"], stateful=True)
    first, second = run(layer, x), run(layer, x)
    assert np.any(first != second)
    layer.reset_state()
    np.testing.assert_array_equal(run(layer, x), first)


# --- outputs ------------------------------------------------------------------


@pytest.mark.torch
@pytest.mark.parametrize("dt", [0.001, 0.0025])
def test_a_spike_has_the_height_amplitude_over_dt(dt):
    layer = neurons(nengo.LIF(amplitude=3), dt=dt)
    y = run(layer, CURRENTS.astype("float32"))
    np.testing.assert_allclose(np.unique(y), [0, 3 / dt], rtol=1e-6)


@pytest.mark.torch
def test_features_of_any_shape_are_a_flat_population():
    x = CURRENTS[..., :4].astype("float32")
    grid = run(neurons("lif"), x.reshape(2, TIME, 2, 1, 2))
    np.testing.assert_array_equal(grid.reshape(x.shape), run(neurons("lif"), x))


@pytest.mark.torch
def test_one_step_of_one_item_is_the_start_of_a_longer_run():
    x = CURRENTS.astype("float32")
    whole = run(neurons("lif_rate"), x)
    np.testing.assert_allclose(run(neurons("lif_rate"), x[:1, :1]), whole[:1, :1])
    spikes = run(neurons("lif"), x)
    np.testing.assert_array_equal(run(neurons("lif"), x[:1, :1]), spikes[:1, :1])


@pytest.mark.torch
def test_nan_stays_with_its_item_and_neuron():
    x = CURRENTS.astype("float32")
    y = run(neurons("lif", return_state=True), x)
    x[1, 5, 2] = np.nan
    z = run(neurons("lif", return_state=True), x)
    assert np.isnan(z[1][1, 2])
    for clean, touched in zip(y, z, strict=True):
        np.testing.assert_array_equal(touched[0], clean[0])
        others = np.arange(N) != 2
        np.testing.assert_array_equal(touched[1][..., others], clean[1][..., others])


@pytest.mark.torch
def test_a_subclass_with_other_defaults_is_accepted():
    class Slow(nengo.LIF):
        def __init__(self, tau_rc=0.05):
            super().__init__(tau_rc=tau_rc)

    x = CURRENTS.astype("float32")
    expected = run(neurons(nengo.LIF(0.05)), x)
    np.testing.assert_array_equal(run(neurons(Slow()), x), expected)


@pytest.mark.torch
@pytest.mark.parametrize("forward", ["spikes", "spike_aware", "rate"])
def test_its_cell_runs_in_a_plain_rnn(forward):
    x = CURRENTS.astype("float32")
    cell = NeuronsCell("lif", forward=forward, seed=1)
    actual = run(keras.layers.RNN(cell, return_sequences=True), x, training=True)
    expected = run(neurons("lif", forward=forward), x, training=True)
    np.testing.assert_allclose(actual, expected, rtol=1e-5)


# --- state between calls ------------------------------------------------------


@pytest.mark.torch
def test_reset_state_restores_the_initial_values():
    layer = neurons("lif", stateful=True)
    layer.build((2, TIME, N))
    initial = [numpy(v) for v in layer.states]
    assert np.all(initial[0] > 0)
    run(layer, CURRENTS.astype("float32"))
    assert np.any(numpy(layer.states[0]) != initial[0])
    layer.reset_state()
    for variable, value in zip(layer.states, initial, strict=True):
        np.testing.assert_array_equal(numpy(variable), value)


def stateful_model(**kwargs):
    inputs = keras.Input(batch_shape=(2, TIME, N))
    layer = neurons("lif", stateful=True, **kwargs)
    return keras.Model(inputs, keras.layers.Flatten()(layer(inputs))), layer


@pytest.mark.torch
@pytest.mark.parametrize("method", ["predict", "fit", "evaluate"])
def test_states_survive(method):
    model, layer = stateful_model(trainable_parameters=("amplitude",))
    model.compile("sgd", "mse")
    x = np.concatenate([CURRENTS, CURRENTS[::-1]]).astype("float32")
    expected = neurons("lif", return_state=True)
    _, *state = expected(x[:2])
    _, *state = run(expected, x[2:], initial_state=state)
    if method == "predict":
        model.predict(x, batch_size=2, verbose=0)
    else:
        options = {"shuffle": False} if method == "fit" else {}
        y = np.zeros((4, TIME * N))
        getattr(model, method)(x, y, batch_size=2, verbose=0, **options)
    for variable, value in zip(layer.states, state, strict=True):
        np.testing.assert_allclose(numpy(variable), value, rtol=1e-4, atol=1e-5)


@pytest.mark.torch
@pytest.mark.parametrize("save_state", [True, False])
def test_a_file_keeps_the_running_state_only_on_request(save_state, tmp_path):
    model, layer = stateful_model(save_state=save_state)
    initial = [numpy(v) for v in layer.states]
    model(CURRENTS.astype("float32"))
    running = [numpy(v) for v in layer.states]
    assert np.any(running[0] != initial[0])
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras").layers[1]
    expected = running if save_state else initial
    for variable, value in zip(again.states, expected, strict=True):
        np.testing.assert_array_equal(numpy(variable), value)
    again.reset_state()
    np.testing.assert_array_equal(numpy(again.states[0]), initial[0])


@pytest.mark.torch
@pytest.mark.parametrize("stateful", [True, False])
def test_stateful_and_stateless_layers_exchange_weights(stateful, tmp_path):
    source, target = (
        keras.Sequential(
            [keras.Input(batch_shape=(2, 4, N)), neurons("lif", seed=s, stateful=flag)]
        )
        for s, flag in ((1, stateful), (2, not stateful))
    )
    x = CURRENTS[:, :4].astype("float32")
    source.save_weights(tmp_path / "x.weights.h5")
    target.load_weights(tmp_path / "x.weights.h5")
    target.layers[0].reset_state()
    np.testing.assert_array_equal(run(target, x), run(source, x))
    target.set_weights(source.get_weights())


# --- bad input ----------------------------------------------------------------


class Own(nengo.LIF):
    def step(self, dt, J, output, voltage, refractory_time):
        output[...] = 0


@pytest.mark.torch
@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"neuron_type": "lif2"}, ValueError, "'lif2'.*lif_rate.*nengo.LIF"),
        ({"neuron_type": nengo.LIF}, TypeError, "class.*LIF.*instance"),
        ({"neuron_type": None}, TypeError, "None.*instance"),
        ({"neuron_type": Own()}, NotImplementedError, "Own redefines step.*Known"),
        ({"dt": 0}, ValueError, "seconds.*received 0"),
        ({"dt": -0.001}, ValueError, "received -0.001"),
        ({"dt": float("nan")}, ValueError, "received nan"),
        ({"dt": float("inf")}, ValueError, "received inf"),
        ({"dt": "0.001"}, ValueError, "received '0.001'"),
        ({"dt": True}, ValueError, "received True"),
        ({"forward": "rates"}, ValueError, "spike_aware.*received 'rates'"),
        ({"dt": 0.003, "forward": "rate"}, ValueError, "tau_ref=0.002.*dt <= tau_ref"),
        (
            {"dt": 0.003, "forward": "spike_aware", "neuron_type": "adaptive_lif"},
            ValueError,
            "AdaptiveLIF.*shorter than dt",
        ),
        (
            {"neuron_type": "izhikevich", "forward": "rate"},
            ValueError,
            "Izhikevich.* has none.*forward='spikes'",
        ),
        (
            {"forward": "rate", "surrogate": "arctan"},
            ValueError,
            "Arctan.*SoftLIF",
        ),
        ({"surrogate": "atan"}, ValueError, "'atan'.*'arctan'"),
        (
            {"trainable_parameters": ("tau",)},
            ValueError,
            "'tau'.*'tau_rc', 'amplitude'",
        ),
        (
            {"trainable_parameters": {"tau_rc": "all"}},
            ValueError,
            "'shared'.*'unit'.*'all'",
        ),
        ({"trainable_parameters": 3}, ValueError, "names.*received 3"),
        ({"trainable": ("tau_rc",)}, TypeError, r"'tau_rc',.*trainable_parameters"),
        ({"seed": "one"}, ValueError, "integer.*'one'"),
        ({"seed": 1.5}, ValueError, "integer.*1.5"),
        ({"seed": -1}, ValueError, "integer.*-1"),
        ({"return_sequence": True}, ValueError, "return_sequence"),
    ],
    ids=str,
)
def test_arguments_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        Neurons(**arguments)


@pytest.mark.torch
@pytest.mark.parametrize(
    ("arguments", "shape", "message"),
    [
        ({}, (3,), r"\(batch, time, \*features\).*\(None, 3\).*Repeat"),
        ({}, (None, None), r"feature dimension known.*\(None,\).*keras.Input"),
        ({"stateful": True}, (4, 3), r"fixed batch size.*\(None, 4, 3\).*batch_shape"),
        ({"unroll": True}, (None, 3), r"unroll.*\(None, None, 3\).*unroll=False"),
        ({}, (0, 3), r"at least one step.*\(None, 0, 3\)"),
    ],
)
def test_shapes_refused(arguments, shape, message):
    with pytest.raises(ValueError, match=message):
        Neurons(**arguments)(keras.Input(shape))


@pytest.mark.torch
def test_other_features_than_it_was_built_for_are_refused():
    layer = Neurons()
    layer(np.ones((2, 4, 1), "float32"))
    with pytest.raises(ValueError, match=r"\(None, None, 1\).*\(2, 4, 3\)"):
        layer(np.ones((2, 4, 3), "float32"))


def test_another_batch_size_is_refused_when_stateful():
    layer = Neurons(stateful=True)
    layer(np.ones((2, 4, 3), "float32"))
    with pytest.raises(ValueError, match="batch size 2; received 3.*batch_shape"):
        layer(np.ones((3, 4, 3), "float32"))
    with pytest.raises(ValueError, match="batch size 2; received 3"):
        layer(keras.Input(batch_shape=(3, 4, 3)))


@pytest.mark.torch
@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ([(2, 3)], "2 states.*'voltage', 'refractory'.*with 1"),
        ([(2, 3)] * 3, "2 states.*with 3"),
        ([(2, 3), (2, 4)], r"'refractory'.*\(None, 3\).*\(2, 4\).*return_state"),
    ],
)
def test_initial_states_refused(shapes, message):
    states = [ops.ones(shape) for shape in shapes]
    with pytest.raises(ValueError, match=message):
        Neurons()(ops.ones((2, 4, 3)), initial_state=states)


@pytest.mark.torch
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "mixed_float16"])
def test_half_precision_membranes_are_refused_in_a_plain_rnn(dtype):
    rnn = keras.layers.RNN(NeuronsCell("lif", dtype=dtype), dtype=dtype)
    x = ops.ones((2, 4, 3), dtype=rnn.compute_dtype)
    with pytest.raises(ValueError, match="'voltage' in float32.*layers.Neurons"):
        rnn(x)


# --- what a call is given -------------------------------------------------------------


@pytest.mark.parametrize("shape", [(2, 9), (2, 7), (3, 8), (1, 8), (2,), (2, 8, 3)])
def test_masks_of_another_sequence_are_refused(shape):
    layer = Neurons("lif", return_sequences=True)
    words = rf"mask.*\(2, 8, 3\).*{re.escape(str(shape))}"
    with pytest.raises(ValueError, match=words):
        layer(np.ones((2, 8, 3)), mask=np.ones(shape, bool))


@pytest.mark.parametrize("items", [1, 3])
def test_states_of_other_items_are_refused(items):
    layer = ksn.layers.Neurons("lif", return_sequences=True)
    x = np.ones((2, 8, 3))
    layer(x)
    states = [np.ones((items, 3)), np.ones((items, 3))]
    with pytest.raises(ValueError, match=r"initial_state.*return_state|as many items"):
        layer(x, initial_state=states)
    with pytest.raises(ValueError, match="as many items"):
        layer.cell(x[:, 0], states)


@pytest.mark.parametrize("dtype", ["int32", "uint8", "complex64", "bool", "string", 3])
@pytest.mark.parametrize("make", [ksn.layers.Neurons, ksn.layers.NeuronsCell])
def test_dtypes_without_fractions_are_refused(make, dtype):
    with pytest.raises(ValueError, match=f"dtype.*received {dtype!r}.*mixed_float16"):
        make("lif", dtype=dtype)


@pytest.mark.parametrize("dtype", ["float16", "mixed_float16", "bfloat16", "float32"])
def test_floats_and_policies_are_dtypes(dtype):
    layer = ksn.layers.Neurons("lif", dtype=keras.dtype_policies.get(dtype))
    assert layer(np.ones((1, 4, 2))).shape == (1, 4, 2)[::2]


def test_complex_inputs_are_refused():
    layer = ksn.layers.Neurons("lif")
    with pytest.raises(ValueError, match="real numbers; received 'complex64'"):
        layer(keras.ops.cast(np.ones((1, 4, 2)), "complex64"))


@pytest.mark.parametrize("number", [np.float32(0.002), np.float64(0.002), np.int64(1)])
def test_numbers_of_numpy_are_numbers(number):
    layer = ksn.layers.Neurons("lif", dt=number, return_sequences=np.bool_(True))
    assert layer.cell.dt == float(number)
    assert layer(np.ones((1, 4, 2))).shape == (1, 4, 2)


@pytest.mark.parametrize("number", [False, np.float32(0.0), np.array(0.0), 0])
def test_what_nengo_takes_for_a_number_is_a_parameter(number):
    x = np.full((1, 40, 2), 2.0, "float32")
    made, plain = (
        ksn.layers.Neurons(nengo.LIF(min_voltage=v), return_sequences=True, seed=0)
        for v in (number, 0.0)
    )
    np.testing.assert_array_equal(made(x), plain(x))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: ksn.layers.Neurons(nengo.LIF(tau_rc=20)), "tau_rc .* 20 ms are 0.02"),
        (lambda: ksn.layers.Neurons("lif", dt=1), "dt is in seconds.* 1 ms are 0.001"),
        (lambda: ksn.layers.Synapse(20), "synapse .* 20 ms are 0.02"),
        (lambda: ksn.layers.Synapse(nengo.Alpha(5)), "synapse .* 5 ms are 0.005"),
        (lambda: ksn.layers.Delay(3), "delay .* 3 ms are 0.003"),
        (lambda: ksn.layers.LatencyEncoder(tau=10), "tau .* 10 ms are 0.01"),
        (lambda: ksn.layers.Ensemble(5, 1, synapse=30), "synapse .* 30 ms are 0.03"),
    ],
)
def test_milliseconds_for_seconds_are_a_warning(make, words):
    with pytest.warns(UserWarning, match=words):
        make()


@pytest.mark.filterwarnings("error")
def test_time_may_count_in_steps():
    ksn.layers.Neurons(nengo.LIF(tau_rc=20, tau_ref=2), dt=1)
    ksn.layers.Synapse(20, dt=1)
    ksn.layers.Neurons("adaptive_lif")


@pytest.mark.parametrize("forward", ["spikes", "spike_aware", "rate"])
def test_a_masked_step_sends_no_spike(forward):
    """Counts of a padded sequence are those of the sequence without its padding."""
    layer = Neurons(nengo.LIF(tau_rc=0.003), forward=forward, return_sequences=True)
    x, mask = np.full((1, 30, 4), 9.0), np.arange(30)[None] < 17
    padded = numpy(layer(x, mask=mask)).sum(axis=1)
    np.testing.assert_array_equal(padded, numpy(layer(x[:, :17])).sum(axis=1))
    assert padded.min() > 0
    assert not np.any(numpy(layer(x, mask=mask, training=True))[:, 17:])


def test_spikes_of_an_encoder_are_none_where_a_mask_says_so():
    layer = ksn.layers.PoissonEncoder(500, seed=0, return_sequences=True)
    x, mask = np.ones((1, 30, 4)), np.arange(30)[None] < 17
    assert not np.any(numpy(layer(x, mask=mask))[:, 17:])


@pytest.mark.parametrize("setting", ["set_floatx", "set_dtype_policy"])
def test_two_settings_of_precision_that_disagree_are_told(setting, recwarn):
    policy = keras.config.dtype_policy()
    try:
        getattr(keras.config, setting)("float64")
        with pytest.warns(UserWarning, match="set_dtype_policy"):
            ksn.layers.Neurons()
        recwarn.clear()
        ksn.layers.Neurons(dtype=ksn.layers.Neurons(dtype="float32").dtype_policy)
        ksn.layers.Synapse(0.01, dtype="float64")
        keras.config.set_floatx("float64")
        keras.config.set_dtype_policy("float64")
        ksn.layers.Neurons()
        keras.config.set_floatx("float32")
        keras.config.set_dtype_policy("mixed_float16")
        ksn.layers.Neurons()
    finally:
        keras.config.set_floatx("float32")
        keras.config.set_dtype_policy(policy)
    assert not [w for w in recwarn if "set_dtype_policy" in str(w.message)]


@pytest.mark.skipif(BACKEND != "jax", reason="modes are JAX's")
def test_forward_mode_is_that_of_steps_written_out():
    import jax

    x, v, w = np.random.RandomState(0).uniform(0, 3, (3, 1, 4, 2)).astype("float32")
    looped, unrolled = (
        ksn.layers.Neurons(seed=0, return_sequences=True, unroll=unroll)
        for unroll in (False, True)
    )
    with pytest.raises(TypeError, match="can't apply forward-mode"):
        jax.jvp(looped, (x,), (v,))
    y, slope = jax.jvp(unrolled, (x,), (v,))
    np.testing.assert_array_equal(y, looped(x))
    (pulled,) = jax.vjp(looped, x)[1](w)
    assert np.any(slope)
    np.testing.assert_allclose(np.vdot(w, slope), np.vdot(pulled, v), rtol=1e-4)
