"""Neurons that resonate: their membrane swings at a frequency of its own."""

import nengo
import numpy as np

from keras_spiking_nengo.types.declared import FiniteNumber, settled_rates

__all__ = ["BalancedResonateAndFire", "balance"]


def balance(omega, dt: float, sqrt=np.sqrt):
    """The damping from which on Euler's steps of a resonator grow no more, in 1/s.

        p = (-1 + sqrt(1 - (dt omega)^2)) / dt

    Args:
        omega: of the resonator, in radians per second.
        dt: float, seconds.
        sqrt: of what `omega` is: a number, an array or a tensor.

    Raises:
        ValueError: for a number or an array with `dt omega` above 1.

    Example:
        >>> float(balance(30.0, 0.01).round(3))
        -4.606
    """
    turn = dt * omega
    if isinstance(turn, float | np.ndarray) and np.any(np.abs(turn) > 1):
        raise ValueError(
            "omega is at most 1/dt, or a resonator grows however strong its damping;"
            f" received omega={np.max(np.abs(omega)):g} with dt={dt:g} s. Take a dt of"
            f" at most {1 / np.max(np.abs(omega)):g} s."
        )
    # The same without a difference of numbers that are nearly equal.
    return -(omega * turn) / (1 + sqrt(1 - turn * turn))


class BalancedResonateAndFire(nengo.neurons.NeuronType):
    """A resonator with a refractory period in the place of a reset.

    With `u` and `v` the real and the imaginary part of the membrane, `q` the
    refractoriness, and `p` the damping at which Euler's steps of a resonator neither
    grow nor fade (`p = (-1 + sqrt(1 - (dt omega)^2)) / dt`),

        b = p - damping - q
        u = u + dt (b u - omega v + J);   v = v + dt (omega u + b v)

    It fires where `u > v_threshold + q`, and then `q = exp(-dt / tau_q) q + 1`; nothing
    is reset. In the reference a step is 0.01 long, and `q` fades to 0.9 in it: a
    `tau_q` of 0.095.

    Args:
        omega: float > 0, radians per second, at most `1 / dt`. What it resonates at.
        damping: float >= 0, 1/s. How fast a swing fades.
        v_threshold: float > 0. Membrane above which it fires.
        tau_q: float > 0, seconds. Of the refractoriness.
        amplitude: float > 0. A spike is `amplitude / dt` high.
        initial_state: dict from `"voltage"`, `"imaginary"` and `"refractoriness"` to a
            nengo distribution or an array. All start at 0 by default.

    Raises:
        ValueError: in a step, for an `omega` above `1 / dt`.
        nengo.exceptions.ValidationError: a ValueError, for a number out of its range.

    Example:
        >>> BalancedResonateAndFire(omega=20.0).spiking
        True

    Reference:
        Higuchi, Kairat, Bohte and Otte (2024), *Balanced resonate-and-fire neurons*,
        ICML; Izhikevich (2001), *Resonate-and-fire neurons*, Neural Networks 14.
    """

    spiking = True
    negative = False
    state = dict.fromkeys(
        ("voltage", "imaginary", "refractoriness"), nengo.dists.Choice([0])
    )
    omega = FiniteNumber("omega", low=0, low_open=True)
    damping = FiniteNumber("damping", low=0)
    v_threshold = FiniteNumber("v_threshold", low=0, low_open=True)
    tau_q = FiniteNumber("tau_q", low=0, low_open=True)
    amplitude = FiniteNumber("amplitude", low=0, low_open=True)

    def __init__(
        self,
        omega=10,
        damping=1,
        v_threshold=1,
        tau_q=0.095,
        amplitude=1,
        initial_state=None,
    ):
        super().__init__(initial_state)
        self.omega = omega
        self.damping = damping
        self.v_threshold = v_threshold
        self.tau_q = tau_q
        self.amplitude = amplitude

    def rates(self, x, gain, bias):
        """Firing rates in Hz for constant currents, over a second."""
        return settled_rates(self, self.current(x, gain, bias))

    def step(self, dt, J, output, voltage, imaginary, refractoriness):
        """Turn the membrane, and fire."""
        b = balance(float(self.omega), dt) - self.damping - refractoriness
        turned = self.omega * voltage + b * imaginary
        voltage += dt * (b * voltage - self.omega * imaginary + J)
        imaginary += dt * turned
        fires = voltage > self.v_threshold + refractoriness
        output[...] = fires * (self.amplitude / dt)
        refractoriness *= np.exp(-dt / self.tau_q)
        refractoriness += fires


# As saved files name it.
BalancedResonateAndFire.__module__ = "keras_spiking_nengo.types"
