"""The graph as a Nengo network."""

from collections.abc import Iterable
from typing import Any

import nengo
import numpy as np

from keras_spiking_nengo.convert.export import NengoExport, NengoObject
from keras_spiking_nengo.convert.graph import (
    Edge,
    Graph,
    Subnet,
    Vertex,
)
from keras_spiking_nengo.convert.nengo.components import (
    is_direct,
)

__all__ = ["write"]


def write(graph: Graph, seed: int | None = None) -> NengoExport:
    """A network with an ensemble, node or connection for each part of `graph`.

    Neurons are ensembles which are connected neuron by neuron, so that no decoder
    is solved for. Inputs are nodes that hold zeros. Without a synapse, a connection
    has none.

    Args:
        graph: what to write.
        seed: of the network, for random neuron types.
    """
    layers: dict[str, list[NengoObject]] = {}
    with nengo.Network(label=graph.name, seed=seed) as net:
        inputs = {port.vertex for port in graph.inputs}
        vertices: dict[str, Any] = {}
        for vertex in graph.vertices:
            if vertex.name in inputs:
                node: Any = _input(vertex)
            elif vertex.subnet is not None:
                node = _entered(vertex.subnet, vertex.name)
            elif vertex.output is not None:
                hub, i = vertex.output
                subnet = graph[hub].subnet
                assert subnet is not None
                node = _left(subnet.outputs[i], vertex)
            else:
                node = _object(vertex)
            vertices[vertex.name] = node
            _note(layers, vertex.layers, node)
        for vertex in graph.vertices:
            if vertex.bias is not None and vertex.neuron_type is None:
                _note(layers, vertex.layers, _bias(vertex, vertices[vertex.name]))
        for edge in graph.edges:
            _note(layers, edge.layers, _connection(edge, vertices))
        outputs = {
            port.name: nengo.Probe(
                _signal(vertices[port.vertex]), synapse=None, label=port.name
            )
            for port in graph.outputs
        }
    return NengoExport(
        net=net,
        inputs={port.name: vertices[port.vertex] for port in graph.inputs},
        outputs=outputs,
        layers={name: tuple(things) for name, things in layers.items()},
        graph=graph,
        vertices=vertices,
    )


def _note(layers: dict[str, list], paths: Iterable[str], thing: NengoObject) -> None:
    """Notes `thing` for the layers at `paths` and for the models around them."""
    names = {
        "/".join(parts[: i + 1]): None
        for path in paths
        for parts in [path.split("/")]
        for i in range(len(parts))
    }
    for name in names:
        layers.setdefault(name, []).append(thing)


def _input(vertex: Vertex) -> nengo.Node:
    return nengo.Node(np.zeros(vertex.size), label=vertex.name)


def _object(vertex: Vertex) -> nengo.Ensemble | nengo.Node:
    size, label = vertex.size, vertex.name
    if vertex.process is not None:
        return nengo.Node(vertex.process, size_in=size, size_out=size, label=label)
    if vertex.neuron_type is None:
        return nengo.Node(size_in=size, label=label)
    return nengo.Ensemble(
        size,
        dimensions=1,
        neuron_type=vertex.neuron_type,
        gain=np.ones(size) if vertex.gain is None else vertex.gain,
        bias=np.zeros(size) if vertex.bias is None else vertex.bias,
        encoders=np.ones((size, 1)),
        label=label,
    )


def _entered(subnet: Subnet, label: str) -> nengo.Node:
    """Puts a network where this is called; the node that takes all of its inputs."""
    net = subnet.net
    nengo.Network.context[-1].add(net)
    for inner in (net, *net.all_networks):
        inner.probes.clear()
    for node in subnet.inputs:
        # Nengo warns where a size of the output is there already.
        node.size_in, node.size_out = node.size_out, None
        node.output = None
    total = sum(node.size_out for node in subnet.inputs)
    entrance, start = nengo.Node(size_in=total, label=label), 0
    for node in subnet.inputs:
        stop = start + node.size_out
        nengo.Connection(entrance[start:stop], node, synapse=None)
        start = stop
    return entrance


def _left(probe: nengo.Probe, vertex: Vertex) -> nengo.Node:
    """A node with what a probe of a network showed."""
    node = nengo.Node(size_in=vertex.size, label=vertex.name)
    decoded = isinstance(probe.obj, nengo.Ensemble) and not is_direct(probe.obj)
    own = {"solver": probe.solver} if decoded else {}
    nengo.Connection(
        probe.target, node, synapse=probe.synapse, label=probe.label, **own
    )
    return node


def _bias(vertex: Vertex, node: nengo.Node) -> nengo.Node:
    constant = nengo.Node(vertex.bias, label=f"{vertex.name}.bias")
    nengo.Connection(constant, node, synapse=None, label=f"{vertex.name}.bias")
    return constant


def _connection(edge: Edge, vertices) -> nengo.Connection:
    target = _signal(vertices[edge.target])
    if edge.slice is not None:
        where = edge.slice if isinstance(edge.slice, slice) else list(edge.slice)
        target = target[where]
    options = {} if edge.transform is None else {"transform": edge.transform}
    return nengo.Connection(
        _signal(vertices[edge.source]),
        target,
        synapse=edge.synapse,
        label="+".join(edge.layers) or None,
        **options,
    )


def _signal(thing):
    return thing.neurons if isinstance(thing, nengo.Ensemble) else thing
