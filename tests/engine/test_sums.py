"""Many connections into one signal are added up, in room that grows with them.

Not with their square: of 4,000 neurons with 12 inputs, that is 1.5 GB of zeros."""

import nengo
import numpy as np
import pytest

import keras_spiking_nengo as ksn
from keras_spiking_nengo.engine import sums
from tests.engine.runs import program_of
from tests.marks import TAKES_TURNS
from tests.simulated import by_nengo

pytestmark = TAKES_TURNS

MANY = 15


def crowd(form):
    """Many ensembles that drive all neurons of one, or only a few of them."""
    size = {"rows": 30, "matrix": 30, "scattered": 300}[form]
    with nengo.Network(seed=0) as net:
        hub = nengo.Ensemble(size, 1, gain=np.ones(size), bias=np.ones(size))
        for i in range(MANY):
            source = nengo.Node(lambda t, i=i: np.sin(9 * t + i))
            part = slice(None) if form == "rows" else slice(i % 3, 3)
            weights = np.linspace(-1, 2, len(range(size)[part]))[:, None]
            nengo.Connection(source, hub.neurons[part], transform=weights)
        nengo.Probe(hub.neurons, "input")
        nengo.Probe(hub.neurons, "voltage")
    return net


def total(net):
    return max(
        (op for op in program_of(net).operations if isinstance(op, sums.Sum)),
        key=lambda op: len(op.parts),
    )


@pytest.mark.parametrize("form", ["rows", "matrix", "scattered"])
def test_many_terms_are_what_nengo_adds_up(form, monkeypatch):
    if form == "scattered":
        monkeypatch.setattr(sums, "_LARGEST_MATRIX", 1000)
    net = crowd(form)
    assert total(net).many == form
    options = {"seed": 7, "dtype": "float64", "progress_bar": False}
    for batch in (1, 2):
        with ksn.Simulator(net, compile=True, minibatch_size=batch, **options) as sim:
            sim.run_steps(20)
            found = {probe: sim.data[probe] for probe in net.probes}
        for probe, expected in by_nengo(net).items():
            for item in np.reshape(found[probe], (batch, *expected.shape)):
                np.testing.assert_allclose(item, expected, atol=1e-12)
