"""A row of the table of NIR's primitives: what stands for one, in both directions.

The rows stand in a file for each family of nodes; `table` puts them together.

Reference:
    Pedersen et al. (2024), *Neuromorphic intermediate representation: a unified
    instruction set for interoperable brain-inspired computing*, Nature Communications
    15.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_spiking_nengo.convert.nir.layout import Axes, keras_axes, new_name
from keras_spiking_nengo.convert.nir.sketch import Bundle, Writer

__all__ = ["Place", "Primitive", "StepOptions", "elementwise"]


@dataclass(frozen=True)
class StepOptions:
    """How neurons are stepped.

    Attributes:
        dt: seconds.
        discretization: `"exact"` or `"euler"`, where a node does not say.
        reset: `"value"` or `"subtract"`, likewise.
    """

    dt: float
    discretization: str
    reset: str


@dataclass(frozen=True, eq=False)
class Place:
    """A node where it stands in a graph that is read.

    Attributes:
        node: NIR's.
        name: of the node.
        takes, sends: shapes, in NIR's order of axes.
        options: of the steps.
        taken: names of the layers there are, to which more are added.
        order: of a vector that comes in Keras's order, for each element its number
            in NIR; None if it comes in NIR's.
        free: whether a vector may leave in Keras's order.
    """

    node: Any
    name: str
    takes: Axes
    sends: Axes
    options: StepOptions
    taken: set[str]
    order: np.ndarray | None
    free: bool

    def named(self, suffix: str = "") -> str:
        """A name for a layer."""
        return new_name(f"{self.name}{suffix}", self.taken)

    def numbers(self, field: str) -> Any:
        """A field of the node, in Keras's order of axes; a float if all are equal."""
        numbers = np.asarray(getattr(self.node, field), float)
        if np.all(numbers == numbers.flat[0]):
            return float(numbers.flat[0])
        return np.moveaxis(numbers, 0, -1).reshape(keras_axes(self.sends))

    def weighted(self, layer: keras.Layer, *weights: np.ndarray) -> keras.Layer:
        """A layer over time, built for what the node takes, with its weights."""
        layer.build((None, None, *keras_axes(self.takes)))
        layer.set_weights(weights)
        return layer


@dataclass(frozen=True)
class Primitive:
    """One kind of NIR's nodes.

    Attributes:
        layer: what stands for it in Keras, as the documentation says it.
        sizes: `(node, shape) -> (takes, sends)`, in NIR's order of axes: the shape
            that a node takes, None for any, and what it sends for inputs of `shape`.
            Raises ValueError, a clause about the node, where there is none.
        read: `(place) -> layers`, through which signals pass one after the other.
        write: what adds nodes for a call of a layer, by the layer's class; it returns
            what the layer sends, or None if the layer's outputs are calls.
    """

    layer: str
    sizes: Callable[[Any, Axes], tuple[Axes | None, Axes]]
    read: Callable[[Place], Iterable[keras.Layer]]
    write: Mapping[type, Callable[[Writer], Bundle | None]]


def elementwise(*fields: str) -> Callable[[Any, Axes], tuple[Axes | None, Axes]]:
    """`sizes` of a node that has one number of each field per element, or for all."""

    def sizes(node, shape: Axes) -> tuple[Axes | None, Axes]:
        shapes = {name: np.shape(getattr(node, name)) for name in fields}
        distinct = set(shapes.values()) - {()}
        if len(distinct) > 1:
            raise ValueError(f"the shapes of its fields differ: {shapes}")
        return next(iter(distinct), None), shape

    return sizes
