"""A NIR graph, flattened and checked: its nodes, edges and shapes.

The shapes are computed here from those of the inputs; `nir` itself infers other ones
for kernels that are not square, and for padding "same" with strides.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_spiking_nengo.convert.nir.cycles import Edge

__all__ = ["Flat", "flat", "kind", "pair"]

Shape = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Flat:
    """A graph without subgraphs.

    Attributes:
        nodes: by name; those of a subgraph are called `subgraph.node`.
        edges: pairs of names, without those to and from subgraphs.
        inputs, outputs: names of the graph's own.
        shapes: of what each node sends, in NIR's order of axes.
    """

    nodes: dict[str, Any]
    edges: tuple[Edge, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    shapes: dict[str, Shape]

    def before(self, name: str) -> list[str]:
        """The nodes that lead to one."""
        return [a for a, b in self.edges if b == name]

    def after(self, name: str) -> list[str]:
        """The nodes that one leads to."""
        return [b for a, b in self.edges if a == name]


def kind(node) -> str:
    """The name of a node's class."""
    return type(node).__name__


def flat(graph, max_elements: int) -> Flat:
    """A `nir.NIRGraph` without its subgraphs, checked.

    Raises:
        ValueError: for edges from or to nowhere, shapes that disagree or are not known,
            and a node that sends more than `max_elements` values.
    """
    nodes: dict[str, Any] = {}
    edges: list[Edge] = []
    _collect(graph, "", nodes, edges)
    inner = {n for n, node in nodes.items() if kind(node) in ("Input", "Output")}
    inputs = tuple(n for n in graph.nodes if kind(graph.nodes[n]) == "Input")
    outputs = tuple(n for n in graph.nodes if kind(graph.nodes[n]) == "Output")
    if not inputs or not outputs:
        missing = "Input" if not inputs else "Output"
        raise ValueError(
            f"The graph has no {missing} node; it has {sorted(graph.nodes)}. Signals"
            " enter by nir.Input and leave by nir.Output."
        )
    nodes, edges = _without(nodes, edges, inner - {*inputs, *outputs})
    if len(set(edges)) < len(edges):
        twice = next(edge for edge in edges if edges.count(edge) > 1)
        raise ValueError(f"The edge {twice} is there twice. Use a nir.Scale of 2.")
    found = Flat(nodes, tuple(edges), inputs, outputs, {})
    _infer(found, max_elements)
    return found


def _collect(graph, prefix: str, nodes: dict, edges: list[Edge]) -> None:
    if not isinstance(graph.nodes, Mapping):
        raise ValueError(f"The nodes of a graph are a dict; received {graph.nodes!r}.")
    for name, node in graph.nodes.items():
        if kind(node) == "NIRGraph":
            _collect(node, f"{prefix}{name}.", nodes, edges)
        else:
            nodes[prefix + name] = node

    def ends(name: str, wanted: str) -> list[str]:
        if name not in graph.nodes:
            raise ValueError(
                f"An edge names the node {prefix + str(name)!r}, which is not there."
                f" Nodes: {sorted(graph.nodes)}."
            )
        inner = graph.nodes[name]
        if kind(inner) != "NIRGraph":
            return [prefix + name]
        found = [n for n, node in inner.nodes.items() if kind(node) == wanted]
        if len(found) != 1:
            raise ValueError(
                f"The subgraph {prefix + name!r} has {len(found)} {wanted} nodes; an"
                " edge to or from it says which only if it has one."
            )
        return [f"{prefix}{name}.{found[0]}"]

    for a, b in graph.edges:
        edges += [(x, y) for x in ends(a, "Output") for y in ends(b, "Input")]


def _without(nodes: dict, edges: list[Edge], passing: set[str]):
    """The graph without nodes that only pass a signal on."""
    for name in passing:
        before = [a for a, b in edges if b == name]
        after = [b for a, b in edges if a == name]
        edges = [e for e in edges if name not in e]
        edges += [(a, b) for a in before for b in after]
    return {n: node for n, node in nodes.items() if n not in passing}, edges


# --- shapes -------------------------------------------------------------------------


def pair(value, rank: int) -> Shape:
    """A number, or one per axis, as a tuple of ints."""
    values = np.ravel(np.asarray(value))
    if len(values) == 1:
        values = np.repeat(values, rank)
    if len(values) != rank or np.any(values != np.rint(values)):
        raise ValueError(f"needs {rank} whole numbers; received {value!r}")
    return tuple(int(v) for v in values)


def _convolved(space: Shape, kernel: Shape, stride, padding, dilation) -> Shape:
    """The spatial shape after a convolution or pooling."""
    rank = len(space)
    stride, dilation = pair(stride, rank), pair(dilation, rank)
    reach = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
    if isinstance(padding, str):
        if padding == "same" and set(stride) != {1}:
            raise ValueError("has padding 'same' with a stride, which says no padding")
        total = reach if padding == "same" else [0] * rank
    else:
        total = [2 * p for p in pair(padding, rank)]
    sizes = zip(space, total, reach, stride, strict=True)
    return tuple((n + t - r - 1) // s + 1 for n, t, r, s in sizes)


def _flattened(shape: Shape, start: int, end: int) -> Shape:
    """A shape with the axes from `start` to `end` in one."""
    rank = len(shape)
    start, end = (axis + rank if axis < 0 else axis for axis in (start, end))
    if not 0 <= start <= end < rank:
        raise ValueError(f"flattens axes {start} to {end} of the shape {shape}")
    return (*shape[:start], math.prod(shape[start : end + 1]), *shape[end + 1 :])


_PARAMETERS = {
    "CubaLI": "tau_mem",
    "CubaLIF": "tau_mem",
    "Delay": "delay",
    "I": "r",
    "IF": "r",
    "LI": "tau",
    "LIF": "tau",
    "Scale": "scale",
    "Threshold": "threshold",
}


def _sent(node, shape: Shape) -> tuple[Shape | None, Shape]:
    """What a node takes, None for anything, and what it sends for inputs of `shape`."""
    name = kind(node)
    if name == "Output":
        declared = next(iter((node.output_type or {}).values()), None)
        return (None if declared is None else tuple(map(int, declared))), shape
    if name in _PARAMETERS:
        own = np.shape(getattr(node, _PARAMETERS[name]))
        return (own, shape) if own else (None, shape)
    if name in ("Affine", "Linear"):
        weight = np.shape(node.weight)
        if len(weight) != 2:
            raise ValueError(f"has a weight of shape {weight}; possible is (out, in)")
        return (weight[1],), (weight[0],)
    if name in ("Conv1d", "Conv2d"):
        out, channels, *kernel = np.shape(node.weight)
        rank = 1 if name == "Conv1d" else 2
        if len(shape) != rank + 1 or len(kernel) != rank:
            raise ValueError(
                f"takes (channels, {'length' if rank == 1 else 'height, width'}), and"
                f" its weight is (out, in, *kernel); received inputs {shape} and a"
                f" weight {np.shape(node.weight)}"
            )
        taken = (channels * int(node.groups), *shape[1:])
        space = _convolved(
            shape[1:], tuple(kernel), node.stride, node.padding, node.dilation
        )
        return taken, (out, *space)
    if name in ("SumPool2d", "AvgPool2d"):
        if len(shape) != 3:
            raise ValueError(f"takes (channels, height, width); received {shape}")
        kernel = pair(node.kernel_size, 2)
        return None, (
            shape[0],
            *_convolved(shape[1:], kernel, node.stride, node.padding, 1),
        )
    if name == "Flatten":
        return None, _flattened(shape, int(node.start_dim), int(node.end_dim))
    raise ValueError("is of a kind that is not known")


def _checked(found: Flat, a: str, b: str) -> Shape:
    """What `b` sends for what `a` sends to it."""
    node, shape = found.nodes[b], found.shapes[a]
    try:
        taken, sent = _sent(node, shape)
    except ValueError as error:
        raise ValueError(f"Node {b!r} ({kind(node)}) {error}.") from error
    if taken not in (None, shape):
        raise ValueError(
            f"Node {b!r} ({kind(node)}) takes {taken}, and {a!r} sends {shape}."
        )
    return sent


def _infer(found: Flat, max_elements: int) -> None:
    """Fills `shapes`, from the inputs on; checks that all agree."""
    for name in found.inputs:
        declared = next(iter((found.nodes[name].input_type or {}).values()), None)
        if declared is None:
            raise ValueError(f"The Input {name!r} has no shape.")
        found.shapes[name] = tuple(int(size) for size in np.ravel(declared))
        _check_size(name, found.shapes[name], max_elements)
    ready = list(found.inputs)
    while ready:
        a = ready.pop(0)
        for b in found.after(a):
            if b not in found.shapes:
                found.shapes[b] = _checked(found, a, b)
                _check_size(b, found.shapes[b], max_elements)
                ready.append(b)
    missing = sorted(set(found.nodes) - set(found.shapes))
    if missing:
        raise ValueError(
            f"No input leads to {', '.join(map(repr, missing))}, so that their shapes"
            " are not known. Connect them, or leave them out."
        )
    for a, b in found.edges:
        if b in found.inputs:
            raise ValueError(f"{a!r} leads to {b!r}, which is an Input.")
        if _checked(found, a, b) != found.shapes[b]:
            raise ValueError(
                f"Node {b!r} ({kind(found.nodes[b])}) would send other shapes for {a!r}"
                f" than {found.shapes[b]}, for its other inputs."
            )


def _check_size(name: str, shape: Shape, max_elements: int) -> None:
    if not shape or any(size < 1 for size in shape) or math.prod(shape) > max_elements:
        raise ValueError(
            f"Node {name!r} sends {shape}: it needs axes of at least 1, all together at"
            f" most max_elements={max_elements:,}."
        )
