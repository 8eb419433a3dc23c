"""A NIR graph as a functional Keras model over time."""

import math
from collections.abc import Collection
from typing import Any

import keras

from keras_spiking_nengo.convert.nir.cycles import cycle_of
from keras_spiking_nengo.convert.nir.layout import Axes, kind, new_name
from keras_spiking_nengo.convert.nir.primitives import StepOptions
from keras_spiking_nengo.convert.nir.recurrent import recurrent_neurons_of
from keras_spiking_nengo.convert.nir.shapes import FlatGraph
from keras_spiking_nengo.convert.nir.table import PRIMITIVES
from keras_spiking_nengo.graphs import components, unused
from keras_spiking_nengo.layers import PerStep
from keras_spiking_nengo.names import keras_name

__all__ = ["model_of"]


def model_of(flat: FlatGraph, name: str, options: StepOptions) -> keras.Model:
    """The model of a checked graph.

    Raises:
        ValueError: for a node with numbers that are nothing; the message names it.
    """
    tensors = _NodeTensors(flat, options)
    inputs = [tensors.enter(node) for node in flat.inputs]
    for members in components(sorted(flat.nodes), flat.edges):
        if len(members) > 1 or (members[0], members[0]) in flat.edges:
            tensors.add_cycle(members)
        elif members[0] not in (*flat.inputs, *flat.outputs):
            tensors.add_node(members[0])
    outputs: dict[str, Any] = {}
    for node in flat.outputs:
        outputs[unused(keras_name(node), outputs)] = tensors.total(node)
    return keras.Model(
        {x.name: x for x in inputs} if len(inputs) > 1 else inputs[0],
        outputs if len(outputs) > 1 else next(iter(outputs.values())),
        name=keras_name(name),
    )


class _NodeTensors:
    """Makes the tensors that nodes send, `(batch, time, *shape)`, sources first."""

    def __init__(self, flat: FlatGraph, options: StepOptions):
        self.flat, self.options = flat, options
        self.taken: set[str] = set()
        self.tensors: dict[str, Any] = {}

    def enter(self, name: str):
        """A `keras.Input` for what a node sends."""
        shape = (None, *self.flat.keras_shape(name))
        self.tensors[name] = keras.Input(shape, name=new_name(name, self.taken))
        return self.tensors[name]

    def add_node(self, name: str) -> None:
        """Adds a node, whose sources are there."""
        x = self.total(name)
        with self.flat.naming(name):
            place = self.flat.place(name, self.options, self.taken)
            for layer in PRIMITIVES[kind(place.node)].read(place):
                x = layer(x)
        self.tensors[name] = x

    def add_cycle(self, members: list[str]) -> None:
        """Adds the nodes of a cycle, whose other sources are there."""
        recurrent = recurrent_neurons_of(self.flat, members, self.options, self.taken)
        if recurrent is not None:
            layer, node = recurrent
            self.tensors[node] = layer(self.total(node, members))
            return
        name = new_name("_and_".join(members[:3]), self.taken)
        layer, entered, left = cycle_of(self.flat, members, self.options, name)
        entering = []
        for node in entered:
            x = self.total(node, members)
            size = math.prod(x.shape[2:])
            entering.append(self._in_shape(f"{node}_flat", x, (size,)))
        for node, y in zip(left, layer(entering), strict=True):
            shape = self.flat.keras_shape(node)
            self.tensors[node] = self._in_shape(f"{node}_image", y, shape)

    def total(self, name: str, without: Collection[str] = ()):
        """The sum of what leads to a node, but for what some nodes send."""
        terms = [self.tensors[a] for a in self.flat.before[name] if a not in without]
        if len(terms) == 1:
            return terms[0]
        return keras.layers.Add(name=new_name(f"{name}_sum", self.taken))(terms)

    def _in_shape(self, name: str, x, shape: Axes):
        """Each step in another shape."""
        if tuple(x.shape[2:]) == shape:
            return x
        return PerStep(keras.layers.Reshape(shape), name=new_name(name, self.taken))(x)
