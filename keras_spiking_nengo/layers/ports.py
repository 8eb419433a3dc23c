"""Where values enter and leave a network: its source nodes and its probes."""

from collections.abc import Mapping

import nengo
import numpy as np
from nengo.builder import Model

__all__ = ["Ports", "held", "mapped"]


def held(net: nengo.Network) -> list[nengo.Node]:
    """Source nodes that hold an array: where data come in unless something is said."""
    return [
        node
        for node in net.all_nodes
        if isinstance(node.output, np.ndarray) and not node.size_in and node.size_out
    ]


class Ports:
    """Input nodes and probes of a network, and in what structure they are given.

    Attributes:
        inputs, outputs: the structures, of nodes and of probes.

    Args:
        net: the network.
        inputs, outputs: one object, a list, or a dict by name; numbers stand for
            the position among all nodes or probes. None for all.
    """

    def __init__(self, net: nengo.Network, inputs, outputs):
        sources = [node for node in net.all_nodes if not node.size_in and node.size_out]
        self.inputs = _structure(net, inputs, net.all_nodes, sources, nengo.Node)
        self.outputs = _structure(
            net, outputs, net.all_probes, net.all_probes, nengo.Probe
        )
        for node in self.nodes:
            if node.size_in or not node.size_out:
                raise ValueError(
                    f"{node} cannot be an input: it takes values from the network"
                    " itself. Possible: " + (", ".join(map(str, sources)) or "none")
                )
        if not self.probes:
            raise ValueError(
                f"{net} has no probe, so the layer would have no output. Add a"
                " nengo.Probe to what you want to see."
            )

    @property
    def nodes(self) -> tuple:
        return _flat(self.inputs)

    @property
    def probes(self) -> tuple:
        return _flat(self.outputs)

    @property
    def input_size(self) -> int:
        return sum(node.size_out for node in self.nodes)

    def output_size(self, model: Model) -> int:
        return sum(model.sig[probe]["in"].size for probe in self.probes)

    def describe(self) -> str:
        return ", ".join(f"{n.label or n} ({n.size_out})" for n in self.nodes) or "none"

    def moved(self, new: Mapping) -> "Ports":
        """The same ports of a copy of the network."""
        ports = object.__new__(Ports)
        ports.inputs = mapped(new.__getitem__, self.inputs)
        ports.outputs = mapped(new.__getitem__, self.outputs)
        return ports

    def to_config(self, net: nengo.Network) -> dict:
        nodes, probes = list(net.all_nodes), list(net.all_probes)
        return {
            "inputs": mapped(nodes.index, self.inputs),
            "outputs": mapped(probes.index, self.outputs),
        }


def _structure(net, given, everything, default, kind):
    if given is None:
        found = list(default)
        return found[0] if len(found) == 1 else found
    if isinstance(given, Mapping):
        given = dict(given)
    elif isinstance(given, list | tuple):
        given = list(given)

    def resolved(item):
        if isinstance(item, int) and 0 <= item < len(everything):
            return everything[item]
        if isinstance(item, str):
            return _labelled(item, everything, kind)
        if not isinstance(item, kind):
            raise TypeError(f"Expected a nengo.{kind.__name__}; received {item!r}.")
        if item not in everything:
            raise ValueError(f"{item} is not in {net}.")
        return item

    return mapped(resolved, given)


def _labelled(label: str, objects, kind):
    found = [obj for obj in objects if obj.label == label]
    if len(found) != 1:
        known = ", ".join(sorted({str(obj.label) for obj in objects}))
        raise ValueError(
            f"{len(found)} objects have the label {label!r}; labels of"
            f" nengo.{kind.__name__} here: {known}. Pass the object itself."
        )
    return found[0]


def _flat(structure) -> tuple:
    if isinstance(structure, Mapping):
        return tuple(structure.values())
    return tuple(structure) if isinstance(structure, list) else (structure,)


def mapped(function, structure):
    """The same structure, of what a function gives; tuples are leaves, as shapes."""
    if isinstance(structure, Mapping):
        return {key: function(value) for key, value in structure.items()}
    if isinstance(structure, list):
        return [function(value) for value in structure]
    return function(structure)
