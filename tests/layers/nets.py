"""Networks to be layers, and what Nengo's simulator makes of them."""

import nengo
import numpy as np

from keras_spiking_nengo.layers import Network

STEPS = 20
SEED = 7


def frames(*shape, seed=0):
    return np.random.RandomState(seed).uniform(-1, 1, size=shape)


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
    return Network(net, **{"return_sequences": True, "seed": SEED, **options})


def by_nengo(net, given=None, steps=STEPS, dt=0.001):
    """What nengo's simulator shows, by probe; `given` are frames by node."""
    former = {node: node.output for node in given or {}}
    for node, values in (given or {}).items():
        node.output = lambda t, v=values: v[round(t / dt) - 1]
    with nengo.Simulator(net, dt=dt, seed=SEED, progress_bar=False) as sim:
        sim.run_steps(steps)
    for node, output in former.items():
        node.output = output
    return {probe: np.array(sim.data[probe]) for probe in net.all_probes}


def assert_equal(actual, expected):
    expected = np.asarray(expected)
    assert actual.shape == expected.shape
    scale = np.max(np.abs(expected), initial=0) or 1.0
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-10 * scale)


def built(layer):
    layer(frames(1, 3, layer.cell.ports.input_size))
    return layer
