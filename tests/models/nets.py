"""Keras models of every make that the walk has to take apart, with data for them."""

import keras
import numpy as np
from keras import layers, ops

import keras_spiking_nengo as ksn


def chain(*stack, shape=(3,), name=None):
    return keras.Sequential([keras.Input(shape), *stack], name=name)


def nested():
    inner = chain(layers.Dense(3, name="a"), layers.Dense(3, name="b"), name="inner")
    middle = chain(inner, layers.Dense(4, name="c"), name="middle")
    x = keras.Input((3,), name="x")
    return keras.Model(x, layers.Add(name="sum")([middle(x), middle(inner(x))]))


def shared():
    x = keras.Input((3,), name="x")
    dense = layers.Dense(3, "tanh", name="dense")
    return keras.Model(x, dense(layers.Dense(3, name="between")(dense(x))))


def per_step():
    return chain(
        layers.TimeDistributed(layers.Dense(4, name="inner"), name="outer"),
        ksn.layers.PerStep(layers.LayerNormalization(name="norm"), name="fast"),
        shape=(5, 3),
    )


def model_per_step():
    inner = chain(layers.Dense(4, name="a"), layers.ReLU(name="b"), name="inner")
    return chain(layers.TimeDistributed(inner, name="outer"), shape=(5, 3))


def steps_of_steps():
    inner = chain(layers.Dense(4, name="a"), layers.Flatten(name="b"), shape=(2, 3))
    rows = chain(
        layers.TimeDistributed(inner, name="rows"),
        layers.SimpleRNN(2, name="rnn"),
        shape=(4, 2, 3),
    )
    return chain(layers.TimeDistributed(rows, name="steps"), shape=(5, 4, 2, 3))


def operations():
    x = keras.Input((3,), name="x")
    y = 2 * x - ops.tanh(x) / 3
    return keras.Model(x, ops.concatenate([y[:, :1], ops.sum(x, 1, keepdims=True)], 1))


def masked():
    x = keras.Input((None, 3), name="x")
    y = layers.LSTM(2, name="lstm")(layers.Masking(name="mask")(x))
    return keras.Model(x, y)


def masked_inside():
    """Models that are called with a mask, which goes on through them and after them."""
    x = keras.Input((None, 3), name="x")
    y = layers.Masking(name="mask")(x)
    a, b = keras.Input((None, 3), name="a"), keras.Input((None, 3), name="b")
    both = layers.Add(name="both")([layers.Dense(3, name="dense")(a), b])
    several = layers.GRU(2, return_sequences=True, name="gru")(both)
    pair = keras.Model([a, b], several, name="pair")([y, y])
    stack = chain(layers.LSTM(2, name="lstm"), shape=(None, 2), name="last")
    return keras.Model(x, [layers.SimpleRNN(2, name="rnn")(pair), stack(pair)])


def drawn_inside():
    inner = chain(layers.Dropout(0.5, name="dropout"), layers.ReLU(name="relu"))
    x = keras.Input((3,), name="x")
    inner.name = "inner"
    return keras.Model(x, inner(x, training=True))


def by_name():
    inputs = {k: keras.Input((n,), name=k) for k, n in (("b", 2), ("a", 3))}
    both = layers.Concatenate(name="both")([inputs["b"], inputs["a"]])
    outputs = {"z": layers.Dense(2, name="dense")(both), "y": [both, inputs["a"]]}
    return keras.Model(inputs, outputs)


def several():
    a, b = keras.Input((3,), name="a"), keras.Input((3,), name="b")
    dense = layers.Dense(2, name="dense")
    return keras.Model([a, b], [dense(b), a, dense(a), layers.Add(name="sum")([a, b])])


def states():
    x = keras.Input((5, 3), name="x")
    cells = [layers.LSTMCell(2), layers.GRUCell(3)]
    # Keras gives states cell by cell.
    y, *nested = layers.RNN(cells, return_state=True, name="rnn")(x)
    h, c, g = keras.tree.flatten(nested)
    again = layers.LSTM(2, name="lstm")(x, initial_state=[h, c])
    return keras.Model(x, [y, g, again])


class Constructed(keras.Model):
    """Functional, with a constructor of its own, and no call."""

    def __init__(self, units=4):
        x = keras.Input((3,), name="x")
        super().__init__(x, layers.Dense(units, name="dense")(x), name="constructed")


class Called(keras.Model):
    """A model with a call of its own."""

    def __init__(self):
        super().__init__(name="own")
        self.dense = layers.Dense(2)

    def call(self, x):
        return self.dense(x)


def with_a_call_inside():
    x = keras.Input((3,), name="x")
    return keras.Model(x, Called()(layers.Dense(3, name="dense")(x)))


def of_integers():
    inner = keras.Sequential(
        [keras.Input((3,), dtype="int32"), layers.Rescaling(0.5, name="half")],
        name="inner",
    )
    x = keras.Input((3,), name="x")
    return keras.Model(x, inner(x))


NETS = {
    "nested": nested,
    "shared": shared,
    "per step": per_step,
    "model per step": model_per_step,
    "steps of steps": steps_of_steps,
    "operations": operations,
    "masked": masked,
    "masked inside": masked_inside,
    "by name": by_name,
    "several": several,
    "states": states,
    "constructed": Constructed,
    "with a call inside": with_a_call_inside,
    "of integers": of_integers,
}


def arrays(model, n_steps=6):
    """Data for the inputs of a model, with steps of zeros."""
    rng = np.random.RandomState(0)
    shapes = [(2, *(n or n_steps for n in x.shape[1:])) for x in model.inputs]
    data = [rng.uniform(-2, 2, shape).astype("float32") for shape in shapes]
    for array in data:
        array[:, -1:] = 0 if array.ndim > 2 else array[:, -1:]
    return data


def outputs(model, data):
    """The model's own outputs, flat."""
    sequential = isinstance(model, keras.Sequential)
    x = data[0] if sequential else keras.tree.pack_sequence_as(model.input, data)
    return list(map(ops.convert_to_numpy, keras.tree.flatten(model(x))))
