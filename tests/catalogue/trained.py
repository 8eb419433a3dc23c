"""Networks that are right before they are trained, with data and targets.

Each entry makes a network, its stimulus and probe, and `(items, steps, size)` arrays.
"""

import nengo
import numpy as np

ITEMS, STEPS = 8, 60


def constants(size):
    x = np.random.RandomState(0).uniform(-1, 1, (ITEMS, 1, size))
    return np.repeat(x, STEPS, axis=1).astype("float32")


def channel():
    with nengo.Network(seed=0) as net:
        stimulus = nengo.Node([0.0], label="stimulus")
        ens = nengo.Ensemble(100, 1)
        shown = nengo.Node(size_in=1)
        nengo.Connection(stimulus, ens, synapse=None)
        nengo.Connection(ens, shown, synapse=0.03, label="decoded")
        probe = nengo.Probe(shown)
    x = constants(1)
    return net, stimulus, probe, x, x


def square():
    with nengo.Network(seed=0) as net:
        stimulus = nengo.Node([0.0])
        pre, post = nengo.Ensemble(100, 1), nengo.Ensemble(100, 1)
        nengo.Connection(stimulus, pre, synapse=None)
        nengo.Connection(pre, post, function=np.square)
        probe = nengo.Probe(post, synapse=0.03)
    x = constants(1)
    return net, stimulus, probe, x, x**2


def product():
    with nengo.Network(seed=0) as net:
        stimulus = nengo.Node([0.0, 0.0])
        both = nengo.networks.Product(50, 1)
        nengo.Connection(stimulus[0], both.input_a, synapse=None)
        nengo.Connection(stimulus[1], both.input_b, synapse=None)
        probe = nengo.Probe(both.output, synapse=0.03)
    x = constants(2)
    return net, stimulus, probe, x, x[..., :1] * x[..., 1:]


def integrator():
    with nengo.Network(seed=0) as net:
        stimulus = nengo.Node([0.0])
        ens = nengo.Ensemble(100, 1)
        nengo.Connection(stimulus, ens, transform=0.1, synapse=0.1)
        nengo.Connection(ens, ens, synapse=0.1)
        probe = nengo.Probe(ens, synapse=0.03)
    x = constants(1)
    return net, stimulus, probe, x, 0.001 * np.cumsum(x, axis=1)


def lamprey():
    """A central pattern generator: an oscillator that starts from its stimulus."""
    with nengo.Network(seed=0) as net:
        stimulus = nengo.Node([0.0, 0.0])
        ens = nengo.Ensemble(200, 2)
        nengo.Connection(stimulus, ens, synapse=None)
        nengo.Connection(ens, ens, transform=[[1, 1], [-1, 1]], synapse=0.1)
        probe = nengo.Probe(ens, synapse=0.03)
    x = constants(2)
    return net, stimulus, probe, x, ideal(x)


def ideal(x):
    """The same with exact values in the place of populations."""
    recurrent, probed = np.exp(-0.001 / np.array([0.1, 0.03]))
    turn = np.array([[1, 1], [-1, 1]])
    state, shown, steps = np.zeros_like(x[:, 0]), np.zeros_like(x[:, 0]), []
    for t in range(x.shape[1]):
        steps.append(shown)
        value = x[:, t] + state
        state = recurrent * state + (1 - recurrent) * value @ turn.T
        shown = probed * shown + (1 - probed) * value
    return np.stack(steps, axis=1).astype("float32")


TRAINED = {
    "channel": channel,
    "square": square,
    "product": product,
    "integrator": integrator,
    "lamprey": lamprey,
}
