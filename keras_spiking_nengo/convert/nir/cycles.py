"""A cycle of NIR's as one layer: its nodes are vertices of the graph.

The edges that lead back are cut, and a vertex stands for what came before. What is left
has no cycle, and is fused; then the ends are joined, by delays of one step.
"""

from copy import copy
from dataclasses import replace

import keras
import numpy as np

from keras_spiking_nengo import layers
from keras_spiking_nengo.convert.graph import Edge, Graph, Port, Vertex, fuse
from keras_spiking_nengo.convert.layer_rules import Site, rule_of
from keras_spiking_nengo.convert.nengo.writing import write
from keras_spiking_nengo.convert.nir.layout import Axes, kind, new_name
from keras_spiking_nengo.convert.nir.primitives import StepOptions
from keras_spiking_nengo.convert.nir.shapes import FlatGraph
from keras_spiking_nengo.convert.nir.sketch import fed_back
from keras_spiking_nengo.convert.nir.table import PRIMITIVES
from keras_spiking_nengo.convert.rules.sequences import pure_delay
from keras_spiking_nengo.graphs import components

__all__ = ["cycle_of"]


def cycle_of(
    flat: FlatGraph, members: list[str], options: StepOptions, name: str
) -> tuple[layers.Network, list[str], list[str]]:
    """The layer of a strongly connected component.

    Args:
        flat: the graph.
        members: names of the nodes.
        options: of the steps.
        name: for the layer.

    Returns:
        The layer; members that other nodes lead to, in the order of its inputs; and
        members that lead to other nodes, in the order of its outputs.
    """
    graph = _OpenGraph(flat, options, members)
    graph.fill()
    leaving = [n for n in sorted(members) if {*flat.after[n]} - {*members}]
    closed, exits = graph.closed(name, leaving)
    export = write(closed)
    layer = layers.Network(
        export.net,
        inputs=[export.inputs[vertex] for vertex in graph.entrances.values()],
        outputs=[export.outputs[port] for port in exits],
        dt=options.dt,
        return_sequences=True,
        name=name,
    )
    return layer, list(graph.entrances), leaving


class _OpenGraph:
    """Vertices and edges of a component whose edges that lead back are cut.

    Attributes:
        delays: members that delay by a step or more.
        late: edges that lead back.
        vertices, edges: of the graph.
        entrances: by member, the vertex that has what comes to it from outside.
        past: by member, the vertex that has what it sent a step before.
        sent: by member, the vertex that has what it sends.
    """

    def __init__(self, flat: FlatGraph, options: StepOptions, members: list[str]):
        self.flat, self.options, self.members = flat, options, sorted(members)
        self.taken: set[str] = set()
        self.delays = {name for name in members if self._delays(name)}
        self.late = fed_back(members, flat.edges, self.delays)
        self.vertices: dict[str, Vertex] = {}
        self.edges: list[Edge] = []
        self.entrances: dict[str, str] = {}
        self.past: dict[str, str] = {}
        self.sent: dict[str, str] = {}

    def fill(self) -> None:
        """Adds all members, sources first."""
        flat, members = self.flat, {*self.members}
        for name in sorted({a for a, _ in self.late}):
            self.past[name] = self._pass(f"{name}_before", flat.keras_shape(name))
        for name in self.members:
            outside = [a for a in flat.before[name] if a not in members]
            if outside:
                shape = flat.keras_shape(outside[0])
                self.entrances[name] = self._pass(f"to_{name}", shape)
        forward = [e for e in flat.edges if {*e} <= members and e not in self.late]
        for (name,) in components(self.members, forward):
            with flat.naming(name):
                self._add(name)

    def closed(self, name: str, leaving: list[str]) -> tuple[Graph, list[str]]:
        """The graph, its ends joined; names of the outputs that `leaving` are."""
        ports = {
            n: new_name(f"{n}_sent", self.taken) for n in sorted({*leaving, *self.past})
        }
        ends = (*self.entrances.values(), *self.past.values())
        inputs = tuple(Port(vertex, vertex, True) for vertex in ends)
        outputs = tuple(Port(port, self.sent[n], True) for n, port in ports.items())
        vertices, edges = tuple(self.vertices.values()), tuple(self.edges)
        graph = fuse(Graph(name, vertices, edges, inputs, outputs, self.options.dt))
        late = [
            Edge(self.sent[n], vertex, synapse=pure_delay(1))
            for n, vertex in self.past.items()
        ]
        inputs = inputs[: len(self.entrances)]
        graph = replace(graph, edges=(*graph.edges, *late), inputs=inputs)
        return graph, [ports[n] for n in leaving]

    def _delays(self, name: str) -> bool:
        node = self.flat.nodes[name]
        with self.flat.naming(name):
            least = np.min(node.delay) if kind(node) == "Delay" else 0
            return bool(least > self.options.dt / 2)

    def _pass(self, name: str, shape: Axes) -> str:
        """Adds a vertex that passes on what is added to it; its name."""
        name = new_name(name, self.taken)
        self.vertices[name] = Vertex(name, shape, layers=(name,))
        return name

    def _total(self, name: str) -> str:
        """The vertex with the sum of what leads to a member."""
        terms = [self.entrances[name]] if name in self.entrances else []
        if terms and name in self.delays:
            # A step later, as what leads back: both are the first of the delay.
            term = self._pass(f"to_{name}_before", self.vertices[terms[0]].shape)
            self.edges.append(Edge(terms[0], term, synapse=pure_delay(1)))
            terms = [term]
        for a in self.flat.before[name]:
            ends = self.past if (a, name) in self.late else self.sent
            terms += [ends[a]] if a in ends else []
        if len(terms) == 1:
            return terms[0]
        total = self._pass(f"{name}_sum", self.vertices[terms[0]].shape)
        self.edges += [Edge(term, total) for term in terms]
        return total

    def _add(self, name: str) -> None:
        """Adds a member, whose sources are there."""
        vertex = self._total(name)
        place = self.flat.place(name, self.options, self.taken)
        if name in self.delays:
            # Its first step is that of the edges that lead to it.
            rest = copy(place.node)
            rest.delay = np.maximum(np.asarray(rest.delay) - self.options.dt, 0)
            place = replace(place, node=rest)
        for layer in PRIMITIVES[kind(place.node)].read(place):
            vertex = self._apply(layer, vertex)
        self.sent[name] = vertex

    def _apply(self, layer: keras.Layer, source: str) -> str:
        """Adds what the layer's rule makes of it; the vertex of what it sends."""
        shape = self.vertices[source].shape
        sent = layer(keras.KerasTensor((None, None, *shape)))
        per_step = isinstance(layer, layers.PerStep)
        inner, leading = (layer.layer, 1) if per_step else (layer, 2)
        name, sends = layer.name, tuple(sent.shape[2:])
        site = Site(inner, name, name, (source,), (shape,), sends, leading)
        vertex, edges = rule_of(inner).read(site)
        self.vertices[vertex.name] = vertex
        self.edges += edges
        return vertex.name
