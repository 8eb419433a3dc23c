"""The networks that every simulator runs, for nengo 3.2 and 4.1 alike.

Each function returns a network and its probe, filtered with 0.02 s. Inputs are sines
of a frequency and phase of their own, from Python functions of time as cheap as they
can be. Equal seeds make equal networks on one version of nengo, not across versions.
"""

import math
from collections.abc import Callable

import nengo
import numpy as np

FILTER = 0.02
SEED = 0

# The random network: as NengoDL's benchmark of that name, whose sizes are arguments.
ENSEMBLES = 64
NEURONS = 640
DIMENSIONS = 16
OUTGOING = 5
TRANSFORM = 0.1


def sines(dimensions: int, amplitude: float = 1.0, offset: float = 0.0):
    """A function of time with one sine of 0.5 to 2 Hz per dimension."""
    waves = [
        (2 * math.pi * (0.5 + 1.5 * i / dimensions), 2 * math.pi * i / dimensions)
        for i in range(dimensions)
    ]
    sin = math.sin
    return lambda t: [offset + amplitude * sin(w * t + p) for w, p in waves]


def integrator():
    """500 neurons that represent two integrals."""
    tau = 0.1
    with nengo.Network(seed=SEED) as net:
        inputs = nengo.Node(sines(2))
        ensemble = nengo.Ensemble(500, 2)
        nengo.Connection(inputs, ensemble, transform=tau, synapse=tau)
        nengo.Connection(ensemble, ensemble, synapse=tau)
        probe = nengo.Probe(ensemble, synapse=FILTER)
    return net, probe


def circular_convolution():
    """1,800 neurons: products of two 16-dimensional vectors, in Fourier space."""
    with nengo.Network(seed=SEED) as net:
        inputs = [nengo.Node(sines(16, 0.3)) for _ in range(2)]
        product = nengo.networks.CircularConvolution(50, 16)
        nengo.Connection(inputs[0], product.input_a)
        nengo.Connection(inputs[1], product.input_b)
        probe = nengo.Probe(product.output, synapse=FILTER)
    return net, probe


def basal_ganglia():
    """4,000 neurons: which of 16 actions is best, for utilities that change."""
    with nengo.Network(seed=SEED) as net:
        inputs = nengo.Node(sines(16, amplitude=0.4, offset=0.5))
        ganglia = nengo.networks.BasalGanglia(16, n_neurons_per_ensemble=50)
        nengo.Connection(inputs, ganglia.input)
        probe = nengo.Probe(ganglia.output, synapse=FILTER)
    return net, probe


def random_network():
    """40,960 neurons: each ensemble to five others, and to the output.

    Decoders are random and given: solving for 384 would be all that a build does.
    """
    rng = np.random.RandomState(SEED)
    with nengo.Network(seed=SEED) as net:
        inputs = nengo.Node(sines(DIMENSIONS, 0.5))
        output = nengo.Node(size_in=DIMENSIONS)
        ensembles = [nengo.Ensemble(NEURONS, DIMENSIONS) for _ in range(ENSEMBLES)]
        for ensemble in ensembles:
            nengo.Connection(inputs, ensemble)
            posts = rng.choice(ENSEMBLES, OUTGOING, replace=False)
            for post in (output, *(ensembles[i] for i in posts)):
                solver = nengo.solvers.NoSolver(_decoders(rng))
                nengo.Connection(ensemble, post, solver=solver, transform=TRANSFORM)
        probe = nengo.Probe(output, synapse=FILTER)
    return net, probe


def _decoders(rng) -> np.ndarray:
    """Of a size that about 100 spikes per second and neuron decode to about 1."""
    return rng.standard_normal((NEURONS, DIMENSIONS)) / (100 * NEURONS**0.5)


CIRCUITS: dict[str, Callable] = {
    "integrator": integrator,
    "circular_convolution": circular_convolution,
    "basal_ganglia": basal_ganglia,
    "random": random_network,
}
