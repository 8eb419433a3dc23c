"""Metrics count the spikes there are, of outputs and of watched layers."""

import inspect
import json

import keras
import nengo
import numpy as np
import pytest
from keras import ops

import keras_spiking_nengo as ksn
from tests.arrays import numpy
from tests.marks import SLOW_ON_JAX
from tests.training.models import JIT, TIME, currents, spiking

# By default JAX runs the examples of the docstrings.
pytestmark = SLOW_ON_JAX

DT, AMPLITUDE = 0.002, 0.5
RNG = np.random.RandomState(0)
# Numbers of spikes of 2 x 3 neurons, of which one is silent and some fire twice a step.
COUNTS = RNG.randint(0, 3, size=(2, 4, TIME, 2, 3)) * RNG.randint(
    0, 2, size=(TIME, 2, 3)
)
COUNTS[..., 0, 1] = 0
COUNTS[1, 2, 3, 0, 1] = 1  # at last in the second batch
SIGNS = np.where(RNG.uniform(size=COUNTS.shape) < 0.3, -1, 1)
BATCHES = COUNTS * SIGNS * AMPLITUDE / DT

M = ksn.metrics
MAKE = {
    "FiringRate": lambda: M.FiringRate(AMPLITUDE, name="r"),
    "Sparsity": lambda: M.Sparsity(name="s"),
    "SpikesPerInference": lambda: M.SpikesPerInference(DT, AMPLITUDE, name="i"),
    "DeadNeurons": lambda: M.DeadNeurons(name="d"),
}


def expected(name, counts, weights=None):
    """Of all items `(items, time, *features)`, by weights `(items, time)`."""
    steps = np.ones(counts.shape[:2]) if weights is None else weights
    flat = counts.reshape(*counts.shape[:2], -1)
    if name == "FiringRate":
        return np.average(flat.mean(-1), weights=steps) / DT
    if name == "Sparsity":
        return np.average((flat == 0).mean(-1), weights=steps)
    if name == "SpikesPerInference":
        return np.sum(flat.sum(-1) * steps) / np.sum(steps.max(1))
    return np.mean(~np.any(flat * (steps != 0)[..., None], axis=(0, 1)))


def result(name, batches, weights=None):
    metric = MAKE[name]()
    for i, batch in enumerate(batches):
        w = None if weights is None else weights[i]
        metric.update_state(None, ops.convert_to_tensor(batch, "float32"), w)
    return float(metric.result())


# --- values -----------------------------------------------------------------------


@pytest.mark.torch
@pytest.mark.parametrize("name", MAKE)
def test_metrics_are_over_all_batches(name):
    together = COUNTS.reshape(-1, *COUNTS.shape[2:])
    assert expected(name, together) != expected(name, COUNTS[0])
    actual = result(name, BATCHES)
    np.testing.assert_allclose(actual, expected(name, together), rtol=1e-5)


@pytest.mark.torch
@pytest.mark.parametrize("axes", [1, 2])
@pytest.mark.parametrize("name", MAKE)
def test_weights_of_items_and_of_steps(name, axes):
    weights = RNG.uniform(0.5, 2, size=(2, 4, TIME)[: axes + 1])
    # No weight where a neuron fires for once, and on an item or many steps.
    weights[1, 2] = 0
    weights[0, 1] = 0
    if axes == 2:
        weights[..., TIME // 2 :] = 0
    steps = np.broadcast_to(weights.reshape(2, 4, -1), (2, 4, TIME)).reshape(8, TIME)
    together = COUNTS.reshape(-1, *COUNTS.shape[2:])
    actual = result(name, BATCHES, weights)
    np.testing.assert_allclose(actual, expected(name, together, steps), rtol=1e-5)


@pytest.mark.torch
@pytest.mark.parametrize("name", MAKE)
def test_reset_forgets(name):
    metric = MAKE[name]()
    assert float(metric.result()) == 0
    for batch in BATCHES:
        metric.reset_state()
        metric.update_state(None, ops.convert_to_tensor(batch, "float32"))
    actual = float(metric.result())
    np.testing.assert_allclose(actual, expected(name, COUNTS[1]), rtol=1e-5)


def test_half_precision_outputs_do_not_overflow():
    spikes = ops.convert_to_tensor(np.full((2, 500, 9), 30000, "float16"))
    metric = M.SpikesPerInference(dt=1 / 30000)
    metric.update_state(None, spikes)
    np.testing.assert_allclose(float(metric.result()), 4500, rtol=1e-5)


@pytest.mark.parametrize("name", MAKE)
def test_configurations_are_complete(name):
    config = MAKE[name]().get_config()
    assert json.loads(json.dumps(config)) == config
    assert set(inspect.signature(type(MAKE[name]())).parameters) == set(config)
    again = keras.metrics.deserialize(keras.metrics.serialize(MAKE[name]()))
    assert type(again) is type(MAKE[name]()) and again.get_config() == config


def test_of_a_layer_takes_what_its_spikes_are():
    layer = ksn.layers.Neurons(nengo.LIF(amplitude=0.01), dt=0.002)
    metric = M.SpikesPerInference.of(layer, name="n")
    assert (metric.dt, metric.amplitude, metric.name) == (0.002, 0.01, "n")
    assert M.FiringRate.of(layer).amplitude == 0.01
    assert M.FiringRate.of(ksn.layers.Neurons(nengo.Izhikevich())).amplitude == 1


# --- watched layers ---------------------------------------------------------------


def model_of_two():
    return keras.Sequential(
        [
            keras.Input((TIME, 3)),
            keras.layers.Dense(4),
            ksn.layers.Neurons(
                nengo.LIF(amplitude=0.01), seed=1, return_sequences=True, name="lif"
            ),
            ksn.layers.Neurons("relu", return_sequences=True, name="relu"),
            keras.layers.GlobalAveragePooling1D(name="rates"),
        ]
    )


def compiled(model, **options):
    watched = M.watch(model)
    layer = model.get_layer("lif")
    watched.compile(
        keras.optimizers.SGD(1e-3),
        "mse",
        metrics={
            "lif": [M.FiringRate.of(layer), M.SpikesPerInference.of(layer)],
            "relu": [M.DeadNeurons(), M.Sparsity()],
            "rates": "mae",
        },
        **options,
    )
    return watched


@pytest.mark.torch
def test_watched_layers_are_evaluated_and_trained():
    model = model_of_two()
    watched = compiled(model, jit_compile=JIT)
    x, y = currents(8), RNG.uniform(0, 1, (8, 3)).repeat(2, 1)[:, :4]
    outputs = numpy(watched(x))
    assert set(outputs) == {"lif", "relu", "rates"}
    np.testing.assert_allclose(outputs["rates"], numpy(model(x)), rtol=1e-5)
    spikes = outputs["lif"] != 0
    assert np.any(spikes)
    found = watched.evaluate(x, y, batch_size=4, verbose=0, return_dict=True)
    expected = {
        "lif_firing_rate": spikes.mean() / 0.001,
        "lif_spikes_per_inference": spikes.sum() / 8,
        "loss": np.mean((outputs["rates"] - y) ** 2),
        "rates_mae": np.mean(np.abs(outputs["rates"] - y)),
        "relu_dead_neurons": np.mean(~np.any(spikes, axis=(0, 1))),
        "relu_sparsity": np.mean(outputs["relu"] == 0),
    }
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-4, err_msg=name)
    before = model.get_weights()
    history = watched.fit(x, y, batch_size=4, verbose=0).history
    assert set(history) == set(found)
    assert np.any(model.get_weights()[0] != before[0])


@pytest.mark.parametrize("kind", ["list", "dict", "named losses"])
def test_models_of_several_outputs_are_compiled_as_before(kind):
    inputs = keras.Input((TIME, 3))
    spikes = ksn.layers.Neurons("lif", seed=0, return_sequences=True, name="n")(inputs)
    # Not in alphabetical order, in which Keras sorts a dict.
    z, a = (keras.layers.Dense(k, name=n)(spikes) for k, n in ((2, "z"), (1, "a")))
    outputs = {"z": z, "a": a} if kind == "dict" else [z, a]
    losses = {"z": "mse", "a": "mae"} if kind != "list" else ["mse", "mae"]
    model = keras.Model(inputs, outputs)
    watched = M.watch(model)
    x, y = currents(), (np.zeros((4, TIME, 2)), np.ones((4, TIME, 1)))
    y = dict(zip("za", y, strict=True)) if kind == "dict" else list(y)
    model.compile(loss=losses, run_eagerly=True)
    metrics = {"n": [M.Sparsity()], "a": "mae"}
    watched.compile(loss=losses, metrics=metrics, run_eagerly=True)
    expected = model.evaluate(x, y, verbose=0, return_dict=True)
    found = watched.evaluate(x, y, verbose=0, return_dict=True)
    np.testing.assert_allclose(found["loss"], expected["loss"], rtol=1e-5)
    np.testing.assert_allclose(
        found["a_mae"], np.abs(watched.predict(x, verbose=0)["a"] - 1).mean(), rtol=1e-5
    )
    assert 0 < found["n_sparsity"] < 1


def test_saved_when_watched(tmp_path):
    watched = compiled(model_of_two(), run_eagerly=True)
    x, y = currents(), np.ones((4, 4))
    watched.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    expected = watched.evaluate(x, y, verbose=0, return_dict=True)
    found = again.evaluate(x, y, verbose=0, return_dict=True)
    assert found.keys() == expected.keys() and len(found) == 6
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-5)


def test_a_configuration_is_read_and_not_changed():
    watched = M.watch(model_of_two())
    config = watched.get_config()
    copies = [type(watched).from_config(config) for _ in range(2)]
    assert [copy.targeted for copy in copies] == [watched.targeted] * 2


def test_an_output_that_is_a_watched_layer_is_one_output():
    model = spiking()
    watched = M.watch(model)
    assert list(watched.output) == ["lif"]
    watched.compile(loss="mse", metrics={"lif": [M.Sparsity()]}, run_eagerly=True)
    found = watched.evaluate(
        currents(), np.zeros((4, TIME, 3)), verbose=0, return_dict=True
    )
    assert {"loss", "sparsity"} == {name.removeprefix("lif_") for name in found}


def test_layers_are_chosen_by_name_or_as_they_are():
    model = model_of_two()
    dense = model.layers[0]
    assert set(M.watch(model, "lif").output) == {"lif", "rates"}
    assert set(M.watch(model, ["relu", dense]).output) == {"relu", "rates", dense.name}


def test_the_sequence_of_a_layer_that_returns_its_state_is_watched():
    inputs = keras.Input((TIME, 3))
    layer = ksn.layers.Neurons(return_sequences=True, return_state=True, name="n")
    model = keras.Model(inputs, keras.layers.Flatten(name="f")(layer(inputs)[1]))
    assert M.watch(model).predict(currents(), verbose=0)["n"].shape == (4, TIME, 3)


def test_a_layer_of_two_models_is_watched_in_this_one():
    inputs = keras.Input((TIME, 3))
    shared = ksn.layers.Neurons("relu", return_sequences=True, name="n")
    keras.Model(inputs, shared(-inputs))
    scaled = keras.layers.Rescaling(2.0)(inputs)
    model = keras.Model(inputs, keras.layers.Flatten(name="f")(shared(scaled)))
    x = currents()
    found = M.watch(model).predict(x, verbose=0)
    np.testing.assert_allclose(found["n"], 2 * x)
    np.testing.assert_array_equal(found["n"].reshape(len(x), -1), found["f"])


def test_inputs_are_given_as_before():
    inputs = {name: keras.Input((TIME, 3), name=name) for name in ("right", "left")}
    both = inputs["left"] - 2 * inputs["right"]
    layer = ksn.layers.Neurons("relu", return_sequences=True, name="n")
    model = keras.Model(inputs, keras.layers.Flatten(name="f")(layer(both)))
    x = {"left": currents(seed=1), "right": currents(seed=2)}
    found = M.watch(model).predict(x, verbose=0)["n"]
    np.testing.assert_allclose(found, np.maximum(x["left"] - 2 * x["right"], 0))


def unbuilt():
    return keras.Sequential([keras.layers.Dense(2)])


def without_spikes():
    return keras.Sequential([keras.Input((TIME, 3)), ksn.layers.Neurons()])


def named_alike():
    inputs = keras.Input((TIME, 3))
    layer = ksn.layers.Neurons(return_sequences=True, name="n")
    return keras.Model(inputs, {"n": keras.layers.Flatten()(layer(inputs))})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: M.FiringRate(0), "amplitude is above 0, and finite; received 0"),
        (lambda: M.FiringRate(np.inf), "amplitude is above 0.*inf"),
        (lambda: M.SpikesPerInference("ms"), "dt is the length.*'ms'"),
        (lambda: result("Sparsity", BATCHES[:, :, 0, 0]), r"\(4, 3\).*return_seq"),
        (lambda: M.FiringRate.of(keras.layers.Dense(2)), "takes a ksn.layers.Neurons"),
        (
            lambda: M.FiringRate.of(
                ksn.layers.Neurons(trainable_parameters=["amplitude"])
            ),
            "is trained",
        ),
        (lambda: M.watch(unbuilt()), "keras.Input first"),
        (lambda: M.watch(without_spikes()), "no Neurons layer that returns seq"),
        (lambda: M.watch(named_alike()), "is called 'n'"),
        (lambda: M.watch(spiking(), ["soma"]), "No such layer: soma"),
        (lambda: M.watch(spiking(), [keras.layers.Dense(2)]), "not among.*dense.*lif"),
        (lambda: M.watch(without_spikes(), without_spikes().layers), "not among"),
        (lambda: M.watch(model_of_two(), ["rates"]), "no activity.*return_sequences"),
    ],
)
def test_impossible_arguments_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# --- accuracy over time -----------------------------------------------------------


@pytest.mark.torch
@pytest.mark.parametrize("form", ["integers", "column", "one-hot"])
def test_an_item_is_right_if_its_class_fires_most(form):
    rng = np.random.RandomState(0)
    spikes = (rng.uniform(size=(40, 15, 3)) < 0.4) * 500.0
    labels = rng.randint(0, 3, 40)
    forms = {
        "integers": labels,
        "column": labels[:, None],
        "one-hot": np.eye(3)[labels],
    }
    right = spikes.sum(axis=1).argmax(axis=-1) == labels
    metric = M.RateAccuracy()
    metric.update_state(forms[form], spikes)
    np.testing.assert_allclose(float(metric.result()), right.mean(), rtol=1e-6)
    steps = np.arange(15)[None] < rng.randint(3, 15, 40)[:, None]
    right = (spikes * steps[..., None]).sum(axis=1).argmax(axis=-1) == labels
    metric.reset_state()
    metric.update_state(forms[form], spikes, steps.astype("float32"))
    np.testing.assert_allclose(float(metric.result()), right.mean(), rtol=1e-6)


@pytest.mark.parametrize(
    ("labels", "shape"), [((4, 2), (4, 5, 3)), ((4,), (4, 5, 2, 3)), ((4, 5, 3),) * 2]
)
def test_other_labels_and_outputs_have_no_accuracy(labels, shape):
    with pytest.raises(ValueError, match="takes labels.*received the shapes"):
        M.RateAccuracy().update_state(np.zeros(labels), np.zeros(shape))


def test_accuracy_within_a_window():
    rng = np.random.RandomState(0)
    spikes, labels = (
        (rng.uniform(size=(40, 15, 3)) < 0.4) * 500.0,
        rng.randint(0, 3, 40),
    )
    metric = M.RateAccuracy(dt=0.001, window=(0.003, 0.008))
    metric = M.RateAccuracy.from_config(metric.get_config())
    metric.update_state(labels, spikes)
    right = spikes[:, 3:8].sum(axis=1).argmax(axis=-1) == labels
    np.testing.assert_allclose(float(metric.result()), right.mean(), rtol=1e-6)
    with pytest.raises(ValueError, match="ends at step 8.*received a sequence of 5"):
        metric.update_state(labels, spikes[:, :5])
