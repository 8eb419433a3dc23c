"""The graph as a Nengo network."""

from collections.abc import Iterable
from typing import Any

import nengo
import numpy as np

from keras_spiking_nengo.convert.export import NengoExport, NengoObject
from keras_spiking_nengo.convert.graph import Edge, Graph, Subnet, Vertex
from keras_spiking_nengo.convert.nengo.components import is_direct, is_plain
from keras_spiking_nengo.engine.frozen import twin
from keras_spiking_nengo.engine.functions import ONE

__all__ = ["write"]


def write(graph: Graph, seed: int | None = None) -> NengoExport:
    """A network with an ensemble, node or connection for each part of `graph`.

    Neurons are ensembles which are connected neuron by neuron, so that no decoder
    is solved for. Inputs are nodes that hold zeros. A bias is the weights of a
    connection from a node that is 1 at every step. Without a synapse, a connection
    has none.

    Args:
        graph: what to write. Networks in it are copied.
        seed: of the network, for random neuron types.
    """
    layers: dict[str, list[NengoObject]] = {}
    with nengo.Network(label=graph.name, seed=seed) as net:
        vertices = _objects(graph)
        for vertex in graph.vertices:
            _note(layers, vertex.layers, vertices[vertex.name])
        for edge in graph.edges:
            _note(layers, edge.layers, _connected(edge, vertices))
        for vertex in graph.vertices:
            if vertex.bias is not None and vertex.neuron_type is None:
                _note(layers, vertex.layers, _bias(vertex, vertices[vertex.name]))
        outputs = {
            port.name: _probe_of(vertices[port.vertex], port.name)
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


def _objects(graph: Graph) -> dict[str, Any]:
    """An ensemble or node of each vertex, by name."""
    inputs = {port.vertex for port in graph.inputs}
    objects: dict[str, Any] = {}
    probes: dict[str, list[nengo.Probe]] = {}
    for vertex in graph.vertices:
        name = vertex.name
        if name in inputs:
            objects[name] = nengo.Node(np.zeros(vertex.size), label=name)
        elif vertex.subnet is not None:
            objects[name], probes[name] = _entered(vertex.subnet, name)
        elif vertex.output is not None:
            hub, i = vertex.output
            probe = probes[hub][i]
            objects[name] = _left(probe, vertex) if is_plain(probe) else probe
        else:
            objects[name] = _object(vertex)
    return objects


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


def _entered(subnet: Subnet, label: str) -> tuple[nengo.Node, list[nengo.Probe]]:
    """Puts a copy of a network where this is called.

    Returns:
        The node that takes all of its inputs, and what its probes were.
    """
    net, copy_of = twin(subnet.net)
    nengo.Network.context[-1].add(net)
    for inner in (net, *net.all_networks):
        inner.probes.clear()
    nodes = [copy_of(node) for node in subnet.inputs]
    for node in nodes:
        # Nengo warns where a size of the output is there already.
        node.size_in, node.size_out = node.size_out, None
        node.output = None
    total = sum(node.size_out for node in nodes)
    entrance, start = nengo.Node(size_in=total, label=label), 0
    for node in nodes:
        stop = start + node.size_out
        nengo.Connection(entrance[start:stop], node, synapse=None)
        start = stop
    return entrance, [copy_of(probe) for probe in subnet.outputs]


def _left(probe: nengo.Probe, vertex: Vertex) -> nengo.Node:
    """A node with what a probe of a network showed."""
    node = nengo.Node(size_in=vertex.size, label=vertex.name)
    decoded = isinstance(probe.obj, nengo.Ensemble) and not is_direct(probe.obj)
    options = {"solver": probe.solver} if decoded else {}
    nengo.Connection(
        probe.target, node, synapse=probe.synapse, label=probe.label, **options
    )
    return node


def _probe_of(thing, label: str) -> nengo.Probe:
    """A probe of an object, or in the place of one that no node can read for."""
    if not isinstance(thing, nengo.Probe):
        return nengo.Probe(_sending(thing), synapse=None, label=label)
    options = {name: getattr(thing, name) for name in ("sample_every", "synapse")}
    if isinstance(thing.obj, nengo.Ensemble):
        options["solver"] = thing.solver
    return nengo.Probe(thing.target, thing.attr, label=label, **options)


def _bias(vertex: Vertex, node: nengo.Node) -> nengo.Node:
    """A node that is 1 at every step, with the bias as weights that can be trained.

    One that held the bias as an array would look like a node for data.
    """
    assert vertex.bias is not None
    label = f"{vertex.name}.bias"
    one = nengo.Node(ONE, label=label)
    weights = nengo.Dense((vertex.size, 1), init=vertex.bias[:, None])
    nengo.Connection(one, node, transform=weights, synapse=None, label=label)
    return one


def _connected(edge: Edge, objects: dict[str, Any]) -> nengo.Connection:
    target = _sending(objects[edge.target])
    if edge.slice is not None:
        where = edge.slice if isinstance(edge.slice, slice) else list(edge.slice)
        target = target[where]
    options = {} if edge.transform is None else {"transform": edge.transform}
    return nengo.Connection(
        _sending(objects[edge.source]),
        target,
        synapse=edge.synapse,
        label="+".join(edge.layers) or None,
        **options,
    )


def _sending(thing):
    return thing.neurons if isinstance(thing, nengo.Ensemble) else thing
