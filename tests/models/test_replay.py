"""A model's calls made once more give what the model gives."""

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from keras import layers, ops

from keras_spiking_nengo.models.calls import calls
from keras_spiking_nengo.models.replay import Replay, called, replay
from tests.cases import MODELS, generated_models, make
from tests.marks import TAKES_TURNS, quick, slow_on_jax
from tests.models.nets import NETS, arrays, outputs, states

pytestmark = TAKES_TURNS


def same(model, data):
    expected = outputs(model, data)
    answers = replay(calls(model), list(map(ops.convert_to_tensor, data)))
    assert len(answers) == len(expected)
    for answer, y in zip(answers, expected, strict=True):
        np.testing.assert_allclose(answer, y, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", NETS)
def test_replay_gives_the_outputs_of_models_of_any_make(name):
    model = NETS[name]()
    same(model, arrays(model))


@slow_on_jax
@pytest.mark.parametrize("name", quick(MODELS, sorted(MODELS)[::3]))
def test_replay_gives_the_outputs_of_the_catalogue(name):
    model, x = make(name)
    same(model, [a.astype("float32") for a in (x if isinstance(x, list) else [x])])


@slow_on_jax
@settings(deadline=None, max_examples=15, suppress_health_check=list(HealthCheck))
@given(generated_models())
def test_replay_gives_the_outputs_of_generated_models(model):
    same(model, arrays(model))


def test_values_may_be_anything():
    """Here, what each tensor was made of."""

    def write(call, args, kwargs):
        return f"{call.name}({', '.join(keras.tree.flatten((args, kwargs)))})"

    x = keras.Input((3,))
    y = layers.Dense(3, name="a")(x)
    model = keras.Model(x, layers.Add(name="b")([x, y]))
    assert replay(calls(model), ["x"], write) == ["b(x, a(x))"]


def test_a_change_at_one_call_goes_on_from_there():
    x = keras.Input((3,))
    model = keras.Model(x, [2 * layers.Identity(name="a")(x), x])

    def doubled(call, args, kwargs):
        return called(call, args, kwargs) * (2 if call.name == "a" else 1)

    data = np.ones((1, 3), "float32")
    changed, kept = replay(calls(model), [ops.convert_to_tensor(data)], doubled)
    np.testing.assert_array_equal(changed, 4 * data)
    np.testing.assert_array_equal(kept, data)


@pytest.mark.parametrize("sizes", [(2, 5), (1, 3)])
def test_called_folds_steps_into_the_batch(sizes):
    inner = keras.Sequential(
        [keras.Input((3,)), layers.Dense(2, name="a"), layers.Softmax(name="b")]
    )
    model = keras.Sequential(
        [keras.Input((None, 3)), layers.TimeDistributed(inner, name="outer")]
    )
    x = np.random.RandomState(0).rand(*sizes, 3).astype("float32")
    first, last = calls(model)
    between = called(first, (ops.convert_to_tensor(x),), {})
    assert tuple(between.shape) == (*sizes, 2)
    y = called(last, (between,), {})
    np.testing.assert_allclose(y, model(x), rtol=1e-5)


def test_no_value_is_held_longer_than_it_is_needed():
    import weakref

    class Value:
        pass

    alive = []

    def note(call, args, kwargs):
        assert sum(ref() is not None for ref in alive) <= 2
        value = Value()
        alive.append(weakref.ref(value))
        return value

    x = keras.Input((3,))
    y = x
    for _ in range(6):
        y = layers.ReLU()(y)
    replay(calls(keras.Model(x, y)), [Value()], note)


def test_a_replay_sends_all_steps_of_what_runs_over_time():
    model = states()
    (x,) = arrays(model)
    sent = Replay(calls(model), ["rnn", "lstm"])(ops.convert_to_tensor(x))
    cells = layers.RNN(model.get_layer("rnn").cell, return_sequences=True)
    np.testing.assert_allclose(sent["rnn"], cells(x), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        sent["lstm"][:, -1], outputs(model, [x])[-1], rtol=1e-5, atol=1e-6
    )


def test_a_replay_sends_what_it_is_told_to():
    model = NETS["nested"]()
    (x,) = arrays(model)
    names = ["middle/inner/a", "sum"]
    means = Replay(calls(model), names, lambda name, y: ops.mean(y))
    sent = means(ops.convert_to_tensor(x))
    assert list(sent) == names
    np.testing.assert_allclose(sent["sum"], outputs(model, [x])[0].mean(), rtol=1e-5)
