"""Which tensors have an axis of time is found from the layers."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_spiking_nengo as ksn
from keras_spiking_nengo.convert import to_nengo
from tests.builders import neurons, per_step, presented, static, synapse, temporal
from tests.marks import TAKES_TURNS, slow_on_jax

pytestmark = TAKES_TURNS

SEQUENCES = {"return_sequences": True}


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


@pytest.mark.parametrize("key", [np.s_[:, -1], np.s_[:, -1, :], np.s_[:, -1, 1:4]])
@slow_on_jax
def test_a_slice_is_the_last_step(key, tmp_path):
    x = keras.Input((None, 5))
    model = keras.Model(x, layers.Dense(2)(neurons()(x)[key]))
    model.save(tmp_path / "last.keras")  # which writes the slice down
    for one in (model, keras.saving.load_model(tmp_path / "last.keras")):
        assert ports(one) == ([True], [False])
        assert to_nengo(one).verify(np.full((2, 30, 5), 3.0)).ok


def test_a_slice_of_what_has_no_time_is_one_of_features():
    x = keras.Input((4, 5))
    model = keras.Model(x, layers.Dense(2)(x[:, -1]))
    assert ports(model) == ([False], [False])
    assert to_nengo(model).verify(np.random.RandomState(0).normal(size=(2, 4, 5))).ok


def test_slices_of_each_step_are_taken_of_each_step():
    x = keras.Input((None, 5))
    y = neurons()(x)
    z = y[..., 1:3] + keras.ops.flip(y[:, :, 3:], axis=-1)
    model = keras.Model(x, z + keras.ops.sum(y, axis=2, keepdims=True))
    assert ports(model) == ([True], [True])
    assert to_nengo(model).verify(np.full((2, 10, 5), 30.0)).ok


def test_activations_before_and_after_the_last_step():
    """Those over time spike; what comes after them is static, and stays."""
    x = keras.Input((None, 5))
    h = layers.Dense(8, "relu", name="before")(ksn.layers.Synapse(0.01, **SEQUENCES)(x))
    model = keras.Model(x, layers.Dense(3, "relu", name="after")(h[:, -1]))
    data = np.random.RandomState(0).uniform(size=(4, 20, 5))
    options = {"scale_firing_rates": "calibrate", "calibration_data": data}
    spiking = ksn.to_spiking(model, target_rate=1e6, **options)
    names = {layer.name for layer in spiking.layers}
    assert "before_neurons" in names and "after_neurons" not in names
    expected = model.predict(data, verbose=0)
    assert np.any(expected)
    np.testing.assert_allclose(spiking.predict(data, verbose=0), expected, atol=2e-3)


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
