"""What is known of one type of neurons, and where the types are looked up."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import nengo
import numpy as np
from keras import ops

from keras_spiking_nengo.dynamics import random
from keras_spiking_nengo.dynamics.surrogates import Surrogate
from keras_spiking_nengo.registry import Registry

__all__ = [
    "LONGEST_CLOCK",
    "NEURONS",
    "Neuron",
    "Values",
    "declared_ranges",
    "drawn_state",
    "exp",
    "neuron",
    "at_neurons",
    "no_ranges",
    "on_last_axes",
    "per_neuron",
    "refractory_clock",
    "spike_constants",
]

Values = dict[str, Any]
Ranges = dict[str, tuple[float, float]]

_ABOVE_ZERO = frozenset(
    ("amplitude", "inc_n", "omega", "slope_factor")
    + ("tau_mem", "tau_n", "tau_q", "tau_rc", "tau_recovery", "tau_ref", "tau_syn")
    + ("tau_w",)
)

# Refractory times, in membrane time constants, that are carried as an exponential: in
# single precision it ends at 88.
LONGEST_CLOCK = 80.0


def no_ranges(dt: float) -> Ranges:
    """Of parameters that may be any numbers, or any above zero."""
    return {}


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
        ranges: `dt -> (lowest, highest)` by name, of those which a step diverges or
            has no number beyond.
        spiking: whether `step` sends spikes.
        random: whether `step` draws numbers; its last two states are then those
            of `dynamics.random`.
        max_spikes: spikes that one step can send, or None for any number.
        leak: `constants -> ` the factor by which a membrane that sends no spike forgets
            its input in a step; None where there is no such number.
        variant: what tells neuron types of one class apart that are not stepped
            alike.

    Example:
        Neurons that send their current on:

        >>> import nengo
        >>> dynamics = Neuron(
        ...     parameters={},
        ...     states=(),
        ...     constants=lambda p, dt: {},
        ...     step=lambda c, J, state, spike: (J, state),
        ...     rates=lambda p, J: J,
        ...     spiking=False,
        ... )
        >>> dynamics.step({}, 3.0, [], None)
        (3.0, [])

    Reference:
        Eliasmith and Anderson (2003), *Neural Engineering*, MIT Press.
    """

    parameters: Values
    states: tuple[str, ...]
    constants: Callable[[Values, float], Values]
    step: Callable[[Values, Any, list, Surrogate], tuple[Any, list]]
    rates: Callable[[Values, Any], Any] | None
    slopes: Callable[[Values, Any, float], Any] | None = None
    trainable: tuple[str, ...] = ()
    ranges: Callable[[float], Ranges] = no_ranges
    spiking: bool = True
    random: bool = False
    max_spikes: int | None = None
    leak: Callable[[Values], Any] | None = None
    variant: str = ""

    @property
    def positive(self) -> tuple[str, ...]:
        """Those of the trainable parameters which have to stay above zero."""
        above_zero = _ABOVE_ZERO | {f"base_{name}" for name in _ABOVE_ZERO}
        return tuple(name for name in self.trainable if name in above_zero)


NEURONS: Registry = Registry("neuron type", governing=("step",))


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
    neuron_type: nengo.neurons.NeuronType,
    dynamics: Neuron,
    shape: tuple[int, ...],
    rng,
) -> list[np.ndarray]:
    """Nengo's own draw of the initial state, in the states of `dynamics`.

    Args:
        neuron_type: whose `initial_state` distributions are drawn from.
        dynamics: of that type.
        shape: shape of the population, without the batch.
        rng: `numpy.random.RandomState`.
    """
    n_neurons = math.prod(shape)
    drawn: dict[str, Any] = {}
    base = getattr(neuron_type, "base_type", None)
    if base is not None:
        drawn |= base.make_state(n_neurons, rng=rng)
    drawn |= neuron_type.make_state(n_neurons, rng=rng)
    if "refractory" in dynamics.states:
        time = drawn.pop("refractory_time")
        drawn["refractory"] = refractory_clock(time, neuron_type.tau_rc)
    if dynamics.random:
        seeds = rng.randint(random.MAX_KEY, size=n_neurons)
        drawn |= dict(zip(random.STATES, (seeds, np.zeros_like(seeds)), strict=True))
    return [np.reshape(drawn[name], shape) for name in dynamics.states]


def refractory_clock(time, tau_rc) -> np.ndarray:
    """The exponential of refractory times in seconds, where one below 0 is over."""
    return np.exp(np.minimum(np.maximum(time, 0) / tau_rc, LONGEST_CLOCK))


def declared_ranges(neuron_type) -> Ranges:
    """The lowest and highest numbers that a neuron type takes, as nengo declares."""
    return {
        p.name: (
            -math.inf if p.low is None else float(p.low),
            math.inf if p.high is None else float(p.high),
        )
        for p in neuron_type._params
        if isinstance(p, nengo.params.NumberParam)
    }


def declared_low(neuron_type, name: str) -> tuple[float, bool]:
    """The lowest number that a type takes, and whether numbers have to be above it."""
    for p in neuron_type._params:
        if p.name == name and isinstance(p, nengo.params.NumberParam):
            return -math.inf if p.low is None else float(p.low), bool(p.low_open)
    return (0.0, True) if name in _ABOVE_ZERO else (-math.inf, False)


def exp(x):
    """The exponential, in double precision where it is a constant."""
    if ops.is_tensor(x):
        return ops.exp(x)
    return np.exp(x) if isinstance(x, np.ndarray) else math.exp(x)


def log(x):
    """The logarithm, likewise."""
    if ops.is_tensor(x):
        return ops.log(x)
    return np.log(x) if isinstance(x, np.ndarray) else math.log(x)


def per_neuron(values, J):
    """One value per neuron, as they stand on the last axes of `J`."""
    if not isinstance(values, np.ndarray):
        return values
    return ops.cast(on_last_axes(values, J.shape), J.dtype)


def at_neurons(values: Values, J) -> Values:
    """`per_neuron` of each."""
    return {name: per_neuron(value, J) for name, value in values.items()}


def on_last_axes(values: np.ndarray, features) -> np.ndarray:
    """One value per neuron or channel, in the shape of the last axes of features."""
    shape: list[int] = []
    while math.prod(shape) < values.size and len(shape) < len(features):
        shape.insert(0, features[-1 - len(shape)])
    return np.reshape(values, shape)


def spike_constants(p, dt):
    """Parameters, the length of a step and the height of a spike."""
    return p | {"dt": dt, "height": p["amplitude"] / dt}
