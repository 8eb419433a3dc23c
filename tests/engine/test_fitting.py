"""A network that cannot fit is refused before it is built."""

import nengo
import numpy as np
import pytest

import keras_spiking_nengo as ksn
from keras_spiking_nengo.engine import fitting
from tests.catalogue.networks import NETWORKS
from tests.marks import TAKES_TURNS

pytestmark = TAKES_TURNS

LARGE = 100_000


def ensemble(**options):
    return nengo.Ensemble(options.pop("n", LARGE), 2, **options)


def decoded():
    nengo.Connection(ensemble(), nengo.Node(size_in=2))


def between_neurons():
    nengo.Connection(
        ensemble().neurons, ensemble().neurons, transform=nengo.dists.Uniform(0, 1)
    )


def solved_weights():
    points = np.zeros((10, 2))
    solver = nengo.solvers.LstsqL2(weights=True)
    nengo.Connection(ensemble(eval_points=points), ensemble(), solver=solver)


def many_dimensions():
    nengo.Ensemble(LARGE, 1_000_000, n_eval_points=10)


@pytest.mark.parametrize(
    ("fill", "kind", "way"),
    [
        (decoded, "320.0 GB for evaluation points and rates", "NoSolver"),
        (between_neurons, "80.0 GB for weights", "nengo.Sparse"),
        (solved_weights, "80.0 GB for weights", "weights=True"),
        (many_dimensions, "1.6 TB for encoders", "EnsembleArray"),
    ],
)
def test_what_takes_the_room_is_said(monkeypatch, fill, kind, way):
    monkeypatch.setattr(fitting, "_machine_bytes", lambda: 32 * 10**9)
    with nengo.Network(label="large", seed=0) as net:
        fill()
        nengo.Probe(net.all_ensembles[0].neurons)
    for build in (ksn.Simulator, ksn.from_nengo):
        with pytest.raises(MemoryError, match="this machine has 32.0 GB") as caught:
            build(net)
        assert kind in str(caught.value)
        assert way in str(caught.value)
        assert '"large"' in str(caught.value)


def test_copies_count(monkeypatch):
    monkeypatch.setattr(fitting, "_machine_bytes", lambda: 10**9)
    with nengo.Network(seed=0) as net:
        ensemble()
    ksn.Simulator(net, progress_bar=False).close()
    with pytest.raises(MemoryError, match="a smaller minibatch_size"):
        ksn.Simulator(net, progress_bar=False, minibatch_size=4096)


@pytest.mark.parametrize("name", NETWORKS)
def test_no_more_is_counted_than_nengo_builds(name):
    """What is built takes at least as much, so that nothing is refused that fits."""
    net = NETWORKS[name]()
    model = nengo.builder.Model()
    model.build(net)
    bases = {signal.base for op in model.operators for signal in op.all_signals}
    size = sum(base.initial_value.nbytes for base in bases if not base.sparse)
    for built in model.params.values():
        for array in built if isinstance(built, tuple) else ():
            size += array.nbytes if isinstance(array, np.ndarray) else 0
    needed = fitting._needed(net, 1)
    most = max(
        (fitting._weights_and_rates(c)[1] for c in net.all_connections), default=0
    )
    assert sum(needed.values()) - 8 * most <= size


def test_what_is_small_fits_and_unknown_memory_is_no_reason(monkeypatch):
    assert fitting._machine_bytes() > 10**8
    monkeypatch.setattr(fitting, "_machine_bytes", lambda: None)
    with nengo.Network(seed=0) as net:
        decoded()
    fitting.check_memory(net)


def test_solvers_that_solve_nothing_need_no_rates():
    with nengo.Network(seed=0) as net:
        solver = nengo.solvers.NoSolver(np.zeros((LARGE, 2)))
        nengo.Connection(ensemble(), nengo.Node(size_in=2), solver=solver)
    assert sum(fitting._needed(net, 1).values()) < 10**8
