"""What the quick builder builds is what Nengo builds, to the last bit."""

import nengo
import numpy as np
import pytest
from nengo.builder import Builder, Model
from nengo.builder.connection import build_solver
from nengo.cache import DecoderCache
from nengo.exceptions import BuildError
from nengo.solvers import LstsqL2, LstsqNoise, NnlsL2, NoSolver

from keras_spiking_nengo.engine.quick_builder import QuickBuilder
from tests.catalogue.loops import LOOPS
from tests.catalogue.networks import NETWORKS
from tests.marks import TAKES_TURNS

pytestmark = TAKES_TURNS


def built(net, builder=None, **options):
    model = Model(builder=builder, **options)
    model.build(net)
    return model


def assert_same(net, **options):
    expected, found = built(net), built(net, QuickBuilder(), **options)
    assert len(found.operators) == len(expected.operators)
    for ours, nengos in zip(found.operators, expected.operators, strict=True):
        assert type(ours) is type(nengos)
        for mine, other in zip(ours.all_signals, nengos.all_signals, strict=True):
            if mine.sparse:
                mine, other = (s.initial_value.toarray() for s in (mine, other))
            else:
                mine, other = mine.initial_value, other.initial_value
            np.testing.assert_array_equal(mine, other)
    for conn in net.all_connections:
        mine, other = found.params[conn], expected.params[conn]
        np.testing.assert_array_equal(mine.eval_points, other.eval_points)
        infos = [dict(p.solver_info or {}) for p in (mine, other)]
        assert infos[0].keys() == infos[1].keys()
        if "rmses" in infos[0]:
            np.testing.assert_array_equal(infos[0]["rmses"], infos[1]["rmses"])


@pytest.mark.parametrize("name", NETWORKS)
def test_networks(name):
    assert_same(NETWORKS[name]())


@pytest.mark.parametrize("name", LOOPS)
def test_loops(name):
    assert_same(LOOPS[name](40)[0])


def test_connections_of_all_kinds():
    points = np.random.RandomState(3).uniform(-1, 1, (30, 2))
    with nengo.Network(seed=2) as net:
        ens, wide = nengo.Ensemble(40, 2), nengo.Ensemble(90, 2, n_eval_points=50)
        out = nengo.Node(size_in=2)
        for pre in (ens, wide):
            nengo.Connection(pre, out)
            nengo.Connection(pre, out[0], function=lambda x: x[0] * x[1])
            nengo.Connection(pre[1], out[0], function=np.sin)
            nengo.Connection(pre, out[0], function=lambda x: max(x[0], 0))
            nengo.Connection(pre, out[:1], function=lambda x: (x[0] > 0) * 1)
            nengo.Connection(pre, out, function=lambda x: [float(x[0]), 1])
            nengo.Connection(pre, out, eval_points=points, function=np.square)
            nengo.Connection(pre, out, eval_points=points, function=points[::-1])
            nengo.Connection(pre, out, eval_points=nengo.dists.Uniform(-1, 1))
            for solver in (LstsqL2(reg=0.02), NnlsL2(), LstsqL2(True)):
                nengo.Connection(pre, wide, solver=solver)
            nengo.Connection(pre, out, solver=NoSolver(np.ones((pre.n_neurons, 2))))
        nengo.Connection(ens, wide, solver=LstsqNoise())
    assert_same(net)


def test_with_a_cache_that_nengo_filled(tmp_path):
    net = NETWORKS["controlled_oscillator"]()
    cache = DecoderCache(cache_dir=str(tmp_path))
    with cache:
        built(net, decoder_cache=cache)
    assert_same(net, decoder_cache=DecoderCache(cache_dir=str(tmp_path)))


def test_nothing_is_kept_once_it_is_built():
    builder = QuickBuilder()
    built(NETWORKS["integrator"](), builder)
    assert not builder._curves


def test_of_many_rates_the_last_are_kept(monkeypatch):
    monkeypatch.setattr("keras_spiking_nengo.engine.quick_builder._RATES_KEPT", 1)
    assert_same(NETWORKS["several_loops"]())


def network(function, **options):
    with nengo.Network(seed=0) as net:
        ens = nengo.Ensemble(10, 1, **options)
        nengo.Connection(ens, nengo.Node(size_in=1), function=function)
    return net


def test_errors_are_nengos():
    answers = iter([0.0, *[1.0] * 100])
    with pytest.raises(BuildError, match="returned None"):
        built(network(lambda x: next(answers) if x[0] == 0 else None), QuickBuilder())
    silent = network(np.sin, gain=[1.0] * 10, bias=[-50.0] * 10)
    with pytest.raises(BuildError, match="all zero"):
        built(silent, QuickBuilder())

    def fails(x):
        if x[0] != 0:
            raise ZeroDivisionError
        return 0.0

    with pytest.raises(ZeroDivisionError):
        built(network(fails), QuickBuilder())


class OwnSolver(LstsqL2):
    """A solver that its user has registered a builder for."""


def test_solvers_that_users_build(monkeypatch):
    calls = []

    def build_own(model, solver, conn, rng):
        calls.append(conn)
        return build_solver(model, solver, conn, rng)

    monkeypatch.setitem(Builder.builders, OwnSolver, build_own)
    net = network(np.sin)
    net.connections[0].solver = OwnSolver()
    assert_same(net)
    assert len(calls) == 2
