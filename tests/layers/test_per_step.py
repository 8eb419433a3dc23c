"""Layers on each step of a sequence."""

import keras
import numpy as np
import pytest

import keras_spiking_nengo as ksn

layers = keras.layers
X = np.random.RandomState(0).uniform(-1, 1, (2, 5, 6, 6, 3)).astype("float32")


def per_step(layer, x):
    """The layer, step after step."""
    steps = [keras.ops.convert_to_numpy(layer(x[:, t])) for t in range(x.shape[1])]
    return np.stack(steps, axis=1)


@pytest.mark.torch
@pytest.mark.parametrize("time", [5, None])
def test_each_step_by_itself(time):
    inner = layers.Conv2D(4, 3, padding="same")
    model = keras.Sequential(
        [keras.Input((time, 6, 6, 3)), ksn.layers.PerStep(inner, name="conv")]
    )
    assert model.output_shape == (None, time, 6, 6, 4)
    np.testing.assert_allclose(
        model.predict(X, verbose=0), per_step(inner, X), atol=1e-5
    )


def test_several_inputs():
    a, b = keras.Input((5, 2, 3)), keras.Input((5, 2, 3))
    y = ksn.layers.PerStep(layers.Concatenate(axis=1))([a, b])
    assert y.shape == (None, 5, 4, 3)
    x = X[:, :, :2, 0], X[:, :, 2:4, 0]
    found = keras.Model([a, b], y).predict(list(x), verbose=0)
    np.testing.assert_array_equal(found, np.concatenate(x, axis=2))


def test_saved_and_exported_to_nengo(tmp_path):
    model = keras.Sequential(
        [
            keras.Input((5, 6, 6, 3)),
            ksn.layers.PerStep(layers.Conv2D(2, 3)),
            ksn.layers.PerStep(layers.Flatten()),
        ]
    )
    expected = model.predict(X, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded.predict(X, verbose=0), expected, atol=1e-6)
    assert ksn.to_nengo(model).verify(X).ok


def test_dropout_knows_that_it_is_trained():
    layer = ksn.layers.PerStep(layers.Dropout(0.5))
    x = np.ones((2, 5, 30), "float32")
    assert np.all(keras.ops.convert_to_numpy(layer(x)) == 1)
    dropped = keras.ops.convert_to_numpy(layer(x, training=True))
    assert set(np.unique(dropped)) == {0.0, 2.0}


def test_without_time():
    with pytest.raises(ValueError, match="Repeat"):
        ksn.layers.PerStep(layers.Dense(3))(np.ones((4,), "float32"))


@pytest.mark.parametrize("shape", [[None, None], [2, 10**9], "x", None])
def test_shapes_in_a_file_for_the_inner_layer_are_not_taken(shape):
    layer = ksn.layers.PerStep(keras.layers.Dense(2))
    layer(np.ones((1, 4, 3)))
    config = layer.get_config()
    config["layer"]["build_config"] = {"input_shape": shape}
    again = ksn.layers.PerStep.from_config(config)
    assert again(np.ones((1, 4, 3))).shape == (1, 4, 2)
    assert again.layer.kernel.shape == (3, 2)


@pytest.mark.parametrize("several", [False, True])
def test_nor_are_those_for_hidden_cells_of_a_memory(several):
    cell = keras.layers.SimpleRNNCell(2)
    layer = ksn.layers.LMU(1, 2, 4.0, [cell] if several else cell)
    layer(np.ones((1, 4, 3)))
    config = layer.get_config()
    inner = config["hidden_cell"]
    inner = inner[0] if several else inner
    inner["build_config"] = {"input_shape": [None, None]}
    again = ksn.layers.LMU.from_config(config)
    assert again(np.ones((1, 4, 3))).shape == (1, 2)
