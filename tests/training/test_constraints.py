"""Mean makes one parameter of many."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_spiking_nengo as ksn
from tests.arrays import numpy
from tests.marks import SLOW_ON_JAX
from tests.training.models import JIT, TIME, currents

# By default JAX runs the examples of the docstrings.
pytestmark = SLOW_ON_JAX

Mean = ksn.constraints.Mean
WEIGHT = np.random.RandomState(0).normal(size=(2, 3, 4)).astype("float32")


@pytest.mark.torch
@pytest.mark.parametrize("axis", [None, 0, -1, (0, 2)])
def test_every_element_is_the_mean(axis):
    actual = Mean(axis)(ops.convert_to_tensor(WEIGHT))
    expected = np.broadcast_to(WEIGHT.mean(axis, keepdims=True), WEIGHT.shape)
    np.testing.assert_allclose(numpy(actual), expected, rtol=1e-6, atol=1e-7)
    again = keras.constraints.deserialize(keras.constraints.serialize(Mean(axis)))
    assert type(again) is Mean and again.get_config() == Mean(axis).get_config()


@pytest.mark.torch
def test_units_share_a_time_constant_that_is_trained():
    synapse = ksn.layers.Synapse(
        0.02, return_sequences=True, trainable_parameters={"tau": "unit"}
    )
    model = keras.Sequential([keras.Input((TIME, 3)), synapse])
    (tau,) = model.trainable_weights
    tau.constraint = Mean()
    start = numpy(tau).copy()
    model.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=JIT)
    model.fit(currents(), 4 * currents(), verbose=0)
    assert tau.shape == (3,)
    assert np.all(numpy(tau) == numpy(tau)[0]) and numpy(tau)[0] != start[0]


def test_saved_with_the_layer(tmp_path):
    layer = keras.layers.Dense(2, kernel_constraint=Mean((0, 1)))
    keras.Sequential([keras.Input((3,)), layer]).save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras").layers[0]
    assert loaded.kernel_constraint.axis == (0, 1)


@pytest.mark.parametrize("axis", ["units", 0.5, (), (0, "1"), True])
def test_impossible_axes_are_refused(axis):
    with pytest.raises(ValueError, match="axis is an integer"):
        Mean(axis)
