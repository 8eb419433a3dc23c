"""A Nengo network as the graph."""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import keras
import nengo
import numpy as np
from nengo.builder import Model
from nengo.connection import LearningRule
from nengo.ensemble import Neurons

from keras_spiking_nengo import serialization
from keras_spiking_nengo.convert.export import NengoExport
from keras_spiking_nengo.convert.graph import (
    Edge,
    Graph,
    Port,
    Subnet,
    Vertex,
    as_slice,
    layer_name,
)
from keras_spiking_nengo.convert.nengo.components import (
    Part,
    apart,
    is_direct,
    is_plain,
    owner,
    parts,
    stays,
    watched,
)
from keras_spiking_nengo.engine.frozen import freeze, moved, transform_of
from keras_spiking_nengo.engine.signals import probe_connections
from keras_spiking_nengo.graphs import unused

__all__ = ["pair", "read"]


def read(
    net: nengo.Network,
    inputs: Sequence[nengo.Node],
    outputs: Sequence[nengo.Probe],
    dt: float = 0.001,
    cyclic: bool = False,
) -> Graph:
    """The graph of a network, with the numbers that Nengo's builder makes.

    Ensembles and nodes that are on no cycle are vertices; the rest is networks of its
    own. See `convert.parts`.

    Args:
        net: `nengo.Network`; it is not changed.
        inputs: source nodes whose output is given from outside.
        outputs: probes.
        dt: float, seconds.
        cyclic: whether what is on a cycle is vertices, too.

    Raises:
        NotImplementedError: for what has to be a network of its own, if `cyclic`.
    """
    return _reader(net, inputs, outputs, dt, apart if cyclic else parts).graph()


def pair(
    net: nengo.Network,
    model: keras.Model,
    inputs: Sequence[nengo.Node],
    outputs: Sequence[nengo.Probe],
    dt: float = 0.001,
) -> NengoExport:
    """A network as it is, beside the Keras model that was made of it."""
    reader = _reader(net, inputs, outputs, dt)
    graph = reader.graph()
    senders = {name: obj for obj, name in reader.sent.items()}
    vertices = {
        vertex.name: senders[vertex.name].ensemble
        for vertex in graph.vertices
        if vertex.neuron_type is not None
    }
    vertices |= dict(zip((port.vertex for port in graph.inputs), inputs, strict=True))
    return NengoExport(
        net=net,
        inputs=dict(zip((port.name for port in graph.inputs), inputs, strict=True)),
        outputs=dict(zip((port.name for port in graph.outputs), outputs, strict=True)),
        layers={},
        graph=graph,
        vertices=vertices,
        model=model,
    )


def _reader(net, inputs, outputs, dt: float, divide=parts) -> "_Reader":
    model = Model(dt=dt, label=str(net))
    model.build(net)
    return _Reader(net, model, inputs, outputs, divide)


class _Reader:
    """Collects vertices and edges.

    Attributes:
        into: where signals go: vertex, and first of its elements, by nengo object.
        sent: where they come from: vertex, by nengo object. What a connection sends
            that stays in a part is kept by the part and what it leads to.
    """

    def __init__(self, net, model: Model, inputs, outputs, divide):
        self.net, self.model = net, model
        self.inputs, self.outputs = tuple(inputs), tuple(outputs)
        self.vertices: dict[str, Vertex] = {}
        self.layers: set[str] = set()
        self.edges: list[Edge] = []
        self.into: dict[Any, tuple[str, int]] = {}
        self.sent: dict[Any, str] = {}
        self.parts = divide(net, self.inputs, self.outputs)
        self.home = {obj: part for part in self.parts for obj in part.objects}
        self.outer = [c for c in net.all_connections if not self._is_inner(c)]
        self.of_probes = probe_connections(model)

    def graph(self) -> Graph:
        for part in self.parts:
            if not part.simple:
                self._subnet(part)
            elif isinstance(part.objects[0], nengo.Node):
                self._node(part.objects[0])
            else:
                self._ensemble(part.objects[0])
        for connection in self.outer:
            self._connection(connection)
        for part in self.parts:
            self._leaving(part)
        names = [self._shown(probe) for probe in self.outputs]
        self._prune({*names, *(self.sent[node] for node in self.inputs)})
        place = {name: i for i, name in enumerate(self.vertices)}
        self.edges.sort(key=lambda edge: (place[edge.target], place[edge.source]))
        return Graph(
            name=_clean(self.net.label or "network"),
            vertices=tuple(self.vertices.values()),
            edges=tuple(self.edges),
            inputs=tuple(
                Port(name, name, True)
                for name in (self.sent[node] for node in self.inputs)
            ),
            outputs=tuple(Port(name, name, True) for name in names),
            dt=self.model.dt,
            keyed=len(names) > 1,
        )

    def _prune(self, kept: set) -> None:
        """Leaves out what nothing depends on."""
        new = kept
        while new:
            new = {edge.source for edge in self.edges if edge.target in kept}
            new |= {v.output[0] for n in kept if (v := self.vertices[n]).output}
            new -= kept
            kept = kept | new
        self.vertices = {n: v for n, v in self.vertices.items() if n in kept}
        self.edges = [edge for edge in self.edges if edge.target in kept]

    def _vertex(self, name: str, size: int, **attributes) -> str:
        """Adds a vertex; its name, made unique."""
        unique = unused(_clean(name), self.vertices)
        vertex = Vertex(unique, (int(size),), **attributes)
        if not vertex.passes and vertex.output is None:
            layer = unused(layer_name(unique), self.layers)
            self.layers.add(layer)
            vertex = replace(vertex, layers=(layer,))
        self.vertices[unique] = vertex
        return unique

    # --- what is simple -----------------------------------------------------------

    def _node(self, node: nengo.Node) -> None:
        label = node.label or "node"
        if not node.size_out:
            return
        if node.size_in or node in self.inputs or node.output is None:
            process = node.output if node not in self.inputs else None
            name = self._vertex(label, node.size_out, process=process)
        else:
            held = np.broadcast_to(node.output, node.size_out).astype(float)
            name = self._vertex(label, node.size_out, bias=held)
        self.into[node], self.sent[node] = (name, 0), name

    def _ensemble(self, ens: nengo.Ensemble) -> None:
        label = ens.label or "ensemble"
        if is_direct(ens):
            name = self._vertex(label, ens.dimensions)
            self.into[ens], self.sent[ens] = (name, 0), name
            return
        sig = self.model.sig
        if any(c.post_obj is ens for c in self.net.all_connections):
            self.into[ens] = self._vertex(f"{label}.input", ens.dimensions), 0
        name = self._vertex(
            label,
            ens.n_neurons,
            neuron_type=_started(ens.neuron_type, sig[ens.neurons]),
            bias=np.array(sig[ens.neurons]["bias"].initial_value, float),
        )
        self.into[ens.neurons], self.sent[ens.neurons] = (name, 0), name
        if ens in self.into:
            encoders = np.array(sig[ens]["encoders"].initial_value, float)
            self._edge(
                self.into[ens][0],
                name,
                _dense(encoders),
                label=f"{label}.encoders",
            )

    # --- what is a network of its own ---------------------------------------------

    def _is_inner(self, connection) -> bool:
        part = self.home[owner(connection.pre_obj)]
        if part.simple:
            return False
        return stays(connection) or self.home[_target(connection)] is part

    def _subnet(self, part: Part) -> None:
        inner = [
            connection
            for connection in self.net.all_connections
            if self.home[owner(connection.pre_obj)] is part
            and self._is_inner(connection)
        ]
        probes = [
            probe
            for probe in self.outputs
            if not is_plain(probe) and self.home[watched(probe)] is part
        ]
        only = {*part.objects, *inner, *probes}
        net, new = freeze(self.net, self.model, only=only)
        net.label = "_and_".join(
            _clean(obj.label or type(obj).__name__.lower()) for obj in part.objects[:3]
        )
        given = dict.fromkeys(
            connection.post_obj
            for connection in self.net.all_connections
            if self.home[_target(connection)] is part
            and self.home[owner(connection.pre_obj)] is not part
        )
        leaving = [
            connection.post_obj
            for connection in inner
            if self.home[_target(connection)] is not part
        ]
        # A function of an input is computed here, and the input itself is given.
        sources = [node for node in part.objects if node in self.inputs]
        for node in sources:
            self.sent[node] = self._vertex(node.label or "input", node.size_out)
        with net:
            nodes = {node: new[node] for node in sources}
            nodes |= {post: _entrance(moved(post, new)) for post in given}
            shown = {
                obj: nengo.Probe(new[obj], label=_name(obj))
                for obj in self._sends(part)
            } | {
                (id(part), post): nengo.Probe(new[post], label=new[post].label)
                for post in dict.fromkeys(leaving)
            }
        shown |= {probe: new[probe] for probe in probes}
        hub = self._vertex(
            net.label,
            sum(node.size_out for node in nodes.values()),
            subnet=Subnet(net, tuple(nodes.values()), tuple(shown.values())),
        )
        start = 0
        for post, node in nodes.items():
            self.into[post] = hub, start
            if post in sources:
                where = start + np.arange(node.size_out)
                self._edge(self.sent[post], hub, None, None, where)
            start += node.size_out
        for i, (key, probe) in enumerate(shown.items()):
            label, size = f"{hub}.{probe.label or i}", probe.size_in
            if isinstance(key, nengo.Probe):  # of anything, such as weights
                size = self.model.sig[key]["in"].size
            self.sent[key] = self._vertex(label, size, output=(hub, i))

    def _sends(self, part: Part) -> list:
        """What others read of a part: nodes, direct ensembles, and neurons."""
        read = [connection.pre_obj for connection in self.outer]
        read += [probe.obj for probe in self.outputs if is_plain(probe)]
        found = [_sender(obj) for obj in read if self.home.get(owner(obj)) is part]
        return [obj for obj in dict.fromkeys(found) if obj not in self.sent]

    def _leaving(self, part: Part) -> None:
        """Edges from what connections within a part send out of it."""
        for key, name in list(self.sent.items()):
            if isinstance(key, tuple) and key[0] == id(part):
                post = key[1]
                size = self.vertices[name].size
                self._arrive(name, post, None, None, np.arange(size), None)

    # --- edges --------------------------------------------------------------------

    def _connection(self, connection: nengo.Connection) -> None:
        pre, post = connection.pre_obj, connection.post_obj
        label = connection.label or f"{_name(pre)}_to_{_name(post)}"
        if isinstance(pre, nengo.Ensemble) and not is_direct(pre):
            weights = self.model.sig[connection]["weights"].initial_value
            source, transform = self.sent[pre.neurons], _dense(weights)
            if connection.solver.weights and isinstance(post, nengo.Ensemble):
                name, start = self.into[post.neurons]
                where = start + np.arange(post.n_neurons)
                self._edge(source, name, transform, connection.synapse, where, label)
                return
        else:
            source = self.sent[_sender(pre)]
            transform = transform_of(connection, self.model)
            taken = np.arange(self.vertices[source].size)[connection.pre_slice]
            source, transform = self._taken(source, transform, taken)
        where = np.arange(post.size_in)[connection.post_slice]
        self._arrive(source, post, transform, connection.synapse, where, label)

    def _arrive(self, source, post, transform, synapse, where, label) -> None:
        """An edge into elements of a nengo object."""
        where = np.atleast_1d(where)
        if isinstance(post, Neurons) and self.home[post.ensemble].simple:
            gain = self.model.params[post.ensemble].gain[where]
            source, transform = self._scaled(source, transform, gain)
        name, start = self.into[post]
        self._edge(source, name, transform, synapse, start + where, label)

    def _edge(self, source, target, transform, synapse=None, where=None, label=None):
        size = self.vertices[target].size
        everything = where is None or np.array_equal(where, np.arange(size))
        self.edges.append(
            Edge(
                source,
                target,
                transform=transform,
                synapse=synapse,
                slice=None if everything else as_slice(where),
                layers=() if label is None else (_clean(label),),
            )
        )

    def _taken(self, source, transform, taken):
        """A transform of some elements of a source, as one of all of them."""
        size = self.vertices[source].size
        if np.array_equal(taken, np.arange(size)):
            return source, transform
        picks = np.eye(size)[np.atleast_1d(taken)]
        if transform is None:
            return source, _dense(picks)
        if isinstance(transform, nengo.Dense):
            return source, _dense(_matrix(transform) @ picks)
        return self._between(source, _dense(picks)), transform

    def _scaled(self, source, transform, gain):
        """A transform times gains."""
        scale = nengo.Dense((len(gain), len(gain)), init=gain)
        if transform is None:
            return source, scale
        if isinstance(transform, nengo.Dense):
            return source, _dense(gain[:, None] * _matrix(transform))
        return self._between(source, transform), scale

    def _between(self, source, transform) -> str:
        """A vertex with what a transform makes of a source."""
        name = self._vertex(f"{source}.part", transform.size_out)
        # Before all that may read it.
        names = list(self.vertices)
        names.insert(names.index(source) + 1, names.pop())
        self.vertices = {name: self.vertices[name] for name in names}
        self._edge(source, name, transform)
        return name

    # --- outputs ------------------------------------------------------------------

    def _shown(self, probe: nengo.Probe) -> str:
        if not is_plain(probe):
            return self.sent[probe]
        target = probe.obj
        source = self.sent[_sender(target)]
        if probe in self.of_probes and _sender(target) is not target:
            connection = self.of_probes[probe]
            weights = self.model.sig[connection]["weights"].initial_value
            transform: Any = _dense(weights)
        else:
            size = self.vertices[source].size
            where = slice(None) if probe.slice is None else probe.slice
            source, transform = self._taken(source, None, np.arange(size)[where])
        label = probe.label or f"{_name(target)}.probe"
        name = self._vertex(label, probe.size_in)
        self._edge(source, name, transform, probe.synapse)
        return name


def _target(connection):
    """The ensemble or node that a connection leads to."""
    found = owner(connection.post_obj)
    return owner(found.pre_obj) if isinstance(found, nengo.Connection) else found


def _sender(obj):
    """What sends the signal that a connection from an object reads."""
    if isinstance(obj, nengo.Ensemble) and not is_direct(obj):
        return obj.neurons
    return obj


def _entrance(target) -> nengo.Node:
    node = nengo.Node(np.zeros(target.size_in), label=f"{_name(target)} in")
    nengo.Connection(node, target, synapse=None)
    return node


def _name(obj) -> str:
    if isinstance(obj, LearningRule):
        return f"{_name(obj.connection)}.rule"
    return _clean(owner(obj).label or type(owner(obj)).__name__.lower())


def _started(neuron_type, signals):
    """A neuron type with the states that were drawn for an ensemble."""
    names = [name for name in neuron_type.state if name in signals]
    if not names:
        return neuron_type
    values = {name: np.array(signals[name].initial_value, float) for name in names}
    return serialization.altered(neuron_type, initial_state=values)


def _dense(matrix) -> nengo.Dense:
    matrix = np.atleast_2d(np.asarray(matrix, float))
    return nengo.Dense(matrix.shape, init=matrix)


def _matrix(transform: nengo.Dense) -> np.ndarray:
    """All of a dense transform's numbers."""
    init = np.asarray(transform.init, float)
    return init if init.ndim == 2 else np.eye(transform.shape[0]) * init


def _clean(label: str) -> str:
    """A label as Keras takes it for a name."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", label)
