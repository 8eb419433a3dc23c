"""Networks to be layers, and what Nengo's simulator makes of them."""

import nengo
import numpy as np

from keras_spiking_nengo.layers import Network
from tests.arrays import difference, frames

STEPS = 20


def spiking(synapse=0.01, neuron_type=None):
    """Two inputs, a loop of two ensembles, two probes: all labelled."""
    with nengo.Network(seed=3) as net:
        a = nengo.Node([0.0], label="a")
        b = nengo.Node([0.0, 0.0], label="b")
        first = nengo.Ensemble(
            20, 2, label="first", neuron_type=neuron_type or nengo.LIF()
        )
        second = nengo.Ensemble(15, 1, label="second")
        nengo.Connection(a, second, synapse=None)
        nengo.Connection(b, first)
        nengo.Connection(first, second, function=lambda x: x[0] * x[1], synapse=0.01)
        nengo.Connection(second, first[0], synapse=0.02, transform=0.5)
        nengo.Probe(first, synapse=synapse, label="decoded")
        nengo.Probe(second.neurons, label="spikes")
    return net


def small(neuron_type=None, synapse=0.005, **options):
    """One input, one ensemble with a loop, one probe."""
    with nengo.Network(seed=3) as net:
        u = nengo.Node(np.zeros(2), label="u")
        ens = nengo.Ensemble(
            10, 2, label="ens", neuron_type=neuron_type or nengo.LIF(), **options
        )
        nengo.Connection(u, ens, synapse=None, label="into", transform=np.eye(2))
        nengo.Connection(ens, ens, synapse=0.02, transform=0.5, label="loop")
        nengo.Probe(ens, synapse=synapse, label="p")
    return net


def layer_of(net, **options):
    return Network(net, **{"return_sequences": True, "seed": 7, **options})


def assert_equal(actual, expected):
    assert difference(actual, np.asarray(expected)) <= 1e-10


def built(layer):
    layer(frames(1, 3, layer.cell.ports.input_size))
    return layer
