"""Membranes whose spike has an upstroke of its own."""

import math

from keras import ops

from keras_spiking_nengo import types
from keras_spiking_nengo.dynamics.loops import precise
from keras_spiking_nengo.dynamics.neurons.membranes import NEAREST_RESET, above
from keras_spiking_nengo.dynamics.neurons.neuron import NEURONS, Neuron, exp
from keras_spiking_nengo.types.upstroke import LEAST_DIVISOR, STEEPEST
from keras_spiking_nengo.types.varied import numbers_of

__all__: list[str] = []


def _nearest_reset(parameters) -> float:
    """How near a trained reset comes to the peak."""
    return NEAREST_RESET * (parameters["v_peak"] - parameters["v_reset"])


def _at_peak(c, v, spike):
    """Spikes, and the voltage after them."""
    # The voltage of a spike counts as given, as the reset forgets it.
    spikes = spike.spike((v - c["v_peak"]) / c["distance"])
    fired = ops.stop_gradient(v) > c["v_peak"]
    return spikes, ops.where(fired, c["v_reset"], v)


# --- quadratic -----------------------------------------------------------------


def _quadratic_rates(p, J, excess=None):
    """`root / (tau_mem turn)`, with `turn` from reset to peak; 0 without an excess."""
    half = (p["v_critical"] - p["v_rest"]) / 2
    middle = p["v_rest"] + half
    excess = J - half * half if excess is None else excess
    # The inner choice keeps the root and its gradient finite where it is not used.
    root = ops.sqrt(ops.where(excess > 0, excess, 1.0))
    turn = precise("arctan", (p["v_peak"] - middle) / root)
    turn = turn - precise("arctan", (p["v_reset"] - middle) / root)
    rate = p["amplitude"] * root / (p["tau_mem"] * turn)
    # Multiplied by the current's own NaN, so that NaN goes in and comes out.
    return ops.where(excess > 0, rate, 0 * excess)


# Of a softened excess: the root of less has no slope in single precision.
_LEAST_EXCESS = 1e-12


def _soft_quadratic_rates(p, J, width):
    """The same with `width log(1 + exp(excess / width))` in place of the excess."""
    half = (p["v_critical"] - p["v_rest"]) / 2
    soft = width * ops.softplus((J - half * half) / width)
    return _quadratic_rates(p, J, ops.maximum(soft, _LEAST_EXCESS))


@NEURONS.register(types.QuadraticIntegrateAndFire)
def _quadratic(neuron_type) -> Neuron:
    parameters = numbers_of(neuron_type)
    least = _nearest_reset(parameters)

    def constants(p, dt):
        half = (p["v_critical"] - p["v_rest"]) / 2
        return {
            "h": dt / p["tau_mem"],
            "middle": p["v_rest"] + half,
            "start": half * half,
            "v_peak": p["v_peak"],
            "v_reset": p["v_reset"],
            "distance": above(least, p["v_peak"] - p["v_reset"]),
            "height": p["amplitude"] / dt,
        }

    def step(c, J, state, spike):
        x = state[0] - c["middle"]
        divisor = ops.maximum(1 - c["h"] * x, LEAST_DIVISOR)
        v = c["middle"] + (x + c["h"] * (J - c["start"])) / divisor
        spikes, v = _at_peak(c, v, spike)
        return spikes * c["height"], [v]

    return Neuron(
        parameters=parameters,
        states=("voltage",),
        constants=constants,
        step=step,
        rates=_quadratic_rates,
        slopes=_soft_quadratic_rates,
        trainable=tuple(parameters),
        max_spikes=1,
    )


# --- exponential ---------------------------------------------------------------


@NEURONS.register(types.AdaptiveExponentialLIF)
def _adaptive_exponential(neuron_type) -> Neuron:
    parameters = numbers_of(neuron_type)
    least = _nearest_reset(parameters)

    def constants(p, dt):
        kept = ("coupling", "inc_w", "slope_factor", "v_reset", "v_peak")
        return {name: p[name] for name in kept} | {
            "d": exp(-dt / p["tau_mem"]),
            "D": exp(-dt / p["tau_w"]),
            "distance": above(least, p["v_peak"] - p["v_reset"]),
            "height": p["amplitude"] / dt,
        }

    def step(c, J, state, spike):
        v, w = state
        widths = ops.minimum((v - 1) / c["slope_factor"], STEEPEST)
        drive = J - w + c["slope_factor"] * ops.exp(widths)
        w = c["D"] * w + (1 - c["D"]) * c["coupling"] * v
        v = c["d"] * v + (1 - c["d"]) * drive
        spikes, v = _at_peak(c, v, spike)
        return spikes * c["height"], [v, w + c["inc_w"] * spikes]

    return Neuron(
        parameters=parameters,
        states=("voltage", "adaptation"),
        constants=constants,
        step=step,
        rates=None,
        trainable=tuple(parameters),
        # A peak where the exponential begins would be no upstroke.
        ranges=lambda dt: {"v_peak": (1.0, math.inf)},
        max_spikes=1,
    )
