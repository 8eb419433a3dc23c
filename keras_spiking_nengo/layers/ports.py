"""Where values enter and leave a network: its source nodes and its probes.

A layer takes and returns one tensor, a list or a dict of them; the network takes and
returns one array, the values of all nodes or probes side by side.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import nengo
import numpy as np
from keras import ops
from nengo.builder import Model

from keras_spiking_nengo.dynamics.loops import static_length
from keras_spiking_nengo.engine.functions import is_one
from keras_spiking_nengo.engine.signals import sampled

__all__ = ["Ports", "common_mask", "held", "mapped"]


def held(net: nengo.Network) -> list[nengo.Node]:
    """Source nodes that hold an array: where data come in unless something is said."""
    return [
        node
        for node in dict.fromkeys(net.all_nodes)
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
        # A network may be listed twice, and is one.
        nodes = list(dict.fromkeys(net.all_nodes))
        probes = list(dict.fromkeys(net.all_probes))
        sources = [
            node
            for node in nodes
            if not node.size_in and node.size_out and not is_one(node.output)
        ]
        self.inputs = _resolved(net, "inputs", inputs, nodes, sources)
        self.outputs = _resolved(net, "outputs", outputs, probes, probes)
        for node in self.nodes:
            if node.size_in or not node.size_out:
                raise ValueError(
                    f"{node} cannot be an input: it takes values from the network"
                    " itself. Possible: " + (", ".join(map(str, sources)) or "none")
                )
        if not self.probes:
            raise ValueError(
                f"{net} has no probe among outputs={outputs!r}, so there would be none."
                " Add a nengo.Probe to what you want to see, or leave outputs out."
            )

    @property
    def nodes(self) -> tuple:
        return _leaves(self.inputs)

    @property
    def probes(self) -> tuple:
        return _leaves(self.outputs)

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

    # --- several inputs as one ---------------------------------------------------

    @property
    def several(self) -> bool:
        """Whether the inputs are a list or dict."""
        return isinstance(self.inputs, list | dict) and bool(self.inputs)

    def in_order(self, inputs, name: str) -> list:
        """Tensors or shapes, one for each node.

        Args:
            inputs: in the structure of the inputs.
            name: of the layer, for messages.

        Raises:
            ValueError: if they are in another structure.
        """
        if not self.several:
            return [inputs]
        structure = self.inputs
        if isinstance(structure, dict):
            fits = isinstance(inputs, dict) and set(inputs) == set(structure)
            wanted = f"a dict with the keys {sorted(structure)}"
        else:
            fits = isinstance(inputs, list | tuple) and len(inputs) == len(structure)
            wanted = f"a list of {len(structure)}"
        if not fits:
            keys = sorted(inputs) if isinstance(inputs, dict) else type(inputs).__name__
            raise ValueError(
                f"{name} takes {wanted}, for {self.describe()}; received {keys}."
            )
        named = isinstance(structure, dict)
        return [inputs[key] for key in structure] if named else list(inputs)

    def joined_shape(self, shapes: Sequence[tuple], name: str) -> tuple:
        """The shape of all inputs side by side, from theirs, in order.

        Raises:
            ValueError: if they do not fit the nodes.
        """
        if not self.several:
            return shapes[0]
        for shape, node in zip(shapes, self.nodes, strict=True):
            if len(shape) != 3 or shape[2] != node.size_out:
                raise ValueError(
                    f"{name} takes (batch, time, {node.size_out}) for {node};"
                    f" received {tuple(shape)}."
                )
        return (*shapes[0][:2], self.input_size)

    def joined(self, inputs, dtype: str, name: str):
        """All inputs side by side, `(batch, time, size)`."""
        tensors = self.in_order(inputs, name)
        if not self.several:
            return tensors[0]
        self.joined_shape([tuple(x.shape) for x in tensors], name)
        return ops.concatenate([ops.cast(x, dtype) for x in tensors], axis=-1)

    # --- one output as several ---------------------------------------------------

    def side_by_side(self, outputs: Mapping):
        """What is shown, by probe, as one array `(batch, [time,] size)`."""
        return ops.concatenate([outputs[probe] for probe in self.probes], axis=-1)

    def split(self, output, model: Model, sampling: bool):
        """What each probe shows, in the structure of the outputs.

        Args:
            output: `(batch, [time,] size)`: the probes' values side by side.
            model: the built network.
            sampling: whether a probe's `sample_every` holds.
        """
        parts, start = {}, 0
        for probe in self.probes:
            signal = model.sig[probe]["in"]
            part = output[..., start : start + signal.size]
            start += signal.size
            if sampling and probe.sample_every is not None:
                part = _sampled(part, probe, model.dt)
            if signal.ndim != 1:
                part = ops.reshape(part, (*ops.shape(part)[:-1], *signal.shape))
            parts[probe] = part
        return mapped(parts.__getitem__, self.outputs)

    def split_shape(self, lead: tuple, model: Model, sampling: bool):
        """The shapes that `split` gives for an output of shape `(*lead, size)`."""

        def shape(probe) -> tuple:
            axes = lead
            if sampling and probe.sample_every and lead[1] is not None:
                steps = np.arange(1, lead[1] + 1)
                n_sampled = np.sum(sampled(steps, probe.sample_every, model.dt))
                axes = (lead[0], int(n_sampled))
            return (*axes, *model.sig[probe]["in"].shape)

        return mapped(shape, self.outputs)

    # --- configuration -----------------------------------------------------------

    def to_config(self, net: nengo.Network) -> dict:
        nodes, probes = list(net.all_nodes), list(net.all_probes)
        return {
            "inputs": mapped(nodes.index, self.inputs),
            "outputs": mapped(probes.index, self.outputs),
        }


def common_mask(masks, name: str):
    """The mask of all inputs of a layer: an input without one has all of its steps.

    Args:
        masks: `(batch, time)` booleans, or a list or dict of them and None.
        name: of the layer, for messages.

    Raises:
        ValueError: for masks that differ, or are different tensors whose values are
            not known yet. A step of one input alone has no answer: whether the
            network then waits or runs is not for a layer to guess.
    """
    if not isinstance(masks, list | tuple | dict):
        return masks
    several = masks.values() if isinstance(masks, dict) else masks
    present = [mask for mask in several if mask is not None]
    if any(not _are_equal(mask, present[0]) for mask in present[1:]):
        raise ValueError(
            f"{name} takes one mask for all of its inputs; received {len(present)} that"
            " differ, or may differ. Mask one of the inputs, or all by one layer, or"
            " pass the mask to the call: layer(inputs, mask=...)."
        )
    return present[0] if present else None


def _are_equal(mask, other) -> bool:
    if mask is other:
        return True
    try:
        return np.array_equal(*map(ops.convert_to_numpy, (mask, other)))
    except (NotImplementedError, TypeError, ValueError):  # not computed yet
        return False


def _sampled(part, probe, dt: float):
    period = probe.sample_every / dt
    length = static_length(part)
    if length is not None:
        steps = np.arange(1, length + 1)
        taken = np.flatnonzero(sampled(steps, probe.sample_every, dt))
        return ops.take(part, taken, axis=1)
    if abs(period - round(period)) > 1e-9:
        raise ValueError(
            f"{probe} samples every {period:g} steps, which needs a number of steps"
            " that is known: give the time dimension in keras.Input."
        )
    return part[:, round(period) - 1 :: round(period)]


def _resolved(net, argument: str, ports: Any, everything, default):
    if ports is None:
        objects = list(default)
        return objects[0] if len(objects) == 1 else objects
    if isinstance(ports, Mapping):
        ports = dict(ports)
    elif isinstance(ports, list | tuple):
        ports = list(ports)

    kind = nengo.Node if argument == "inputs" else nengo.Probe

    def resolved(item):
        if type(item) is int and 0 <= item < len(everything):  # True is none
            return everything[item]
        if isinstance(item, str):
            return _labelled(item, everything, argument, kind)
        if not isinstance(item, kind):
            raise TypeError(
                f"{argument}: Expected a nengo.{kind.__name__}, its label, a list or"
                f" dict of them, or None; received {item!r}."
            )
        if item not in everything:
            raise ValueError(f"{argument}: {item} is not in {net}.")
        return item

    return mapped(resolved, ports)


def _labelled(label: str, objects, argument: str, kind):
    labelled = [obj for obj in objects if obj.label == label]
    if len(labelled) != 1:
        labels = ", ".join(sorted({str(obj.label) for obj in objects}))
        raise ValueError(
            f"{argument}: {len(labelled)} objects have the label {label!r}; labels of"
            f" nengo.{kind.__name__} here: {labels}. Pass the object itself."
        )
    return labelled[0]


def _leaves(structure) -> tuple:
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
