"""What a population does while it is trained.

    "spikes"       spikes, differentiated through the membrane's recurrence
    "spike_aware"  spikes, differentiated as if they were the rate curve
    "rate"         the rate curve

Where a curve has a kink, its derivative is that of a smoothed one.

Reference:
    Hunsberger and Eliasmith (2016), *Training spiking deep networks for
    neuromorphic hardware*, arXiv:1611.05141 (smoothed curves).
"""

from collections.abc import Callable
from typing import Any

from keras import ops

from keras_spiking_nengo.dynamics.neurons import SMOOTHING, Neuron
from keras_spiking_nengo.dynamics.neurons.neuron import Values
from keras_spiking_nengo.dynamics.surrogates import Surrogate

__all__ = [
    "FORWARDS",
    "constants_of_mode",
    "curve",
    "step_of_mode",
    "differentiated_as",
]

FORWARDS = ("spikes", "spike_aware", "rate")


def differentiated_as(value, slope):
    """`value`, differentiated as if it were `slope`."""
    return ops.stop_gradient(value) + (slope - ops.stop_gradient(slope))


def curve(dynamics: Neuron, values: Values, J, width: float = SMOOTHING):
    """Rates of the currents `J`, differentiated over a width of the smoothing."""
    assert dynamics.rates is not None  # callers refuse types without a curve
    rates = dynamics.rates(values, J)
    if dynamics.slopes is None:
        return rates
    return differentiated_as(rates, dynamics.slopes(values, J, width))


def constants_of_mode(dynamics: Neuron, mode: str, values: Values, dt: float) -> Values:
    """What `step_of_mode` needs of the parameters: numbers and tensors, nested.

    Args:
        dynamics: of the neuron type.
        mode: one of `FORWARDS`.
        values: the neuron type's parameters, numbers or tensors.
        dt: float, seconds.
    """
    constants = dynamics.constants(values, dt)
    if mode == "spikes":
        return constants
    return constants | {"curve": values}


def step_of_mode(
    dynamics: Neuron, mode: str, spike: Surrogate, width: float = SMOOTHING
) -> Callable[[Values, Any, list], tuple[Any, list]]:
    """`step(constants, J, state)` for one of `FORWARDS`.

    Args:
        dynamics: of the neuron type.
        mode: one of `FORWARDS`.
        spike: surrogate of the spike.
        width: of the smoothing of the rate curve.
    """

    def spikes(p, J, state):
        return dynamics.step(p, J, state, spike)

    def rate_of(p, J):
        return curve(dynamics, p["curve"], J, width)

    def rate(p, J, state):
        return rate_of(p, J), state

    def spike_aware(p, J, state):
        y, state = spikes(p, ops.stop_gradient(J), state)
        return differentiated_as(y, rate_of(p, J)), state

    return {"spikes": spikes, "spike_aware": spike_aware, "rate": rate}[mode]
