"""Python whose state belongs to one item of a batch, and to one run."""

import nengo
import numpy as np
import pytest

import keras_spiking_nengo as ksn
from tests.marks import TAKES_TURNS, slow_on_jax

pytestmark = TAKES_TURNS

STEPS, ITEMS = 20, 3


class Walk:
    """Goes on from where it is, and returns one array that it changes in place."""

    def __init__(self):
        self.where = np.zeros(2)

    def __call__(self, t, x):
        self.where += x * (1 + t)
        x[...] = np.nan  # what it is given is its own
        return self.where


def network():
    with nengo.Network(seed=0) as net:
        stimulus = nengo.Node([0.0], label="stimulus")
        ens = nengo.Ensemble(20, 1)
        nengo.Connection(stimulus, ens)
        walk = nengo.Node(ksn.per_item(Walk, 1, 2), size_in=1)
        nengo.Connection(ens, walk, synapse=0.005)
        nengo.Connection(walk[0], ens, transform=-0.1, synapse=0.01)
        nengo.Probe(walk)
    return net


def alone(data):
    """What Nengo makes of each item."""
    results = []
    for item in data:
        net = network()
        net.nodes[0].output = nengo.processes.PresentInput(item, 0.001)
        with nengo.Simulator(net, progress_bar=False) as sim:
            sim.run_steps(STEPS)
        results.append(sim.data[net.probes[0]])
    return np.stack(results)


@slow_on_jax
def test_each_item_has_a_state_of_its_own():
    data = np.random.RandomState(0).uniform(-1, 1, (ITEMS, STEPS, 1))
    net, expected = network(), alone(data)
    options = {"dtype": "float64", "progress_bar": False}
    with ksn.Simulator(net, minibatch_size=ITEMS, **options) as sim:
        for _ in range(2):
            sim.run_steps(STEPS, data={net.nodes[0]: data})
            found = sim.data[net.probes[0]]
            np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)
            sim.reset()


@pytest.mark.parametrize("compile", [True, False])
def test_one_item_is_as_in_nengo(compile):
    net = network()
    data = []
    options = {"dtype": "float64", "compile": compile, "progress_bar": False}
    for simulator in nengo.Simulator, lambda net, **_: ksn.Simulator(net, **options):
        with simulator(net, progress_bar=False) as sim:
            sim.run_steps(STEPS)
            sim.reset()
            sim.run_steps(STEPS)
            data.append(sim.data[net.probes[0]])
    np.testing.assert_allclose(*data, rtol=1e-9, atol=1e-9)


def test_what_is_wrong_is_said():
    with pytest.raises(TypeError, match="factory makes a function when"):
        ksn.per_item(3)
    with pytest.raises(ValueError, match="size_out"):
        ksn.per_item(Walk, size_out=0)
    for factory, error, message in (
        (lambda: 3, TypeError, "factory makes a function of"),
        (lambda: lambda t: "a", ValueError, "returns numbers; received 'a'"),
        (lambda: lambda t: [1.0, 2.0, 3.0], ValueError, "returns 2 numbers"),
        (lambda: lambda t: None, ValueError, "finite numbers; received None"),
    ):
        with nengo.Network() as net:
            nengo.Probe(nengo.Node(ksn.per_item(factory, size_out=2)))
        with pytest.raises(error, match=message):  # noqa: SIM117 - as users write it
            with ksn.Simulator(net, progress_bar=False) as sim:
                sim.run_steps(1)
