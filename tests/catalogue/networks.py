"""Nengo networks, small ones that have, together, all that Nengo can build."""

import functools

import nengo
import numpy as np
from nengo.processes import (
    BrownNoise,
    FilteredNoise,
    Piecewise,
    PresentInput,
    WhiteNoise,
    WhiteSignal,
)
from nengo.solvers import LstsqL2

import keras_spiking_nengo as ksn
from tests.catalogue.dynamics import CONVOLUTIONS, NEURONS, SYNAPSES

WEIGHTS = LstsqL2(weights=True)


def uniform(*shape, low=-1.0):
    """The same numbers each time."""
    return np.random.RandomState(0).uniform(low, 1, size=shape)


MATRIX = uniform(16, 12)

NETWORKS = {}
# Our random numbers are not nengo's there.
RANDOM_NETWORKS = ("random_neurons",)


def network(fill):
    """A case of its own: each call builds the network anew."""

    @functools.wraps(fill)
    def fresh():
        with nengo.Network(seed=3) as net:
            fill()
        return net

    NETWORKS[fill.__name__] = fresh
    return fresh


def signal(size=1, scale=1.0):
    """A node whose output moves, other than any other's."""
    phases = np.arange(1, size + 1)
    return nengo.Node(lambda t: scale * np.cos(9 * phases * t + phases))


def probe_state(*ensembles):
    """All that a probe can show of neurons."""
    for ens in ensembles:
        for name in ens.neurons.probeable:
            nengo.Probe(ens.neurons, name)


# --- dynamics --------------------------------------------------------------------


@network
def integrator():
    steps = nengo.Node(Piecewise({0: 0, 0.02: 1, 0.06: -1}))
    ens = nengo.Ensemble(30, 1, label="memory")
    nengo.Connection(steps, ens, transform=0.1, synapse=0.1)
    nengo.Connection(ens, ens, synapse=0.1)
    nengo.Probe(ens, synapse=0.01)
    nengo.Probe(ens, "input")
    nengo.Probe(ens, "scaled_encoders")
    probe_state(ens)


@network
def controlled_oscillator():
    ens = nengo.Ensemble(50, 3, radius=1.5)

    def turn(x):
        s = 10 * x[2]
        return 1.1 * x[0] + 0.1 * s * x[1], 1.1 * x[1] - 0.1 * s * x[0]

    nengo.Connection(nengo.Node([1, 0]), ens[:2], synapse=None)
    nengo.Connection(signal(), ens[2])
    nengo.Connection(ens, ens[:2], function=turn, synapse=0.1)
    nengo.Probe(ens, synapse=0.03)
    nengo.Probe(ens.neurons)


@network
def lorenz():
    ens = nengo.Ensemble(80, 3, radius=60)

    def flow(x):
        dx = 10 * (x[1] - x[0]), -x[0] * x[2] - x[1], x[0] * x[1] - 8 / 3 * (x[2] + 28)
        return np.multiply(dx, 0.1) + x

    nengo.Connection(ens, ens, function=flow, synapse=0.1)
    nengo.Probe(ens, synapse=0.01)


@network
def two_ensembles_in_a_ring():
    a, b = nengo.Ensemble(20, 1), nengo.Ensemble(25, 2)
    nengo.Connection(signal(), a)
    nengo.Connection(a, b[0], synapse=0.01)
    nengo.Connection(b, a, function=lambda x: x[0] * x[1], synapse=nengo.Alpha(0.02))
    nengo.Connection(b[0], b[1], synapse=0.05)
    nengo.Probe(a)
    nengo.Probe(b, synapse=0.01)
    nengo.Probe(b.neurons, "voltage")


@network
def several_loops():
    source = signal(2)
    first, second, third = (nengo.Ensemble(12 + i, 1) for i in range(3))
    nengo.Connection(source[0], first)
    nengo.Connection(source[1], second)
    for ens, tau in ((first, 0.1), (second, 0.05), (third, 0.1)):
        nengo.Connection(ens, ens, synapse=tau)
        nengo.Probe(ens, synapse=tau)
    nengo.Connection(first, second, synapse=0.01)
    nengo.Connection(second, third, synapse=None)
    # Loops of nodes: an integrator, and a counter that lags by a step.
    held = nengo.Node(size_in=2)
    nengo.Connection(source, held, transform=0.1, synapse=0.1)
    nengo.Connection(held, held, synapse=0.1)
    counter = nengo.Node(size_in=1)
    nengo.Connection(nengo.Node(1), counter, synapse=None)
    nengo.Connection(counter, counter, synapse=0)
    nengo.Probe(held)
    nengo.Probe(counter)


# --- nengo's own networks ---------------------------------------------------------


@network
def circular_convolution():
    net = nengo.networks.CircularConvolution(8, dimensions=3)
    nengo.Connection(signal(3, 0.5), net.input_a)
    nengo.Connection(nengo.Node([0.2, -0.5, 0.1]), net.input_b)
    nengo.Probe(net.output, synapse=0.01)


@network
def product():
    net = nengo.networks.Product(12, dimensions=2)
    nengo.Connection(signal(2), net.input_a)
    nengo.Connection(signal(1), net.input_b, transform=[[1], [-1]])
    nengo.Probe(net.output, synapse=0.01)


@network
def basal_ganglia_and_thalamus():
    chosen = nengo.networks.BasalGanglia(dimensions=3, n_neurons_per_ensemble=15)
    thalamus = nengo.networks.Thalamus(dimensions=3, n_neurons_per_ensemble=15)
    nengo.Connection(nengo.Node([0.3, 0.8, 0.5]), chosen.input, synapse=None)
    nengo.Connection(chosen.output, thalamus.input)
    nengo.Probe(chosen.output, synapse=0.01)
    nengo.Probe(thalamus.output, synapse=0.01)


@network
def memories():
    vectors = np.eye(3)[:2]
    memory = nengo.networks.AssociativeMemory(vectors, n_neurons=12)
    memory.add_wta_network(1.5)
    memory.add_threshold_to_outputs()
    gated = nengo.networks.InputGatedMemory(12, dimensions=3)
    nengo.Connection(signal(3), memory.input)
    nengo.Connection(memory.output, gated.input)
    nengo.Connection(nengo.Node(lambda t: t > 0.05), gated.gate)
    nengo.Probe(memory.output, synapse=0.01)
    nengo.Probe(gated.output, synapse=0.01)


@network
def ensemble_array():
    array = nengo.networks.EnsembleArray(10, n_ensembles=5, ens_dimensions=1)
    array.add_output("square", np.square)
    array.add_neuron_output()
    array.add_neuron_input()
    nengo.Connection(signal(5), array.input)
    nengo.Connection(array.square, array.input[::-1], transform=0.5)
    nengo.Connection(signal(1), array.neuron_input, transform=np.ones((50, 1)) * 0.1)
    nengo.Probe(array.output, synapse=0.01)
    nengo.Probe(array.square)
    nengo.Probe(array.neuron_output)


# --- learning ---------------------------------------------------------------------


def probe_rule(rule):
    for name in rule.probeable:
        nengo.Probe(rule, name)


@network
def communication_channel_pes():
    source = signal(2)
    pre, post, error = (nengo.Ensemble(20 + i, 2) for i in range(3))
    nengo.Connection(source, pre)
    conn = nengo.Connection(
        pre, post, function=lambda x: [0, 0], learning_rule_type=nengo.PES(1e-3)
    )
    nengo.Connection(post, error)
    nengo.Connection(source, error, transform=-1)
    nengo.Connection(error, conn.learning_rule)
    nengo.Connection(post, pre[0], transform=[[0.1, 0]])
    nengo.Probe(post, synapse=0.01)
    nengo.Probe(conn, "weights", sample_every=0.01)
    probe_rule(conn.learning_rule)


@network
def pes_on_full_weights():
    pre, post = nengo.Ensemble(15, 1), nengo.Ensemble(12, 2)
    nengo.Connection(signal(), pre)
    solved = nengo.Connection(
        pre,
        post,
        function=lambda x: [x[0], -x[0]],
        solver=WEIGHTS,
        learning_rule_type=nengo.PES(1e-3, pre_synapse=0.02),
    )
    direct = nengo.Connection(
        pre.neurons,
        post.neurons,
        transform=MATRIX[:12, :1] * np.ones((1, 15)) * 1e-4,
        learning_rule_type={"a": nengo.PES(1e-6)},
    )
    node = nengo.Node(size_in=2)
    to_node = nengo.Connection(
        pre.neurons[::2],
        node,
        transform=np.zeros((2, 8)),
        learning_rule_type=[nengo.PES(1e-4, pre_synapse=None)],
    )
    nengo.Connection(signal(2), solved.learning_rule, synapse=None)
    nengo.Connection(signal(2), direct.learning_rule["a"])
    nengo.Connection(node, to_node.learning_rule[0], synapse=0.01)
    nengo.Connection(signal(2), to_node.learning_rule[0], synapse=0.01)
    nengo.Probe(post.neurons)
    nengo.Probe(node)
    for conn in (solved, direct, to_node):
        nengo.Probe(conn, "weights", sample_every=0.02)
    probe_rule(solved.learning_rule)


@network
def bcm_and_oja():
    pre, post = nengo.Ensemble(10, 1), nengo.Ensemble(12, 1)
    nengo.Connection(signal(), pre)
    rules = {
        "bcm": nengo.BCM(1e-9, theta_synapse=0.05),
        "oja": nengo.Oja(1e-6, beta=0.5, pre_synapse=0.01, post_synapse=None),
    }
    both = nengo.Connection(pre, post, solver=WEIGHTS, learning_rule_type=rules)
    weights = MATRIX[:12, :10] * 1e-4
    bcm, oja = (
        nengo.Connection(
            pre.neurons, post.neurons, transform=weights, learning_rule_type=rule
        )
        for rule in (nengo.BCM(1e-10, post_synapse=0.02), nengo.Oja(1e-7))
    )
    nengo.Probe(post.neurons)
    nengo.Probe(both, "weights", sample_every=0.01)
    for rule in (bcm.learning_rule, oja.learning_rule, both.learning_rule["bcm"]):
        probe_rule(rule)


@network
def spike_timing():
    pre = nengo.Ensemble(10, 1, neuron_type=nengo.LIF(amplitude=0.5))
    post = nengo.Ensemble(12, 1, neuron_type=nengo.RegularSpiking(nengo.LIFRate()))
    for ens in (pre, post):
        nengo.Connection(signal(), ens)
    pair = ksn.types.STDP(1e-4, min_weight=-1e-3, max_weight=1e-3, bounds="soft")
    part = nengo.Connection(
        pre.neurons[::2],
        post.neurons[[3, 1]],
        transform=MATRIX[:2, :5] * 1e-3,
        learning_rule_type=pair,
    )
    triplet = ksn.types.TripletSTDP(1e-2, a3_minus=1e-3, min_weight=-2e-3)
    solved = nengo.Connection(pre, post, solver=WEIGHTS, learning_rule_type=triplet)
    rewarded = nengo.Connection(
        post.neurons,
        post.neurons,
        transform=MATRIX[:12, :12] * 1e-4,
        learning_rule_type=ksn.types.RewardModulatedSTDP(1e-3, max_weight=2e-4),
    )
    nengo.Connection(signal(), rewarded.learning_rule, synapse=0.01)
    nengo.Probe(post.neurons)
    for conn in (part, solved, rewarded):
        nengo.Probe(conn, "weights", sample_every=0.01)
        probe_rule(conn.learning_rule)


@network
def voja():
    pre, post = nengo.Ensemble(15, 2), nengo.Ensemble(12, 2)
    nengo.Connection(signal(2), pre)
    with_signal, plain = (
        nengo.Connection(pre, post, synapse=0.01, learning_rule_type=rule)
        for rule in (nengo.Voja(0.1, post_synapse=0.01), nengo.Voja(0.05, None))
    )
    nengo.Connection(nengo.Node(lambda t: t - 0.03), with_signal.learning_rule)
    nengo.Probe(post, "scaled_encoders")
    nengo.Probe(post.neurons)
    for conn in (with_signal, plain):
        probe_rule(conn.learning_rule)


@network
def rls():
    source = signal(2)
    pre, post = nengo.Ensemble(15, 2), nengo.Node(size_in=2)
    nengo.Connection(source, pre)
    decoded = nengo.Connection(
        pre,
        post,
        function=lambda x: [0, 0],
        learning_rule_type=nengo.RLS(1e-3, pre_synapse=0.01),
    )
    direct = nengo.Connection(
        pre.neurons,
        post,
        transform=np.zeros((2, 15)),
        learning_rule_type=nengo.RLS(1e-2),
    )
    for conn in (decoded, direct):
        nengo.Connection(post, conn.learning_rule)
        nengo.Connection(source, conn.learning_rule, transform=-1)
        probe_rule(conn.learning_rule)
    nengo.Probe(post)


# --- neurons ----------------------------------------------------------------------

_RATES = ("RectifiedLinear", "Sigmoid", "Tanh", "LIFRate", "AdaptiveLIFRate", "Direct")
_SPIKES = ("LIF", "SpikingRectifiedLinear", "AdaptiveLIF", "RegularSpiking")
_SPIKES += ("RegularSpiking(Tanh)", "Izhikevich")


def loops(names):
    """Ensembles of these neuron types, each in a loop with the same node."""
    source, sink = signal(2), nengo.Node(size_in=2)
    for name in names:
        ens = nengo.Ensemble(10, 2, neuron_type=NEURONS[name], max_rates=[80] * 10)
        nengo.Connection(source, ens)
        nengo.Connection(ens, sink, transform=0.1, synapse=0.05)
        nengo.Connection(sink, ens)
        nengo.Probe(ens, synapse=0.01)
        if name != "Direct":
            probe_state(ens)


@network
def rate_neurons():
    loops(_RATES)


@network
def spiking_neurons():
    loops(_SPIKES)


@network
def random_neurons():
    for neuron_type in (
        nengo.StochasticSpiking(nengo.Tanh(tau_ref=0.01)),
        nengo.StochasticSpiking(nengo.AdaptiveLIFRate(tau_n=0.1, inc_n=0.02)),
        nengo.PoissonSpiking(nengo.LIFRate(), amplitude=0.5),
    ):
        ens = nengo.Ensemble(40, 1, neuron_type=neuron_type, max_rates=[80] * 40)
        nengo.Connection(nengo.Node(0.5), ens)
        nengo.Probe(ens.neurons)


@network
def initial_states():
    lif = nengo.LIF(initial_state={"voltage": nengo.dists.Uniform(0, 0.5)})
    adaptive = nengo.AdaptiveLIF(
        initial_state={"adaptation": nengo.dists.Uniform(0, 0.2)}
    )
    for neuron_type in (lif, adaptive):
        ens = nengo.Ensemble(10, 1, neuron_type=neuron_type)
        probe_state(ens)


@network
def direct_mode():
    ens = nengo.Ensemble(1, 2, neuron_type=nengo.Direct())
    out = nengo.Ensemble(1, 1, neuron_type=nengo.Direct())
    after = nengo.Ensemble(10, 1)
    nengo.Connection(signal(2), ens, synapse=None)
    nengo.Connection(ens, out, function=lambda x: np.sin(x[0] * x[1]), synapse=0.01)
    nengo.Connection(ens[1], ens[0], function=np.square, synapse=0.02)
    nengo.Connection(out, after, synapse=None)
    nengo.Connection(after, out, synapse=0.05)
    for obj in (ens, out, after):
        nengo.Probe(obj)


@network
def ensemble_noise():
    noises = (
        WhiteNoise(nengo.dists.Gaussian(0, 0.05), seed=4),
        WhiteNoise(nengo.dists.Uniform(-0.1, 0.1), scale=False),
        FilteredNoise(nengo.Alpha(0.01), nengo.dists.Gaussian(0, 0.01)),
    )
    for noise in noises:
        ens = nengo.Ensemble(10, 1, noise=noise)
        nengo.Connection(ens, ens, synapse=0.1)
        nengo.Probe(ens)
        nengo.Probe(ens.neurons, "input")


# --- connections ------------------------------------------------------------------


@network
def neuron_connections():
    a, b = nengo.Ensemble(12, 1), nengo.Ensemble(16, 2)
    source, sink = signal(12, 3), nengo.Node(size_in=3)
    nengo.Connection(source, a.neurons, synapse=None)
    nengo.Connection(a.neurons, b.neurons, transform=MATRIX * 1e-3, synapse=0.01)
    nengo.Connection(b.neurons[3:9], a.neurons[::2], transform=1e-3, synapse=0.02)
    nengo.Connection(a.neurons[[1, 1, 5]], sink, synapse=None)
    nengo.Connection(a.neurons[:2], b, transform=1e-3)
    nengo.Connection(b, a.neurons, transform=MATRIX[:12, :2])
    nengo.Probe(sink)
    nengo.Probe(b.neurons[2:7], synapse=0.01)
    nengo.Probe(a.neurons, "voltage")


@network
def solvers():
    a, b = nengo.Ensemble(15, 2), nengo.Ensemble(12, 2)
    nengo.Connection(signal(2), a)
    points = uniform(40, 2)
    weights = nengo.Connection(a, b, solver=WEIGHTS, function=lambda x: x[::-1])
    nengo.Connection(a, b, eval_points=points, function=points**2, synapse=0.02)
    nengo.Connection(b, a, solver=nengo.solvers.NoSolver(np.full((12, 2), 1e-3)))
    nengo.Connection(b, b, solver=LstsqL2(reg=0.02, weights=True), synapse=0.1)
    nengo.Probe(weights, "weights", sample_every=0.05)
    nengo.Probe(a, synapse=0.01)
    nengo.Probe(b.neurons)
    nengo.Probe(weights, "output")
    nengo.Probe(weights, "input")


@network
def slices():
    source, a = signal(6), nengo.Ensemble(30, 4)
    sink = nengo.Node(size_in=6)
    for pre, post in (
        (source[:4], a),
        (source[5], a[-1]),
        (source[::-2], a[[2, 0, 1]]),
        (source[[0, 0, 3, 3]], a[::-1]),
        (source[[-1, 1]], a[1:3]),
        (source, sink[[5, 4, 3, 2, 1, 0]]),
        (source[:3], sink[[0, 1, 0]]),
        (a[[3, 1, 1]], sink[::2]),
        (a[2:0:-1], sink[-2:]),
    ):
        nengo.Connection(pre, post)
    nengo.Connection(a[[1, 0]], sink[1], function=lambda x: x[0] - x[1] ** 2)
    nengo.Connection(a[::3], a[1], function=lambda x: x[1], synapse=0.1)
    nengo.Probe(a[::-1])
    nengo.Probe(a[[0, 0, 2]], synapse=0.01)
    nengo.Probe(sink[1:5:2])
    nengo.Probe(sink)


@network
def transforms():
    source, a = signal(6), nengo.Ensemble(20, 3)
    sparse = nengo.Sparse((3, 6), [[0, 5], [2, 1], [0, 1], [1, 0]], init=[1, 2, -1, 3])
    drawn = nengo.Sparse((6, 3), [[0, 2], [5, 0]], init=nengo.dists.Uniform(-1, 1))
    sink = nengo.Node(size_in=6)
    for pre, post, transform in (
        (source[:3], a, 0.5),
        (source[3:], a, [1, -1, 0.5]),
        (source, a, MATRIX[:3, :6]),
        (source, a, sparse),
        (source[0], a[1], 2.0),
        (source[0], sink, MATRIX[:6, :1]),
        (source, sink[0], MATRIX[:1, :6]),
        (source, sink[:3], nengo.Dense((3, 6), nengo.dists.Uniform(-1, 1))),
        (a, sink[[0, 3, 5]], [0.1, 0.2, 0.3]),
        (a[0], sink[4], -1),
    ):
        nengo.Connection(pre, post, transform=transform, synapse=0.01)
    nengo.Connection(a.neurons[2:5], sink, transform=drawn)
    nengo.Probe(a)
    nengo.Probe(sink)


@network
def convolutions():
    for name, transform in CONVOLUTIONS.items():
        source = signal(transform.size_in)
        sink = nengo.Node(size_in=transform.size_out, label=name)
        nengo.Connection(source, sink, transform=transform, synapse=0.005)
        nengo.Probe(sink)
    transform = CONVOLUTIONS["2d"]
    a = nengo.Ensemble(transform.size_in, 1)
    b = nengo.Ensemble(transform.size_out, 1)
    nengo.Connection(a.neurons, b.neurons, transform=transform, synapse=0.01)
    nengo.Probe(b.neurons, "input")


@network
def synapses():
    source = signal(2)
    ens = nengo.Ensemble(12, 1)
    for synapse in SYNAPSES.values():
        sink = nengo.Node(size_in=2)
        nengo.Connection(source, sink, synapse=synapse)
        nengo.Connection(sink[0], ens, synapse=None, transform=0.1)
        nengo.Probe(sink)
    for synapse in (None, 0, 0.02, SYNAPSES["Alpha"], SYNAPSES["Triangle"]):
        nengo.Connection(ens, ens, synapse=synapse or 0.1, transform=0.1)
        nengo.Probe(ens, synapse=synapse)
        nengo.Probe(ens.neurons[:3], synapse=synapse)


# --- nodes, processes and probes ---------------------------------------------------


@network
def nodes():
    seen = nengo.Node(lambda t, x: x * 2 + t, size_in=2, label="python")
    nengo.Node(lambda t, x: None, size_in=2)
    ignored = nengo.Node(lambda t, x: None, size_in=2, label="sink")
    relay = nengo.Node(size_in=2)
    constant = nengo.Node([0.5, -0.5])
    filtered = nengo.Node(nengo.Lowpass(0.02, default_size_in=2), size_in=2)
    filtered_alpha = nengo.Node(nengo.Alpha(0.01, default_size_in=1), size_in=1)
    ens = nengo.Ensemble(10, 2)
    nengo.Connection(constant, relay, synapse=None)
    nengo.Connection(relay, seen)
    nengo.Connection(seen, relay[::-1], transform=0.1, synapse=0.01)
    nengo.Connection(seen, ens, synapse=None)
    nengo.Connection(ens, seen, synapse=0.05)
    nengo.Connection(ens, ignored)
    nengo.Connection(relay, filtered, synapse=None)
    nengo.Connection(filtered[0], filtered_alpha, synapse=0)
    nengo.Connection(filtered_alpha, ens[0])
    for obj in (seen, relay, constant, filtered, filtered_alpha, ens):
        nengo.Probe(obj)


class Doubled(nengo.Process):
    """A process with an input and a memory of its own."""

    def make_state(self, shape_in, shape_out, dt, dtype=None):
        return {"total": np.zeros(shape_out)}

    def make_step(self, shape_in, shape_out, dt, rng, state):
        def step(t, x):
            state["total"] += x * dt
            return 2 * x + state["total"]

        return step


@network
def processes():
    images = uniform(3, 2, 2, low=0)
    found = [
        nengo.Node(process)
        for process in (
            WhiteNoise(seed=1, default_size_out=2),
            WhiteNoise(nengo.dists.Uniform(-1, 1), scale=False, default_size_out=1),
            FilteredNoise(nengo.Lowpass(0.01), default_size_out=2),
            BrownNoise(default_size_out=1),
            WhiteSignal(0.05, high=80, rms=0.5, default_size_out=2),
            WhiteSignal(0.05, high=80, seed=5, y0=0, default_size_out=1),
            PresentInput(images, 0.013),
            Piecewise({0.01: [1, 2], 0.03: [0, -1]}),
        )
    ]
    doubled = nengo.Node(Doubled(default_size_in=2, default_size_out=2), size_in=2)
    nengo.Connection(found[2], doubled)
    ens = nengo.Ensemble(10, 1)
    nengo.Connection(found[1], ens)
    nengo.Connection(doubled[0], ens)
    for node in (*found, doubled, ens):
        nengo.Probe(node)


@network
def probes():
    source, ens = signal(2), nengo.Ensemble(10, 2)
    conn = nengo.Connection(source, ens, synapse=0.01)
    back = nengo.Connection(ens, ens[0], function=lambda x: x[1], synapse=0.1)
    for sample_every in (None, 0.001, 0.002, 0.0035, 0.01, 0.05):
        nengo.Probe(ens, sample_every=sample_every, synapse=0.01)
        nengo.Probe(ens.neurons[::3], "output", sample_every=sample_every)
        nengo.Probe(source, sample_every=sample_every)
    for name in ("input", "output"):
        nengo.Probe(conn, name)
        nengo.Probe(back, name, synapse=0.01)
    nengo.Probe(back, "weights")
    nengo.Probe(ens, "input", synapse=0.01)
    nengo.Probe(ens.neurons, "refractory_time")
    nengo.Probe(ens.neurons[[4, 4, 1]], "voltage")
