"""Neuron types that Nengo lacks, and names for all of them.

They are ordinary `nengo.neurons.NeuronType` classes, so they also run in
`nengo.Simulator` and can be held by any `nengo.Ensemble`.

Reference:
    Hunsberger and Eliasmith (2015), *Spiking deep networks with LIF
    neurons*, arXiv:1510.08829 (the soft LIF rate curve).
"""

import re

import nengo
import numpy as np
from nengo.params import NumberParam

__all__ = [
    "LeakyReLU",
    "NEURON_TYPES",
    "SoftLIFRate",
    "SpikingLeakyReLU",
    "neuron_type",
]


class LeakyReLU(nengo.RectifiedLinear):
    """Rectified line with a small slope below zero: a rate neuron.

    Args:
        negative_slope: float >= 0. Slope for currents below zero.
        amplitude: float > 0. Slope for currents above zero, and a factor
            on `negative_slope`.
        initial_state: unused, as the type has no state.

    Example:
        >>> import nengo
        >>> with nengo.Network():
        ...     ens = nengo.Ensemble(10, 1, neuron_type=LeakyReLU(0.1))
    """

    negative = True
    negative_slope = NumberParam("negative_slope", low=0)

    def __init__(self, negative_slope=0.3, amplitude=1, initial_state=None):
        super().__init__(amplitude=amplitude, initial_state=initial_state)
        self.negative_slope = negative_slope

    def step(self, dt, J, output):
        """Write the activity for the currents `J` into `output`."""
        output[...] = self.amplitude * np.where(J < 0, self.negative_slope * J, J)


class SpikingLeakyReLU(LeakyReLU):
    """Integrate-and-fire form of `LeakyReLU`.

    Currents below zero give negative spikes.

    Args:
        negative_slope: float >= 0. Slope of the firing rate below zero.
        amplitude: float > 0. Scale of the spikes.
        initial_state: dict from `"voltage"` to a nengo distribution or an
            array. Voltages start in U(0, 1) by default.

    Example:
        >>> SpikingLeakyReLU(0.1).spiking
        True
    """

    state = {"voltage": nengo.dists.Uniform(low=0, high=1)}
    spiking = True

    def rates(self, x, gain, bias):
        """Firing rates in Hz: those of `LeakyReLU`."""
        current = self.current(x, gain, bias)
        output = np.zeros_like(current)
        LeakyReLU.step(self, dt=1.0, J=current, output=output)
        return output

    def step(self, dt, J, output, voltage):  # type: ignore[override]
        """Integrate, and fire once for each whole unit of voltage."""
        voltage += dt * np.where(J < 0, self.negative_slope * J, J)
        # Truncation, not floor: a negative spike needs a whole negative unit.
        spikes = np.trunc(voltage)
        voltage -= spikes
        output[...] = (self.amplitude / dt) * spikes


class SoftLIFRate(nengo.LIFRate):
    """LIF rate curve whose kink at threshold is smoothed by a softplus.

    With `j = sigma * log(1 + exp((J - 1) / sigma))` the rate is
    `amplitude / (tau_ref + tau_rc * log(1 + 1 / j))`.

    Args:
        sigma: float > 0. Width of the smoothing, in units of current; the
            curve approaches `nengo.LIFRate` as it goes to 0.
        tau_rc: float > 0, seconds. Membrane time constant.
        tau_ref: float >= 0, seconds. Absolute refractory period.
        amplitude: float > 0. Scale of the output.
        initial_state: unused, as the type has no state.

    Example:
        >>> float(SoftLIFRate(sigma=0.1).rates(1.0, [1.0], [0.0])[0, 0]) > 0
        True
    """

    sigma = NumberParam("sigma", low=0, low_open=True)

    def __init__(
        self, sigma=0.02, tau_rc=0.02, tau_ref=0.002, amplitude=1, initial_state=None
    ):
        super().__init__(
            tau_rc=tau_rc,
            tau_ref=tau_ref,
            amplitude=amplitude,
            initial_state=initial_state,
        )
        self.sigma = sigma

    def rates(self, x, gain, bias):
        """Firing rates in Hz."""
        current = self.current(x, gain, bias)
        output = np.zeros_like(current)
        SoftLIFRate.step(self, dt=1.0, J=current, output=output)
        return output

    def step(self, dt, J, output):
        """Write the rates for the currents `J` into `output`."""
        z = (J - 1) / self.sigma
        soft = np.logaddexp(0, z)
        # log(softplus(z)) tends to z where softplus itself underflows.
        log_soft = np.where(z < -30, z, np.log(np.maximum(soft, 1e-300)))
        log_j = log_soft + np.log(self.sigma)
        isi = self.tau_ref + self.tau_rc * (np.log1p(self.sigma * soft) - log_j)
        output[...] = self.amplitude / isi


def _snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


NEURON_TYPES = {
    _snake_case(cls.__name__): cls
    for cls in (
        nengo.AdaptiveLIF,
        nengo.AdaptiveLIFRate,
        nengo.Direct,
        nengo.Izhikevich,
        nengo.LIF,
        nengo.LIFRate,
        nengo.RectifiedLinear,
        nengo.Sigmoid,
        nengo.SpikingRectifiedLinear,
        nengo.Tanh,
        SoftLIFRate,
    )
} | {
    "relu": nengo.RectifiedLinear,
    "spiking_relu": nengo.SpikingRectifiedLinear,
    "leaky_relu": LeakyReLU,
    "spiking_leaky_relu": SpikingLeakyReLU,
}


def neuron_type(value: "str | nengo.neurons.NeuronType") -> nengo.neurons.NeuronType:
    """A neuron type from an instance or a name.

    Args:
        value: `nengo.neurons.NeuronType` (returned as it is) or one of the
            names in `NEURON_TYPES`, for that type with its default parameters.

    Raises:
        ValueError: if the name is unknown.
        TypeError: if `value` is neither.

    Example:
        >>> neuron_type("lif")
        LIF()
    """
    if isinstance(value, nengo.neurons.NeuronType):
        return value
    if isinstance(value, str):
        if value in NEURON_TYPES:
            return NEURON_TYPES[value]()
        raise ValueError(
            f"Unknown neuron type {value!r}. Known names: "
            f"{', '.join(sorted(NEURON_TYPES))}. Pass one of them, or an instance "
            "such as nengo.LIF(tau_rc=0.05)."
        )
    raise TypeError(
        f"neuron_type must be a nengo neuron type or its name; received {value!r}"
        f" of type {type(value).__name__}. Pass an instance, such as nengo.LIF()."
    )
