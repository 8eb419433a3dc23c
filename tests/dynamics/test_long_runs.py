"""Ten million steps in single precision, beside double precision: what drifts.

    pytest -m slow tests/dynamics/test_long_runs.py

`KSN_STEPS` is the number of steps. Currents are constant, so that errors of rounding do
not cancel.
"""

import os

import nengo
import numpy as np
import pytest
from keras import ops

import keras_spiking_nengo as ksn
from keras_spiking_nengo.dynamics.folding import folded, unfold
from keras_spiking_nengo.dynamics.loops import compiled, precision, scan
from keras_spiking_nengo.dynamics.neurons import neuron, timed
from keras_spiking_nengo.dynamics.surrogates import Arctan

STEPS = int(os.environ.get("KSN_STEPS", 10_000_000))
BLOCK = 10_000
DT = 0.001
CURRENTS = np.array([[1.01, 1.7, 3.3, 7.1, 19.9, 33.3]])

pytestmark = pytest.mark.slow


def run(dynamics, dtype, steps=STEPS):
    """Spikes of each neuron, and its states, after so many steps."""
    constants = dynamics.constants(dynamics.parameters, DT)
    spike = Arctan().plain()

    def step(c, x, s):
        y, *state = s
        sent, state = dynamics.step(c, x, list(state), spike)
        return sent[:, :1], [y + ops.cast(sent > 0, "int32"), *state]

    def block(x, counts, state):
        return scan(step, constants, x, [counts, *state], save=False)[1]

    with precision(dtype):
        x = ops.convert_to_tensor(np.tile(CURRENTS[:, None], (1, BLOCK, 1)), dtype)
        zeros = ops.zeros_like(x[:, 0])
        starts = {"refractory": ops.ones_like(zeros)}
        counts = ops.cast(zeros, "int32")
        state = [starts.get(name, zeros) for name in dynamics.states]
        advance = compiled(block)
        for _ in range(steps // BLOCK):
            counts, *state = advance(x, counts, state)
        return tuple(map(ops.convert_to_numpy, (counts, *state)))


KINDS = {
    "LIF": lambda: neuron(nengo.LIF()),
    "LIF, timed": lambda: timed(neuron(nengo.LIF())),
    "AdaptiveLIF": lambda: neuron(nengo.AdaptiveLIF()),
    "SpikingRectifiedLinear": lambda: neuron(nengo.SpikingRectifiedLinear()),
    "RegularSpiking": lambda: neuron(nengo.RegularSpiking(nengo.LIFRate())),
    "IntegrateAndFire": lambda: neuron(ksn.types.IntegrateAndFire(tau_mem=0.02)),
}


@pytest.mark.parametrize("name", KINDS)
def test_spikes_of_ten_million_steps(name):
    """Rates are off by no more than the rounding of a period: some 1e-6 of them."""
    single, *states = run(KINDS[name](), "float32")
    double, *_ = run(KINDS[name](), "float64")
    off = np.abs(single - double)
    print(f"\n{name}: {double.tolist()} spikes, off by {off.tolist()}")
    assert double[0, 1:].min() > 0
    assert np.all(off <= 1 + 2e-6 * double)
    assert all(np.all(np.isfinite(state)) for state in states)


def test_a_membrane_in_one_array_is_the_one_in_two():
    lif = neuron(nengo.LIF())
    two, voltage, clock = run(lif, "float32", STEPS // 10)
    one, membrane = run(folded(lif), "float32", STEPS // 10)
    np.testing.assert_array_equal(one, two)
    with precision("float32"):
        np.testing.assert_array_equal(unfold(membrane)[0], voltage)
    assert np.all(clock >= 1)


def test_time_goes_on_in_double_precision():
    """What Python is told, and `sim.time`, after ten million steps of single ones."""
    seen = []
    with nengo.Network() as net:
        u = nengo.Node([1.0])
        node = nengo.Node(lambda t, x: seen.append(t), size_in=1)
        nengo.Connection(u, node, synapse=None)
        probe = nengo.Probe(u, sample_every=1000 * DT)
    with ksn.Simulator(net, progress_bar=False) as sim:
        seen.clear()  # of what Nengo tried when the node was made
        sim._n_steps = STEPS - 2000
        sim.run_steps(2000)
        assert sim.time == STEPS * DT
        assert len(sim.data[probe]) == 2
    expected = np.arange(STEPS - 1999, STEPS + 1) * DT
    np.testing.assert_array_equal(seen, expected)
