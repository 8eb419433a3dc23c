"""Two ways to carry what is left of a refractory period.

    refractory        exp(refractory_time / tau_rc), never below 1: cheap to step
    refractory_time   seconds, as nengo has it: any ratio of `tau_ref` and `tau_rc`

The first overflows where a refractory period is many membrane time constants long.
The second counts on below zero, as one sees where nengo's own is probed, and its step
is nengo's, with an exponential and a logarithm:

    t = t - dt;  s = min(max(dt - t, 0), dt);  v = v + (v - J) expm1(-s / tau_rc)
    where v > 1:  t = tau_ref + dt + tau_rc log1p((1 - v) / (J - 1)),  v = 0

Which one is taken depends on parameters as they are when a neuron is built. One
whose `tau_rc` is trained keeps it, and a clock never starts above `exp(80)`: below
`tau_ref / 80` its refractory period shrinks with `tau_rc`.
"""

from dataclasses import replace

import nengo
import numpy as np
from keras import ops

from keras_spiking_nengo.dynamics.loops import precise
from keras_spiking_nengo.dynamics.neurons.membranes import adapted
from keras_spiking_nengo.dynamics.neurons.neuron import LONGEST_CLOCK, Neuron, exp

__all__ = ["has_clock", "longest_start", "suited_clock", "timed"]


def has_clock(dynamics: Neuron) -> bool:
    """Whether a refractory time is carried as its exponential."""
    return dynamics.states[:2] == ("voltage", "refractory")


def longest_start(neuron_type: nengo.neurons.NeuronType) -> float:
    """The longest refractory time that neurons start with, in seconds.

    That of a distribution is the longest of many that are drawn of it, always the same.
    """
    start = neuron_type.initial_state or {}
    times = start.get("refractory_time", 0.0)
    if isinstance(times, nengo.dists.Distribution):
        times = times.sample(1000, rng=np.random.RandomState(0))
    return float(np.max(times))


def suited_clock(dynamics: Neuron, dt: float = 0.0, start: float = 0.0) -> Neuron:
    """The same dynamics, whose refractory time suits its parameters.

    Args:
        dynamics: of the neuron type.
        dt: float, seconds.
        start: float, seconds. The longest refractory time that a neuron starts with.

    Example:
        >>> import nengo
        >>> from keras_spiking_nengo.dynamics.neurons import neuron
        >>> suited_clock(neuron(nengo.LIF(tau_rc=1e-5))).states
        ('voltage', 'refractory_time')
    """
    if not has_clock(dynamics):
        return dynamics
    p = dynamics.parameters
    longest = max(p["tau_ref"] + dt, start)
    return timed(dynamics) if longest > LONGEST_CLOCK * p["tau_rc"] else dynamics


def timed(dynamics: Neuron) -> Neuron:
    """The same dynamics with nengo's own refractory time, if it has one."""
    if not has_clock(dynamics):
        return dynamics
    rest = dynamics.states[2:]

    def constants(p, dt):
        c = dynamics.constants(p, dt)
        times = {"dt": dt, "tau_rc": p["tau_rc"], "tau_ref": p["tau_ref"]}
        return {k: v for k, v in c.items() if k not in ("d", "K")} | times

    return replace(
        dynamics,
        states=("voltage", "refractory_time", *rest),
        constants=constants,
        leak=lambda c: exp(-c["dt"] / c["tau_rc"]),
        step=adapted(_timed_step) if rest else _timed_step,
    )


def _timed_step(c, J, state, spike):
    v, time = state
    # As in the other form, the refractory time counts as given in the backward pass.
    time = ops.stop_gradient(time) - c["dt"]
    active = ops.minimum(ops.maximum(c["dt"] - time, 0.0), c["dt"])
    v = v - (J - v) * precise("expm1", -active / c["tau_rc"])
    spikes = spike.spike(v - 1)
    at_end, current = ops.stop_gradient(v), ops.stop_gradient(J)
    fired = at_end > 1
    # Elsewhere a logarithm would see numbers that it has no answer to.
    passed = ops.where(fired, (1 - at_end) / (current - 1), 0.0)
    sent = c["dt"] + ops.stop_gradient(c["tau_rc"] * precise("log1p", passed))
    time = ops.where(fired, c["tau_ref"] + sent, time)
    v = ops.where(fired, 0.0, ops.maximum(v, c["min_voltage"]))
    return spikes * c["height"], [v, ops.stop_gradient(time)]
