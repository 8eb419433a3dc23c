"""A Nengo network as the graph."""

import re
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import keras
import nengo
import numpy as np
from nengo.builder import Model
from nengo.connection import LearningRule
from nengo.ensemble import Neurons

from keras_spiking_nengo import serialization
from keras_spiking_nengo.convert.export import NengoExport
from keras_spiking_nengo.convert.graph import Graph, Port, Subnet, fold_constants
from keras_spiking_nengo.convert.nengo.collecting import Collection, full
from keras_spiking_nengo.convert.nengo.components import (
    Component,
    apart,
    divided,
    is_direct,
    is_plain,
    owner,
    stays,
    watched,
)
from keras_spiking_nengo.engine.frozen import Freezer, moved, transform_of
from keras_spiking_nengo.engine.functions import is_one
from keras_spiking_nengo.engine.quick_builder import QuickBuilder

__all__ = ["export_of", "read"]


def read(
    net: nengo.Network,
    inputs: Sequence[nengo.Node],
    outputs: Sequence[nengo.Probe],
    dt: float = 0.001,
    cyclic: bool = False,
) -> Graph:
    """The graph of a network, with the numbers that Nengo's builder makes.

    Ensembles and nodes that are on no cycle are vertices; the rest is networks of its
    own. See `convert.nengo.components`.

    Args:
        net: `nengo.Network`; it is not changed.
        inputs: source nodes whose output is given from outside.
        outputs: probes.
        dt: float, seconds.
        cyclic: whether what is on a cycle is vertices, too.

    Raises:
        NotImplementedError: for what has to be a network of its own, if `cyclic`.
    """
    return _reader(net, inputs, outputs, dt, apart if cyclic else divided).graph()


def export_of(
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


def _reader(net, inputs, outputs, dt: float, divide=divided) -> "_Reader":
    model = Model(dt=dt, label=str(net), builder=QuickBuilder())
    model.build(net)
    reader = _Reader(net, model, inputs, outputs, divide(net, inputs, outputs))
    reader.sort_connections()
    reader.sort_probes()
    return reader


class _Reader:
    """Collects vertices and edges.

    Attributes:
        into: where signals go: vertex, and first of its elements, by nengo object.
        sent: where they come from: vertex, by nengo object. What a connection sends
            that stays in a component is kept by the component and what it leads to.
        home: component of each ensemble and node.
        outer: connections from one component to another, which are edges.
        inner: connections that run within a component.
        entered: what others lead to, by component.
        read: what others read, by component: nodes, direct ensembles, and neurons.
        encoded: ensembles that a connection leads to.
        looking: probes that look into a component.
    """

    def __init__(self, net, model: Model, inputs, outputs, components):
        self.net, self.model = net, model
        self.inputs, self.outputs = tuple(inputs), tuple(outputs)
        self.given = frozenset(inputs)
        self.sketch = Collection()
        self.freezer = Freezer(net, model)
        self.into: dict[Any, tuple[str, int]] = {}
        self.sent: dict[Any, str] = {}
        self.components = components
        self.home = {obj: part for part in components for obj in part.objects}
        self.outer: list[nengo.Connection] = []
        self.inner: dict[Component, list[nengo.Connection]] = defaultdict(list)
        self.entered: dict[Component, dict] = defaultdict(dict)
        self.read: dict[Component, dict] = defaultdict(dict)
        self.encoded: set[nengo.Ensemble] = set()
        self.looking: dict[Component, list[nengo.Probe]] = defaultdict(list)

    def sort_connections(self) -> None:
        # Nengo lists them anew each time it is asked.
        for connection in dict.fromkeys(self.net.all_connections):
            pre, post = connection.pre_obj, connection.post_obj
            source, target = self.home[owner(pre)], self.home[_target(connection)]
            if isinstance(post, nengo.Ensemble):
                self.encoded.add(post)
            if source is not target:
                self.entered[target][post] = None
            if not source.simple and (stays(connection) or source is target):
                self.inner[source].append(connection)
            else:
                self.outer.append(connection)
                self.read[source][_sender(pre)] = None

    def sort_probes(self) -> None:
        for probe in self.outputs:
            home = self.home[watched(probe)]
            if is_plain(probe):
                self.read[home][_sender(probe.obj)] = None
            else:
                self.looking[home].append(probe)

    def graph(self) -> Graph:
        for part in self.components:
            if not part.simple:
                self._subnet(part)
            elif isinstance(part.objects[0], nengo.Node):
                self._node(part.objects[0])
            else:
                self._ensemble(part.objects[0])
        for connection in self.outer:
            self._connection(connection)
        self._leaving()
        shown = [self._shown(probe) for probe in self.outputs]
        entered = [self.sent[node] for node in self.inputs]
        graph = Graph(
            name=_as_name(self.net.label or "network"),
            vertices=tuple(self.sketch.ordered()),
            edges=tuple(self.sketch.edges),
            inputs=tuple(Port(name, name, True) for name in entered),
            outputs=tuple(Port(name, name, True) for name in shown),
            dt=self.model.dt,
            keyed=len(shown) > 1,
        )
        graph = fold_constants(graph)
        return graph.only(graph.before([*shown, *entered]))

    # --- what is simple -----------------------------------------------------------

    def _node(self, node: nengo.Node) -> None:
        name, size, output = _as_name(node.label or "node"), node.size_out, node.output
        if not size:
            return
        if node in self.given or output is None:
            name = self.sketch.vertex(name, size)
        elif isinstance(output, nengo.synapses.Synapse):
            name = self.sketch.vertex(name, size, process=output)
        else:
            value = np.ones(size) if is_one(output) else np.broadcast_to(output, size)
            name = self.sketch.vertex(name, size, bias=value.astype(float))
        self.into[node], self.sent[node] = (name, 0), name

    def _ensemble(self, ens: nengo.Ensemble) -> None:
        label = _as_name(ens.label or "ensemble")
        if is_direct(ens):
            name = self.sketch.vertex(label, ens.dimensions)
            self.into[ens], self.sent[ens] = (name, 0), name
            return
        signals = self.model.sig[ens.neurons]
        if ens in self.encoded:
            self.into[ens] = self.sketch.vertex(f"{label}.input", ens.dimensions), 0
        name = self.sketch.vertex(
            label,
            ens.n_neurons,
            neuron_type=_started(ens.neuron_type, signals),
            bias=np.array(signals["bias"].initial_value, float),
        )
        self.into[ens.neurons], self.sent[ens.neurons] = (name, 0), name
        if ens in self.encoded:
            encoders = full(self.model.sig[ens]["encoders"].initial_value)
            self.sketch.edge(
                self.into[ens][0], name, encoders, name=f"{label}.encoders"
            )

    # --- what is a network of its own ---------------------------------------------

    def _subnet(self, part: Component) -> None:
        inner, probes = self.inner[part], self.looking[part]
        net, new = self.freezer.copy([*part.objects, *inner, *probes])
        net.label = "_and_".join(map(_name_of, part.objects[:3]))
        # A function of an input is computed here, and the input itself is given.
        sources = [node for node in part.objects if node in self.given]
        for node in sources:
            label = _as_name(node.label or "input")
            self.sent[node] = self.sketch.vertex(label, node.size_out)
        leaving = dict.fromkeys(
            connection.post_obj
            for connection in inner
            if self.home[_target(connection)] is not part
        )
        with net:
            nodes = {node: new[node] for node in sources}
            nodes |= {post: _door(moved(post, new)) for post in self.entered[part]}
            shown: dict[Any, nengo.Probe] = {
                obj: nengo.Probe(new[obj], label=_name_of(obj))
                for obj in self.read[part]
                if obj not in self.sent
            }
            shown |= {
                (part, post): nengo.Probe(new[post], label=new[post].label)
                for post in leaving
            }
        shown |= {probe: new[probe] for probe in probes}
        self._hub(
            Subnet(net, tuple(nodes.values()), tuple(shown.values())), nodes, shown
        )

    def _hub(self, subnet: Subnet, nodes: dict, shown: dict) -> None:
        """The vertices of a network: what enters it, and each of its outputs."""
        size = sum(node.size_out for node in subnet.inputs)
        hub = self.sketch.vertex(subnet.net.label, size, subnet=subnet)
        start = 0
        for obj, node in nodes.items():
            self.into[obj] = hub, start
            if obj in self.given:
                where = start + np.arange(node.size_out)
                self.sketch.edge(self.sent[obj], hub, where=where)
            start += node.size_out
        for i, (obj, probe) in enumerate(shown.items()):
            size, name = probe.size_in, f"{hub}.{probe.label or i}"
            if isinstance(obj, nengo.Probe):  # of anything, such as weights
                size = self.model.sig[obj]["in"].size
                # It is an output, which is called as those of other probes are.
                name = obj.label or name
            name = _as_name(name)
            self.sent[obj] = self.sketch.vertex(name, size, output=(hub, i))

    def _leaving(self) -> None:
        """Edges from what connections within a component send out of it."""
        for key, name in list(self.sent.items()):
            if isinstance(key, tuple):
                size = self.sketch.vertices[name].size
                self._arrive(name, key[1], None, None, np.arange(size))

    # --- edges --------------------------------------------------------------------

    def _connection(self, connection: nengo.Connection) -> None:
        pre, post = connection.pre_obj, connection.post_obj
        label = _as_name(connection.label or f"{_name_of(pre)}_to_{_name_of(post)}")
        if isinstance(pre, nengo.Ensemble) and not is_direct(pre):
            weights = self.model.sig[connection]["weights"].initial_value
            source, transform = self.sent[pre.neurons], full(weights)
            if connection.solver.weights and isinstance(post, nengo.Ensemble):
                name, start = self.into[post.neurons]
                where = start + np.arange(post.n_neurons)
                synapse = connection.synapse
                self.sketch.edge(source, name, transform, synapse, where, label)
                return
        else:
            source = self.sent[_sender(pre)]
            transform = transform_of(connection, self.model)
            size = self.sketch.vertices[source].size
            elements = np.arange(size)[connection.pre_slice]
            source, transform = self.sketch.picked(source, transform, elements)
        where = np.arange(post.size_in)[connection.post_slice]
        self._arrive(source, post, transform, connection.synapse, where, label)

    def _arrive(self, source, post, transform, synapse, where, label="") -> None:
        """An edge into elements of a nengo object."""
        where = np.atleast_1d(where)
        if isinstance(post, Neurons) and self.home[post.ensemble].simple:
            gain = self.model.params[post.ensemble].gain[where]
            source, transform = self.sketch.scaled(source, transform, gain)
        name, start = self.into[post]
        self.sketch.edge(source, name, transform, synapse, start + where, label)

    # --- outputs ------------------------------------------------------------------

    def _shown(self, probe: nengo.Probe) -> str:
        if not is_plain(probe):
            return self.sent[probe]
        target = probe.obj
        source = self.sent[_sender(target)]
        connection = self.freezer.of_probes.get(probe)
        if connection is not None and _sender(target) is not target:
            weights = self.model.sig[connection]["weights"].initial_value
            transform: Any = full(weights)
        else:
            size = self.sketch.vertices[source].size
            where = slice(None) if probe.slice is None else probe.slice
            elements = np.arange(size)[where]
            source, transform = self.sketch.picked(source, None, elements)
        label = _as_name(probe.label or f"{_name_of(target)}.probe")
        name = self.sketch.vertex(label, probe.size_in)
        self.sketch.edge(source, name, transform, probe.synapse)
        return name


def _target(connection):
    """The ensemble or node that a connection leads to."""
    thing = owner(connection.post_obj)
    return owner(thing.pre_obj) if isinstance(thing, nengo.Connection) else thing


def _sender(obj):
    """What sends the signal that a connection from an object reads."""
    if isinstance(obj, nengo.Ensemble) and not is_direct(obj):
        return obj.neurons
    return obj


def _door(target) -> nengo.Node:
    """A node that takes what comes from outside to an object."""
    node = nengo.Node(np.zeros(target.size_in), label=f"{_name_of(target)} in")
    nengo.Connection(node, target, synapse=None)
    return node


def _name_of(obj) -> str:
    if isinstance(obj, LearningRule):
        return f"{_name_of(obj.connection)}.rule"
    return _as_name(owner(obj).label or type(owner(obj)).__name__.lower())


def _started(neuron_type, signals):
    """A neuron type with the states that were drawn for an ensemble."""
    names = [name for name in neuron_type.state if name in signals]
    if not names:
        return neuron_type
    values = {name: np.array(signals[name].initial_value, float) for name in names}
    return serialization.altered(neuron_type, initial_state=values)


def _as_name(label: str) -> str:
    """A label as Keras takes it for a name."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", label)
