"""Products of signals are exact in Nengo: a node computes them."""

import keras
import numpy as np
import pytest
from keras import layers as L

import keras_spiking_nengo as ksn
from tests.arrays import frames

TIME = 12


def model_of(function, *sizes, time=True):
    lead = (None,) if time else ()
    inputs = [keras.Input((*lead, size)) for size in sizes]
    return keras.Model(inputs, function(*inputs))


MODELS = {
    "layer": lambda: model_of(lambda x, y: L.Multiply()([x, y]), 3, 3),
    "operation": lambda: model_of(lambda x, y: x * y, 3, 3),
    "three": lambda: model_of(lambda x, y, z: L.Multiply()([x, y, z]), 3, 3, 3),
    "broadcast": lambda: model_of(lambda x, y: L.Multiply()([x, y]), 3, 1),
    "with itself": lambda: model_of(lambda x: L.Multiply()([x, x]), 3),
    "pictures": lambda: model_of(lambda x, y: L.Multiply()([x, y]), 3, 3, time=False),
    "gated": lambda: model_of(
        lambda x: L.Dense(2)(L.Dense(3)(x) * L.Dense(3, "sigmoid")(x)), 4
    ),
    "of spikes": lambda: model_of(
        lambda x, y: (
            ksn.layers.Neurons("lif", return_sequences=True)(L.Dense(3)(30 * x)) * y
        ),
        *(3, 3),
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_product_is_that_of_keras(name, float64):
    model = MODELS[name]()
    static = len(model.inputs[0].shape) == 2
    data = [
        frames(2, x.shape[-1]) if static else frames(2, TIME, x.shape[-1])
        for x in model.inputs
    ]
    with pytest.warns(UserWarning, match="multiplies signals.*A node computes it"):
        export = ksn.to_nengo(model)
    report = export.verify(data, rtol=1e-12, atol=1e-12)
    assert report.ok, f"\n{report}"


def test_a_product_comes_back_from_nengo(float64):
    model = model_of(lambda x, y: L.Multiply()([x, y]), 2, 2)
    with pytest.warns(UserWarning, match="multiplies"):
        export = ksn.to_nengo(model)
    back = ksn.from_nengo(export.net)
    x = [frames(2, TIME, 2), frames(2, TIME, 2)]
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(back(x)),
        keras.ops.convert_to_numpy(model(x)),
        rtol=1e-12,
    )
