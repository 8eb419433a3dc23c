"""Models are run call by call, and are left as they were."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_spiking_nengo as ksn
from keras_spiking_nengo.models.calls import calls
from keras_spiking_nengo.models.data import arrays_of
from keras_spiking_nengo.models.replay import called, replay
from tests.arrays import numpy


def _sequential():
    return keras.Sequential([keras.Input((3,)), layers.Dense(4), layers.ReLU()])


def _shared():
    x = keras.Input((4,))
    dense = layers.Dense(4, name="dense")
    y = layers.Add(name="add")([dense(x), dense(dense(x))])
    return keras.Model(x, y)


def _nested():
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(3)], name="inner")
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    c = keras.Input((3,), name="c")
    both = keras.Model([c, inner.inputs[0]], [c, inner.outputs[0]], name="both")
    first, second = both([inner(a), b])
    return keras.Model(
        {"b": b, "a": a}, {"y": first, "z": layers.Add()([first, second])}
    )


def _states():
    x = keras.Input((None, 2))
    y, *states = ksn.layers.Neurons(
        "lif", seed=0, return_sequences=True, return_state=True
    )(layers.Masking(0.0)(x))
    z = layers.LSTM(3, return_sequences=True)(y, initial_state=None)
    return keras.Model(x, [z, states[0]])


MODELS = {
    "sequential": _sequential,
    "shared": _shared,
    "nested": _nested,
    "states": _states,
}


def inputs_of(model, time=6):
    rng = np.random.RandomState(0)
    shapes = [
        (2, *(time if n is None else n for n in s.shape[1:])) for s in model.inputs
    ]
    return [rng.uniform(0, 4, size=shape).astype("float32") for shape in shapes]


@pytest.mark.torch
@pytest.mark.parametrize("name", MODELS)
def test_calls_one_by_one_make_the_model(name):
    model = MODELS[name]()
    x = inputs_of(model)
    names = []

    def apply(call, args, kwargs):
        names.append(call.name)
        return called(call, args, kwargs)

    tensors = list(map(ops.convert_to_tensor, x))
    outputs = replay(calls(model), tensors, apply)
    symbols = model.inputs[0] if name == "sequential" else model.input
    expected = keras.tree.flatten(model(keras.tree.pack_sequence_as(symbols, x)))
    actual = keras.tree.flatten(outputs)
    for one, other in zip(actual, expected, strict=True):
        np.testing.assert_allclose(numpy(one), numpy(other), rtol=1e-6)
    assert len(set(names)) == len(names)
    # No call has been added to the model's own layers.
    for layer in model.layers:
        shared = name == "shared" and layer.name == "dense"
        assert shared or layer.output is not None


@pytest.mark.torch
def test_names_are_paths_with_a_number_from_the_second_call_on():
    model = _shared()
    names = [call.name for call in calls(model)]
    assert sorted(names) == ["add", "dense", "dense:2", "dense:3"]
    outer = keras.Sequential([keras.Input((4,)), model], name="outer")
    assert f"{model.name}/dense:3" in calls(outer)
    assert [call.called for call in calls(outer, nested=False)] == [model]


@pytest.mark.torch
def test_compiled_models_are_read_without_their_losses():
    model = _shared()
    model.compile(loss=lambda y, p: ops.sum(p))
    replay(calls(model), [ops.ones((1, 4))])


@pytest.mark.torch
def test_data_come_in_the_models_structure_or_by_name():
    model = _nested()
    a, b = np.ones((2, 4)), np.zeros((2, 4))
    by_name = arrays_of(calls(model), {"b": b, "a": a})
    assert by_name[0][0, 0] == 1 and by_name[1][0, 0] == 0
    flat = keras.Model(model.inputs, model.outputs)
    assert arrays_of(calls(flat), {"b": b, "a": a})[0][0, 0] == 1
    assert arrays_of(calls(flat), [a, b])[0][0, 0] == 1
    with pytest.raises(
        ValueError, match=r"'a' \(any, 4\), 'b' .*received the keys \['a'\]"
    ):
        arrays_of(calls(flat), {"a": a})
    with pytest.raises(ValueError, match=r"\(any, 4\).*received the shapes \(2, 3\)"):
        arrays_of(calls(_shared()), np.ones((2, 3)))
    with pytest.raises(ValueError, match="at least one; received the shapes"):
        arrays_of(calls(_shared()), np.ones((0, 4)))
    with pytest.raises(ValueError, match="at least one; received the shapes"):
        arrays_of(calls(flat), [a, b[:1]])


class Own(keras.Model):
    """A model whose layers nobody can see."""

    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(2)

    def call(self, x):
        return self.dense(x)


@pytest.mark.torch
def test_what_cannot_be_taken_apart_is_refused():
    with pytest.raises(TypeError, match=r"Expected a keras.Model.*keras.Sequential"):
        calls(layers.Dense(2))
    with pytest.raises(ValueError, match="not built"):
        calls(keras.Sequential([layers.Dense(2)]))
    with pytest.raises(NotImplementedError, match=r"\(Own\) has a call of its own"):
        calls(Own())
