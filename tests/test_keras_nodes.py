"""Keras layers as nodes of Nengo's networks: `ksn.keras_node`."""

import pickle

import keras
import nengo
import numpy as np
import pytest
from keras import layers

import keras_spiking_nengo as ksn
from keras_spiking_nengo.engine.keras_layers import KerasLayer
from tests.arrays import assert_near, frames, numpy
from tests.marks import TAKES_TURNS, slow_on_jax
from tests.simulated import by_nengo

pytestmark = TAKES_TURNS

STEPS = 12


def net_of(layer, shape_in=2, size=2, **options):
    """A network whose input goes through neurons, and on through a layer."""
    with nengo.Network(seed=0) as net:
        u = nengo.Node(np.zeros(size), label="u")
        ens = nengo.Ensemble(20, size, label="ens")
        node = ksn.keras_node(layer, shape_in, **options)
        nengo.Connection(u, ens)
        nengo.Connection(ens, node, synapse=0.005)
        nengo.Probe(node, label="p")
    return net


def alone(layer, shape_in, **options):
    """A network that is a node of a layer, and nothing else."""
    with nengo.Network(seed=0) as net:
        node = ksn.keras_node(layer, shape_in, **options)
        u = nengo.Node(np.zeros(node.size_in), label="u")
        nengo.Connection(u, node, synapse=None)
        nengo.Probe(node, label="p")
    return net


def predicted(sim, x):
    (y,) = sim.predict({"u": x}, verbose=0).values()
    return y


def trained(net, x, y, optimizer="sgd", **options):
    """A simulator of the network after training, which is open."""
    sim = ksn.Simulator(net, progress_bar=False, **options)
    sim.compile(optimizer, loss="mse")
    sim.fit({"u": x}, {"p": y}, epochs=2, batch_size=4, shuffle=False, verbose=0)
    return sim


def hosts(net):
    """The Keras layers in a network."""
    return [n.output.layer for n in net.nodes if isinstance(n.output, KerasLayer)]


def mlp():
    return keras.Sequential(
        [keras.Input((2,)), layers.Dense(4, "relu"), layers.Dense(3)], name="mlp"
    )


# Layers, and the shape of what they take in one step.
LAYERS = {
    "model": (mlp, None),
    "layer": (lambda: layers.Dense(3, "tanh"), 2),
    "cell": (lambda: layers.LSTMCell(3), 2),
    "cells": (
        lambda: layers.StackedRNNCells([layers.GRUCell(2), layers.GRUCell(3)]),
        2,
    ),
    "an RNN": (lambda: layers.GRU(3), 2),
    "our cell": (lambda: ksn.layers.SynapseCell(0.01), 2),
    "a window": (
        lambda: keras.Sequential([keras.Input((2, 1)), layers.Conv1D(3, 2)]),
        None,
    ),
    "moving": (layers.BatchNormalization, (2,)),
}


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("name", LAYERS)
def test_equals_nengo(name, compiled, float64):
    make, shape = LAYERS[name]
    net = net_of(make(), shape)
    expected = by_nengo(net, {net.nodes[0]: frames(STEPS, 2)}, steps=STEPS)
    with ksn.Simulator(net, compile=compiled, progress_bar=False) as sim:
        sim.run_steps(STEPS, data={net.nodes[0]: frames(1, STEPS, 2)})
        found = sim.data[net.probes[0]]
    assert_near(found, expected[net.probes[0]], 1e-12)
    assert np.any(found)


def test_images_keep_their_shape(float64):
    conv = layers.Conv2D(2, 3)
    net = alone(conv, (5, 4, 1))
    x = frames(3, 2, 20)
    with ksn.Simulator(net, progress_bar=False) as sim:
        found = predicted(sim, x)
    expected = numpy(conv(x.reshape(6, 5, 4, 1))).reshape(3, 2, -1)
    assert_near(found, expected, 1e-12)


def test_training_is_that_of_keras(float64):
    x, y = frames(8, 3, 2), frames(8, 3, 3, seed=1)
    dense = layers.Dense(3, kernel_regularizer="l2", bias_constraint="non_neg")
    with trained(alone(dense, 2), x, y) as sim:
        weights = sim.keras_model.weights
        found = predicted(sim, x)
    plain = keras.Sequential([keras.Input((None, 2)), layers.TimeDistributed(dense)])
    plain.compile("sgd", loss="mse")
    plain.fit(x, y, epochs=2, batch_size=4, shuffle=False, verbose=0)
    for weight, expected in zip(weights, plain.weights, strict=True):
        assert weight.path.endswith(f"{dense.name}.{expected.name}".replace("/", "."))
        assert_near(numpy(weight.value), numpy(expected.value), 1e-12)
    assert_near(found, numpy(plain(x)), 1e-12)


def test_the_layer_that_is_given_stays_as_it_was():
    model = mlp()
    before = model.get_weights()
    with trained(net_of(model), frames(4, 3, 2), frames(4, 3, 3)) as sim:
        after = hosts(sim.network())[0].get_weights()
    for weight, was in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, was)
    assert not any(map(np.array_equal, after, before))


@pytest.mark.parametrize("compiled", [True, False])
def test_what_was_trained_is_run_and_handed_back(compiled, float64):
    net = net_of(mlp(), None)
    x, y = frames(4, STEPS, 2), frames(4, STEPS, 3, seed=1)
    with trained(net, x, y, "adam", compile=compiled) as sim:
        back, again = sim.network(), pickle.loads(pickle.dumps(sim))
        for one in (sim, again):
            one.reset()
            one.run_steps(STEPS)
        (loaded,), (probe,) = again.model.probes, net.probes
        assert_near(again.data[loaded], sim.data[probe], 1e-10)
        expected = predicted(sim, x)[0]
        sim.reset()
        sim.run_steps(STEPS, data={net.nodes[0]: x[:1]})
        assert_near(sim.data[probe], expected, 1e-10)
    shown = by_nengo(back, {back.nodes[0]: x[0]}, steps=STEPS)
    assert_near(shown[back.probes[0]], expected, 1e-10)


def test_each_item_has_a_state_of_its_own(float64):
    cell = layers.GRUCell(3)
    net, x = alone(cell, 2), frames(3, STEPS, 2)
    with ksn.Simulator(net, minibatch_size=3, progress_bar=False) as sim:
        sim.run_steps(STEPS, data={net.nodes[1]: x})
        found = sim.data[net.probes[0]]
    expected = numpy(layers.RNN(cell, return_sequences=True)(x))
    assert_near(found, expected, 1e-12)


def test_moving_averages_are_trained_and_saved(tmp_path, float64):
    x = frames(4, 3, 2) + 1
    normal = layers.BatchNormalization(momentum=0.9, epsilon=0.0)
    with trained(alone(normal, 2), x, np.zeros((4, 3, 2))) as sim:
        weights = {
            w.name.rpartition(".")[2]: numpy(w.value) for w in sim.keras_model.weights
        }
        y = predicted(sim, x)
        sim.keras_model.save(tmp_path / "model.keras")
    mean, variance = np.zeros(2), np.ones(2)
    for _ in range(2):  # epochs
        for step in range(3):
            mean = 0.9 * mean + 0.1 * x[:, step].mean(0)
            variance = 0.9 * variance + 0.1 * x[:, step].var(0)
    assert_near(weights["moving_mean"], mean, 1e-12)
    assert_near(weights["moving_variance"], variance, 1e-12)
    expected = (x - mean) / np.sqrt(variance) * weights["gamma"] + weights["beta"]
    assert_near(y, expected, 1e-6)  # JAX takes an approximate square root
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert_near(loaded.predict({"u": x}, verbose=0)["p"], y, 1e-12)


def test_what_is_dropped_is_drawn_anew_in_training():
    layer = ksn.layers.Network(
        alone(layers.Dropout(0.5), 20), inputs="u", return_sequences=True
    )
    x = np.ones((3, 4, 20), "float32")
    np.testing.assert_array_equal(numpy(layer(x)), x)
    one, two = (numpy(layer(x, training=True)) for _ in range(2))
    assert set(np.unique(one)) == {0.0, 2.0}
    masks = [*one.reshape(-1, 20), *two.reshape(-1, 20)]
    assert len({mask.tobytes() for mask in masks}) == len(masks)


@pytest.mark.parametrize("frozen", ["layer", "node", "class"])
def test_what_is_not_trained_stays(frozen):
    dense = layers.Dense(3, trainable=frozen != "layer")
    net = net_of(dense, 2)
    if frozen != "layer":
        ksn.configure(
            net, net.nodes[1] if frozen == "node" else nengo.Node, trainable=False
        )
    with trained(net, frames(4, 3, 2), frames(4, 3, 3)) as sim:
        weights = {w.name: w for w in sim.keras_model.weights}
    kernel = weights[f"{dense.name}.kernel"]
    assert not kernel.trainable
    np.testing.assert_array_equal(numpy(kernel.value), numpy(dense.kernel.value))
    assert weights["ens.bias"].trainable


def test_a_layer_in_two_nodes_is_one(float64):
    dense = layers.Dense(2)
    with nengo.Network(seed=0) as net:
        u = nengo.Node(np.zeros(2), label="u")
        first, second = ksn.keras_node(dense, 2), ksn.keras_node(dense, 2)
        nengo.Connection(u, first, synapse=None)
        nengo.Connection(first, second, synapse=None)
        nengo.Probe(second, label="p")
    x = frames(4, 3, 2)
    with trained(net, x, frames(4, 3, 2, seed=1)) as sim:
        assert len(sim.keras_model.weights) == 2
        expected = predicted(sim, x)
        back = sim.network()
    one, two = hosts(back)
    assert one is two
    assert_near(numpy(one(one(x))), expected, 1e-12)


@pytest.mark.parametrize("name", LAYERS)
@slow_on_jax
def test_is_saved_as_its_configuration(name, tmp_path):
    make, shape = LAYERS[name]
    inputs = keras.Input((STEPS, 2))
    layer = ksn.layers.Network(net_of(make(), shape), inputs="u", return_sequences=True)
    model = keras.Model(inputs, layer(inputs))
    x = frames(2, STEPS, 2).astype("float32")
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert_near(numpy(again(x)), numpy(model(x)), 1e-6)


@slow_on_jax
def test_is_exported(tmp_path):
    tf = pytest.importorskip("tensorflow")
    inputs = keras.Input((STEPS, 2))
    layer = ksn.layers.Network(net_of(layers.GRUCell(3)), inputs="u")
    model = keras.Model(inputs, layer(inputs))
    assert not layer.python()
    model.export(tmp_path / "served", verbose=False)
    x = frames(2, STEPS, 2).astype("float32")
    served = tf.saved_model.load(tmp_path / "served")
    assert_near(served.serve(x).numpy(), numpy(model(x)), 1e-5)


def test_no_layer_of_a_stranger_is_made():
    config = ksn.serialization.to_config(KerasLayer(layers.Dense(1), [(2,)]))
    stored = config["state"]["layer"]["keras"]
    for was, put in [
        ('"keras.layers"', '"os"'),
        ('"Dense"', '"Lambda"'),
        ('"class_name": "Dense"', '"class_name": "SGD", "x": 0'),
    ]:
        config["state"]["layer"] = {"keras": stored.replace(was, put)}
        with pytest.raises(ValueError, match="KerasLayer|Dense|Lambda|SGD"):
            ksn.serialization.from_config(config)


# --- bad input -----------------------------------------------------------------------


def _of_two(n):
    inputs = [keras.Input((2,)) for _ in range(n)]
    return keras.Model(inputs, layers.Concatenate()(inputs))


def _to_two():
    x = keras.Input((2,))
    return keras.Model(x, [layers.Dense(1)(x), layers.Dense(1)(x)])


@pytest.mark.parametrize(
    ("layer", "shape", "error", "said"),
    [
        (lambda: np.tanh, 2, TypeError, "layer"),
        (lambda: layers.Dense(2), None, ValueError, r"shape_in=\(28, 28, 1\)"),
        (lambda: layers.Dense(2), (None, 2), ValueError, "shape_in"),
        (lambda: layers.Dense(2), 0, ValueError, "shape_in"),
        (lambda: _of_two(2), None, ValueError, "2 inputs"),
        (_to_two, None, ValueError, "2 outputs"),
    ],
)
def test_refused(layer, shape, error, said):
    with nengo.Network(), pytest.raises(error, match=said):
        ksn.keras_node(layer(), shape)


def test_a_state_that_items_would_share_is_refused():
    x = keras.Input(batch_shape=(2, 3, 1))
    model = keras.Model(x, layers.GRU(2, stateful=True)(x))
    with nengo.Network(), pytest.raises(NotImplementedError, match="LSTMCell"):
        ksn.keras_node(model)


def test_energy_names_what_is_not_counted():
    inputs = keras.Input((STEPS, 2))
    layer = ksn.layers.Network(net_of(layers.Dense(3)), inputs="u")
    model = keras.Model(inputs, layer(inputs))
    with pytest.raises(NotImplementedError, match="Keras layer"):
        ksn.analysis.energy(model, frames(2, STEPS, 2))


def test_a_tensor_function_over_a_layer_says_that_it_is_not_trained():
    dense = layers.Dense(2, name="held")
    with pytest.warns(UserWarning, match="held.*keras_node"):
        ksn.tensor_function(lambda t, x: dense(x[None])[0])
