"""An exported network gives what the Keras model gives."""

import keras
import nengo
import numpy as np
import pytest
from keras import layers

import keras_spiking_nengo as ksn
from keras_spiking_nengo.convert import to_nengo
from tests.builders import (
    batch,
    neurons,
    presented,
    randomise,
    sequence,
    static,
    synapse,
    temporal,
)
from tests.cases import MODELS, NEURONS, RANDOM, STATIC_LAYERS, SYNAPSES, make
from tests.conftest import BACKEND
from tests.marks import TAKES_TURNS, slow_on_jax, some_on_jax

pytestmark = TAKES_TURNS

# What JAX runs by default: one of each kind.
ON_JAX = (
    "Dense(relu)",
    "Conv1D(strided)",
    "Conv2D(same)",
    "AveragePooling2D",
    "Flatten",
    *("AdaptiveLIF", "Izhikevich", "IntegrateAndFire", "RegularSpiking", "SoftLIFRate"),
    *("Alpha", "LinearFilter(zoh)", "Lowpass", "None", "Triangle"),
    *(
        "deep",
        "delays",
        "images",
        "keyed",
        "network",
        "nested",
        "presented",
        "residual",
    ),
    *("trained", "trained memory"),
)


def rounding(name):
    """Tolerance of outputs in double precision."""
    # keras.ops.tanh computes in single precision on JAX, whatever it is given.
    return 1e-6 if "anh" in name and BACKEND == "jax" else 1e-9


def check(model, x, tolerance=1e-9):
    """Outputs are equal to rounding, and all spikes are equal."""
    export = to_nengo(model)
    report = export.verify(x, rtol=tolerance, atol=tolerance)
    assert report.ok, f"\n{report}"
    for row in report.spikes:
        assert row.total > 0, f"\n{report}"
    return export


def test_catalogues_are_not_empty():
    assert len(MODELS) > 20 and len(STATIC_LAYERS) > 30


@pytest.mark.parametrize("name", some_on_jax(STATIC_LAYERS, ON_JAX))
def test_layer_without_time(name, float64):
    make_layer, shape = STATIC_LAYERS[name]
    model = randomise(static(make_layer(), shape=shape))
    check(model, batch(model), rounding(name))


@pytest.mark.parametrize("name", some_on_jax(STATIC_LAYERS, ON_JAX))
def test_layer_at_every_step(name, float64):
    make_layer, shape = STATIC_LAYERS[name]
    wrapped = keras.layers.TimeDistributed(make_layer())
    model = randomise(temporal(wrapped, shape=shape))
    check(model, sequence(model), rounding(name))


@pytest.mark.parametrize(
    "name", some_on_jax([name for name in NEURONS if name not in RANDOM], ON_JAX)
)
def test_neurons(name, float64):
    model = temporal(neurons(NEURONS[name]))
    x = 5 * sequence(model)
    tolerance = rounding(name)
    report = to_nengo(model).verify(x, rtol=tolerance, atol=tolerance)
    assert report.ok, f"\n{report}"
    assert len(report.spikes) == NEURONS[name].spiking


@pytest.mark.parametrize("delay", [0, 1])
@pytest.mark.parametrize("name", some_on_jax(SYNAPSES, ON_JAX))
def test_synapse(name, delay, float64):
    model = temporal(synapse(SYNAPSES[name], delay=delay), shape=(2, 3))
    check(model, sequence(model))


@pytest.mark.parametrize("name", some_on_jax(MODELS, ON_JAX))
def test_model(name, float64):
    model, x = make(name)
    export = check(model, x)
    for layer in model.layers:
        assert export.layers[layer.name], layer.name
    for vertex, thing in export.vertices.items():
        assert thing.label == vertex


@pytest.mark.parametrize(
    "name", some_on_jax(["dense", "presented", "images", "no lag"], ["presented"])
)
@slow_on_jax
def test_model_in_single_precision(name):
    model, x = make(name)
    report = to_nengo(model).verify(x)
    assert report.ok, f"\n{report}"


def test_initial_states_are_those_of_the_layer():
    kind = nengo.AdaptiveLIF(
        initial_state={
            "refractory_time": nengo.dists.Uniform(0, 0.01),
            "adaptation": nengo.dists.Uniform(0, 1),
        }
    )
    model = temporal(neurons(kind, name="spikes"))
    (ensemble,) = to_nengo(model).layers["spikes"]
    state = ensemble.neuron_type.initial_state
    voltage, refractory, adaptation = (
        keras.ops.convert_to_numpy(weight) for weight in model.layers[0].cell.weights
    )
    np.testing.assert_allclose(state["voltage"], voltage)
    np.testing.assert_allclose(state["adaptation"], adaptation)
    time = np.log(refractory) * kind.tau_rc
    np.testing.assert_allclose(state["refractory_time"], time, rtol=1e-6)
    assert time.max() > 0


def test_initial_states_count(float64):
    kind = nengo.LIF(initial_state={"refractory_time": nengo.dists.Uniform(0, 0.01)})
    model = temporal(neurons(kind, trainable_parameters=("tau_rc",)))
    model.trainable_weights[0].assign(model.trainable_weights[0] + 0.5)
    check(model, 5 * sequence(model))


def test_trained_values_are_written():
    model, _ = make("trained")
    export = to_nengo(model)
    (first, second) = [
        export.vertices[layer.name].neuron_type
        for layer in model.layers
        if isinstance(layer, ksn.layers.Neurons)
    ]
    grown = np.exp(0.3)
    assert first.tau_rc == pytest.approx(0.003 * grown)
    assert first.amplitude == pytest.approx(grown)
    assert second.amplitude == pytest.approx(grown)
    assert second.base_type.tau_rc == pytest.approx(0.02 * grown)
    lowpass, alpha = [c.synapse for c in export.net.all_connections if c.synapse]
    assert lowpass.tau == pytest.approx(0.01 * grown)
    assert alpha.tau == pytest.approx(0.005 * grown)
    assert alpha.den[0] == pytest.approx(alpha.tau**2)


def test_small_network_is_native():
    model = presented(
        layers.Dense(12, name="in"),
        neurons(name="spikes"),
        synapse(0.005, name="filter"),
        layers.Dense(8, name="middle"),
        neurons(name="more"),
    )
    export = to_nengo(randomise(model))
    assert [ens.label for ens in export.net.all_ensembles] == ["spikes", "more"]
    assert len(export.net.all_nodes) == 1
    first, second = export.net.all_connections
    spikes, more = export.net.all_ensembles
    assert (first.pre_obj, first.post_obj) == (export.net.nodes[0], spikes.neurons)
    assert (second.pre_obj, second.post_obj) == (spikes.neurons, more.neurons)
    assert first.synapse is None and second.synapse == nengo.Lowpass(0.005)
    assert second.label == "filter+middle"
    kernel = keras.ops.convert_to_numpy(model.get_layer("middle").kernel)
    np.testing.assert_array_equal(second.transform.init, kernel.T)
    np.testing.assert_array_equal(spikes.gain, np.ones(12))
    np.testing.assert_array_equal(
        spikes.bias, keras.ops.convert_to_numpy(model.get_layer("in").bias)
    )
    assert export.layers["filter"] == export.layers["middle"] == (second,)
    assert export.layers["spikes"] == (spikes,)


def test_bias_before_a_synapse_is_filtered():
    model = temporal(layers.Dense(3, name="in"), synapse(0.1, name="slow"))
    model.get_layer("in").bias.assign([1.0, 2.0, 3.0])
    out = to_nengo(model).run(np.zeros((1, 10, 5)))
    filtered = (1 - np.exp(-0.01 * np.arange(10)))[:, None] * [1.0, 2.0, 3.0]
    np.testing.assert_allclose(out[0], filtered, rtol=1e-6)


def test_layers_of_submodels_have_paths():
    model, _ = make("nested")
    export = to_nengo(model)
    assert {"encoder/in", "encoder/spikes", "decoder/one"} < set(export.layers)
    assert set(export.layers["encoder/spikes"]) <= set(export.layers["encoder"])


def test_shared_layers_are_written_twice():
    model, _ = make("shared")
    export = to_nengo(model)
    assert set(export.vertices) >= {"spikes", "spikes:2"}
    assert len(export.layers["spikes"]) == 2


def test_export_leaves_the_model_as_it_was():
    model, x = make("nested")
    before = model.predict(x, verbose=0)
    to_nengo(model).verify(x)
    assert model.get_layer("encoder").output is not None
    for one, other in zip(before, model.predict(x, verbose=0), strict=True):
        np.testing.assert_array_equal(one, other)


def test_runs_in_a_plain_simulator():
    model, x = make("dense")
    export = to_nengo(model)
    (name,) = export.inputs
    frames = nengo.processes.PresentInput(x[0], export.dt)
    export.inputs[name].output = frames
    with nengo.Simulator(export.net, dt=export.dt, progress_bar=False) as sim:
        sim.run_steps(x.shape[1])
    (probe,) = export.outputs.values()
    np.testing.assert_array_equal(sim.data[probe], export.run(x[:1])[0])
    assert export.inputs[name].output is frames


@pytest.mark.filterwarnings("error::UserWarning")
def test_networks_are_written_without_warnings():
    model, _ = make("network")
    assert to_nengo(model).layers["network"]


@pytest.mark.parametrize("strict", [True, False])
def test_states_that_are_shown_become_probes(strict, float64):
    with nengo.Network(seed=0) as net:
        source = nengo.Node(np.zeros(1), label="source")
        ens = nengo.Ensemble(20, 1, label="ens")
        nengo.Connection(source, ens)
        connection = nengo.Connection(ens, nengo.Ensemble(5, 1, label="next"))
        nengo.Probe(ens, synapse=0.01, label="decoded")
        nengo.Probe(ens.neurons, "voltage", label="voltage")
        nengo.Probe(ens.neurons, "voltage", label="smooth", synapse=0.01)
        nengo.Probe(ens.neurons, label="sometimes", sample_every=0.002)
        nengo.Probe(connection, "weights", label="weights")
    x = np.random.RandomState(0).uniform(-1, 1, (2, 30, 1))
    model = ksn.from_nengo(net)
    export = to_nengo(model, strict=strict)
    assert not [n for n in export.net.all_nodes if callable(n.output)]
    assert export.verify(x).ok
    outputs, expected = export.run(x), model.predict(x, verbose=0)
    (voltage,) = (name for name in expected if name.endswith("voltage"))
    assert np.ptp(expected[voltage]) > 0.5
    for name, value in expected.items():
        np.testing.assert_allclose(outputs[name], value, atol=1e-9)
    decoded = keras.Model(model.input, model.output["decoded"])
    np.testing.assert_allclose(to_nengo(decoded).run(x), expected["decoded"], atol=1e-9)


def test_states_that_layers_take_are_refused():
    with nengo.Network(seed=0) as net:
        source = nengo.Node(np.zeros(1), label="source")
        ens = nengo.Ensemble(20, 1, label="ens")
        nengo.Connection(source, ens)
        nengo.Probe(ens.neurons, "voltage", label="voltage")
    x = keras.Input((None, 1))
    shown = ksn.layers.Network(net, return_sequences=True)(x)
    with pytest.raises(NotImplementedError, match="only a probe can read"):
        to_nengo(keras.Model(x, keras.layers.Dense(2)(shown)))
