"""Leaky membranes behind a synapse: each input starts a current, which fades.

An input makes the current jump by itself, however long a step is. These are the
membranes of surrogate gradient training; `IntegrateAndFire` with a `tau_syn` solves the
differential equations, in which an input lasts a step.
"""

import nengo
import numpy as np
from nengo.params import EnumParam

from keras_spiking_nengo.types.declared import FiniteNumber, settled_rates

__all__ = ["AlphaLIF", "SynapticLIF", "alpha_coefficients", "between"]


def between(p, q, exp):
    """`(exp(-q) - exp(-p)) / (p - q)`, `exp(-p)` where they are equal.

    A mean of exponentials, none of which overflows however long a time step is.
    """
    # Of a small part of both a series is enough ...
    halvings, terms = 16, 6
    p, q = p / 2**halvings, q / 2**halvings
    series = 1.0
    for k in range(terms, 0, -1):
        series = 1 + (p - q) / (k + 1) * series
    total = exp(-p) * series
    for _ in range(halvings):
        # ... and twice that part is this quotient times a mean.
        total = total * (exp(-p) + exp(-q)) / 2
        p, q = 2 * p, 2 * q
    return total


def alpha_coefficients(tau_mem, tau_syn, dt: float, exp=np.exp) -> tuple:
    """Decay of membrane and current, and what the one takes of the other in a step.

    Args:
        tau_mem, tau_syn: seconds; numbers, arrays or tensors.
        dt: float, seconds.
        exp: of one of these.

    Example:
        >>> np.isclose(alpha_coefficients(0.01, 0.01, 0.01)[2], np.exp(-1)).item()
        True
    """
    p, q = dt / tau_syn, dt / tau_mem
    # tau_mem / (tau_mem - tau_syn) (exp(-q) - exp(-p)), in a form that has no pole.
    return exp(-q), exp(-p), p * between(p, q, exp)


class _Synaptic(nengo.neurons.NeuronType):
    """What both have in common.

    Their states are kept as they are where they fire; the reset is part of the next
    step, in which the current that comes in is lost where all is set to 0.
    """

    spiking = True
    negative = False
    state = dict.fromkeys(("current", "voltage"), nengo.dists.Choice([0]))
    tau_mem = FiniteNumber("tau_mem", low=0, low_open=True)
    tau_syn = FiniteNumber("tau_syn", low=0, low_open=True)
    v_threshold = FiniteNumber("v_threshold", low=0, low_open=True)
    amplitude = FiniteNumber("amplitude", low=0, low_open=True)

    def __init__(self, tau_mem, tau_syn, v_threshold, amplitude, initial_state):
        super().__init__(initial_state)
        self.tau_mem = tau_mem
        self.tau_syn = tau_syn
        self.v_threshold = v_threshold
        self.amplitude = amplitude

    def rates(self, x, gain, bias):
        """Firing rates in Hz for constant currents, over a second in steps of 1 ms."""
        return settled_rates(self, self.current(x, gain, bias))


class SynapticLIF(_Synaptic):
    """Second-order LIF: a leaky membrane behind a current that leaks as well.

    With `alpha = exp(-dt / tau_syn)`, `beta = exp(-dt / tau_mem)`, and `S` 1 where it
    fired in the step before,

        i = alpha i + J
        v = beta v + i - S v_threshold

    and, with `reset="zero"`, `v = (1 - S) (beta v + i)`. It fires above `v_threshold`.
    An input is a jump of the current: a `J` that is held gives more the shorter steps
    are. `IntegrateAndFire(tau_mem, tau_syn)` has the same equation with currents that
    mean the same in steps of every length.

    Args:
        tau_mem: float > 0, seconds. Of the membrane.
        tau_syn: float > 0, seconds. Of the current.
        v_threshold: float > 0. Voltage above which it fires.
        reset: `"subtract"` or `"zero"`.
        amplitude: float > 0. A spike is `amplitude / dt` high.
        initial_state: dict from `"current"` and `"voltage"` to a nengo distribution or
            an array. Both start at 0 by default.

    Raises:
        nengo.exceptions.ValidationError: a ValueError, for a number out of its range.

    Example:
        >>> SynapticLIF(tau_mem=0.01, reset="zero").spiking
        True

    Reference:
        Neftci, Mostafa and Zenke (2019), *Surrogate gradient learning in spiking neural
        networks*, IEEE Signal Processing Magazine 36(6); Eshraghian et al. (2023),
        *Training spiking neural networks using lessons from deep learning*, Proceedings
        of the IEEE 111.
    """

    reset = EnumParam("reset", values=("subtract", "zero"))

    def __init__(
        self,
        tau_mem=0.02,
        tau_syn=0.005,
        v_threshold=1,
        reset="subtract",
        amplitude=1,
        initial_state=None,
    ):
        super().__init__(tau_mem, tau_syn, v_threshold, amplitude, initial_state)
        self.reset = reset

    def step(self, dt, J, output, current, voltage):
        """Move current and membrane, after a spike with its reset, and fire."""
        fired = voltage > self.v_threshold
        current *= np.exp(-dt / self.tau_syn)
        current += J
        voltage *= np.exp(-dt / self.tau_mem)
        voltage += current
        if self.reset == "zero":
            voltage[fired] = 0
        else:
            voltage -= self.v_threshold * fired
        output[...] = (voltage > self.v_threshold) * (self.amplitude / dt)


class AlphaLIF(_Synaptic):
    """A membrane that answers an input with an alpha function.

    To an input `J` it adds, after the time `t`,

        J tau_mem / (tau_mem - tau_syn) (exp(-t / tau_mem) - exp(-t / tau_syn))

    and `J t / tau exp(-t / tau)` where both are `tau`: it rises, and has its maximum
    some steps later. It fires above `v_threshold`; in the step after a spike all is set
    to 0, and what comes in is lost.

    Args:
        tau_mem: float > 0, seconds. Of the membrane.
        tau_syn: float > 0, seconds. Of the current; the two may be exchanged.
        v_threshold: float > 0. Voltage above which it fires.
        amplitude: float > 0. A spike is `amplitude / dt` high.
        initial_state: dict from `"current"` and `"voltage"` to a nengo distribution or
            an array. Both start at 0 by default.

    Raises:
        nengo.exceptions.ValidationError: a ValueError, for a number out of its range.

    Example:
        >>> AlphaLIF(tau_mem=0.01, tau_syn=0.01).spiking
        True

    Reference:
        Gerstner, Kistler, Naud and Paninski (2014), *Neuronal dynamics*, Cambridge
        University Press, chapter 6 (the spike response model); Eshraghian et al.
        (2023), *Training spiking neural networks using lessons from deep learning*,
        Proceedings of the IEEE 111.
    """

    def __init__(
        self,
        tau_mem=0.02,
        tau_syn=0.005,
        v_threshold=1,
        amplitude=1,
        initial_state=None,
    ):
        super().__init__(tau_mem, tau_syn, v_threshold, amplitude, initial_state)

    def step(self, dt, J, output, current, voltage):
        """Move membrane and current, or reset them after a spike, and fire."""
        d, D, taken = alpha_coefficients(self.tau_mem, self.tau_syn, dt)
        fired = voltage > self.v_threshold
        voltage *= d
        voltage += taken * current
        current *= D
        current += J
        voltage[fired] = current[fired] = 0
        output[...] = (voltage > self.v_threshold) * (self.amplitude / dt)


# As saved files name them.
for _class in (SynapticLIF, AlphaLIF):
    _class.__module__ = "keras_spiking_nengo.types"
