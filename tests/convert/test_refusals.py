"""What cannot be expressed is refused by name, with what can."""

import keras
import nengo
import numpy as np
import pytest
from keras import layers

import keras_spiking_nengo as ksn
from keras_spiking_nengo.convert import to_nengo
from keras_spiking_nengo.convert.layer_rules import HINTS, LAYERS
from tests.builders import (
    memory,
    neurons,
    per_step,
    presented,
    static,
    synapse,
    temporal,
)
from tests.marks import TAKES_TURNS

pytestmark = TAKES_TURNS


class Changed(layers.Dense):
    """A layer with a call of its own."""

    def call(self, inputs):
        return 2 * super().call(inputs)


class Renamed(layers.Dense):
    """A layer that is a Dense in all but name."""


class ChangedNeurons(ksn.layers.Neurons):
    """A layer with another cell."""

    cell_class = ksn.layers.NeuronsCell


class ChangedModel(keras.Sequential):
    """A model with a call of its own."""

    def call(self, inputs, training=None, mask=None):
        return 2 * super().call(inputs)


class Subclassed(keras.Model):
    """A model that is Python code."""

    def __init__(self):
        super().__init__(name="named")
        self.dense = layers.Dense(2)

    def call(self, x):
        return self.dense(x)


class OwnArguments(keras.Model):
    """A functional model whose layers Keras does not list."""

    def __init__(self, units):
        x = keras.Input((5,))
        super().__init__(x, layers.Dense(units)(x), name="named")


def functional(build, *shapes):
    inputs = [keras.Input(shape) for shape in shapes]
    return keras.Model(inputs, build(*inputs))


def subclassed():
    model = Subclassed()
    model(np.ones((1, 5)))
    return model


def joined_time(x, y):
    spikes = neurons()(x)
    return layers.Add(name="named")([spikes, layers.Flatten()(y)])


def _quantized(mode):
    model = static(layers.Dense(3, name="named"))
    model.quantize(mode)
    return model


IMAGE = (6, 6, 2)
# Model, and words of its refusal.
REFUSED = {
    "no rule": (lambda: static(layers.LayerNormalization(name="named")), "no rule"),
    "batch norm over time": (
        lambda: temporal(neurons(), layers.BatchNormalization(1, name="named"), time=4),
        "over the batch or over time",
    ),
    "max pooling": (
        lambda: static(layers.MaxPooling2D(name="named"), shape=IMAGE),
        "max_to_avg_pool=True",
    ),
    "after a mean over time": (
        lambda: temporal(
            neurons(), layers.GlobalAveragePooling1D(name="named"), layers.Dense(2)
        ),
        "Export the model up to this layer",
    ),
    "quantized": (
        lambda: _quantized("float8"),
        "it is quantized to float8; int8 and int4 are known",
    ),
    "masking": (lambda: temporal(layers.Masking(name="named"), neurons()), "cut"),
    "lstm": (lambda: temporal(layers.LSTM(3, name="named")), "no rule"),
    "embedding": (lambda: static(layers.Embedding(4, 2, name="named")), "no rule"),
    "own call": (lambda: static(Changed(3, name="named")), "a call of its own"),
    "own cell": (lambda: temporal(ChangedNeurons(name="named")), "of its own"),
    "own model": (
        lambda: ChangedModel([keras.Input((5,)), layers.Dense(2)], name="named"),
        "keras.Sequential(...)",
    ),
    "Python model": (subclassed, "keras.Model(...)"),
    "softmax": (
        lambda: static(layers.Dense(3, "softmax", name="named")),
        "train on logits",
    ),
    "softmax layer": (lambda: static(layers.Softmax(name="named")), "logits"),
    "activation": (
        lambda: static(layers.Activation("sparsemax", name="named")),
        "no function of single elements",
    ),
    "own activation": (
        lambda: static(layers.Dense(3, lambda x: 2 * x, name="named")),
        "'<lambda>'",
    ),
    "recurrence backwards": (
        lambda: temporal(layers.SimpleRNN(3, go_backwards=True, name="named")),
        "Nengo runs forwards only",
    ),
    "recurrence with softmax": (
        lambda: temporal(layers.SimpleRNN(3, "softmax", name="named")),
        "train on logits",
    ),
    "cell": (
        lambda: temporal(layers.RNN(layers.GRUCell(3), name="named")),
        "its cell is GRUCell",
    ),
    "cells in one": (
        lambda: temporal(layers.RNN([layers.GRUCell(3), layers.GRUCell(3)])),
        "its cell is StackedRNNCells",
    ),
    "hidden part": (
        lambda: temporal(memory(layers.LSTMCell(3), name="named")),
        "in its hidden part, its cell is LSTMCell",
    ),
    "hidden activation": (
        lambda: temporal(memory(layers.Dense(3, "softmax"), name="named")),
        "train on logits",
    ),
    "hidden ensemble": (
        lambda: temporal(memory(ksn.layers.EnsembleCell(9, 8), name="named")),
        "EnsembleCell, which is more than one",
    ),
    "memory backwards": (
        lambda: temporal(memory(go_backwards=True, name="named")),
        "Nengo runs forwards only",
    ),
    "convolution over time": (
        lambda: temporal(neurons(), layers.Conv1D(3, 2, name="named")),
        "With padding='valid' and strides=(1,) it looks ahead",
    ),
    "causal convolution": (
        lambda: temporal(layers.Conv1D(3, 2, padding="causal", name="named")),
        "another layer that carries states",
    ),
    "convolution of each channel over time": (
        lambda: temporal(neurons(), layers.DepthwiseConv1D(3, name="named")),
        "if time is not the axis that it runs along",
    ),
    "mean over time": (
        lambda: functional(lambda x: keras.ops.mean(neurons()(x), axis=0), (None, 5)),
        "x[:, -1] is the last step, and an average over time is taken where",
    ),
    "flatten of time": (
        lambda: temporal(neurons(), layers.Flatten(name="named"), time=4),
        "TimeDistributed",
    ),
    "sequence of unknown length": (
        lambda: temporal(layers.Conv1D(3, 2, name="named")),
        "if time is not the axis that it runs along",
    ),
    "time out of features": (
        lambda: static(layers.Reshape((5, 1), name="named"), neurons()),
        "present a static value with ksn.layers.Repeat",
    ),
    "no time to run over": (
        lambda: temporal(
            synapse(return_sequences=False),
            layers.Dense(12),
            layers.Reshape((4, 3)),
            neurons(name="named"),
        ),
        "",
    ),
    "repeated twice": (
        lambda: presented(neurons(), ksn.layers.Repeat(3, name="named")),
        "has an axis of time already",
    ),
    "repeated last step": (
        lambda: temporal(
            neurons(return_sequences=False),
            layers.Dense(3),
            ksn.layers.Repeat(3, name="named"),
            neurons(),
        ),
        "the last step of a sequence",
    ),
    "repeated end of a sequence": (
        lambda: temporal(
            layers.SimpleRNN(3),
            layers.RepeatVector(3, name="named"),
            layers.SimpleRNN(3, return_sequences=True),
        ),
        "the last step of a sequence",
    ),
    "different lengths": (
        lambda: functional(
            lambda x: [
                neurons()(ksn.layers.Repeat(3)(x)),
                neurons()(ksn.layers.Repeat(4, name="named")(x)),
            ],
            (5,),
        ),
        "4 steps of time, and another layer has 3",
    ),
    "joined over time": (
        lambda: functional(
            lambda x, y: layers.Concatenate(axis=1, name="named")(
                [neurons()(x), neurons()(y)]
            ),
            (4, 5),
            (4, 5),
        ),
        "over time",
    ),
    "different ranks": (
        lambda: functional(lambda x, y: layers.Add(name="named")([x, y]), (4,), (3, 4)),
        "different numbers of axes",
    ),
    "quotient": (lambda: functional(lambda x: 1 / x, (4,)), "divides by a signal"),
    "power": (lambda: functional(lambda x: x**3, (4,)), "the square only"),
    "unknown operation": (
        lambda: functional(lambda x: keras.ops.sort(x), (4,)),
        "an operation without a rule",
    ),
    "operation on the batch": (
        lambda: functional(lambda x: keras.ops.flip(x, 0), (4,)),
        "items of a batch",
    ),
    "numbers over time": (
        lambda: functional(lambda x: neurons()(x) + np.ones((1, 4, 5)), (4, 5)),
        "over time",
    ),
    "nested wrappers": (
        lambda: temporal(
            layers.TimeDistributed(
                keras.Sequential(
                    [
                        keras.Input((3, 5)),
                        layers.TimeDistributed(layers.Dense(2), name="named"),
                    ]
                ),
            ),
            neurons(),
            shape=(3, 5),
        ),
        "one axis of time",
    ),
    "neurons in a wrapper": (
        lambda: temporal(per_step(neurons()), shape=(3, 5)),
        "one axis of time",
    ),
    "backwards": (lambda: temporal(neurons(go_backwards=True, name="named")), "back"),
    "states": (
        lambda: functional(
            lambda x: neurons(return_state=True, name="named")(x), (4, 5)
        ),
        "return_state",
    ),
    "stateful": (
        lambda: keras.Sequential(
            [
                keras.Input(batch_shape=(2, 4, 5)),
                neurons(stateful=True, name="named"),
            ]
        ),
        "stateful=False",
    ),
    "one parameter per neuron": (
        lambda: temporal(
            neurons(
                nengo.RegularSpiking(nengo.LIFRate()),
                trainable_parameters={"amplitude": "unit"},
                name="named",
            )
        ),
        "'shared'",
    ),
    "one tau per feature": (
        lambda: temporal(
            synapse(0.1, trainable_parameters={"tau": "unit"}, name="named")
        ),
        "'shared'",
    ),
    "initial level": (
        lambda: temporal(synapse(0.1, initial_level=1.0, name="named")),
        "start from 0",
    ),
    "two dts": (
        lambda: temporal(neurons(), synapse(0.1, dt=0.002, name="named")),
        "dt=0.002 s",
    ),
    "initial state": (
        lambda: functional(
            lambda x, v: neurons("spiking_relu", name="named")(x, initial_state=[v]),
            (4, 5),
            (5,),
        ),
        "'initial_state'",
    ),
    "dropout at inference": (
        lambda: functional(
            lambda x: layers.Dropout(0.5, name="named")(x, training=True), (5,)
        ),
        "'training'",
    ),
    "unknown features": (
        lambda: static(layers.Dense(2), shape=(None, None, 5)),
        "of which only time is None",
    ),
}


# Where the name is Keras's own.
UNNAMED = ("product", "quotient", "power", "unknown operation", "numbers over time")
UNNAMED += ("operation on the batch", "no time to run over", "neurons in a wrapper")
UNNAMED += ("unknown features", "cells in one", "mean over time")


@pytest.mark.parametrize("name", REFUSED)
def test_refusal(name):
    build, words = REFUSED[name]
    with pytest.raises(NotImplementedError) as error:
        to_nengo(build())
    message = str(error.value)
    assert words in message
    assert "cannot be expressed as a Nengo network" in message
    assert "docs/supported.md has the whole table" in message
    nearest = message.split("nearest by name are ")[1].split(";")[0].split(", ")
    assert len(nearest) == 3


@pytest.mark.parametrize("name", sorted(set(REFUSED) - set(UNNAMED)))
def test_refusal_names_the_layer(name):
    with pytest.raises(NotImplementedError, match=r"^Layer '(\w+/)?named' \(\w+\)"):
        to_nengo(REFUSED[name][0]())


def test_hints_are_for_layers_of_keras_that_have_no_rule():
    for name in HINTS:
        assert getattr(layers, name) not in set(LAYERS), name


def test_layers_in_submodels_are_refused_by_path():
    inner = keras.Sequential(
        [keras.Input((5,)), layers.LayerNormalization(name="norm")], name="inner"
    )
    with pytest.raises(NotImplementedError, match="'inner/norm'"):
        to_nengo(static(inner))


def test_subclasses_without_a_call_are_taken():
    assert to_nengo(static(Renamed(3))).run(np.ones((2, 5))).shape == (2, 3)


def test_no_model():
    with pytest.raises(TypeError, match=r"keras\.Sequential\(\["):
        to_nengo(layers.Dense(3))
    with pytest.raises(TypeError, match="keras.Model"):
        to_nengo(nengo.Network())


def test_model_that_is_not_built():
    with pytest.raises(ValueError, match="not built"):
        to_nengo(keras.Sequential([layers.Dense(3)]))


def test_model_built_later():
    model = keras.Sequential([layers.Dense(3)])
    model.build((None, 5))
    assert to_nengo(model).run(np.ones((2, 5))).shape == (2, 3)


def test_a_constructor_of_ones_own_hides_nothing():
    model = OwnArguments(3)
    assert to_nengo(model).verify(np.ones((2, 5))).ok


def test_delays_between_steps_are_refused_by_what_rounds_them():
    delayed = ksn.layers.DelayedDense(2, 0.004, return_sequences=True)
    model = temporal(delayed)
    with pytest.raises(NotImplementedError, match=r"round_delays\(\)"):
        to_nengo(model)
    delayed.round_delays()
    to_nengo(model)
