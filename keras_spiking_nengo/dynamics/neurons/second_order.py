"""Membranes behind a current that starts with each input, and fades."""

import math

from keras import ops

from keras_spiking_nengo import types
from keras_spiking_nengo.dynamics.neurons.neuron import NEURONS, Neuron, exp
from keras_spiking_nengo.types.synaptic import alpha_coefficients
from keras_spiking_nengo.types.varied import numbers_of

__all__ = ["lowest_threshold"]

# How near 0 a trained threshold comes, of its start.
_NEAREST_TO_ZERO = 1e-3


def lowest_threshold(parameters):
    """Ranges of a threshold that voltages are divided by."""
    low = _NEAREST_TO_ZERO * parameters["v_threshold"]
    return lambda dt: {"v_threshold": (low, math.inf)}


def _spikes(c, v, spike):
    return spike.spike((v - c["v_threshold"]) / c["v_threshold"])


def _behind_a_current(parameters, constants, step, **options) -> Neuron:
    return Neuron(
        parameters=parameters,
        states=("current", "voltage"),
        constants=constants,
        step=step,
        rates=None,
        trainable=tuple(parameters),
        ranges=lowest_threshold(parameters),
        max_spikes=1,
        **options,
    )


@NEURONS.register(types.SynapticLIF)
def _synaptic(neuron_type) -> Neuron:
    parameters = numbers_of(neuron_type)
    subtracts = neuron_type.reset == "subtract"

    def constants(p, dt):
        return {
            "d": exp(-dt / p["tau_mem"]),
            "D": exp(-dt / p["tau_syn"]),
            "v_threshold": p["v_threshold"],
            "height": p["amplitude"] / dt,
        }

    def step(c, J, state, spike):
        current, before = state
        current = c["D"] * current + J
        v = c["d"] * before + current
        if subtracts:
            v = v - _spikes(c, before, spike) * c["v_threshold"]
        else:
            v = ops.where(ops.stop_gradient(before) > c["v_threshold"], 0.0, v)
        return _spikes(c, v, spike) * c["height"], [current, v]

    return _behind_a_current(parameters, constants, step, variant=neuron_type.reset)


@NEURONS.register(types.AlphaLIF)
def _alpha_neuron(neuron_type) -> Neuron:
    parameters = numbers_of(neuron_type)

    def constants(p, dt):
        d, D, taken = alpha_coefficients(p["tau_mem"], p["tau_syn"], dt, exp)
        c = {"d": d, "D": D, "taken": taken, "v_threshold": p["v_threshold"]}
        return c | {"height": p["amplitude"] / dt}

    def step(c, J, state, spike):
        current, before = state
        fired = ops.stop_gradient(before) > c["v_threshold"]
        v = ops.where(fired, 0.0, c["d"] * before + c["taken"] * current)
        current = ops.where(fired, 0.0, c["D"] * current + J)
        return _spikes(c, v, spike) * c["height"], [current, v]

    return _behind_a_current(parameters, constants, step)
