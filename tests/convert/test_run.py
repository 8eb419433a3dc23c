"""Running an export: data in and out."""

import keras
import nengo
import numpy as np
import pytest
from keras import layers

from keras_spiking_nengo.convert import to_nengo
from tests.builders import (
    STEPS,
    neurons,
    presented,
    randomise,
    static,
    synapse,
    temporal,
)
from tests.cases import make


def test_sequences_come_back_as_sequences():
    model, x = make("images in neurons")
    assert to_nengo(model).run(x).shape == (6, STEPS, 2, 3)


def test_a_last_step_comes_back_without_time():
    model, x = make("presented")
    assert to_nengo(model).run(x).shape == (6, 4)


def test_several_inputs_and_outputs():
    model, x = make("joined")
    export = to_nengo(model)
    assert list(export.inputs) == ["a", "b"]
    assert list(export.outputs) == ["spikes", "slow"]
    spikes, slow = export.run(x)
    assert spikes.shape == (6, STEPS, 8) and slow.shape == (6, 2)
    again = export.run(dict(zip("ab", x, strict=True)))
    np.testing.assert_array_equal(slow, again[1])
    np.testing.assert_array_equal(slow, export.run(tuple(x))[1])


def test_outputs_by_name():
    model, x = make("keyed")
    export = to_nengo(model)
    assert set(export.inputs) == {"a", "b"} and set(export.outputs) == {"z", "last"}
    outputs = export.run(dict(zip("ab", x, strict=True)))
    assert outputs["z"].shape == (6, STEPS, 6)
    np.testing.assert_array_equal(outputs["z"][:, -1], outputs["last"])


def test_outputs_of_submodels_have_the_name_of_the_submodel():
    model, _ = make("nested")
    assert list(to_nengo(model).outputs) == ["decoder", "decoder:2"]


def test_an_output_given_twice():
    x = keras.Input((3,), name="x")
    y = layers.Dense(2, name="y")(x)
    export = to_nengo(keras.Model(x, [y, x, y]))
    assert list(export.outputs) == ["y", "x", "y:2"]
    data = np.ones((2, 3))
    first, same, again = export.run(data)
    np.testing.assert_array_equal(same, data)
    np.testing.assert_array_equal(first, again)


def test_deep_models():
    stack = [layers.Dense(3, "relu") for _ in range(400)]
    inputs = outputs = keras.Input((3,))
    for layer in stack:
        outputs = layer(outputs)
    export = to_nengo(keras.Model(inputs, outputs))
    assert len(export.net.ensembles) == 400


def test_items_of_a_batch_start_afresh():
    model, x = make("adaptive")
    export = to_nengo(model)
    whole = export.run(x)
    np.testing.assert_array_equal(export.run(x[3:4]), whole[3:4])
    np.testing.assert_array_equal(export.run(x), whole)


def test_n_steps():
    model = randomise(presented(layers.Dense(9), neurons()))
    x = np.full((2, 5), 3.0)
    export = to_nengo(model)
    long = export.run(x, n_steps=2 * STEPS)
    assert long.shape == (2, 2 * STEPS, 9)
    np.testing.assert_array_equal(long[:, :STEPS], export.run(x))


def test_without_time_one_step_is_enough():
    export = to_nengo(static(layers.Dense(2)))
    assert export.graph.n_steps == 1
    assert export.run(np.ones((3, 5))).shape == (3, 2)


def test_dt_is_that_of_the_layers():
    model, _ = make("dt")
    assert to_nengo(model).dt == 0.002
    assert to_nengo(static(layers.Dense(2))).dt == 0.001


def test_a_long_run_does_not_drift(float64):
    model = temporal(synapse(None, dt=0.0007), shape=(1,))
    x = np.arange(5000.0).reshape(1, -1, 1)
    np.testing.assert_array_equal(to_nengo(model).run(x), x)


def test_inputs_stay_plain_nodes():
    model, x = make("dense")
    export = to_nengo(model)
    export.run(x)
    (node,) = export.inputs.values()
    np.testing.assert_array_equal(node.output, np.zeros(5))


def test_progress_bar(capsys):
    to_nengo(static(layers.Dense(2))).run(np.ones((3, 5)), progress_bar=True)
    assert "3/3" in capsys.readouterr().out


def test_lists_are_data():
    export = to_nengo(static(layers.Dense(2), shape=(3,)))
    np.testing.assert_array_equal(
        export.run([[1, 2, 3]]), export.run(np.array([[1, 2, 3]]))
    )


def test_tensors_are_data():
    export = to_nengo(static(layers.Dense(2), shape=(3,)))
    x = keras.ops.ones((2, 3))
    np.testing.assert_array_equal(export.run(x), export.run(np.ones((2, 3))))


def test_random_neurons_run_and_are_seeded():
    kind = nengo.PoissonSpiking(nengo.RectifiedLinear(amplitude=100))
    model = temporal(neurons(kind))
    x = np.ones((1, 50, 5))
    one, same, other = (to_nengo(model, seed=seed).run(x) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert np.any(one != other)


@pytest.mark.parametrize(
    "name, x, message",
    [
        ("dense", np.ones((2, 5)), "(batch, time, 5); received (2, 5)"),
        ("dense", np.ones((2, 9, 4)), "(batch, time, 5); received (2, 9, 4)"),
        ("presented", np.ones((2, 9, 5)), "(batch, 5); received (2, 9, 5)"),
        ("dense", np.ones((0, 9, 5)), "batch size"),
        ("dense", np.full((2, 9, 5), np.nan), "not finite"),
        ("joined", np.ones((2, 9, 3)), "received 1 arrays"),
        ("joined", {"a": np.ones((2, 9, 3))}, "received a dict with the keys ['a']"),
        ("joined", [np.ones((2, 9, 3)), np.ones((2, 8, 4))], "a has 9, b has 8"),
        ("joined", [np.ones((2, 9, 3)), np.ones((3, 9, 4))], "[2, 3]"),
        ("known time", np.ones((2, 9, 5)), "the model has 25"),
    ],
)
def test_data_that_does_not_fit(name, x, message):
    model, _ = make(name)
    with pytest.raises(ValueError) as error:
        to_nengo(model).run(x)
    assert message in str(error.value)


@pytest.mark.parametrize("n_steps", [0, -1, 2.5])
def test_n_steps_that_is_none(n_steps):
    with pytest.raises(ValueError, match="at least 1"):
        to_nengo(static(layers.Dense(2))).run(np.ones((1, 5)), n_steps=n_steps)


def test_n_steps_against_the_data():
    model, x = make("dense")
    with pytest.raises(ValueError, match="n_steps has 7"):
        to_nengo(model).run(x, n_steps=7)
