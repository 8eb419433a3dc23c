"""What probes show goes to a file, and is what memory would have held."""

import pickle

import h5py
import nengo
import numpy as np
import pytest
from nengo.exceptions import SimulatorClosed

import keras_spiking_nengo as ksn
from tests.marks import TAKES_TURNS

pytestmark = TAKES_TURNS

LENGTHS = (30, 1, 1, 70)


def network(n_neurons=20):
    with nengo.Network(seed=1) as net:
        ens = nengo.Ensemble(n_neurons, 2)
        nengo.Connection(ens, ens, synapse=0.05)
        nengo.Probe(ens, synapse=0.01, label="x")
        nengo.Probe(ens.neurons, sample_every=0.003)
        nengo.Probe(ens.neurons, label="x")
    return net


def simulator(net, **options):
    options = {"dtype": "float64", "progress_bar": False, "compile": False} | options
    return ksn.Simulator(net, **options)


def ran(sim, lengths=LENGTHS):
    for n_steps in lengths:
        sim.run_steps(n_steps)
    return [np.array(sim.data[probe]) for probe in sim.model.probes]


KINDS = {
    "stepped": {},
    "compiled": {"compile": True},
    "minibatch": {"compile": "auto", "minibatch_size": 2},
}


@pytest.mark.parametrize("kind", KINDS)
def test_has_what_memory_would_have(kind, tmp_path):
    path, net = tmp_path / "new" / "data.h5", network()
    with simulator(net, **KINDS[kind]) as sim:
        expected = ran(sim)
    with simulator(net, **KINDS[kind]) as sim:
        sim.record_to(path)
        found = ran(sim)
        assert sim.data.records == {probe: [] for probe in net.probes}
        of_one = expected[0][0] if kind == "minibatch" else expected[0]
        np.testing.assert_array_equal(sim.data.last(net.probes[0]), of_one[-1])
    for one, other, probe in zip(found, expected, net.probes, strict=True):
        assert np.any(other)
        np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(sim.data[probe], other)  # once it is closed, too
    with h5py.File(path) as file:
        assert set(file) == {"x", "probe_1", "x_2"}
        np.testing.assert_array_equal(file["x"][()], expected[0])
        assert file.attrs["dt"] == 0.001
        assert file["probe_1"].attrs["sample_every"] == 0.003


def test_is_up_to_date_while_it_runs(tmp_path):
    with simulator(network()) as sim:
        sim.record_to(tmp_path / "data.h5")
        sim.run_steps(7)
        copy = tmp_path / "copy.h5"
        copy.write_bytes((tmp_path / "data.h5").read_bytes())
        with h5py.File(copy) as file:
            np.testing.assert_array_equal(file["x"][()], sim.data[sim.model.probes[0]])


@pytest.mark.parametrize("first", [0, 5])
def test_stopped_in_the_middle_it_goes_on_as_one_file(first, tmp_path):
    net = network()
    with simulator(net) as sim:
        expected = ran(sim, [first + 60])
    path, state = tmp_path / "data.h5", tmp_path / "state.npz"
    with simulator(net) as sim:
        if first:
            sim.run_steps(first)
        sim.record_to(path)
        sim.run_steps(20)
        sim.save_state(state)
        sim.run_steps(13)  # which is lost
    with simulator(net) as sim:
        sim.load_state(state)
        sim.record_to(path, append=True)
        found = ran(sim, [40])
    starts = [first, first // 3, first]
    for one, other, start in zip(found, expected, starts, strict=True):
        np.testing.assert_array_equal(one, other[start:])


def test_ends_with_a_reset_which_leaves_the_file(tmp_path):
    net = network()
    with simulator(net) as sim:
        sim.record_to(tmp_path / "data.h5")
        ran(sim, [20])
        sim.reset()
        sim.run_steps(5)
        assert sim.data[net.probes[0]].shape == (5, 2)
    with h5py.File(tmp_path / "data.h5") as file:
        assert file["x"].shape == (20, 2)


# --- what is refused ------------------------------------------------------------------


def test_a_file_that_is_there_is_kept(tmp_path):
    path = tmp_path / "data.h5"
    path.write_text("mine")
    with simulator(network()) as sim:
        with pytest.raises(FileExistsError, match="append=True"):
            sim.record_to(path)
        with pytest.raises(ValueError, match="no HDF5 file"):
            sim.record_to(path, append=True)
        with pytest.raises(FileNotFoundError):
            sim.record_to(tmp_path / "none.h5", append=True)
        with pytest.raises(ValueError, match="append"):
            sim.record_to(tmp_path / "new.h5", append="yes")
        sim.run_steps(3)
        assert sim.data[sim.model.probes[0]].shape == (3, 2)
    assert path.read_text() == "mine"


def external(file):
    del file["x"]
    file["x"] = h5py.ExternalLink("/etc/passwd", "x")


def elsewhere(file):
    del file["x"]
    file.create_dataset(
        "x", (20, 2), "f8", external=[("other.bin", 0, h5py.h5f.UNLIMITED)]
    )


def group(file):
    del file["x"]
    file.create_group("x")


@pytest.mark.parametrize("change", [external, elsewhere, group, lambda f: f.pop("x")])
def test_a_file_of_something_else_is_refused(change, tmp_path):
    path, net = tmp_path / "data.h5", network()
    with simulator(net) as sim:
        sim.record_to(path)
        sim.run_steps(20)
    with h5py.File(path, "r+") as file:
        change(file)
    with simulator(net) as sim:
        sim.run_steps(20)
        with pytest.raises(ValueError, match="no data of this network: no 'x'"):
            sim.record_to(path, append=True)


def test_data_of_another_network_or_other_steps_are_refused(tmp_path):
    path = tmp_path / "data.h5"
    with simulator(network()) as sim:
        sim.run_steps(3)
        sim.record_to(path)
        sim.run_steps(20)
    with simulator(network(21)) as sim:
        sim.run_steps(20)
        with pytest.raises(ValueError, match="no data of this network"):
            sim.record_to(path, append=True)
    for n_steps in (2, 24):
        with simulator(network()) as sim:
            sim.run_steps(n_steps)
            with pytest.raises(ValueError, match=f"up to {n_steps} are missing"):
                sim.record_to(path, append=True)


def test_what_a_file_has_is_not_cut_and_not_pickled(tmp_path):
    net = network()
    sim = simulator(net)
    sim.record_to(tmp_path / "data.h5")
    sim.run_steps(3)
    with pytest.raises(NotImplementedError, match="data.h5"):
        del sim.data.raw[net.probes[0]][:2]
    with pytest.raises(TypeError, match="save_state"):
        pickle.dumps(sim)
    sim.close()
    with pytest.raises(SimulatorClosed):
        sim.record_to(tmp_path / "other.h5")
