"""Running an export: data in and out."""

from contextlib import nullcontext
from functools import partial

import keras
import nengo
import numpy as np
import pytest
from keras import layers, ops

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
from tests.marks import TAKES_TURNS

pytestmark = TAKES_TURNS


def test_sequences_come_back_as_sequences():
    model, x = make("images in neurons")
    assert to_nengo(model).run(x).shape == (6, STEPS, 2, 3)


def test_a_last_step_comes_back_without_time():
    model, x = make("presented")
    assert to_nengo(model).run(x).shape == (6, 4)


# The mean, maximum and sum over time in which a model ends, by what Keras calls it.
READINGS = {
    "mean": layers.GlobalAveragePooling1D,
    "kept": lambda: layers.GlobalAveragePooling1D(keepdims=True),
    "max": layers.GlobalMaxPooling1D,
    "mean of an operation": lambda: partial(ops.mean, axis=1),
    "max of an operation": lambda: partial(ops.max, axis=1),
    "sum of an operation": lambda: partial(ops.sum, axis=1),
}


@pytest.mark.parametrize("name", READINGS)
def test_a_model_ends_in_what_is_read_over_time(name, float64):
    x = keras.Input((None, 5))
    spikes = neurons(seed=1)(layers.Dense(4)(x))
    y = layers.Dense(3, name="out")(spikes)
    model = randomise(keras.Model(x, [READINGS[name]()(y), spikes]))
    export = to_nengo(model)
    data = np.random.RandomState(0).uniform(0, 3, (2, 30, 5))
    read, spikes = export.run(data)
    outputs, sequence = model.predict(data, verbose=0)
    np.testing.assert_allclose(read, outputs, rtol=1e-5)
    np.testing.assert_array_equal(spikes, sequence)
    report = export.verify(data)
    assert report.ok and "over" in str(report)
    assert report.outputs[0].over == name[:4].strip().replace("kept", "mean")


def test_a_static_model_pools_as_ever():
    model = randomise(static(layers.GlobalAveragePooling1D(), shape=(4, 3)))
    export = to_nengo(model)
    assert export.verify(np.ones((2, 4, 3))).outputs[0].over == ""
    with pytest.raises(NotImplementedError, match="max_to_avg_pool"):
        to_nengo(static(layers.GlobalMaxPooling1D(), shape=(4, 3)))


@pytest.mark.parametrize("mode", ["int8", "int4"])
def test_quantized_weights_have_the_numbers_that_keras_computes_with(mode):
    # Inputs of 0 and 1, which Keras rounds to themselves.
    x = (np.random.RandomState(0).uniform(size=(2, 20, 12)) < 0.5).astype("float32")
    model = randomise(static(layers.Dense(6, "relu", name="d"), shape=(12,)))
    model.quantize(mode)
    with (
        pytest.warns(UserWarning, match="exported as they are quantized")
        if (mode == "int8")
        else nullcontext()
    ):
        export = to_nengo(model)
    np.testing.assert_allclose(
        export.run(x[0]), model.predict(x[0], verbose=0), rtol=1e-5, atol=1e-5
    )
    assert model.get_layer("d").activation is keras.activations.relu


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
