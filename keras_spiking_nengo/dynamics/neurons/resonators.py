"""Membranes that swing at a frequency of their own."""

import math

import numpy as np
from keras import ops

from keras_spiking_nengo import types
from keras_spiking_nengo.dynamics.neurons.neuron import NEURONS, Neuron, exp
from keras_spiking_nengo.dynamics.neurons.second_order import lowest_threshold
from keras_spiking_nengo.types.resonance import balance
from keras_spiking_nengo.types.varied import numbers_of

__all__: list[str] = []

# Of what is left of a full turn in a step: a root of nothing has no slope.
_LEAST_SQUARE = 1e-6
# Part of the fastest swing that steps can follow, up to which one is trained.
_FASTEST = 0.999


def _root(square):
    """The root of a number, an array or a tensor that training may have taken below."""
    if ops.is_tensor(square):
        return ops.sqrt(ops.maximum(square, _LEAST_SQUARE))
    return np.sqrt(square)


@NEURONS.register(types.BalancedResonateAndFire)
def _resonator(neuron_type) -> Neuron:
    parameters = numbers_of(neuron_type)
    thresholds = lowest_threshold(parameters)

    def constants(p, dt):
        return {
            "dt": dt,
            "omega": p["omega"],
            "b": balance(p["omega"], dt, _root) - p["damping"],
            "v_threshold": p["v_threshold"],
            "fading": exp(-dt / p["tau_q"]),
            "height": p["amplitude"] / dt,
        }

    def ranges(dt):
        swings = {"omega": (0.0, _FASTEST / dt), "damping": (0.0, math.inf)}
        return swings | thresholds(dt)

    def step(c, J, state, spike):
        u, v, q = state
        b = c["b"] - q
        turned = c["omega"] * u + b * v
        u = u + c["dt"] * (b * u - c["omega"] * v + J)
        v = v + c["dt"] * turned
        distance = u - c["v_threshold"] - q
        spikes = spike.spike(distance / c["v_threshold"])
        return spikes * c["height"], [u, v, c["fading"] * q + spikes]

    return Neuron(
        parameters=parameters,
        states=("voltage", "imaginary", "refractoriness"),
        constants=constants,
        step=step,
        rates=None,
        trainable=tuple(parameters),
        ranges=ranges,
        max_spikes=1,
    )
