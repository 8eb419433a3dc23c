"""Populations whose parameters differ from neuron to neuron."""

from dataclasses import replace

from keras_spiking_nengo import types
from keras_spiking_nengo.dynamics.neurons.clocks import timed
from keras_spiking_nengo.dynamics.neurons.neuron import (
    NEURONS,
    Neuron,
    at_neurons,
    neuron,
)

__all__: list[str] = []


@NEURONS.register(types.Heterogeneous)
def _heterogeneous(neuron_type) -> Neuron:
    # Of many neurons some may have a refractory time whose exponential is no number.
    base = timed(neuron(neuron_type.base_type))
    rates, slopes = base.rates, base.slopes

    def step(c, J, state, spike):
        return base.step(at_neurons(c, J), J, state, spike)

    return replace(
        base,
        parameters=base.parameters | neuron_type.parameters,
        step=step,
        rates=rates and (lambda p, J: rates(at_neurons(p, J), J)),
        slopes=slopes and (lambda p, J, width: slopes(at_neurons(p, J), J, width)),
        variant=f"{type(neuron_type.base_type).__name__}, {base.variant}",
    )
