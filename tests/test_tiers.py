"""Runs that are stepped first, and go on as a program: nothing tells where."""

import pickle

import nengo
import numpy as np
import pytest
from nengo.builder import Model

import keras_spiking_nengo as ksn
from keras_spiking_nengo.dynamics import synapses
from keras_spiking_nengo.simulator import estimates, merging
from keras_spiking_nengo.simulator.compiled import Compiled
from keras_spiking_nengo.simulator.interpreted import Interpreted
from tests.arrays import assert_near
from tests.catalogue.loops import LOOPS
from tests.catalogue.networks import NETWORKS, RANDOM_NETWORKS
from tests.marks import TAKES_TURNS, quick
from tests.simulated import by_nengo

pytestmark = TAKES_TURNS

FIRST, SECOND = 37, 23
OPTIONS = {"seed": 7, "progress_bar": False, "dtype": "float64"}

GOING_ON = {
    **{name: make for name, make in NETWORKS.items() if name not in RANDOM_NETWORKS},
    **{name: lambda make=make: make(40)[0] for name, make in LOOPS.items()},
}
CHOSEN = ["integrator", "synapses", "rls", "processes", "pendulum"]


@pytest.fixture
def cheap_programs(monkeypatch):
    """Programs that cost nothing to make: longer runs are compiled."""
    monkeypatch.setattr(estimates, "_MAKING", 0.0)
    monkeypatch.setattr(estimates, "_MAKING_MANY", 0.0)
    monkeypatch.setattr(estimates, "_MAKING_OPERATOR", 0.0)


@pytest.mark.parametrize("name", quick(GOING_ON, CHOSEN))
def test_a_program_goes_on_from_steps_of_nengo(name, float64):
    make = GOING_ON[name]
    whole = by_nengo(make(), steps=FIRST + SECOND, optimize=False)
    model = Model(dt=0.001)
    model.build(make())
    stepped = Interpreted(model)
    stepped.reset(np.random.RandomState(7))
    stepped.advance(0, FIRST, [])
    _, first = stepped.collected()
    program = Compiled(model, [], "float64", 1, True, False, stepped=stepped)
    program.advance(FIRST, SECOND, [])
    _, second = program.collected()
    for probe, expected in zip(model.probes, whole.values(), strict=True):
        found = np.concatenate([first[probe], second[probe]], axis=1)[0]
        assert_near(found, expected, 1e-9)


@pytest.mark.parametrize(
    "synapse",
    [
        nengo.Lowpass(0.0),
        nengo.Lowpass(0.02),
        nengo.Alpha(0.01),
        nengo.Triangle(0.01),
        nengo.LinearFilter([1], [0.0004, 0.04, 1]),
        nengo.LinearFilter([0.01, 1], [0.02, 1]),
        nengo.LinearFilter([0.5, 0.2], [1, -0.3], analog=False),
        nengo.LinearFilter([2.0], [1.0], analog=False),
        nengo.Lowpass(0.02, method="euler"),
        nengo.Lowpass(0.002).combine(nengo.Lowpass(0.02)),
    ],
    ids=str,
)
@pytest.mark.parametrize("lag", [0, 1])
def test_states_of_synapses_are_those_of_nengo(synapse, lag):
    rng, dt = np.random.RandomState(0), 0.001
    state = synapse.make_state((3,), (3,), dt)
    step = synapse.make_step((3,), (3,), dt, None, state)
    for _ in range(20):
        sent = np.array(step(None, rng.normal(size=3))).ravel()
    system = synapses.linear_system(synapse, dt, lag)
    x = synapses.state_of_nengo(synapse, dt, system, state, sent)
    before = sent
    for _ in range(20):
        u = rng.normal(size=3)
        y = np.array(step(None, u)).ravel()
        expected = before if lag and system.order else y
        assert_near(system.C @ x + system.D * u, expected, 1e-9)
        x = system.A @ x + np.outer(system.B, u)
        before = y


def test_only_what_is_known_is_followed():
    class Own(nengo.Lowpass):
        def make_state(self, *args, **kwargs):
            return super().make_state(*args, **kwargs)

    assert synapses.is_followed(nengo.Alpha(0.1))
    assert not synapses.is_followed(Own(0.1))


def sine(t):
    return np.sin(20 * t)


def chain(**options):
    with nengo.Network(seed=0) as net:
        ens = nengo.Ensemble(30, 1, **options)
        nengo.Connection(nengo.Node(sine), ens)
        nengo.Connection(ens, ens, synapse=0.1)
        nengo.Probe(ens, synapse=0.01)
        nengo.Probe(ens.neurons)
    return net


def test_short_runs_are_stepped_and_long_ones_compiled():
    with ksn.Simulator(chain(), **OPTIONS) as sim:
        assert not sim.plan().compiled
        assert not sim.plan(100).compiled
        assert sim.plan(1_000_000).compiled
        sim.run_steps(100)
        assert not sim.plan().compiled


def test_many_short_runs_are_compiled_once_they_took_as_long(monkeypatch):
    monkeypatch.setattr(estimates, "_MAKING", 0.0)
    monkeypatch.setattr(estimates, "_MAKING_MANY", 0.0)
    monkeypatch.setattr(estimates, "_MAKING_OPERATOR", 300.0)
    net = chain()
    expected = by_nengo(net, steps=300)
    with ksn.Simulator(net, **OPTIONS) as sim:
        kinds = []
        for _ in range(6):
            sim.run_steps(50)
            kinds.append(sim.plan().compiled)
        assert not kinds[0]
        assert kinds[-1]
        assert kinds == sorted(kinds)
        for probe in net.all_probes:
            assert_near(sim.data[probe], expected[probe], 1e-10)


def test_a_reset_begins_with_steps_and_keeps_the_program(cheap_programs, float64):
    net = chain()
    expected = by_nengo(net, steps=150)
    with ksn.Simulator(net, **OPTIONS) as sim:
        sim.run_steps(150)
        assert sim.plan().compiled
        for lengths in ([150], [3, 147]):
            sim.reset()
            assert not sim.plan().compiled
            for steps in lengths:
                sim.run_steps(steps)
            assert sim.plan().compiled
            for probe in net.all_probes:
                assert_near(sim.data[probe], expected[probe], 1e-10)


def test_pickles_go_on_after_a_change(cheap_programs, float64):
    net = chain()
    expected = by_nengo(net, steps=160)
    with ksn.Simulator(net, **OPTIONS) as sim:
        sim.run_steps(3)
        sim.run_steps(100)
        assert sim.plan().compiled
        again = pickle.loads(pickle.dumps(sim))
    with again:
        assert again.plan().compiled
        again.run_steps(57)
        for probe, was in zip(again.model.probes, net.all_probes, strict=True):
            assert_near(again.data[probe], expected[was], 1e-10)


def test_data_and_training_go_on_after_a_change(cheap_programs, float64):
    rng = np.random.RandomState(0)
    with nengo.Network(seed=0) as net:
        u = nengo.Node([0.0])
        ens = nengo.Ensemble(30, 1)
        nengo.Connection(u, ens)
        probe = nengo.Probe(ens, synapse=0.01)
    x = rng.uniform(-1, 1, (1, 100, 1))
    with ksn.Simulator(net, **OPTIONS) as sim:
        sim.compile("adam", loss={probe: "mse"})
        sim.fit({u: x}, {probe: 0 * x}, epochs=1, verbose=0)
        sim.run_steps(4, data={u: x[:, :4]})
        assert not sim.plan().compiled
        sim.run_steps(96, data={u: x[:, 4:]})
        assert sim.plan().compiled
        assert_near(sim.data[probe], sim.predict({u: x}, verbose=0)[probe][0], 1e-10)


def test_what_python_remembers_is_handed_over(cheap_programs, float64):
    class Counting(nengo.Process):
        made = 0

        def make_step(self, shape_in, shape_out, dt, rng, state):
            Counting.made += 1
            seen = []

            def step(t, x):
                seen.append(x[0])
                return [len(seen) + 0.5 * sum(seen)]

            return step

    with nengo.Network(seed=0) as net:
        u = nengo.Node(lambda t: np.cos(9 * t))
        node = nengo.Node(Counting(default_size_in=1, default_size_out=1))
        nengo.Connection(u, node, synapse=0.005)
        big = nengo.Ensemble(3000, 1, neuron_type=nengo.LIFRate())
        nengo.Connection(u, big.neurons, transform=np.ones((3000, 1)))
        probe = nengo.Probe(node)
    expected = by_nengo(net, steps=60)[probe]
    with ksn.Simulator(net, **OPTIONS) as sim:
        sim.run_steps(20)
        sim._runner._compile()  # Python's calls are dearer than what they would save
        sim.run_steps(40)
        assert_near(sim.data[probe], expected, 1e-10)


def large_means():
    with nengo.Network(seed=4) as net:
        for rate in (10.0, 90_000.0):  # 0.01 and 90 in a step
            kind = nengo.PoissonSpiking(nengo.RectifiedLinear())
            ens = nengo.Ensemble(30, 1, neuron_type=kind, gain=[1] * 30, bias=[0] * 30)
            nengo.Connection(nengo.Node([rate]), ens.neurons, transform=[[1]] * 30)
            nengo.Probe(ens.neurons)
    return net


@pytest.mark.parametrize(
    "net",
    [
        NETWORKS["random_neurons"],
        lambda: chain(neuron_type=nengo.StochasticSpiking(nengo.LIFRate())),
        large_means,
    ],
)
def test_random_neurons_draw_the_same_numbers_however_they_are_stepped(net):
    net, runs = net(), []
    for compile in (True, "auto", None):
        with ksn.Simulator(net, **OPTIONS | {"compile": compile or "auto"}) as sim:
            sim.run_steps(70)
            if compile is None:
                sim._runner._compile()
            assert sim.plan().compiled is (compile in (True, None))
            sim.run_steps(50)
            first = [np.array(sim.data[probe]) for probe in net.probes]
            sim.reset()
            sim.run_steps(120)
            again = [np.array(sim.data[probe]) for probe in net.probes]
        runs += [first, again]
    assert all(np.any(values) for values in runs[0])
    for run in runs[1:]:
        for mine, other in zip(run, runs[0], strict=True):
            np.testing.assert_allclose(mine, other, rtol=1e-12, atol=1e-12)


def test_a_network_of_very_many_operators_is_compiled_at_once(monkeypatch):
    """Nothing goes over all pairs of operators, in either way to step them."""
    net, options = chain(), OPTIONS | {"compile": "auto"}
    expected = by_nengo(net, steps=30)
    monkeypatch.setattr(estimates, "_MERGED", 5)
    monkeypatch.setattr(merging._Pass, "__init__", pytest.fail)
    for compile, compiled in ("auto", True), (False, False):
        with ksn.Simulator(net, **options | {"compile": compile}) as sim:
            assert sim.plan().compiled is compiled
            sim.run_steps(30)
            for probe, shown in expected.items():
                np.testing.assert_allclose(sim.data[probe], shown, atol=1e-12)
