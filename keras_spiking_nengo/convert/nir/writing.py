"""A Keras model as a NIR graph."""

import math
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import keras
import nengo
import numpy as np

from keras_spiking_nengo import layers
from keras_spiking_nengo.convert.composition import (
    NoProductError,
    diagonal_of,
    matrix_of,
)
from keras_spiking_nengo.convert.graph import Edge, Vertex
from keras_spiking_nengo.convert.keras.sites import Sites, sites_of
from keras_spiking_nengo.convert.layer_rules import Site, array, kind_of
from keras_spiking_nengo.convert.nengo.reading import read as read_nengo
from keras_spiking_nengo.convert.nir.primitives import MEMBRANES
from keras_spiking_nengo.convert.nir.signals import Drawing, Signal, images
from keras_spiking_nengo.convert.rules.activations import neurons as neurons_of
from keras_spiking_nengo.graphs import components
from keras_spiking_nengo.registry import Registry
from keras_spiking_nengo.types import IntegrateAndFire, LeakyIntegrator, Threshold

__all__ = ["WRITERS", "Writer", "by_graph", "graph_of", "refuse_activation"]

Shape = tuple[int, ...]


def graph_of(model: keras.Model, nir, dt: float | None, strict: bool):
    """The `nir.NIRGraph` of a model.

    Raises:
        NotImplementedError: for a layer that has no form in NIR.
    """
    found = sites_of(model, strict=False)
    dt = found.dt() if dt is None else dt
    writer = Writer(Drawing(nir, dt), found, strict)
    for call in found:
        try:
            writer.call(call)
        except (ValueError, NoProductError) as error:
            raise writer.refusal(call, str(error)) from error
    for name, call_name in found.outputs.items():
        writer.output(name, call_name)
    return writer.drawing.graph({"dt": dt, "keras_spiking_nengo": model.name})


class Writer:
    """Makes the signal of each call, sources first."""

    def __init__(self, drawing: Drawing, found: Sites, strict: bool):
        self.drawing, self.nir = drawing, drawing.nir
        self.found, self.strict = found, strict
        self.signals: dict[str, Signal] = {}
        # What a network sends, by the call that it is and the number of an output.
        self.sent: dict[tuple[str, int], Signal] = {}

    def refusal(self, call: Site, reason: str) -> NotImplementedError:
        return NotImplementedError(
            f"Layer {call.path!r} ({kind_of(call.layer)}) has no form in NIR:"
            f" {reason.rstrip('.')}. NIR has linear maps, convolutions, sums and means"
            " over windows, delays, and integrators and neurons without a refractory"
            " period."
        )

    def lax(self, call: Site, reason: str, instead: str) -> None:
        """Refuses what NIR has not, or warns of what is written instead."""
        if self.strict:
            raise self.refusal(
                call, f"{reason}. ksn.to_nir(model, strict=False) {instead}"
            )
        warnings.warn(
            f"Layer {call.path!r}: {reason}; ksn.to_nir {instead}.", stacklevel=5
        )

    def source(self, site: Site, i: int = 0) -> Signal:
        return self.signals[site.sources[i]]

    def call(self, call: Site) -> None:
        """Adds what a call stands for."""
        if call.hosted:
            raise self.refusal(call, call.hosted)
        site = call
        if call.name in self.found.inputs.values():
            shape, order = images(site.output)
            node = self.nir.Input({"input": np.array(shape)})
            name = self.drawing.add(call.name, node)
            self.signals[call.name] = Signal((name,), shape, order)
            return
        write = WRITERS.get(call.layer, by_graph)
        signal = write(self, call, site)
        if signal is not None:
            self.signals[call.name] = signal

    def output(self, name: str, call_name: str) -> None:
        """Adds an output of the model."""
        call = self.found[call_name]
        site = call
        try:
            signal = self.drawing.standing(self.signals[call_name], name, site.output)
        except ValueError as error:
            raise self.refusal(call, str(error)) from error
        node = self.nir.Output({"output": np.array(signal.shape)})
        # Keras calls an output as the layer that makes it.
        taken = name in self.drawing.nodes
        name = self.drawing.add(f"{name}_output" if taken else name, node)
        self.drawing.connect(signal, name)

    # --- neurons ------------------------------------------------------------------

    def neurons(self, call: Site, name: str, signal: Signal, kind) -> Signal:
        """What neurons make of a signal."""
        signal = self.drawing.settled(signal, name)
        height = getattr(kind, "amplitude", 1.0)
        if isinstance(kind, Threshold):
            node = self.nir.Threshold(self.drawing.arranged(kind.threshold, signal))
        elif isinstance(kind, LeakyIntegrator):
            node = self.membrane(call, signal, kind)
        elif type(kind) is nengo.LIF:
            node = self.lif(call, signal, kind)
        elif type(kind) is nengo.SpikingRectifiedLinear:
            node = self.integrate_and_fire(call, signal)
        else:
            raise self.refusal(
                call,
                f"its neurons are {kind}; possible are nengo.LIF(tau_ref=0,"
                " min_voltage=-inf), and ksn.types.LeakyIntegrator, IntegrateAndFire"
                " and Threshold",
            )
        y = self.drawing.after(signal, name, node)
        spiking = kind.spiking
        height = height / self.drawing.dt if spiking else height
        return self.drawing.scaled(y, f"{name}_height", height)

    def membrane(self, call: Site, signal: Signal, kind: LeakyIntegrator):
        fires = isinstance(kind, IntegrateAndFire)
        absent = {n for n in ("tau_mem", "tau_syn") if getattr(kind, n) is None}
        found = [
            (name, membrane)
            for name, membrane in MEMBRANES.items()
            if membrane.absent == absent and issubclass(membrane.kind, type(kind))
            if (membrane.kind is IntegrateAndFire) == fires
        ]
        if not found:
            raise self.refusal(
                call, "it has a synaptic current and no leak. Give it a tau_mem"
            )
        ((name, membrane),) = found
        values = {
            theirs: self.drawing.arranged(getattr(kind, ours), signal)
            for theirs, ours in membrane.names.items()
        }
        if "w_in" not in values:
            values["r"] = values["r"] * self.drawing.arranged(kind.w_in, signal)
        noted = {"discretization": kind.discretization}
        if fires and kind.reset == "subtract":
            self.lax(
                call,
                "its reset subtracts, and NIR's is to a value",
                "writes that, with a note in the node's metadata",
            )
            noted["reset"] = "subtract"
        noted = {k: v for k, v in noted.items() if v != "exact"}
        return getattr(self.nir, name)(**values, metadata=noted)

    def lif(self, call: Site, signal: Signal, kind: nengo.LIF):
        if kind.tau_ref > 0:
            self.lax(
                call,
                f"its refractory period is {kind.tau_ref:g} s, and NIR has none",
                "leaves it out",
            )
        if kind.min_voltage > -math.inf:
            self.lax(
                call,
                f"its voltage does not fall below {kind.min_voltage:g}, and NIR's may",
                "leaves that out. Use min_voltage=-np.inf",
            )
        arranged = partial(self.drawing.arranged, signal=signal)
        return self.nir.LIF(
            tau=arranged(kind.tau_rc),
            r=arranged(1),
            v_leak=arranged(0),
            v_threshold=arranged(1),
            v_reset=arranged(0),
        )

    def integrate_and_fire(self, call: Site, signal: Signal):
        self.lax(
            call,
            "its voltage does not fall, may pass the threshold several times in a step,"
            " and is reset by subtraction; an IF of NIR's is not so",
            "writes an IF",
        )
        arranged = partial(self.drawing.arranged, signal=signal)
        return self.nir.IF(
            r=arranged(1),
            v_threshold=arranged(1),
            v_reset=arranged(0),
            metadata={"reset": "subtract"},
        )

    # --- synapses -----------------------------------------------------------------

    def filtered(self, call: Site, name: str, signal: Signal, synapse, lags: bool):
        """A signal after a synapse, which may lag by a step."""
        if synapse is None:
            return signal
        arranged = partial(self.drawing.arranged, signal=signal)
        if _is_lowpass(synapse):
            if synapse.tau > 0:
                node = self.nir.LI(arranged(synapse.tau), arranged(1), arranged(0))
                signal = self.drawing.after(signal, name, node)
        elif type(synapse) is nengo.Alpha and synapse.method == "zoh":
            tau = arranged(synapse.tau)
            node = self.nir.CubaLI(tau, tau, arranged(1), arranged(0), arranged(1))
            signal = self.drawing.after(signal, name, node)
        elif (steps := _steps(synapse)) is not None:
            time = (steps if lags else steps - 1) * self.drawing.dt
            return self.drawing.after(signal, name, self.nir.Delay(arranged(time)))
        else:
            raise self.refusal(
                call,
                f"its synapse is {synapse}; possible are nengo.Lowpass, nengo.Alpha,"
                " and delays",
            )
        if not lags:
            return signal
        node = self.nir.Delay(arranged(self.drawing.dt))
        signal = self.drawing.after(signal, f"{name}_lag", node)
        self.drawing.lags.update(signal.nodes)
        return signal

    # --- vertices of the graph ------------------------------------------------------

    def carried(self, call: Site, edge: Edge, signal: Signal, size: int) -> Signal:
        """What an edge adds to a vertex of so many elements."""
        name = "_".join(edge.layers) or edge.target
        d = None if edge.transform is None else diagonal_of(edge.transform)
        if edge.slice is None and (edge.transform is None or d is not None):
            if d is not None:
                signal = self.drawing.scaled(signal, name, d if np.ptp(d) else d[0])
        else:
            matrix = (
                np.eye(signal.size)
                if edge.transform is None
                else matrix_of(edge.transform)
            )
            if edge.slice is not None:
                where = np.arange(size)[
                    edge.slice if isinstance(edge.slice, slice) else list(edge.slice)
                ]
                matrix = np.eye(size)[:, where] @ matrix
            signal = self.drawing.multiplied(signal, name, matrix)
        if edge.synapse is None:
            return signal
        signal = self.drawing.settled(signal, name)
        return self.filtered(call, f"{name}_synapse", signal, edge.synapse, True)

    def joined(self, name: str, terms: list[Signal]) -> Signal:
        """The sum of signals."""
        first = terms[0]
        if any(
            t.shape != first.shape or not np.array_equal(t.order, first.order)
            for t in terms
        ):
            terms = [self.drawing.ordered(t, name) for t in terms]
        constants = [t.constant for t in terms if t.constant is not None]
        return replace(
            terms[0],
            nodes=tuple(node for t in terms for node in t.nodes),
            constant=np.sum(constants, axis=0) if constants else None,
        )

    def shifted(self, signal: Signal, bias) -> Signal:
        """A signal with numbers added, for Keras's elements."""
        if bias is None:
            return signal
        total = self.drawing.arranged(bias, signal)
        own = 0 if signal.constant is None else signal.constant
        return replace(signal, constant=total + own)

    def vertex(self, call: Site, vertex: Vertex, terms: list[Signal]) -> Signal:
        """What a vertex sends, from what its edges add."""
        if vertex.neuron_type is None:
            signal = self.shifted(self.joined(vertex.name, terms), vertex.bias)
        else:
            signal = self.joined(vertex.name, terms)
            if vertex.gain is not None:
                name = f"{vertex.name}_gain"
                signal = self.drawing.scaled(signal, name, vertex.gain)
            signal = self.shifted(signal, vertex.bias)
            signal = self.neurons(call, vertex.name, signal, vertex.neuron_type)
        if vertex.process is not None:
            signal = self.drawing.settled(signal, vertex.name)
            signal = self.filtered(call, vertex.name, signal, vertex.process, False)
        return signal

    def network(self, call: Site, vertex: Vertex, site: Site) -> None:
        """Adds the vertices of a network; sets what it sends."""
        subnet = vertex.subnet
        assert subnet is not None
        try:
            graph = read_nengo(
                subnet.net, subnet.inputs, subnet.outputs, self.drawing.dt, cyclic=True
            )
        except NotImplementedError as error:
            raise self.refusal(call, str(error)) from error
        made: dict[str, Signal] = {}
        for port, source in zip(graph.inputs, site.sources, strict=True):
            signal = self.drawing.settled(self.signals[source], port.name)
            made[port.vertex] = self.drawing.ordered(signal, port.name)
        now = [(e.source, e.target) for e in graph.edges if e.synapse is None]
        names = [v.name for v in graph.vertices]
        waiting: list[tuple[str, str]] = []
        for (name,) in components(names, now):
            inner = graph[name]
            if name in made:
                continue
            entering = [e for e in graph.edges if e.target == name]
            terms = []
            for edge in entering:
                size = graph[edge.source].size
                if edge.source in made:
                    signal = made[edge.source]
                else:
                    # A node for what is not there yet, and is led to it later.
                    wait = self.drawing.add(
                        f"{edge.source}_before", self.nir.Scale(np.ones(size))
                    )
                    self.drawing.waiting.add(wait)
                    waiting.append((edge.source, wait))
                    signal = Signal((wait,), (size,), np.arange(size))
                terms.append(self.carried(call, edge, signal, inner.size))
            if not terms:
                bias = np.zeros(inner.size) if inner.bias is None else inner.bias
                terms = [Signal((), (inner.size,), np.arange(inner.size))]
                if inner.neuron_type is not None or inner.process is not None:
                    raise self.refusal(
                        call, f"{name!r} in it has no input, and NIR has no constants"
                    )
                inner = replace(inner, bias=bias)
            made[name] = self.vertex(call, inner, terms)
        for source, wait in waiting:
            signal = self.drawing.settled(made[source], source)
            self.drawing.connect(signal, wait)
        for i, port in enumerate(graph.outputs):
            self.sent[call.name, i] = made[port.vertex]


def _is_lowpass(synapse) -> bool:
    return type(synapse) is nengo.Lowpass and synapse.method == "zoh"


def _steps(synapse) -> int | None:
    """Steps by which a synapse delays on a connection, if it does only that."""
    if type(synapse) is not nengo.LinearFilter or synapse.analog:
        return None
    num, den = np.ravel(synapse.num), np.ravel(synapse.den)
    pure = np.array_equal(num, [1.0]) and den[0] == 1 and not np.any(den[1:])
    return len(den) - 1 if pure else None


# --- layers ---------------------------------------------------------------------------

Write = Callable[[Writer, Site, Site], Signal | None]
WRITERS: Registry[Write] = Registry("NIR writer", governing=("call", "cell_class"))


def by_graph(writer: Writer, call: Site, site: Site) -> Signal | None:
    """What the rule for Nengo's objects says of a layer."""
    if call.port is not None:
        return writer.sent[site.sources[0], call.port]
    vertex, edges = site.read()
    if vertex.subnet is not None:
        writer.network(call, vertex, site)
        return None
    if any(edge.source == site.name for edge in edges):
        raise writer.refusal(
            call, f"its neurons are {vertex.neuron_type}, which NIR has not"
        )
    terms = [
        writer.carried(call, edge, writer.signals[edge.source], vertex.size)
        for edge in edges
    ]
    return writer.vertex(call, vertex, terms)


def refuse_activation(writer: Writer, call: Site) -> None:
    """Raises for a layer whose activation would be neurons without a state."""
    kind = neurons_of(call.layer)
    if kind is not None:
        raise writer.refusal(
            call,
            f"its activation is {kind}, and NIR's neurons have states. Train it with"
            " ksn.layers.Neurons, or convert it with ksn.to_spiking",
        )


@WRITERS.register(keras.layers.Dense)
def _dense(writer: Writer, call: Site, site: Site) -> Signal | None:
    if len(site.output) > 1:
        return by_graph(writer, call, site)
    refuse_activation(writer, call)
    layer = call.layer
    bias = array(layer.bias) if layer.use_bias else None
    name = call.name
    return writer.drawing.multiplied(
        writer.source(site), name, array(layer.kernel).T, bias
    )


@WRITERS.register(layers.Neurons)
def _neurons(writer: Writer, call: Site, site: Site) -> Signal:
    vertex, _ = site.read()
    signal = writer.source(site)
    if vertex.neuron_type is None:
        return signal
    return writer.neurons(call, call.name, signal, vertex.neuron_type)


@WRITERS.register(layers.Synapse)
def _synapse(writer: Writer, call: Site, site: Site) -> Signal:
    vertex, (edge,) = site.read()
    lags = vertex.process is None
    synapse = edge.synapse if lags else vertex.process
    signal = writer.drawing.settled(writer.source(site), call.name)
    return writer.filtered(call, call.name, signal, synapse, lags)


@WRITERS.register(layers.Delay)
def _delay(writer: Writer, call: Site, site: Site) -> Signal:
    steps = np.broadcast_to(call.layer.cell.steps, site.output)
    signal = writer.drawing.settled(writer.source(site), call.name)
    time = writer.drawing.arranged(steps * call.layer.cell.dt, signal)
    return writer.drawing.after(signal, call.name, writer.nir.Delay(time))


@WRITERS.register(keras.layers.Flatten, keras.layers.Reshape)
def _flatten(writer: Writer, call: Site, site: Site) -> Signal:
    signal = writer.source(site)
    if len(site.output) == 1 and len(signal.shape) > 1:
        signal = writer.drawing.settled(signal, call.name)
        return writer.drawing.vector(signal, call.name)
    return signal


@WRITERS.register(keras.layers.Permute)
def _permute(writer: Writer, call: Site, site: Site) -> Signal:
    signal, (shape,) = writer.source(site), site.inputs
    turned = signal.order.reshape(shape).transpose([d - 1 for d in call.layer.dims])
    return replace(signal, order=turned.ravel())
