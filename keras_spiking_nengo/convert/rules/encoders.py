"""Spike encoders as populations of Nengo's random spiking neurons.

The numbers of spikes have the same distribution, and Nengo draws its own.
"""

import nengo
import numpy as np

from keras_spiking_nengo import layers
from keras_spiking_nengo.convert.layer_rules import LAYERS, LayerRule, Part, Site
from keras_spiking_nengo.convert.rules.sequences import sequence_objection
from keras_spiking_nengo.types import BoundedReLU


def _drawn(site: Site, neuron_type, rate: float) -> Part:
    """Neurons that fire with `rate`, in Hz, times the input."""
    gain = np.full(int(np.prod(site.output)), rate)
    return site.through(neuron_type=neuron_type, gain=gain)


def _poisson(site: Site) -> Part:
    neurons = nengo.PoissonSpiking(nengo.RectifiedLinear())
    return _drawn(site, neurons, site.layer.cell.max_rate)


def _bernoulli(site: Site) -> Part:
    # What a rate leaves beside whole spikes in a step is drawn: at most one spike.
    highest = site.layer.cell.height
    return _drawn(site, nengo.StochasticSpiking(BoundedReLU(highest)), highest)


LAYERS.add(LayerRule(_poisson, sequence_objection), layers.PoissonEncoder)
LAYERS.add(LayerRule(_bernoulli, sequence_objection), layers.BernoulliEncoder)
