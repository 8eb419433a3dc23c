"""Neuron types and learning rules that Nengo lacks, and names for all neuron types.

They are ordinary `nengo.neurons.NeuronType` and `LearningRuleType` classes, so they
also run in `nengo.Simulator` and can be held by any `nengo.Ensemble` or `Connection`.

Reference:
    Hunsberger and Eliasmith (2015), *Spiking deep networks with LIF
    neurons*, arXiv:1510.08829 (the soft LIF rate curve).
"""

import math
import re
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import nengo
import numpy as np
import scipy.special
from nengo.params import EnumParam

from keras_spiking_nengo.types.declared import FiniteNumber, NumberOrArray
from keras_spiking_nengo.types.local_rules import (
    STDP,
    RewardModulatedSTDP,
    TripletSTDP,
)
from keras_spiking_nengo.types.resonance import BalancedResonateAndFire
from keras_spiking_nengo.types.synaptic import AlphaLIF, SynapticLIF, between
from keras_spiking_nengo.types.upstroke import (
    AdaptiveExponentialLIF,
    QuadraticIntegrateAndFire,
)
from keras_spiking_nengo.types.varied import Heterogeneous

__all__ = [
    "AdaptiveExponentialLIF",
    "AlphaLIF",
    "BalancedResonateAndFire",
    "BoundedReLU",
    "CURVES",
    "Elementwise",
    "Heterogeneous",
    "IntegrateAndFire",
    "LeakyIntegrator",
    "LeakyReLU",
    "NEURON_TYPES",
    "RewardModulatedSTDP",
    "STDP",
    "QuadraticIntegrateAndFire",
    "SoftLIFRate",
    "SpikingLeakyReLU",
    "SynapticLIF",
    "Threshold",
    "TripletSTDP",
    "neuron_type",
]


class LeakyReLU(nengo.RectifiedLinear):
    """Rectified line with a small slope below zero: a rate neuron.

    Args:
        negative_slope: float >= 0. Slope for currents below zero.
        amplitude: float > 0. Slope for currents above zero, and a factor
            on `negative_slope`.
        initial_state: unused, as the type has no state.

    Raises:
        nengo.exceptions.ValidationError: a ValueError, for a number out of its range.

    Example:
        >>> import nengo
        >>> with nengo.Network():
        ...     ens = nengo.Ensemble(10, 1, neuron_type=LeakyReLU(0.1))

    Reference:
        Maas, Hannun and Ng (2013), *Rectifier nonlinearities improve neural network
        acoustic models*, ICML workshop.
    """

    negative = True
    negative_slope = FiniteNumber("negative_slope", low=0)
    amplitude = FiniteNumber("amplitude", low=0, low_open=True)

    def __init__(self, negative_slope=0.3, amplitude=1, initial_state=None):
        super().__init__(amplitude=amplitude, initial_state=initial_state)
        self.negative_slope = negative_slope

    def step(self, dt, J, output):
        """Write the activity for the currents `J` into `output`."""
        output[...] = self._line(J)

    def _line(self, J):
        return self.amplitude * np.where(J < 0, self.negative_slope * J, J)


class SpikingLeakyReLU(LeakyReLU):
    """Integrate-and-fire form of `LeakyReLU`.

    Currents below zero give negative spikes.

    Args:
        negative_slope: float >= 0. Slope of the firing rate below zero.
        amplitude: float > 0. Scale of the spikes.
        initial_state: dict from `"voltage"` to a nengo distribution or an
            array. Voltages start in U(0, 1) by default.

    Raises:
        nengo.exceptions.ValidationError: a ValueError, for a number out of its range.

    Example:
        >>> SpikingLeakyReLU(0.1).spiking
        True

    Reference:
        Rasmussen (2019), *NengoDL: combining deep learning and neuromorphic modelling
        methods*, Neuroinformatics 17, arXiv:1805.11144.
    """

    state = {"voltage": nengo.dists.Uniform(low=0, high=1)}
    spiking = True

    def rates(self, x, gain, bias):
        """Firing rates in Hz: those of `LeakyReLU`."""
        return self._line(self.current(x, gain, bias))

    def step(self, dt, J, output, voltage):  # type: ignore[override]
        """Integrate, and fire once for each whole unit of voltage."""
        voltage += dt * np.where(J < 0, self.negative_slope * J, J)
        # Truncation, not floor: a negative spike needs a whole negative unit.
        spikes = np.trunc(voltage)
        voltage -= spikes
        output[...] = (self.amplitude / dt) * spikes


class BoundedReLU(nengo.neurons.NeuronType):
    """Rectified line that starts at a threshold and ends at a largest value.

    The rate is `amplitude` times `min(J, max_value)` where `J > threshold`, and
    `negative_slope (J - threshold)` elsewhere.

    Args:
        max_value: float >= 0. Where the line ends; may be infinite.
        negative_slope: float >= 0. Slope for currents below the threshold.
        threshold: float >= 0. Current from which on there is activity.
        amplitude: float > 0. Factor on all of it.
        initial_state: unused, as the type has no state.

    Raises:
        nengo.exceptions.ValidationError: a ValueError, for a number out of its range.

    Example:
        >>> BoundedReLU(6).rates([8.0], [1.0], [0.0]).tolist()
        [[6.0]]

    Reference:
        Krizhevsky (2010), *Convolutional deep belief networks on CIFAR-10* (with a
        largest value of 6).
    """

    max_value = FiniteNumber("max_value", low=0, finite=False)
    negative_slope = FiniteNumber("negative_slope", low=0)
    threshold = FiniteNumber("threshold", low=0)
    amplitude = FiniteNumber("amplitude", low=0, low_open=True)

    def __init__(
        self,
        max_value=6,
        negative_slope=0,
        threshold=0,
        amplitude=1,
        initial_state=None,
    ):
        super().__init__(initial_state)
        self.max_value = max_value
        self.negative_slope = negative_slope
        self.threshold = threshold
        self.amplitude = amplitude

    def step(self, dt, J, output):
        """Write the activity for the currents `J` into `output`."""
        below = self.negative_slope * (J - self.threshold)
        line = np.minimum(J, self.max_value)
        output[...] = self.amplitude * np.where(self.threshold < J, line, below)


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

    Raises:
        nengo.exceptions.ValidationError: a ValueError, for a number out of its range.

    Example:
        >>> float(SoftLIFRate(sigma=0.1).rates(1.0, [1.0], [0.0])[0, 0]) > 0
        True

    Reference:
        Hunsberger and Eliasmith (2015), *Spiking deep networks with LIF neurons*,
        arXiv:1510.08829.
    """

    sigma = FiniteNumber("sigma", low=0, low_open=True)
    tau_rc = FiniteNumber("tau_rc", low=0, low_open=True)
    tau_ref = FiniteNumber("tau_ref", low=0)
    amplitude = FiniteNumber("amplitude", low=0, low_open=True)

    def __init__(
        self, sigma=0.02, tau_rc=0.02, tau_ref=0.002, amplitude=1, initial_state=None
    ):
        super().__init__(tau_rc, tau_ref, amplitude, initial_state)
        self.sigma = sigma

    def rates(self, x, gain, bias):
        """Firing rates in Hz."""
        return self._curve(self.current(x, gain, bias))

    def step(self, dt, J, output):
        """Write the rates for the currents `J` into `output`."""
        output[...] = self._curve(J)

    def _curve(self, J):
        z = (J - 1) / self.sigma
        soft = np.logaddexp(0, z)
        # log(softplus(z)) tends to z where softplus itself underflows.
        log_soft = np.where(z < -30, z, np.log(np.maximum(soft, 1e-300)))
        log_j = log_soft + np.log(self.sigma)
        isi = self.tau_ref + self.tau_rc * (np.log1p(self.sigma * soft) - log_j)
        return self.amplitude / isi


# --- elementary functions -----------------------------------------------------


def _elu(m, x, a):
    # Capped, as the branch that is not chosen must stay finite for gradients.
    return m.where(x > 0, x, a * m.expm1(m.minimum(x, 0.0)))


def _selu(m, x, a):
    return 1.0507009873554805 * _elu(m, x, 1.6732632423543772)


def _gelu_tanh(m, x, a):
    inner = math.sqrt(2 / math.pi) * (x + 0.044715 * (x * x * x))
    return 0.5 * x * (1 + m.tanh(inner))


def _hard_sigmoid(m, x, a):
    return m.clip(x / 6 + 0.5, 0.0, 1.0)


def _sparse_plus(m, x, a):
    middle = (x + 1) * (x + 1) / 4
    return m.where(x <= -1, 0 * x, m.where(x >= 1, x, middle))


# By Keras's names: `(m, x, alpha)`, with `m` the module of the functions, such as
# `keras.ops`. Conditions are such that NaN goes in and comes out.
CURVES: dict[str, Callable[[Any, Any, Any], Any]] = {
    "absolute": lambda m, x, a: m.abs(x),
    "celu": lambda m, x, a: m.where(x > 0, x, a * m.expm1(m.minimum(x, 0.0) / a)),
    "elu": _elu,
    "exponential": lambda m, x, a: m.exp(x),
    "gelu": lambda m, x, a: 0.5 * x * (1 + m.erf(x / math.sqrt(2))),
    "gelu_tanh": _gelu_tanh,
    "hard_shrink": lambda m, x, a: m.where(m.abs(x) <= a, 0 * x, x),
    "hard_sigmoid": _hard_sigmoid,
    "hard_silu": lambda m, x, a: x * _hard_sigmoid(m, x, a),
    "hard_tanh": lambda m, x, a: m.clip(x, -1.0, 1.0),
    "leaky_relu": lambda m, x, a: m.where(x < 0, a * x, x),
    "log_sigmoid": lambda m, x, a: -m.softplus(-x),
    "mish": lambda m, x, a: x * m.tanh(m.softplus(x)),
    "selu": _selu,
    "silu": lambda m, x, a: x * m.sigmoid(x),
    "soft_shrink": lambda m, x, a: m.sign(x) * m.maximum(m.abs(x) - a, 0.0),
    "softplus": lambda m, x, a: m.softplus(x),
    "softsign": lambda m, x, a: x / (1 + m.abs(x)),
    "sparse_plus": _sparse_plus,
    "sparse_sigmoid": lambda m, x, a: m.clip((x + 1) / 2, 0.0, 1.0),
    "square": lambda m, x, a: x * x,
    "squareplus": lambda m, x, a: (x + m.sqrt(x * x + a)) / 2,
    "tanh_shrink": lambda m, x, a: x - m.tanh(x),
}
_DEFAULT_ALPHAS = {
    "celu": 1.0,
    "elu": 1.0,
    "hard_shrink": 0.5,
    "leaky_relu": 0.2,
    "soft_shrink": 0.5,
    "squareplus": 4.0,
}
_NUMPY = SimpleNamespace(
    **{name: getattr(np, name) for name in ("abs", "clip", "exp", "expm1", "maximum")},
    **{name: getattr(np, name) for name in ("minimum", "sign", "sqrt", "tanh")},
    erf=scipy.special.erf,
    sigmoid=scipy.special.expit,
    softplus=lambda x: np.logaddexp(0, x),
    where=np.where,
)


class Elementwise(nengo.neurons.NeuronType):
    """Rate neurons whose activity is an elementary function of their current.

    Rates are plain numbers: `Elementwise("elu")` gives what Keras's activation of
    that name gives.

    Args:
        function: name in `CURVES`, such as `"elu"`, `"gelu"` or `"softplus"`;
            `"gelu_tanh"` is Keras's approximate form.
        alpha: float, or array with one for each neuron. The parameter of `"elu"`,
            `"celu"`, `"leaky_relu"` (its slope), `"hard_shrink"` and
            `"soft_shrink"` (their threshold) and `"squareplus"`. Defaults to
            Keras's default; others take none.
        amplitude: float > 0. Factor on all of it: with `nengo.RegularSpiking`, spikes
            per second where the function is 1.
        initial_state: unused, as the type has no state.

    Raises:
        ValueError: for another function, or an `alpha` that it does not take.

    Example:
        >>> Elementwise("leaky_relu", 0.5).rates([-2.0, 2.0], [1.0], [0.0]).tolist()
        [[-1.0], [2.0]]

    Reference:
        `keras.activations`, whose formulas these are.
    """

    function = EnumParam("function", values=tuple(CURVES))
    alpha: Any = NumberOrArray("alpha", optional=True)
    amplitude = FiniteNumber("amplitude", low=0, low_open=True)

    def __init__(self, function="elu", alpha=None, initial_state=None, amplitude=1):
        super().__init__(initial_state=initial_state)
        self.function = function
        self.amplitude = amplitude
        if alpha is not None and self.function not in _DEFAULT_ALPHAS:
            raise ValueError(
                f"alpha: {function!r} takes none; received {alpha!r}. Functions with"
                f" one are {', '.join(sorted(_DEFAULT_ALPHAS))}."
            )
        self.alpha = _DEFAULT_ALPHAS.get(self.function) if alpha is None else alpha

    def step(self, dt, J, output):
        """Write the activity for the currents `J` into `output`."""
        output[...] = self.amplitude * CURVES[self.function](_NUMPY, J, self.alpha)


# --- membranes that are stepped, and reset, as chips and other frameworks do --------


def coefficients(p: dict[str, Any], dt: float, exact: bool, exp=np.exp) -> dict:
    """Numbers of one step of a membrane: `i' = D i + u J`, `v' = d v + a i + b J + l`.

    Args:
        p: parameters of a `LeakyIntegrator` by name, without those that are None:
            numbers, arrays or tensors.
        dt: float, seconds.
        exact: whether the solution for an input that is constant within the step, or
            else a step of Euler's: the current first, then the membrane with it.
        exp: of one of these.

    Example:
        >>> coefficients({"tau_mem": 0.02, "r": 1.0, "v_leak": 0.0, "w_in": 1.0},
        ...              0.001, exact=False)["d"]
        0.95
    """
    tau, r = p.get("tau_mem"), p["r"]
    ratio = None if tau is None else dt / tau
    d = 1.0 if ratio is None else exp(-ratio) if exact else 1 - ratio
    gain = r * dt if tau is None else r * (1 - d)
    terms = {"d": d, "l": 0.0 if tau is None else (1 - d) * p["v_leak"]}
    if "tau_syn" not in p:
        return terms | {"b": gain * p["w_in"]}
    tau_syn = p["tau_syn"]
    D = exp(-dt / tau_syn) if exact else 1 - dt / tau_syn
    if not exact:
        a = gain * D
    elif tau is None:
        a = r * tau_syn * (1 - D)
    else:
        # r (D - d) tau_syn / (tau_syn - tau), in a form that has no pole.
        a = r * ratio * between(ratio, dt / tau_syn, exp)
    return terms | {
        "D": D,
        "u": (1 - D) * p["w_in"],
        "a": a,
        "b": (gain - a) * p["w_in"],
    }


def _check_time_constants(owner, *names: str) -> None:
    for name in names:
        value = getattr(owner, name)
        if value is not None and np.any(np.asarray(value) <= 0):
            raise ValueError(f"{name} is above 0; received {value!r}.")


class LeakyIntegrator(nengo.neurons.NeuronType):
    """A membrane that sends its voltage, with a synaptic current before it or without.

        tau_syn di/dt = w_in J - i;   tau_mem dv/dt = v_leak - v + r i

    Parameters are numbers, or arrays with one for each neuron.

    Args:
        tau_mem: seconds, above 0; None for an integrator without leak, `dv/dt = r i`,
            which has no use for `v_leak`.
        tau_syn: seconds, above 0; None for `i = w_in J`.
        r: resistance.
        v_leak: voltage that the leak leads to.
        w_in: weight of the input.
        discretization: `"exact"` for the solution of an input that is constant within
            a step, or `"euler"`: the current first, then the membrane with it.
        amplitude: float > 0. Factor on the output.
        initial_state: dict from `"current"` and `"voltage"` to a nengo distribution
            or an array. Both start at 0 by default.

    Raises:
        ValueError: for a time constant that is not positive.

    Example:
        >>> import nengo
        >>> with nengo.Network():
        ...     ens = nengo.Ensemble(10, 1, neuron_type=LeakyIntegrator(0.02))

    Reference:
        Gerstner, Kistler, Naud and Paninski (2014), *Neuronal dynamics*, Cambridge
        University Press, chapter 1; Rotter and Diesmann (1999), *Exact digital
        simulation of time-invariant linear systems with applications to neuronal
        modeling*, Biological Cybernetics 81.
    """

    state = {"current": nengo.dists.Choice([0]), "voltage": nengo.dists.Choice([0])}
    tau_mem: Any = NumberOrArray("tau_mem", optional=True)
    tau_syn: Any = NumberOrArray("tau_syn", optional=True)
    r: Any = NumberOrArray("r")
    v_leak: Any = NumberOrArray("v_leak")
    w_in: Any = NumberOrArray("w_in")
    discretization = EnumParam("discretization", values=("exact", "euler"))
    amplitude = FiniteNumber("amplitude", low=0, low_open=True)

    def __init__(
        self,
        tau_mem=0.02,
        tau_syn=None,
        r=1,
        v_leak=0,
        w_in=1,
        discretization="exact",
        amplitude=1,
        initial_state=None,
    ):
        super().__init__(initial_state)
        self.tau_mem = tau_mem
        self.tau_syn = tau_syn
        self.r = r
        self.v_leak = v_leak
        self.w_in = w_in
        self.discretization = discretization
        self.amplitude = amplitude
        _check_time_constants(self, "tau_mem", "tau_syn")

    def _moved(self, dt, J, current, voltage):
        """Current and voltage after a step, before any reset."""
        names = ("tau_mem", "tau_syn", "r", "v_leak", "w_in")
        values = {name: getattr(self, name) for name in names}
        values = {k: v for k, v in values.items() if v is not None}
        c = coefficients(values, dt, self.discretization == "exact")
        voltage[...] = c["d"] * voltage + c["b"] * J + c["l"]
        if "D" in c:
            voltage += c["a"] * current
            current[...] = c["D"] * current + c["u"] * J

    def _target(self, J):
        """Voltage that a constant current leads to; its growth, without a leak."""
        return self.r * self.w_in * J + (0 if self.tau_mem is None else self.v_leak)

    def rates(self, x, gain, bias):
        """Output for constant currents, when it has settled."""
        return self.amplitude * self._target(self.current(x, gain, bias))

    def step(self, dt, J, output, current, voltage):
        """Move the membrane, and send its voltage."""
        self._moved(dt, J, current, voltage)
        output[...] = self.amplitude * voltage


class IntegrateAndFire(LeakyIntegrator):
    """A membrane that fires above a threshold, at most once in a step.

    It is reset at the end of the step: to a voltage or, with `reset="subtract"`, by
    the distance from there to the threshold. `nengo.LIF` differs: it fires within the
    step, and begins to integrate anew at once.

    Args:
        tau_mem, tau_syn, r, v_leak, w_in, discretization, initial_state: as for
            `LeakyIntegrator`.
        v_threshold: voltage above which it fires.
        v_reset: voltage after a spike; below the threshold.
        reset: `"value"` or `"subtract"`.
        amplitude: float > 0. A spike is `amplitude / dt` high.

    Raises:
        ValueError: for a time constant that is not positive, or a reset to the
            threshold or above.

    Example:
        >>> IntegrateAndFire(0.02, v_threshold=0.5).spiking
        True

    Reference:
        Gerstner, Kistler, Naud and Paninski (2014), *Neuronal dynamics*, Cambridge
        University Press, chapter 1; Rotter and Diesmann (1999), *Exact digital
        simulation of time-invariant linear systems with applications to neuronal
        modeling*, Biological Cybernetics 81.
    """

    spiking = True
    negative = False
    v_threshold: Any = NumberOrArray("v_threshold")
    v_reset: Any = NumberOrArray("v_reset")
    reset = EnumParam("reset", values=("value", "subtract"))

    def __init__(
        self,
        tau_mem=0.02,
        tau_syn=None,
        r=1,
        v_leak=0,
        w_in=1,
        v_threshold=1,
        v_reset=0,
        reset="value",
        discretization="exact",
        amplitude=1,
        initial_state=None,
    ):
        super().__init__(
            tau_mem, tau_syn, r, v_leak, w_in, discretization, amplitude, initial_state
        )
        self.v_threshold = v_threshold
        self.v_reset = v_reset
        self.reset = reset
        if np.any(np.asarray(self.v_reset) >= self.v_threshold):
            raise ValueError(
                "v_reset is below v_threshold; received"
                f" v_reset={v_reset!r}, v_threshold={v_threshold!r}."
            )

    def rates(self, x, gain, bias):
        """Firing rates in Hz for constant currents, in steps of no length."""
        J = self.current(x, gain, bias)
        target = self._target(J)
        with np.errstate(all="ignore"):
            if self.tau_mem is None:
                rates = target / (self.v_threshold - self.v_reset)
            else:
                way = (target - self.v_reset) / (target - self.v_threshold)
                rates = 1 / (self.tau_mem * np.log(way))
            fires = target > (0 if self.tau_mem is None else self.v_threshold)
        return self.amplitude * np.where(fires, rates, 0)

    def step(self, dt, J, output, current, voltage):
        """Move the membrane, fire, and reset."""
        self._moved(dt, J, current, voltage)
        fires = voltage > self.v_threshold
        output[...] = fires * (self.amplitude / dt)
        if self.reset == "value":
            voltage[...] = np.where(fires, self.v_reset, voltage)
        else:
            voltage -= fires * (np.asarray(self.v_threshold) - self.v_reset)


class Threshold(nengo.neurons.NeuronType):
    """A spike in each step in which the current is above a threshold.

    Args:
        threshold: number, or array with one for each neuron.
        amplitude: float > 0. A spike is `amplitude / dt` high.
        initial_state: unused, as the type has no state.

    Raises:
        ValueError: for a `threshold` that is not finite, or an `amplitude` that is not
            above 0.

    Example:
        >>> Threshold(0.5).spiking
        True

    Reference:
        McCulloch and Pitts (1943), *A logical calculus of the ideas immanent in nervous
        activity*, Bulletin of Mathematical Biophysics 5.
    """

    spiking = True
    negative = False
    threshold: Any = NumberOrArray("threshold")
    amplitude = FiniteNumber("amplitude", low=0, low_open=True)

    def __init__(self, threshold=1, amplitude=1, initial_state=None):
        super().__init__(initial_state)
        self.threshold = threshold
        self.amplitude = amplitude

    def step(self, dt, J, output):
        """Write the spikes for the currents `J` into `output`."""
        output[...] = (self.threshold < J) * (self.amplitude / dt)


def _snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def _regularly_spiking(curve: Callable[[], nengo.neurons.NeuronType]):
    """Makes neurons that fire, with both signs, at a rate curve."""
    return lambda: nengo.RegularSpiking(curve())


_NAMED_BY_CLASS = (
    *(nengo.AdaptiveLIF, nengo.AdaptiveLIFRate, nengo.Direct, nengo.Izhikevich),
    *(nengo.LIF, nengo.LIFRate, nengo.RectifiedLinear, nengo.Sigmoid),
    *(nengo.SpikingRectifiedLinear, nengo.Tanh, BoundedReLU, IntegrateAndFire),
    *(LeakyIntegrator, SoftLIFRate, Threshold, AdaptiveExponentialLIF, AlphaLIF),
    *(BalancedResonateAndFire, QuadraticIntegrateAndFire, SynapticLIF),
)
NEURON_TYPES: dict[str, Callable[..., nengo.neurons.NeuronType]] = {
    **{name: partial(Elementwise, name) for name in CURVES},
    **{
        f"spiking_{name}": _regularly_spiking(partial(Elementwise, name))
        for name in CURVES
    },
    "spiking_sigmoid": _regularly_spiking(partial(nengo.Sigmoid, tau_ref=1)),
    "spiking_tanh": _regularly_spiking(partial(nengo.Tanh, tau_ref=1)),
    **{_snake_case(cls.__name__): cls for cls in _NAMED_BY_CLASS},
    "bounded_relu": BoundedReLU,
    "relu": nengo.RectifiedLinear,
    "relu6": BoundedReLU,
    "spiking_relu": nengo.SpikingRectifiedLinear,
    "leaky_relu": LeakyReLU,
    "spiking_leaky_relu": SpikingLeakyReLU,
}


def neuron_type(value: "str | nengo.neurons.NeuronType") -> nengo.neurons.NeuronType:
    """A neuron type from an instance or a name.

    Args:
        value: `nengo.neurons.NeuronType` (returned as it is) or one of the
            names in `NEURON_TYPES`, for that type with its default parameters.

    Returns:
        `nengo.neurons.NeuronType`.

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
            f"neuron_type: Unknown neuron type {value!r}. Known names: "
            f"{', '.join(sorted(NEURON_TYPES))}. Pass one of them, or an instance "
            "such as nengo.LIF(tau_rc=0.05)."
        )
    raise TypeError(
        f"neuron_type must be a nengo neuron type or its name; received {value!r}"
        f" of type {type(value).__name__}. Pass an instance, such as nengo.LIF()."
    )
