"""Repeat presents a static input for a number of steps."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_spiking_nengo.layers import Repeat


@pytest.mark.torch
@pytest.mark.parametrize("features", [(), (3,), (2, 3, 1)])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_every_step_is_the_input(features, dtype):
    x = np.random.RandomState(0).standard_normal((4, *features)).astype(dtype)
    y = Repeat(5, dtype=dtype)(x)
    assert keras.backend.standardize_dtype(y.dtype) == dtype
    np.testing.assert_array_equal(ops.convert_to_numpy(y), np.stack([x] * 5, axis=1))


@pytest.mark.torch
def test_shapes_may_be_unknown():
    y = Repeat(5)(keras.Input((None, 3)))
    assert y.shape == (None, 5, None, 3)
    assert Repeat(5).compute_output_shape((None, 2)) == (None, 5, 2)


@pytest.mark.torch
def test_models_with_it_run_and_survive_their_config():
    model = keras.Sequential([keras.Input((3,)), Repeat(np.int64(4))])
    again = keras.Sequential.from_config(model.get_config())
    x = np.arange(6.0).reshape(2, 3)
    y = again.predict(x, verbose=0)
    np.testing.assert_array_equal(y, np.stack([x] * 4, axis=1))
    assert type(again.layers[0].n_steps) is int


@pytest.mark.torch
@pytest.mark.parametrize("n_steps", [0, -1, 1.5, True, "3", None])
def test_other_numbers_of_steps_are_refused(n_steps):
    with pytest.raises(ValueError, match=f"at least 1; received {n_steps!r}"):
        Repeat(n_steps)
