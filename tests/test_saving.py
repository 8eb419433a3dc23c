"""Models leave the process that made them: as files, and as served programs."""

import importlib.util
import json
import os
import zipfile

import keras
import nengo
import numpy as np
import pytest
from keras import layers

import keras_spiking_nengo as ksn
from tests.arrays import numpy
from tests.cases import NEURONS
from tests.conftest import BACKEND
from tests.processes import python

LOAD = """
import sys
import keras
import numpy as np

try:
    keras.models.load_model(sys.argv[1] + ".keras")
except Exception as error:
    print(error)
# Keras imports no one's layers but its own.
import keras_spiking_nengo

for path in sys.argv[1:]:
    model = keras.models.load_model(path + ".keras")
    data = np.load(path + ".npz")
    y = model.predict(data["x"], batch_size=2, verbose=0)
    np.savez(path + ".answer.npz", y=y)
"""
# A server's process. TensorFlow looks for Keras as it is imported, and does without.
SERVE = """
import importlib.machinery
import sys
import numpy as np

absent = {"keras", "keras_spiking_nengo", "nengo", "jax"}

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name in absent:
            return importlib.machinery.ModuleSpec(name, self)

    def create_module(self, spec):
        raise ModuleNotFoundError(spec.name)

    def exec_module(self, module):
        raise AssertionError

sys.meta_path.insert(0, Absent())
import tensorflow as tf

for path in sys.argv[1:]:
    served = tf.saved_model.load(path)
    calls = np.load(path + ".npz")
    answers = {name: served.serve(calls[name]).numpy() for name in sorted(calls)}
    np.savez(path + ".answer.npz", **answers)
loaded = absent & set(sys.modules)
assert not loaded, loaded
"""


def currents(*shape):
    # Eighths, of which sums and products are exact in any order: that spikes are
    # equal does not hang on how a backend adds.
    return np.random.RandomState(0).randint(0, 33, shape).astype("float32") / 8


def hybrid(neuron_type=None, temporal=True, spikes=False, dtype=None):
    """Dense, (Repeat,) neurons, synapse, Dense."""
    x = inputs = keras.Input((None, 6) if temporal else (6,))
    dense = layers.Dense(8, dtype=dtype)
    x = dense(x)
    dense.kernel.assign(np.random.RandomState(1).randint(-4, 13, (6, 8)) / 8)
    x = x if temporal else ksn.layers.Repeat(30)(x)
    neuron_type = neuron_type or nengo.LIF(tau_rc=0.03)
    x = ksn.layers.Neurons(neuron_type, seed=1, return_sequences=True, dtype=dtype)(x)
    if not spikes:
        alpha = nengo.Alpha(0.01)
        x = ksn.layers.Synapse(alpha, return_sequences=True, dtype=dtype)(x)
        x = layers.Dense(3, dtype=dtype)(x)
    return keras.Model(inputs, x)


def stateful():
    inputs = keras.Input(batch_shape=(2, 7, 6))
    flags = {"stateful": True, "return_sequences": True}
    x = ksn.layers.Neurons("lif", seed=1, **flags)(inputs)
    return keras.Model(inputs, ksn.layers.Synapse(0.01, **flags)(x))


# --- served without keras -----------------------------------------------------

EXPORTS = {
    "static": lambda: hybrid(temporal=False),
    "temporal": hybrid,
    "adaptive": lambda: hybrid(nengo.AdaptiveLIF(tau_n=0.05)),
    "poisson": lambda: hybrid(NEURONS["PoissonSpiking"]),
    "stateful": stateful,
}
# Of each model in turn: another batch size, and another length.
CALLS = {
    "static": [currents(2, 6), currents(3, 6)],
    "stateful": [currents(2, 7, 6), currents(2, 7, 6)],
}
TEMPORAL = [currents(2, 20, 6), currents(1, 31, 6)]


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """`{name: (expected, answers)}` of all exports, by one server."""
    folder = tmp_path_factory.mktemp("served")
    expected, paths = {}, []
    for name, make in EXPORTS.items():
        model, calls, path = make(), CALLS.get(name, TEMPORAL), folder / name
        # Keras exports with an open batch size unless told, and states have one.
        fixed = [keras.InputSpec("float32", calls[0].shape)]
        options = {"input_signature": fixed} if name == "stateful" else {}
        model.export(path, verbose=False, **options)
        np.savez(f"{path}.npz", *calls)
        expected[name] = [numpy(model(x)) for x in calls]
        paths.append(path)
    done = python("-c", SERVE, *paths)
    assert done.returncode == 0, done.stderr
    answers = {path.name: np.load(f"{path}.answer.npz") for path in paths}
    return {
        name: (outputs, [answers[name][f"arr_{i}"] for i in range(len(outputs))])
        for name, outputs in expected.items()
    }


@pytest.mark.skipif(BACKEND == "torch", reason="Keras cannot export from torch")
@pytest.mark.parametrize("name", EXPORTS)
def test_served_by_tensorflow_alone_with_equal_outputs(name, served):
    for expected, answer in zip(*served[name], strict=True):
        assert np.any(expected)
        scale = np.max(np.abs(expected))
        np.testing.assert_allclose(answer, expected, atol=1e-5 * scale)


@pytest.mark.skipif(BACKEND == "torch", reason="Keras cannot export from torch")
def test_a_stateful_model_goes_on_from_request_to_request(served):
    first, second = served["stateful"][1]
    assert np.any(first != second)


@pytest.mark.skipif(BACKEND != "jax", reason="elsewhere an open batch size exports")
def test_exporting_a_stateful_model_asks_for_its_batch_size(tmp_path):
    with pytest.raises(ValueError, match="batch size 2.*input_signature"):
        stateful().export(tmp_path / "model", verbose=False)


# --- from one backend to another ----------------------------------------------

FILES = {
    "hybrid": hybrid,
    "spikes": lambda: hybrid(spikes=True),
    "poisson": lambda: hybrid(nengo.PoissonSpiking(nengo.LIFRate()), spikes=True),
    "mixed": lambda: hybrid(dtype="mixed_float16"),
    "stateful": stateful,
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Paths of models without their suffix, and their outputs."""
    folder = tmp_path_factory.mktemp("saved")
    paths = {}
    for name, make in FILES.items():
        model, x = make(), CALLS.get(name, TEMPORAL)[0]
        path = folder / name
        model.save(f"{path}.keras")
        np.savez(f"{path}.npz", x=x)
        paths[path] = model.predict(x, batch_size=2, verbose=0)
    return paths


@pytest.fixture(scope="module", params=["tensorflow", "jax", "torch"])
def loaded(request, saved):
    """What another backend printed, and its answers by path."""
    backend = request.param
    if backend == BACKEND or importlib.util.find_spec(backend) is None:
        pytest.skip("not another backend, or not installed")
    done = python("-c", LOAD, *saved, KERAS_BACKEND=backend)
    assert done.returncode == 0, done.stderr
    return done.stdout, {path: np.load(f"{path}.answer.npz")["y"] for path in saved}


@pytest.mark.torch
@pytest.mark.parametrize("name", FILES)
def test_files_load_on_every_other_backend(name, loaded, saved):
    ((path, expected),) = ((p, y) for p, y in saved.items() if p.name == name)
    answer = loaded[1][path]
    assert np.any(expected)
    if name in ("spikes", "poisson"):
        np.testing.assert_array_equal(answer != 0, expected != 0)
    near = 1e-2 if name == "mixed" else 1e-5
    np.testing.assert_allclose(answer, expected, atol=near * np.max(np.abs(expected)))


@pytest.mark.torch
def test_loading_needs_the_package_imported(loaded):
    # Keras names the class, and asks for what importing the package does.
    assert "Could not locate class" in loaded[0]
    assert "register_keras_serializable" in loaded[0]


@pytest.mark.torch
def test_a_mixed_precision_model_comes_back_as_it_was(tmp_path):
    model, x = hybrid(dtype="mixed_float16"), TEMPORAL[0]
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert again.layers[2].dtype_policy.name == "mixed_float16"
    np.testing.assert_array_equal(numpy(again(x)), numpy(model(x)))


@pytest.mark.torch
@pytest.mark.parametrize("name", ["hybrid", "poisson"])
def test_clones_and_weight_files_hold_the_drawn_state(name, tmp_path):
    model, x = FILES[name](), TEMPORAL[0]
    clone = keras.models.clone_model(model)
    for weight in clone.weights:
        weight.assign(np.zeros(weight.shape))
    assert np.any(numpy(clone(x)) != numpy(model(x)))
    model.save_weights(tmp_path / "model.weights.h5")
    clone.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(numpy(clone(x)), numpy(model(x)))


# --- files that someone has changed -------------------------------------------


def tampered(folder, change):
    """A `.keras` file whose configuration of Neurons went through `change`."""
    path, bad = folder / "model.keras", folder / "bad.keras"
    hybrid(spikes=True).save(path)
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(bad, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name == "config.json":
                model = json.loads(data)
                (neurons,) = (
                    layer
                    for layer in model["config"]["layers"]
                    if layer["class_name"] == "Neurons"
                )
                change(neurons)
                data = json.dumps(model)
            new.writestr(name, data)
    return bad


def of_class(name):
    def change(layer):
        layer["config"]["neuron_type"]["nengo"] = name

    return change


def with_state(**state):
    def change(layer):
        layer["config"]["neuron_type"]["state"].update(state)

    return change


def argument(name, value):
    def change(layer):
        layer["config"][name] = value

    return change


def registered_as(**names):
    return lambda layer: layer.update(names)


def keras_object(module, name, registered_name=None):
    return {
        "module": module,
        "class_name": name,
        "config": {"value": None},
        "registered_name": registered_name,
    }


TAMPERED = {
    "unknown class": (of_class("nengo.neurons.Evil"), "'nengo.neurons.Evil'.*Known"),
    "function as class": (of_class("os.system"), "'os.system'.*Known"),
    "class of another kind": (
        argument("neuron_type", {"nengo": "nengo.synapses.Lowpass", "state": {}}),
        "nengo.synapses.Lowpass",
    ),
    "value out of range": (with_state(tau_rc=-1.0), "nengo.neurons.LIF.*tau_rc"),
    "value of another type": (with_state(tau_rc="print(1)"), "LIF.*tau_rc"),
    "unknown attribute": (with_state(__reduce__="x"), "LIF.*__reduce__"),
    "object as value": (
        with_state(tau_rc={"nengo": "builtins.eval", "state": {}}),
        "'builtins.eval'.*Known",
    ),
    "array of objects": (
        with_state(amplitude={"array": "gASVAA==", "dtype": "|O", "shape": []}),
        "LIF.*dtype '|O'",
    ),
    "registered name": (
        registered_as(
            registered_name="keras_spiking_nengo>Nerves", class_name="Nerves"
        ),
        "Could not locate class 'Nerves'",
    ),
    "any function": (
        registered_as(module="os", class_name="system", registered_name=None),
        "'system'",
    ),
    "lambda": (
        argument("surrogate", {"class_name": "__lambda__", "config": {"value": []}}),
        "lambda.*unsafe|unsafe.*lambda|lambda",
    ),
    "surrogate of another kind": (
        argument("surrogate", keras_object("keras.layers", "Flatten")),
        "Flatten|value",
    ),
    "dt": (argument("dt", "0.001"), "seconds.*'0.001'"),
    "argument": (argument("evil", 1), "evil"),
}


@pytest.mark.torch
@pytest.mark.parametrize("name", TAMPERED)
def test_a_tampered_file_is_refused_by_name(name, tmp_path, monkeypatch):
    change, message = TAMPERED[name]
    monkeypatch.setattr(os, "system", lambda *_: pytest.fail("executed"))
    with pytest.raises((ValueError, TypeError), match=f"(?s){message}"):
        keras.models.load_model(tampered(tmp_path, change))


@pytest.mark.torch
def test_untouched_the_same_file_loads(tmp_path):
    model = keras.models.load_model(tampered(tmp_path, lambda layer: None))
    assert numpy(model(TEMPORAL[0])).any()
