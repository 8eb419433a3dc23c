"""Which tensors have an axis of time is found from the layers."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_spiking_nengo as ksn
from keras_spiking_nengo.convert import to_nengo
from tests.builders import neurons, per_step, presented, static, synapse, temporal


def ports(model):
    graph = to_nengo(model).graph
    return [p.temporal for p in graph.inputs], [p.temporal for p in graph.outputs]


@pytest.mark.parametrize(
    "stack, expected",
    [
        ([layers.Dense(3), neurons()], (True, True)),
        ([layers.Dense(3), neurons(return_sequences=False)], (True, False)),
        ([synapse(return_sequences=False), layers.Dense(3)], (True, False)),
        ([layers.Dropout(0.5), layers.ReLU(), synapse()], (True, True)),
        ([per_step(layers.Dense(3))], (True, True)),
        ([layers.Dense(3), layers.Flatten()], (False, False)),
        ([layers.Conv1D(3, 2), layers.Dense(2)], (False, False)),
        ([layers.Dense(3)], (False, False)),
        ([ksn.layers.Repeat(3), neurons()], (False, True)),
        (
            [layers.Flatten(), ksn.layers.Repeat(3), synapse(return_sequences=False)],
            (False, False),
        ),
    ],
)
def test_stack(stack, expected):
    (first,), (last,) = ports(static(*stack, shape=(4, 5)))
    assert (first, last) == expected


def test_unknown_length_is_time():
    assert ports(temporal(layers.Dense(3))) == ([True], [True])


def test_known_both_ways():
    a, b = keras.Input((4, 5)), keras.Input((4, 5))
    c = layers.Add()([layers.Dense(5)(a), b])
    model = keras.Model([a, b], [layers.Dense(2)(b), layers.Dense(3)(synapse()(c))])
    assert ports(model) == ([True, True], [True, True])


def test_static_and_last_can_be_joined():
    x = keras.Input((5,))
    last = neurons(return_sequences=False)(ksn.layers.Repeat(10)(x))
    model = keras.Model(x, layers.Add()([x, last]))
    assert ports(model) == ([False], [False])
    assert to_nengo(model).verify(np.full((2, 5), 3.0)).ok


@pytest.mark.parametrize(
    "model, expected",
    [
        (lambda: presented(neurons()), 25),
        (lambda: temporal(neurons(), time=7), 7),
        (lambda: temporal(neurons()), None),
        (lambda: static(layers.Dense(2)), 1),
    ],
)
def test_number_of_steps(model, expected):
    assert to_nengo(model()).graph.n_steps == expected
