"""Which tensors have an axis of time: what layers say, carried both ways."""

import keras
import pytest
from keras import layers

import keras_spiking_nengo as ksn
from keras_spiking_nengo.models.calls import calls
from keras_spiking_nengo.models.temporal import temporal
from keras_spiking_nengo.models.time import Time, teach, time_of
from tests.models.nets import chain


def neurons(**kwargs):
    return ksn.layers.Neurons("lif", **{"return_sequences": True} | kwargs)


def times(model):
    """By the name of an input or call, whether it is temporal."""
    found = temporal(calls(model))
    inputs = {name: found[x] for name, x in found.calls.inputs.items()}
    return inputs | {call.name: found.of(call) for call in found.calls}


def test_an_open_axis_is_time():
    model = chain(layers.Dense(2, name="d"), shape=(None, 3))
    assert set(times(model).values()) == {True}


def test_what_nothing_says_is_static():
    model = chain(layers.Dense(2, name="d"), shape=(5, 3))
    found = temporal(calls(model))
    assert not found and found.n_steps() == 1
    assert set(times(model).values()) == {False}


def test_time_is_carried_back_from_what_runs():
    model = chain(
        layers.Dense(2, name="a"),
        neurons(name="n"),
        layers.ReLU(name="b"),
        shape=(5, 3),
    )
    assert set(times(model).values()) == {True}
    assert temporal(calls(model)).n_steps() == 5


def test_the_last_step_is_static():
    model = chain(
        neurons(name="n", return_sequences=False),
        layers.ReLU(name="r"),
        shape=(None, 3),
    )
    found = times(model)
    assert not found["n"] and not found["r"] and sum(found.values()) == 1


def test_states_are_static_and_outputs_are_not():
    x = keras.Input((None, 3))
    y, h, c = layers.LSTM(2, return_sequences=True, return_state=True)(x)
    found = temporal(calls(keras.Model(x, [y, h, c])))
    assert [found[end] for end in found.calls.outputs.values()] == [True, False, False]


def test_time_begins_where_it_is_presented():
    model = chain(
        layers.Dense(2, name="d"), ksn.layers.Repeat(7, name="r"), neurons(name="n")
    )
    found = times(model)
    assert not found["d"] and found["r"] and found["n"]
    assert temporal(calls(model)).n_steps() == 7
    encoder = ksn.layers.PoissonEncoder(n_steps=4, return_sequences=False)
    assert temporal(calls(chain(encoder))).n_steps() == 4


def test_a_vector_is_repeated_in_time_only_if_something_runs_over_it():
    running = chain(layers.RepeatVector(5, name="r"), neurons(name="n"))
    assert times(running)["r"]
    still = chain(layers.RepeatVector(5, name="r"), layers.Flatten(name="f"))
    assert not any(times(still).values())


def test_steps_are_temporal_in_and_out():
    model = chain(layers.TimeDistributed(layers.Dense(2), name="t"), shape=(5, 3))
    assert set(times(model).values()) == {True}


def test_a_caller_may_know_better():
    found = calls(chain(layers.Dense(2, name="d"), neurons(), shape=(5, 3)))

    def time(call):
        return Time.MIXES if call.name == "d" else time_of(call.operation)

    with pytest.raises(NotImplementedError, match="mix"):
        temporal(found, time)


def joined():
    x, s = keras.Input((None, 3)), keras.Input((3,))
    return keras.Model([x, s], layers.Add(name="both")([neurons()(x), s[:, None]]))


def unequal():
    x, s = keras.Input((5, 3), name="x"), keras.Input((3,), name="s")
    outputs = [neurons()(x), neurons()(ksn.layers.Repeat(7, name="r")(s))]
    return keras.Model([x, s], outputs)


def per_step(layer, shape):
    return chain(layers.TimeDistributed(layer, name="steps"), shape=shape)


class Turned(layers.Layer):
    def call(self, x):
        return keras.ops.flip(x, axis=1)


teach(Time.MIXES, Turned)

# The model, and what the error has to say.
REFUSED = {
    "mixing": (
        lambda: chain(neurons(), layers.Flatten(name="f"), shape=(5, 3)),
        "'f' .Flatten.*whose steps it would mix.*TimeDistributed",
    ),
    "of one step, too": (
        lambda: chain(neurons(), Turned(name="t"), shape=(5, 4)),
        "'t' .Turned.*would mix. Wrap it in keras.layers.TimeDistributed",
    ),
    "of time and features": (
        lambda: chain(neurons(), layers.Permute((2, 1), name="p"), shape=(5, 3)),
        "'p' .Permute.*would mix. It acts along time",
    ),
    "running over the last": (
        lambda: chain(
            neurons(return_sequences=False, name="n"),
            ksn.layers.Repeat(3, name="r"),
            shape=(None, 3),
        ),
        "'r' .Repeat.*repeats 'n', the last step.*two models",
    ),
    "repeated time": (
        lambda: chain(
            ksn.layers.Repeat(3),
            layers.Dense(3),
            layers.Reshape((9,)),
            ksn.layers.Repeat(2, name="r"),
        ),
        "Reshape.*would mix",
    ),
    "steps in steps": (
        lambda: per_step(layers.TimeDistributed(layers.Dense(2)), (4, 5, 3)),
        "'steps' .Dense.*one axis of time",
    ),
    "running in steps": (
        lambda: per_step(layers.LSTM(2), (4, 5, 3)),
        "'steps' .LSTM.*one axis of time",
    ),
    "unequal numbers of steps": (
        unequal,
        "has 7 steps.*another layer has 5",
    ),
    "joined": (joined, "mix|joins"),
    "running without time": (
        lambda: chain(
            neurons(name="a", return_sequences=False),
            layers.RepeatVector(4, name="again"),
            neurons(name="b"),
            shape=(None, 3),
        ),
        "'again'.*last step of a sequence",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_time_where_it_cannot_be_is_refused_by_name(name):
    make, message = REFUSED[name]
    with pytest.raises(NotImplementedError, match=f"(?s){message}"):
        temporal(calls(make())).n_steps()


def test_a_caller_makes_the_error():
    make, _ = REFUSED["mixing"]

    def refuse(path, kind, reason):
        return KeyError(path, kind)

    with pytest.raises(KeyError, match="'f', 'Flatten'"):
        temporal(calls(make()), refuse=refuse)
