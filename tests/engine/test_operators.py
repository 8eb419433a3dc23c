"""A compiled network computes, step by step, what Nengo's simulator computes."""

import keras
import nengo
import numpy as np
import pytest
import scipy.sparse
from nengo.builder import Model
from nengo.builder.operator import BsrDotInc, Operator, Reset, SparseDotInc
from nengo.builder.signal import Signal
from nengo.builder.transforms import GeneralConvInc
from nengo.neurons import NeuronType, RatesToSpikesNeuronType

import keras_spiking_nengo as ksn
from keras_spiking_nengo.engine import OPERATORS
from keras_spiking_nengo.engine.python_operators import PythonCall
from tests.arrays import difference
from tests.cases import NETWORKS, RANDOM_NETWORKS
from tests.engine.runs import (
    STEPS,
    by_nengo,
    by_us,
    by_us_quickly,
    compile_network,
)
from tests.marks import TAKES_TURNS

pytestmark = TAKES_TURNS

EXACT = [name for name in NETWORKS if name not in RANDOM_NETWORKS]
# Quick to compile, with state, noise, learning, and Python among them.
QUICK = ("integrator", "ensemble_noise", "nodes", "voja")
COMPILED = (*QUICK, "two_ensembles_in_a_ring", "processes", "direct_mode", "slices")
# JAX compiles these, too, and what it ran once is kept.
FEW = 40 if keras.backend.backend() == "tensorflow" else STEPS


def marked(names, *marks):
    """Cases with the marks that each has in some of the dicts `marks`."""
    return [
        pytest.param(name, marks=[found[name] for found in marks if name in found])
        for name in names
    ]


def slow(names):
    return dict.fromkeys(names, pytest.mark.slow)


def subclasses(cls):
    for sub in cls.__subclasses__():
        yield sub
        yield from subclasses(sub)


def of_nengo(cls):
    """Nengo's classes that can be used, below `cls`."""
    abstract = (GeneralConvInc, RatesToSpikesNeuronType)
    found = (sub for sub in subclasses(cls) if sub.__module__.startswith("nengo."))
    return {sub for sub in found if sub not in abstract}


# --- the catalogue -----------------------------------------------------------------


def test_every_operator_has_a_rule_and_a_network():
    assert of_nengo(Operator) <= set(OPERATORS)
    used = {
        type(op)
        for name in NETWORKS
        for op in compile_network(name, passes=())[0].operators
    }
    # Only nengo's optimizer makes these; they have a test of their own.
    assert set(OPERATORS) - used == {BsrDotInc}


def test_every_neuron_type_has_a_network():
    used = {
        type(e.neuron_type) for make in NETWORKS.values() for e in make().all_ensembles
    }
    assert of_nengo(NeuronType) <= used


def test_nothing_but_python_runs_as_python():
    hosts = {
        name
        for name in NETWORKS
        if any(
            isinstance(n, PythonCall)
            for n in compile_network(name, passes=())[1].operations
        )
    }
    assert hosts == {"direct_mode", "nodes", "processes"}


# --- against nengo ------------------------------------------------------------------


def assert_equal(probe, ours, theirs):
    assert difference(ours, theirs) <= 1e-9, probe
    if probe.attr == "output" and probe.synapse is None:
        np.testing.assert_array_equal(ours != 0, theirs != 0)


@pytest.mark.parametrize("name", EXACT)
def test_equals_nengo_step_by_step(name):
    probes, expected = by_nengo(name, FEW)
    assert any(np.any(theirs) for theirs in expected)
    actual = by_us_quickly(name, FEW)
    for probe, theirs, ours in zip(probes, expected, actual, strict=True):
        assert_equal(probe, ours, theirs)


@pytest.mark.parametrize(
    "name", marked(EXACT, slow(n for n in EXACT if n not in COMPILED))
)
def test_equals_nengo_step_by_step_when_compiled(name):
    probes, expected = by_nengo(name)
    for probe, theirs, ours in zip(probes, expected, by_us(name), strict=True):
        assert np.any(theirs) or probe.sample_every, probe
        assert_equal(probe, ours, theirs)


@pytest.mark.parametrize("name", RANDOM_NETWORKS)
def test_random_neurons_fire_as_often_as_nengos(name):
    probes, expected = by_nengo(name)
    for probe, theirs, ours in zip(probes, expected, by_us(name), strict=True):
        assert np.mean(np.abs(ours)) == pytest.approx(np.mean(np.abs(theirs)), rel=0.2)
        # Not the same numbers, or the test above could be stricter.
        assert not np.array_equal(ours, theirs), probe
        heights = probe.target.ensemble.neuron_type.amplitude / 0.001
        np.testing.assert_allclose(ours / heights, np.round(ours / heights), atol=1e-9)


@pytest.mark.parametrize(
    "name", marked(NETWORKS, slow(name for name in NETWORKS if name not in QUICK))
)
def test_items_of_a_batch_equal_single_runs(name):
    for single, batch in zip(by_us(name), by_us(name, minibatch_size=3), strict=True):
        assert batch.shape == (3, *single.shape)
        if name not in RANDOM_NETWORKS:
            for item in batch:
                assert difference(item, single) <= 1e-9
        else:
            assert not np.array_equal(batch[0], batch[1])


def test_items_of_a_batch_take_their_own_inputs():
    with nengo.Network(seed=0) as net:
        source = nengo.Node([0, 0], label="source")
        ens = nengo.Ensemble(20, 2)
        nengo.Connection(source, ens)
        nengo.Connection(ens, ens, synapse=0.05)
        sink = nengo.Node(lambda t, x: x + 1, size_in=2)
        nengo.Connection(ens, sink)
        probes = nengo.Probe(ens, synapse=0.01), nengo.Probe(sink)
    x = np.random.RandomState(0).uniform(-1, 1, size=(2, STEPS, 2))

    def run(size, data):
        options = {"seed": 1, "dtype": "float64", "progress_bar": False}
        with ksn.Simulator(net, minibatch_size=size, **options) as sim:
            sim.run_steps(STEPS, data={source: data})
        return [np.array(sim.data[probe]) for probe in probes]

    together = run(2, x)
    for item in range(2):
        for batch, single in zip(together, run(None, x[item]), strict=True):
            assert difference(batch[item], single) <= 1e-9
    assert difference(together[0][0], together[0][1]) > 0.1


@pytest.mark.parametrize("kind", ["bsr", "csr", "coo"])
def test_sparse_products_equal_nengos(kind):
    dense = np.kron(np.diag([1.0, 0.0, -2.0]), [[1, 2], [3, 4], [0, 5]])
    dense[:3, 4:] = 0.5
    matrix = scipy.sparse.csr_matrix(dense).asformat(kind, copy=True)
    model = Model()
    with nengo.Network(seed=0) as net:
        source = nengo.Node(lambda t: np.arange(6) * t)
        out = nengo.Node(size_in=9)
        probe = nengo.Probe(out)
    model.build(net)
    x, y = model.sig[source]["out"], model.sig[out]["in"]
    if kind == "bsr":
        matrix = scipy.sparse.bsr_matrix(dense, blocksize=(3, 2))
        data = Signal(matrix.data, name="blocks", readonly=True)
        model.add_op(
            BsrDotInc(
                data, x, y, indices=matrix.indices, indptr=matrix.indptr, reshape=False
            )
        )
    else:
        model.add_op(SparseDotInc(Signal(matrix, name="m", readonly=True), x, y))
    with ksn.Simulator(None, model=model, dtype="float64", progress_bar=False) as sim:
        sim.run_steps(5)
        expected = np.outer(sim.trange(), dense @ np.arange(6))
    np.testing.assert_allclose(sim.data[probe], expected, rtol=1e-12)


# --- refusals ------------------------------------------------------------------------


def test_a_loop_without_a_synapse_is_refused_by_name():
    with nengo.Network(seed=0) as net:
        a = nengo.Node(size_in=1, label="left")
        b = nengo.Node(size_in=1, label="right")
        nengo.Connection(a, b, synapse=None)
        nengo.Connection(b, a, synapse=None)
        nengo.Probe(a)
    with pytest.raises(nengo.exceptions.BuildError, match="within one step") as e:
        ksn.Simulator(net, progress_bar=False)
    assert "left" in str(e.value) and "right" in str(e.value)


def test_a_loop_without_a_synapse_through_neurons_is_refused_by_name():
    with nengo.Network(seed=0) as net:
        ens = nengo.Ensemble(10, 1, label="echo")
        nengo.Connection(ens, ens, synapse=None)
        nengo.Probe(ens)
    with pytest.raises(nengo.exceptions.BuildError, match="echo"):
        ksn.Simulator(net, progress_bar=False)


def test_repeated_places_of_a_copy_that_sets_are_refused():
    model = Model()
    source, goal = Signal(np.arange(2.0), name="s"), Signal(np.zeros(3), name="g")
    model.add_op(nengo.builder.operator.Copy(source, goal, dst_slice=[0, 0], inc=False))
    with pytest.raises(nengo.exceptions.BuildError, match="repeated indices"):
        ksn.Simulator(None, model=model, progress_bar=False)


def test_a_constant_reset_is_what_is_read():
    with nengo.Network() as net:
        node = nengo.Node(size_in=2)
        probe = nengo.Probe(node)
    model = Model()
    model.build(net)
    model.operators[:] = [op for op in model.operators if not isinstance(op, Reset)]
    model.add_op(Reset(model.sig[node]["in"], value=2.5))
    with ksn.Simulator(None, model=model, progress_bar=False) as sim:
        sim.run_steps(3)
    np.testing.assert_array_equal(sim.data[probe], np.full((3, 2), 2.5))
