"""A membrane's voltage and its refractory clock in one array.

The voltage `v` of a neuron that is reset to zero stays there while its refractory
clock `q` runs (`dynamics.neurons`), so one number `m` says both:

    m = q M   a spike was sent in this step, M = 2^60
    m = -q    the clock runs in the next step too
    m = v     otherwise, and then q = 1

A loop over time passes over memory fewer times, keeps half as much of it for the
reverse pass, and spikes can be read off the array alone. `M` is exact, and so large
that no voltage comes near.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from keras import ops

from keras_spiking_nengo.dynamics.neurons import Neuron, adapted, has_clock

__all__ = ["fold", "foldable", "folded", "unfold"]

_SPIKE_MARK = 2.0**60
_SPIKED = 2.0**30


def foldable(
    dynamics: Neuron,
    populations: Iterable[Mapping[str, float]],
    state: Sequence[np.ndarray],
    dt: float = 0.0,
) -> bool:
    """Whether folding loses nothing, from this state on.

    Args:
        dynamics: of the neuron type.
        populations: parameters of each population of that type.
        state: values of its states.
        dt: float, seconds, or 0 for one that is much shorter than `tau_rc`.
    """
    if not has_clock(dynamics):
        return False
    # With longer times a marked clock would overflow.
    suited = all(
        p["min_voltage"] == 0 and p["tau_ref"] + dt < 20 * p["tau_rc"]
        for p in populations
    )
    voltage, clock, *_ = state
    within = (voltage >= 0) & (voltage <= 1)
    return suited and bool(np.all(within & ((voltage == 0) | (clock <= 1))))


def fold(voltage, clock):
    """Both in one array, before any step."""
    return ops.where(clock > 1, -clock, voltage)


def unfold(m):
    """Voltage and clock."""
    clock = ops.maximum(ops.maximum(-m, m / _SPIKE_MARK), 1.0)
    return _voltage(m), clock


def _voltage(m):
    # As a choice, whose derivative is one: JAX divides that of a maximum at ties.
    return ops.where(ops.logical_or(m < 0, m > _SPIKED), 0.0, m)


def _folded_step(c, J, state, spike):
    (m,) = state
    # The refractory clock counts as given in the backward pass.
    frozen = ops.stop_gradient(m)
    q = ops.maximum(-c["d"] * frozen, (c["d"] / _SPIKE_MARK) * frozen)
    q = ops.maximum(q, 1.0)
    after = q * c["d"]
    v = J + (_voltage(m) - J) * ops.minimum(after, 1.0)
    fired = ops.stop_gradient(v) > 1
    # The ratio first: a product would overflow for large currents.
    clock = ops.stop_gradient((c["K"] * _SPIKE_MARK) * ((J - v) / (J - 1)))
    # A voltage of NaN is kept.
    rest = ops.where(after > 1, 0.0 * v - q, ops.where(v < 0, 0.0, v))
    m = ops.where(fired, clock, rest)
    if spike.differentiable:
        return spike.spike(v - 1) * c["height"], [m]
    # Two results of one computation are computed twice: this one is not.
    return ops.cast(m > _SPIKED, m.dtype) * c["height"], [m]


def folded(dynamics: Neuron) -> Neuron:
    """The same dynamics, whose first two states are one."""
    rest = dynamics.states[2:]
    step = adapted(_folded_step) if rest else _folded_step
    return replace(dynamics, states=("membrane", *rest), step=step)
