"""Keras layers as parts of the graph: one small rule each, and `read`."""

import math
import warnings
from collections.abc import Callable
from typing import Any

import keras
import nengo
import numpy as np
from keras import activations, ops

from keras_spiking_nengo import layers, serialization
from keras_spiking_nengo.convert import axes, windows
from keras_spiking_nengo.convert.calls import Call, Calls, calls
from keras_spiking_nengo.convert.graph import Graph, Port, Subnet, as_slice, fuse
from keras_spiking_nengo.convert.parts import is_plain
from keras_spiking_nengo.convert.rule import LAYERS, LayerRule, Part, Site, Time
from keras_spiking_nengo.dynamics.neurons import neuron
from keras_spiking_nengo.dynamics.random import STATES as RANDOM_STATES
from keras_spiking_nengo.engine.frozen import freeze
from keras_spiking_nengo.types import LeakyReLU

__all__ = ["ACTIVATIONS", "read"]

# Rates per second to Nengo, plain numbers to Keras: one unit is one.
ACTIVATIONS: dict[Callable, nengo.neurons.NeuronType | None] = {
    activations.linear: None,
    activations.relu: nengo.RectifiedLinear(),
    activations.sigmoid: nengo.Sigmoid(tau_ref=1),
    activations.tanh: nengo.Tanh(tau_ref=1),
}


def read(model: keras.Model, strict: bool = True) -> Graph:
    """The graph of a functional or `Sequential` model, as it acts at inference.

    Args:
        model: the model.
        strict: whether to refuse layers that only Python can run.

    Raises:
        TypeError: if `model` is no Keras model.
        ValueError: if it is not built.
        NotImplementedError: if a layer cannot be expressed.
    """
    found = calls(model, strict)
    for call in found:
        if call.hosted and call.enters:
            warnings.warn(
                f"Layer {call.path!r} ({type(call.layer).__name__}) cannot be expressed"
                f" by Nengo's objects: {call.hosted.rstrip('.')}. Keras runs it, in a"
                " Python node.",
                stacklevel=3,
            )
    known = axes.temporal(found)
    parts = [call.rule.read(_site(call, found, known)) for call in found]
    graph = Graph(
        name=model.name,
        vertices=tuple(vertex for vertex, _ in parts),
        edges=tuple(edge for _, edges in parts for edge in edges),
        inputs=_ports(found.inputs, known),
        outputs=_ports(found.outputs, known),
        dt=_dt(found),
        n_steps=axes.n_steps(found, known),
        keyed=found.keyed,
    )
    return fuse(graph)


def _ports(names: dict[str, str], known: dict[str, bool]) -> tuple[Port, ...]:
    return tuple(Port(name, call, known[call]) for name, call in names.items())


def _site(call: Call, found: Calls, known: dict[str, bool]) -> Site:
    def features(name: str) -> tuple[int, ...]:
        shape = found[name].shape[2 if known[name] else 1 :]
        sizes = tuple(size for size in shape if size is not None)
        if len(sizes) < len(shape):
            raise call.refusal(
                f"{name!r} has features of unknown size, {found[name].shape}. Give"
                " keras.Input a shape of which only time is None"
            )
        return sizes

    inputs = tuple(map(features, call.sources))
    total = sum(math.prod(shape) for shape in inputs)
    return Site(
        layer=call.layer,
        name=call.name,
        path=call.path,
        sources=call.sources,
        inputs=inputs,
        output=(total,) if call.enters else features(call.name),
        leading=2 if known[call.name] and not call.per_step else 1,
        port=call.port,
    )


def _dt(found: Calls) -> float:
    first: Call | None = None
    for call in found:
        if call.rule.time is not Time.RUNS or not hasattr(call.layer.cell, "dt"):
            continue
        first = first or call
        if call.layer.cell.dt != first.layer.cell.dt:
            raise call.refusal(
                f"its step is dt={call.layer.cell.dt:g} s, and that of"
                f" {first.path!r} is dt={first.layer.cell.dt:g} s. A Nengo network"
                " has one dt"
            )
    return first.layer.cell.dt if first else 0.001


def _array(value) -> np.ndarray:
    return np.asarray(ops.convert_to_numpy(value), dtype=np.float64)


# --- objections ---------------------------------------------------------------


def _activation(layer) -> str:
    if layer.activation in ACTIVATIONS:
        return ""
    name = getattr(layer.activation, "__name__", repr(layer.activation))
    advice = "Leave it out and train on logits. " if "softmax" in name else ""
    possible = ", ".join(function.__name__ for function in ACTIVATIONS)
    return (
        f"its activation {name!r} is not a neuron type of Nengo. {advice}Possible"
        f" activations are {possible}"
    )


def _quantized(layer) -> str:
    mode = getattr(layer, "quantization_mode", None)
    return f"it is quantized to {mode}. Export it before" if mode else ""


def _channels_first(layer) -> str:
    if getattr(layer, "data_format", None) != "channels_first":
        return ""
    return "its data_format is 'channels_first'. Use 'channels_last'"


def _any(*objections: Callable[[Any], str]) -> Callable[[Any], str]:
    return lambda layer: next(filter(None, (o(layer) for o in objections)), "")


# --- sums ---------------------------------------------------------------------


def _input(site: Site) -> Part:
    return site.vertex(), ()


def _add(site: Site) -> Part:
    if set(site.inputs) != {site.output}:
        raise _refusal(site, f"it adds different shapes, {site.inputs}")
    return site.vertex(), tuple(site.edge(source) for source in site.sources)


def _concatenate(site: Site) -> Part:
    axis = site.layer.axis
    rank = site.leading + len(site.output)
    axis = (axis + rank if axis < 0 else axis) - site.leading
    if axis < 0:
        raise _refusal(site, "it concatenates over the batch or over time")
    places = np.arange(np.prod(site.output)).reshape(site.output)
    ends = np.cumsum([shape[axis] for shape in site.inputs])
    parts = np.split(places, ends[:-1], axis=axis)
    return site.vertex(), tuple(
        site.edge(source, slice=as_slice(part.ravel()))
        for source, part in zip(site.sources, parts, strict=True)
    )


def _refusal(site: Site, reason: str) -> NotImplementedError:
    return Call(site.layer, site.name, site.path, (), ()).refusal(reason)


LAYERS.add(LayerRule(Time.KEEPS, _input), keras.layers.InputLayer)
LAYERS.add(LayerRule(Time.KEEPS, _add), keras.layers.Add)
LAYERS.add(LayerRule(Time.KEEPS, _concatenate), keras.layers.Concatenate)
LAYERS.add(
    LayerRule(Time.KEEPS),
    keras.layers.Dropout,
    keras.layers.GaussianDropout,
    keras.layers.GaussianNoise,
    keras.layers.Identity,
)
LAYERS.add(
    LayerRule(Time.MIXES, objection=_channels_first),
    keras.layers.Flatten,
    keras.layers.Reshape,
)
LAYERS.add(LayerRule(Time.STARTS), layers.Repeat)


# --- weights ------------------------------------------------------------------


def _affine(site: Site, transform: nengo.transforms.Transform) -> Part:
    """Weights, bias and activation."""
    layer, bias = site.layer, None
    if layer.use_bias:
        bias = np.broadcast_to(_array(layer.bias), site.output).ravel()
    vertex = site.vertex(neuron_type=ACTIVATIONS[layer.activation], bias=bias)
    return vertex, (site.edge(site.sources[0], transform=transform),)


def _dense(site: Site) -> Part:
    weights = _array(site.layer.kernel).T
    return _affine(site, windows.blocks(weights, int(np.prod(site.output[:-1]))))


def _convolution(site: Site) -> Part:
    layer = site.layer
    transform = windows.convolution(
        _array(layer.kernel),
        site.inputs[0],
        layer.strides,
        layer.padding,
        layer.dilation_rate,
        layer.groups,
    )
    return _affine(site, transform)


def _pooling(site: Site) -> Part:
    layer = site.layer
    transform = windows.average(
        site.inputs[0], layer.pool_size, layer.strides, layer.padding
    )
    return site.vertex(), (site.edge(site.sources[0], transform=transform),)


LAYERS.add(
    LayerRule(Time.KEEPS, _dense, _any(_activation, _quantized)), keras.layers.Dense
)
LAYERS.add(
    LayerRule(Time.MIXES, _convolution, _any(_activation, _quantized, _channels_first)),
    keras.layers.Conv1D,
    keras.layers.Conv2D,
)
LAYERS.add(
    LayerRule(Time.MIXES, _pooling, _channels_first),
    keras.layers.AveragePooling1D,
    keras.layers.AveragePooling2D,
)


def _transform(site: Site) -> Part:
    layer, (shape,) = site.layer, site.inputs
    transform = layer.trained()
    n_images = int(np.prod(shape)) // transform.size_in
    if n_images > 1:
        if not isinstance(transform, nengo.Dense) or np.ndim(transform.init) < 2:
            raise _refusal(
                site, f"it acts on {n_images} vectors of each step. Flatten them"
            )
        transform = windows.blocks(np.asarray(transform.init, float), n_images)
    if isinstance(transform, nengo.transforms.NoTransform):
        transform = None
    bias = None
    if layer.bias is not None:
        bias = np.tile(_array(layer.bias), n_images)
    vertex = site.vertex(bias=bias)
    return vertex, (site.edge(site.sources[0], transform=transform),)


LAYERS.add(LayerRule(Time.KEEPS, _transform), layers.Transform)


# --- activations and neurons --------------------------------------------------


def _population(site: Site, neuron_type: nengo.neurons.NeuronType | None) -> Part:
    return site.vertex(neuron_type=neuron_type), (site.edge(site.sources[0]),)


def _relu_objection(layer) -> str:
    if layer.max_value is None and not layer.threshold:
        return ""
    return "it has a max_value or a threshold, and Nengo has no such neuron type"


def _relu(site: Site) -> Part:
    slope = float(site.layer.negative_slope)
    kind = LeakyReLU(slope) if slope else ACTIVATIONS[activations.relu]
    return _population(site, kind)


def _sequence_objection(layer) -> str:
    for flag, advice in {
        "go_backwards": "Nengo runs forwards only. Reverse the data instead",
        "return_state": "its states are not signals that layers can take in Nengo",
        "stateful": "its state lives on between calls, and an export starts from the"
        " initial state. Rebuild the model with stateful=False",
    }.items():
        if getattr(layer, flag):
            return f"it has {flag}=True: {advice}"
    return ""


def _per_unit(layer) -> str:
    kinds = layer.cell.trainable_parameters
    names = [name for name, kind in kinds.items() if kind == "unit"]
    if not names:
        return ""
    return (
        f"it has one trained {names[0]!r} per neuron, and a Nengo object has one value"
        " for all. Train it with 'shared'"
    )


def _neurons(site: Site) -> Part:
    cell = site.layer.cell
    if isinstance(cell.neuron_type, nengo.Direct):
        return _population(site, None)
    values = {
        name: float(_array(v))
        for name, v in cell.parameters().items()
        if name in cell.trainable_parameters
    }
    state = {name: value.ravel() for name, value in cell.initial_values().items()}
    return _population(site, _trained(cell.neuron_type, values, list(state.items())))


def _trained(neuron_type, values: dict[str, float], state: list):
    """`neuron_type` with present values of its parameters and initial states."""
    changes: dict[str, Any] = {}
    base = getattr(neuron_type, "base_type", None)
    if base is not None:
        count = len(neuron(base).states)
        inner = {k[5:]: v for k, v in values.items() if k.startswith("base_")}
        changes["base_type"] = _trained(base, inner, state[:count])
        values = {k: v for k, v in values.items() if not k.startswith("base_")}
        state = state[count:]
    tau_rc = values.get("tau_rc", getattr(neuron_type, "tau_rc", None))
    initial = {}
    for name, value in state:
        if name == "refractory":
            # Carried as exp(refractory_time / tau_rc).
            initial["refractory_time"] = tau_rc * np.log(value)
        elif name not in RANDOM_STATES:
            initial[name] = value
    if initial:
        changes["initial_state"] = initial
    return serialization.altered(neuron_type, **changes, **values)


LAYERS.add(
    LayerRule(
        Time.KEEPS,
        lambda site: _population(site, ACTIVATIONS[site.layer.activation]),
        _activation,
    ),
    keras.layers.Activation,
)
LAYERS.add(LayerRule(Time.KEEPS, _relu, _relu_objection), keras.layers.ReLU)
LAYERS.add(
    LayerRule(Time.RUNS, _neurons, _any(_sequence_objection, _per_unit)),
    layers.Neurons,
)


# --- synapses -----------------------------------------------------------------


def _level_objection(layer) -> str:
    cell = layer.cell
    if not (np.any(cell.initial_level) or "initial_level" in cell.trainable_parameters):
        return ""
    return "it has an initial_level, and Nengo's synapses start from 0"


def _synapse(site: Site) -> Part:
    cell, (source,) = site.layer.cell, site.sources
    synapse = cell.synapse
    if "tau" in cell.trainable_parameters:
        tau = cell.parameters()["tau"]
        synapse = serialization.altered(synapse, tau=float(_array(tau)))
    if synapse is None or cell.delay:
        return site.vertex(), (site.edge(source, synapse=synapse),)
    return site.vertex(process=synapse), (site.edge(source),)


LAYERS.add(
    LayerRule(
        Time.RUNS,
        _synapse,
        _any(_sequence_objection, _per_unit, _level_objection),
    ),
    layers.Synapse,
)


# --- networks -----------------------------------------------------------------


def _keys(structure) -> list:
    return list(structure) if isinstance(structure, dict) else []


def _network_outputs(layer) -> dict[str, tuple[int, ...]]:
    """Shapes of the outputs of a network, in Keras's order of leaves."""
    ports, model = layer.cell.ports, layer.cell.model
    named = ports.outputs
    if isinstance(named, dict):
        found = {str(key): named[key] for key in sorted(named)}
    else:
        several = len(ports.probes) > 1
        found = {str(i) if several else "": p for i, p in enumerate(ports.probes)}
    return {key: tuple(model.sig[probe]["in"].shape) for key, probe in found.items()}


def _network_objection(layer) -> str:
    for probe in layer.cell.ports.probes:
        if not is_plain(probe):
            return (
                f"it shows {probe}, which in Nengo only a probe can read, and no"
                " connection"
            )
    if not layer.cell.ports.nodes:
        return "it has no inputs, and its input tells only the number of steps"
    return ""


def _network(site: Site) -> Part:
    """Of a call that takes inputs the network, else one output."""
    cell = site.layer.cell
    if site.port is not None:
        return site.vertex(output=(site.sources[0], site.port)), ()
    net, new = freeze(cell.net, cell.model, cell.values())
    ports = cell.ports.moved(new)
    named = ports.outputs
    probes = (
        tuple(named[key] for key in sorted(named))
        if isinstance(named, dict)
        else ports.probes
    )
    return site.vertex(subnet=Subnet(net, ports.nodes, probes)), site.entering()


LAYERS.add(
    LayerRule(
        Time.RUNS,
        _network,
        _any(_sequence_objection, _network_objection),
        inputs=lambda layer: _keys(layer.cell.ports.inputs),
        outputs=_network_outputs,
    ),
    layers.Network,
    layers.Ensemble,
)
