"""Membranes that are stepped: integrate-and-fire, with leak or without."""

import math

import nengo
import numpy as np
from keras import ops

from keras_spiking_nengo import types
from keras_spiking_nengo.dynamics.loops import rounded
from keras_spiking_nengo.dynamics.neurons.neuron import (
    LONGEST_CLOCK,
    NEURONS,
    Neuron,
    Values,
    at_neurons,
    declared_ranges,
    exp,
    per_neuron,
    spike_constants,
)
from keras_spiking_nengo.dynamics.neurons.rates import (
    SMOOTHING,
    leaky,
    lif_rates,
    rectified,
    soft_lif_rates,
)
from keras_spiking_nengo.dynamics.surrogates import Surrogate
from keras_spiking_nengo.types.varied import numbers_of

__all__ = ["NEAREST_RESET", "above", "adapted"]

# --- leaky integrate-and-fire --------------------------------------------------


def _lif_constants(p, dt):
    return {
        "d": exp(-dt / p["tau_rc"]),
        "K": exp(_carried((p["tau_ref"] + dt) / p["tau_rc"])),
        "height": p["amplitude"] / dt,
        "min_voltage": p["min_voltage"],
    }


def _carried(clock):
    """A clock that can be carried."""
    return (ops if ops.is_tensor(clock) else np).minimum(clock, LONGEST_CLOCK)


def _lif_step(c, J, state, spike):
    v, q = state
    # The refractory clock counts as given in the backward pass.
    q = ops.stop_gradient(ops.maximum(q * c["d"], 1.0))
    e = ops.minimum(q * c["d"], 1.0)
    v = J + (v - J) * e
    spikes = spike.spike(v - 1)
    fired = ops.stop_gradient(v) > 1
    # The ratio first: a product would overflow for large currents.
    q = ops.where(fired, c["K"] * ((J - v) / (J - 1)), q)
    # Negative zero and NaN survive `where` as they do in nengo.
    v = ops.where(fired, 0.0, ops.maximum(v, c["min_voltage"]))
    return spikes * c["height"], [v, ops.stop_gradient(q)]


@NEURONS.register(nengo.LIF)
def _lif(neuron_type) -> Neuron:
    return Neuron(
        parameters=numbers_of(neuron_type),
        states=("voltage", "refractory"),
        constants=_lif_constants,
        step=_lif_step,
        rates=lif_rates,
        slopes=soft_lif_rates,
        trainable=("tau_rc", "amplitude"),
        max_spikes=1,
        leak=lambda c: c["d"],
    )


def adapted(step):
    """`step` less a current `n`, which decays with `tau_n` and grows with spikes."""

    def with_adaptation(c, J, state, spike):
        *state, n = state
        output, state = step(c, J - n, state, spike)
        # As in nengo: rounding tells where a membrane is much shorter than a step,
        # and v meets J or just misses it.
        change = rounded(c["inc_n"] * output) - n
        n = n + rounded(c["dt_n"] * change)
        return output, [*state, n]

    return with_adaptation


def _adaptation_ranges(dt):
    # Beyond, the adaptation swings around what it tends to, ever more.
    return {"tau_n": (dt, math.inf)}


def _adaptation_constants(p, dt):
    return {"dt_n": dt / p["tau_n"], "inc_n": p["inc_n"]}


@NEURONS.register(nengo.AdaptiveLIF)
def _adaptive_lif(neuron_type) -> Neuron:
    return Neuron(
        parameters=numbers_of(neuron_type),
        states=("voltage", "refractory", "adaptation"),
        constants=lambda p, dt: _lif_constants(p, dt) | _adaptation_constants(p, dt),
        step=adapted(_lif_step),
        rates=lif_rates,
        slopes=soft_lif_rates,
        trainable=("tau_rc", "amplitude", "tau_n", "inc_n"),
        ranges=_adaptation_ranges,
        max_spikes=1,
        leak=lambda c: c["d"],
    )


@NEURONS.register(nengo.AdaptiveLIFRate)
def _adaptive_lif_rate(neuron_type) -> Neuron:
    def step(c, J, state, spike):
        value = lif_rates(c, J)
        soft = soft_lif_rates(c, J, SMOOTHING)
        return ops.stop_gradient(value) + (soft - ops.stop_gradient(soft)), state

    return Neuron(
        parameters=numbers_of(neuron_type),
        states=("adaptation",),
        constants=lambda p, dt: p | _adaptation_constants(p, dt),
        step=adapted(step),
        rates=lif_rates,
        slopes=soft_lif_rates,
        trainable=("tau_rc", "tau_ref", "amplitude", "tau_n", "inc_n"),
        ranges=_adaptation_ranges,
        spiking=False,
    )


# --- integrate-and-fire --------------------------------------------------------


def _integrate(drive, count):
    """A voltage that grows by `drive(c, J) dt` and pays 1 for each spike."""

    def step(c, J, state, spike):
        (v,) = state
        v = v + c["dt"] * drive(c, J)
        spikes = count(spike, v)
        return spikes * c["height"], [v - spikes]

    return step


def _integrate_rule(drive, count, rates, trainable=("amplitude",)):
    def rule(neuron_type) -> Neuron:
        return Neuron(
            parameters=numbers_of(neuron_type),
            states=("voltage",),
            constants=spike_constants,
            step=_integrate(drive, count),
            rates=rates,
            trainable=trainable,
            ranges=lambda dt: declared_ranges(neuron_type),
            leak=lambda c: 1.0,
        )

    return rule


NEURONS.add(
    _integrate_rule(lambda c, J: ops.relu(J), Surrogate.trunc, rectified),
    nengo.SpikingRectifiedLinear,
)
NEURONS.add(
    _integrate_rule(
        lambda c, J: ops.where(J < 0, c["negative_slope"] * J, J),
        Surrogate.trunc,
        leaky,
        ("amplitude", "negative_slope"),
    ),
    types.SpikingLeakyReLU,
)


# --- membranes with a reset at the end of a step -------------------------------

_MEMBRANE = ("tau_mem", "tau_syn", "r", "v_leak", "w_in", "v_threshold", "v_reset")


def numbers_or_arrays(neuron_type, names) -> Values:
    """The parameters that a neuron type has, numbers or arrays."""
    values = {name: getattr(neuron_type, name, None) for name in (*names, "amplitude")}
    return {
        name: value if isinstance(value, np.ndarray) else float(value)
        for name, value in values.items()
        if value is not None
    }


# How near a trained reset comes to the threshold, of the distance at the start.
NEAREST_RESET = 1e-3


def above(least, distance):
    """A distance from reset to threshold that one can divide by."""
    return ops.maximum(distance, least) if ops.is_tensor(distance) else distance


def _spikes_and_reset(c, v, spike, subtracts: bool):
    """Spikes, and the voltage after them."""
    # The voltage of a spike counts as given where the reset forgets it.
    spikes = spike.spike((v - c["threshold"]) / c["distance"])
    if subtracts:
        return spikes, v - spikes * c["distance"]
    fired = ops.stop_gradient(v) > c["threshold"]
    return spikes, ops.where(fired, c["v_reset"], v)


@NEURONS.register(types.LeakyIntegrator, types.IntegrateAndFire)
def _membrane(neuron_type) -> Neuron:
    exact = neuron_type.discretization == "exact"
    parameters = numbers_or_arrays(neuron_type, _MEMBRANE)
    spiking, subtracts = neuron_type.spiking, False
    if spiking:
        subtracts = neuron_type.reset == "subtract"
        distance = parameters["v_threshold"] - parameters["v_reset"]
        least = NEAREST_RESET * float(np.min(distance))
    states = ("current", "voltage") if "tau_syn" in parameters else ("voltage",)

    # A step of Euler's overshoots beyond.
    taus = () if exact else {"tau_mem", "tau_syn"} & {*parameters}

    def constants(p, dt):
        c = types.coefficients(p, dt, exact, exp)
        c["height"] = p["amplitude"] / dt if spiking else p["amplitude"]
        if spiking:
            c |= {"threshold": p["v_threshold"], "v_reset": p["v_reset"]}
            c["distance"] = above(least, p["v_threshold"] - p["v_reset"])
        return c

    def step(c, J, state, spike):
        c = at_neurons(c, J)
        *current, v = state
        v = c["d"] * v + c["b"] * J + c["l"]
        if current:
            v = v + c["a"] * current[0]
            current = [c["D"] * current[0] + c["u"] * J]
        if not spiking:
            return c["height"] * v, [*current, v]
        spikes, v = _spikes_and_reset(c, v, spike, subtracts)
        return spikes * c["height"], [*current, v]

    return Neuron(
        parameters=parameters,
        states=states,
        constants=constants,
        step=step,
        rates=None,
        trainable=tuple(parameters),
        ranges=lambda dt: dict.fromkeys(taus, (dt, math.inf)),
        spiking=spiking,
        max_spikes=1 if spiking else None,
        leak=None if "tau_syn" in parameters else lambda c: c["d"],
        variant=f"{exact}, {subtracts}, {sorted(parameters)}",
    )


@NEURONS.register(types.Threshold)
def _threshold(neuron_type) -> Neuron:
    def step(c, J, state, spike):
        distance = J - per_neuron(c["threshold"], J)
        return spike.spike(distance) * c["height"], state

    parameters = numbers_or_arrays(neuron_type, ["threshold"])
    return Neuron(
        parameters=parameters,
        states=(),
        constants=spike_constants,
        step=step,
        rates=None,
        trainable=tuple(parameters),
        max_spikes=1,
    )


# --- Izhikevich ----------------------------------------------------------------


@NEURONS.register(nengo.Izhikevich)
def _izhikevich(neuron_type) -> Neuron:
    parameters = numbers_of(neuron_type)
    least = NEAREST_RESET * abs(30 - parameters["reset_voltage"])

    def constants(p, dt):
        distance = above(least, 30 - p["reset_voltage"])
        return p | {"dt": dt, "height": 1 / dt, "distance": distance}

    def ranges(dt):
        # Longer steps of Euler's overshoot.
        return {"tau_recovery": (0.0, 0.001 / dt)}

    def step(c, J, state, spike):
        v, u = state
        # Nengo's floor for the current, below which the quadratic diverges.
        J = ops.maximum(J, -30.0)
        # In nengo's order of operations: the map is chaotic, and rounding tells.
        v = v + (0.04 * (v * v) + 5 * v + 140 - u + J) * 1000 * c["dt"]
        # Nengo fires at 30 mV itself, a surrogate only above its threshold.
        fired = ops.stop_gradient(v) >= 30
        scaled = (v - 30) / c["distance"]
        spikes = spike.spike(ops.where(fired, ops.maximum(scaled, 1e-30), scaled))
        v = ops.where(fired, c["reset_voltage"], v)
        u = u + c["tau_recovery"] * (c["coupling"] * v - u) * 1000 * c["dt"]
        u = ops.where(fired, u + c["reset_recovery"], u)
        return spikes * c["height"], [v, u]

    return Neuron(
        parameters=parameters,
        states=("voltage", "recovery"),
        constants=constants,
        step=step,
        rates=None,
        trainable=("tau_recovery", "coupling", "reset_voltage", "reset_recovery"),
        ranges=ranges,
        max_spikes=1,
    )
