"""Losses over time are what their equations say, also when compiled."""

import inspect
import json

import keras
import numpy as np
import pytest
from keras import ops

import keras_spiking_nengo as ksn
from tests.arrays import numpy
from tests.gradients import gradient
from tests.marks import SLOW_ON_JAX
from tests.training.models import JIT, TIME, currents, fitted, spiking

# By default JAX runs the examples of the docstrings.
pytestmark = SLOW_ON_JAX

BATCH, CLASSES, DT = 3, 4, 0.002
RNG = np.random.RandomState(0)
LABELS = np.array([2, 0, 3])
ONE_HOT = np.eye(CLASSES)[LABELS]
LOGITS = RNG.normal(size=(BATCH, TIME, CLASSES))
# Spikes of neurons with an amplitude of 0.5, some of them two in a step.
SPIKES = RNG.randint(0, 3, size=(BATCH, TIME, CLASSES)) * 0.5 / DT
STEPS = RNG.uniform(0.1, 2, size=(BATCH, TIME))

RATE = ksn.losses.SpikeRateCrossEntropy(temperature=40, amplitude=0.5)
COUNT = ksn.losses.SpikeCountCrossEntropy(DT, window=(0.004, 0.018), amplitude=0.5)
TET = ksn.losses.TemporalCrossEntropy(weight=0.3, target=0.7)
MASKED = ksn.losses.MaskedMeanSquaredError(reduction="sum", name="masked")
LOSSES = {type(loss).__name__: loss for loss in (RATE, COUNT, TET, MASKED)}


@pytest.mark.parametrize("name", LOSSES)
def test_configurations_are_complete(name):
    loss = LOSSES[name]
    config = loss.get_config()
    assert json.loads(json.dumps(config)) == config
    assert set(inspect.signature(type(loss)).parameters) == set(config)
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert again.get_config() == config
    wide = type(loss).from_config({**config, "dtype": "float64"})
    assert keras.losses.deserialize(keras.losses.serialize(wide)).dtype == "float64"


def unreduced(loss):
    return type(loss).from_config({**loss.get_config(), "reduction": None})


def entropy(logits, labels=LABELS):
    probabilities = np.exp(logits) / np.sum(np.exp(logits), -1, keepdims=True)
    return -np.log(probabilities[np.arange(len(labels)), labels])


def rate_entropy(spikes):
    return entropy(np.mean(spikes / 0.5, 1) / 40)


def count_entropy(spikes):
    # Steps end at 2 ms, 4 ms, ...: after 4 ms and up to 18 ms are the 3rd to the 9th.
    return entropy(np.sum(spikes[:, 2:9], 1) * DT / 0.5)


def temporal(logits):
    entropies = [entropy(logits[:, t]) for t in range(logits.shape[1])]
    distance = np.mean((logits - 0.7) ** 2, -1)
    return 0.7 * np.stack(entropies, 1) + 0.3 * distance


def with_gaps():
    y = RNG.normal(size=(BATCH, TIME, 2))
    y[0, :5] = y[1, 3, 0] = y[2] = np.nan
    return y, RNG.normal(size=(BATCH, TIME, 2))


def squared_errors(y_true, y_pred):
    """Of each step, over its features that have a target; and whether it has one."""
    there = ~np.isnan(y_true)
    error = np.where(there, y_true - y_pred, 0) ** 2
    return np.sum(error, -1) / np.maximum(np.sum(there, -1), 1), np.any(there, -1)


# --- values -----------------------------------------------------------------------


@pytest.mark.torch
@pytest.mark.parametrize(
    ("loss", "outputs", "expected"),
    [
        (RATE, SPIKES, rate_entropy(SPIKES)),
        (COUNT, SPIKES, count_entropy(SPIKES)),
        (TET, LOGITS, temporal(LOGITS)),
    ],
    ids=["rate", "count", "temporal"],
)
def test_cross_entropies_are_their_equations(loss, outputs, expected):
    for labels in (LABELS, LABELS[:, None], ONE_HOT):
        np.testing.assert_allclose(
            numpy(unreduced(loss)(labels, outputs)), expected, rtol=1e-5
        )
        np.testing.assert_allclose(
            float(loss(labels, outputs)), expected.mean(), rtol=1e-5
        )
        weights = np.array([0.0, 1.0, 3.0])
        column = numpy(unreduced(loss)(labels, outputs, weights[:, None]))
        extra = (1,) * (expected.ndim - 1)
        shaped = expected * weights.reshape(-1, *extra)
        np.testing.assert_allclose(column, shaped, rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(
            float(loss(labels, outputs, sample_weight=weights)),
            np.mean(shaped),
            rtol=1e-5,
        )


@pytest.mark.torch
@pytest.mark.parametrize("loss", [RATE, COUNT, TET], ids=["rate", "count", "temporal"])
@pytest.mark.parametrize("wrong", [CLASSES, -1, 0.5, np.nan])
def test_a_label_that_is_no_class_is_refused(loss, wrong):
    for labels in ([0, 0, wrong], [[0], [0], [wrong]]):
        with pytest.raises(
            ValueError, match=f"from 0 to {CLASSES - 1}.*received {wrong}"
        ):
            loss(np.array(labels), SPIKES)


@pytest.mark.torch
@pytest.mark.parametrize("loss", [RATE, COUNT, TET], ids=["rate", "count", "temporal"])
@pytest.mark.parametrize("labels", [[0, 1], [0] * 5, [[0], [1]], np.eye(CLASSES)[:2]])
def test_labels_of_another_batch_are_refused(loss, labels):
    with pytest.raises(ValueError, match=f"as many items as the outputs, {BATCH}"):
        loss(np.array(labels), SPIKES)


@pytest.mark.parametrize("loss", [RATE, COUNT, TET], ids=["rate", "count", "temporal"])
def test_a_label_that_is_no_class_makes_no_loss(loss):
    """Where a step is compiled, labels are not known when it is checked."""
    model = keras.Sequential([keras.Input(SPIKES.shape[1:]), keras.layers.Identity()])
    model.compile(loss=loss)
    for labels in ([0, CLASSES, 0], [0, 0, -1]):
        assert np.isnan(model.evaluate(SPIKES, np.array(labels), verbose=0))


@pytest.mark.torch
def test_labels_may_be_probabilities():
    soft = np.full((BATCH, CLASSES), 0.25)
    logits = np.mean(SPIKES, 1) / (0.5 * 40)
    each = [entropy(logits, [k] * BATCH) for k in range(CLASSES)]
    np.testing.assert_allclose(
        numpy(unreduced(RATE)(soft, SPIKES)), np.mean(each, 0), rtol=1e-5
    )


def test_a_count_without_window_is_of_all_spikes():
    loss = ksn.losses.SpikeCountCrossEntropy(DT, amplitude=0.5, reduction=None)
    expected = entropy(np.sum(SPIKES, 1) * DT / 0.5)
    np.testing.assert_allclose(numpy(loss(LABELS, SPIKES)), expected, rtol=1e-5)


@pytest.mark.torch
def test_weights_of_steps_are_those_of_the_mean():
    rates = [np.average(s, 0, w) for s, w in zip(SPIKES, STEPS, strict=True)]
    expected = entropy(np.stack(rates) / 20) * STEPS.max(1)
    actual = unreduced(RATE)(LABELS, SPIKES, sample_weight=STEPS)
    np.testing.assert_allclose(numpy(actual), expected, rtol=1e-5)
    expected = temporal(LOGITS) * STEPS
    actual = unreduced(TET)(LABELS, LOGITS, sample_weight=STEPS)
    np.testing.assert_allclose(numpy(actual), expected, rtol=1e-5)


@pytest.mark.torch
@pytest.mark.parametrize("loss", [RATE, COUNT], ids=["rate", "count"])
def test_a_mask_as_weights_is_as_if_the_steps_were_not_there(loss):
    loss = type(loss).from_config({**loss.get_config(), "reduction": None})
    if loss.get_config().get("window"):
        loss.window = None
    mask = np.ones((BATCH, TIME))
    mask[:, 7:] = 0
    masked = loss(LABELS, SPIKES, sample_weight=mask)
    shorter = loss(LABELS, SPIKES[:, :7])
    np.testing.assert_allclose(numpy(masked), numpy(shorter), rtol=1e-5)


@pytest.mark.torch
def test_steps_without_a_target_do_not_count():
    y_true, y_pred = with_gaps()
    errors, there = squared_errors(y_true, y_pred)
    assert 0 < there.sum() < there.size
    loss = ksn.losses.MaskedMeanSquaredError
    np.testing.assert_allclose(
        float(loss()(y_true, y_pred)), errors[there].mean(), rtol=1e-5
    )
    np.testing.assert_allclose(
        float(loss(reduction="sum")(y_true, y_pred)), errors.sum(), rtol=1e-5
    )
    np.testing.assert_allclose(
        numpy(loss(reduction=None)(y_true, y_pred)), errors, rtol=1e-5
    )
    np.testing.assert_allclose(
        float(loss(reduction="mean")(y_true, y_pred)), errors.mean(), rtol=1e-5
    )
    for weights in (np.array([2.0, 0.5, 1.0]), STEPS):
        full = np.broadcast_to(weights.reshape(BATCH, -1), there.shape)
        np.testing.assert_allclose(
            float(loss()(y_true, y_pred, sample_weight=weights)),
            np.average(errors[there], weights=full[there]),
            rtol=1e-5,
        )
    assert float(loss()(np.full_like(y_true, np.nan), y_pred)) == 0


@pytest.mark.torch
def test_a_masked_error_without_gaps_is_keras_own():
    _, y_pred = with_gaps()
    expected = keras.losses.MeanSquaredError()(0 * y_pred, y_pred)
    actual = ksn.losses.MaskedMeanSquaredError()(0 * y_pred, y_pred)
    np.testing.assert_allclose(float(actual), float(expected), rtol=1e-6)


@pytest.mark.torch
def test_gaps_have_no_gradient():
    y_true, y_pred = with_gaps()
    loss = ksn.losses.MaskedMeanSquaredError(reduction="sum")
    _, slope = gradient(lambda y: loss(y_true, y), y_pred.astype("float32"))
    there = ~np.isnan(y_true)
    expected = np.where(there, 2 * (y_pred - y_true), 0)
    expected /= np.maximum(there.sum(-1, keepdims=True), 1)
    np.testing.assert_allclose(slope, expected, rtol=1e-5)


@pytest.mark.torch
@pytest.mark.parametrize("name", ["MaskedMeanSquaredError", "TemporalCrossEntropy"])
def test_the_mask_of_a_layer_takes_steps_out(name):
    """As if the masked steps had no target."""
    x = currents(2)
    x[1, 4:] = 0
    model = keras.Sequential(
        [keras.Input((TIME, 3)), keras.layers.Masking(), keras.layers.Dense(3)]
    )
    y_pred = numpy(model(x))
    if name == "MaskedMeanSquaredError":
        loss, y_true = ksn.losses.MaskedMeanSquaredError(), np.zeros_like(y_pred)
        y_true[0, 2] = y_true[1, 1] = np.nan
        errors, there = squared_errors(y_true, y_pred)
    else:
        loss, y_true = ksn.losses.TemporalCrossEntropy(0.3, 0.7), np.array([1, 2])
        errors = [entropy(y_pred[:, t], y_true) for t in range(TIME)]
        errors = 0.7 * np.stack(errors, 1) + 0.3 * np.mean((y_pred - 0.7) ** 2, -1)
        there = np.ones_like(errors, bool)
    there[1, 4:] = False
    model.compile(loss=loss)
    actual = model.evaluate(x, y_true, verbose=0)
    np.testing.assert_allclose(actual, errors[there].mean(), rtol=1e-5)


def test_half_precision_outputs_do_not_overflow():
    spikes = np.full((1, TIME, 2), 30000, "float16")
    loss = ksn.losses.SpikeRateCrossEntropy(temperature=10)
    np.testing.assert_allclose(
        float(loss(np.array([0]), ops.convert_to_tensor(spikes))), np.log(2), rtol=1e-5
    )


# --- in models --------------------------------------------------------------------

TARGETS = {
    "SpikeRateCrossEntropy": np.array([0, 1, 2, 1]),
    "SpikeCountCrossEntropy": np.eye(3)[[0, 1, 2, 1]],
    "TemporalCrossEntropy": np.array([0, 1, 2, 1]),
    "MaskedMeanSquaredError": np.where(
        RNG.uniform(size=(4, TIME, 3)) < 0.5, np.nan, 100.0
    ),
}


@pytest.mark.torch
@pytest.mark.parametrize("name", LOSSES)
def test_spiking_models_are_trained(name):
    model = spiking(surrogate="fast_sigmoid")
    losses, moved = fitted(model, LOSSES[name], TARGETS[name])
    assert np.all(np.isfinite(losses))
    assert all(moved)


@pytest.mark.parametrize("name", LOSSES)
def test_saved_with_the_model(name, tmp_path):
    model = spiking()
    model.compile("sgd", LOSSES[name], run_eagerly=True)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    loaded = again.get_compile_config()["loss"]["config"]
    assert loaded == LOSSES[name].get_config()
    x, y = currents(), TARGETS[name]
    assert again.evaluate(x, y, verbose=0) == model.evaluate(x, y, verbose=0)


@pytest.mark.slow
def test_the_rate_loss_teaches_a_class_to_fire():
    """A layer of spiking neurons learns which of three inputs is on."""
    labels = np.arange(30) % 3
    x = np.repeat(2 * np.eye(3, dtype="float32")[labels][:, None], TIME, axis=1)
    model = spiking(dt=0.005)
    model.compile(
        keras.optimizers.Adam(0.05),
        ksn.losses.SpikeRateCrossEntropy(temperature=20),
        jit_compile=JIT,
    )
    model.fit(x, labels, epochs=30, batch_size=30, verbose=0)
    rates = model.predict(x, verbose=0).mean(axis=1)
    np.testing.assert_array_equal(rates.argmax(1), labels)


# --- errors -----------------------------------------------------------------------

L = ksn.losses


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: L.SpikeRateCrossEntropy(temperature=0), "temperature is above 0.*0"),
        (lambda: L.SpikeRateCrossEntropy(amplitude=-1), "amplitude is above 0.*-1"),
        (lambda: L.SpikeCountCrossEntropy(dt=0), "dt is the length.*received 0"),
        (lambda: L.SpikeCountCrossEntropy(0.1, window=0.2), "start, stop.*0.2"),
        (lambda: L.SpikeCountCrossEntropy(0.1, window=(0.2, 0.2)), "a step of dt=0.1"),
        (lambda: L.SpikeCountCrossEntropy(0.1, window=(-1, 1)), "from 0 on"),
        (lambda: L.TemporalCrossEntropy(weight=1.5), "from 0 to 1; received 1.5"),
        (lambda: L.TemporalCrossEntropy(target="th"), "finite number; received 'th'"),
        (lambda: RATE(LABELS, SPIKES[:, 0]), "batch, time, classes.*return_sequences"),
        (lambda: TET(LABELS, LOGITS[:, 0]), "batch, time, classes.*return_sequences"),
        (lambda: RATE(np.ones((BATCH, 3)), SPIKES), r"Labels are.*\(3, 3\)"),
        (lambda: TET(np.ones((BATCH, TIME, 1)), LOGITS), r"Labels are.*\(3, 12, 1\)"),
        (lambda: RATE(LABELS, SPIKES[..., :1]), "2 or more"),
        (lambda: COUNT(LABELS, SPIKES[:, :8]), "ends at step 9.*8 steps"),
        (lambda: MASKED(SPIKES[..., :1], SPIKES), "in the shape of the outputs"),
        (lambda: MASKED(SPIKES[0], SPIKES), "in the shape of the outputs"),
    ],
)
def test_impossible_arguments_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
