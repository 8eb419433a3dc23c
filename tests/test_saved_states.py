"""A simulation goes on from a file as if nothing had happened."""

import io
import json
import pickle
import subprocess
import sys
import zipfile

import nengo
import numpy as np
import pytest
from nengo.exceptions import SimulatorClosed

import keras_spiking_nengo as ksn
from tests.conftest import BACKEND
from tests.marks import TAKES_TURNS

pytestmark = TAKES_TURNS

BEFORE, AFTER = 40, 33


def wave(t):
    return np.sin(20 * t)


def nothing(x):
    return 0


def learning():
    with nengo.Network(seed=1) as net:
        source = nengo.Node(wave)
        ens = nengo.Ensemble(30, 1)
        read = nengo.Node(size_in=1)
        nengo.Connection(source, ens)
        conn = nengo.Connection(
            ens, read, function=nothing, learning_rule_type=nengo.PES(1e-3)
        )
        nengo.Connection(read, conn.learning_rule)
        nengo.Connection(source, conn.learning_rule, transform=-1)
        nengo.Probe(ens.neurons)
        nengo.Probe(read, synapse=0.01)
    return net


def noisy():
    """Random processes with and without a memory, some of them without a seed."""
    with nengo.Network(seed=1) as net:
        white = nengo.Node(nengo.processes.WhiteNoise(default_size_out=1))
        filtered = nengo.Node(nengo.processes.FilteredNoise(default_size_out=1, seed=3))
        ens = nengo.Ensemble(30, 1, noise=nengo.processes.WhiteNoise())
        nengo.Connection(white, ens, synapse=0.03)
        nengo.Connection(filtered, ens)
        nengo.Probe(ens.neurons)
    return net


def stochastic():
    with nengo.Network(seed=1) as net:
        for kind in (nengo.StochasticSpiking, nengo.PoissonSpiking):
            ens = nengo.Ensemble(20, 1, neuron_type=kind(nengo.LIFRate()))
            nengo.Connection(ens, ens)
            nengo.Probe(ens.neurons)
    return net


def with_python():
    with nengo.Network(seed=1) as net:
        ens = nengo.Ensemble(20, 1)
        noise = nengo.Node(nengo.processes.WhiteNoise(default_size_out=1))
        node = nengo.Node(lambda t, x: np.cos(x + t), size_in=1)
        nengo.Connection(ens, node)
        nengo.Connection(node, ens, synapse=None)
        nengo.Connection(noise, ens)
        nengo.Probe(ens.neurons)
        nengo.Probe(node)
    return net


NETWORKS = {f.__name__: f for f in (learning, noisy, stochastic, with_python)}
KINDS = {
    "compiled": {"compile": True},
    "stepped": {"compile": False},
    "minibatch": {"minibatch_size": 2, "independent_noise": True},
}


def simulator(net, **options):
    options = {"dtype": "float64", "progress_bar": False, "compile": True} | options
    return ksn.Simulator(net, **options)


def shown(sim, steps):
    sim.run_steps(steps)
    return [np.array(sim.data[probe]) for probe in sim.model.probes]


@pytest.fixture
def saved(tmp_path):
    """A state, and the network that it is of."""
    net = learning()
    with simulator(net, compile=False) as sim:
        sim.run_steps(BEFORE)
        sim.save_state(tmp_path / "state.npz")
    return net, tmp_path / "state.npz"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NETWORKS)
def test_goes_on_with_equal_spikes(name, kind, tmp_path):
    net, options = NETWORKS[name](), KINDS[kind]
    if kind == "minibatch":
        options = {**options, "compile": "auto"}
    with simulator(net, seed=5, **options) as sim:
        sim.run_steps(BEFORE)
        sim.save_state(tmp_path / "state.npz")
        sim.clear_probes()
        expected = shown(sim, AFTER)
    with simulator(net, seed=6, **options) as again:
        again.run_steps(3)
        again.load_state(tmp_path / "state.npz")
        assert again.n_steps == BEFORE and again.seed == 5
        found = shown(again, AFTER)
        assert again.n_steps == BEFORE + AFTER
    for one, other in zip(found, expected, strict=True):
        assert np.any(other)
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("way", ["state", "pickle"])
def test_of_single_steps_it_is_compiled_as_soon_as_that_pays(way, tmp_path):
    net = learning()
    with simulator(net, compile="auto") as sim:
        sim.run_steps(BEFORE)
        assert not sim.plan().compiled
        sim.save_state(tmp_path / "state.npz")
        kept = pickle.dumps(sim)
        sim.clear_probes()
        expected = shown(sim, 60)
    again = simulator(net, compile="auto") if way == "state" else pickle.loads(kept)
    with again:
        if way == "state":
            again.load_state(tmp_path / "state.npz")
        again.clear_probes()
        again.run_steps(10)
        again._runner._compile()  # as before a long run
        assert again.plan().compiled
        found = shown(again, 50)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)


@pytest.mark.slow
def test_goes_on_in_another_process(tmp_path):
    program = (
        "import sys, numpy as np; from tests.test_saved_states import *;"
        "sim = simulator(learning()); exec(sys.argv[1]);"
    )
    save = "sim.run_steps(40); sim.save_state(sys.argv[2] + '/state.npz')"
    load = "sim.load_state(sys.argv[2] + '/state.npz');"
    load += "np.save(sys.argv[2] + '/y.npy', shown(sim, 33)[0]); sim.close()"
    for what in (save, load):
        command = [sys.executable, "-W", "ignore", "-c", program, what, str(tmp_path)]
        subprocess.run(command, check=True)
    with simulator(learning()) as sim:
        whole = shown(sim, BEFORE + AFTER)[0]
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), whole[BEFORE:])


def test_killed_in_the_middle_it_goes_on_equal(tmp_path):
    """Of a run that saves every few steps, only the last file is there."""
    net = learning()
    with simulator(net) as sim:
        whole = shown(sim, 100)
    with simulator(net) as sim:
        for _ in range(3):
            sim.run_steps(20)
            sim.save_state(tmp_path / "state.npz")
        sim.run_steps(7)  # and then it is gone
    with simulator(net) as sim:
        sim.load_state(tmp_path / "state.npz")
        for one, other in zip(shown(sim, 40), whole, strict=True):
            np.testing.assert_allclose(one, other[60:], rtol=1e-12, atol=1e-14)


# --- what is refused ------------------------------------------------------------------


class Counter:
    def __init__(self):
        self.count = 0

    def __call__(self, t):
        self.count += 1
        return self.count


def test_what_python_remembers_is_said_not_to_be_there(tmp_path):
    with nengo.Network(seed=0) as net:
        nengo.Probe(nengo.Node(Counter(), label="counter"))
    with simulator(net, compile=False) as sim:
        sim.run_steps(3)
        with pytest.warns(UserWarning, match="remember is not saved: .*counter"):
            sim.save_state(tmp_path / "state.npz")


OTHERS = {
    "network": (lambda: noisy(), {}),
    "weights": (lambda: seeded(2), {}),
    "dt": (learning, {"dt": 0.002}),
    "dtype": (learning, {"dtype": "float32"}),
    "minibatch_size": (learning, {"minibatch_size": 2, "compile": "auto"}),
    "optimize": (learning, {"optimize": False}),
}


def seeded(seed):
    net = learning()
    net.seed = seed
    return net


@pytest.mark.parametrize("name", OTHERS)
def test_of_another_simulator_it_is_refused(name, saved):
    make, options = OTHERS[name]
    words = "another network" if name in ("network", "weights") else name
    with simulator(make(), **{"compile": False} | options) as sim:
        with pytest.raises(ValueError, match=words):
            sim.load_state(saved[1])
        assert sim.n_steps == 0
        sim.run_steps(2)


def test_of_steps_in_numpy_a_compiled_one_does_not_go_on(tmp_path):
    net = learning()
    with simulator(net, compile=False) as sim:
        sim.save_state(tmp_path / "state.npz")
    with simulator(net) as sim, pytest.raises(ValueError, match="steps in NumPy"):
        sim.load_state(tmp_path / "state.npz")


def changed(path, name, make):
    """Puts other bytes in the place of one file in the archive."""
    with zipfile.ZipFile(path) as archive:
        files = {n: archive.read(n) for n in archive.namelist()}
    files[name] = make(files[name])
    with zipfile.ZipFile(path, "w") as archive:
        for n, content in files.items():
            archive.writestr(n, content)


def other_notes(**other):
    def make(content):
        notes = json.loads(np.load(io.BytesIO(content)).tobytes()) | other
        return array(np.frombuffer(json.dumps(notes).encode(), np.uint8))

    return make


def array(values, **options):
    file = io.BytesIO()
    np.save(file, values, **options)
    return file.getvalue()


def huge(content):
    """A header that claims a terabyte."""
    file = io.BytesIO()
    header = {"descr": "|u1", "fortran_order": False, "shape": (2**40,)}
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue()


CHANGES = {
    "cut off": (lambda path: path.write_bytes(path.read_bytes()[:-100]), "no state"),
    "empty": (lambda path: path.write_bytes(b""), "no state"),
    "text": (lambda path: path.write_text("spikes"), "no state"),
    "a number": (
        lambda path: changed(
            path, "array_0.npy", lambda c: c[:-1] + bytes([c[-1] ^ 1])
        ),
        "changed after it was written",
    ),
    "a shape": (
        lambda path: changed(path, "array_0.npy", lambda _: array(np.zeros(3))),
        "should not be",
    ),
    "an object": (
        lambda path: changed(
            path, "array_0.npy", lambda _: array(np.array([print]), allow_pickle=True)
        ),
        "should not be",
    ),
    "huge": (lambda path: changed(path, "array_0.npy", huge), "should not be"),
    "huge notes": (lambda path: changed(path, "about.npy", huge), "should not be"),
    "one more": (
        lambda path: zipfile.ZipFile(path, "a").writestr("array_99.npy", b""),
        "arrays",
    ),
    "a list": (
        lambda path: changed(
            path, "about.npy", lambda _: array(np.frombuffer(b"[1, 2]", np.uint8))
        ),
        "no state",
    ),
    "deep": (
        lambda path: changed(
            path, "about.npy", lambda _: array(np.full(15_000, ord("["), np.uint8))
        ),
        "no state",
    ),
    "a version": (
        lambda path: changed(path, "about.npy", other_notes(format=99)),
        "later version",
    ),
    "n_steps": (
        lambda path: changed(path, "about.npy", other_notes(n_steps=-1)),
        "n_steps=-1",
    ),
    "seed": (
        lambda path: changed(path, "about.npy", other_notes(seed="a")),
        "seed='a'",
    ),
    "a large seed": (
        lambda path: changed(path, "about.npy", other_notes(seed=2**40)),
        "seed is",
    ),
    "compiled": (
        lambda path: changed(path, "about.npy", other_notes(compiled=1)),
        "compiled=1",
    ),
    "form": (
        lambda path: changed(path, "about.npy", other_notes(form="")),
        "compile=True",
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_was_changed_is_refused(name, saved):
    net, path = saved
    change, words = CHANGES[name]
    change(path)
    with simulator(net, compile=False) as sim:
        with pytest.raises(ValueError, match=words):
            sim.load_state(path)
        sim.run_steps(2)
        assert sim.n_steps == 2


def test_a_closed_simulator_has_none(saved):
    net, path = saved
    sim = simulator(net, compile=False)
    sim.close()
    with pytest.raises(SimulatorClosed):
        sim.save_state(path)
    with pytest.raises(SimulatorClosed):
        sim.load_state(path)


def test_a_missing_file_is_the_systems_error(saved, tmp_path):
    with simulator(saved[0], compile=False) as sim, pytest.raises(FileNotFoundError):
        sim.load_state(tmp_path / "none.npz")


@pytest.mark.skipif(BACKEND == "torch", reason="has no other one here")
def test_trained_weights_are_not_in_it_but_it_knows_them(saved, tmp_path):
    net, path = saved
    with simulator(net, compile=False) as sim:
        sim.compile("sgd", "mse")
        sim.keras_model.get_weights()
        weights = [1.5 * w for w in sim.keras_model.get_weights()]
        sim.keras_model.set_weights(weights)
        with pytest.raises(ValueError, match="other weights"):
            sim.load_state(path)
