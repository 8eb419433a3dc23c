"""Layers that run over time: neurons, synapses, networks, and a recurrence.

`h[t] = f(W x[t] + U h[t-1] + b)`, Keras's simple recurrence, is neurons that are
connected to themselves through a synapse without a time constant, which is a delay of
one step.
"""

from typing import Any

import keras
import nengo
import numpy as np
from nengo.params import NdarrayParam

from keras_spiking_nengo import layers, serialization
from keras_spiking_nengo.budgets import spend
from keras_spiking_nengo.convert.graph import Subnet, as_slice
from keras_spiking_nengo.convert.layer_rules import (
    LAYERS,
    LayerRule,
    Part,
    Site,
    array,
    first_of,
)
from keras_spiking_nengo.convert.nengo.components import is_plain
from keras_spiking_nengo.convert.rules.activations import (
    activation_objection,
    neurons,
    population,
)
from keras_spiking_nengo.dynamics.neurons import neuron
from keras_spiking_nengo.dynamics.random import STATES as RANDOM_STATES
from keras_spiking_nengo.engine.frozen import freeze
from keras_spiking_nengo.registry import Registry
from keras_spiking_nengo.types import Heterogeneous

__all__ = ["CELL_RULES", "pure_delay", "sequence_objection"]


def sequence_objection(layer) -> str:
    """Why a layer over time runs as Nengo does not, or ""."""
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
    names = [name for name, kind in kinds.items() if kind != "shared"]
    owner = getattr(layer.cell, "neuron_type", None)
    names += getattr(layer.cell, "initial_parameters", ())
    if isinstance(owner, nengo.neurons.NeuronType):
        # Nengo builds both halves of spikes from rates by itself.
        halves = isinstance(owner, nengo.neurons.RatesToSpikesNeuronType)
        names = [n for n in names if halves and not n.startswith("base_")]
    if not names:
        return ""
    return (
        f"it has one {names[0]!r} per neuron, and a Nengo object has one value for all."
        " Train it with 'shared'"
    )


def _is_number(neuron_type, name: str) -> bool:
    """Whether a type has but one value of a parameter for all neurons."""
    return not isinstance(getattr(type(neuron_type), name, None), NdarrayParam)


def _neurons(site: Site) -> Part:
    cell = site.layer.cell
    if isinstance(cell.neuron_type, nengo.Direct):
        return population(site, None)
    own = {*cell.trainable_parameters, *cell.initial_parameters}
    values = {
        name: _of_neurons(array(v), cell.features)
        for name, v in cell.parameters().items()
        if name in own
    }
    state = {name: value.ravel() for name, value in cell.initial_values().items()}
    return population(site, _trained(cell.neuron_type, values, list(state.items())))


def _trained(neuron_type, values: dict[str, Any], state: list):
    """`neuron_type` with present values of its parameters and initial states."""
    if isinstance(neuron_type, Heterogeneous):
        several = {k: v for k, v in values.items() if np.ndim(v)}
        shared = {k: v for k, v in values.items() if k not in several}
        base = _trained(neuron_type.base_type, shared, state)
        return Heterogeneous(base, neuron_type.parameters | several)
    changes: dict[str, Any] = {}
    base = getattr(neuron_type, "base_type", None)
    if base is not None:
        count = len(neuron(base).states)
        inner = {k[5:]: v for k, v in values.items() if k.startswith("base_")}
        changes["base_type"] = _trained(base, inner, state[:count])
        values = {k: v for k, v in values.items() if not k.startswith("base_")}
        state = state[count:]
    values = dict(values)
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
    several = {
        k: v for k, v in values.items() if np.ndim(v) and _is_number(neuron_type, k)
    }
    values = {k: v for k, v in values.items() if k not in several}
    altered = serialization.altered(neuron_type, **changes, **values)
    return Heterogeneous(altered, several) if several else altered


def _of_neurons(values: np.ndarray, features: tuple[int, ...]):
    """One number, or one for each neuron, in a row."""
    return (
        float(values) if not values.ndim else np.broadcast_to(values, features).ravel()
    )


_NEURONS = LayerRule(_neurons, first_of(sequence_objection, _per_unit))
LAYERS.add(_NEURONS, layers.Neurons)


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
        synapse = serialization.altered(synapse, tau=float(array(tau)))
    if synapse is None or cell.delay:
        return site.vertex(), (site.edge(source, synapse=synapse),)
    return site.vertex(process=synapse), (site.edge(source),)


_SYNAPSE = LayerRule(
    _synapse, first_of(sequence_objection, _per_unit, _level_objection)
)
LAYERS.add(_SYNAPSE, layers.Synapse)


# --- delays -------------------------------------------------------------------


def pure_delay(steps: int) -> nengo.synapses.Synapse | None:
    """A synapse that, on a connection, delays by a number of steps."""
    if steps == 0:
        return None
    if steps == 1:
        return nengo.Lowpass(0)
    spend(32 * steps**2, f"A delay of {steps} steps on a connection")
    return nengo.LinearFilter([1.0], [1.0, *[0.0] * steps], analog=False)


def _delay(site: Site) -> Part:
    steps = np.broadcast_to(site.layer.cell.steps, site.output).ravel()
    kinds, edges = np.unique(steps), []
    for kind in kinds:
        part: dict[str, Any] = {}
        if len(kinds) > 1:
            (where,) = np.nonzero(steps == kind)
            picks = np.eye(len(steps))[where]
            part["slice"] = as_slice(where)
            part["transform"] = nengo.Dense(picks.shape, init=picks)
        synapse = pure_delay(int(kind))
        edges.append(site.edge(site.sources[0], synapse=synapse, **part))
    return site.vertex(), tuple(edges)


_DELAY_RULE = LayerRule(_delay, sequence_objection)
LAYERS.add(_DELAY_RULE, layers.Delay)


def _delayed_dense(site: Site) -> Part:
    cell = site.layer.cell
    kernel, steps = array(cell.kernel), cell.delays.steps().astype(int)
    bias = None if cell.bias is None else array(cell.bias)
    steps = np.broadcast_to(
        steps[:, None] if cell.per == "axon" else steps, kernel.shape
    )
    edges = []
    for kind in np.unique(steps):
        part: dict[str, Any] = {}
        weights = np.where(steps == kind, kernel, 0.0).T
        (rows,) = np.nonzero(np.any(steps == kind, axis=0))
        if len(rows) < len(weights):
            part["slice"], weights = as_slice(rows), weights[rows]
        transform = nengo.Dense(weights.shape, init=weights)
        synapse = pure_delay(int(kind))
        edge = site.edge(site.sources[0], transform=transform, synapse=synapse, **part)
        edges.append(edge)
    return site.vertex(bias=bias), tuple(edges)


def _width_objection(layer) -> str:
    if layer.cell.delays.rounded:
        return ""
    return (
        "its delays lie between steps while they are trained. Make them whole steps"
        " before, with round_delays() of the layer or its cell, or with"
        " ksn.callbacks.NarrowDelays(round_at_end=True)"
    )


_DELAYED_DENSE = LayerRule(
    _delayed_dense, first_of(sequence_objection, _width_objection)
)
LAYERS.add(_DELAYED_DENSE, layers.DelayedDense)


# --- networks -----------------------------------------------------------------


def _keys(structure) -> list:
    return list(structure) if isinstance(structure, dict) else []


def _network_outputs(layer) -> dict[str, tuple[int, ...]]:
    """Shapes of the outputs of a network, in Keras's order of leaves."""
    ports, model = layer.cell.ports, layer.cell.model
    named = ports.outputs
    if isinstance(named, dict):
        probes = {str(key): named[key] for key in sorted(named)}
    else:
        several = len(ports.probes) > 1
        probes = {str(i) if several else "": p for i, p in enumerate(ports.probes)}
    return {key: tuple(model.sig[probe]["in"].shape) for key, probe in probes.items()}


def _network_objection(layer) -> str:
    if not layer.cell.ports.nodes:
        return "it has no inputs, and its input tells only the number of steps"
    return ""


def _network_shows(layer) -> list[str]:
    """For each output, why no connection can take it, or ""."""
    return [
        ""
        if is_plain(probe)
        else f"it shows {probe}, which in Nengo only a probe can read, and no"
        " connection"
        for probe in _probes(layer.cell.ports)
    ]


def _probes(ports) -> tuple[nengo.Probe, ...]:
    """Those of a network in Keras's order of leaves."""
    named = ports.outputs
    if isinstance(named, dict):
        return tuple(named[key] for key in sorted(named))
    return ports.probes


def _network_part(site: Site) -> Part:
    """Of a call that takes inputs the network, else one output."""
    cell = site.layer.cell
    if site.port is not None:
        return site.vertex(output=(site.sources[0], site.port)), ()
    net, new = freeze(cell.net, cell.model, cell.values())
    ports = cell.ports.moved(new)
    probes = _probes(ports)
    return site.vertex(subnet=Subnet(net, ports.nodes, probes)), site.entering()


_NETWORK = LayerRule(
    _network_part,
    first_of(sequence_objection, _network_objection),
    inputs=lambda layer: _keys(layer.cell.ports.inputs),
    outputs=_network_outputs,
    shows=_network_shows,
)
LAYERS.add(_NETWORK, layers.Network, layers.Ensemble)


# --- recurrences ----------------------------------------------------------------


def _recurrent_neurons(site: Site) -> Part:
    cell = site.layer.cell
    vertex, edges = _neurons(site)
    weights = array(cell.kernel()).T * array(cell.spikes_per_output())
    steps = np.ravel(cell.recurrent_delay.steps(cell.features, cell.delays))
    back = [
        site.edge(
            site.name,
            transform=nengo.Dense(weights.shape, init=weights * (steps == kind)),
            synapse=cell.recurrent_synapse or pure_delay(int(kind)),
        )
        for kind in np.unique(steps)
    ]
    return vertex, (*edges, *back)


def _recurrent_delay_objection(layer) -> str:
    cell = layer.cell
    if cell.recurrent_delay.lasts and cell.recurrent_synapse is not None:
        return (
            "it has a recurrent_delay and a recurrent_synapse, and a connection in"
            " Nengo has one of them. Leave one out"
        )
    return "" if cell.delays is None else _width_objection(layer)


_RECURRENT_NEURONS = LayerRule(
    _recurrent_neurons,
    first_of(sequence_objection, _per_unit, _recurrent_delay_objection),
)
LAYERS.add(_RECURRENT_NEURONS, layers.RecurrentNeurons)


def _simple_rnn(site: Site) -> Part:
    cell = site.layer.cell
    entrance, recurrent = (
        nengo.Dense(kernel.shape[::-1], init=kernel.T)
        for kernel in map(array, (cell.kernel, cell.recurrent_kernel))
    )
    bias = array(cell.bias) if cell.use_bias else None
    vertex, edges = site.through(entrance, neuron_type=neurons(cell), bias=bias)
    back = site.edge(site.name, transform=recurrent, synapse=nengo.Lowpass(0))
    return vertex, (*edges, back)


_SIMPLE_RNN = LayerRule(
    _simple_rnn,
    first_of(sequence_objection, lambda layer: activation_objection(layer.cell)),
)
LAYERS.add(_SIMPLE_RNN, keras.layers.SimpleRNN)

# By the cell of `keras.layers.RNN`.
CELL_RULES: Registry[LayerRule] = Registry("cell", governing=("call", "program"))
CELL_RULES.add(_NEURONS, layers.NeuronsCell)
CELL_RULES.add(_RECURRENT_NEURONS, layers.RecurrentNeuronsCell)
CELL_RULES.add(_SYNAPSE, layers.SynapseCell)
CELL_RULES.add(_DELAY_RULE, layers.DelayCell)
CELL_RULES.add(_DELAYED_DENSE, layers.DelayedDenseCell)
CELL_RULES.add(_NETWORK, layers.NetworkCell, layers.EnsembleCell)
CELL_RULES.add(_SIMPLE_RNN, keras.layers.SimpleRNNCell)


def _rule_of_cell(layer) -> LayerRule:
    return CELL_RULES.get(layer.cell, _UNKNOWN_CELL)


def _no_rule(layer) -> str:
    possible = ", ".join(sorted(kind.__name__ for kind in CELL_RULES))
    return (
        f"its cell is {type(layer.cell).__name__}. Cells that become Nengo objects"
        f" are {possible}"
    )


_UNKNOWN_CELL = LayerRule(objection=_no_rule)
LAYERS.add(LayerRule(chosen=_rule_of_cell), keras.layers.RNN)

LAYERS.add(LayerRule(), layers.Repeat)
