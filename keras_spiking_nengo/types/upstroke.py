"""Neurons whose spike has an upstroke of its own: quadratic, and exponential.

Membranes have no unit: 0 is rest, and 1 where the upstroke begins.
"""

import nengo
import numpy as np

from keras_spiking_nengo.types.declared import (
    FiniteNumber,
    check_below,
    settled_rates,
)

__all__ = [
    "AdaptiveExponentialLIF",
    "LEAST_DIVISOR",
    "QuadraticIntegrateAndFire",
    "STEEPEST",
]

# Where a step of the quadratic membrane would pass infinity.
LEAST_DIVISOR = 0.01
# Widths of the exponential above which it grows no more: what is there fires at once.
STEEPEST = 10.0


class QuadraticIntegrateAndFire(nengo.neurons.NeuronType):
    """A membrane that runs away quadratically: the normal form of a type I neuron.

        tau_mem dv/dt = (v - v_rest) (v - v_critical) + J

    Above `v_peak` it fires, and is set to `v_reset`. A constant current makes it fire
    above a quarter of `(v_critical - v_rest)^2`, at a rate that starts from 0. A step
    takes one of the two factors `v` at its end: with `x` the distance from the middle
    of rest and critical voltage, and `h = dt / tau_mem`,

        x = (x + h (J - (v_critical - v_rest)^2 / 4)) / (1 - h x)

    which, unlike Euler's rule, comes to rest whatever the step.

    Args:
        tau_mem: float > 0, seconds.
        v_rest: float. Where the membrane rests without a current.
        v_critical: float >= `v_rest`. From where on it runs away without a current.
        v_peak: float above `v_critical`. Voltage above which it fires.
        v_reset: float, at most `v_rest`. Voltage after a spike.
        amplitude: float > 0. A spike is `amplitude / dt` high.
        initial_state: dict from `"voltage"` to a nengo distribution or an array.
            Voltages start in U(0, 1) by default.

    Raises:
        ValueError: for voltages in another order.
        nengo.exceptions.ValidationError: a ValueError, for a number out of its range.

    Example:
        >>> kind = QuadraticIntegrateAndFire(tau_mem=0.01)
        >>> kind.rates([0.2, 1.0], [1.0], [0.0]).round().ravel().tolist()
        [0.0, 36.0]

    Reference:
        Ermentrout and Kopell (1986), *Parabolic bursting in an excitable system coupled
        with a slow oscillation*, SIAM J. Appl. Math. 46; Latham, Richmond, Nelson and
        Nirenberg (2000), *Intrinsic dynamics in neuronal networks. I. Theory*, J.
        Neurophysiology 83.
    """

    spiking = True
    negative = False
    state = {"voltage": nengo.dists.Uniform(low=0, high=1)}
    tau_mem = FiniteNumber("tau_mem", low=0, low_open=True)
    v_rest = FiniteNumber("v_rest")
    v_critical = FiniteNumber("v_critical")
    v_peak = FiniteNumber("v_peak")
    v_reset = FiniteNumber("v_reset")
    amplitude = FiniteNumber("amplitude", low=0, low_open=True)

    def __init__(
        self,
        tau_mem=0.02,
        v_rest=0,
        v_critical=1,
        v_peak=5,
        v_reset=-1,
        amplitude=1,
        initial_state=None,
    ):
        super().__init__(initial_state)
        self.tau_mem = tau_mem
        self.v_rest = v_rest
        self.v_critical = v_critical
        self.v_peak = v_peak
        self.v_reset = v_reset
        self.amplitude = amplitude
        check_below(self, "v_critical", "v_peak")
        if not self.v_reset <= self.v_rest <= self.v_critical:
            raise ValueError(
                "v_reset is at most v_rest, and v_rest at most v_critical; received"
                f" v_reset={v_reset!r}, v_rest={v_rest!r}, v_critical={v_critical!r}."
            )

    def _centre(self) -> tuple[float, float]:
        """The middle of the two voltages, and half of the distance between them."""
        half = (self.v_critical - self.v_rest) / 2
        return self.v_rest + half, half

    def rates(self, x, gain, bias):
        """Firing rates in Hz for constant currents, in steps of no length."""
        J = self.current(x, gain, bias)
        middle, half = self._centre()
        excess = J - half**2
        root = np.sqrt(np.where(excess > 0, excess, 1))
        turn = np.arctan((self.v_peak - middle) / root)
        turn -= np.arctan((self.v_reset - middle) / root)
        return np.where(excess > 0, self.amplitude * root / (self.tau_mem * turn), 0)

    def step(self, dt, J, output, voltage):
        """Move the membrane, fire, and reset."""
        middle, half = self._centre()
        h = dt / self.tau_mem
        x = voltage - middle
        divisor = np.maximum(1 - h * x, LEAST_DIVISOR)
        voltage[...] = middle + (x + h * (J - half**2)) / divisor
        fires = voltage > self.v_peak
        output[...] = fires * (self.amplitude / dt)
        voltage[fires] = self.v_reset


class AdaptiveExponentialLIF(nengo.neurons.NeuronType):
    """AdEx: a leaky membrane that runs away exponentially, and adapts.

        tau_mem dv/dt = -v + slope_factor exp((v - 1) / slope_factor) - w + J
        tau_w dw/dt = coupling v - w

    Above `v_peak` it fires: `v` is set to `v_reset`, and `w` grows by `inc_w`. In the
    units of the reference, with a leak of `g_L` from the rest `E_L` and the threshold
    `V_T`, `v` is `(V - E_L) / (V_T - E_L)`, `tau_mem` is `C / g_L`, `slope_factor` is
    `Delta_T / (V_T - E_L)`, `coupling` is `a / g_L`, and currents, `inc_w` among them,
    are divided by `g_L (V_T - E_L)`. The defaults are those of the reference.

    A step solves both leaks exactly, for the other terms as they are at its start. The
    exponential grows up to 10 `slope_factor` above 1: from there on a membrane passes
    `v_peak` at once.

    Args:
        tau_mem: float > 0, seconds. Of the membrane.
        tau_w: float > 0, seconds. Of the adaptation.
        coupling: float. Adaptation to the voltage; may be negative.
        inc_w: float. Adaptation to each spike.
        slope_factor: float > 0. Width of the exponential.
        v_reset: float below `v_peak`. Voltage after a spike.
        v_peak: float above 1. Voltage above which it fires.
        amplitude: float > 0. A spike is `amplitude / dt` high.
        initial_state: dict from `"voltage"` and `"adaptation"` to a nengo distribution
            or an array. Voltages start in U(0, 1), and the adaptation at 0 by default.

    Raises:
        ValueError: for a `v_reset` that is not below `v_peak`.
        nengo.exceptions.ValidationError: a ValueError, for a number out of its range.

    Example:
        >>> AdaptiveExponentialLIF(tau_w=0.1, inc_w=0.5).spiking
        True

    Reference:
        Brette and Gerstner (2005), *Adaptive exponential integrate-and-fire model as an
        effective description of neuronal activity*, J. Neurophysiology 94.
    """

    spiking = True
    negative = False
    state = {
        "voltage": nengo.dists.Uniform(low=0, high=1),
        "adaptation": nengo.dists.Choice([0]),
    }
    tau_mem = FiniteNumber("tau_mem", low=0, low_open=True)
    tau_w = FiniteNumber("tau_w", low=0, low_open=True)
    coupling = FiniteNumber("coupling")
    inc_w = FiniteNumber("inc_w")
    slope_factor = FiniteNumber("slope_factor", low=0, low_open=True)
    v_reset = FiniteNumber("v_reset")
    v_peak = FiniteNumber("v_peak", low=1, low_open=True)
    amplitude = FiniteNumber("amplitude", low=0, low_open=True)

    def __init__(
        self,
        tau_mem=0.0094,
        tau_w=0.144,
        coupling=0.13,
        inc_w=0.13,
        slope_factor=0.1,
        v_reset=0,
        v_peak=4.5,
        amplitude=1,
        initial_state=None,
    ):
        super().__init__(initial_state)
        self.tau_mem = tau_mem
        self.tau_w = tau_w
        self.coupling = coupling
        self.inc_w = inc_w
        self.slope_factor = slope_factor
        self.v_reset = v_reset
        self.v_peak = v_peak
        self.amplitude = amplitude
        check_below(self, "v_reset", "v_peak")

    def rates(self, x, gain, bias):
        """Firing rates in Hz for constant currents, over a second."""
        return settled_rates(self, self.current(x, gain, bias))

    def step(self, dt, J, output, voltage, adaptation):
        """Move the membrane and the adaptation, fire, and reset."""
        d, D = np.exp(-dt / self.tau_mem), np.exp(-dt / self.tau_w)
        widths = np.minimum((voltage - 1) / self.slope_factor, STEEPEST)
        drive = J - adaptation + self.slope_factor * np.exp(widths)
        adaptation *= D
        adaptation += (1 - D) * self.coupling * voltage
        voltage *= d
        voltage += (1 - d) * drive
        fires = voltage > self.v_peak
        output[...] = fires * (self.amplitude / dt)
        voltage[fires] = self.v_reset
        adaptation += self.inc_w * fires


# As saved files name them.
for _class in (QuadraticIntegrateAndFire, AdaptiveExponentialLIF):
    _class.__module__ = "keras_spiking_nengo.types"
