"""Predictions of one model after the other, without TensorFlow's warning of them.

TensorFlow counts calls that trace a function, of all functions from one place in the
code, such as those with which Keras models predict: of the fifth in a row it warns that
"retracing" is slow. It counts calls, not functions that are traced ahead of them.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import keras

__all__ = ["traced_ahead"]


@contextmanager
def traced_ahead(model: keras.Model) -> Iterator[keras.Model]:
    """A context in which a model predicts as ever, with its function traced ahead.

    Example:
        >>> import numpy as np
        >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Rescaling(3)])
        >>> with traced_ahead(model):
        ...     float(model.predict(np.ones((1, 1)), verbose=0)[0, 0])
        3.0
    """
    model.make_predict_function()
    function = model.predict_function
    trace = getattr(function, "get_concrete_function", None)
    if trace is None:  # it runs step by step, or on another backend
        yield model
        return

    def traced(data):
        trace(data)
        return function(data)

    model.predict_function = traced
    try:
        yield model
    finally:
        if model.predict_function is traced:  # not where compiled anew meanwhile
            model.predict_function = function
