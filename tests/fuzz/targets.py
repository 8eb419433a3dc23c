"""What is fuzzed: valid inputs by name, and what is done with those that were changed.

Each reader takes a changed input and lets through the errors that it may not raise.
"""

import json
import shutil
import tempfile
import zipfile
from functools import cache
from pathlib import Path

import h5py
import keras
import nengo
import numpy as np

import keras_spiking_nengo as ksn
from keras_spiking_nengo import serialization
from keras_spiking_nengo.serving.saved_model import write_manifest
from tests.cases import NEURONS, SYNAPSES, TRANSFORMS
from tests.fuzz.mutations import apply

K, L = ksn.layers, keras.layers


def plain(value):
    return json.loads(json.dumps(value))


def encoded(cases):
    return {name: plain(serialization.to_config(case)) for name, case in cases.items()}


# --- Nengo's objects ---------------------------------------------------------------

_PROCESSES = {
    "piecewise": nengo.processes.Piecewise({0: 1.0, 0.5: [2.0]}),
    "signal": nengo.processes.WhiteSignal(1.0, 5.0, seed=0),
    "noise": nengo.processes.FilteredNoise(nengo.Alpha(0.1), seed=0),
    "input": nengo.processes.PresentInput(np.eye(3), 0.1),
    "pdf": nengo.dists.PDF([0.0, 1.0], [0.5, 0.5]),
    "samples": nengo.dists.Samples(np.ones((2, 2))),
    "subvector": nengo.dists.SubvectorLength(8, 2),
    "cosine": nengo.dists.CosineSimilarity(3),
    "choice": nengo.dists.Choice([[1.0], [-1.0]], [0.5, 0.5]),
    "drop": nengo.solvers.LstsqDrop(),
    "none": nengo.solvers.NoSolver(np.ones((3, 2))),
    "pes": nengo.PES(1e-4),
    "voja": nengo.Voja(),
    "dict": {1: "a", (1, 2): np.float32(2), "b": [np.arange(3), None, 1.5]},
}


@cache
def codec():
    """Encoded objects, by name."""
    cases = {**_PROCESSES}
    for group in (NEURONS, SYNAPSES, TRANSFORMS):
        for name, case in group.items():
            try:
                cases[f"{name}: {type(case).__name__}"] = case
                serialization.to_config(case)
            except TypeError:
                del cases[f"{name}: {type(case).__name__}"]
    return encoded(cases)


def read_codec(name, changes):
    config = apply(codec()[name], changes)
    try:
        value = serialization.from_config(config)
    except ValueError:
        return
    json.dumps(serialization.to_config(value))


# --- frozen networks ---------------------------------------------------------------


def _feedback():
    with nengo.Network(seed=0) as net:
        source = nengo.Node(np.zeros(2), label="in")
        noise = nengo.Node(nengo.processes.WhiteSignal(0.1, 50, seed=0), size_out=2)
        with nengo.Network(label="inner"):
            a = nengo.Ensemble(8, 2, noise=nengo.processes.WhiteNoise(seed=1))
        b = nengo.Ensemble(6, 1, neuron_type=nengo.AdaptiveLIF())
        nengo.Connection(source, a)
        nengo.Connection(noise[0], a[1], synapse=nengo.Alpha(0.01))
        nengo.Connection(a, a, synapse=0.1, transform=[[0, 1], [-1, 0]])
        nengo.Connection(a[0], b, function=lambda x: x**2)
        nengo.Connection(b.neurons, a.neurons[:6], transform=0.1)
        nengo.Probe(a, synapse=0.01, label="a")
        nengo.Probe(b.neurons, label="spikes")
    return net


def _learning():
    with nengo.Network(seed=0) as net:
        source = nengo.Node([0.0], label="in")
        pre = nengo.Ensemble(8, 1)
        post = nengo.Node(size_in=1)
        direct = nengo.Ensemble(1, 1, neuron_type=nengo.Direct())
        nengo.Connection(source, pre, learning_rule_type=nengo.Voja())
        taught = nengo.Connection(pre, post, learning_rule_type=nengo.PES())
        nengo.Connection(post, taught.learning_rule, transform=-1)
        nengo.Connection(post, direct, synapse=nengo.Triangle(0.005))
        sparse = nengo.Sparse((2, 1), indices=[(0, 0), (1, 0)], init=[1.0, 2.0])
        both = nengo.Node(size_in=2)
        nengo.Connection(direct, both, transform=sparse)
        nengo.Probe(both, sample_every=0.002)
    return net


def _images():
    with nengo.Network(seed=0) as net:
        source = nengo.Node(np.zeros(16), label="in")
        conv = nengo.Convolution(2, (4, 4, 1), kernel_size=(2, 2))
        post = nengo.Ensemble(18, 1, neuron_type=nengo.RectifiedLinear())
        nengo.Connection(source, post.neurons, transform=conv)
        nengo.Probe(post.neurons)
    return net


_LAYERS = {
    "feedback": lambda: K.Network(_feedback()),
    "learning": lambda: K.Network(_learning()),
    "images": lambda: K.Network(_images()),
    "ensemble": lambda: K.Ensemble(7, 2, recurrent=True, seed=0),
}


@cache
def _configuration(name):
    return plain(_LAYERS[name]().get_config())


def read_network(name, changes):
    config = apply(_configuration(name), changes)
    config = config if isinstance(config, dict) else {"net": config}
    cls = K.Ensemble if name == "ensemble" else K.Network
    try:
        layer = cls.from_config(config)
    except (ValueError, TypeError, NotImplementedError):
        return
    json.dumps(layer.get_config())


# --- .keras files ------------------------------------------------------------------


_STEPS = {"return_sequences": True}
_STACKS = {
    "neurons": lambda: [L.Dense(4), K.Neurons("lif", seed=0, **_STEPS)],
    "synapse": lambda: [K.Synapse(nengo.Alpha(0.01), delay=0, **_STEPS)],
    "trained": lambda: [K.Synapse(0.1, trainable_parameters={"tau": "unit"})],
    "lmu": lambda: [K.LMU(1, 4, 8.0, L.Dense(3))],
    "delay": lambda: [K.Delay(0.002, **_STEPS), K.PerStep(L.Dense(2))],
    "transform": lambda: [K.Transform(nengo.Dense((2, 3), np.ones((2, 3))))],
    "quantized": lambda: [K.Quantized(L.Dense(3), 4)],
    "repeat": lambda: [K.Repeat(4)],
    "encoders": lambda: [K.PoissonEncoder(seed=0, **_STEPS)],
    "latency": lambda: [K.LatencyEncoder(0.01, **_STEPS)],
    "network": lambda: [K.Ensemble(5, 3, seed=0, **_STEPS)],
}


@cache
def _saved(name):
    """What is in a `.keras` file: bytes by name."""
    shape = (3,) if name == "repeat" else (5, 3)
    model = keras.Sequential([keras.Input(shape), *_STACKS[name]()])
    with tempfile.TemporaryDirectory() as folder:
        model.save(f"{folder}/m.keras")
        file = zipfile.ZipFile(f"{folder}/m.keras")
        return {name: file.read(name) for name in file.namelist()}


def _ours(config):
    """The layers of a model's configuration that are this package's."""
    layers = config["config"]["layers"]
    package = "keras_spiking_nengo"
    return [x for x in layers if str(x.get("registered_name")).startswith(package)]


def read_keras(name, changes):
    files = _saved(name)
    config = json.loads(files["config.json"])
    for layer in _ours(config):
        # Keras alone reads the dtype.
        dtype = layer["config"].pop("dtype")
        layer["config"] = apply(layer["config"], changes)
        if isinstance(layer["config"], dict):
            layer["config"] |= {"dtype": dtype}
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/m.keras"
        with zipfile.ZipFile(path, "w") as file:
            for entry, data in (files | {"config.json": json.dumps(config)}).items():
                file.writestr(entry, data)
        try:
            keras.models.load_model(path)
        except (ValueError, TypeError, NotImplementedError):
            return


# --- NIR files ---------------------------------------------------------------------


def _tree(group):
    return {
        key: _tree(group[key])
        if isinstance(group[key], h5py.Group)
        else np.asarray(group[key][()]).tolist()
        for key in group
    }


@cache
def nir_files():
    """NIR files as nested dicts and lists, by name."""
    import nir

    one = np.ones(2)
    lif = {"tau": 0.01 * one, "r": one, "v_leak": 0 * one, "v_threshold": one}
    ends = {"in": nir.Input({"input": (2,)}), "out": nir.Output({"output": (2,)})}
    chain = [("in", "a"), ("a", "b"), ("b", "c"), ("c", "out")]
    image = {
        "in": nir.Input({"input": np.array([1, 4, 4])}),
        "a": nir.Conv2d((4, 4), np.ones((2, 1, 2, 2)), 1, 0, 1, 1, np.zeros(2)),
        "b": nir.AvgPool2d(np.array([3, 3]), np.array([3, 3]), np.array([0, 0])),
        "c": nir.Flatten({"input": np.array([2, 1, 1])}, 0, -1),
        "out": nir.Output({"output": np.array([2])}),
    }
    loop = ends | {
        "a": nir.Affine(np.eye(2), one),
        "b": nir.CubaLIF(**lif_of_currents(one)),
        "c": nir.Scale(one),
        "d": nir.Delay(0.002 * one),
    }
    graphs = {
        "chain": (
            ends | {"a": nir.Linear(np.eye(2)), "b": nir.LIF(**lif), "c": nir.I(one)},
            chain,
        ),
        "images": (image, chain),
        "loop": (loop, [*chain, ("b", "d"), ("d", "a")]),
        "inner": (
            ends
            | {
                "a": nir.IF(one, one),
                "b": nir.NIRGraph.from_list(nir.LI(0.01 * one, one, 0 * one)),
                "c": nir.Threshold(one),
            },
            chain,
        ),
    }
    files = {}
    for name, (nodes, edges) in graphs.items():
        graph = nir.NIRGraph(nodes, edges, type_check=False)
        with tempfile.TemporaryDirectory() as folder:
            nir.write(f"{folder}/g.nir", graph)
            with h5py.File(f"{folder}/g.nir") as file:
                files[name] = _text(_tree(file))
    return files


def lif_of_currents(one):
    return {
        "tau_syn": 0.01 * one,
        "tau_mem": 0.02 * one,
        "r": one,
        "v_leak": 0 * one,
        "v_threshold": one,
    }


def _text(value):
    if isinstance(value, dict):
        return {key: _text(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_text(inner) for inner in value]
    return value.decode() if isinstance(value, bytes) else value


def _write_group(group, entries):
    for key, value in entries.items():
        name = str(key).replace("/", "|") or "empty"
        if isinstance(value, dict):
            _write_group(group.create_group(name), value)
            continue
        try:
            group.create_dataset(name, data=value)
        except (TypeError, ValueError, OverflowError, RecursionError):
            continue  # HDF5 has no such values


def read_nir(name, changes):
    tree = apply(nir_files()[name], changes)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "g.nir"
        with h5py.File(path, "w") as file:
            _write_group(file, tree if isinstance(tree, dict) else {})
        try:
            ksn.from_nir(path)
        except (ValueError, TypeError, NotImplementedError):
            return


# --- streams -----------------------------------------------------------------------


_STREAMS = ("neurons", "synapse")


@cache
def _exported(name):
    """The folder of an exported stream, which is removed when the process ends."""
    folder = tempfile.TemporaryDirectory()
    model = keras.Sequential([keras.Input((None, 3)), *_STACKS[name]()])
    ksn.export_streaming(model, Path(folder.name) / "m")
    return folder


_OPERATIONS = ["Abort", "ImmutableConst", "PyFunc", "ReadFile", "Const", "MatMul", "X"]


def _change_graph(saved, where, kind, argument):
    """Changes one node of a graph, or its functions."""
    functions = saved.meta_graphs[0].graph_def.library.function
    nodes = [node for function in functions for node in function.node_def]
    node = nodes[where % len(nodes)]
    attributes = sorted(node.attr)
    if kind == "set":
        node.op = _OPERATIONS[where % len(_OPERATIONS)]
    elif kind == "drop":
        del functions[where % len(functions)]
    elif kind == "twice":
        node.input.append(nodes[(where * 7) % len(nodes)].name)
    elif kind == "rename":
        node.name += "x"
    elif kind == "copy":
        node.CopyFrom(nodes[argument % len(nodes)])
    elif attributes:
        attribute = node.attr[attributes[where % len(attributes)]]
        if kind == "times":
            attribute.i = int(1000 * argument) % 2**31
        else:
            attribute.s = b"/etc/passwd"


def read_stream(name, changes):
    from tensorflow.core.protobuf import saved_model_pb2

    with tempfile.TemporaryDirectory() as folder:
        path = Path(shutil.copytree(f"{_exported(name).name}/m", f"{folder}/m"))
        file = path / "saved_model.pb"
        for where, (kind, argument) in changes:
            if kind == "flip":
                data = bytearray(file.read_bytes())
                data[where * 31 % len(data)] = argument % 256
                file.write_bytes(bytes(data))
                continue
            saved = saved_model_pb2.SavedModel()
            try:
                saved.ParseFromString(file.read_bytes())
                _change_graph(saved, where, kind, argument)
            except Exception:
                break
            file.write_bytes(saved.SerializeToString())
        write_manifest(path)
        try:
            ksn.serving.Stream(path)
        except (ValueError, FileNotFoundError):
            return


# The names of what is changed, and what is done with it then.
TARGETS = {
    "codec": (codec, read_codec),
    "networks": (lambda: _LAYERS, read_network),
    "keras": (lambda: _STACKS, read_keras),
    "nir": (nir_files, read_nir),
    "streams": (lambda: _STREAMS, read_stream),
}
