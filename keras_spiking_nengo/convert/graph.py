"""The one graph between Keras, Nengo and other formats.

A vertex is a signal over time, `x_v`, one vector per step; an edge adds to one:

    x_v = f_v( sum over edges (u -> v) of  s(T x_u)[slice]  +  bias_v )

with `T` a transform, `s` a synapse and `f_v` a neuron type, a process or, for a
vertex that only passes on, nothing. What cannot be said so is a small Nengo network of
its own: one vertex is what goes in, and each output has a vertex. All else is plain
data: Nengo's frozen objects and arrays, no Keras layer. A state that a population
starts from is in its neuron type's `initial_state`.
"""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

import nengo
import numpy as np

from keras_spiking_nengo.convert.composition import NoProductError, applied, product

__all__ = [
    "Edge",
    "Graph",
    "Port",
    "Subnet",
    "Vertex",
    "as_slice",
    "fuse",
    "layer_name",
]

Shape = tuple[int, ...]
Slice = slice | tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Subnet:
    """A network that runs as it is.

    Attributes:
        net: `nengo.Network`.
        inputs: source nodes, whose values come one after the other.
        outputs: probes.
    """

    net: nengo.Network
    inputs: tuple[nengo.Node, ...]
    outputs: tuple[nengo.Probe, ...]


@dataclass(frozen=True, eq=False)
class Vertex:
    """A signal over time.

    Attributes:
        name: unique in the graph.
        shape: of one step; the signal is flattened, last axis fastest.
        neuron_type: what makes activity of the sum of the edges, or None.
        process: a synapse that filters the sum without delay, or None.
        gain: `(size,)`, on the sum of the edges of neurons; None for ones.
        bias: `(size,)`, added to the sum of the edges; None for zeros.
        layers: names of the Keras layers it stands for.
        subnet: the network that takes the sum of the edges, or None.
        output: name of the vertex with the subnet, and number of the output of it
            that this one is, or None.
    """

    name: str
    shape: Shape
    neuron_type: nengo.neurons.NeuronType | None = None
    process: nengo.synapses.Synapse | None = None
    gain: np.ndarray | None = None
    bias: np.ndarray | None = None
    layers: tuple[str, ...] = ()
    subnet: Subnet | None = None
    output: tuple[str, int] | None = None

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def passes(self) -> bool:
        """Whether the signal is the sum of the edges and the bias."""
        own = (self.neuron_type, self.process, self.subnet, self.output)
        return all(thing is None for thing in own)


@dataclass(frozen=True, eq=False)
class Edge:
    """What one signal adds to another.

    Attributes:
        source, target: names of vertices.
        transform: Nengo transform, or None for the identity.
        synapse: filter after the transform, one step behind, or None.
        slice: the target's elements that are added to; None for all.
        layers: names of the Keras layers it stands for.
    """

    source: str
    target: str
    transform: nengo.transforms.Transform | None = None
    synapse: nengo.synapses.Synapse | None = None
    slice: Slice | None = None
    layers: tuple[str, ...] = ()

    @property
    def adds(self) -> bool:
        """Whether the signal is added as it is."""
        return self.transform is None and self.synapse is None


@dataclass(frozen=True)
class Port:
    """Where signals enter or leave.

    Attributes:
        name: unique among the inputs, and among the outputs.
        vertex: name of the vertex.
        temporal: whether it is a sequence, or else one value: what is presented
            at every step, or what is read at the last one.
    """

    name: str
    vertex: str
    temporal: bool


@dataclass(frozen=True, eq=False)
class Graph:
    """Vertices and edges, with the places where signals enter and leave.

    Attributes:
        name: of the whole.
        vertices, edges: in an order in which sources come first.
        inputs, outputs: in order.
        dt: float, seconds. Length of a step.
        n_steps: number of steps, where the graph itself knows.
        keyed: whether outputs are returned by name, as a dict.
    """

    name: str
    vertices: tuple[Vertex, ...]
    edges: tuple[Edge, ...]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    dt: float = 0.001
    n_steps: int | None = None
    keyed: bool = False

    def __getitem__(self, name: str) -> Vertex:
        return next(vertex for vertex in self.vertices if vertex.name == name)

    def after(self, names: Iterable[str]) -> set[str]:
        """Names of the vertices that depend on those called `names`, with these."""
        found = set(names)
        new = found
        while new:
            new = {e.target for e in self.edges if e.source in found}
            new |= {v.name for v in self.vertices if v.output and v.output[0] in found}
            new -= found
            found = found | new
        return found


def layer_name(name: str) -> str:
    """A name of what TensorFlow, and torch, which refuses dots, take for a layer's."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", name)


def as_slice(where: np.ndarray) -> Slice:
    """Elements as an edge has them: a slice, if they are a run."""
    first, last = int(where[0]), int(where[-1]) + 1
    run = np.array_equal(where, np.arange(first, last))
    return slice(first, last) if run else tuple(map(int, where))


def fuse(graph: Graph) -> Graph:
    """`graph` without the vertices that only pass a signal on.

    `T` and then `s`, and `s` and then `T`, are one edge, as linear filters of equal
    elements commute with a transform. So are a transform and a diagonal one, in either
    order: a batch normalisation is in the weights next to it. A bias `b` before `T` is
    a bias `T b` behind it. Two other transforms, two filters, and a bias before a
    filter keep their vertex. Inputs and outputs are kept.
    """
    kept = {port.vertex for port in (*graph.inputs, *graph.outputs)}
    vertices = {vertex.name: vertex for vertex in graph.vertices}
    edges = list(graph.edges)
    for name in list(vertices):
        before = [edge for edge in edges if edge.target == name]
        after = [edge for edge in edges if edge.source == name]
        if name in kept or not (vertices[name].passes and before and after):
            continue
        vertices |= _with_bias_behind(vertices, name, after)
        joined = _joined(before, vertices[name], after)
        if joined is not None:
            edges = [e for e in edges if e not in before and e not in after] + joined
            del vertices[name]
    place = {name: number for number, name in enumerate(vertices)}
    edges.sort(key=lambda edge: (place[edge.target], place[edge.source]))
    return replace(graph, vertices=tuple(vertices.values()), edges=tuple(edges))


def _with_bias_behind(vertices: dict[str, Vertex], name: str, after: list[Edge]):
    """The vertices that change as the bias of one moves on, if it can."""
    bias = vertices[name].bias
    if bias is None or any(edge.synapse is not None for edge in after):
        return {}
    changed = {name: replace(vertices[name], bias=None)}
    try:
        for edge in after:
            target = changed.get(edge.target, vertices[edge.target])
            moved = applied(edge.transform, bias)
            changed[edge.target] = _with_bias(target, moved, edge.slice)
    except NoProductError:
        return {}
    return changed


def _joined(before: list[Edge], vertex: Vertex, after: list[Edge]) -> list[Edge] | None:
    """Edges past a vertex, or None where it has to stay."""
    if vertex.bias is not None or not _fusible(before, after):
        return None
    try:
        return [_join(e1, vertex, e2) for e2 in after for e1 in before]
    except NoProductError:
        return None


def _fusible(before: list[Edge], after: list[Edge]) -> bool:
    if any(edge in before for edge in after):  # its own past is in it
        return False
    # No transform and no filter is computed twice.
    if len(after) > 1 and not (len(before) == 1 and before[0].adds):
        return False
    if len(before) > 1 and not all(edge.adds for edge in after):
        return False
    return all(_joinable(e1, e2) for e1 in before for e2 in after)


def _joinable(first: Edge, second: Edge) -> bool:
    return (first.synapse is None or second.synapse is None) and (
        first.slice is None or (second.adds and second.slice is None)
    )


def _join(first: Edge, vertex: Vertex, second: Edge) -> Edge:
    layers = dict.fromkeys((*first.layers, *vertex.layers, *second.layers))
    return Edge(
        source=first.source,
        target=second.target,
        transform=product(second.transform, first.transform),
        synapse=first.synapse or second.synapse,
        slice=first.slice or second.slice,
        layers=tuple(layers),
    )


def _with_bias(vertex: Vertex, bias: np.ndarray, where: Slice | None) -> Vertex:
    """`vertex` with `bias` added to the elements `where`."""
    total = np.zeros(vertex.size) if vertex.bias is None else vertex.bias.copy()
    total[slice(None) if where is None else np.r_[where]] += bias
    return replace(vertex, bias=total)
