"""Passes change how a program runs, not what it computes."""

from functools import partial

import nengo
import numpy as np
import pytest

import keras_spiking_nengo as ksn
from keras_spiking_nengo.engine import PASSES
from keras_spiking_nengo.engine.filters import Filter
from keras_spiking_nengo.engine.populations import Population
from keras_spiking_nengo.engine.products import Product
from tests.arrays import difference
from tests.cases import NETWORKS
from tests.engine.runs import by_program, program_of
from tests.marks import TAKES_TURNS, quick, slow_on_jax
from tests.simulated import by_nengo

pytestmark = TAKES_TURNS

STEPS = 15
SOME = {
    "none": (),
    **{f"without {name}": tuple(n for n in PASSES if n != name) for name in PASSES},
    **{f"only {name}": (name,) for name in PASSES},
}


@slow_on_jax
@pytest.mark.parametrize(
    "name",
    quick(NETWORKS, ["direct_mode"]),
)
def test_outputs_stay_the_same(name):
    expected = by_program(name, tuple(PASSES), STEPS)
    assert any(np.any(values) for values in expected)
    for label, passes in SOME.items():
        actual = by_program(name, passes, STEPS)
        for ours, theirs in zip(actual, expected, strict=True):
            assert difference(ours, theirs) <= 1e-12, label


every_pass = partial(program_of, passes=tuple(PASSES))


def counts(program):
    return len(program.stages), len(program.operations)


def array_of(size, loop):
    with nengo.Network(seed=0) as net:
        source = nengo.Node(lambda t: np.ones(size) * t)
        array = nengo.networks.EnsembleArray(10, n_ensembles=size)
        nengo.Connection(source, array.input)
        if loop:
            nengo.Connection(array.output, array.input, synapse=0.1)
        nengo.Probe(array.output, synapse=0.01)
    return net


def summed():
    """What filters give an ensemble, two of them by way of what is read twice."""
    alpha = nengo.Alpha(0.01)
    with nengo.Network(seed=0) as net:
        source = nengo.Node(lambda t: np.ones(4) * t)
        post = nengo.Ensemble(20, 2)
        for i, synapse in enumerate([0.005, 0.005, 0.005, alpha, alpha, 0.02]):
            nengo.Connection(source[i % 3 : i % 3 + 2], post, synapse=synapse)
        nengo.Connection(source[3], post[1], synapse=alpha)
        nengo.Connection(post, post, synapse=0.005, transform=0.1)
        for _ in range(2):
            relay = nengo.Node(size_in=2)
            nengo.Connection(source[:2], relay, synapse=0.03)
            nengo.Connection(relay, post, synapse=None)
            nengo.Probe(relay)
        nengo.Probe(post)
    return net


def test_share_filters_filters_sums():
    net = summed()
    program = program_of(net, ("simplify", "share_filters"))
    filters = [node for node in program.operations if isinstance(node, Filter)]
    # One for four with 5 ms, one for three of order 2, one with 20 ms, two with 30.
    assert sorted(node.outs[0].size for node in filters) == [2, 2, 2, 2, 2]
    apart = program_of(net, ("simplify",))
    filters = [node for node in apart.operations if isinstance(node, Filter)]
    assert sum(node.outs[0].size for node in filters) == 19
    data = []
    for optimize in (True, False):
        with ksn.Simulator(
            net, seed=1, optimize=optimize, dtype="float64", progress_bar=False
        ) as sim:
            sim.run_steps(60)
        data.append([sim.data[probe] for probe in net.probes])
    with nengo.Simulator(net, seed=1, progress_bar=False) as reference:
        reference.run_steps(60)
    for probe, *ours in zip(net.probes, *data, strict=True):
        for values in ours:
            assert np.any(values)
            assert difference(values, reference.data[probe]) <= 1e-12


@pytest.mark.parametrize("size", [3, 10])
@pytest.mark.parametrize("loop", [False, True])
def test_merge_makes_many_equal_ensembles_one(loop, size):
    few, many = (every_pass(array_of(n, loop)) for n in (size, 30))
    assert counts(many) == counts(few)
    unmerged = tuple(name for name in PASSES if name != "merge")
    apart = program_of(array_of(30, loop), unmerged)
    assert len(apart.operations) > len(many.operations) + 30


def fan(n_targets):
    """Ensembles that each send to `n_targets` of themselves, and a probe."""
    with nengo.Network(seed=0) as net:
        ensembles = [nengo.Ensemble(640, 8, label=str(i)) for i in range(4)]
        for i, pre in enumerate(ensembles):
            for j in range(n_targets):
                solver = nengo.solvers.NoSolver(np.full((640, 8), (i + j + 1) * 1e-6))
                nengo.Connection(pre, ensembles[(i + j) % 4], solver=solver)
        nengo.Probe(ensembles[0].neurons)
    return net


def test_merge_reads_a_vector_once_for_all_large_products_of_it():
    program = every_pass(fan(3))
    decoders = [
        node
        for node in program.operations
        if isinstance(node, Product) and node.columns == 640
    ]
    (product,) = decoders
    assert (product.count, product.rows) == (4, 3 * 8)
    # As many spikes are read as there are neurons, and not three times as many.
    assert product.reads[0].size == 4 * 640


def test_outputs_stay_the_same_where_large_products_are_one():
    data = []
    for optimize in (True, False):
        sim = ksn.Simulator(
            fan(3), seed=1, optimize=optimize, dtype="float64", progress_bar=False
        )
        with sim:
            sim.run_steps(60)
        data.append(sim.data[sim.model.probes[0]])
    assert data[0].any()
    np.testing.assert_array_equal(*data)


def test_fuse_into_loop_takes_what_a_loop_multiplies_anyway_into_it():
    with fan(1) as net:
        net.probes.clear()
        out = nengo.Node(size_in=8)
        for ens in net.ensembles:
            solver = nengo.solvers.NoSolver(np.full((640, 8), 1e-6))
            nengo.Connection(ens, out, solver=solver)
        nengo.Probe(out)
    fused, apart = (
        program_of(net, tuple(name for name in PASSES if name not in without))
        for without in ((), ("fuse_into_loop",))
    )
    assert fused.width < apart.width - 4 * 600
    # In a minibatch, which is when it pays.
    with ksn.Simulator(
        net, seed=1, minibatch_size=2, dtype="float64", progress_bar=False
    ) as sim:
        sim.run_steps(60)
    with nengo.Simulator(net, seed=1, progress_bar=False) as reference:
        reference.run_steps(60)
    (probe,) = net.probes
    for item in sim.data[probe]:
        assert difference(item, reference.data[probe]) <= 1e-12


LIFS = {
    "default": nengo.LIF(),
    "adaptive": nengo.AdaptiveLIF(tau_n=0.01),
    "short": nengo.LIF(tau_ref=0.0004),
    "one step": nengo.LIF(tau_ref=0.001),
    "none": nengo.LIF(tau_ref=0),
    "amplitude": nengo.LIF(amplitude=0.1),
    "started": nengo.LIF(
        initial_state={
            "voltage": nengo.dists.Choice([0]),
            "refractory_time": nengo.dists.Uniform(0, 0.004),
        }
    ),
    "held": nengo.LIF(initial_state={"refractory_time": nengo.dists.Uniform(0, 0.004)}),
    "floored": nengo.LIF(min_voltage=-0.5),
    "long": nengo.LIF(tau_rc=0.0001, tau_ref=0.0022),
}


@pytest.mark.parametrize(
    "name",
    [
        n
        if n in ("adaptive", "short", "held")
        else pytest.param(n, marks=pytest.mark.slow)
        for n in LIFS
    ],
)
def test_neurons_of_packed_state_are_nengos_spike_for_spike(name):
    packed = name not in ("held", "floored", "long")
    with nengo.Network(seed=0) as net:
        ens = nengo.Ensemble(60, 1, neuron_type=LIFS[name])
        nengo.Connection(ens, ens, synapse=0.1)
        probes = [nengo.Probe(ens.neurons), nengo.Probe(ens.neurons, "voltage")]
    populations = [n for n in every_pass(net).operations if isinstance(n, Population)]
    assert [node.packed_state for node in populations] == [packed]
    data = []
    for simulator, options in (
        (ksn.Simulator, {"dtype": "float64"}),
        (nengo.Simulator, {}),
    ):
        with simulator(net, progress_bar=False, **options) as sim:
            sim.run_steps(200)
        data.append([sim.data[probe] for probe in probes])
    assert data[0][0].any()
    np.testing.assert_array_equal(data[0][0], data[1][0])
    np.testing.assert_allclose(data[0][1], data[1][1], atol=1e-9)


def test_neurons_much_faster_than_a_step_go_on_firing_in_single_precision():
    with nengo.Network(seed=0) as net:
        fast = nengo.LIF(tau_rc=0.00002, tau_ref=0.0001)
        currents = np.arange(9) + 0.5
        ens = nengo.Ensemble(9, 1, gain=np.ones(9), bias=currents, neuron_type=fast)
        probe = nengo.Probe(ens.neurons)
    with nengo.Simulator(net, progress_bar=False) as reference:
        reference.run_steps(20)
    with ksn.Simulator(net, progress_bar=False) as sim:
        sim.run_steps(20)
    assert reference.data[probe].any()
    np.testing.assert_allclose(sim.data[probe], reference.data[probe], rtol=1e-6)


def chain(*synapses):
    with nengo.Network(seed=0) as net:
        source = nengo.Node(np.sin)
        for i, synapse in enumerate(synapses):
            ens = nengo.Ensemble(10 + i, 1)
            nengo.Connection(source, ens, synapse=synapse)
            source = ens
        nengo.Probe(source, synapse=0.01)
    return net


def test_condense_leaves_no_loop_of_several_nodes_in_a_feed_forward_network():
    net = chain(None, 0.01, nengo.Alpha(0.02), 0)
    for stage in program_of(net, ("simplify", "condense")).stages:
        assert len(stage.operations) == 1
    (stage,) = program_of(net, ("simplify",)).stages
    assert len(stage.operations) > 10


def test_condense_keeps_together_what_loops():
    with chain(0.01, 0.01) as net:
        first, second = net.ensembles
        nengo.Connection(second, first, synapse=0.05)
    stages = program_of(net, ("simplify", "condense")).stages
    (loop,) = [stage for stage in stages if len(stage.operations) > 1]
    kinds = [type(node).__name__ for node in loop.operations]
    assert kinds.count("Population") == 2
    # What is filtered for the probe alone stays outside.
    assert kinds.count("Filter") == 2
    assert any(stage.kind == "filter" for stage in stages)


def test_simplify_drops_what_no_probe_shows():
    with nengo.Network(seed=0) as net:
        seen, unseen = nengo.Ensemble(10, 1), nengo.Ensemble(20, 1)
        nengo.Connection(seen, unseen)
        nengo.Probe(seen.neurons)
    sizes = {out.size for node in every_pass(net).operations for out in node.outs}
    assert 10 in sizes and 20 not in sizes
    before = program_of(net, ())
    assert 20 in {out.size for node in before.operations for out in node.outs}


def test_simplify_keeps_python_that_no_probe_shows():
    with nengo.Network() as net:
        node = nengo.Node(lambda t, x: None, size_in=1)
        nengo.Connection(nengo.Node([1]), node)
    assert len(every_pass(net).python_calls) == 1


def test_drop_unread_hands_out_less():
    with nengo.Network(seed=0) as net:
        ens = nengo.Ensemble(100, 1)
        nengo.Connection(ens, ens, synapse=0.1)
        nengo.Probe(ens.neurons[:3])
    wide = program_of(net, tuple(name for name in PASSES if name != "drop_unread"))
    assert every_pass(net).width < wide.width - 90


def test_a_program_does_not_grow_with_the_number_of_ensembles():
    few, many = (every_pass(array_of(n, True)) for n in (20, 100))
    assert counts(few) == counts(many)


def test_a_chain_is_as_long_as_it_is_deep():
    (short, _), (long, _) = (counts(every_pass(chain(*[0.01] * n))) for n in (2, 4))
    assert long > short


def deep(n, width=1, python=False):
    """Ensembles in a row; one connection goes from `width` neurons to as many."""
    rng = np.random.RandomState(0)
    with nengo.Network(seed=0) as net:
        source = nengo.Node(lambda t: np.sin(20 * t))
        for i in range(n):
            ens = nengo.Ensemble(20, 1)
            nengo.Connection(source, ens, synapse=0.005)
            source = ens
            if i == n // 2 and width > 1:
                wide = [nengo.Ensemble(width, 1) for _ in range(2)]
                nengo.Connection(ens, wide[0])
                weights = rng.normal(0, 1e-3, (width, width))
                nengo.Connection(wide[0].neurons, wide[1].neurons, transform=weights)
                source = wide[1]
            if i == n // 2 and python:
                node = nengo.Node(lambda t, x: np.abs(x), size_in=1)
                nengo.Connection(source, node)
                source = node
        nengo.Probe(source, synapse=0.01)
        nengo.Probe(ens.neurons)
    return net


def test_a_deep_network_has_one_loop_for_all_its_levels():
    few, many = (every_pass(deep(n)) for n in (20, 60))
    assert counts(few) == counts(many)
    assert len(many.stages) <= 3


@pytest.mark.parametrize(
    ("options", "least"), [({}, 1), ({"width": 256}, 3), ({"python": True}, 2)]
)
def test_levels_in_one_loop_are_what_nengo_steps(options, least):
    net = deep(12, **options)
    program = every_pass(net)
    assert least <= len(program.stages) <= least + 5
    options = {"dtype": "float64", "seed": 7, "progress_bar": False}
    with ksn.Simulator(net, compile=True, **options) as sim:
        sim.run_steps(60)
        for probe, expected in by_nengo(net, steps=60).items():
            np.testing.assert_allclose(sim.data[probe], expected, atol=1e-12)
