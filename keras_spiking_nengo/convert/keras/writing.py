"""The graph as a functional Keras model."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import keras
import nengo
import numpy as np

from keras_spiking_nengo import layers
from keras_spiking_nengo.checks import check_switches, checked_dt
from keras_spiking_nengo.convert.composition import has_matrix, matrix_of
from keras_spiking_nengo.convert.graph import (
    Edge,
    Graph,
    Names,
    Subnet,
    Vertex,
    places_of,
)
from keras_spiking_nengo.convert.nengo.reading import read
from keras_spiking_nengo.layers.ports import Ports, held
from keras_spiking_nengo.names import keras_name

__all__ = ["from_nengo", "model_ports", "write"]

# An edge, and the elements that it adds to.
Term: TypeAlias = tuple[Edge, np.ndarray]


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
    dt = checked_dt(dt)
    check_switches(layered=layered)
    ports = model_ports(net, inputs, outputs)
    if layered:
        return write(read(net, ports.nodes, ports.probes, dt))
    layer = layers.Network(net, ports.inputs, ports.outputs, dt, return_sequences=True)
    tensors = [keras.Input((None, node.size_out)) for node in ports.nodes]
    if isinstance(ports.inputs, dict):
        x: Any = dict(zip(ports.inputs, tensors, strict=True))
    elif isinstance(ports.inputs, list):
        x = tensors or keras.Input((None, 1))
    else:
        (x,) = tensors
    return keras.Model(x, layer(x))


def model_ports(net: nengo.Network, inputs: Any, outputs: Any) -> Ports:
    """The inputs and outputs that `from_nengo` gives the model of a network."""
    inputs = held(net) if inputs is None else inputs
    return Ports(net, inputs, outputs)


def write(graph: Graph) -> keras.Model:
    """A functional model with a layer for each part of `graph`, over time.

    Args:
        graph: what `convert.nengo.read` returned.
    """
    return _Tensors(graph).model()


# Of a connection: what neurons send arrives a step later.
_NO_MEMORY = nengo.Lowpass(0)


class _Tensors:
    """Makes the tensors of a graph's vertices, sources first.

    Attributes:
        of: by vertex.
        sent: outputs of networks, by the vertex that holds the network.
    """

    def __init__(self, graph: Graph):
        self.graph = graph
        # Those of what has a layer of its own come first.
        layered = (name for vertex in graph.vertices for name in vertex.layers)
        self.names = Names([*(port.name for port in graph.inputs), *layered])
        self.of: dict[str, Any] = {}
        self.sent: dict[str, list] = {}
        self.inputs: dict[str, Any] = {}
        for port in graph.inputs:
            shape = (None, graph[port.vertex].size)
            # Keras wants the name of an input and its key in a dict to be one.
            self.inputs[port.name] = keras.Input(shape, name=port.name)
            self.of[port.vertex] = self.inputs[port.name]
        if not self.inputs:
            # Tells the number of steps.
            self.inputs["clock"] = keras.Input((None, 1), name=self._name("clock"))
        self.clock = next(iter(self.inputs.values()))

    def model(self) -> keras.Model:
        for vertex in self.graph.vertices:
            if vertex.name not in self.of:
                self.of[vertex.name] = self._tensor(vertex)
        outputs = {port.name: self.of[port.vertex] for port in self.graph.outputs}
        inputs = list(self.inputs.values())
        # Keras follows a model from its outputs, one call deeper at each layer.
        with _depth(len(self.graph.vertices) + 2 * len(self.graph.edges)):
            return keras.Model(
                self.inputs if len(inputs) > 1 else inputs[0],
                outputs if self.graph.keyed else next(iter(outputs.values())),
                name=self.graph.name,
            )

    def _name(self, name: str) -> str:
        """A layer's name, made unique."""
        return self.names.new(keras_name(name))

    # --- vertices -----------------------------------------------------------------

    def _tensor(self, vertex: Vertex):
        if vertex.output is not None:
            hub, i = vertex.output
            return self.sent[hub][i]
        if vertex.subnet is not None:
            self.sent[vertex.name] = self._network(vertex, vertex.subnet)
            return None
        x = self._summed(vertex)
        dt = self.graph.dt
        if vertex.neuron_type is not None:
            return self._neurons(vertex, x)
        if vertex.process is not None:
            options: dict[str, Any] = {"dt": dt, "delay": 0, "return_sequences": True}
            name = vertex.layers[0]
            return layers.Synapse(vertex.process, name=name, **options)(x)
        return x

    def _neurons(self, vertex: Vertex, x):
        """What neurons make of their input, and of what they send themselves."""
        back = [e for e in self.graph.into[vertex.name] if e.source == vertex.name]
        options: dict[str, Any] = {
            "dt": self.graph.dt,
            "return_sequences": True,
            "name": vertex.layers[0],
        }
        if not back:
            return layers.Neurons(vertex.neuron_type, **options)(x)
        (edge,) = back
        layer = layers.RecurrentNeurons(
            vertex.neuron_type,
            recurrent_initializer="zeros",
            recurrent_synapse=None if edge.synapse == _NO_MEMORY else edge.synapse,
            **options,
        )
        y, cell = layer(x), layer.cell
        weights = np.zeros((vertex.size, vertex.size))
        weights[places_of(edge, vertex.size)] = matrix_of(edge.transform)
        heights = keras.ops.convert_to_numpy(cell.spikes_per_output())
        cell.recurrent_kernel.assign(weights.T / heights)
        return y

    def _summed(self, vertex: Vertex):
        """What goes into a vertex from others, times its gain, and its bias."""
        size = vertex.size
        edges = [e for e in self.graph.into[vertex.name] if e.source != vertex.name]
        terms = [(edge, places_of(edge, size)) for edge in edges]
        if vertex.gain is None or not edges:
            return self._sum(vertex.name, terms, size, vertex.bias)
        total = self._sum(vertex.name, terms, size)
        gain = nengo.Dense((size, size), init=np.broadcast_to(vertex.gain, size))
        return self._transform(gain, f"{vertex.name}.gain", vertex.bias, total)

    def _network(self, vertex: Vertex, subnet: Subnet) -> list:
        sizes = [node.size_out for node in subnet.inputs]
        starts = np.concatenate([[0], np.cumsum(sizes)]).astype(int)
        terms: list[list[Term]] = [[] for _ in sizes]
        for edge in self.graph.into[vertex.name]:
            places = places_of(edge, vertex.size)
            # Each edge is to one of the nodes.
            number = int(np.searchsorted(starts, places[0], "right")) - 1
            terms[number].append((edge, places - starts[number]))
        inputs = []
        nodes = zip(subnet.inputs, starts, sizes, terms, strict=False)
        for node, start, size, entering in nodes:
            bias = None if vertex.bias is None else vertex.bias[start : start + size]
            name = f"{vertex.name}.{node.label}"
            inputs.append(self._sum(name, entering, size, bias))
        ends = list(subnet.inputs), list(subnet.outputs), self.graph.dt
        options: dict[str, Any] = {"return_sequences": True, "name": vertex.layers[0]}
        layer = layers.Network(subnet.net, *ends, **options)
        return list(layer(inputs if inputs else self._ticks()))

    def _ticks(self):
        """A sequence of one value, for what has no input."""
        size = self.clock.shape[-1]
        if size == 1:
            return self.clock
        zeros = nengo.Dense((1, size), np.zeros((1, size)))
        return self._transform(zeros, "ticks")

    def _transform(self, transform, name: str, bias=None, x=None):
        """A `Transform` with given numbers, of a tensor or of the clock."""
        layer = layers.Transform(
            transform, use_bias=bias is not None, name=self._name(name)
        )
        y = layer(self.clock if x is None else x)
        if layer.bias is not None:
            layer.bias.assign(bias)
        return y

    # --- edges --------------------------------------------------------------------

    def _sum(self, name: str, terms: Sequence[Term], size: int, bias=None):
        """What edges add up to in `size` elements, each with those it adds to."""
        if not terms:
            zeros = np.zeros((size, self.clock.shape[-1]))
            constant = np.zeros(size) if bias is None else bias
            transform = nengo.Dense(zeros.shape, init=zeros)
            return self._transform(transform, f"{name}.constant", constant)
        everything = np.arange(size)
        side_by_side = len(terms) > 1 and np.array_equal(
            np.concatenate([places for _, places in terms]), everything
        )
        tensors = []
        for edge, places in terms:
            whole = side_by_side or np.array_equal(places, everything)
            spread = None if whole else (places, size)
            alone = len(terms) == 1 and edge.synapse is None
            takes = alone and (spread is not None or has_matrix(edge.transform))
            tensors.append(self._term(edge, spread, bias if takes else None))
            bias = None if takes else bias
        if len(tensors) > 1:
            kind = keras.layers.Concatenate if side_by_side else keras.layers.Add
            suffix = "joined" if side_by_side else "sum"
            total = kind(name=self._name(f"{name}.{suffix}"))(tensors)
        else:
            (total,) = tensors
        if bias is not None:
            identity = nengo.transforms.NoTransform(size)
            total = self._transform(identity, f"{name}.bias", bias, total)
        return total

    def _term(self, edge: Edge, spread, bias):
        """What one edge adds.

        Args:
            edge: the edge.
            spread: elements that it adds to, and their number, if not to all.
            bias: added by the matrix that the transform is or becomes.
        """
        x, transform = self.of[edge.source], edge.transform
        name = "+".join(edge.layers) or f"{edge.source}_to_{edge.target}"
        if spread is not None:
            places, size = spread
            rows = np.eye(size)[:, places]
            if transform is not None and has_matrix(transform):
                rows = rows @ transform.init
            elif transform is not None:
                x = self._transformed(x, transform, name, None)
            transform = nengo.Dense(rows.shape, init=rows)
        if transform is not None:
            x = self._transformed(x, transform, name, bias)
        if edge.synapse is None:
            return x
        name = self._name(f"{name}.synapse")
        dt = self.graph.dt
        return layers.Synapse(edge.synapse, dt, return_sequences=True, name=name)(x)

    def _transformed(self, x, transform, name: str, bias):
        if not has_matrix(transform):
            return self._transform(transform, name, None, x)
        layer = keras.layers.Dense(
            transform.size_out, use_bias=bias is not None, name=self._name(name)
        )
        # Drawing numbers first takes longer than all else that Keras does here.
        drawn = layer.kernel_initializer
        layer.kernel_initializer = _holding(np.asarray(transform.init).T)
        y = layer(x)
        layer.kernel_initializer = drawn
        if bias is not None:
            layer.bias.assign(bias)
        return y


@contextmanager
def _depth(calls: int) -> Iterator[None]:
    """Lets Python go so many calls deeper than it does."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(before + calls)
    try:
        yield
    finally:
        sys.setrecursionlimit(before)


def _holding(values: np.ndarray):
    """An initializer that gives these values."""
    return lambda shape, dtype=None: keras.ops.convert_to_tensor(values, dtype)
