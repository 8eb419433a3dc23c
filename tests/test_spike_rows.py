"""What probes of many neurons show is kept as bytes, and is what nengo shows."""

import pickle

import h5py
import nengo
import numpy as np
import pytest
from keras import ops

import keras_spiking_nengo as ksn
from keras_spiking_nengo.dynamics.bits import bits, unpacked
from keras_spiking_nengo.simulator import spike_rows
from keras_spiking_nengo.simulator.spike_rows import SpikeRows
from tests.marks import TAKES_TURNS
from tests.simulated import by_nengo

pytestmark = TAKES_TURNS

OPTIONS = {"progress_bar": False, "seed": 7}


@pytest.fixture(autouse=True)
def _few_are_many(monkeypatch):
    monkeypatch.setattr(spike_rows, "_MANY_SPIKES", 5)


def neurons(neuron_type=None, **kwargs):
    """An ensemble with a moving input, and a probe of its neurons."""
    with nengo.Network(seed=3) as net:
        node = nengo.Node(lambda t: np.sin(20 * t))
        ens = nengo.Ensemble(40, 1, neuron_type=neuron_type or nengo.LIF(amplitude=0.3))
        nengo.Connection(node, ens)
        net.shown = nengo.Probe(ens.neurons[3:33], **kwargs)
    return net


def records(sim, net):
    return sim.data.records[net.shown]


@pytest.mark.parametrize("compile", [True, "auto", False])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("sample_every", [None, 0.003])
def test_they_are_numbers_for_whoever_reads(compile, dtype, sample_every):
    net = neurons(sample_every=sample_every)
    expected = by_nengo(net, steps=90, optimize=False)[net.shown]
    with ksn.Simulator(net, dtype=dtype, compile=compile, **OPTIONS) as sim:
        sim.run_steps(37)
        if compile is True or sample_every is None:
            assert all(isinstance(rows, SpikeRows) for rows in records(sim, net))
        sim.run_steps(20)
        sim.step()
        first = np.array(sim.data[net.shown])
        sim.run_steps(32)
        assert len(sim.data.raw[net.shown]) == len(expected)
    shown = sim.data[net.shown]
    assert shown.dtype == dtype
    np.testing.assert_array_equal(shown, expected.astype(dtype))
    np.testing.assert_array_equal(first, shown[: len(first)])
    assert shown.any()


@pytest.mark.parametrize("compile", [True, "auto"])
def test_pickles_and_files_have_them(compile, tmp_path):
    net = neurons()
    net.nodes[0].output = [0.6]
    expected = by_nengo(net, steps=60)[net.shown]
    with ksn.Simulator(net, dtype="float64", compile=compile, **OPTIONS) as sim:
        sim.run_steps(60)
        copied = pickle.loads(pickle.dumps(sim))
        (probe,) = copied.model.probes
        np.testing.assert_array_equal(copied.data[probe], expected)
        sim.reset()
        sim.record_to(tmp_path / "data.h5")
        sim.run_steps(60)
        name = sim.data.file.names[net.shown]
    with h5py.File(tmp_path / "data.h5") as file:
        np.testing.assert_array_equal(file[name][:], expected)


def test_a_minibatch_has_them():
    net = neurons(nengo.AdaptiveLIF())
    expected = by_nengo(net, steps=70)[net.shown]
    with ksn.Simulator(net, dtype="float64", minibatch_size=2, **OPTIONS) as sim:
        sim.run_steps(30)
        assert records(sim, net)[0].shape == (2, 30, 30)
        sim.run_steps(40)
    for item in sim.data[net.shown]:
        np.testing.assert_array_equal(item, expected)
    sim.data.cut(net.shown, slice(0, 60))
    assert sim.data[net.shown].shape == (2, 10, 30)


@pytest.mark.parametrize(
    ("neuron_type", "options"),
    [
        (nengo.LIFRate(), {}),
        (nengo.PoissonSpiking(nengo.LIFRate()), {}),
        (nengo.LIF(), {"synapse": 0.01}),
        (nengo.LIF(), {"attr": "voltage"}),
    ],
    ids=str,
)
def test_other_numbers_are_kept_as_they_are(neuron_type, options):
    net = neurons(neuron_type)
    with net:
        net.shown = nengo.Probe(net.ensembles[0].neurons, **options)
    for compile in (True, "auto"):
        with ksn.Simulator(net, compile=compile, **OPTIONS) as sim:
            sim.run_steps(20)
        assert all(isinstance(rows, np.ndarray) for rows in records(sim, net))


@pytest.mark.parametrize("size", [1, 7, 8, 9, 64, 1001])
def test_eight_are_a_byte(size):
    spikes = np.random.default_rng(size).random((2, 3, size)) < 0.5
    packed = ops.convert_to_numpy(bits(ops.convert_to_tensor(spikes)))
    assert packed.dtype == "uint8"
    assert packed.shape == (2, 3, -(-size // 8))
    np.testing.assert_array_equal(unpacked(packed, size), spikes)
    rows = SpikeRows(packed, np.float32(2.0), size)
    assert rows.shape == spikes.shape
    np.testing.assert_array_equal(np.asarray(rows[1, 1:]), 2 * spikes[1, 1:])


def test_an_array_is_never_shared():
    rows = SpikeRows(np.eye(3, dtype=bool), np.float32(2.0))
    np.testing.assert_array_equal(np.asarray(rows), 2 * np.eye(3))
    assert np.asarray(rows).dtype == "float32"
    assert np.asarray(rows, "float64").dtype == "float64"
    assert rows[0].shape == (3,)
    with pytest.raises(ValueError, match="no array to share"):
        np.array(rows, copy=False)
