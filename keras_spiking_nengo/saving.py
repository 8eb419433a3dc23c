"""The names by which Keras finds this package's classes in saved files."""

from collections.abc import Callable
from typing import TypeVar

import keras

__all__ = ["registered"]

Class = TypeVar("Class", bound=type)


def registered(name: str | None = None) -> Callable[[Class], Class]:
    """Decorator of a class that Keras saves: registers it for this package.

    Args:
        name: in files. They hold it, so it stays when the class moves or is renamed.
            Defaults to that of the class.

    Returns:
        A function which returns its argument.

    Example:
        >>> @registered("Twice")
        ... class Doubling(keras.layers.Layer):
        ...     def call(self, inputs):
        ...         return 2 * inputs
        >>> keras.saving.get_registered_name(Doubling)
        'keras_spiking_nengo>Twice'

    Reference:
        `keras.saving.register_keras_serializable`.
    """
    return keras.saving.register_keras_serializable("keras_spiking_nengo", name)
