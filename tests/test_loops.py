"""Closed loops with Python are Nengo's, however their steps are done."""

import nengo
import numpy as np
import pytest

import keras_spiking_nengo as ksn
from tests.cases import LOOPS, VECTORISED_LOOPS
from tests.marks import TAKES_TURNS, slow_on_jax, some_on_jax

pytestmark = TAKES_TURNS

KINDS = [False, "auto", True]
# What JAX compiles by default, as it takes seconds each.
COMPILED_ON_JAX = ("queues", "process", "sign_neurons")


class Heard(nengo.Process):
    """A process, and a list of what it was called with."""

    def __init__(self, process, calls, number):
        super().__init__(process.default_size_in, process.default_size_out)
        self.process, self.calls, self.number = process, calls, number

    def make_state(self, *args, **kwargs):
        return self.process.make_state(*args, **kwargs)

    def make_step(self, *args, **kwargs):
        return heard(self.process.make_step(*args, **kwargs), self.calls, self.number)


def heard(function, calls, number):
    def called(*args):
        calls.append((number, *np.hstack(args)))
        return function(*args)

    return called


def listen(net):
    """Numbers of nodes, times and inputs, in the order of the calls of Python.

    Processes of the time alone are not heard: a compiled program asks them ahead.
    """
    calls = []
    for number, node in enumerate(net.all_nodes):
        if isinstance(node.output, nengo.Process):
            if node.size_in:
                node.output = Heard(node.output, calls, number)
        elif callable(node.output):
            node.output = heard(node.output, calls, number)
    calls.clear()  # those of Nengo's own checks
    return calls


def run(simulator, name, n_neurons, steps, **options):
    """What the probes show, and the calls of Python."""
    net, probes = LOOPS[name](n_neurons)
    calls = listen(net)
    with simulator(net, seed=7, progress_bar=False, **options) as sim:
        sim.run_steps(steps // 2)
        sim.run_steps(steps - steps // 2)
        return [np.array(sim.data[probe]) for probe in probes], calls


def assert_nengos(name, n_neurons, steps, **options):
    """Equal values, spike for spike, and calls of equal nodes in equal order."""
    ours, our_calls = run(ksn.Simulator, name, n_neurons, steps, **options)
    theirs, their_calls = run(nengo.Simulator, name, n_neurons, steps, optimize=False)
    assert [call[:2] for call in our_calls] == [call[:2] for call in their_calls]
    pairs = [*zip(ours, theirs, strict=True)]
    pairs += zip(our_calls, their_calls, strict=True)
    exact = options.get("optimize") is False and options["compile"] is False
    for mine, other in pairs:
        if exact:
            np.testing.assert_array_equal(mine, other)
        else:
            np.testing.assert_allclose(mine, other, rtol=1e-8, atol=1e-10)
    assert all(np.ptp(values) > 0 for values in theirs)


@pytest.mark.parametrize("compile_", [False, "auto"])
@pytest.mark.parametrize("name", list(LOOPS))
def test_loops_are_nengos(name, compile_):
    assert_nengos(name, 40, 120, compile=compile_, dtype="float64")


@pytest.mark.parametrize("name", some_on_jax(LOOPS, COMPILED_ON_JAX))
def test_compiled_loops_are_nengos(name):
    assert_nengos(name, 40, 120, compile=True, dtype="float64")


@pytest.mark.parametrize("name", list(LOOPS))
def test_loops_that_are_not_merged_are_nengos_to_the_last_bit(name):
    options = {"optimize": False, "compile": False, "dtype": "float64"}
    assert_nengos(name, 40, 120, **options)


@pytest.mark.slow
@pytest.mark.parametrize("compile_", KINDS)
@pytest.mark.parametrize("name", list(LOOPS))
def test_large_loops_are_nengos(name, compile_):
    assert_nengos(name, 2000, 200, compile=compile_, dtype="float64")


@pytest.mark.slow
@pytest.mark.parametrize("name", list(LOOPS))
def test_loops_are_stepped_where_that_was_measured_to_be_quicker(name):
    """As `benchmarks/run.py loops` does, on both backends."""
    net, _ = LOOPS[name](20_000)
    with ksn.Simulator(net, progress_bar=False) as sim:
        assert not sim.plan(1_000_000).compiled


@slow_on_jax
@pytest.mark.parametrize("name", VECTORISED_LOOPS)
def test_vectorised_functions_compute_the_same(name):
    """Each item of a minibatch by itself, and nothing in Python."""
    net, probes = LOOPS[name](40, vectorised=True)
    options = {"seed": 7, "progress_bar": False, "dtype": "float64"}
    with ksn.Simulator(net, minibatch_size=3, **options) as sim:
        assert sim.plan().compiled
        sim.run_steps(100)
    theirs, _ = run(nengo.Simulator, name, 40, 100, optimize=False)
    for probe, other in zip(probes, theirs, strict=True):
        for item in sim.data[probe]:
            np.testing.assert_allclose(item, other, rtol=1e-8, atol=1e-10)
