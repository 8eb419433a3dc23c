"""Programs with Python in their loop are driven from Python, as Nengo would."""

import pickle

import nengo
import numpy as np
import pytest

import keras_spiking_nengo as ksn
from keras_spiking_nengo.dynamics.loops import host
from tests.catalogue.loops import LOOPS

OPTIONS = {"dtype": "float64", "progress_bar": False, "seed": 7, "compile": True}


def echo(t, x):
    return [x[0], np.cos(9 * t) - x[1]]


def chain(calls=None, fails=()):
    """Three calls of Python, of which two need the answer of the one before.

    Times in `fails`, in steps, are those at which the last one raises.
    """

    def count(name, function):
        def called(t, x):
            if calls is not None:
                calls.append((name, t, *x))
            if name == "last" and round(t * 1000) in fails:
                raise ZeroDivisionError("of the user's")
            return function(t, x)

        return called

    with nengo.Network(seed=3) as net:
        source = nengo.Node(lambda t: np.sin(20 * t))
        first = nengo.Node(count("first", echo), size_in=2, size_out=2)
        second = nengo.Node(count("second", lambda t, x: 0.5 * x), size_in=2)
        last = nengo.Node(count("last", lambda t, x: [x.sum() + t]), size_in=2)
        ens = nengo.Ensemble(30, 2)
        nengo.Connection(source, ens[0])
        nengo.Connection(ens, first, synapse=0.01)
        nengo.Connection(first, second, synapse=None)
        nengo.Connection(second, last, transform=[[1, 2], [0, 1]], synapse=None)
        nengo.Connection(source, last[0], synapse=None)
        nengo.Connection(last, ens[1], synapse=0.005)
        net.shown = [nengo.Probe(obj) for obj in (first, last, ens.neurons)]
        net.shown.append(nengo.Probe(ens, synapse=0.02, sample_every=0.004))
    return net


def shown(sim, net):
    return [np.array(sim.data[probe]) for probe in net.shown]


def by_nengo(net, steps):
    with nengo.Simulator(net, seed=7, progress_bar=False, optimize=False) as sim:
        sim.run_steps(steps)
    return shown(sim, net)


def assert_close(ours, theirs):
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-9, atol=1e-12)


def test_calls_that_need_each_other_are_made_in_nengos_order():
    ours, theirs = [], []
    net, other = chain(ours), chain(theirs)
    ours.clear()
    theirs.clear()
    with ksn.Simulator(net, **OPTIONS) as sim:
        for steps in (1, 1, 20, 18):
            sim.run_steps(steps)
    expected = by_nengo(other, 40)
    assert [call[0] for call in ours] == [call[0] for call in theirs]
    np.testing.assert_allclose(
        [call[1:] for call in ours],
        [call[1:] for call in theirs],
        rtol=1e-9,
        atol=1e-12,
    )
    assert_close(shown(sim, net), expected)


def test_nothing_is_called_back(monkeypatch):
    def refuse(*_):
        raise AssertionError("called back from within a program")

    monkeypatch.setattr(host, "_call_from_tensorflow", refuse)
    monkeypatch.setattr(host, "_call_from_jax", refuse)
    net, _ = LOOPS["pendulum"](40)
    with ksn.Simulator(net, **OPTIONS) as sim:
        sim.run_steps(3)


def test_errors_leave_the_state_before_their_block_and_resets_the_first_one():
    fails = {35}
    net = chain(fails=fails)
    with ksn.Simulator(net, **OPTIONS) as sim:
        sim.run_steps(30)
        for _ in range(2):
            with pytest.raises(ZeroDivisionError, match="of the user's"):
                sim.run_steps(10)
            assert sim.n_steps == 30
        fails.clear()
        sim.run_steps(10)
        expected = by_nengo(chain(), 40)
        assert_close(shown(sim, net), expected)
        sim.reset()
        sim.run_steps(40)
    assert_close(shown(sim, net), expected)


def loop_of_module_functions():
    with nengo.Network(seed=4) as net:
        node = nengo.Node(echo, size_in=2, size_out=2)
        ens = nengo.Ensemble(25, 2)
        nengo.Connection(node, ens)
        nengo.Connection(ens, node)
        net.shown = [nengo.Probe(node), nengo.Probe(ens.neurons)]
    return net


def test_pickles_go_on_where_they_were():
    net = loop_of_module_functions()
    with ksn.Simulator(net, **OPTIONS) as sim:
        sim.run_steps(12)
        again = pickle.loads(pickle.dumps(sim))
    with again:
        again.run_steps(18)
    ours = [np.array(again.data[probe]) for probe in again.model.probes]
    assert_close(ours, by_nengo(net, 30))


def test_items_of_a_minibatch_are_asked_one_by_one():
    frames = np.random.RandomState(0).uniform(-1, 1, (3, 20, 1))
    net = loop_of_module_functions()
    with net:
        source = nengo.Node([0.0], label="in")
        nengo.Connection(source, net.all_ensembles[0][1], synapse=None)
    with ksn.Simulator(net, minibatch_size=3, **OPTIONS) as sim:
        sim.run_steps(13, data={source: frames[:, :13]})
        sim.run_steps(7, data={source: frames[:, 13:]})
    for item, rows in enumerate(frames):
        source.output = lambda t, rows=rows: rows[round(t * 1000) - 1]
        assert_close([y[item] for y in shown(sim, net)], by_nengo(net, 20))
    assert np.ptp(sim.data[net.shown[0]][:, -1], axis=0).max() > 0
