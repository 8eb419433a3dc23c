"""One step of every Nengo neuron type, and their rate curves.

A `Neuron` is the dynamics of one neuron type: `step(constants, J, state, spike)`
with `J` the input current and `spike` a surrogate, and `rates(parameters, J)`.
What depends only on parameters and `dt` is computed once, by `constants`.

The leaky integrate-and-fire membrane, `tau_rc dv/dt = J - v`, is stepped exactly
and without transcendental functions. Instead of the refractory time it carries
`q = exp(refractory_time / tau_rc)`; with `d = exp(-dt / tau_rc)` and
`K = exp((tau_ref + dt) / tau_rc)`:

    q = max(q d, 1);  e = min(q d, 1);  v = J + (v - J) e
    where v > 1:  q = K (J - v) / (J - 1),  v = 0,  and a spike is sent

In the backward pass a reset to a fixed voltage and the refractory clock count as
given, so the membrane's memory ends at a spike; a reset by subtraction does not
(docs/decisions/0002-gradients-through-reset.md).

Reference:
    Eliasmith and Anderson (2003), *Neural Engineering*, MIT Press; Izhikevich
    (2003), *Simple model of spiking neurons*, IEEE Trans. Neural Networks 14(6);
    Voelker, Rasmussen and Eliasmith (2020), *A spike in performance*,
    arXiv:2002.03553 (spikes from rates).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import nengo
import numpy as np
from keras import ops

from keras_spiking_nengo.dynamics import random
from keras_spiking_nengo.dynamics.kernels import precise
from keras_spiking_nengo.dynamics.surrogates import Surrogate
from keras_spiking_nengo.rules import Rules
from keras_spiking_nengo.types import (
    CURVES,
    BoundedReLU,
    Elementwise,
    IntegrateAndFire,
    LeakyIntegrator,
    LeakyReLU,
    SoftLIFRate,
    SpikingLeakyReLU,
    Threshold,
    coefficients,
)

__all__ = [
    "NEURONS",
    "RATES_TO_SPIKES",
    "SMOOTHING",
    "Neuron",
    "adapted",
    "drawn_state",
    "from_rates",
    "neuron",
]

Values = dict[str, Any]


@dataclass(frozen=True)
class Neuron:
    """The dynamics of one neuron type, as pure functions.

    Attributes:
        parameters: values of the neuron type's numbers, or of one number per neuron.
        states: names of the carried states, in order.
        constants: `(parameters, dt) -> constants` for `step`.
        step: `(constants, J, state, spike) -> (output, state)`, elementwise; `J`,
            the output and each state have one shape.
        rates: `(parameters, J) -> rate` in Hz, or None where no curve is known.
        slopes: the same with a useful derivative everywhere, and with the width
            of the smoothing as third argument; None where `rates` has one.
        trainable: names of the parameters that `step` is differentiable in.
        positive: those of them which have to stay above zero.
        spiking: whether `step` sends spikes.
        random: whether `step` draws numbers; its last two states are then those
            of `dynamics.random`.
        max_spikes: spikes that one step can send, or None for any number.
        variant: what tells neuron types of one class apart that are not stepped
            alike.
    """

    parameters: Values
    states: tuple[str, ...]
    constants: Callable[[Values, float], Values]
    step: Callable[[Values, Any, list, Surrogate], tuple[Any, list]]
    rates: Callable[[Values, Any], Any] | None
    slopes: Callable[[Values, Any, float], Any] | None = None
    trainable: tuple[str, ...] = ()
    positive: tuple[str, ...] = ()
    spiking: bool = True
    random: bool = False
    max_spikes: int | None = None
    variant: str = ""


NEURONS: Rules = Rules("neuron type", governing=("step",))

# Width over which a rate curve's kink is smoothed in the backward pass.
SMOOTHING = 0.02


def neuron(neuron_type: nengo.neurons.NeuronType) -> Neuron:
    """The dynamics of `neuron_type`.

    Raises:
        NotImplementedError: if no rule is known for its class.

    Example:
        >>> import nengo
        >>> neuron(nengo.LIF()).states
        ('voltage', 'refractory')
    """
    return NEURONS[neuron_type](neuron_type)


def drawn_state(
    neuron_type: nengo.neurons.NeuronType, shape: tuple[int, ...], rng
) -> list[np.ndarray]:
    """Nengo's own draw of the initial state, in the states of `neuron`.

    Args:
        neuron_type: whose `initial_state` distributions are drawn from.
        shape: shape of the population, without the batch.
        rng: `numpy.random.RandomState`.
    """
    dynamics = neuron(neuron_type)
    n_neurons = math.prod(shape)
    drawn: dict[str, Any] = {}
    base = getattr(neuron_type, "base_type", None)
    if base is not None:
        drawn |= base.make_state(n_neurons, rng=rng)
    drawn |= neuron_type.make_state(n_neurons, rng=rng)
    if "refractory_time" in drawn:
        time = drawn.pop("refractory_time")
        drawn["refractory"] = np.exp(np.maximum(time, 0) / neuron_type.tau_rc)
    if dynamics.random:
        seeds = rng.randint(random.MAX_KEY, size=n_neurons)
        drawn |= dict(zip(random.STATES, (seeds, np.zeros_like(seeds)), strict=True))
    return [np.reshape(drawn[name], shape) for name in dynamics.states]


def _numbers(neuron_type) -> Values:
    """The numeric parameters of a neuron type, by nengo's own declaration."""
    values = {p.name: getattr(neuron_type, p.name) for p in neuron_type._params}
    return {k: float(v) for k, v in values.items() if isinstance(v, int | float)}


def _exp(x):
    # In double precision where it is a constant.
    if ops.is_tensor(x):
        return ops.exp(x)
    return np.exp(x) if isinstance(x, np.ndarray) else math.exp(x)


# --- rates --------------------------------------------------------------------


def _rate_rule(rates, trainable=(), positive=(), slopes=None):
    """A rule for a neuron without state, whose output is its rate curve."""

    def rule(neuron_type) -> Neuron:
        return Neuron(
            parameters=_numbers(neuron_type),
            states=(),
            constants=lambda parameters, dt: parameters,
            step=lambda parameters, J, state, spike: (rates(parameters, J), state),
            rates=rates,
            slopes=slopes,
            trainable=trainable,
            positive=positive,
            spiking=False,
        )

    return rule


def _rectified(p, J):
    return p["amplitude"] * ops.relu(J)


def _leaky(p, J):
    return p["amplitude"] * ops.where(J < 0, p["negative_slope"] * J, J)


def _sigmoid(p, J):
    return ops.sigmoid(J) / p["tau_ref"]


def _tanh(p, J):
    return precise("tanh", J) / p["tau_ref"]


def _lif_rates(p, J):
    j = J - 1
    # The inner choice keeps 1/j and its gradient finite where it is not used.
    positive = ops.where(j > 0, j, 1.0)
    isi = p["tau_ref"] + p["tau_rc"] * ops.log1p(1 / positive)
    # Multiplied by the current's own NaN, so that NaN goes in and comes out.
    return ops.where(j > 0, p["amplitude"] / isi, 0 * j)


def _soft_lif_rates(p, J, sigma=None):
    sigma = p["sigma"] if sigma is None else sigma
    z = (J - 1) / sigma
    j = sigma * ops.softplus(z)
    # log(softplus(z)) tends to z where softplus itself underflows.
    deep = z < -30
    log_j = ops.where(deep, z + math.log(sigma), ops.log(ops.where(deep, 1.0, j)))
    return p["amplitude"] / (p["tau_ref"] + p["tau_rc"] * (ops.log1p(j) - log_j))


def _bounded(p, J):
    below = p["negative_slope"] * (J - p["threshold"])
    line = ops.where(p["threshold"] < J, ops.minimum(J, p["max_value"]), below)
    return p["amplitude"] * line


_LIF_RATES = {
    "trainable": ("tau_rc", "tau_ref", "amplitude"),
    "positive": ("tau_rc", "tau_ref", "amplitude"),
}
NEURONS.add(
    _rate_rule(_rectified, ("amplitude",), ("amplitude",)), nengo.RectifiedLinear
)
NEURONS.add(
    _rate_rule(_leaky, ("amplitude", "negative_slope"), ("amplitude",)), LeakyReLU
)
NEURONS.add(
    _rate_rule(_bounded, ("amplitude", "negative_slope", "max_value"), ("amplitude",)),
    BoundedReLU,
)
NEURONS.add(_rate_rule(_sigmoid, ("tau_ref",), ("tau_ref",)), nengo.Sigmoid)
NEURONS.add(_rate_rule(_tanh, ("tau_ref",), ("tau_ref",)), nengo.Tanh)
NEURONS.add(_rate_rule(lambda p, J: J), nengo.Direct)
NEURONS.add(_rate_rule(_lif_rates, **_LIF_RATES, slopes=_soft_lif_rates), nengo.LIFRate)
NEURONS.add(_rate_rule(_soft_lif_rates, **_LIF_RATES), SoftLIFRate)

_OPS = SimpleNamespace(
    **{name: getattr(ops, name) for name in ("abs", "clip", "erf", "exp", "expm1")},
    **{name: getattr(ops, name) for name in ("maximum", "minimum", "sigmoid", "sign")},
    **{name: getattr(ops, name) for name in ("softplus", "sqrt", "where")},
    tanh=partial(precise, "tanh"),
)


@NEURONS.register(Elementwise)
def _elementwise(neuron_type) -> Neuron:
    curve, alpha = CURVES[neuron_type.function], neuron_type.alpha

    def rates(p, J):
        return curve(_OPS, J, _per_neuron(p["alpha"], J) if p else None)

    shared = ("alpha",) if isinstance(alpha, float) else ()
    return replace(
        _rate_rule(rates, shared)(neuron_type),
        parameters={} if alpha is None else {"alpha": alpha},
        variant=neuron_type.function,
    )


def _per_neuron(values, J):
    """One value per neuron, as they stand on the last axes of `J`."""
    if not isinstance(values, np.ndarray):
        return values
    shape: list[int] = []
    while math.prod(shape) < values.size and len(shape) < len(J.shape):
        shape.insert(0, J.shape[-1 - len(shape)])
    return ops.cast(np.reshape(values, shape), J.dtype)


# --- leaky integrate-and-fire ------------------------------------------------


def _lif_constants(p, dt):
    return {
        "d": _exp(-dt / p["tau_rc"]),
        "K": _exp((p["tau_ref"] + dt) / p["tau_rc"]),
        "height": p["amplitude"] / dt,
        "min_voltage": p["min_voltage"],
    }


def _lif_step(c, J, state, spike):
    v, q = state
    # The refractory clock counts as given in the backward pass.
    q = ops.stop_gradient(ops.maximum(q * c["d"], 1.0))
    e = ops.minimum(q * c["d"], 1.0)
    v = J + (v - J) * e
    spikes = spike.spike(v - 1)
    fired = ops.stop_gradient(v) > 1
    q = ops.where(fired, c["K"] * (J - v) / (J - 1), q)
    # Negative zero and NaN survive `where` as they do in nengo.
    v = ops.where(fired, 0.0, ops.maximum(v, c["min_voltage"]))
    return spikes * c["height"], [v, ops.stop_gradient(q)]


@NEURONS.register(nengo.LIF)
def _lif(neuron_type) -> Neuron:
    return Neuron(
        parameters=_numbers(neuron_type),
        states=("voltage", "refractory"),
        constants=_lif_constants,
        step=_lif_step,
        rates=_lif_rates,
        slopes=_soft_lif_rates,
        trainable=("tau_rc", "amplitude"),
        positive=("tau_rc", "amplitude"),
        max_spikes=1,
    )


def adapted(step):
    """`step` less a current `n`, which decays with `tau_n` and grows with spikes."""

    def with_adaptation(c, J, state, spike):
        *state, n = state
        output, state = step(c, J - n, state, spike)
        n = n + c["dt_n"] * (c["inc_n"] * output - n)
        return output, [*state, n]

    return with_adaptation


def _adaptation_constants(p, dt):
    return {"dt_n": dt / p["tau_n"], "inc_n": p["inc_n"]}


@NEURONS.register(nengo.AdaptiveLIF)
def _adaptive_lif(neuron_type) -> Neuron:
    return Neuron(
        parameters=_numbers(neuron_type),
        states=("voltage", "refractory", "adaptation"),
        constants=lambda p, dt: _lif_constants(p, dt) | _adaptation_constants(p, dt),
        step=adapted(_lif_step),
        rates=_lif_rates,
        slopes=_soft_lif_rates,
        trainable=("tau_rc", "amplitude", "tau_n", "inc_n"),
        positive=("tau_rc", "amplitude", "tau_n", "inc_n"),
        max_spikes=1,
    )


@NEURONS.register(nengo.AdaptiveLIFRate)
def _adaptive_lif_rate(neuron_type) -> Neuron:
    def step(c, J, state, spike):
        value = _lif_rates(c, J)
        soft = _soft_lif_rates(c, J, SMOOTHING)
        return ops.stop_gradient(value) + (soft - ops.stop_gradient(soft)), state

    return Neuron(
        parameters=_numbers(neuron_type),
        states=("adaptation",),
        constants=lambda p, dt: p | _adaptation_constants(p, dt),
        step=adapted(step),
        rates=_lif_rates,
        slopes=_soft_lif_rates,
        trainable=("tau_rc", "tau_ref", "amplitude", "tau_n", "inc_n"),
        positive=("tau_rc", "tau_ref", "amplitude", "tau_n", "inc_n"),
        spiking=False,
    )


# --- integrate-and-fire -------------------------------------------------------


def _integrate(drive, count):
    """A voltage that grows by `drive(c, J) dt` and pays 1 for each spike."""

    def step(c, J, state, spike):
        (v,) = state
        v = v + c["dt"] * drive(c, J)
        spikes = count(spike, v)
        return spikes * c["height"], [v - spikes]

    return step


def _spike_constants(p, dt):
    return p | {"dt": dt, "height": p["amplitude"] / dt}


def _integrate_rule(drive, count, rates, trainable=("amplitude",)):
    def rule(neuron_type) -> Neuron:
        return Neuron(
            parameters=_numbers(neuron_type),
            states=("voltage",),
            constants=_spike_constants,
            step=_integrate(drive, count),
            rates=rates,
            trainable=trainable,
            positive=("amplitude",),
        )

    return rule


NEURONS.add(
    _integrate_rule(lambda c, J: ops.relu(J), Surrogate.trunc, _rectified),
    nengo.SpikingRectifiedLinear,
)
NEURONS.add(
    _integrate_rule(
        lambda c, J: ops.where(J < 0, c["negative_slope"] * J, J),
        Surrogate.trunc,
        _leaky,
        ("amplitude", "negative_slope"),
    ),
    SpikingLeakyReLU,
)


# --- membranes with a reset at the end of a step --------------------------------

_MEMBRANE = ("tau_mem", "tau_syn", "r", "v_leak", "w_in", "v_threshold", "v_reset")


def _numbers_or_arrays(neuron_type, names) -> Values:
    """The parameters that a neuron type has, numbers or arrays."""
    values = {name: getattr(neuron_type, name, None) for name in (*names, "amplitude")}
    return {
        name: value if isinstance(value, np.ndarray) else float(value)
        for name, value in values.items()
        if value is not None
    }


@NEURONS.register(LeakyIntegrator, IntegrateAndFire)
def _membrane(neuron_type) -> Neuron:
    exact = neuron_type.discretization == "exact"
    parameters = _numbers_or_arrays(neuron_type, _MEMBRANE)
    spiking, subtracts = neuron_type.spiking, False
    if spiking:
        subtracts = neuron_type.reset == "subtract"
    states = ("current", "voltage") if "tau_syn" in parameters else ("voltage",)

    def constants(p, dt):
        found = coefficients(p, dt, exact, _exp)
        found["height"] = p["amplitude"] / dt if spiking else p["amplitude"]
        if spiking:
            found |= {"threshold": p["v_threshold"], "v_reset": p["v_reset"]}
            found["distance"] = p["v_threshold"] - p["v_reset"]
        return found

    def step(c, J, state, spike):
        c = {name: _per_neuron(value, J) for name, value in c.items()}
        *current, v = state
        v = c["d"] * v + c["b"] * J + c["l"]
        if current:
            v = v + c["a"] * current[0]
            current = [c["D"] * current[0] + c["u"] * J]
        if not spiking:
            return c["height"] * v, [*current, v]
        # The voltage of a spike counts as given where the reset forgets it.
        spikes = spike.spike((v - c["threshold"]) / c["distance"])
        if subtracts:
            v = v - spikes * c["distance"]
        else:
            v = ops.where(ops.stop_gradient(v) > c["threshold"], c["v_reset"], v)
        return spikes * c["height"], [*current, v]

    shared = tuple(k for k, v in parameters.items() if isinstance(v, float))
    return Neuron(
        parameters=parameters,
        states=states,
        constants=constants,
        step=step,
        rates=None,
        trainable=shared,
        positive=tuple(k for k in shared if k in ("tau_mem", "tau_syn", "amplitude")),
        spiking=spiking,
        max_spikes=1 if spiking else None,
        variant=f"{exact}, {subtracts}, {sorted(parameters)}",
    )


@NEURONS.register(Threshold)
def _threshold(neuron_type) -> Neuron:
    def step(c, J, state, spike):
        distance = J - _per_neuron(c["threshold"], J)
        return spike.spike(distance) * c["height"], state

    parameters = _numbers_or_arrays(neuron_type, ["threshold"])
    return Neuron(
        parameters=parameters,
        states=(),
        constants=_spike_constants,
        step=step,
        rates=None,
        trainable=tuple(k for k, v in parameters.items() if isinstance(v, float)),
        positive=("amplitude",),
        max_spikes=1,
    )


# --- Izhikevich ---------------------------------------------------------------


@NEURONS.register(nengo.Izhikevich)
def _izhikevich(neuron_type) -> Neuron:
    def constants(p, dt):
        return p | {"dt": dt, "height": 1 / dt}

    def step(c, J, state, spike):
        v, u = state
        # Nengo's floor for the current, below which the quadratic diverges.
        J = ops.maximum(J, -30.0)
        # In nengo's order of operations: the map is chaotic, and rounding tells.
        v = v + (0.04 * (v * v) + 5 * v + 140 - u + J) * 1000 * c["dt"]
        # Nengo fires at 30 mV itself, a surrogate only above its threshold.
        fired = ops.stop_gradient(v) >= 30
        scaled = (v - 30) / (30 - c["reset_voltage"])
        spikes = spike.spike(ops.where(fired, ops.maximum(scaled, 1e-30), scaled))
        v = ops.where(fired, c["reset_voltage"], v)
        u = u + c["tau_recovery"] * (c["coupling"] * v - u) * 1000 * c["dt"]
        u = ops.where(fired, u + c["reset_recovery"], u)
        return spikes * c["height"], [v, u]

    return Neuron(
        parameters=_numbers(neuron_type),
        states=("voltage", "recovery"),
        constants=constants,
        step=step,
        rates=None,
        trainable=("tau_recovery", "coupling", "reset_voltage", "reset_recovery"),
        positive=("tau_recovery",),
        max_spikes=1,
    )


# --- spikes from rates --------------------------------------------------------


RATES_TO_SPIKES: Rules = Rules("spike generator", governing=("step",))


def from_rates(neuron_type: nengo.neurons.RatesToSpikesNeuronType) -> Neuron:
    """The second half of a neuron type that makes spikes of rates.

    Its `J` is the rate that the base type computed.

    Raises:
        NotImplementedError: if no rule is known for its class.

    Example:
        >>> import nengo
        >>> from_rates(nengo.RegularSpiking(nengo.LIFRate())).states
        ('voltage',)
    """
    states, fire, draws = RATES_TO_SPIKES[neuron_type]

    def step(c, rate, state, spike):
        spikes, state = fire(c, rate, state, spike)
        return spikes * c["height"], state

    return Neuron(
        parameters={"amplitude": float(neuron_type.amplitude)},
        states=states,
        constants=_spike_constants,
        step=step,
        rates=lambda p, rate: p["amplitude"] * rate,
        trainable=("amplitude",),
        positive=("amplitude",),
        random=draws,
    )


def _both_halves(neuron_type) -> Neuron:
    """The base type's step, then that of `from_rates`."""
    base = neuron(neuron_type.base_type)
    states, fire, draws = RATES_TO_SPIKES[neuron_type]
    own = {"amplitude": float(neuron_type.amplitude)}
    n_base = len(base.states)

    def parameters_of_base(p):
        return {k.removeprefix("base_"): p[k] for k in p if k.startswith("base_")}

    def constants(p, dt):
        inner = base.constants(parameters_of_base(p), dt)
        prefixed = {f"base_{name}": value for name, value in inner.items()}
        return prefixed | _spike_constants({"amplitude": p["amplitude"]}, dt)

    def step(c, J, state, spike):
        before, state = list(state[:n_base]), list(state[n_base:])
        rate, after = base.step(parameters_of_base(c), J, before, spike)
        spikes, state = fire(c, rate, state, spike)
        return spikes * c["height"], [*after, *state]

    def scaled(curve):
        if curve is None:
            return None
        return lambda p, *args: p["amplitude"] * curve(parameters_of_base(p), *args)

    prefixed = {f"base_{name}": value for name, value in base.parameters.items()}
    return Neuron(
        parameters=own | prefixed,
        states=(*base.states, *states),
        constants=constants,
        step=step,
        rates=scaled(base.rates),
        slopes=scaled(base.slopes),
        trainable=("amplitude", *(f"base_{name}" for name in base.trainable)),
        positive=("amplitude", *(f"base_{name}" for name in base.positive)),
        random=draws,
        variant=base.variant,
    )


def _fire_regularly(c, rate, state, spike):
    (v,) = state
    v = v + c["dt"] * rate
    spikes = spike.floor(v)
    return spikes, [v - spikes]


def _draw(sample):
    """Spikes drawn for an expected number `dt * |rate|`, with its gradient."""

    def fire(c, rate, state, spike):
        expected = c["dt"] * ops.stop_gradient(rate)
        spikes, state = sample(ops.abs(expected), state)
        mean = c["dt"] * rate
        return ops.sign(expected) * spikes + (mean - ops.stop_gradient(mean)), state

    return fire


def _stochastic(expected, state):
    uniform, state = random.uniform(state, expected.dtype)
    whole = ops.trunc(expected)
    return whole + ops.cast(uniform < expected - whole, expected.dtype), state


# Names of the states; `fire(c, rate, state, spike) -> (spikes, state)`, the number
# of spikes in this step; and whether it draws numbers.
_GENERATORS = {
    nengo.RegularSpiking: (("voltage",), _fire_regularly, False),
    nengo.StochasticSpiking: (random.STATES, _draw(_stochastic), True),
    nengo.PoissonSpiking: (random.STATES, _draw(random.poisson), True),
}
for _class, _generator in _GENERATORS.items():
    RATES_TO_SPIKES.add(_generator, _class)
    NEURONS.add(_both_halves, _class)
