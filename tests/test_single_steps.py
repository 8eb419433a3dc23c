"""Steps in single precision, of large networks, are Nengo's but for rounding."""

import pickle

import nengo
import numpy as np
import pytest
from nengo.builder.neurons import SimNeurons

import keras_spiking_nengo as ksn
from keras_spiking_nengo.simulator import estimates
from tests.arrays import assert_near
from tests.catalogue.loops import LOOPS
from tests.catalogue.networks import NETWORKS, RANDOM_NETWORKS
from tests.marks import TAKES_TURNS, quick, slow_on_jax
from tests.simulated import by_nengo

pytestmark = TAKES_TURNS

STEPS = 30
OPTIONS = {"seed": 7, "progress_bar": False, "dtype": "float32"}
ALL = {
    **{name: make for name, make in NETWORKS.items() if name not in RANDOM_NETWORKS},
    **{name: lambda make=make: make(40)[0] for name, make in LOOPS.items()},
}
CHOSEN = ["integrator", "synapses", "rls", "processes", "sparse", *LOOPS]


@pytest.fixture(autouse=True)
def _every_network_is_large(monkeypatch):
    monkeypatch.setattr(estimates, "_IN_SINGLE", 0)


def _body(t, x):
    return 1.5 * np.sin(30 * t) + 0.1 * x


def spiking(probed=("output",), **kwargs):
    """Neurons that spike at many rates, some not at all, and a node with Python."""
    lif = nengo.LIF(**kwargs)
    with nengo.Network(seed=2) as net:
        node = nengo.Node(_body, size_in=1)
        for n_neurons in (1, 13, 250):
            gains, biases = np.linspace(1, 5, n_neurons), np.linspace(0.2, 9, n_neurons)
            ens = nengo.Ensemble(n_neurons, 1, neuron_type=lif, gain=gains, bias=biases)
            nengo.Connection(node, ens)
            nengo.Connection(ens.neurons[0], node, synapse=0.02)
            for name in probed:
                nengo.Probe(ens.neurons, name)
    return net


def arrays_of(sim):
    """Arrays that neurons of a simulator are stepped with, by name."""
    stepped = sim._runner._stepped
    op = next(op for op in stepped._order if isinstance(op, SimNeurons))
    return {name: stepped[signal] for name, signal in op.state.items()}


def times_of(sim, net):
    """Refractory times of all neurons, as the simulator shows them."""
    return {
        ens: sim._runner.watched()[sim.model.sig[ens.neurons]["refractory_time"].base]
        for ens in net.all_ensembles
    }


@slow_on_jax  # NumPy alone
@pytest.mark.parametrize("name", quick(ALL, [n for n in CHOSEN if n in ALL]))
def test_networks_are_nengos_but_for_rounding(name):
    net = ALL[name]()
    expected = by_nengo(ALL[name](), steps=STEPS, optimize=False)
    with ksn.Simulator(net, **OPTIONS) as sim:
        if sim.plan().compiled:
            pytest.skip("it is not stepped")
        sim.run_steps(STEPS)
    for probe, theirs in zip(net.all_probes, expected.values(), strict=True):
        # Near a spike a difference of Izhikevich's neurons grows, as in a program.
        assert_near(
            sim.data[probe], theirs, 1e-2 if name == "spiking_neurons" else 2e-4
        )


@pytest.mark.parametrize("min_voltage", [0, -0.5])
def test_spikes_are_those_of_the_program(min_voltage):
    net = spiking(min_voltage=min_voltage, tau_ref=0.0024, amplitude=0.3)
    with ksn.Simulator(net, **OPTIONS) as sim:
        assert 0 < arrays_of(sim)["refractory_time"].min() < 1  # carried
        sim.run_steps(200)
    with ksn.Simulator(net, compile=True, **OPTIONS) as program:
        program.run_steps(200)
    for probe in net.all_probes:
        same = sim.data[probe] == program.data[probe]
        # A spike that comes a step later, by rounding, makes two that differ.
        assert same.mean() > 0.9995
        assert sim.data[probe].any()


def test_refractory_times_are_shown_in_seconds():
    net = spiking()
    with nengo.Simulator(net, seed=7, progress_bar=False) as theirs:
        theirs.run_steps(50)
        expected = {
            ens: theirs.signals[theirs.model.sig[ens.neurons]["refractory_time"]].copy()
            for ens in net.all_ensembles
        }
    with ksn.Simulator(net, **OPTIONS) as sim:
        sim.run_steps(50)
        shown = times_of(sim, net)
    waiting = 0
    for ens, seconds in shown.items():
        # Times that are over count on, below zero, in Nengo's.
        assert_near(seconds, np.maximum(expected[ens], 0), 1e-7)
        waiting += np.count_nonzero(seconds)
    assert waiting


def test_a_probe_sees_nengos_own_refractory_times():
    net = spiking(("refractory_time", "voltage"))
    expected = by_nengo(net, steps=STEPS)
    with ksn.Simulator(net, **OPTIONS) as sim:
        assert arrays_of(sim)["refractory_time"].max() == 0
        sim.run_steps(STEPS)
    for probe, theirs in expected.items():
        assert_near(sim.data[probe], theirs, 2e-5)
    assert min(theirs.min() for theirs in expected.values()) < 0


@pytest.mark.parametrize(
    "start", [{"refractory_time": nengo.dists.Choice([0.004])}, None], ids=str
)
@pytest.mark.parametrize("times", [(0.02, 0.002), (1e-4, 0.02), (0.02, 0.0)], ids=str)
def test_neurons_that_start_in_a_refractory_period(start, times):
    tau_rc, tau_ref = times
    net = spiking(tau_rc=tau_rc, tau_ref=tau_ref, initial_state=start)
    expected = by_nengo(net, steps=STEPS)
    with ksn.Simulator(net, **OPTIONS) as sim:
        sim.run_steps(STEPS)
        for probe, theirs in expected.items():
            assert (sim.data[probe] == theirs).mean() > 0.9995
        sim.reset()
        sim.run_steps(STEPS)
        for probe, theirs in expected.items():
            assert (sim.data[probe] == theirs).mean() > 0.9995


def test_states_that_were_saved_go_on_alike(tmp_path):
    net = spiking()
    with ksn.Simulator(net, **OPTIONS) as sim:
        sim.run_steps(33)
        sim.save_state(tmp_path / "state.npz")
        copied = pickle.loads(pickle.dumps(sim))
        sim.run_steps(50)
    with ksn.Simulator(net, **OPTIONS) as loaded:
        loaded.load_state(tmp_path / "state.npz")
        loaded.run_steps(50)
    copied.run_steps(50)
    for probe, again in zip(net.all_probes, copied.model.probes, strict=True):
        whole = sim.data[probe]
        np.testing.assert_array_equal(loaded.data[probe][-50:], whole[-50:])
        np.testing.assert_array_equal(copied.data[again], whole)


def test_a_program_goes_on_from_them(monkeypatch):
    net = spiking()
    with ksn.Simulator(net, **OPTIONS) as sim:
        sim.run_steps(40)
        assert not sim.plan().compiled
        sim._runner._compile()
        assert sim.plan().compiled
        sim.run_steps(160)
    with ksn.Simulator(net, **OPTIONS) as stepped:
        stepped.run_steps(200)
    for probe in net.all_probes:
        assert (sim.data[probe] == stepped.data[probe]).mean() > 0.9995


class Doubles(nengo.Process):
    """Remembers what only double precision holds."""

    state = 1.0

    def make_state(self, shape_in, shape_out, dt, dtype=None):
        return {"kept": np.ones(shape_out)}

    def make_step(self, shape_in, shape_out, dt, rng, state):
        def step(t, x):
            assert x.dtype == state["kept"].dtype == np.float64
            state["kept"][...] += 1e-12
            return x + (state["kept"] - 1) * 1e12

        return step


class Own(nengo.neurons.NeuronType):
    """Counts, in double precision, by so little that single precision would not."""

    state = {"total": nengo.dists.Choice([1.0])}

    def rates(self, x, gain, bias):
        return self.current(x, gain, bias)

    def step(self, dt, J, output, total):
        assert J.dtype == output.dtype == total.dtype == np.float64
        total += 1e-12
        output[...] = (total - 1) * 1e12


def test_python_is_given_and_keeps_double_precision():
    seen = []

    def body(t, x):
        seen.append(x.dtype)
        x[:] = 3.0  # its own copy
        return t

    with nengo.Network(seed=1) as net:
        node = nengo.Node(body, size_in=1)
        counter = nengo.Node(Doubles(), size_in=1, size_out=1)
        own = nengo.Ensemble(5, 1, neuron_type=Own(), gain=np.ones(5), bias=np.ones(5))
        nengo.Connection(node, counter, synapse=None)
        nengo.Connection(counter, node, synapse=0.01)
        probes = nengo.Probe(counter), nengo.Probe(own.neurons)
    with ksn.Simulator(net, **OPTIONS) as sim:
        sim.run_steps(100)
        assert not sim.plan().compiled
    times = np.arange(1, 101) * 0.001
    assert set(seen) == {np.dtype("float64")}
    assert_near(sim.data[probes[0]][:, 0], times + np.arange(1, 101), 0.02)
    assert_near(sim.data[probes[1]][:, 0], np.arange(1, 101), 0.02)


def test_errors_leave_the_last_runs_end():
    failing = [False]

    def body(t, x):
        if failing[0] and t > 0.0135:
            raise OSError("no such body")
        return x

    def make():
        with nengo.Network(seed=1) as net:
            node = nengo.Node(body, size_in=1)
            ens = nengo.Ensemble(50, 1)
            nengo.Connection(ens, node)
            nengo.Connection(node, ens, transform=1.5)
            nengo.Probe(ens.neurons)
        return net

    with ksn.Simulator(make(), **OPTIONS) as sim:
        sim.run_steps(10)
        failing[0] = True
        with pytest.raises(OSError, match="no such body"):
            sim.run_steps(10)
        failing[0] = False
        assert sim.n_steps == 10
        sim.run_steps(40)
    with ksn.Simulator(make(), **OPTIONS) as whole:
        whole.run_steps(50)
    (mine,), (other,) = (list(s.model.probes) for s in (sim, whole))
    np.testing.assert_array_equal(sim.data[mine], whole.data[other])


@pytest.mark.parametrize("options", [{"compile": False}, {"dtype": "float64"}], ids=str)
def test_whoever_asks_for_nengos_numbers_gets_them(options):
    net = spiking(("output", "voltage", "refractory_time"))
    expected = by_nengo(net, steps=STEPS, optimize=False)
    options = {**OPTIONS, "optimize": False, **options}
    with ksn.Simulator(net, **options) as sim:
        sim.run_steps(STEPS)
    for probe, theirs in expected.items():
        np.testing.assert_array_equal(sim.data[probe], theirs.astype(sim.dtype))


def test_small_networks_are_stepped_in_double_precision(monkeypatch):
    monkeypatch.undo()
    for n_neurons, dtype in ((999, "float64"), (1000, "float32")):
        with nengo.Network() as net:
            nengo.Ensemble(n_neurons, 1)
        with ksn.Simulator(net, **OPTIONS) as sim:
            assert arrays_of(sim)["voltage"].dtype == dtype
