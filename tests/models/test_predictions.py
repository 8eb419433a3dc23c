"""Functions that are traced ahead give what models predict."""

import keras
import numpy as np

from keras_spiking_nengo.models.predictions import traced_ahead

X = np.arange(12, dtype="float32").reshape(6, 2)


def _model(**options):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
    model.compile("sgd", "mse", **options)
    return model


def test_a_model_predicts_as_ever_and_keeps_its_function():
    for model in (_model(), _model(run_eagerly=True)):
        expected, function = model.predict(X, verbose=0), model.predict_function
        with traced_ahead(model):
            for batch_size in (6, 4, 1):
                actual = model.predict(X, batch_size=batch_size, verbose=0)
                np.testing.assert_allclose(actual, expected, rtol=1e-6)
            np.testing.assert_allclose(model.predict_on_batch(X), expected, rtol=1e-6)
        assert model.predict_function is function


def test_a_model_that_is_compiled_meanwhile_is_left_so():
    model = _model()
    with traced_ahead(model):
        model.compile("sgd", "mse")
    assert model.predict_function is None
