"""What happens within a network that is a layer: learning, sources, functions."""

import math

import keras
import nengo
import numpy as np
import pytest
from keras import ops
from nengo.processes import Piecewise, WhiteSignal

import keras_spiking_nengo as ksn
from tests.arrays import frames, numpy
from tests.gradients import gradient
from tests.layers.nets import STEPS, assert_equal, built, layer_of, small
from tests.marks import TAKES_TURNS
from tests.simulated import by_nengo

pytestmark = TAKES_TURNS

# --- online learning -------------------------------------------------------------


def learning(rule):
    with nengo.Network(seed=3) as net:
        u = nengo.Node([0.0], label="u")
        pre, post = nengo.Ensemble(12, 1), nengo.Ensemble(10, 1)
        nengo.Connection(u, pre, synapse=None)
        if rule == "Voja":
            conn = nengo.Connection(
                pre, post, learning_rule_type=nengo.Voja(0.1), label="learned"
            )
            nengo.Probe(post, "scaled_encoders", label="weights")
        else:
            kind = nengo.PES(1e-2) if rule == "PES" else nengo.RLS(1e-3)
            # RLS has no post encoders to project an error on.
            end = post if rule == "PES" else nengo.Node(size_in=1)
            conn = nengo.Connection(
                pre,
                end,
                function=lambda x: [0],
                learning_rule_type=kind,
                label="learned",
            )
            nengo.Connection(u, conn.learning_rule, transform=-1, synapse=None)
            nengo.Probe(conn, "weights", label="weights")
        nengo.Probe(conn.post_obj, synapse=0.01, label="y")
    return net


@pytest.mark.parametrize("rule", ["PES", "RLS", "Voja"])
def test_learned_weights_are_states_of_each_item(rule, float64):
    net = learning(rule)
    layer = layer_of(net, outputs=["weights", "y"])
    x = frames(2, STEPS, 1)
    x[0] += 1
    weights, y = map(numpy, layer(x))
    assert np.any(weights[:, 0] != weights[:, -1])
    assert np.any(weights[0, -1] != weights[1, -1])
    for i in range(2):
        expected = by_nengo(net, {net.nodes[0]: x[i]})
        assert_equal(weights[i], expected[net.probes[0]])
        assert_equal(y[i], expected[net.probes[1]])
    # They begin anew with each call.
    np.testing.assert_array_equal(numpy(layer(x)[0]), weights)
    changed = "encoders" if rule == "Voja" else "learned"
    trainable = [w.name for w in layer.trainable_weights]
    assert not any(changed in name and "ensemble_2" in name for name in trainable)
    assert "learned.weights" not in trainable or rule == "Voja"


@pytest.mark.parametrize("rule", ["PES", "RLS", "Voja"])
def test_learned_weights_are_carried_when_stateful(rule, float64):
    x = frames(2, STEPS, 1)
    whole = numpy(layer_of(learning(rule), outputs="weights")(x))
    layer = layer_of(learning(rule), outputs="weights", stateful=True)
    inputs = keras.Input(batch_shape=(2, STEPS // 2, 1))
    model = keras.Model(inputs, layer(inputs))
    halves = np.split(x, 2, axis=1)
    for _ in range(2):
        both = [model.predict(half, batch_size=2, verbose=0) for half in halves]
        assert_equal(np.concatenate(both, axis=1), whole)
        layer.reset_state()


# --- sources ---------------------------------------------------------------------

SOURCES = {
    "function": lambda t: [np.sin(400 * t), t],
    "process": WhiteSignal(0.05, high=80, seed=5, default_size_out=2),
    "unseeded process": nengo.processes.WhiteNoise(default_size_out=2),
    "piecewise": Piecewise({0: [0, 0], 0.004: [1, -1], 0.011: [0.5, 0.3]}),
}


def sourced(name):
    net = small()
    with net:
        node = nengo.Node(SOURCES[name], label="source")
        nengo.Connection(node, net.ensembles[0], synapse=None)
        nengo.Probe(node, label="q")
    return net


@pytest.mark.parametrize("name", SOURCES)
def test_sources_begin_anew_with_each_call(name, float64):
    layer = layer_of(sourced(name), inputs="u", outputs="q")
    x = frames(2, STEPS, 2)
    first, second = numpy(layer(x)), numpy(layer(x))
    assert np.any(first)
    np.testing.assert_array_equal(second, first)
    np.testing.assert_array_equal(first[0], first[1])


@pytest.mark.parametrize("name", SOURCES)
def test_sources_go_on_when_stateful(name, float64):
    x = frames(2, STEPS, 2)
    whole = numpy(layer_of(sourced(name), inputs="u", outputs="q")(x))
    layer = layer_of(sourced(name), inputs="u", outputs="q", stateful=True)
    inputs = keras.Input(batch_shape=(2, STEPS // 2, 2))
    model = keras.Model(inputs, layer(inputs))
    for _ in range(2):
        halves = [
            model.predict(half, batch_size=2, verbose=0)
            for half in np.split(x, 2, axis=1)
        ]
        assert_equal(np.concatenate(halves, axis=1), whole)
        layer.reset_state()


@pytest.mark.parametrize("name", ["function", "process", "piecewise"])
def test_sources_equal_nengo(name, float64):
    net, x = sourced(name), frames(1, STEPS, 2)
    found = layer_of(net, inputs="u")(x)
    expected = by_nengo(net, {net.nodes[0]: x[0]})
    for y, probe in zip(found, net.probes, strict=True):
        assert_equal(numpy(y)[0], expected[probe])


def test_a_state_cannot_be_given_beside_a_source():
    layer = layer_of(sourced("function"), inputs="u", return_state=True)
    x = frames(1, STEPS, 2)
    _, *state = layer(x)
    with pytest.raises(NotImplementedError, match="source.*stateful"):
        layer(x, initial_state=state)


# --- functions in keras.ops ----------------------------------------------------------


def with_function(function, marked):
    def mark(f):
        def own(*arguments):
            return f(*arguments)

        return ksn.tensor_function(own) if marked else own

    net = small()
    with net:
        node = nengo.Node(mark(function), size_in=2, size_out=2, label="mine")
        nengo.Connection(net.ensembles[0], node, synapse=0.01)
        nengo.Connection(node, net.ensembles[0], synapse=0.01)
        nengo.Probe(node, label="q")
    return net


def turned(t, x):
    return ops.exp(x) * (1 + t) + ops.flip(x)


@pytest.mark.parametrize("marked", [True, False])
def test_functions_equal_the_host_version(marked, float64):
    net, x = with_function(turned, marked), frames(1, STEPS, 2)
    layer = layer_of(net, inputs="u")
    found = layer(x)
    assert bool(layer.python()) != marked
    expected = by_nengo(net, {net.nodes[0]: x[0]})
    for y, probe in zip(found, net.probes, strict=True):
        assert_equal(numpy(y)[0], expected[probe])


def test_a_tensor_function_has_gradients(float64):
    with nengo.Network() as net:
        u = nengo.Node([0.0, 0.0])
        node = nengo.Node(ksn.tensor_function(lambda t, x: ops.exp(x)), size_in=2)
        nengo.Connection(u, node, synapse=None)
        nengo.Probe(node)
    x = frames(2, 5, 2)
    layer = built(layer_of(net))
    y, slope = gradient(layer, x)
    np.testing.assert_allclose(y, np.exp(x), atol=1e-12)
    np.testing.assert_allclose(slope, np.exp(x), atol=1e-12)


def test_a_tensor_function_is_exported(tmp_path):
    tf = pytest.importorskip("tensorflow")
    inputs = keras.Input((STEPS, 2))
    layer = layer_of(with_function(turned, True), inputs="u", outputs="q")
    model = keras.Model(inputs, layer(inputs))
    model.export(tmp_path / "served", verbose=False)
    x = frames(2, STEPS, 2).astype("float32")
    served = tf.saved_model.load(tmp_path / "served")
    answer = served.serve(x).numpy()
    np.testing.assert_allclose(answer, numpy(model(x)), rtol=1e-3, atol=1e-4)


def test_a_tensor_function_of_time_or_on_a_direct_connection(float64):
    with nengo.Network(seed=3) as net:
        timed = nengo.Node(ksn.tensor_function(lambda t: ops.stack([t, t * t])))
        u = nengo.Node([0.0, 0.0], label="u")
        sink = nengo.Node(size_in=1)
        nengo.Connection(
            u,
            sink,
            function=ksn.tensor_function(lambda x: x[:1] * x[1:]),
            synapse=None,
        )
        nengo.Probe(timed)
        nengo.Probe(sink)
    x = frames(2, STEPS, 2)
    layer = layer_of(net, inputs="u")
    times, product = map(numpy, layer(x))
    t = 0.001 * np.arange(1, STEPS + 1)
    np.testing.assert_allclose(times[1], np.stack([t, t * t], 1), atol=1e-12)
    np.testing.assert_allclose(product, x[..., :1] * x[..., 1:], atol=1e-12)
    assert not layer.python()


def test_functions_of_a_library_are_not_marked():
    with pytest.raises(TypeError, match="functions of your own"):
        ksn.tensor_function(math.sin)
