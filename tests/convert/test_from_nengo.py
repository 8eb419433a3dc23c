"""Nengo networks as Keras models, and back."""

import cProfile
import json
import pstats
import sys

import keras
import nengo
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from keras import ops

import keras_spiking_nengo as ksn
from keras_spiking_nengo.convert.nengo import reading
from tests.arrays import assert_near, numpy
from tests.builders import data
from tests.cases import (
    MODELS,
    NETWORKS,
    RANDOM_NETWORKS,
    generated_models,
    generated_networks,
    make,
)
from tests.marks import TAKES_TURNS, quick, slow_on_jax
from tests.simulated import by_nengo

pytestmark = TAKES_TURNS

STEPS = 30
SLOW = settings(
    max_examples=500,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
QUICK = settings(SLOW, max_examples=8)


def noise(nodes, batch=2, steps=STEPS, seed=0):
    rng = np.random.RandomState(seed)
    return [rng.uniform(-2, 2, (batch, steps, node.size_out)) for node in nodes]


def inputs_of(net):
    return [n for n in net.all_nodes if isinstance(n.output, np.ndarray)]


def batch_by_nengo(net, given, seed=0):
    """Data of each probe, by item of a batch."""
    nodes = inputs_of(net)
    items = [
        by_nengo(net, dict(zip(nodes, item, strict=True)), STEPS, seed=seed).values()
        for item in (zip(*given, strict=True) if given else [()])
    ]
    return [np.stack(values) for values in zip(*items, strict=True)]


def run(model, given, steps=STEPS):
    x = given or [np.ones((1, steps, 1))]
    x = x[0] if len(x) == 1 else dict(zip(model.input, x, strict=True))
    y = model(x)
    return list(map(numpy, y.values() if isinstance(y, dict) else [y]))


def assert_equal(actual, expected, tolerance=1e-5):
    for ours, theirs in zip(actual, expected, strict=True):
        assert_near(ours, theirs, tolerance)


@QUICK
@given(generated_networks())
@slow_on_jax
def test_generated_networks(float64, net):
    given = noise(inputs_of(net))
    model = ksn.from_nengo(net)
    expected = batch_by_nengo(net, given)
    assert_equal(run(model, given), expected)
    # And back, all spikes of each layer too.
    export = ksn.to_nengo(model)
    x = dict(zip(export.inputs, given, strict=True)) if len(given) > 1 else given[0]
    report = export.verify(x)
    assert report.ok, f"\n{report}"


@pytest.mark.slow
@SLOW
@given(generated_networks())
def test_many_generated_networks(float64, net):
    test_generated_networks.hypothesis.inner_test(float64, net)


@pytest.mark.parametrize(
    "name",
    quick(
        [n for n in NETWORKS if n not in RANDOM_NETWORKS],
        ["voja", "probes"],
    ),
)
def test_everything_the_engine_knows(name, float64):
    net = NETWORKS[name]()
    given = [
        np.broadcast_to(node.output, (1, STEPS, node.size_out)).astype(float)
        for node in inputs_of(net)
    ]
    expected, others = (batch_by_nengo(net, given, seed=seed) for seed in (0, 1))
    actual = run(ksn.from_nengo(net), given)
    assert len(actual) == len(net.all_probes)
    for ours, one, other in zip(actual, expected, others, strict=True):
        if not one.size:  # sampled less often than that
            assert not ours.size
        elif not np.array_equal(one, other):  # drawn anew in each run
            assert ours.shape == one.shape
        else:
            assert_equal([ours], [one], 1e-7)


def check_comes_back(model, x, tolerance=1e-5):
    """`from_nengo(to_nengo(model))` gives what the model gives."""
    export = ksn.to_nengo(model)
    steps = export.graph.n_steps or STEPS
    given = []
    for port, values in zip(export.graph.inputs, export.arrays(x), strict=True):
        values = np.asarray(values)
        if port.temporal:
            steps = values.shape[1]
            given.append(values.reshape(*values.shape[:2], -1))
        else:
            flat = values.reshape(len(values), 1, -1)
            given.append(np.repeat(flat, steps, axis=1))
    probes = list(export.outputs.values())
    again = ksn.from_nengo(export.net, list(export.inputs.values()), probes, export.dt)
    found = run(again, given)
    expected = model.predict(x, verbose=0)
    if export.graph.keyed:
        expected = [expected[port.name] for port in export.graph.outputs]
    expected = keras.tree.flatten(expected)
    for port, ours, theirs in zip(export.graph.outputs, found, expected, strict=True):
        ours = ours if port.temporal else ours[:, -1]
        assert_equal([ours.reshape(theirs.shape)], [theirs], tolerance)


@pytest.mark.parametrize("name", quick(MODELS, ["network"]))
def test_exports_of_keras_models_come_back(name, float64):
    check_comes_back(*make(name))


@QUICK
@given(generated_models())
@slow_on_jax
def test_generated_models_come_back(float64, model):
    check_comes_back(model, data([(2, STEPS, x.shape[-1]) for x in model.inputs]))


@pytest.mark.slow
@SLOW
@given(generated_models())
def test_many_generated_models_come_back(float64, model):
    test_generated_models_come_back.hypothesis.inner_test(float64, model)


# --- what it is made of -----------------------------------------------------------


def chain(n=3, recurrent=False):
    with nengo.Network(seed=0, label="chain") as net:
        before = nengo.Node([0.0, 0.0], label="stimulus")
        for i in range(n):
            ens = nengo.Ensemble(20, 2, label=f"ens{i}")
            nengo.Connection(before, ens, label=f"into{i}")
            before = ens
        if recurrent:
            nengo.Connection(before, before, synapse=0.1)
        nengo.Probe(before, synapse=0.01, label="estimate")
    return net


def test_layers_have_the_labels_of_nengo():
    model = ksn.from_nengo(chain(2))
    assert model.name == "chain"
    assert [layer.name for layer in model.layers] == [
        "stimulus",
        "into0_synapse",
        "ens0_encoders",
        "ens0",
        "into1",
        "into1_synapse",
        "ens1_encoders",
        "ens1",
        "ens1_to_estimate",
        "ens1_to_estimate_synapse",
    ]
    kinds = {type(layer).__name__ for layer in model.layers}
    assert kinds == {"InputLayer", "Synapse", "Dense", "Neurons"}


def calls_to_read(n, recurrent):
    """How often Python calls a function while a network of `n` ensembles is read."""
    with nengo.Network(seed=0) as net:
        before = nengo.Node([0.0])
        for _ in range(n):
            ens = nengo.Ensemble(5, 1)
            nengo.Connection(before, ens)
            if recurrent:
                nengo.Connection(ens, ens, synapse=0.1)
            before = ens
        probe = nengo.Probe(before)
    reader = reading._reader(net, net.nodes, [probe], 0.001)
    profile = cProfile.Profile()
    graph = profile.runcall(reader.graph)
    assert len(graph.vertices) > n
    return pstats.Stats(profile).total_calls


@pytest.mark.parametrize("recurrent", [False, True])
def test_reading_grows_linearly(recurrent):
    few, many = (calls_to_read(n, recurrent) for n in (20, 80))
    assert many < 4.2 * few


def test_neurons_connected_to_themselves_are_recurrent_neurons(float64):
    rng = np.random.RandomState(0)
    with nengo.Network(seed=1) as net:
        node = nengo.Node([0.0, 0.0])
        kind = nengo.LIF(amplitude=0.02)
        ens = nengo.Ensemble(12, 2, neuron_type=kind, label="ens")
        nengo.Connection(node, ens)
        # From all of them to some, with the gains of those.
        weights = rng.normal(size=(9, 12), scale=0.01)
        back = ens.neurons, ens.neurons[3:]
        nengo.Connection(*back, transform=weights, synapse=0.004)
        nengo.Probe(ens.neurons)
        nengo.Probe(ens, synapse=0.01)
    model = ksn.from_nengo(net)
    layer = model.get_layer("ens")
    assert isinstance(layer, ksn.layers.RecurrentNeurons)
    assert layer.cell.recurrent_synapse == nengo.Lowpass(0.004)
    assert any(w is layer.cell.recurrent_kernel for w in model.trainable_weights)
    x = rng.uniform(-1, 1, (1, 100, 2))
    report = ksn.verify(model, net, x, rtol=1e-9, atol=1e-9)
    assert report.ok, report


@pytest.mark.parametrize("kind", ["two", "sparse", "learning", "part"])
def test_other_cycles_of_neurons_are_networks(kind):
    with nengo.Network(seed=1) as net:
        node = nengo.Node([0.0])
        ens = nengo.Ensemble(8, 1, label="ens")
        nengo.Connection(node, ens)
        options = {"transform": np.eye(8) * 1e-3, "synapse": 0.005}
        pre, rule = ens.neurons, nengo.BCM() if kind == "learning" else None
        if kind == "sparse":
            options["transform"] = nengo.Sparse((8, 8), [[0, 1]], 1e-3)
        if kind == "part":
            pre, options["transform"] = ens.neurons[:4], np.ones((8, 4)) * 1e-3
        for _ in range(2 if kind == "two" else 1):
            nengo.Connection(pre, ens.neurons, learning_rule_type=rule, **options)
        nengo.Probe(ens.neurons)
    model = ksn.from_nengo(net)
    assert isinstance(model.get_layer("ens"), ksn.layers.Network)


def test_what_runs_in_a_circle_is_a_network():
    model = ksn.from_nengo(chain(3, recurrent=True))
    (loop,) = [x for x in model.layers if isinstance(x, ksn.layers.Network)]
    assert [ens.label for ens in loop.cell.net.all_ensembles] == ["ens2"]
    assert loop.name == "ens2"


@slow_on_jax
def test_one_layer_on_request():
    net = chain(3)
    model = ksn.from_nengo(net, layered=False)
    assert [type(x) for x in model.layers[1:]] == [ksn.layers.Network]
    x = noise(net.nodes)[0].astype("float32")
    one = ops.convert_to_numpy(model(x))
    many = ops.convert_to_numpy(ksn.from_nengo(net)(x))
    np.testing.assert_allclose(one, many, atol=1e-4)


def learning():
    with nengo.Network(seed=0) as net:
        x, y = nengo.Node([0.0], label="x"), nengo.Node([0.0], label="y")
        pre = nengo.Ensemble(30, 1, label="pre")
        post = nengo.Ensemble(20, 1, label="post")
        error = nengo.Node(size_in=1, label="error")
        nengo.Connection(x, pre)
        learned = nengo.Connection(
            pre, post, function=lambda x: 0, learning_rule_type=nengo.PES(1e-3)
        )
        nengo.Connection(post, error)
        nengo.Connection(y, error, transform=-1)
        nengo.Connection(error, learned.learning_rule)
        nengo.Probe(post, synapse=0.01)
        nengo.Probe(pre.neurons, "voltage", label="voltage")
        nengo.Probe(learned, "weights", sample_every=0.005)
    return net


def voja():
    with nengo.Network(seed=0) as net:
        x = nengo.Node([0.0, 0.0], label="x")
        pre = nengo.Ensemble(30, 2, label="pre")
        post = nengo.Ensemble(20, 2, label="post")
        nengo.Connection(x, pre)
        nengo.Connection(pre, post, learning_rule_type=nengo.Voja(learning_rate=1e-2))
        nengo.Probe(post, synapse=0.01)
        nengo.Probe(pre.neurons)
    return net


class Running(nengo.Process):
    """The sum of what came in, over elements and steps."""

    def __init__(self):
        super().__init__(default_size_in=2, default_size_out=1)

    def make_step(self, shape_in, shape_out, dt, rng, state):
        total = np.zeros(shape_out)

        def step(t, x):
            total[:] += x.sum()
            return total

        return step


def python():
    with nengo.Network(seed=0) as net:
        x = nengo.Node([0.0, 0.0], label="x")
        turned = nengo.Node(lambda t, x: [x[1], t], size_in=2, label="turned")
        wave = nengo.Node(lambda t: np.sin(30 * t), label="wave")
        noise = nengo.Node(nengo.processes.WhiteSignal(1, 20, seed=1), label="noise")
        running = nengo.Node(Running(), size_in=2, size_out=3, label="running")
        nengo.Connection(x, running, synapse=None)
        direct = nengo.Ensemble(1, 2, neuron_type=nengo.Direct(), label="direct")
        noisy = nengo.Ensemble(
            20, 1, noise=nengo.processes.WhiteNoise(seed=2), label="noisy"
        )
        nengo.Connection(x, turned, synapse=None)
        nengo.Connection(x, direct[0], function=lambda x: x[0] * x[1], synapse=0.01)
        nengo.Connection(wave, direct[1], synapse=None)
        nengo.Connection(direct, noisy, function=np.prod)
        nengo.Connection(noise, noisy.neurons, transform=np.ones((20, 1)))
        for obj in (turned, running, direct, noisy, noisy.neurons[:3], wave, noise):
            nengo.Probe(obj)
    return net


def constants():
    with nengo.Network(seed=0) as net:
        ens = nengo.Ensemble(20, 1, label="ens")
        held = nengo.Node([0.5], label="held")
        nengo.Connection(held, ens, synapse=0.01)
        alone = nengo.Ensemble(10, 1, label="alone")
        for obj in (ens, held, alone):
            nengo.Probe(obj)
    return net


def part_of_neurons():
    with nengo.Network(seed=0) as net:
        x = nengo.Node([0.0], label="x")
        ens = nengo.Ensemble(5, 1, label="ens")
        nengo.Connection(x, ens.neurons[3], synapse=None)
        nengo.Probe(ens.neurons)
    return net


class Bent(nengo.synapses.Synapse):
    """A filter of a class of one's own, which is not linear."""

    def make_state(self, shape_in, shape_out, dt, dtype=None, y0=0):
        return {"y": np.zeros(shape_out)}

    def make_step(self, shape_in, shape_out, dt, rng, state):
        y = state["y"]

        def step(t, x):
            y[...] += 0.2 * (np.tanh(x) - y)
            return y

        return step


def bent():
    """Such filters on connections of all kinds, as the output of a node, on probes."""
    bent = Bent(default_size_in=2, default_size_out=2)
    with nengo.Network(seed=0) as net:
        x = nengo.Node([0.0, 0.0], label="x")
        through = nengo.Node(bent, size_in=2, label="through")
        first, last = (nengo.Ensemble(20, 2, label=label) for label in ("a", "b"))
        out = nengo.Node(size_in=1, label="out")
        nengo.Connection(x, through, synapse=None)
        nengo.Connection(through, first, synapse=bent)
        nengo.Connection(first, last, function=lambda x: x[::-1] ** 2, synapse=bent)
        nengo.Connection(last.neurons[:3], out, transform=np.ones((1, 3)), synapse=bent)
        nengo.Connection(last[0], out, synapse=0.01)
        nengo.Probe(out, synapse=0.01)
        nengo.Probe(last, synapse=bent)
        nengo.Probe(first.neurons, synapse=bent)
    return net


OTHERS = {f.__name__: f for f in (learning, voja, python, part_of_neurons, bent)}


@pytest.mark.parametrize("name", quick(OTHERS, ["learning", "part_of_neurons", "bent"]))
@slow_on_jax
def test_what_is_not_simple(name, float64):
    net = OTHERS[name]()
    given = noise(inputs_of(net), batch=1)
    assert_equal(run(ksn.from_nengo(net), given), batch_by_nengo(net, given), 1e-7)


def test_outputs_are_called_as_their_probes():
    with nengo.Network(seed=0) as net:
        x = nengo.Node([0.0], label="x")
        ens = nengo.Ensemble(20, 1, label="ens")
        nengo.Connection(x, ens)
        bent = Bent(default_size_in=1, default_size_out=1)
        nengo.Probe(ens, synapse=bent, label="p")
        nengo.Probe(ens.neurons, "voltage", label="v")
        nengo.Probe(ens, synapse=0.01, label="q r")
    assert {*ksn.from_nengo(net).output} == {"p", "v", "q_r"}


def test_what_is_no_input_holds_its_value(float64):
    net = constants()
    model = ksn.from_nengo(net, inputs=[])
    assert model.input_shape == (None, None, 1)
    assert_equal(
        run(model, []), batch_by_nengo(net, [np.full((1, STEPS, 1), 0.5)]), 1e-7
    )


def test_python_that_cannot_be_stored_goes_back(float64):
    with nengo.Network(seed=0) as net:
        x = nengo.Node([0.0, 0.0], label="x")
        direct = nengo.Ensemble(1, 2, neuron_type=nengo.Direct(), label="direct")
        nengo.Connection(x, direct, function=lambda x: x[::-1] ** 2)
        nengo.Probe(direct, synapse=0.01)
    given = noise(net.nodes)[0]
    report = ksn.to_nengo(ksn.from_nengo(net)).verify(given)
    assert report.ok, report


def test_a_synapse_of_ones_own_is_python_and_no_more():
    """What lies around it stays layers."""
    with nengo.Network(seed=0) as net:
        x = nengo.Node([0.0], label="x")
        first, last = (nengo.Ensemble(20, 1, label=label) for label in ("a", "b"))
        nengo.Connection(x, first)
        nengo.Connection(first, last, synapse=Bent())
        nengo.Probe(last, synapse=0.01)
    model = ksn.from_nengo(net)
    kinds = [type(layer) for layer in model.layers]
    assert kinds.count(ksn.layers.Network) == 1 and ksn.layers.Neurons in kinds
    with pytest.raises(NotImplementedError, match="calls Python"):
        ksn.to_nir(model)


@slow_on_jax
def test_trained_and_written_back(float64, tmp_path):
    net = chain(2, recurrent=True)
    model = ksn.from_nengo(net)
    x = noise(net.nodes, batch=4)[0]
    model.compile(keras.optimizers.Adam(1e-3), "mse")
    model.fit(x, 0.5 - x, verbose=0)
    trained = ops.convert_to_numpy(model(x))
    assert np.max(np.abs(trained - batch_by_nengo(net, [x])[0])) > 1e-3
    report = ksn.to_nengo(model).verify(x)
    assert report.ok, report
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(ops.convert_to_numpy(loaded(x)), trained, atol=1e-9)
    assert json.loads(model.to_json())["config"]["name"] == "chain"


def test_networks_deeper_than_python_calls():
    with nengo.Network(seed=0) as net:
        before = nengo.Node([0.0])
        depth = sys.getrecursionlimit()
        for _ in range(depth):
            after = nengo.Node(size_in=1)
            nengo.Connection(before, after, transform=[[1.0]], synapse=None)
            before = after
        nengo.Probe(before)
    model = ksn.from_nengo(net)
    assert len(model.layers) > depth == sys.getrecursionlimit()


def test_inputs_and_outputs_by_label():
    net = chain(2)
    model = ksn.from_nengo(net, inputs="stimulus", outputs="estimate")
    assert model.input_shape == (None, None, 2)
    with pytest.raises(ValueError, match="labels of nengo.Node here: stimulus"):
        ksn.from_nengo(net, inputs="x")
    with pytest.raises(TypeError, match=r"net is a nengo\.Network"):
        ksn.from_nengo(net.ensembles[0])
    with nengo.Network() as silent:
        nengo.Node([1.0])
    with pytest.raises(ValueError, match="has no probe"):
        ksn.from_nengo(silent)


@pytest.mark.parametrize("dt", [0.0, -1.0, np.nan, np.inf, "a"])
def test_a_step_has_a_length(dt):
    with pytest.raises(ValueError, match="dt is the length of a step"):
        ksn.from_nengo(chain(1), dt=dt)


def test_labels_of_any_letters(float64):
    """In layers, of which TensorFlow makes scopes; and in what enters a network."""
    net = chain(2, recurrent=True)
    net.ensembles[0].label, net.ensembles[1].label = "é 1", "a+b: (c)"
    x = noise(net.nodes)[0]
    model = ksn.from_nengo(net)
    assert ksn.verify(model, net, x).ok
    assert all(layer.name.isascii() and " " not in layer.name for layer in model.layers)


@pytest.mark.torch
def test_labels_with_dots(tmp_path):
    """Which torch refuses in the names of layers with weights."""
    net = chain(1)
    net.ensembles[0].label, net.probes[0].label = "my.ensemble", "my.estimate"
    with net:
        nengo.Probe(net.ensembles[0], label="other.estimate")
    model = ksn.from_nengo(net)
    assert "my_ensemble_encoders" in [layer.name for layer in model.layers]
    x = noise(net.nodes)[0].astype("float32")
    y = model(x)
    assert [*y] == ["my.estimate", "other.estimate"]
    model.compile("sgd", "mse")
    model.fit(x, y, verbose=0)
    path = tmp_path / "model.weights.h5"
    model.save_weights(path)
    ksn.from_nengo(net).load_weights(path)


# --- verify -----------------------------------------------------------------------


@slow_on_jax
def test_verify_compares_with_the_network_itself(float64):
    net = chain(3, recurrent=True)
    model = ksn.from_nengo(net)
    x = noise(net.nodes)[0]
    report = ksn.verify(model, net, x)
    assert report.ok, f"\n{report}"
    assert [row.name for row in report.outputs] == ["estimate"]
    # What is in a network shows in its outputs only.
    assert [row.name for row in report.spikes] == ["ens0", "ens1"]
    assert all(row.total > 0 for row in report.spikes)
    kernel = model.get_layer("ens0_encoders").kernel
    kernel.assign(1.01 * kernel)
    report = ksn.verify(model, net, x)
    assert not report.ok and report.spikes[0].differing > 0
    with pytest.raises(AssertionError, match="DIFFERENT"):
        ksn.verify(model, net, x, raise_on_failure=True)


@slow_on_jax
def test_verify_of_learning_and_without_inputs(float64):
    net = learning()
    x = dict(zip("xy", noise(inputs_of(net)), strict=True))
    report = ksn.verify(ksn.from_nengo(net), net, x, rtol=1e-7, atol=1e-7)
    assert report.ok and len(report.outputs) == 3
    net = constants()
    model = ksn.from_nengo(net, inputs=[])
    with pytest.raises(ValueError, match="say n_steps"):
        ksn.verify(model, net, inputs=[])
    assert ksn.verify(model, net, inputs=[], n_steps=STEPS).ok
    net.seed = None
    with pytest.raises(ValueError, match="has no seed"):
        ksn.verify(model, net, inputs=[], n_steps=STEPS)


def test_verify_does_not_judge_what_is_random(float64):
    with nengo.Network(seed=0) as net:
        x = nengo.Node([1.0], label="x")
        ens = nengo.Ensemble(20, 1, neuron_type=nengo.PoissonSpiking(nengo.LIFRate()))
        nengo.Connection(x, ens)
        nengo.Probe(ens)
    report = ksn.verify(ksn.from_nengo(net), net, np.ones((1, STEPS, 1)))
    assert [row.compared for row in report.outputs] == [False]
