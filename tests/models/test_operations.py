"""An operation as a layer gives the operation's numbers, also after it was saved."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_spiking_nengo.models.calls import calls
from keras_spiking_nengo.models.operations import OperationLayer, Slot
from tests.models.nets import chain

X = np.random.RandomState(0).uniform(-1, 1, (2, 3)).astype("float32")
Y = X[::-1].copy()

# Of one or two tensors, and what else it is called with.
OPERATIONS = {
    "a constant first": (lambda x: 1 - x, (1, Slot(0))),
    "a constant last": (lambda x: x / 2, (Slot(0), 2)),
    "two tensors": (lambda x, y: x - y, (Slot(0), Slot(1))),
    "one tensor twice": (lambda x: x * x, (Slot(0), Slot(0))),
    "a list": (lambda x, y: ops.concatenate([x, y], axis=1), None),
    "a slice": (lambda x: x[:, 1:], None),
    "a function": (lambda x: ops.tanh(x), (Slot(0),)),
    "an argument of its own": (lambda x: ops.sum(x, axis=1), (Slot(0),)),
    "where": (lambda x, y: ops.where(x, y, 0.0), (Slot(0), Slot(1), 0.0)),
}


def of(function):
    inputs = [keras.Input((3,)) for _ in range(function.__code__.co_argcount)]
    (call,) = calls(keras.Model(inputs, function(*inputs)))
    return OperationLayer.of(call), [X, Y][: len(inputs)]


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_as_a_layer(name, tmp_path):
    function, operands = OPERATIONS[name]
    layer, data = of(function)
    assert layer.n_tensors == len(data)
    assert operands is None or layer.operands == operands
    tensors = list(map(ops.convert_to_tensor, data))
    given = tensors if len(tensors) > 1 else tensors[0]
    expected = function(*tensors)
    np.testing.assert_allclose(layer(given), expected, rtol=1e-6)
    shapes = [x.shape for x in data]
    shape = layer.compute_output_shape(shapes if len(shapes) > 1 else shapes[0])
    assert tuple(shape) == tuple(expected.shape)
    inputs = [keras.Input((3,)) for _ in data]
    model = keras.Model(inputs, layer(inputs if len(inputs) > 1 else inputs[0]))
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    np.testing.assert_allclose(loaded(data), expected, rtol=1e-6)


def test_it_has_the_name_and_kind_of_the_operation():
    layer, _ = of(lambda x: 2 + x)
    assert layer.operation_kind == "Add" and layer.name == layer.operation.name
    joined, _ = of(lambda x, y: ops.concatenate([x, y], axis=1))
    assert joined.axis == 1


def test_a_layer_of_several_arguments_keeps_its_weights(tmp_path):
    a, b = keras.Input((4, 3)), keras.Input((5, 3))
    attention = layers.MultiHeadAttention(1, 2, name="attention")
    (call,) = calls(keras.Model([a, b], attention(a, b)))
    layer = OperationLayer.of(call)
    rng = np.random.RandomState(0)
    data = [rng.rand(2, n, 3).astype("float32") for n in (4, 5)]
    model = keras.Model([a, b], layer([a, b]))
    np.testing.assert_allclose(model(data), attention(*data), rtol=1e-5)
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    np.testing.assert_allclose(loaded(data), attention(*data), rtol=1e-5)


def test_the_operation_of_a_layer_is_called_as_it_was():
    (call,) = calls(chain(layers.Dense(2, name="dense")))
    layer = OperationLayer.of(call)
    np.testing.assert_allclose(layer(X), call.operation(X), rtol=1e-6)
