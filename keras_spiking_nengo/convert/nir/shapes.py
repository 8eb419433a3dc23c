"""A NIR graph, flattened and checked: its nodes, edges and shapes.

The shapes are computed here from those of the inputs; `nir` itself infers other ones
for kernels that are not square, and for padding "same" with strides.
"""

import math
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from keras_spiking_nengo.convert.nir.layout import Axes, image_order, keras_axes, kind
from keras_spiking_nengo.convert.nir.primitives import Place, StepOptions
from keras_spiking_nengo.convert.nir.table import PRIMITIVES
from keras_spiking_nengo.graphs import bypass, followers

__all__ = ["FlatGraph", "flat_graph"]

# What a field of a node may lead to, if it is nothing that the node can have.
_WRONG_FIELDS = (ArithmeticError, AttributeError, IndexError, TypeError, ValueError)


@dataclass(frozen=True, eq=False)
class FlatGraph:
    """A graph without subgraphs.

    Attributes:
        nodes: by name; those of a subgraph are called `subgraph.node`.
        edges: pairs of names, without those to and from subgraphs.
        inputs, outputs: names of the graph's own.
        shapes: of what each node sends, in NIR's order of axes.
    """

    nodes: dict[str, Any]
    edges: tuple[tuple[str, str], ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    shapes: dict[str, Axes]

    @cached_property
    def before(self) -> dict[str, list[str]]:
        """By node, those that lead to it."""
        return followers((b, a) for a, b in self.edges)

    @cached_property
    def after(self) -> dict[str, list[str]]:
        """By node, those that it leads to."""
        return followers(self.edges)

    def keras_shape(self, name: str) -> Axes:
        """What a node sends, as Keras has it."""
        return keras_axes(self.shapes[name])

    def named(self, name: str) -> str:
        """A node in messages."""
        return f"Node {name!r} ({kind(self.nodes[name])})"

    def refusal(self, name: str, reason: Any) -> ValueError:
        """The error for a node, with its reason."""
        return ValueError(f"{self.named(name)}: {str(reason).rstrip('.')}.")

    @contextmanager
    def naming(self, name: str) -> Iterator[None]:
        """Turns what a node's fields lead to, if they are wrong, into its refusal."""
        try:
            yield
        except _WRONG_FIELDS as error:
            raise self.refusal(name, error) from error

    def place(self, name: str, options: StepOptions, taken: set[str]) -> Place:
        """A node where it stands.

        Args:
            name: of the node.
            options: of the steps.
            taken: names of layers.
        """
        source, order = self.before[name][0], None
        if self._is_free(source):
            order = image_order(self.keras_shape(self.before[source][0]))[1]
        takes, sends, free = self.shapes[source], self.shapes[name], self._is_free(name)
        node = self.nodes[name]
        return Place(node, name, takes, sends, options, taken, order, free)

    def _is_free(self, name: str) -> bool:
        """Whether a vector may be in Keras's order: all that follows are kernels.

        On a cycle there is but one order, as nothing makes images of vectors again.
        """
        after = self.after[name]
        flattens = kind(self.nodes[name]) == "Flatten" and len(self.shapes[name]) == 1
        into_matrices = all(
            kind(self.nodes[b]) in ("Affine", "Linear") and self.before[b] == [name]
            for b in after
        )
        return flattens and bool(after) and into_matrices


def flat_graph(graph, max_elements: int) -> FlatGraph:
    """A `nir.NIRGraph` without its subgraphs, checked.

    Raises:
        ValueError: for edges from or to nowhere, shapes that disagree or are not known,
            and a node that sends more than `max_elements` values.
    """
    nodes: dict[str, Any] = {}
    edges: list[tuple[str, str]] = []
    _collect(graph, "", nodes, edges)
    inputs = tuple(n for n in graph.nodes if kind(graph.nodes[n]) == "Input")
    outputs = tuple(n for n in graph.nodes if kind(graph.nodes[n]) == "Output")
    if not inputs or not outputs:
        missing = "Input" if not inputs else "Output"
        raise ValueError(
            f"The graph has no {missing} node; it has {sorted(graph.nodes)}. Signals"
            " enter by nir.Input and leave by nir.Output."
        )
    for name in [n for n, node in nodes.items() if kind(node) in ("Input", "Output")]:
        if name not in (*inputs, *outputs):  # a subgraph's, which passes a signal on
            rest, short = bypass(edges, {name})
            edges = rest + short
            del nodes[name]
    flat = FlatGraph(nodes, tuple(edges), inputs, outputs, {})
    _check_known(flat)
    _infer(flat, max_elements)
    return flat


def _collect(graph, prefix: str, nodes: dict, edges: list[tuple[str, str]]) -> None:
    """Adds the nodes and edges of a graph and of those in it."""
    if not isinstance(graph.nodes, Mapping):
        raise ValueError(f"The nodes of a graph are a dict; received {graph.nodes!r}.")
    for name, node in graph.nodes.items():
        if kind(node) == "NIRGraph":
            _collect(node, f"{prefix}{name}.", nodes, edges)
        else:
            nodes[prefix + name] = node
    for a, b in graph.edges:
        source = _edge_end(graph, prefix, a, "Output")
        edges.append((source, _edge_end(graph, prefix, b, "Input")))


def _edge_end(graph, prefix: str, name: str, passing: str) -> str:
    """The node that an edge to or from a node means: of a graph that is one, its own.

    Args:
        graph: that the edge is of.
        prefix: of the names of its nodes.
        name: of the node.
        passing: kind of the node that stands for a subgraph.
    """
    if name not in graph.nodes:
        raise ValueError(
            f"An edge names the node {prefix + str(name)!r}, which is not there."
            f" Nodes: {sorted(graph.nodes)}."
        )
    node = graph.nodes[name]
    if kind(node) != "NIRGraph":
        return prefix + name
    ends = [n for n, inner in node.nodes.items() if kind(inner) == passing]
    if len(ends) != 1:
        raise ValueError(
            f"Node {prefix + name!r} (NIRGraph) has {len(ends)} {passing} nodes; an"
            " edge to or from it says which only if it has one."
        )
    return f"{prefix}{name}.{ends[0]}"


def _check_known(flat: FlatGraph) -> None:
    """Refuses nodes that are not known, and edges that say nothing."""
    for name, node in flat.nodes.items():
        if kind(node) not in PRIMITIVES:
            possible = ", ".join(PRIMITIVES)
            raise flat.refusal(name, f"its kind is not known; known are {possible}")
    for a, b in flat.edges:
        if a in flat.outputs:
            raise flat.refusal(a, f"it is where a signal leaves, and leads to {b!r}")
        if b in flat.inputs:
            raise flat.refusal(b, f"it is where a signal enters, and {a!r} leads to it")
    for edge, count in Counter(flat.edges).items():
        if count > 1:
            ends = " to ".join(map(flat.named, edge))
            raise ValueError(f"The edge {ends} is there twice. Use a nir.Scale of 2.")


# --- shapes -------------------------------------------------------------------------


def _infer(flat: FlatGraph, max_elements: int) -> None:
    """Fills `shapes`, from the inputs on; checks that all agree."""
    ready: deque[tuple[str | None, str]] = deque((None, name) for name in flat.inputs)
    while ready:
        a, b = ready.popleft()
        if b not in flat.shapes:
            shape = flat.shapes[b] = _sent(flat, a, b)
            if not shape or min(shape) < 1 or math.prod(shape) > max_elements:
                raise flat.refusal(
                    b,
                    f"it sends {shape}, and needs axes of at least 1, all together at"
                    f" most max_elements={max_elements:,}",
                )
            ready.extend((b, name) for name in flat.after[b])
    missing = sorted(set(flat.nodes) - set(flat.shapes))
    if missing:
        names = ", ".join(f"{name!r} ({kind(flat.nodes[name])})" for name in missing)
        raise ValueError(
            f"No input leads to {names}, so that their shapes are not known. Connect"
            " them, or leave them out."
        )
    for a, b in flat.edges:
        if _sent(flat, a, b) != flat.shapes[b]:
            raise flat.refusal(
                b,
                f"it would send other shapes for {a!r} than {flat.shapes[b]}, for its"
                " other inputs",
            )


def _sent(flat: FlatGraph, a: str | None, b: str) -> Axes:
    """The shape that `b` sends for what `a` sends to it, None for an Input."""
    node, shape = flat.nodes[b], () if a is None else flat.shapes[a]
    with flat.naming(b):
        takes, sends = PRIMITIVES[kind(node)].sizes(node, shape)
    if takes not in (None, shape):
        raise ValueError(f"{flat.named(b)} takes {takes}, and {a!r} sends {shape}.")
    return sends
