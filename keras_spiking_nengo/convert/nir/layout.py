"""NIR's axes beside Keras's: channels come first in NIR, and last in Keras.

All arrays of rank 2 and more are turned. A vector is the same in both.
"""

import math
from typing import Any

import numpy as np

from keras_spiking_nengo.graphs import unused
from keras_spiking_nengo.names import keras_name

__all__ = ["Axes", "image_order", "keras_axes", "kind", "new_name", "per_axis"]

Axes = tuple[int, ...]


def keras_axes(shape: Axes) -> Axes:
    """NIR's shape as Keras has it."""
    return (*shape[1:], *shape[:1])


def image_order(shape: Axes) -> tuple[Axes, np.ndarray]:
    """NIR's shape of what Keras has in `shape`, and each element's number in NIR.

    Example:
        >>> shape, order = image_order((2, 3))
        >>> shape, order.tolist()
        ((3, 2), [0, 2, 4, 1, 3, 5])
    """
    first = (*shape[-1:], *shape[:-1])
    numbers = np.arange(math.prod(first)).reshape(first)
    return first, np.moveaxis(numbers, 0, -1).ravel()


def per_axis(name: str, value: Any, rank: int, least: int = 1) -> Axes:
    """A number, or one per axis, as a tuple of ints.

    Args:
        name: of the field of a node, for the message.
        value: of the field.
        rank: number of axes.
        least: the smallest number that is possible.

    Raises:
        ValueError: for anything else; the message is a clause about the node.
    """
    numbers = np.ravel(np.asarray(value, float))
    numbers = np.repeat(numbers, rank) if len(numbers) == 1 else numbers
    integers = np.array_equal(numbers, np.rint(numbers))
    if len(numbers) != rank or not integers or np.min(numbers) < least:
        raise ValueError(
            f"its {name} is {rank} whole numbers of at least {least}; received {value}"
        )
    return tuple(int(number) for number in numbers)


def kind(node: Any) -> str:
    """The name of a node's class."""
    return type(node).__name__


def new_name(name: str, taken: set[str]) -> str:
    """A layer's name for a node's, which is added to those that are taken."""
    name = unused(keras_name(name), taken)
    taken.add(name)
    return name
