"""What Nengo has no objects for, run by Keras in a node."""

import keras
import nengo
import numpy as np
import pytest
from keras import layers

import keras_spiking_nengo as ksn
from keras_spiking_nengo.convert import to_nengo
from keras_spiking_nengo.engine.keras_layers import KerasLayer
from tests.builders import (
    batch,
    neurons,
    presented,
    sequence,
    static,
    synapse,
    temporal,
)
from tests.marks import TAKES_TURNS, slow_on_jax, some_on_jax

pytestmark = TAKES_TURNS


@keras.saving.register_keras_serializable("tests")
class Square(layers.Layer):
    def call(self, x):
        return x * x


@keras.saving.register_keras_serializable("tests")
class Leaky(keras.Model):
    """A model with a call of its own."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = layers.Dense(4)

    def call(self, x):
        return keras.ops.leaky_relu(self.dense(x))


def _smaller():
    x = keras.Input((None, 3), name="x")
    y = keras.Input((None, 3), name="y")
    return keras.Model([x, y], layers.Minimum(name="smaller")([x, y]))


MODELS = {
    "own layer": lambda: temporal(layers.Dense(4), Square(), neurons()),
    "normalised": lambda: temporal(layers.LayerNormalization(), neurons(), synapse()),
    "lstm": lambda: temporal(layers.LSTM(4, return_sequences=True), neurons()),
    "stacked": lambda: temporal(
        layers.RNN([layers.GRUCell(3), layers.LSTMCell(4)], return_sequences=True)
    ),
    "last step": lambda: temporal(neurons(), layers.GRU(4, "relu")),
    "softmax": lambda: presented(layers.Dense(4), neurons(), layers.Softmax()),
    "wrapped": lambda: temporal(
        layers.TimeDistributed(layers.MaxPooling1D(2)), shape=(4, 2)
    ),
    "static": lambda: static(layers.UnitNormalization(), shape=(4, 4, 1)),
    "attention": lambda: static(layers.GlobalMaxPooling1D(), shape=(4, 3)),
    "several inputs": _smaller,
    "levels": lambda: temporal(ksn.layers.Synapse(0.1, initial_level=0.5)),
    "subclass": lambda: temporal(Leaky(), neurons()),
}


def data_of(model):
    return batch(model) if model.inputs[0].shape[1] is not None else sequence(model)


@pytest.mark.parametrize("name", some_on_jax(MODELS, ["own layer", "lstm", "subclass"]))
@slow_on_jax
def test_hosted_layers_give_the_same(name, float64):
    model = MODELS[name]()
    with pytest.raises(NotImplementedError, match="strict=False"):
        to_nengo(model)
    with pytest.warns(UserWarning, match="Keras runs it, in a Python node"):
        export = to_nengo(model, strict=False)
    report = export.verify(data_of(model), rtol=1e-6, atol=1e-6)
    assert report.ok, f"\n{report}"
    hosts = [n for n in export.net.all_nodes if isinstance(n.output, KerasLayer)]
    assert len(hosts) == 1
    assert export.layers[hosts[0].label]


def test_what_is_expressed_is_not_hosted(recwarn):
    model = temporal(layers.Dense(4), neurons(), synapse())
    export = to_nengo(model, strict=False)
    assert not any("Python node" in str(w.message) for w in recwarn.list)
    assert not any(callable(node.output) for node in export.net.all_nodes)


def test_a_simulator_begins_anew(float64):
    model = temporal(layers.LSTM(4, return_sequences=True))
    with pytest.warns(UserWarning, match="LSTM"):
        export = to_nengo(model, strict=False)
    x = sequence(model)
    np.testing.assert_array_equal(export.run(x), export.run(x))


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (lambda: layers.Bidirectional(layers.LSTM(2, return_sequences=True)), "mixes"),
        (lambda: layers.LSTM(2, return_sequences=True, go_backwards=True), "backwards"),
        (lambda: layers.Conv1D(2, 2, padding="same"), "would mix"),
        (lambda: layers.Masking(), "its mask does not reach"),
    ],
)
@slow_on_jax
def test_refused_even_so(layer, reason):
    with pytest.raises(NotImplementedError, match=reason):
        to_nengo(temporal(layer()), strict=False)


def test_comes_back_as_a_network(float64):
    model = temporal(layers.Dense(4), Square(), neurons())
    with pytest.warns(UserWarning, match="Square"):
        export = to_nengo(model, strict=False)
    again = ksn.from_nengo(
        export.net, list(export.inputs.values()), list(export.outputs.values())
    )
    x = sequence(model)
    np.testing.assert_allclose(again.predict(x, verbose=0), export.run(x), atol=1e-6)
    assert any(isinstance(layer, ksn.layers.Network) for layer in again.layers)
    assert nengo.Simulator(export.net, progress_bar=False).model


def test_a_layer_gets_numbers_in_its_own_precision(float64):
    layer = layers.Activation("relu")
    layer.build((None, 1))
    keras.config.set_floatx("float32")
    step = KerasLayer(layer, [(1,)], 1).make_step((1,), (1,), 0.001, None, {})
    assert step(0.001, np.array([1 / 3]))[0] == 1 / 3


def test_no_node_runs_the_whole_model():
    model = Leaky()
    model.build((None, 3))
    with pytest.raises(NotImplementedError, match="a call of its own"):
        to_nengo(model, strict=False)
