"""Frames of data for a run: the values of a source node in each step."""

import nengo
import numpy as np
from nengo.exceptions import ValidationError

from keras_spiking_nengo.checks import brief, checked_array, checked_items

__all__ = ["frames_of", "node_of", "nodes_of"]


def node_of(key, network, argument: str = "data") -> nengo.Node:
    """The source node that a key of `data`, or an item of another argument, names."""
    nodes = [key] if isinstance(key, nengo.Node) else []
    if isinstance(key, str) and network is not None:
        all_nodes = dict.fromkeys(network.all_nodes)
        nodes = [node for node in all_nodes if node.label == key]
    if len(nodes) != 1 or nodes[0].size_in:
        sources = [n.label or str(n) for n in network.all_nodes if not n.size_in]
        raise ValidationError(
            f"{argument} names source nodes, by themselves or their labels; received"
            f" {brief(key)}, which names {len(nodes)}. Source nodes:"
            f" {', '.join(sources)}.",
            attr=argument,
        )
    return nodes[0]


def nodes_of(inputs, network) -> list[nengo.Node]:
    """The source nodes that a user names as `inputs`."""
    if isinstance(inputs, nengo.Node):
        inputs = [inputs]
    keys = checked_items("inputs", inputs, "source nodes, or their labels, or None")
    return [node_of(key, network, "inputs") for key in keys]


def frames_of(node, value, batch: int, steps: int) -> np.ndarray:
    """The values of a node in each step, `(1 or batch, steps, size)`."""
    if value is None:
        raise ValidationError(
            f"{node} was given data before; give it some in every run, or reset by"
            " making a new simulator.",
            attr="data",
        )
    frames = checked_array(f"data for {node}", value, finite=False)
    frames = frames[None] if frames.ndim == 2 else frames
    if (
        frames.ndim != 3
        or frames.shape[1:] != (steps, node.size_out)
        or len(frames) not in (1, batch)
    ):
        raise ValidationError(
            f"{node} takes data of shape ({steps}, {node.size_out}) or ({batch},"
            f" {steps}, {node.size_out}), (minibatch, steps, size); received"
            f" {np.shape(value)}.",
            attr="data",
        )
    return frames
