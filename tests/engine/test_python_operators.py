"""What the user's Python returns or is given is the user's: we copy it, as nengo."""

import nengo
import numpy as np
import pytest

import keras_spiking_nengo as ksn
from keras_spiking_nengo.layers import Network

STEPS = 6


def turning(size_in):
    """A function that changes and returns one array."""
    values = np.zeros(3)

    def turn(t, *x):
        values[:] = sum(map(np.sum, x))
        values[round(t * 1000) % 3] += 1
        return values

    return nengo.Node(turn, size_in=size_in, size_out=3)


def greedy():
    """A function that changes what it is given."""

    def double(t, x):
        x *= 2
        return x

    return nengo.Node(double, size_in=3, size_out=3)


class Keeps(nengo.Process):
    """Returns one array that it goes on changing, and changes what it is given."""

    def make_step(self, shape_in, shape_out, dt, rng, state):
        values = np.zeros(shape_out)

        def step(t, *x):
            for argument in x:
                argument += 1
                values[:] += argument
            values[:] += t
            return values

        return step


def compiled_in():
    """A tensor function that changes what it is given, where tensors allow that."""

    @ksn.tensor_function
    def double(t, x):
        x *= 2
        return x + t

    return nengo.Node(double, size_in=3, size_out=3)


class Greedy(nengo.RectifiedLinear):
    """Changes the current that it is given."""

    def step(self, dt, J, output):
        J *= 2
        output[...] = np.maximum(J, 0)


class Doubling(nengo.synapses.Synapse):
    """Changes what it filters."""

    def make_state(self, shape_in, shape_out, dt, dtype=None, y0=0):
        return {}

    def make_step(self, shape_in, shape_out, dt, rng, state):
        def step(t, x):
            x *= 2
            return x

        return step


NODES = {
    "function of time": lambda: turning(0),
    "function": lambda: turning(3),
    "function that changes its argument": greedy,
    "tensor function that changes its argument": compiled_in,
    "process of time": lambda: nengo.Node(Keeps(default_size_out=3)),
    "process": lambda: nengo.Node(Keeps(default_size_in=3, default_size_out=3)),
}


def network(name):
    with nengo.Network(seed=0) as net:
        u = nengo.Node([0.5, 1.0, -2.0], label="u")
        node = NODES[name]()
        if node.size_in:
            nengo.Connection(u, node, synapse=None)
        # Another reader of what may be changed in place.
        relay = nengo.Node(size_in=3)
        nengo.Connection(u, relay, synapse=None)
        nengo.Probe(node)
        nengo.Probe(relay)
    return net


@pytest.mark.parametrize("name", NODES)
def test_arrays_are_copied_as_nengo_copies_them(name):
    data = []
    for simulator in (nengo.Simulator, ksn.Simulator):
        net = network(name)
        with simulator(net, progress_bar=False) as sim:
            sim.run_steps(STEPS)
        data.append([sim.data[probe] for probe in net.probes])
    for ours, theirs in zip(*data, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    assert len(np.unique(data[0][0], axis=0)) > 1 or "argument" in name


@pytest.mark.torch
@pytest.mark.parametrize("name", NODES)
def test_a_layer_copies_them_too(name):
    net = network(name)
    with nengo.Simulator(net, progress_bar=False) as sim:
        sim.run_steps(STEPS)
    x = np.tile([0.5, 1.0, -2.0], (1, STEPS, 1))
    outputs = Network(network(name), inputs="u", return_sequences=True)(x)
    for y, probe in zip(outputs, net.probes, strict=True):
        np.testing.assert_allclose(np.asarray(y)[0], sim.data[probe], rtol=1e-6)


def test_neurons_and_synapses_of_a_user_do_not_change_what_others_read():
    with nengo.Network(seed=0) as net:
        u = nengo.Node([0.5], label="u")
        ens = nengo.Ensemble(9, 1, neuron_type=Greedy())
        relay, last = nengo.Node(size_in=1), nengo.Node(size_in=1)
        nengo.Connection(u, ens, synapse=None)
        nengo.Connection(u, relay, synapse=Doubling())
        nengo.Connection(relay, last, synapse=Doubling())
        probes = [nengo.Probe(obj) for obj in (u, relay, last)]
        activity = nengo.Probe(ens.neurons)
    with ksn.Simulator(net, dtype="float64", progress_bar=False) as sim:
        sim.run_steps(4)
    seen = [sim.data[probe][:, 0].tolist() for probe in probes]
    assert seen == [[0.5] * 4, [0, 1, 1, 1], [0, 0, 2, 2]]
    built = sim.data[ens]
    J = 0.5 * built.scaled_encoders[:, 0] + built.bias
    doubled = np.tile(np.maximum(2 * J, 0), (4, 1))
    np.testing.assert_allclose(sim.data[activity], doubled, rtol=1e-12)


def test_python_gets_nengos_time():
    """0.3 in single precision is above the double that Nengo has at step 300."""
    with nengo.Network() as net:
        u = nengo.Node([1.0])
        late = nengo.Node(lambda t, x: x * (t > 0.3), size_in=1)
        nengo.Connection(u, late, synapse=None)
        probe = nengo.Probe(late)
    with ksn.Simulator(net, progress_bar=False) as sim:
        sim.run_steps(302)
    assert sim.data[probe][:, 0].tolist() == [0.0] * 300 + [1.0] * 2


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda t: None, "non-finite"),
        (lambda t: np.inf, "non-finite"),
        (lambda t: "one", "invalid type"),
        (lambda t: {}, "invalid type"),
    ],
)
def test_impossible_values_are_refused_by_name(function, words):
    with nengo.Network() as net:
        node = nengo.Node(lambda t: 0.0)
        nengo.Probe(node)
    node.output = lambda t: 0.0 if t < 0.0015 else function(t)
    with (
        ksn.Simulator(net, progress_bar=False, compile=True) as sim,
        pytest.raises(nengo.exceptions.SimulationError, match=words),
    ):
        sim.run_steps(4)
