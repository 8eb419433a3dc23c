"""Vertices and edges of the graph as nodes: what has no node of its own in NIR.

A transform is a matrix or a `Scale`, a synapse an `LI`, a `CubaLI` or a `Delay`, and a
bias goes with the signal until a node can take it.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from keras_spiking_nengo.convert.composition import diagonal_of, matrix_of
from keras_spiking_nengo.convert.graph import Edge, Graph, Subnet, Vertex
from keras_spiking_nengo.convert.nengo.reading import read as read_nengo
from keras_spiking_nengo.convert.nir.neuron_nodes import filter_bundle, fire
from keras_spiking_nengo.convert.nir.sketch import Bundle, Writer
from keras_spiking_nengo.graphs import components

__all__ = ["by_graph"]


def by_graph(writer: Writer) -> Bundle | None:
    """What the rule for Nengo's objects says of a layer."""
    site = writer.site
    if site.port is not None:
        return writer.sketch.bundles[site.sources[0], site.port]
    vertex, edges = site.read()
    if vertex.subnet is not None:
        _write_network(writer, vertex.subnet)
        return None
    waiting: list[tuple[str, str]] = []
    terms = [
        _over_edge(
            writer,
            edge,
            _awaited(writer, site.name, vertex.size, waiting)
            if edge.source == site.name
            else writer.sketch.bundles[edge.source],
            vertex.size,
        )
        for edge in edges
    ]
    bundle = _into_vertex(writer, vertex, terms)
    for source, node in waiting:
        writer.sketch.connect(writer.sketch.settled(bundle, source), node)
    return bundle


def _over_edge(writer: Writer, edge: Edge, bundle: Bundle, size: int) -> Bundle:
    """What an edge adds to a vertex of so many elements."""
    name = "_".join(edge.layers) or edge.target
    scale = None if edge.transform is None else diagonal_of(edge.transform)
    if edge.slice is None and scale is not None:
        scale = scale if np.ptp(scale) else scale[0]
        bundle = writer.sketch.scaled(bundle, name, scale)
    elif edge.slice is not None or edge.transform is not None:
        matrix = np.eye(bundle.size)
        if edge.transform is not None:
            matrix = matrix_of(edge.transform)
        if edge.slice is not None:
            where = edge.slice if isinstance(edge.slice, slice) else list(edge.slice)
            matrix = np.eye(size)[:, np.arange(size)[where]] @ matrix
        bundle = writer.sketch.multiplied(bundle, name, matrix)
    return filter_bundle(writer, f"{name}_synapse", bundle, edge.synapse, True)


def _into_vertex(writer: Writer, vertex: Vertex, terms: Sequence[Bundle]) -> Bundle:
    """What a vertex sends, from what its edges add."""
    bundle = _bundle_sum(writer, vertex.name, terms)
    if vertex.gain is not None:
        bundle = writer.sketch.scaled(bundle, f"{vertex.name}_gain", vertex.gain)
    bundle = bundle.shifted(vertex.bias)
    if vertex.neuron_type is not None:
        bundle = fire(writer, vertex.name, bundle, vertex.neuron_type)
    return filter_bundle(writer, vertex.name, bundle, vertex.process, False)


def _awaited(
    writer: Writer, name: str, size: int, waiting: list[tuple[str, str]]
) -> Bundle:
    """A node for what a vertex will send, which is led to it later."""
    node = writer.sketch.add(f"{name}_before", writer.nir.Scale(np.ones(size)))
    writer.sketch.waiting.add(node)
    waiting.append((name, node))
    return Bundle((node,), (size,), np.arange(size))


def _bundle_sum(writer: Writer, name: str, terms: Sequence[Bundle]) -> Bundle:
    """The sum of bundles."""
    if not all(term.alike(terms[0]) for term in terms):
        terms = [writer.sketch.ordered(term, name) for term in terms]
    constants = [term.constant for term in terms if term.constant is not None]
    return replace(
        terms[0],
        nodes=tuple(node for term in terms for node in term.nodes),
        constant=np.sum(constants, axis=0) if constants else None,
    )


# --- networks -----------------------------------------------------------------------


def _write_network(writer: Writer, subnet: Subnet) -> None:
    """Adds the vertices of a network; notes what it sends."""
    sketch, site = writer.sketch, writer.site
    try:
        graph = read_nengo(
            subnet.net, subnet.inputs, subnet.outputs, sketch.dt, cyclic=True
        )
    except NotImplementedError as error:
        raise writer.refusal(str(error)) from error
    sent: dict[str, Bundle] = {}
    for port, source in zip(graph.inputs, site.sources, strict=True):
        bundle = sketch.settled(sketch.bundles[source], port.name)
        sent[port.vertex] = sketch.ordered(bundle, port.name)
    now = [(e.source, e.target) for e in graph.edges if e.synapse is None]
    waiting: list[tuple[str, str]] = []
    for (name,) in components([v.name for v in graph.vertices], now):
        if name not in sent:
            sent[name] = _write_vertex(writer, graph, name, sent, waiting)
    for source, node in waiting:
        sketch.connect(sketch.settled(sent[source], source), node)
    for i, port in enumerate(graph.outputs):
        sketch.bundles[site.name, i] = sent[port.vertex]


def _write_vertex(
    writer: Writer,
    graph: Graph,
    name: str,
    sent: dict[str, Bundle],
    waiting: list[tuple[str, str]],
) -> Bundle:
    """What a vertex of a network sends.

    Args:
        writer: of the network.
        graph: of the network.
        name: of the vertex.
        sent: what vertices send, as far as they are written.
        waiting: to which it adds vertices, and the nodes that they will lead to.
    """
    vertex, terms = graph[name], []
    for edge in graph.edges:
        if edge.target != name:
            continue
        bundle = sent.get(edge.source)
        if bundle is None:
            size = graph[edge.source].size
            bundle = _awaited(writer, edge.source, size, waiting)
        terms.append(_over_edge(writer, edge, bundle, vertex.size))
    if not terms:
        if vertex.neuron_type is not None or vertex.process is not None:
            raise writer.refusal(
                f"{name!r} in it has no input, and NIR has no constants"
            )
        zeros = np.zeros(vertex.size)
        terms = [Bundle((), (vertex.size,), np.arange(vertex.size), zeros)]
    return _into_vertex(writer, vertex, terms)
