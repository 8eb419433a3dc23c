"""`Simulator` is used as `nengo.Simulator` is, and shows the same."""

import functools
import gc
import pickle
import pkgutil
import resource
import tomllib
import warnings
from pathlib import Path

import keras
import nengo
import numpy as np
import pytest
from nengo.exceptions import (
    ReadonlyError,
    SimulationError,
    SimulatorClosed,
    ValidationError,
)
from nengo.utils.progress import ProgressBar

import keras_spiking_nengo as ksn
from keras_spiking_nengo.simulator.compiled import Compiled
from tests.conftest import BACKEND
from tests.simulated import by_nengo

OPTIONS = {"dtype": "float64", "progress_bar": False}
KEPT = []


def simulator(net, **options):
    return ksn.Simulator(net, **(OPTIONS | options))


def reference(net, steps, **options):
    """Nengo's data, by probe."""
    return by_nengo(net, steps=steps, **{"seed": None, "optimize": False} | options)


def assert_as_nengo(sim, expected):
    for probe, values in expected.items():
        assert np.any(values)
        np.testing.assert_allclose(sim.data[probe], values, rtol=1e-9, atol=1e-12)


@functools.cache
def loop():
    """A network with memory, its parts, and one simulator that all share."""
    with nengo.Network(seed=2) as net:
        net.source = nengo.Node([0.5], label="source")
        net.ens = nengo.Ensemble(20, 1, label="ens")
        nengo.Connection(net.source, net.ens)
        net.conn = nengo.Connection(net.ens, net.ens, synapse=0.05)
        net.probe = nengo.Probe(net.ens, synapse=0.01)
        net.sampled = nengo.Probe(net.ens.neurons, sample_every=0.004)
    sim = simulator(net)
    KEPT.append(sim)
    return net, sim


@pytest.fixture
def shared():
    net, sim = loop()
    sim.reset(5)
    return net, sim


def python_node(function, size_in=1, **options):
    with nengo.Network(seed=0) as net:
        source = nengo.Node(lambda t: t)
        net.node = nengo.Node(function, size_in=size_in)
        if size_in:
            nengo.Connection(source, net.node, synapse=None)
        net.probe = nengo.Probe(net.node if net.node.size_out else source)
    return net, simulator(net, **options)


# --- time -----------------------------------------------


def test_run_step_and_run_steps_go_on_from_where_the_others_stopped(shared):
    net, sim = shared
    assert (sim.n_steps, sim.time) == (0, 0)
    sim.step()
    sim.run_steps(7)
    sim.run(0.012)
    assert sim.n_steps == 20
    assert sim.time == pytest.approx(0.02)
    np.testing.assert_allclose(sim.trange(), 0.001 * np.arange(1, 21))
    assert_as_nengo(sim, reference(net, 20))


def test_a_run_of_less_than_a_step_is_none(shared):
    net, sim = shared
    sim.run_steps(3)
    with pytest.warns(UserWarning, match="0 timesteps"):
        sim.run(0.0001)
    assert sim.n_steps == 3
    assert sim.data[net.probe].shape == (3, 1)


def test_no_steps_are_none(shared):
    net, sim = shared
    sim.run_steps(3)
    sim.run_steps(0)
    assert sim.n_steps == 3
    assert sim.data[net.probe].shape == (3, 1)


def test_data_asked_for_before_the_run_do_not_hide_those_after_it(shared):
    net, sim = shared
    assert sim.data[net.probe].size == 0
    sim.step()
    assert sim.data[net.probe].shape == (1, 1)
    sim.step()
    assert sim.data[net.probe].shape == (2, 1)


def test_dt_is_readonly(shared):
    _, sim = shared
    assert sim.dt == 0.001
    with pytest.raises(ReadonlyError):
        sim.dt = 0.002


def test_another_dt(shared):
    net, _ = shared
    with simulator(net, dt=0.002) as sim:
        sim.run(0.04)
    assert sim.n_steps == 20
    assert_as_nengo(sim, reference(net, 20, dt=0.002))


def test_time_goes_forward_only(shared):
    with pytest.raises(ValidationError, match="positive"):
        shared[1].run(-0.1)


@pytest.mark.parametrize("sample_every", [None, 0.001, 0.002, 0.0025, 0.0035, 0.03])
def test_sampled_probes_and_their_times_are_nengos(sample_every):
    with nengo.Network() as net:
        node = nengo.Node(lambda t: t)
        probe = nengo.Probe(node, sample_every=sample_every)
    with nengo.Simulator(net, progress_bar=False) as theirs:
        theirs.run_steps(47)
    with simulator(net) as sim:
        for steps in (1, 20, 26):  # blocks do not begin at samples
            sim.run_steps(steps)
    np.testing.assert_allclose(sim.data[probe], theirs.data[probe], rtol=1e-12)
    times = sim.trange(sample_every=sample_every)
    np.testing.assert_allclose(times, theirs.trange(sample_every=sample_every))
    assert len(times) == len(sim.data[probe])


def test_the_former_name_of_sample_every_is_understood(shared):
    _, sim = shared
    sim.run_steps(10)
    with pytest.warns(DeprecationWarning, match="sample_every"):
        times = sim.trange(dt=0.002)
    np.testing.assert_allclose(times, sim.trange(sample_every=0.002))
    with pytest.raises(ValidationError, match="both"):
        sim.trange(dt=0.002, sample_every=0.002)


# --- again -----------------------------------------------


def noisy():
    with nengo.Network(seed=1) as net:
        noises = (
            nengo.processes.WhiteNoise(default_size_out=1),
            nengo.processes.WhiteSignal(0.1, high=50, default_size_out=1),
            nengo.processes.FilteredNoise(seed=9, default_size_out=1),
        )
        nodes = [nengo.Node(noise) for noise in noises]
        ens = nengo.Ensemble(
            10, 1, noise=nengo.processes.WhiteNoise(nengo.dists.Gaussian(0, 0.1))
        )
        for obj in (*nodes, ens):
            nengo.Probe(obj)
    return net


@pytest.mark.parametrize("seed", [None, 4])
def test_processes_draw_what_nengos_draw(seed):
    net = noisy()
    with simulator(net, seed=seed) as sim:
        sim.run_steps(10)
        assert sim.seed == (2 if seed is None else 4)
    assert_as_nengo(sim, reference(net, 10, seed=seed))


@pytest.mark.parametrize("make", [noisy, nengo.Network])
def test_a_generator_is_left_as_nengos_is(make):
    """What a script draws from it after building is what it drew there."""
    net = make()
    theirs = nengo.Simulator(net, seed=4, optimize=False, progress_bar=False)
    with simulator(net, seed=4) as sim, theirs:
        for _ in range(2):
            np.testing.assert_array_equal(
                sim.rng.randint(99, size=5), theirs.rng.randint(99, size=5)
            )
            sim.reset(seed=5)
            theirs.reset(seed=5)


def test_reset_gives_the_same_again_and_another_seed_others():
    net = noisy()
    white, _, own, _ = net.probes
    with simulator(net, seed=4) as sim:
        runs = []
        for seed in (None, None, 5, 4):
            sim.reset(seed)
            assert sim.n_steps == 0
            sim.run_steps(10)
            runs.append([np.array(sim.data[probe]) for probe in net.probes])
    for again in (runs[1], runs[3]):
        for first, second in zip(runs[0], again, strict=True):
            np.testing.assert_array_equal(first, second)
    theirs = reference(net, 10, seed=5)
    np.testing.assert_allclose(runs[2][0], theirs[white], rtol=1e-9)
    assert not np.allclose(runs[2][0], runs[0][0])
    # A process with a seed of its own is not moved by the simulator's.
    np.testing.assert_array_equal(runs[2][2], runs[0][2])
    assert net.probes[2] is own


def test_reset_restores_what_python_remembers():
    count = []
    with nengo.Network() as net:
        node = nengo.Node(nengo.Lowpass(0.01, default_size_in=1), size_in=1)
        nengo.Connection(nengo.Node(lambda t: count.append(t) or 1.0), node)
        probe = nengo.Probe(node)
    with simulator(net) as sim:
        count.clear()  # nengo calls it once to learn its size
        sim.run_steps(10)
        first = np.array(sim.data[probe])
        sim.reset()
        sim.run_steps(10)
        np.testing.assert_array_equal(sim.data[probe], first)
    assert np.any(first)
    np.testing.assert_allclose(count, [*np.arange(1, 11) * 0.001] * 2, rtol=1e-12)


def test_clear_probes_forgets_data_but_not_the_state(shared):
    net, sim = shared
    sim.run_steps(30)
    whole = np.array(sim.data[net.probe])
    sim.reset()
    sim.run_steps(15)
    sim.clear_probes()
    assert sim.n_steps == 15
    assert sim.data[net.probe].size == 0
    sim.run_steps(15)
    np.testing.assert_allclose(sim.data[net.probe], whole[15:], rtol=1e-12)


def test_independent_noise():
    net = noisy()
    both = {}
    for independent in (False, True):
        options = {"minibatch_size": 2, "independent_noise": independent, "seed": 4}
        with simulator(net, **options) as sim:
            sim.run_steps(5)
        both[independent] = [np.array(sim.data[p]) for p in net.probes]
    for same, own in zip(both[False], both[True], strict=True):
        np.testing.assert_array_equal(same[0], same[1])
        assert own.shape == same.shape
    white, _, seeded, ens = both[True]
    assert not np.allclose(white[0], white[1])
    assert not np.allclose(ens[0], ens[1])
    # What has a seed of its own is the same for all.
    np.testing.assert_array_equal(seeded[0], seeded[1])


# --- blocks -----------------------------------------------


def test_a_run_in_blocks_equals_short_pieces(shared, monkeypatch):
    net, sim = shared
    sim.run_steps(45)
    whole = [np.array(sim.data[probe]) for probe in (net.probe, net.sampled)]
    sim.reset()
    monkeypatch.setattr(Compiled, "longest", 10)
    sim.run_steps(45)
    for probe, values in zip((net.probe, net.sampled), whole, strict=True):
        np.testing.assert_allclose(sim.data[probe], values, rtol=1e-12, atol=1e-13)
    monkeypatch.undo()
    sim.reset()
    for steps in (1, 1, 3, 40):
        sim.run_steps(steps)
    for probe, values in zip((net.probe, net.sampled), whole, strict=True):
        np.testing.assert_allclose(sim.data[probe], values, rtol=1e-12, atol=1e-13)


def test_raw_data_are_steps_that_can_be_forgotten(shared):
    net, sim = shared  # nengo-gui draws so, and cuts what it has drawn
    sim.run_steps(3)
    rows = sim.data.raw[net.probe]
    assert len(rows) == len(rows[:]) == 3
    np.testing.assert_array_equal(rows[:], sim.data[net.probe])
    assert set(sim.data.raw) == {net.probe, net.sampled}
    last = rows[-1]
    del rows[:2]
    np.testing.assert_array_equal(sim.data[net.probe], [last])
    del rows[:]
    assert len(rows) == 0 == sim.data[net.probe].size
    sim.run_steps(2)
    assert len(rows) == 2 and sim.data[net.probe].shape == (2, 1)
    with pytest.raises(KeyError):
        sim.data.raw[net.ens]


def test_an_empty_network_counts_its_steps():
    with simulator(nengo.Network()) as sim:
        sim.run_steps(50)
        assert sim.n_steps == len(sim.trange()) == 50


@pytest.mark.parametrize("steps", [47, 75])
def test_steps_that_are_laid_out_together_change_nothing(shared, monkeypatch, steps):
    net, sim = shared
    sim.run_steps(steps)
    together = [np.array(sim.data[probe]) for probe in (net.probe, net.sampled)]
    monkeypatch.setattr("keras_spiking_nengo.simulator.compiled._CACHED", 1000)
    with simulator(net) as at_once:
        at_once.run_steps(steps)
    for probe, values in zip((net.probe, net.sampled), together, strict=True):
        assert np.any(values)
        np.testing.assert_allclose(at_once.data[probe], values, rtol=1e-12, atol=1e-13)


def third_order(tau):
    denominator = np.poly([-1 / tau, -2 / tau, -3 / tau])
    return nengo.LinearFilter([denominator[-1]], denominator)


def everything_but_loops_of_python(python):
    """Loops, filters of all forms, noise, and Python before and after."""
    with nengo.Network(seed=2) as net:
        source = nengo.Node(lambda t: np.sin(30 * t))
        noise = nengo.Node(nengo.processes.WhiteNoise(seed=1), size_out=1)
        ens = nengo.Ensemble(20, 1)
        nengo.Connection(source, ens, synapse=third_order(0.02))
        nengo.Connection(noise, ens, synapse=0.1)
        nengo.Connection(ens, ens, synapse=0.05)
        read = nengo.Node(lambda t, x: 2 * x + t, size_in=1) if python else ens
        if python:
            nengo.Connection(ens, read, synapse=nengo.Alpha(0.01))
        nengo.Probe(read, synapse=third_order(0.01))
        nengo.Probe(ens.neurons, sample_every=0.003)
    return net


@pytest.mark.parametrize("python", [False, True])
def test_runs_of_any_length_are_one_program(python, traced):
    """Each run goes on from the last, as nengo's, and nothing is compiled for it."""
    net = everything_but_loops_of_python(python)
    lengths = (90, 1, 7, 50, 24, 26, 33, 75)
    with simulator(net, compile=True) as sim:
        sim.run_steps(lengths[0])
        first = len(traced)
        for n_steps in lengths[1:]:
            sim.run_steps(n_steps)
        assert_as_nengo(sim, reference(net, sum(lengths)))
    if python:  # powers of two times 25: it is called for no step that is not one
        assert len(traced) <= 3 * first
    elif BACKEND != "torch":
        assert 0 < len(traced) == first


def test_given_data_are_cut_to_blocks(shared, monkeypatch):
    net, _ = shared
    x = np.random.RandomState(0).uniform(-1, 1, size=(25, 1))
    runs = []
    for longest in (100, 10):
        monkeypatch.setattr(Compiled, "longest", longest)
        with simulator(net) as sim:
            sim.run_steps(25, data={"source": x})
        runs.append(np.array(sim.data[net.probe]))
    np.testing.assert_allclose(runs[1], runs[0], rtol=1e-12, atol=1e-13)


@pytest.mark.slow
def test_memory_is_bounded_in_long_runs():
    with nengo.Network(seed=0) as net:
        ens = nengo.Ensemble(2000, 1)
        nengo.Connection(nengo.Node(np.sin), ens)
        probe = nengo.Probe(ens.neurons, sample_every=1.0)
    with ksn.Simulator(net, progress_bar=False) as sim:
        sim.run(3.0)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        sim.run(40.0)
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert sim.data[probe].shape == (43, 2000)
    # All spikes of 40 seconds would take 320 MB; ru_maxrss counts kilobytes.
    assert after - before < 100_000


# --- data -----------------------------------------------


def test_data_of_probes_are_readonly_and_grow(shared):
    net, sim = shared
    sim.run_steps(4)
    first = sim.data[net.probe]
    assert first.shape == (4, 1)
    assert first.dtype == np.float64
    with pytest.raises(ValueError, match="read-only"):
        first[0] = 0
    sim.run_steps(4)
    assert sim.data[net.probe].shape == (8, 1)
    assert first.shape == (4, 1)
    np.testing.assert_array_equal(sim.data[net.probe][:4], first)


def test_data_of_built_objects_are_nengos(shared):
    net, sim = shared
    with nengo.Simulator(net, progress_bar=False) as theirs:
        built = theirs.data
    for name in ("encoders", "gain", "bias", "max_rates", "intercepts", "eval_points"):
        expected = getattr(built[net.ens], name)
        np.testing.assert_array_equal(getattr(sim.data[net.ens], name), expected)
    np.testing.assert_array_equal(sim.data[net.conn].weights, built[net.conn].weights)
    assert net.ens in sim.data
    # Connections that belong to probes are made anew by each build.
    assert {obj for obj in sim.data if obj in net.all_objects} == {
        obj for obj in built if obj in net.all_objects
    }
    assert len(sim.data) == len(built)
    with pytest.raises(KeyError):
        sim.data[nengo.Node(0, add_to_container=False)]


def test_float32_is_the_default_and_close(shared):
    net, sim = shared
    sim.run_steps(20)
    with ksn.Simulator(net, progress_bar=False, seed=5) as single:
        assert single.dtype == keras.config.floatx() == "float32"
        single.run_steps(20)
    assert single.data[net.probe].dtype == np.float32
    np.testing.assert_allclose(single.data[net.probe], sim.data[net.probe], atol=1e-4)


def test_minibatch(shared):
    net, sim = shared
    sim.run_steps(12)
    with simulator(net, minibatch_size=2) as batch:
        batch.run_steps(5)
        batch.run_steps(7)
    assert batch.data[net.probe].shape == (2, 12, 1)
    assert batch.data[net.sampled].shape == (2, 3, 20)
    for probe in (net.probe, net.sampled):
        for item in batch.data[probe]:
            np.testing.assert_allclose(item, sim.data[probe], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("size", [0, -1, 1.5, "2"])
def test_impossible_minibatches_are_refused(size):
    with pytest.raises(ValidationError, match="minibatch_size"):
        simulator(loop()[0], minibatch_size=size)


@pytest.mark.parametrize("dtype", ["float16", "int32", "bfloat"])
def test_impossible_dtypes_are_refused(dtype):
    with pytest.raises((ValidationError, TypeError), match=r"float32|not understood"):
        simulator(loop()[0], dtype=dtype)


def test_signals_of_the_time(shared):
    net, sim = shared
    sim.run_steps(3)
    assert sim.signals[sim.model.step] == 3
    assert sim.signals[sim.model.time] == pytest.approx(0.003)
    encoders = sim.model.sig[net.ens]["encoders"]
    np.testing.assert_array_equal(sim.signals[encoders], encoders.initial_value)


# --- given data -----------------------------------------------


def test_data_take_the_place_of_a_source(shared):
    net, _ = shared
    x = np.random.RandomState(0).uniform(-1, 1, size=(30, 1))
    with simulator(net) as sim:
        sim.run_steps(10, data={net.source: x[:10]})
        sim.run_steps(20, data={"source": x[10:]})
        first = np.array(sim.data[net.probe])
    with nengo.Network(seed=2) as same:
        source = nengo.Node(nengo.processes.PresentInput(x, 0.001))
        ens = nengo.Ensemble(20, 1, seed=net.ens.seed)
        nengo.Connection(source, ens)
        nengo.Connection(ens, ens, synapse=0.05)
        probe = nengo.Probe(ens, synapse=0.01)
        nengo.Probe(ens.neurons, sample_every=0.004)
    expected = reference(same, 30)[probe]
    np.testing.assert_allclose(first, expected, rtol=1e-9, atol=1e-12)


def test_bad_data_are_refused_with_the_shape_that_is_wanted(shared):
    net, _ = shared
    with simulator(net, minibatch_size=2) as sim:
        for bad in (np.ones((4, 1)), np.ones((5, 2)), np.ones((3, 5, 1)), np.ones(5)):
            with pytest.raises(ValidationError, match=r"\(5, 1\).*\(2, 5, 1\)"):
                sim.run_steps(5, data={net.source: bad})
        for key in ("sauce", net.ens, 3):
            with pytest.raises(ValidationError, match="source"):
                sim.run_steps(5, data={key: np.ones((5, 1))})
        sim.run_steps(5, data={net.source: np.ones((5, 1))})
        assert sim.data[net.probe].shape == (2, 5, 1)
        with pytest.raises(ValidationError, match="given data before"):
            sim.run_steps(5)


def test_data_must_be_given_from_the_start(shared):
    net, sim = shared
    sim.run_steps(5)
    with pytest.raises(ValidationError, match="from the start"):
        sim.run_steps(5, data={net.source: np.ones((5, 1))})


# --- Python of the user's -----------------------------------------------


@pytest.mark.parametrize("size_in", [0, 1])
def test_errors_of_a_node_come_out_as_themselves(size_in):
    def fail(t, x=None):
        if t > 0.0045:
            raise ZeroDivisionError("the user's own words")
        return t

    net, sim = python_node(fail, size_in)
    with sim:
        sim.run_steps(3)
        with pytest.raises(ZeroDivisionError, match="the user's own words"):
            sim.run_steps(3)
        # The failed run left nothing behind.
        assert sim.n_steps == 3
        assert sim.data[net.probe].shape == (3, 1)
        sim.reset()
        sim.run_steps(4)
        assert sim.data[net.probe].shape == (4, 1)


@pytest.mark.parametrize("size_in", [0, 1])
@pytest.mark.parametrize("bad", [np.nan, np.inf, None])
def test_values_that_are_not_finite_are_refused(size_in, bad):
    def output(t, x=None):
        return bad if t > 0.0025 else 1.0

    _, sim = python_node(output, size_in)
    with sim:
        sim.run_steps(2)
        with pytest.raises(SimulationError, match="output"):
            sim.run_steps(2)


def test_an_interrupted_run_can_be_gone_on_with():
    stop = []

    def output(t, x):
        if stop and t > 0.0055:
            raise KeyboardInterrupt
        return x + 1

    net, sim = python_node(output)
    with sim:
        sim.run_steps(4)
        stop.append(True)
        with pytest.raises(KeyboardInterrupt):
            sim.run_steps(4)
        stop.clear()
        assert sim.n_steps == 4
        sim.run_steps(4)
        times = sim.trange()
    np.testing.assert_allclose(sim.data[net.probe][:, 0], times + 1, rtol=1e-12)


def seen_by_a_node(looped):
    """What a node is called with, and the same in nengo."""
    seen = []
    with nengo.Network() as net:
        node = nengo.Node(lambda t, x: seen.append((t, *x)) or x + 1, size_in=1)
        nengo.Connection(nengo.Node(lambda t: t), node, synapse=None)
        if looped:
            nengo.Connection(node, node, transform=0.5, synapse=0)
        nengo.Probe(node)
    runs = []
    options = {"progress_bar": False}
    for sim in (simulator(net), nengo.Simulator(net, **options)):
        seen.clear()
        with sim:
            sim.run_steps(5)
            sim.run_steps(3)
        runs.append(np.array(seen))
    return runs


@pytest.mark.parametrize("looped", [False, True])
def test_nodes_see_each_step_once_and_in_order(looped):
    ours, theirs = seen_by_a_node(looped)
    assert len(theirs) == 8
    np.testing.assert_allclose(ours, theirs, rtol=1e-12)


def test_nodes_share_what_python_remembers():
    """An environment in Python: one node acts on it, another shows it."""
    world = {"place": 0.0}

    def act(t, x):
        world["place"] += t + x[0]

    with nengo.Network() as net:
        shown = nengo.Node(lambda t: world["place"], size_out=1)
        nengo.Connection(shown, nengo.Node(act, size_in=1), synapse=0)
        probe = nengo.Probe(shown)
    runs = []
    for make in (simulator, nengo.Simulator):
        world["place"] = 0.0
        with make(net, progress_bar=False) as sim:
            sim.run_steps(5)
        runs.append(np.array(sim.data[probe]))
    assert np.any(runs[1])
    np.testing.assert_allclose(runs[0], runs[1], rtol=1e-12)


def test_nodes_of_a_batch_see_their_own_item():
    with nengo.Network() as net:
        source = nengo.Node([0])
        node = nengo.Node(lambda t, x: 10 * x, size_in=1)
        nengo.Connection(source, node, synapse=None)
        probe = nengo.Probe(node)
    x = np.arange(6.0).reshape(2, 3, 1)
    with simulator(net, minibatch_size=2) as sim:
        sim.run_steps(3, data={source: x})
    np.testing.assert_allclose(sim.data[probe], 10 * x)


def test_an_output_cannot_be_changed_afterwards_by_its_node():
    kept = np.zeros(1)

    def output(t, x):
        kept[:] = x
        return kept

    net, sim = python_node(output)
    with sim:
        sim.run_steps(4)
        kept[:] = 100
        np.testing.assert_allclose(sim.data[net.probe][:, 0], sim.trange())


# --- life and death -----------------------------------------------


def test_a_closed_simulator_shows_its_data_and_does_no_more(shared):
    net, _ = shared
    with simulator(net) as sim:
        sim.run_steps(3)
    assert sim.closed
    assert sim.data[net.probe].shape == (3, 1)
    for call in (sim.step, sim.reset, lambda: sim.run(0.01), lambda: sim.run_steps(2)):
        with pytest.raises(SimulatorClosed):
            call()
    with pytest.raises(SimulatorClosed), sim:
        pass
    sim.close()


def test_a_forgotten_simulator_warns():
    with nengo.Network() as net:
        nengo.Probe(nengo.Node([1]))
    sim = simulator(net)
    with pytest.warns(ResourceWarning, match="while open"):
        del sim
        gc.collect()


def test_a_closed_simulator_does_not_warn():
    with nengo.Network() as net:
        nengo.Probe(nengo.Node([1]))
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        sim = simulator(net)
        sim.close()
        del sim
        gc.collect()


def test_pickle_goes_on_where_it_stopped(shared):
    net, sim = shared
    sim.run_steps(10)
    copy = pickle.loads(pickle.dumps(sim))
    sim.run_steps(10)
    with copy:
        assert (copy.n_steps, copy.seed, copy.dtype) == (10, 5, "float64")
        copy.run_steps(10)
        # Probes are other objects there.
        ours = [copy.data[probe] for probe in copy.model.probes]
    assert len(ours) == 2
    for values, probe in zip(ours, sim.model.probes, strict=True):
        np.testing.assert_allclose(values, sim.data[probe], rtol=1e-12, atol=1e-13)


def test_pickle_keeps_what_training_has_made():
    with nengo.Network(seed=0) as net:
        stimulus, ens = nengo.Node([1.0]), nengo.Ensemble(20, 1)
        nengo.Connection(stimulus, ens)
        end = nengo.Node(size_in=1)
        nengo.Connection(ens, end)
        probe = nengo.Probe(end, synapse=0.01)
    with simulator(net) as sim:
        sim.run_steps(20)
        untrained = np.array(sim.data[probe])
        sim.compile(keras.optimizers.SGD(0.01), loss="mse")
        x = np.ones((2, 20, 1))
        sim.fit({stimulus: x}, {probe: 2 * x}, verbose=0)
        with pickle.loads(pickle.dumps(sim)) as copy:
            for one in (sim, copy):
                one.reset()
                one.run_steps(20)
            trained = copy.data[copy.model.probes[0]]
            # It runs with these; they are shown, and not to be changed.
            weights = copy.data[copy.model.toplevel.connections[-1]].weights
            with pytest.raises(ValueError, match="read-only"):
                weights[...] = 0
    np.testing.assert_allclose(trained, sim.data[probe], rtol=1e-12, atol=1e-13)
    assert np.abs(trained - untrained).max() > 1e-3


def test_pickle_of_a_closed_simulator_is_closed(shared):
    net, _ = shared
    sim = simulator(net)
    sim.close()
    assert pickle.loads(pickle.dumps(sim)).closed


def test_a_built_model_can_be_given(shared):
    net, sim = shared
    sim.run_steps(5)
    model = nengo.builder.Model(dt=0.001)
    model.build(net)
    with simulator(None, model=model, seed=1) as built:
        built.run_steps(5)
    np.testing.assert_allclose(built.data[net.probe], sim.data[net.probe], rtol=1e-12)


def test_nothing_is_written_to_the_network(shared):
    net, sim = shared
    before = dict(vars(net.ens)), len(net.all_objects), net.seed
    with simulator(net) as other:
        other.run_steps(2)
    assert (dict(vars(net.ens)), len(net.all_objects), net.seed) == before


def test_optimize_changes_nothing(shared):
    net, sim = shared
    sim.run_steps(10)
    with simulator(net, optimize=False) as plain:
        plain.run_steps(10)
    for probe in (net.probe, net.sampled):
        np.testing.assert_allclose(
            plain.data[probe], sim.data[probe], rtol=1e-12, atol=1e-13
        )


def test_progress_is_shown_block_by_block(shared, monkeypatch):
    class Bar(ProgressBar):
        def __init__(self):
            super().__init__()
            self.seen = []

        def update(self, progress):
            self.seen.append((progress.n_steps, progress.max_steps))

        def close(self):
            self.seen.append("closed")

    _, sim = shared
    monkeypatch.setattr(Compiled, "longest", 10)
    bar = Bar()
    sim.run_steps(30, progress_bar=bar)
    assert bar.seen[-1] == "closed"
    assert (30, 30) in bar.seen


def test_it_is_registered_as_a_backend_of_nengo():
    config = Path(__file__).parents[1] / "pyproject.toml"
    points = tomllib.loads(config.read_text())["project"]["entry-points"]
    found = points["nengo.backends"]["keras_spiking_nengo"]
    assert pkgutil.resolve_name(found) is ksn.Simulator
    assert list(ksn.Simulator.unsupported) == []


WRONG = {
    "dt": [0, -1, np.nan, np.inf, "a", None],
    "seed": ["a", np.nan, -1, 1.5],
    "dtype": [3, "int32", "complex64", [], "nonsense"],
    "minibatch_size": [True, np.nan],
}


@pytest.mark.parametrize("name", WRONG)
def test_impossible_arguments_are_refused_by_name(name):
    net, _ = python_node(lambda t, x: x)
    for value in WRONG[name]:
        with pytest.raises(ValueError, match=name):
            ksn.Simulator(net, progress_bar=False, **{name: value})


def test_impossible_lengths_of_a_run_are_refused():
    _, sim = python_node(lambda t, x: x)
    with sim:
        for steps in (-1, 1.5, "a", np.nan, True):
            with pytest.raises(ValueError, match="steps"):
                sim.run_steps(steps)
        for time in (-1, "a", np.nan, np.inf):
            with pytest.raises(ValueError, match="time_in_seconds"):
                sim.run(time)
        with pytest.raises(ValueError, match="seed"):
            sim.reset(seed="a")
        sim.run_steps(0)
        assert sim.n_steps == 0
