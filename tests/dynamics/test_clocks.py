"""Refractory periods of any length and currents of any size, as nengo steps them."""

import keras
import nengo
import numpy as np
import pytest
from keras import ops

import keras_spiking_nengo as ksn
from keras_spiking_nengo.convert import to_nengo
from keras_spiking_nengo.dynamics.loops import compiled
from keras_spiking_nengo.dynamics.modes import FORWARDS
from keras_spiking_nengo.dynamics.surrogates import SoftLIF
from tests.gradients import gradient
from tests.marks import TAKES_TURNS, quick, slow_on_jax

pytestmark = TAKES_TURNS

RATIOS = [10.0**n for n in range(-3, 6)] + [30, 79, 85, 120, 600, 800]
KINDS = {
    "LIF": nengo.LIF,
    "AdaptiveLIF": nengo.AdaptiveLIF,
    # Is not folded.
    "floored": lambda **taus: nengo.LIF(min_voltage=-1, **taus),
}
TAUS = {
    "short membrane": lambda ratio: {"tau_ref": 0.002, "tau_rc": 0.002 / ratio},
    "long period": lambda ratio: {"tau_ref": 0.0005 * ratio, "tau_rc": 0.0005},
}
SURROGATES = ("arctan", "fast_sigmoid", "triangle", "straight_through", "soft_lif")


@pytest.fixture(autouse=True)
def _ignore_nengos_logarithms():
    with np.errstate(all="ignore"):
        yield


def nengo_spikes(kind, J, dtype, dt=0.001):
    zeros = {name: np.zeros(J.shape[1], dtype) for name in kind.state}
    outputs = np.zeros(J.shape, dtype)
    for current, output in zip(J.astype(dtype), outputs, strict=True):
        kind.step(dt, current, output, **zeros)
    return outputs


def from_zero(kind):
    """The same neurons, with a voltage of zero at the start."""
    start = {"voltage": nengo.dists.Choice([0])}
    options = {
        name: getattr(kind, name) for name in ("tau_rc", "tau_ref", "min_voltage")
    }
    return type(kind)(**options, initial_state=start)


def our_spikes(kind, J, **options):
    layer = ksn.layers.Neurons(from_zero(kind), return_sequences=True, **options)
    return ops.convert_to_numpy(layer(J[None]))[0]


def currents():
    rng = np.random.RandomState(0)
    return np.linspace(-1, 20, 30) * np.ones((150, 1)) + rng.normal(size=(150, 30))


@slow_on_jax
@pytest.mark.parametrize("varied", quick(TAUS, [*TAUS][:1]))
@pytest.mark.parametrize("name", quick(KINDS, ["AdaptiveLIF"]))
def test_any_ratio_of_the_time_constants_fires_as_in_nengo(name, varied, float64):
    J = currents()
    for ratio in RATIOS:
        kind = KINDS[name](**TAUS[varied](ratio))
        expected = nengo_spikes(kind, J, "float64")
        assert expected.any()
        np.testing.assert_array_equal(our_spikes(kind, J), expected, err_msg=str(ratio))


@pytest.mark.parametrize("run", [lambda f: f, compiled], ids=["layer", "compiled"])
def test_a_membrane_much_shorter_than_a_step_rounds_as_nengos(run):
    """It ends at its current but for rounding, whose logarithm Nengo takes."""
    J = currents().astype("float32")
    kind = nengo.AdaptiveLIF(tau_rc=0.001 / 40)
    layer = ksn.layers.Neurons(from_zero(kind), return_sequences=True)
    layer.build((1, *J.shape))
    spikes = ops.convert_to_numpy(run(layer)(ops.convert_to_tensor(J[None])))[0]
    np.testing.assert_array_equal(spikes, nengo_spikes(kind, J, "float32"))


@pytest.mark.parametrize("name", quick(["LIF", "AdaptiveLIF"], ["LIF"]))
def test_any_ratio_in_single_precision_is_within_a_spike(name):
    J = currents().astype("float32")
    for ratio in RATIOS:
        kind = KINDS[name](**TAUS["long period"](ratio))
        expected = (nengo_spikes(kind, J, "float64") > 0).sum(0)
        actual = (our_spikes(kind, J) > 0).sum(0)
        assert np.abs(actual - expected).max() <= 1, ratio


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("ratio", [0.1, 200])
def test_neurons_driven_hard_go_on_firing(name, ratio, float64):
    J = np.repeat([[-1e300, 1e10, 1e20, 1e100, 1e290, 1e300]], 100, 0)
    kind = KINDS[name](**TAUS["long period"](ratio))
    expected = nengo_spikes(kind, J, "float64")
    assert np.all(expected.sum(0)[1:] > 0)
    np.testing.assert_array_equal(our_spikes(kind, J), expected)


@pytest.mark.parametrize("name", KINDS)
def test_neurons_driven_hard_in_single_precision(name):
    J = np.repeat(np.float32([[1e10, 1e20, 1e25, 1e30, 1e37]]), 60, 0)
    kind = KINDS[name](tau_rc=0.02, tau_ref=0.0025)
    expected = nengo_spikes(kind, J, "float32")
    actual = our_spikes(kind, J)
    assert np.abs((actual > 0).sum(0) - (expected > 0).sum(0)).max() <= 1


@pytest.mark.parametrize("forward", FORWARDS)
@pytest.mark.parametrize("surrogate", quick(SURROGATES, ["arctan", "soft_lif"]))
def test_slopes_stay_finite_for_large_currents_and_long_periods(surrogate, forward):
    if forward != "spikes" and surrogate != "soft_lif":
        pytest.skip("needs a rate curve")
    J = np.float32([0, 0.5, 1, 1 + 1e-6, 2, 50, 1e6, 1e15, 1e30])
    x = np.repeat(J[None, None], 30, 1)
    for taus in ({}, {"tau_rc": 1e-4, "tau_ref": 0.01}):
        for kind in (nengo.LIF, nengo.AdaptiveLIF):
            layer = ksn.layers.Neurons(
                kind(**taus),
                surrogate=SoftLIF() if surrogate == "soft_lif" else surrogate,
                forward=forward,
                return_sequences=True,
                trainable_parameters=["tau_rc"],
            )
            layer.build(x.shape)
            y, slopes = gradient(lambda x, layer=layer: layer(x, training=True), x)
            assert np.all(np.isfinite(y)), kind
            assert np.all(np.isfinite(slopes)), kind


def test_slopes_are_those_of_the_other_clock(float64):
    """Where both can be carried, nothing tells them apart."""
    x = currents()[None] / 5
    weights = np.random.RandomState(1).normal(size=x.shape)
    found = []
    for start in (0, 2.0):  # of one neuron that is never heard
        times = np.zeros(31)
        times[-1] = start
        kind = nengo.LIF(initial_state={"refractory_time": times})
        layer = ksn.layers.Neurons(kind, seed=0, return_sequences=True)
        padded = np.concatenate([x, x[..., :1]], -1)
        layer.build(padded.shape)
        heard = np.concatenate([weights, 0 * weights[..., :1]], -1)
        y, slopes = gradient(
            lambda x, layer=layer: layer(x, training=True), padded, weights=heard
        )
        found.append((layer.cell.state_names[1], y[..., :-1], slopes))
    assert [name for name, *_ in found] == ["refractory", "refractory_time"]
    np.testing.assert_array_equal(found[0][1], found[1][1])
    np.testing.assert_allclose(found[0][2], found[1][2], rtol=1e-6, atol=1e-9)
    assert np.any(found[0][2])


def test_a_long_start_ends_when_it_should(float64):
    start = {"refractory_time": nengo.dists.Choice([0.1])}
    kind = nengo.LIF(tau_rc=0.001, initial_state=start)
    x = np.full((1, 120, 2), 10.0)
    spikes = ops.convert_to_numpy(ksn.layers.Neurons(kind, return_sequences=True)(x))
    # A hundredth step of 1 ms leaves nothing of it.
    assert np.flatnonzero(spikes[0, :, 0])[0] == 99


@pytest.mark.parametrize("time", [0.0, 0.0005])
def test_a_start_that_an_older_version_saved_is_read(time, tmp_path):
    start = {"refractory_time": nengo.dists.Choice([time])}
    kind = nengo.LIF(tau_rc=1e-5, tau_ref=0.002, initial_state=start)
    layers = [ksn.layers.Neurons(kind, seed=0) for _ in range(2)]
    models = [keras.Sequential([keras.Input((None, 3)), layer]) for layer in layers]
    cell = layers[0].cell
    place = cell.state_names.index("refractory_time")
    # Without a limit, which came later.
    cell._initial[place].assign(np.exp(np.full(3, time / kind.tau_rc)))
    models[0].save_weights(tmp_path / "old.weights.h5")
    models[1].load_weights(tmp_path / "old.weights.h5")
    times = layers[1].cell.initial_values()["refractory_time"]
    np.testing.assert_allclose(times, time, rtol=1e-5)
    models[1].save_weights(tmp_path / "new.weights.h5")
    models[0].load_weights(tmp_path / "new.weights.h5")
    np.testing.assert_array_equal(cell.initial_values()["refractory_time"], times)


def test_a_trained_membrane_that_grows_short_does_not_die():
    layer = ksn.layers.Neurons(
        nengo.LIF(tau_ref=0.004), return_sequences=True, trainable_parameters=["tau_rc"]
    )
    layer.build((1, None, 3))
    (weight,) = layer.trainable_weights
    weight.assign(ops.log(1e-5) + 0 * weight)
    spikes = ops.convert_to_numpy(layer(5 * np.ones((1, 100, 3), "float32")))
    assert np.all((spikes > 0).sum(1) >= 20)


def test_states_come_back_from_nengo():
    start = {"refractory_time": nengo.dists.Uniform(0.001, 0.01)}
    kind = nengo.LIF(tau_rc=1e-5, tau_ref=0.004, initial_state=start)
    model = keras.Sequential(
        [
            keras.Input((None, 3)),
            ksn.layers.Neurons(kind, return_sequences=True, name="n"),
        ]
    )
    (ensemble,) = to_nengo(model).layers["n"]
    voltage, time = map(ops.convert_to_numpy, model.layers[0].cell.weights)
    state = ensemble.neuron_type.initial_state
    np.testing.assert_allclose(state["refractory_time"], time)
    assert 0.001 <= time.min() < time.max() <= 0.01


@pytest.mark.parametrize(
    "kind",
    [
        nengo.LIF(),
        nengo.LIF(
            initial_state={
                "refractory_time": nengo.dists.Uniform(-0.01, 0.01),
            }
        ),
        nengo.LIF(tau_rc=1e-4, tau_ref=0.01),
        nengo.AdaptiveLIF(tau_n=0.05, min_voltage=-1),
        nengo.RegularSpiking(nengo.LIFRate()),
        nengo.RegularSpiking(nengo.AdaptiveLIFRate()),
        nengo.Izhikevich(),
    ],
    ids=lambda kind: type(kind).__name__,
)
def test_all_that_can_be_probed_is_nengos(kind):
    # Nengo finds gains for no longer periods.
    long = getattr(kind, "tau_ref", 0) > 0.005
    tuning = {"gain": np.full(20, 3.0), "bias": np.full(20, 2.0)} if long else {}
    with nengo.Network(seed=0) as net:
        ens = nengo.Ensemble(20, 1, neuron_type=kind, **tuning)
        nengo.Connection(nengo.Node([0.6]), ens)
        # Others of the class, whose time nobody sees.
        other = nengo.Ensemble(
            10, 1, neuron_type=type(kind)() if isinstance(kind, nengo.LIF) else kind
        )
        nengo.Connection(ens, other)
        probes = [nengo.Probe(ens.neurons, name) for name in ens.neurons.probeable]
        probes.append(nengo.Probe(other.neurons))
    with nengo.Simulator(net, progress_bar=False) as theirs:
        theirs.run_steps(100)
    with ksn.Simulator(net, progress_bar=False, dtype="float64") as ours:
        ours.run_steps(100)
    for probe in probes:
        np.testing.assert_allclose(
            ours.data[probe],
            theirs.data[probe],
            rtol=1e-9,
            atol=1e-9,
            err_msg=probe.attr,
        )
