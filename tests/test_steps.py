"""Steps that are not compiled are Nengo's own, to the last bit."""

import pickle

import keras
import nengo
import numpy as np
import pytest
import scipy.sparse
from nengo.exceptions import SimulationError, ValidationError

import keras_spiking_nengo as ksn
from keras_spiking_nengo.simulator import interpreted, quick_steps
from tests.cases import NETWORKS
from tests.marks import TAKES_TURNS, slow_on_jax

pytestmark = TAKES_TURNS

OPTIONS = {"dtype": "float64", "progress_bar": False, "seed": 7}


def stepped(net, **options):
    return ksn.Simulator(net, **(OPTIONS | {"compile": False} | options))


def shown(sim, net):
    return [np.array(sim.data[probe]) for probe in net.all_probes]


def by_nengo(net, steps=30, **options):
    options = {"seed": 7, "progress_bar": False, "optimize": False} | options
    with nengo.Simulator(net, **options) as sim:
        sim.run_steps(steps)
    return shown(sim, net)


def assert_same(ours, theirs):
    assert len(ours) == len(theirs)
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(mine, other)


def pendulum(log=None):
    """An ensemble that learns to hold up what a Python node computes."""
    with nengo.Network(seed=1) as net:
        angle = np.zeros(2)

        def body(t, u):
            if log is not None:
                log.append((t, *u))
            if t < 0.0015:
                angle[:] = 0.1, 0.0
            angle[1] += 0.01 * (np.sin(angle[0]) + u[0])
            angle[0] += 0.01 * angle[1]
            return angle

        plant = nengo.Node(body, size_in=1, label="body")
        ens = nengo.Ensemble(40, 2, label="ens")
        nengo.Connection(plant, ens)
        control = nengo.Connection(
            ens,
            plant,
            function=lambda x: [0.0],
            learning_rule_type=nengo.PES(1e-4),
        )
        nengo.Connection(plant[0], control.learning_rule)
        nengo.Connection(nengo.Node(lambda t: np.sin(9 * t)), ens[0], transform=0.1)
        net.probe = nengo.Probe(plant)
        nengo.Probe(control, "weights", sample_every=0.004)
    return net


# --- equal to Nengo ----------------------------------------------------------------


@slow_on_jax  # NumPy alone
@pytest.mark.parametrize("name", list(NETWORKS))
def test_networks_are_nengos_to_the_last_bit(name):
    net = NETWORKS[name]()
    runs = []
    for optimize in (True, False):
        with stepped(net, optimize=optimize) as sim:
            sim.run_steps(10)
            for _ in range(3):
                sim.step()
            sim.run_steps(17)
        assert sim.n_steps == 30
        runs.append(shown(sim, net))
    merged, apart = runs
    expected = by_nengo(net)
    assert_same(apart, expected)
    for mine, other in zip(merged, expected, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("min_voltage", [0, -0.5])
def test_quick_steps_of_neurons_are_nengos_to_the_last_bit(min_voltage):
    lif = nengo.LIF(tau_ref=0.0024, min_voltage=min_voltage, amplitude=0.3)
    with nengo.Network(seed=2) as net:
        node = nengo.Node(lambda t: 2 * np.sin(30 * t))
        for n_neurons in (1, 13, 250):
            ens = nengo.Ensemble(n_neurons, 1, neuron_type=lif)
            nengo.Connection(node, ens)
            nengo.Connection(ens, ens, synapse=0.02)
            for name in ("output", "voltage", "refractory_time"):
                nengo.Probe(ens.neurons, name)
    for optimize in (True, False):
        with stepped(net, optimize=optimize) as sim:
            signals = sim._runner._stepped._signals
            assert quick_steps.quick_step(_neurons_of(sim), signals, 1e-3)
            sim.run_steps(200)
        assert_same(shown(sim, net), by_nengo(net, 200))


def _neurons_of(sim):
    return next(op for op in sim._runner._stepped._order if hasattr(op, "neurons"))


def test_resets_draw_again_what_was_drawn():
    net = NETWORKS["random_neurons"]()
    with stepped(net) as sim:
        sim.run_steps(20)
        first = shown(sim, net)
        sim.reset()
        sim.run_steps(20)
        assert_same(shown(sim, net), first)
    with stepped(net) as again:  # the model's own generators were left alone
        again.run_steps(20)
    assert_same(shown(again, net), first)


def test_the_built_model_is_left_as_it_was():
    net = NETWORKS["ensemble_array"]()
    model = nengo.builder.Model()
    model.build(net)
    operators = list(model.operators)
    signals = [list(op.all_signals) for op in operators]
    with stepped(None, model=model) as sim:
        sim.run_steps(2)
    assert model.operators == operators
    for op, before in zip(operators, signals, strict=True):
        assert all(a is b for a, b in zip(op.all_signals, before, strict=True))


def test_single_precision_is_rounded_where_it_is_shown():
    net = pendulum()
    with stepped(net, dtype="float32") as sim:
        sim.run_steps(20)
    for mine, other in zip(shown(sim, net), by_nengo(net, 20), strict=True):
        assert mine.dtype == "float32"
        np.testing.assert_array_equal(mine, other.astype("float32"))


# --- Python in the loop ------------------------------------------------------------


def test_python_is_called_as_nengo_calls_it():
    ours, theirs = [], []
    with ksn.Simulator(pendulum(ours), **OPTIONS) as sim:
        assert not sim.plan().compiled
        sim.run_steps(30)
    by_nengo(pendulum(theirs))
    assert ours == theirs


def test_compiled_or_not_is_the_same():
    net = pendulum()
    runs = []
    for compile_ in (True, False):
        with ksn.Simulator(net, compile=compile_, **OPTIONS) as sim:
            assert sim.plan().compiled == compile_
            sim.run_steps(60)
        runs.append(shown(sim, net))
    for one, other in zip(*runs, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)


def test_the_plan_looks_at_python_and_size():
    with nengo.Network(seed=0) as quiet:
        nengo.Probe(nengo.Ensemble(10, 1))
    with nengo.Network(seed=0) as large:
        node = nengo.Node(lambda t, x: x, size_in=1)
        ens = nengo.Ensemble(100_000, 1, gain=np.ones(100_000), bias=np.ones(100_000))
        nengo.Connection(
            ens, node, solver=nengo.solvers.NoSolver(np.ones((100_000, 1)))
        )
        nengo.Probe(node)
    for net, options, at_first, compiled in (
        (quiet, {}, False, True),
        (pendulum(), {}, False, False),
        (large, {}, False, True),
        (pendulum(), {"minibatch_size": 2}, True, True),
        (pendulum(), {"minibatch_size": 1}, False, False),
    ):
        with ksn.Simulator(net, **OPTIONS, **options) as sim:
            for plan, expected in (
                (sim.plan(), at_first),
                (sim.plan(1_000_000), compiled),
            ):
                assert plan.compiled == expected, plan
                assert plan.why


def test_a_minibatch_of_one_has_its_axis():
    net = pendulum()
    with stepped(net, minibatch_size=1) as sim:
        sim.run_steps(5)
    assert_same([rows[0] for rows in shown(sim, net)], by_nengo(net, 5))


def test_errors_leave_the_last_runs_end():
    fails = [True]

    def output(t, x):
        if fails and t > 0.0145:
            raise ZeroDivisionError("of the user's")
        return x

    with nengo.Network(seed=2) as net:
        node = nengo.Node(output, size_in=1)
        ens = nengo.Ensemble(20, 1)
        nengo.Connection(node, ens)
        nengo.Connection(ens, node, synapse=0.05)
        nengo.Connection(nengo.Node([0.7]), node, synapse=0.02)
        nengo.Probe(ens.neurons)
        nengo.Probe(ens, synapse=0.01)
    with stepped(net) as sim:
        sim.run_steps(10)
        for _ in range(2):
            with pytest.raises(ZeroDivisionError, match="of the user's"):
                sim.run_steps(10)
            assert sim.n_steps == 10
        fails.clear()
        sim.run_steps(20)
    assert_same(shown(sim, net), by_nengo(net))


def test_a_large_step_that_ended_in_the_middle_is_not_gone_on_with(monkeypatch):
    monkeypatch.setattr(interpreted, "_KEPT", 0)
    fails = [True]

    def output(t, x):
        if fails and t > 0:
            raise ZeroDivisionError("of the user's")
        return x

    with nengo.Network() as net:
        node = nengo.Node(output, size_in=1)
        nengo.Connection(nengo.Node(lambda t: t), node)
        nengo.Probe(node)
    with stepped(net) as sim:
        with pytest.raises(ZeroDivisionError):
            sim.step()
        fails.clear()
        with pytest.raises(SimulationError, match=r"user's.*reset\(\)"):
            sim.step()
        sim.reset()
        sim.run_steps(30)
    assert_same(shown(sim, net), by_nengo(net))


# --- the rest of the interface -----------------------------------------------------


def test_given_data_take_the_place_of_a_nodes_output():
    frames = np.random.RandomState(0).uniform(-1, 1, size=(30, 2))
    with nengo.Network(seed=2) as net:
        node = nengo.Node([0.5, 0.5], label="in")
        ens = nengo.Ensemble(20, 2)
        nengo.Connection(node, ens)
        nengo.Probe(node)
        nengo.Probe(ens, synapse=0.01)
    with stepped(net) as sim:
        sim.run_steps(20, data={"in": frames[:20]})
        sim.run_steps(10, data={node: frames[20:]})
    node.output = lambda t: frames[round(t / 0.001) - 1]
    assert_same(shown(sim, net), by_nengo(net))


def test_training_shows_in_what_is_stepped():
    with nengo.Network(seed=2) as net:
        node = nengo.Node([0.0], label="in")
        ens = nengo.Ensemble(20, 1, neuron_type=nengo.RectifiedLinear())
        nengo.Connection(node, ens, synapse=None)
        probe = nengo.Probe(ens, synapse=None, label="out")
        ksn.configure(net, probe, trainable=True)
    x = np.random.RandomState(0).uniform(-1, 1, size=(8, 5, 1))
    runs = []
    for compile_ in (True, False):
        keras.utils.set_random_seed(0)
        with ksn.Simulator(net, compile=compile_, **OPTIONS) as sim:
            sim.compile(keras.optimizers.SGD(1e-4), loss="mse")
            sim.fit({node: x}, {probe: -x}, epochs=2, verbose=0)
            sim.run_steps(5, data={node: x[0]})
        runs.append(sim.data[probe])
    np.testing.assert_allclose(runs[0], runs[1], rtol=1e-9)
    assert np.max(np.abs(runs[0] - by_nengo(net, 5)[0])) > 1e-3


@pytest.mark.parametrize("optimize", [True, False])
def test_pickles_go_on_where_they_were(optimize):
    with nengo.Network(seed=4) as net:
        node = nengo.Node(_doubled, size_in=2, size_out=2)
        array = nengo.networks.EnsembleArray(20, 2)
        nengo.Connection(nengo.Node(_wave), array.input[0])
        nengo.Connection(array.output, node)
        rule = nengo.PES(1e-4)
        conn = nengo.Connection(node, array.input, synapse=0.02)
        learnt = nengo.Connection(
            array.ensembles[0], array.ensembles[1], learning_rule_type=rule
        )
        nengo.Connection(node[0], learnt.learning_rule)
        for obj in (node, array.output, conn, learnt):
            nengo.Probe(obj)
    with stepped(net, optimize=optimize) as sim:
        sim.run_steps(12)
        again = pickle.loads(pickle.dumps(sim))
        sim.run_steps(18)
    with again:
        assert again.n_steps == 12
        again.run_steps(18)
    ours = [np.array(again.data[probe]) for probe in again.model.probes]
    for mine, other in zip(ours, shown(sim, net), strict=True):
        assert np.any(other)
        np.testing.assert_allclose(mine, other, rtol=1e-9, atol=1e-12)


def _doubled(t, x):
    return np.array([2 * x[0], t])


def _wave(t):
    return np.sin(9 * t)


def test_signals_are_those_of_now():
    net = pendulum()
    with stepped(net) as sim:
        sim.run_steps(7)
        signal = sim.model.sig[net.probe]["in"]
        np.testing.assert_array_equal(sim.signals[signal], sim.data[net.probe][-1])
        voltage = sim.model.sig[net.ensembles[0].neurons]["voltage"]
        assert np.any(sim.signals[voltage])


@pytest.mark.parametrize("size", [None, 1])
def test_data_read_after_every_step_are_those_of_the_end(size):
    net = pendulum()
    reads = []
    with stepped(net, minibatch_size=size) as sim:
        for _ in range(30):
            sim.step()
            reads.append(sim.data[net.probe])
    final = sim.data[net.probe]
    for i, read in enumerate(reads):
        steps = final[:, : i + 1] if size else final[: i + 1]
        np.testing.assert_array_equal(read, steps)
        assert not read.flags.writeable
    # Later steps are written behind those that were read, not beside them.
    assert len({id(read.base) for read in reads}) < 12


def test_what_cannot_be_stepped_is_refused():
    net = pendulum()
    with pytest.raises(ValidationError, match="minibatch_size=3"):
        stepped(net, minibatch_size=3)
    for value in ("always", 1, None):
        with pytest.raises(ValueError, match=r"compile is one of.*auto"):
            stepped(net, compile=value)


# --- simulators do not disturb each other ------------------------------------------


def noisy():
    """Processes that draw, of Nengo's and with a generator of one's own."""
    with nengo.Network(seed=3) as net:
        net.a = nengo.Node(nengo.processes.WhiteNoise(), size_out=1)
        net.b = nengo.Node(nengo.processes.WhiteNoise(), size_out=1)
        net.c = nengo.Node(Wilful(), size_out=1)
        net.alone = nengo.Node([0.5])
        for node in (net.a, net.b, net.c):
            nengo.Probe(node)
    return net


class Wilful(nengo.Process):
    """Draws twice where Nengo's processes draw once."""

    def __init__(self):
        super().__init__(default_size_in=0, default_size_out=1)

    def get_rng(self, rng):
        rng.randint(9)
        return super().get_rng(rng)

    def make_step(self, shape_in, shape_out, dt, rng, state):
        return lambda t: rng.normal(size=shape_out)


class Scaled(nengo.RectifiedLinear):
    """Neurons with a number that is no parameter of Nengo's."""

    def __init__(self, scale):
        super().__init__()
        self.scale = scale

    def step(self, dt, J, output):
        output[...] = self.scale * np.maximum(J, 0)


def test_training_leaves_other_simulators_of_a_model_alone():
    with nengo.Network(seed=2) as net:
        node = nengo.Node([1.0])
        ens = nengo.Ensemble(20, 1, neuron_type=nengo.RectifiedLinear())
        nengo.Connection(node, ens, synapse=None)
        probe = nengo.Probe(ens, synapse=None)
        ksn.configure(net, probe, trainable=True)
    with stepped(net) as sim, stepped(None, model=sim.model) as other:
        bias = np.array(sim.data[ens].bias)
        sim.compile("sgd", loss="mse")
        sim.fit({node: np.ones((4, 5, 1))}, {probe: np.zeros((4, 5, 1))}, verbose=0)
        sim.run_steps(3)
        other.run_steps(3)
        assert np.any(sim.data[ens].bias != bias)
        signal = sim.model.sig[ens.neurons]["bias"]
        np.testing.assert_array_equal(signal.initial_value, bias)
    np.testing.assert_array_equal(other.data[probe], by_nengo(net, 3)[0])


def test_looking_at_the_keras_model_changes_no_step():
    matrix = scipy.sparse.csr_matrix([[0.0, 2.0], [1.0, 0.5]])
    with nengo.Network(seed=2) as net:
        node, post = nengo.Node(np.cos, size_out=1), nengo.Node(size_in=2)
        ens = nengo.Ensemble(20, 2)
        nengo.Connection(node, ens[0])
        sparse = nengo.Sparse((2, 2), init=matrix)
        relay = nengo.Node(size_in=2)
        nengo.Connection(ens, relay)
        nengo.Connection(relay, post, transform=sparse)
        nengo.Probe(post)
    with stepped(net, dtype="float32") as sim:
        sim.run_steps(10)
        assert sim.keras_model.weights
        sim.run_steps(20)
    for mine, other in zip(shown(sim, net), by_nengo(net), strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("optimize", [True, False])
def test_draws_are_nengos_whatever_is_given_and_of_ones_own(optimize):
    net = noisy()
    theirs = by_nengo(net)
    with stepped(net, optimize=optimize) as sim:
        sim.run_steps(30)
    assert_same(shown(sim, net), theirs)
    with stepped(net, optimize=optimize) as sim:
        sim.run_steps(30, data={net.a: np.zeros((30, 1)), net.alone: np.ones((30, 1))})
    assert_same(shown(sim, net)[1:], theirs[1:])


def test_data_that_were_refused_leave_a_simulator_as_it_was():
    with nengo.Network(seed=1) as net:
        node = nengo.Node([0.5])
        nengo.Probe(nengo.Node(lambda t, x: x, size_in=1))
        nengo.Connection(node, net.nodes[1], synapse=None)
    for compile_ in (True, False):
        with ksn.Simulator(net, compile=compile_, **OPTIONS) as sim:
            with pytest.raises(ValidationError, match="takes data of shape"):
                sim.run_steps(3, data={node: np.ones((7, 4))})
            sim.run_steps(3)
        np.testing.assert_array_equal(sim.data[net.probes[0]], np.full((3, 1), 0.5))
        with ksn.Simulator(net, compile=compile_, **OPTIONS) as sim:
            sim.run_steps(1, data={node: np.ones((1, 1))})
            with pytest.raises(ValidationError, match="in every run"):
                sim.step()


@pytest.mark.parametrize("optimize", [True, False])
def test_neuron_types_of_ones_own_keep_what_tells_them_apart(optimize):
    with nengo.Network(seed=1) as net:
        for scale in (1.0, 10.0):
            ens = nengo.Ensemble(5, 1, neuron_type=Scaled(scale), seed=3)
            nengo.Probe(ens.neurons)
    with stepped(net, optimize=optimize) as sim:
        sim.run_steps(3)
    one, other = shown(sim, net)
    assert np.any(one)
    np.testing.assert_allclose(other, 10 * one, rtol=1e-12)


def test_simulators_of_one_network_are_alike():
    calls = []
    with nengo.Network(seed=1) as net:
        act = nengo.Node(lambda t, x: calls.append("act") or x, size_in=1)
        look = nengo.Node(lambda t, x: calls.append("look") or x, size_in=1)
        source = nengo.Node(np.sin)
        array = nengo.networks.EnsembleArray(10, 6)
        nengo.Connection(source, array.input[0])
        nengo.Connection(source, array.input[3], transform=0.3)
        nengo.Connection(array.output[0], act)
        nengo.Connection(array.output[3], look)
        nengo.Connection(act, array.input[1])
        nengo.Probe(array.output, synapse=0.01)
    runs, plans = [], set()
    for _ in range(4):
        calls.clear()
        with ksn.Simulator(net, **OPTIONS) as sim:
            sim.run_steps(20)
            plans.add(sim.plan())
        runs.append((shown(sim, net)[0].tobytes(), tuple(calls)))
    calls.clear()
    by_nengo(net, 20)
    assert len(set(runs)) == len(plans) == 1
    assert runs[0][1] == tuple(calls)


def test_signals_are_of_now_where_probes_are_rare():
    with nengo.Network() as net:
        node = nengo.Node(lambda t: t)
        probe = nengo.Probe(node, sample_every=0.01)
    with stepped(net) as sim:
        sim.run_steps(13)
        assert sim.signals[sim.model.sig[probe]["in"]] == pytest.approx(0.013)


def test_synapses_that_do_the_same_are_stepped_once():
    with nengo.Network(seed=1) as net:
        node = nengo.Node(lambda t, x: np.sin(9 * t) + 0.1 * x, size_in=1)
        ens = nengo.Ensemble(30, 1)
        nengo.Connection(node, ens)
        probes = []
        for rate in (1e-4, 3e-4):
            conn = nengo.Connection(ens, node, learning_rule_type=nengo.PES(rate))
            nengo.Connection(node, conn.learning_rule)
            probes.append(nengo.Probe(conn.learning_rule, "activities"))
        nengo.Probe(ens.neurons, synapse=0.005)
        nengo.Probe(conn, "weights")
        other = nengo.Connection(
            ens, node, synapse=0.1, learning_rule_type=nengo.PES(1e-4)
        )
        nengo.Connection(node, other.learning_rule)
    expected = by_nengo(net)
    with stepped(net) as sim:
        sim.run_steps(10)
        state = sim._runner._stepped
        arrays = [state[sim.model.sig[p]["in"]] for p in probes]
        assert np.shares_memory(*arrays)
        copied = pickle.loads(pickle.dumps(state.memory()))
        sim.run_steps(20)
    for mine, other in zip(shown(sim, net), expected, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-9, atol=1e-12)
    with stepped(net) as again:
        again.run_steps(10)
        again._runner._stepped.restore(copied)
        again.run_steps(20)
    assert_same(shown(again, net), shown(sim, net))
