"""A NIR graph as a functional Keras model over time."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np

from keras_spiking_nengo import layers
from keras_spiking_nengo.convert.graph import Edge, Graph, layer_name
from keras_spiking_nengo.convert.keras.reading import read
from keras_spiking_nengo.convert.nengo.writing import write
from keras_spiking_nengo.convert.nir.cycles import backward
from keras_spiking_nengo.convert.nir.primitives import (
    MEMBRANES,
    channels_last,
    number_or_array,
)
from keras_spiking_nengo.convert.nir.shapes import Flat, kind, pair
from keras_spiking_nengo.convert.nir.signals import images
from keras_spiking_nengo.convert.rules.sequences import pure_delay
from keras_spiking_nengo.graphs import components
from keras_spiking_nengo.graphs import unused as unused_name
from keras_spiking_nengo.types import Threshold

__all__ = ["Options", "model_of"]

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Options:
    """How neurons are stepped.

    Attributes:
        dt: seconds.
        discretization: `"exact"` or `"euler"`, where a node does not say.
        reset: `"value"` or `"subtract"`, likewise.
    """

    dt: float
    discretization: str
    reset: str

    def of(self, node) -> dict[str, str]:
        """The options of a node: what it says of itself, else these."""
        said = node.metadata if isinstance(node.metadata, Mapping) else {}
        names = ["discretization"]
        if hasattr(node, "v_threshold"):
            names.append("reset")
        return {name: str(said.get(name, getattr(self, name))) for name in names}


def model_of(flat: Flat, name: str, options: Options) -> keras.Model:
    """The model of a checked graph."""
    writer = _Writer(flat, options)
    inputs = {n: writer.enter(n) for n in flat.inputs}
    for members in components(sorted(flat.nodes), flat.edges):
        writer.add(members)
    outputs: dict[str, Any] = {}
    for n in flat.outputs:
        outputs[unused_name(layer_name(n), outputs)] = writer.total(n)
    given = list(inputs.values())
    return keras.Model(
        {tensor.name: tensor for tensor in given} if len(given) > 1 else given[0],
        outputs if len(outputs) > 1 else next(iter(outputs.values())),
        name=layer_name(name),
    )


class _Writer:
    """Makes the tensors of the nodes, `(batch, time, *shape)`, sources first.

    Attributes:
        tensors: what a node sends.
        orders: of what was flattened and not put into NIR's order, for each element
            of Keras's its number in NIR.
    """

    def __init__(self, flat: Flat, options: Options):
        self.flat = flat
        self.options = options
        self.tensors: dict[str, Any] = {}
        self.orders: dict[str, np.ndarray] = {}
        self.taken: set[str] = set()

    def unique(self, name: str) -> str:
        """A name for a layer."""
        name = unused_name(layer_name(name), self.taken)
        self.taken.add(name)
        return name

    def shape(self, name: str) -> Shape:
        """What a node sends, as Keras has it."""
        return channels_last(self.flat.shapes[name])

    def permutes_kernels(self, name: str) -> bool:
        """Whether all that a node leads to are kernels, which can take any order."""
        after = self.flat.after(name)
        return bool(after) and all(
            kind(self.flat.nodes[b]) in ("Affine", "Linear")
            and self.flat.before(b) == [name]
            for b in after
        )

    def enter(self, name: str):
        """A `keras.Input` for what a node sends."""
        shape = (None, *self.shape(name))
        self.tensors[name] = keras.Input(shape, name=self.unique(name))
        return self.tensors[name]

    def total(self, name: str):
        """The sum of what leads to a node."""
        terms = [self.tensors[source] for source in self.flat.before(name)]
        return self.summed(f"{name}_sum", terms)

    def add(self, members: list[str]) -> None:
        """Adds the nodes of one component."""
        (name, *others) = members
        if others or (name, name) in self.flat.edges:
            self._network(members)
        elif name not in self.tensors and name not in self.flat.outputs:
            self.node(name)

    def node(self, name: str) -> None:
        """Adds one node, whose sources are there."""
        make = _MAKERS[kind(self.flat.nodes[name])]
        self.tensors[name] = make(self, name, self.total(name))

    # --- cycles -------------------------------------------------------------------

    def _network(self, members: list[str]) -> None:
        """Adds a component as one layer: a Nengo network of what its nodes are."""
        flat = self.flat
        delays = {
            n
            for n in members
            if kind(flat.nodes[n]) == "Delay"
            and np.all(np.asarray(flat.nodes[n].delay) > self.options.dt / 2)
        }
        back = backward(members, flat.edges, delays)
        inner = _Inner(flat, self.options, members, delays, back)
        model, entering, leaving = inner.model()
        graph = _closed(read(model), inner.returning())
        export = write(graph)
        layer = layers.Network(
            export.net,
            inputs=[export.inputs[name] for name in entering],
            outputs=[export.outputs[name] for name in leaving],
            dt=self.options.dt,
            return_sequences=True,
            name=self.unique("_and_".join(members[:3])),
        )
        given = []
        for name in entering.values():
            sources = [a for a in flat.before(name) if a not in members]
            x = self.summed(f"{name}_sum", [self.tensors[a] for a in sources])
            size = (math.prod(x.shape[2:]),)
            given.append(self.reshaped(f"{name}_flat", x, size))
        for name, y in zip(leaving.values(), layer(given), strict=True):
            self.tensors[name] = self.reshaped(f"{name}_image", y, self.shape(name))

    def summed(self, name: str, terms: list):
        """The sum of tensors, of which there may be one."""
        if len(terms) == 1:
            return terms[0]
        return keras.layers.Add(name=self.unique(name))(terms)

    def reshaped(self, name: str, x, shape: Shape):
        """Each step in another shape."""
        if tuple(x.shape[2:]) == shape:
            return x
        layer = keras.layers.Reshape(shape)
        return layers.PerStep(layer, name=self.unique(name))(x)


class _Inner(_Writer):
    """The nodes of a component, cut open where edges lead back."""

    def __init__(self, flat, options, members, delays, back):
        super().__init__(flat, options)
        self.members, self.delays, self.back = members, delays, back
        self.entries: dict[str, Any] = {}
        self.cut: dict[str, Any] = {}

    def model(self):
        """The model; the nodes that signals enter, and leave, by names of ports."""
        flat, members = self.flat, set(self.members)
        forward = [e for e in flat.edges if set(e) <= members and e not in self.back]
        for name in sorted({a for a, b in flat.edges if (a, b) in self.back}):
            # What it sent before.
            shape = (None, *self.shape(name))
            self.cut[name] = keras.Input(shape, name=self.unique(f"{name}_before"))
        entering = {}
        for name in sorted(members):
            sources = [a for a in flat.before(name) if a not in members]
            if sources:
                shape = (None, *self.shape(sources[0]))
                self.entries[name] = keras.Input(shape, name=self.unique(f"to_{name}"))
                entering[self.entries[name].name] = name
        for (name,) in components(sorted(members), forward):
            self.node(name)
        seen = {a for a, b in flat.edges if a in members and b not in members}
        sent = {a for a, _ in self.back}
        outputs = {self.unique(f"{n}_sent"): n for n in sorted(seen | sent)}
        self.sent = {name: port for port, name in outputs.items()}
        given = {x.name: x for x in (*self.entries.values(), *self.cut.values())}
        model = keras.Model(given, {p: self.tensors[n] for p, n in outputs.items()})
        return model, entering, {p: n for p, n in outputs.items() if n in seen}

    def permutes_kernels(self, name: str) -> bool:
        return False  # what leads back would be in that order, too

    def total(self, name: str):
        terms = [self.entries[name]] if name in self.entries else []
        for a in self.flat.before(name):
            if (a, name) in self.back:
                terms.append(self.cut[a])
            elif a in self.members:
                terms.append(self.tensors[a])
        return self.summed(f"{name}_sum", terms)

    def node(self, name: str) -> None:
        if name not in self.delays:
            super().node(name)
            return
        # The first step is that of the edges that lead back.
        rest = np.asarray(self.flat.nodes[name].delay, float) - self.options.dt
        x = self.total(name)
        self.tensors[name] = _delay(self, name, x, np.maximum(rest, 0))

    def returning(self) -> dict[str, str]:
        """From inputs of the model to the outputs that they are a step later."""
        return {x.name: self.sent[name] for name, x in self.cut.items()}


def _closed(graph: Graph, returning: dict[str, str]) -> Graph:
    """The graph of a cut model, its ends joined by delays of one step."""
    sent = {port.name: port.vertex for port in graph.outputs}
    ends = {p.name: p.vertex for p in graph.inputs if p.name in returning}
    edges = [
        Edge(sent[returning[name]], vertex, synapse=pure_delay(1))
        for name, vertex in ends.items()
    ]
    return replace(
        graph,
        edges=(*graph.edges, *edges),
        inputs=tuple(p for p in graph.inputs if p.name not in returning),
    )


# --- nodes ------------------------------------------------------------------------


def _dense(writer: _Writer, name: str, x):
    node = writer.flat.nodes[name]
    weight = np.asarray(node.weight, float)
    before = writer.flat.before(name)
    order = writer.orders.get(before[0]) if len(before) == 1 else None
    if order is not None:
        weight = weight[:, order]
    biased = kind(node) == "Affine"
    layer = keras.layers.Dense(len(weight), use_bias=biased, name=writer.unique(name))
    y = layer(x)
    bias = (
        [np.broadcast_to(np.asarray(node.bias, float), len(weight))] if biased else []
    )
    layer.set_weights([weight.T, *bias])
    return y


def _scale(writer: _Writer, name: str, x):
    scale = number_or_array(writer.flat.nodes[name].scale)
    if not isinstance(scale, float):
        scale = scale.reshape(writer.shape(name)).tolist()
    return keras.layers.Rescaling(scale, name=writer.unique(name))(x)


def _convolution(writer: _Writer, name: str, x):
    node = writer.flat.nodes[name]
    weight = np.asarray(node.weight, float)
    rank = weight.ndim - 2
    padding, dilation = node.padding, pair(node.dilation, rank)
    if max(dilation) > 1 and max(pair(node.stride, rank)) > 1:
        # Which Keras does not have together: zeros in the kernel are the same.
        weight, dilation = _spread(weight, dilation), (1,) * rank
    if not isinstance(padding, str):
        x = _padded(writer, name, x, pair(padding, rank))
        padding = "valid"
    make = (keras.layers.Conv1D, keras.layers.Conv2D)[rank - 1]
    layer = make(
        weight.shape[0],
        weight.shape[2:],
        strides=pair(node.stride, rank),
        padding=padding,
        dilation_rate=dilation,
        groups=int(node.groups),
        use_bias=node.bias is not None,
        name=writer.unique(f"{name}_step"),
    )
    y = layers.PerStep(layer, name=writer.unique(name))(x)
    kernel = np.moveaxis(weight, (0, 1), (-1, -2))
    bias = [] if node.bias is None else [np.asarray(node.bias, float)]
    layer.set_weights([kernel, *bias])
    return y


def _spread(weight: np.ndarray, dilation: Shape) -> np.ndarray:
    """A kernel with zeros between its taps."""
    sizes = zip(weight.shape[2:], dilation, strict=True)
    wide = np.zeros((*weight.shape[:2], *(d * (k - 1) + 1 for k, d in sizes)))
    taps: Any = (..., *(slice(None, None, d) for d in dilation))
    wide[taps] = weight
    return wide


def _padded(writer: _Writer, name: str, x, padding: Shape):
    if not any(padding):
        return x
    make = (keras.layers.ZeroPadding1D, keras.layers.ZeroPadding2D)[len(padding) - 1]
    amount = padding[0] if len(padding) == 1 else padding
    return layers.PerStep(make(amount), name=writer.unique(f"{name}_padding"))(x)


def _pooling(writer: _Writer, name: str, x):
    node = writer.flat.nodes[name]
    kernel = pair(node.kernel_size, 2)
    x = _padded(writer, name, x, pair(node.padding, 2))
    pool = keras.layers.AveragePooling2D(kernel, pair(node.stride, 2))
    if kind(node) == "AvgPool2d":
        return layers.PerStep(pool, name=writer.unique(name))(x)
    x = layers.PerStep(pool, name=writer.unique(f"{name}_mean"))(x)
    return keras.layers.Rescaling(math.prod(kernel), name=writer.unique(name))(x)


def _flatten(writer: _Writer, name: str, x):
    flat = writer.flat
    (source,) = flat.before(name)[:1]
    shape, sent = flat.shapes[source], flat.shapes[name]
    if shape == sent:
        return x
    if len(sent) == 1 and writer.permutes_kernels(name):
        _, writer.orders[name] = images(writer.shape(source))
        layer = keras.layers.Flatten()
        return layers.PerStep(layer, name=writer.unique(name))(x)
    rank = len(shape)
    if rank > 1:
        turn = keras.layers.Permute((rank, *range(1, rank)))
        x = layers.PerStep(turn, name=writer.unique(f"{name}_turn"))(x)
    layer = keras.layers.Reshape(sent)
    x = layers.PerStep(layer, name=writer.unique(name))(x)
    if len(sent) > 1:
        back = keras.layers.Permute((*range(2, len(sent) + 1), 1))
        x = layers.PerStep(back, name=writer.unique(f"{name}_back"))(x)
    return x


def _delay(writer: _Writer, name: str, x, delay=None):
    delay = writer.flat.nodes[name].delay if delay is None else delay
    value = number_or_array(delay)
    if not isinstance(value, float):
        value = value.reshape(writer.shape(name))
    return layers.Delay(
        value, dt=writer.options.dt, return_sequences=True, name=writer.unique(name)
    )(x)


def _neurons(writer: _Writer, name: str, x):
    node, options = writer.flat.nodes[name], writer.options
    if kind(node) == "Threshold":
        threshold = number_or_array(node.threshold)
        neuron_type: Any = Threshold(threshold, amplitude=options.dt)
    else:
        membrane = MEMBRANES[kind(node)]
        own: dict[str, Any] = dict(options.of(node))
        if "v_threshold" in membrane.names:
            own["amplitude"] = options.dt
        neuron_type = membrane.read(node, **own)
    layer = layers.Neurons(
        neuron_type,
        dt=options.dt,
        return_sequences=True,
        seed=0,
        name=writer.unique(name),
    )
    return layer(x)


_MAKERS: dict[str, Callable] = {
    "Affine": _dense,
    "Linear": _dense,
    "Scale": _scale,
    "Conv1d": _convolution,
    "Conv2d": _convolution,
    "SumPool2d": _pooling,
    "AvgPool2d": _pooling,
    "Flatten": _flatten,
    "Delay": _delay,
    "Threshold": _neurons,
    **dict.fromkeys(MEMBRANES, _neurons),
}
