"""Neurons, integrators and synapses: the nodes that have a state over time.

A spike is 1 in NIR and `amplitude / dt` here, so that what is read has an amplitude of
`dt`, and a `Scale` follows what is written with another one.
"""

import math
from collections.abc import Iterator, Mapping
from inspect import signature
from typing import Any, NamedTuple

import keras
import nengo
import numpy as np

from keras_spiking_nengo import layers
from keras_spiking_nengo.convert.nir.layout import kind
from keras_spiking_nengo.convert.nir.primitives import Place, Primitive, elementwise
from keras_spiking_nengo.convert.nir.sketch import Bundle, Writer
from keras_spiking_nengo.types import (
    Heterogeneous,
    IntegrateAndFire,
    LeakyIntegrator,
    Threshold,
)

__all__ = ["NEURON_NODES", "filter_bundle", "fire"]


class Membrane(NamedTuple):
    """A neuron of NIR's as a neuron type of ours.

    Attributes:
        neuron_type: the class.
        names: from NIR's names of the parameters to ours.
        lacks: the time constants that it lacks, which are None.
    """

    neuron_type: type
    names: Mapping[str, str]
    lacks: frozenset[str] = frozenset()


def _same(*names: str) -> dict[str, str]:
    return {name: name for name in names}


_TAUS, _TAU_SYN = frozenset({"tau_mem", "tau_syn"}), frozenset({"tau_syn"})
_LEAK = {"tau": "tau_mem"} | _same("r", "v_leak")
_CURRENT = _same("tau_syn", "tau_mem", "r", "v_leak", "w_in")
_FIRES = _same("v_threshold", "v_reset")
MEMBRANES = {
    "Threshold": Membrane(Threshold, _same("threshold")),
    "I": Membrane(LeakyIntegrator, _same("r"), _TAUS),
    "LI": Membrane(LeakyIntegrator, _LEAK, _TAU_SYN),
    "CubaLI": Membrane(LeakyIntegrator, _CURRENT),
    "IF": Membrane(IntegrateAndFire, _same("r") | _FIRES, _TAUS),
    "LIF": Membrane(IntegrateAndFire, _LEAK | _FIRES, _TAU_SYN),
    "CubaLIF": Membrane(IntegrateAndFire, _CURRENT | _FIRES),
}
# What a node may note in its metadata, as Nengo's types and NIR have no place for it.
_NOTES = {"discretization": "exact", "reset": "value"}


# --- reading ------------------------------------------------------------------------


def _read_neurons(place: Place) -> Iterator[keras.Layer]:
    neuron_type, names, lacks = MEMBRANES[kind(place.node)]
    dt, noted = place.options.dt, place.node.metadata
    parameters: dict[str, Any] = dict.fromkeys(lacks)
    for theirs, ours in names.items():
        numbers = place.numbers(theirs)
        parameters[ours] = np.ravel(numbers) if np.ndim(numbers) else numbers
    for name in {*_NOTES} & {*signature(neuron_type).parameters}:
        default = getattr(place.options, name)
        parameters[name] = str((noted or {}).get(name, default))
    if neuron_type is not LeakyIntegrator:
        parameters["amplitude"] = dt
    yield layers.Neurons(
        neuron_type(**parameters), dt, return_sequences=True, seed=0, name=place.named()
    )


# --- writing ------------------------------------------------------------------------


def fire(writer: Writer, name: str, bundle: Bundle, neuron_type) -> Bundle:
    """What neurons make of a bundle.

    Raises:
        NotImplementedError: for neurons that NIR has not.
    """
    bundle = writer.sketch.settled(bundle, name)
    node = _neuron_node(writer, bundle, _nearest(writer, neuron_type))
    after = writer.sketch.after(bundle, name, node)
    height = getattr(neuron_type, "amplitude", 1.0)
    height = np.asarray(height) / (writer.sketch.dt if neuron_type.spiking else 1.0)
    return writer.sketch.scaled(after, f"{name}_height", height)


def _nearest(writer: Writer, neuron_type):
    """The neuron type of NIR's that is, or is written for, one."""
    if type(neuron_type) in (LeakyIntegrator, IntegrateAndFire, Threshold):
        return neuron_type
    if type(neuron_type) is Heterogeneous:
        return _with_each(
            _nearest(writer, neuron_type.base_type), neuron_type.parameters
        )
    if type(neuron_type) is nengo.SpikingRectifiedLinear:
        writer.lax(
            "its voltage does not fall, and may pass the threshold several times in a"
            " step; an IF of NIR's is not so",
            "writes an IF",
        )
        return IntegrateAndFire(None, reset="subtract")
    if type(neuron_type) is not nengo.LIF:
        raise writer.refusal(
            f"its neurons are {neuron_type}; possible are nengo.LIF(tau_ref=0,"
            " min_voltage=-inf), and ksn.types.LeakyIntegrator, IntegrateAndFire"
            " and Threshold"
        )
    if neuron_type.tau_ref > 0:
        writer.lax(
            f"its refractory period is {neuron_type.tau_ref:g} s, and NIR has none",
            "leaves it out",
        )
    if neuron_type.min_voltage > -math.inf:
        writer.lax(
            f"its voltage does not fall below {neuron_type.min_voltage:g}, and NIR's"
            " may",
            "leaves that out. Use min_voltage=-np.inf",
        )
    return IntegrateAndFire(neuron_type.tau_rc)


def _with_each(nearest, parameters: Mapping[str, np.ndarray]):
    """A type of NIR's with numbers for each neuron.

    Raises:
        ValueError: for a parameter that it has no arrays of.
    """
    named = {{"tau_rc": "tau_mem"}.get(k, k): v for k, v in parameters.items()}
    named.pop("amplitude", None)  # a `Scale` that follows
    arguments = {*signature(type(nearest)).parameters}
    if not {*named} <= arguments:
        raise ValueError(
            f"its {sorted({*named} - arguments)} differ, which NIR has not"
        )
    values = {name: getattr(nearest, name) for name in arguments}
    return type(nearest)(**values | named)


def _neuron_node(writer: Writer, bundle: Bundle, neuron_type):
    lacks = {name for name in _TAUS if getattr(neuron_type, name, 0) is None}
    wanted = type(neuron_type), lacks
    names = [n for n, m in MEMBRANES.items() if (m.neuron_type, m.lacks) == wanted]
    if not names:
        raise writer.refusal("it has a synaptic current and no leak. Give it a tau_mem")
    (name,) = names
    values = {
        theirs: bundle.arranged(getattr(neuron_type, ours))
        for theirs, ours in MEMBRANES[name].names.items()
    }
    if "r" in values and "w_in" not in values:
        values["r"] = values["r"] * bundle.arranged(neuron_type.w_in)
    notes = {key: getattr(neuron_type, key, usual) for key, usual in _NOTES.items()}
    notes = {key: noted for key, noted in notes.items() if noted != _NOTES[key]}
    if "reset" in notes:
        writer.lax(
            "its reset subtracts, and NIR's is to a value",
            "writes that, with a note in the node's metadata",
        )
    return getattr(writer.nir, name)(**values, metadata=notes)


def _write_neurons(writer: Writer) -> Bundle:
    vertex, _ = writer.site.read()
    if vertex.neuron_type is None:
        return writer.source
    return fire(writer, writer.site.name, writer.source, vertex.neuron_type)


# --- synapses -----------------------------------------------------------------------


def filter_bundle(
    writer: Writer, name: str, bundle: Bundle, synapse, lags: bool
) -> Bundle:
    """A bundle after a synapse.

    Args:
        writer: of the layer.
        name: for its nodes.
        bundle: what is filtered.
        synapse: Nengo's, or None.
        lags: whether it is a step behind, as on a connection.

    Raises:
        NotImplementedError: for a synapse that NIR has not.
    """
    nir, dt = writer.nir, writer.sketch.dt
    if synapse is None:
        return bundle
    bundle = writer.sketch.settled(bundle, name)
    steps = _steps_of(synapse)
    if steps is not None:
        delay = bundle.arranged((steps if lags else steps - 1) * dt)
        return writer.sketch.after(bundle, name, nir.Delay(delay))
    node = _filter(writer, bundle, synapse)
    if node is not None:
        bundle = writer.sketch.after(bundle, name, node)
    if lags:
        lag = nir.Delay(bundle.arranged(dt))
        bundle = writer.sketch.after(bundle, f"{name}_lag", lag)
        writer.sketch.lags.update(bundle.nodes)
    return bundle


def _filter(writer: Writer, bundle: Bundle, synapse):
    """The node of a synapse, None if it does nothing but lag."""
    zeros, ones = bundle.arranged(0), bundle.arranged(1)
    if type(synapse) is nengo.Lowpass and synapse.method == "zoh":
        tau = bundle.arranged(synapse.tau)
        return writer.nir.LI(tau, ones, zeros) if synapse.tau > 0 else None
    if type(synapse) is nengo.Alpha and synapse.method == "zoh":
        tau = bundle.arranged(synapse.tau)
        return writer.nir.CubaLI(tau, tau, ones, zeros, ones)
    raise writer.refusal(
        f"its synapse is {synapse}; possible are nengo.Lowpass, nengo.Alpha, and delays"
    )


def _steps_of(synapse) -> int | None:
    """Steps by which a synapse delays on a connection, if it does only that."""
    if type(synapse) is not nengo.LinearFilter or synapse.analog:
        return None
    num, den = np.ravel(synapse.num), np.ravel(synapse.den)
    pure = np.array_equal(num, [1.0]) and den[0] == 1 and not np.any(den[1:])
    return len(den) - 1 if pure else None


def _write_synapse(writer: Writer) -> Bundle:
    vertex, (edge,) = writer.site.read()
    lags = vertex.process is None
    synapse = edge.synapse if lags else vertex.process
    bundle = writer.settled()
    return filter_bundle(writer, writer.site.name, bundle, synapse, lags)


def _membrane_row(membrane: Membrane) -> Primitive:
    lacks = ", ".join(f"`{name}=None`" for name in sorted(membrane.lacks))
    neurons = f"`ksn.layers.Neurons(ksn.types.{membrane.neuron_type.__name__}(...))`"
    return Primitive(
        f"{neurons} with {lacks}" if lacks else neurons,
        elementwise(*membrane.names),
        _read_neurons,
        {layers.Neurons: _write_neurons, layers.Synapse: _write_synapse},
    )


NEURON_NODES = {name: _membrane_row(membrane) for name, membrane in MEMBRANES.items()}
