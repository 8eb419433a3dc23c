"""The graph as a functional Keras model."""

from collections.abc import Sequence
from typing import Any

import keras
import nengo
import numpy as np

from keras_spiking_nengo import layers
from keras_spiking_nengo.convert.graph import Edge, Graph, Vertex, layer_name
from keras_spiking_nengo.convert.nengo.reading import read
from keras_spiking_nengo.graphs import unused
from keras_spiking_nengo.layers.ports import Ports, held

__all__ = ["from_nengo", "ports_of", "write"]


def from_nengo(
    net: nengo.Network,
    inputs: Any = None,
    outputs: Any = None,
    dt: float = 0.001,
    layered: bool = True,
) -> keras.Model:
    """A `nengo.Network` as a functional Keras model that gives the same numbers.

    What is on no cycle becomes ordinary layers, named after Nengo's labels, which run
    for all steps at once: `Dense` for encoders, decoders and other weights,
    `Transform`, `Synapse` and `Neurons`. What runs in a circle, learns online, calls
    Python or is random becomes `Network` layers.

    Args:
        net: `nengo.Network`; it is not changed.
        inputs: source nodes whose output the data replace, or their labels: one, a
            list, or a dict by name. Defaults to those whose output is an array.
        outputs: probes, or their labels, in the same way. Defaults to all.
        dt: float, seconds. Length of one step.
        layered: bool. False makes the whole network one `Network` layer.

    Returns:
        A `keras.Model` from `(batch, time, size)` to `(batch, time, size)`, by name
        where there are several.

    Raises:
        BuildError: for what Nengo's builder refuses.
        ValueError, TypeError: for inputs and outputs that are not in the network.

    Example:
        >>> import nengo, numpy as np, keras_spiking_nengo as ksn
        >>> with nengo.Network(seed=0) as net:
        ...     stimulus = nengo.Node([0.0], label="stimulus")
        ...     ens = nengo.Ensemble(50, 1, label="ens")
        ...     c = nengo.Connection(stimulus, ens)
        ...     probe = nengo.Probe(ens, synapse=0.01, label="estimate")
        >>> model = ksn.from_nengo(net)
        >>> model(np.ones((1, 20, 1))).shape == (1, 20, 1)
        True
        >>> [layer.name for layer in model.layers][1:4]
        ['stimulus_to_ens_synapse', 'ens_encoders', 'ens']
    """
    if not isinstance(net, nengo.Network):
        raise TypeError(f"net is a nengo.Network; received {net!r}.")
    ports = ports_of(net, inputs, outputs)
    if layered:
        return write(read(net, ports.nodes, ports.probes, dt))
    layer = layers.Network(net, ports.inputs, ports.outputs, dt, return_sequences=True)
    given = [keras.Input((None, node.size_out)) for node in ports.nodes]
    if isinstance(ports.inputs, dict):
        x: Any = dict(zip(ports.inputs, given, strict=True))
    elif isinstance(ports.inputs, list):
        x = given or keras.Input((None, 1))
    else:
        (x,) = given
    return keras.Model(x, layer(x))


def ports_of(net: nengo.Network, inputs: Any, outputs: Any) -> Ports:
    """The inputs and outputs that `from_nengo` gives the model of a network."""
    inputs = held(net) if inputs is None else inputs
    return Ports(net, inputs, outputs)


def write(graph: Graph) -> keras.Model:
    """A functional model with a layer for each part of `graph`, over time.

    Args:
        graph: what `convert.nengo.read` returned.
    """
    return _Writer(graph).model()


class _Writer:
    """Makes the tensors of a graph's vertices, sources first.

    Attributes:
        tensors: by vertex.
        sent: outputs of networks, by the vertex that holds the network.
    """

    def __init__(self, graph: Graph):
        self.graph = graph
        self.taken = {port.name for port in graph.inputs}
        # Those of what has a layer of its own come first.
        self.taken |= {name for vertex in graph.vertices for name in vertex.layers}
        self.tensors: dict[str, Any] = {}
        self.sent: dict[str, list] = {}
        self.inputs: dict[str, Any] = {}
        for port in graph.inputs:
            shape = (None, graph[port.vertex].size)
            # Keras wants the name of an input and its key in a dict to be one.
            self.inputs[port.name] = keras.Input(shape, name=port.name)
            self.tensors[port.vertex] = self.inputs[port.name]
        if not self.inputs:
            # Tells the number of steps.
            self.inputs["clock"] = keras.Input((None, 1), name=self._name("clock"))
        self.clock = next(iter(self.inputs.values()))

    def model(self) -> keras.Model:
        for vertex in self.graph.vertices:
            if vertex.name not in self.tensors:
                self.tensors[vertex.name] = self._tensor(vertex)
        outputs = {p.name: self.tensors[p.vertex] for p in self.graph.outputs}
        inputs = list(self.inputs.values())
        return keras.Model(
            self.inputs if len(inputs) > 1 else inputs[0],
            outputs if self.graph.keyed else next(iter(outputs.values())),
            name=self.graph.name,
        )

    def _name(self, name: str) -> str:
        """A layer's name, made unique."""
        unique = unused(layer_name(name), self.taken)
        self.taken.add(unique)
        return unique

    # --- vertices -----------------------------------------------------------------

    def _tensor(self, vertex: Vertex):
        name, dt = vertex.name, self.graph.dt
        if vertex.output is not None:
            hub, i = vertex.output
            return self.sent[hub][i]
        edges = [edge for edge in self.graph.edges if edge.target == name]
        if vertex.subnet is not None:
            self.sent[name] = self._network(vertex, edges)
            return None
        total = self._sum(name, edges, vertex.size, vertex.bias)
        if vertex.neuron_type is not None:
            neurons = layers.Neurons(
                vertex.neuron_type, dt=dt, return_sequences=True, name=vertex.layers[0]
            )
            return neurons(total)
        if vertex.process is not None:
            synapse = layers.Synapse(
                vertex.process,
                dt=dt,
                delay=0,
                return_sequences=True,
                name=vertex.layers[0],
            )
            return synapse(total)
        return total

    def _network(self, vertex: Vertex, edges: Sequence[Edge]) -> list:
        subnet, given, start = vertex.subnet, [], 0
        assert subnet is not None
        for node in subnet.inputs:
            within = range(start, start + node.size_out)
            own = [e for e in edges if {*_places(e, vertex.size)} <= {*within}]
            bias = None if vertex.bias is None else vertex.bias[within]
            name = f"{vertex.name}.{node.label}"
            given.append(self._sum(name, own, node.size_out, bias, start))
            start += node.size_out
        layer = layers.Network(
            subnet.net,
            inputs=list(subnet.inputs),
            outputs=list(subnet.outputs),
            dt=self.graph.dt,
            return_sequences=True,
            name=vertex.layers[0],
        )
        return list(layer(given if given else self._ticks()))

    def _ticks(self):
        """A sequence of one value, for what has no input."""
        if self.clock.shape[-1] == 1:
            return self.clock
        return self._numbers(
            nengo.Dense((1, self.clock.shape[-1]), np.zeros((1, self.clock.shape[-1]))),
            "ticks",
        )

    def _numbers(self, transform, name: str, bias=None, x=None):
        """A `Transform` with given numbers, of a tensor or of the clock."""
        layer = layers.Transform(
            transform, use_bias=bias is not None, name=self._name(name)
        )
        y = layer(self.clock if x is None else x)
        if layer.bias is not None:
            layer.bias.assign(bias)
        return y

    # --- edges --------------------------------------------------------------------

    def _sum(self, name, edges: Sequence[Edge], size, bias=None, start: int = 0):
        """What edges add up to, in `size` elements of the target from `start`."""
        if not edges:
            zeros = np.zeros((size, self.clock.shape[-1]))
            constant = np.zeros(size) if bias is None else bias
            transform = nengo.Dense(zeros.shape, init=zeros)
            return self._numbers(transform, f"{name}.constant", constant)
        places = [np.array(_places(edge, start + size), int) - start for edge in edges]
        side_by_side = len(edges) > 1 and np.array_equal(
            np.concatenate(places), np.arange(size)
        )
        terms = []
        for edge, where in zip(edges, places, strict=True):
            whole = side_by_side or np.array_equal(where, np.arange(size))
            spread = None if whole else (where, size)
            alone = len(edges) == 1 and edge.synapse is None
            takes = alone and (spread is not None or _is_matrix(edge.transform))
            terms.append(self._term(edge, spread, bias if takes else None))
            bias = None if takes else bias
        if len(terms) > 1:
            kind = keras.layers.Concatenate if side_by_side else keras.layers.Add
            suffix = "joined" if side_by_side else "sum"
            total = kind(name=self._name(f"{name}.{suffix}"))(terms)
        else:
            (total,) = terms
        if bias is not None:
            identity = nengo.transforms.NoTransform(size)
            total = self._numbers(identity, f"{name}.bias", bias, total)
        return total

    def _term(self, edge: Edge, spread, bias):
        """What one edge adds.

        Args:
            edge: the edge.
            spread: elements that it adds to, and their number, if not to all.
            bias: added by the matrix that the transform is or becomes.
        """
        x, transform = self.tensors[edge.source], edge.transform
        name = "+".join(edge.layers) or f"{edge.source}_to_{edge.target}"
        if spread is not None:
            where, size = spread
            rows = np.eye(size)[:, where]
            if transform is not None and _is_matrix(transform):
                transform = nengo.Dense(
                    (size, transform.size_in), init=rows @ transform.init
                )
            elif transform is None:
                transform = nengo.Dense(rows.shape, init=rows)
            else:
                x = self._transformed(x, transform, name, None)
                transform = nengo.Dense(rows.shape, init=rows)
        if transform is not None:
            x = self._transformed(x, transform, name, bias)
        if edge.synapse is None:
            return x
        synapse = layers.Synapse(
            edge.synapse,
            dt=self.graph.dt,
            return_sequences=True,
            name=self._name(f"{name}.synapse"),
        )
        return synapse(x)

    def _transformed(self, x, transform, name: str, bias):
        if not _is_matrix(transform):
            return self._numbers(transform, name, None, x)
        layer = keras.layers.Dense(
            transform.size_out, use_bias=bias is not None, name=self._name(name)
        )
        y = layer(x)
        weights = [np.asarray(transform.init, float).T]
        layer.set_weights(weights if bias is None else [*weights, bias])
        return y


def _places(edge: Edge, size: int) -> list[int]:
    """The target's elements that an edge adds to."""
    if edge.slice is None:
        return list(range(size))
    if isinstance(edge.slice, slice):
        return list(range(size)[edge.slice])
    return list(edge.slice)


def _is_matrix(transform) -> bool:
    return isinstance(transform, nengo.Dense) and np.ndim(transform.init) == 2
