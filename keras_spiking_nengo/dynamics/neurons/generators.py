"""Spikes from rates: the second half of neuron types that make them."""

import nengo
from keras import ops

from keras_spiking_nengo.dynamics import random
from keras_spiking_nengo.dynamics.neurons.neuron import (
    NEURONS,
    Neuron,
    neuron,
    spike_constants,
)
from keras_spiking_nengo.registry import Registry

__all__ = ["RATES_TO_SPIKES", "from_rates"]

RATES_TO_SPIKES: Registry = Registry("spike generator", governing=("step",))


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
        constants=spike_constants,
        step=step,
        rates=lambda p, rate: p["amplitude"] * rate,
        trainable=("amplitude",),
        random=draws,
    )


def _both_halves(neuron_type) -> Neuron:
    """The base type's step, then that of `from_rates`."""
    base = neuron(neuron_type.base_type)
    states, fire, draws = RATES_TO_SPIKES[neuron_type]
    n_base = len(base.states)

    # Users and saved files know the parameters of the base by these names.
    def parameters_of_base(p):
        return {k.removeprefix("base_"): p[k] for k in p if k.startswith("base_")}

    def constants(p, dt):
        inner = base.constants(parameters_of_base(p), dt)
        return spike_constants({"amplitude": p["amplitude"]}, dt) | {"base": inner}

    def step(c, J, state, spike):
        before, state = list(state[:n_base]), list(state[n_base:])
        rate, after = base.step(c["base"], J, before, spike)
        spikes, state = fire(c, rate, state, spike)
        return spikes * c["height"], [*after, *state]

    def scaled(curve):
        if curve is None:
            return None
        return lambda p, *args: p["amplitude"] * curve(parameters_of_base(p), *args)

    prefixed = {f"base_{name}": value for name, value in base.parameters.items()}
    return Neuron(
        parameters={"amplitude": float(neuron_type.amplitude)} | prefixed,
        states=(*base.states, *states),
        constants=constants,
        step=step,
        rates=scaled(base.rates),
        slopes=scaled(base.slopes),
        trainable=("amplitude", *(f"base_{name}" for name in base.trainable)),
        ranges=lambda dt: {f"base_{k}": v for k, v in base.ranges(dt).items()},
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
