"""The names by which Keras finds this package's classes in saved files."""

from collections.abc import Callable
from typing import Any, TypeVar

import keras

__all__ = ["registered", "unbuilt"]

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


def unbuilt(config: Any) -> Any:
    """A configuration of Keras's without the shapes that inner layers are built for.

    A layer of ours builds those that it holds for its own inputs; shapes in a file may
    be others, or lack sizes, of which TensorFlow makes any number.

    Example:
        >>> unbuilt({"cells": [{"class_name": "Dense", "build_config": {}}]})
        {'cells': [{'class_name': 'Dense'}]}
    """
    if isinstance(config, list | tuple):
        return type(config)(unbuilt(inner) for inner in config)
    if not isinstance(config, dict):
        return config
    return {k: unbuilt(v) for k, v in config.items() if k != "build_config"}
