"""A copy of a network with its numbers written out is the same network."""

import json

import keras
import nengo
import numpy as np
import pytest
from nengo.builder import Model

import keras_spiking_nengo as ksn
from keras_spiking_nengo.engine.frozen import freeze
from keras_spiking_nengo.engine.stored import network_from_config, network_to_config
from tests.arrays import difference
from tests.cases import NETWORKS
from tests.engine.runs import SEED
from tests.marks import TAKES_TURNS, slow_on_jax

pytestmark = TAKES_TURNS

STEPS = 40
# They take seconds to build, and have no kind of connection that others lack.
SLOW = ("memories", "basal_ganglia_and_thalamus", "circular_convolution", "lorenz")


def shown(net, steps=STEPS):
    with nengo.Simulator(net, seed=SEED, optimize=False, progress_bar=False) as sim:
        sim.run_steps(steps)
    return [np.array(sim.data[probe]) for probe in sim.model.probes]


def built(net):
    model = Model(dt=0.001)
    model.build(net)
    return model


def frozen(net, values=None):
    return freeze(net, built(net), values)


def assert_same(actual, expected):
    assert any(np.any(y) for y in expected)
    for ours, theirs in zip(actual, expected, strict=True):
        assert difference(ours, theirs) < 1e-12


def cases():
    slow = pytest.mark.slow
    return [pytest.param(n, marks=slow if n in SLOW else ()) for n in NETWORKS]


def is_function(node):
    return callable(node.output) and not isinstance(node.output, nengo.Process)


@pytest.mark.parametrize("name", cases())
def test_rebuilt_it_shows_the_same(name):
    net = NETWORKS[name]()
    expected = shown(net)
    copy, new = frozen(net)
    assert_same(shown(copy), expected)
    for kind in ("ensembles", "nodes", "connections", "probes", "networks"):
        ours = getattr(copy, f"all_{kind}")
        theirs = getattr(net, f"all_{kind}")
        assert [o.label for o in ours] == [o.label for o in theirs]
        assert all(new[old] is obj for old, obj in zip(theirs, ours, strict=True))


UNSTORED = {
    "direct_mode": "computes a Python function",
    "nodes": "<Node 'python'> cannot be stored.*Python function",
    "processes": "Doubled.*register",
}


@pytest.mark.parametrize("name", cases())
def test_stored_as_json_it_shows_the_same(name):
    copy, _ = frozen(NETWORKS[name]())
    for node in copy.all_nodes:
        if is_function(node) and not node.size_in:
            node.output = np.linspace(-0.5, 1, node.size_out)
    if name in UNSTORED:
        with pytest.raises(TypeError, match=f"(?s){UNSTORED[name]}"):
            network_to_config(copy)
        return
    config = network_to_config(copy)
    assert json.loads(json.dumps(config)) == config
    again = network_from_config(json.loads(json.dumps(config)))
    assert_same(shown(again), shown(copy))
    assert network_to_config(frozen(again)[0]) == config


def test_what_is_stored_ends_nowhere_but_in_the_catalogue():
    assert set(UNSTORED) < set(NETWORKS)
    assert set(SLOW) < set(NETWORKS)


def test_the_original_is_not_changed():
    net = NETWORKS["slices"]()
    before = [(repr(c.solver), repr(c.transform)) for c in net.all_connections]
    expected = shown(net)
    frozen(net)
    after = [(repr(c.solver), repr(c.transform)) for c in net.all_connections]
    assert after == before
    assert_same(shown(net), expected)


def test_nodes_given_from_outside_are_stored_without_their_function():
    with nengo.Network(seed=1) as net:
        node = nengo.Node(lambda t: [t, t], label="mine")
        nengo.Probe(node)
    copy, new = frozen(net)
    with pytest.raises(TypeError, match="mine.*Python function"):
        network_to_config(copy)
    config = network_to_config(copy, frozenset([new[node]]))
    again = network_from_config(config)
    assert again.nodes[0].size_out == 2
    assert not np.any(again.nodes[0].output)


BROKEN = {
    "nothing": lambda config: {},
    "another kind": lambda config: {**config, "ensembles": [{}]},
    "a reference": lambda config: {
        **config,
        "probes": [
            {**p, "target": {"kind": "ensembles", "index": 9}} for p in config["probes"]
        ],
    },
    "a field": lambda config: {
        **config,
        "nodes": [{**node, "evil": 1} for node in config["nodes"]],
    },
    "a class": lambda config: {
        **config,
        "ensembles": [
            {**ens, "neuron_type": {"nengo": "os.system", "state": {}}}
            for ens in config["ensembles"]
        ],
    },
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_stored_network_is_refused(name):
    with nengo.Network(seed=1) as net:
        node = nengo.Node([0.5])
        nengo.Connection(node, nengo.Ensemble(5, 1))
        nengo.Probe(net.ensembles[0])
    config = network_to_config(frozen(net)[0])
    assert network_from_config(config).ensembles
    with pytest.raises(ValueError):
        network_from_config(BROKEN[name](config))


# --- values of training ---------------------------------------------------------


def trainable():
    """Every kind of weight: decoded, full, of neurons, sparse, convolved, scalar."""
    with nengo.Network(seed=3) as net:
        u = nengo.Node(lambda t: np.cos(50 * t + np.arange(4)), label="u")
        a = nengo.Ensemble(12, 2, radius=1.5, label="a")
        b = nengo.Ensemble(10, 2, label="b", neuron_type=nengo.LIFRate())
        sink = nengo.Node(size_in=2, label="sink")
        full = nengo.solvers.LstsqL2(weights=True)
        nengo.Connection(u[:2], a, transform=[[1, 0.5], [0, 1]])
        nengo.Connection(u[0], a[1], transform=0.5)
        nengo.Connection(u[1:3], b, transform=[1.0, -1.0])
        nengo.Connection(a[::-1], b, synapse=0.01)
        nengo.Connection(a, b[1], solver=full, function=lambda x: x[0] ** 2)
        nengo.Connection(a.neurons[2:6], b.neurons[::3], transform=1e-3)
        nengo.Connection(b.neurons, sink, transform=np.full((2, 10), 1e-3))
        sparse = nengo.Sparse((2, 4), [[0, 3], [1, 1]], init=[0.5, -0.5])
        nengo.Connection(u, sink, transform=sparse)
        kernel = nengo.Convolution(2, (4, 1), kernel_size=(2,), strides=(2,))
        nengo.Connection(u, b.neurons[:4], transform=kernel)
        nengo.Connection(b, a, synapse=0.05, function=np.square)
        nengo.Probe(a[1], synapse=0.01, label="slice")
        nengo.Probe(a[::-1], label="reversed")
        nengo.Probe(b, label="b")
        nengo.Probe(sink, label="sink")
        nengo.Probe(a.neurons, label="spikes")
    return net


@slow_on_jax
def test_changed_weights_are_written_back(float64):
    net = trainable()
    layer = ksn.layers.Network(net, inputs=[], return_sequences=True)
    x = np.zeros((1, STEPS, 1))
    built_with = layer(x)
    rng = np.random.RandomState(0)
    for weight in layer.weights:
        value = keras.ops.convert_to_numpy(weight)
        weight.assign(value * rng.uniform(0.9, 1.1, size=value.shape))
    trained = [keras.ops.convert_to_numpy(y)[0] for y in layer(x)]
    for y, former in zip(trained, built_with, strict=True):
        assert difference(y, keras.ops.convert_to_numpy(former)[0]) > 1e-3
    expected = shown(layer.network())
    for y, other in zip(trained, expected, strict=True):
        assert difference(y, other) < 1e-9


@pytest.mark.parametrize("weight", range(17))
def test_each_weight_alone_is_written_back(weight):
    net = trainable()
    model = built(net)
    from keras_spiking_nengo.engine.trainable import weights_of

    found = weights_of(net, model)
    if weight >= len(found):
        pytest.fail(f"only {len(found)} weights: shorten the range")
    signal = found[weight].signal
    array = signal.initial_value
    array = array.data if signal.sparse else array
    changed = np.array(array, dtype=float) * 1.25
    copy, _ = freeze(net, model, {signal: changed})
    again = weights_of(copy, built(copy))
    assert [w.name for w in again] == [w.name for w in found]
    for i, (new, old) in enumerate(zip(again, found, strict=True)):
        new, old = (w.signal.initial_value for w in (new, old))
        new, old = (
            getattr(v, "data", v) if w.signal.sparse else v
            for v, w in ((new, again[i]), (old, found[i]))
        )
        factor = 1.25 if i == weight else 1.0
        np.testing.assert_allclose(
            np.ravel(new), factor * np.ravel(old), rtol=1e-12, atol=1e-15
        )


def listed_twice():
    """A network in two lists, as `nengo.spa` lists its basal ganglia."""
    with nengo.Network(seed=1) as net:
        u = nengo.Node(np.sin, label="u")
        with nengo.Network(label="around"), nengo.Network(label="inner") as inner:
            v = nengo.Node([0.2], label="v")
            ens = nengo.Ensemble(30, 1, label="e")
            nengo.Connection(v, ens)
            nengo.Probe(ens, synapse=0.01, label="p")
        net.networks[:] = [inner, *net.networks, inner]
        nengo.Connection(u, ens)
    return net


@pytest.mark.filterwarnings("ignore:Model already built")
def test_a_network_listed_twice_is_copied_once(float64):
    net = listed_twice()
    expected = shown(net)
    copy, _ = frozen(net)
    assert len(copy.all_ensembles) == len(copy.all_probes) == 1
    np.testing.assert_allclose(shown(copy)[0], expected[0], rtol=1e-9, atol=1e-12)
    with ksn.Simulator(net, seed=SEED, progress_bar=False, dtype="float64") as sim:
        sim.run_steps(STEPS, data={"v": np.full((STEPS, 1), 0.2)})
        (probe,) = sim.model.probes
        np.testing.assert_allclose(sim.data[probe], expected[0], atol=1e-9)


@pytest.mark.filterwarnings("ignore:Model already built")
def test_a_network_listed_twice_is_saved_and_converted_once(float64):
    net = listed_twice()
    net.nodes[0].output = np.array([0.5])
    expected = shown(net)[0]
    x = {"u": np.full((1, STEPS, 1), 0.5), "v": np.full((1, STEPS, 1), 0.2)}
    layer = ksn.layers.Network(net, {"u": "u", "v": "v"}, "p", return_sequences=True)
    copy = ksn.layers.Network.from_config(layer.get_config())
    for one in (layer, copy):
        shows = keras.ops.convert_to_numpy(one(x))
        np.testing.assert_allclose(shows[0], expected, rtol=1e-9, atol=1e-12)
        names = [weight.path.rpartition("/")[2] for weight in one.weights]
        assert [n.replace(":", ".") for n in names] == [
            "e.encoders",
            "e.bias",
            "p.weights",
        ]
    model = ksn.from_nengo(net)
    shows = keras.ops.convert_to_numpy(model([x[name] for name in model.input]))
    np.testing.assert_allclose(shows[0], expected, rtol=1e-9, atol=1e-12)
