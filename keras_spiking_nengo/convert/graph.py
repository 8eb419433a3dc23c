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
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType
from typing import TypeAlias

import nengo
import numpy as np

from keras_spiking_nengo.convert.composition import NoProductError, composed, image_of
from keras_spiking_nengo.graphs import reachable

__all__ = [
    "Edge",
    "Graph",
    "Names",
    "Port",
    "Subnet",
    "Vertex",
    "as_slice",
    "fold_constants",
    "fuse",
    "places_of",
]

Elements: TypeAlias = slice | tuple[int, ...]


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
    shape: tuple[int, ...]
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
        acts = (self.neuron_type, self.process, self.subnet, self.output)
        return all(act is None for act in acts)


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
    slice: Elements | None = None
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
        over: `"mean"`, `"max"` or `"sum"` where that of all steps is read instead.
    """

    name: str
    vertex: str
    temporal: bool
    over: str = ""


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
        return self.by_name[name]

    @cached_property
    def by_name(self) -> Mapping[str, Vertex]:
        """Vertices by name."""
        return MappingProxyType({vertex.name: vertex for vertex in self.vertices})

    @cached_property
    def into(self) -> Mapping[str, tuple[Edge, ...]]:
        """Edges into each vertex, by its name, in order."""
        return _by_end(self, "target")

    @cached_property
    def out_of(self) -> Mapping[str, tuple[Edge, ...]]:
        """Edges out of each vertex, by its name, in order."""
        return _by_end(self, "source")

    @property
    def dependences(self) -> list[tuple[str, str]]:
        """Pairs of names: a vertex, and one that depends on it directly."""
        sent = [(v.output[0], v.name) for v in self.vertices if v.output is not None]
        return [(edge.source, edge.target) for edge in self.edges] + sent

    def after(self, names: Iterable[str]) -> set[str]:
        """Names of the vertices that depend on those called `names`, with these."""
        return reachable(names, self.dependences)

    def before(self, names: Iterable[str]) -> set[str]:
        """Names of the vertices that those called `names` depend on, with these."""
        return reachable(names, [(b, a) for a, b in self.dependences])

    def only(self, names: Iterable[str]) -> "Graph":
        """The part of the graph with the vertices called `names`."""
        chosen = set(names)
        return replace(
            self,
            vertices=tuple(v for v in self.vertices if v.name in chosen),
            edges=tuple(e for e in self.edges if {e.source, e.target} <= chosen),
        )


def _by_end(graph: Graph, end: str) -> Mapping[str, tuple[Edge, ...]]:
    edges: dict[str, list[Edge]] = {vertex.name: [] for vertex in graph.vertices}
    for edge in graph.edges:
        edges[getattr(edge, end)].append(edge)
    return MappingProxyType({name: tuple(ends) for name, ends in edges.items()})


class Names:
    """Names in use, of which each new one is made unique.

    Args:
        taken: names that are in use.

    Example:
        >>> names = Names(["a"])
        >>> [names.new("a"), names.new("a"), names.new("b")]
        ['a_2', 'a_3', 'b']
    """

    def __init__(self, taken: Iterable[str] = ()):
        self._taken = set(taken)
        self._last: dict[str, int] = defaultdict(lambda: 1)

    def new(self, name: str) -> str:
        """`name`, with a number if it is taken, which it is from now on."""
        unique = name
        while unique in self._taken:
            # Where the last search ended, as no name becomes free again.
            self._last[name] += 1
            unique = f"{name}_{self._last[name]}"
        self._taken.add(unique)
        return unique


def as_slice(where: np.ndarray) -> Elements:
    """Elements as an edge has them: a slice, if they are a run."""
    first, last = int(where[0]), int(where[-1]) + 1
    run = np.array_equal(where, np.arange(first, last))
    return slice(first, last) if run else tuple(map(int, where))


def places_of(edge: Edge, size: int) -> np.ndarray:
    """The elements of a target of `size` elements that an edge adds to."""
    places = np.arange(size)
    if edge.slice is None:
        return places
    return places[edge.slice if isinstance(edge.slice, slice) else list(edge.slice)]


def fuse(graph: Graph) -> Graph:
    """`graph` without the vertices that only pass a signal on.

    `T` and then `s`, and `s` and then `T`, are one edge, as linear filters of equal
    elements commute with a transform. So are a transform and a diagonal one, in either
    order: a batch normalisation is in the weights next to it. A bias `b` before `T` is
    a bias `T b` behind it. Two other transforms, two filters, and a bias before a
    filter keep their vertex. Inputs and outputs are kept.
    """
    drawing = _Drawing(graph)
    ports = {port.vertex for port in (*graph.inputs, *graph.outputs)}
    for vertex in graph.vertices:
        name = vertex.name
        if name not in ports and vertex.passes and drawing.leads_through(name):
            drawing.move_bias(name)
            drawing.bypass(name)
    return drawing.graph()


def fold_constants(graph: Graph) -> Graph:
    """`graph` with what constant vertices add, without delay, in biases.

    A vertex is constant if it only passes on a bias. It goes where nothing reads it
    any more.
    """
    drawing = _Drawing(graph)
    ports = {port.vertex for port in (*graph.inputs, *graph.outputs)}
    for vertex in graph.vertices:
        name = vertex.name
        bias = drawing.vertices[name].bias
        if name in ports or not vertex.passes or bias is None or drawing.into[name]:
            continue
        for edge in list(drawing.out_of[name]):
            if edge.synapse is None:
                drawing.fold(edge, bias)
        if not drawing.out_of[name]:
            del drawing.vertices[name]
    return drawing.graph()


class _Drawing:
    """A graph that is changed, edge by edge.

    Attributes:
        vertices: by name.
        into, out_of: edges by name of the vertex at an end, in order.
    """

    def __init__(self, graph: Graph):
        self.original = graph
        self.vertices = dict(graph.by_name)
        # Dicts, as sets that keep their order.
        self.into = {name: dict.fromkeys(ends) for name, ends in graph.into.items()}
        self.out_of = {name: dict.fromkeys(ends) for name, ends in graph.out_of.items()}

    def graph(self) -> Graph:
        place = {name: number for number, name in enumerate(self.vertices)}
        edges = [edge for name in place for edge in self.into[name]]
        edges.sort(key=lambda edge: (place[edge.target], place[edge.source]))
        vertices = tuple(self.vertices.values())
        return replace(self.original, vertices=vertices, edges=tuple(edges))

    def leads_through(self, name: str) -> bool:
        return bool(self.into[name] and self.out_of[name])

    def remove(self, edge: Edge) -> None:
        del self.into[edge.target][edge], self.out_of[edge.source][edge]

    def fold(self, edge: Edge, value: np.ndarray) -> None:
        """What `edge` makes of a constant `value`, in the bias of its target."""
        try:
            image = image_of(edge.transform, value)
        except NoProductError:
            return
        target = self.vertices[edge.target]
        self.vertices[edge.target] = _with_bias(target, image, edge.slice)
        self.remove(edge)

    def move_bias(self, name: str) -> None:
        """Moves the bias of a vertex on to those behind it, if it can be."""
        bias, after = self.vertices[name].bias, list(self.out_of[name])
        if bias is None or any(edge.synapse is not None for edge in after):
            return
        try:
            images = [image_of(edge.transform, bias) for edge in after]
        except NoProductError:
            return
        self.vertices[name] = replace(self.vertices[name], bias=None)
        for edge, image in zip(after, images, strict=True):
            target = self.vertices[edge.target]
            self.vertices[edge.target] = _with_bias(target, image, edge.slice)

    def bypass(self, name: str) -> None:
        """Draws edges past a vertex, unless it has to stay."""
        before, after = list(self.into[name]), list(self.out_of[name])
        joined = _joined(before, self.vertices[name], after)
        if joined is None:
            return
        # A loop would be among both, and is not joined.
        for edge in (*before, *after):
            self.remove(edge)
        for edge in joined:
            self.into[edge.target][edge] = None
            self.out_of[edge.source][edge] = None
        del self.vertices[name]


def _joined(before: list[Edge], vertex: Vertex, after: list[Edge]) -> list[Edge] | None:
    """Edges past a vertex, or None where it has to stay."""
    if vertex.bias is not None or not _fusible(before, after):
        return None
    try:
        return [_join(e1, vertex, e2) for e2 in after for e1 in before]
    except NoProductError:
        return None


def _fusible(before: list[Edge], after: list[Edge]) -> bool:
    # No transform and no filter is computed twice.
    if len(after) > 1 and not (len(before) == 1 and before[0].adds):
        return False
    if len(before) > 1 and not all(edge.adds for edge in after):
        return False
    if not {*before}.isdisjoint(after):  # its own past is in it
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
        transform=composed(second.transform, first.transform),
        synapse=first.synapse or second.synapse,
        slice=first.slice or second.slice,
        layers=tuple(layers),
    )


def _with_bias(vertex: Vertex, bias: np.ndarray, where: Elements | None) -> Vertex:
    """`vertex` with `bias` added to the elements `where`."""
    total = np.zeros(vertex.size) if vertex.bias is None else vertex.bias.copy()
    total[slice(None) if where is None else np.r_[where]] += bias
    return replace(vertex, bias=total)
