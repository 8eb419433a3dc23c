"""The states of a model, which running it changes."""

from collections.abc import Iterator
from contextlib import contextmanager

import keras

from keras_spiking_nengo.models.building import layers_of

__all__ = ["states_restored"]


@contextmanager
def states_restored(model: keras.Model) -> Iterator[None]:
    """A context after which the states of a model are what they were before.

    Example:
        >>> x = keras.ops.ones((1, 2, 3))
        >>> layer = keras.layers.GRU(2, stateful=True)
        >>> model = keras.Sequential([keras.Input(batch_shape=(1, 2, 3)), layer])
        >>> with states_restored(model):
        ...     _ = model(x)
        >>> float(keras.ops.max(keras.ops.abs(layer.states[0])))
        0.0
    """
    variables = list(model.non_trainable_variables)
    # Keras counts those of some layers among no variables.
    for layer in layers_of(model):
        variables += keras.tree.flatten(getattr(layer, "states", None) or [])
    values = list(map(keras.ops.convert_to_numpy, variables))
    try:
        yield
    finally:
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)
