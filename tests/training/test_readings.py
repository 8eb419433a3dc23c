"""What is read from the steps of an item: first spikes, populations, maxima, masks."""

import json

import keras
import numpy as np
import pytest

import keras_spiking_nengo as ksn
from tests.arrays import numpy
from tests.gradients import gradient
from tests.marks import SLOW_ON_JAX
from tests.training.models import JIT

# By default JAX runs the examples of the docstrings.
pytestmark = SLOW_ON_JAX

M, L = ksn.metrics, ksn.losses
BATCH, TIME, CLASSES, DT = 5, 9, 3, 0.002
RNG = np.random.RandomState(0)
LABELS = RNG.randint(0, CLASSES, BATCH)
FIRED = (RNG.uniform(size=(BATCH, TIME, 2 * CLASSES)) < 0.15).astype(float)
FIRED[0, :, 0] = 0  # one that never fires
SPIKES = FIRED * 0.5 / DT  # of neurons with an amplitude of 0.5
VOLTAGES = RNG.normal(size=(BATCH, TIME, CLASSES)) - 3.0
WEIGHTS = RNG.uniform(0.2, 2, size=(BATCH, TIME))
WEIGHTS[1, 4:] = WEIGHTS[2, :3] = 0


def first(fired):
    """Steps to the end of the first spike, one by one."""
    steps = np.full((len(fired), fired.shape[2]), fired.shape[1] + 1.0)
    for item, n, neuron in reversed(np.argwhere(fired).tolist()):
        steps[item, neuron] = min(steps[item, neuron], n + 1)
    return steps


def members(values):
    """The mean of two neurons for each class."""
    return (values[..., 0::2] + values[..., 1::2]) / 2


def counting(values, fill=0.0):
    return np.where(WEIGHTS[..., None] > 0, values, fill)


def share():
    return (WEIGHTS / WEIGHTS.max(1, keepdims=True))[..., None]


def rates(values, share):
    return np.mean(values / 0.5 * share / np.mean(share, 1, keepdims=True), 1)


# For each loss: the outputs, and its logits without and with weights of steps.
LATENCY = L.LatencyCrossEntropy(DT, 0.004, 0.5, population=2)
MAX = L.MaxOverTimeCrossEntropy(0.3)
RATE = L.SpikeRateCrossEntropy(40, 0.5, population=2)
COUNT = L.SpikeCountCrossEntropy(DT, amplitude=0.5, population=2)
LOSSES = {
    "latency": (
        LATENCY,
        SPIKES,
        members(first(FIRED)) * -DT / 0.004,
        members(first(counting(FIRED))) * -DT / 0.004,
    ),
    "max": (MAX, VOLTAGES, VOLTAGES.max(1) / 0.3, counting(VOLTAGES, -99).max(1) / 0.3),
    "rate": (
        RATE,
        SPIKES,
        members(rates(SPIKES, np.ones((BATCH, TIME, 1)))) / 40,
        members(rates(SPIKES, share())) / 40,
    ),
    "count": (
        COUNT,
        SPIKES,
        members(FIRED.sum(1)),
        members((FIRED * share()).sum(1)),
    ),
}


def entropy(logits):
    logits = logits - logits.max(-1, keepdims=True)
    return np.log(np.exp(logits).sum(-1)) - logits[np.arange(BATCH), LABELS]


@pytest.mark.torch
@pytest.mark.parametrize("name", LOSSES)
def test_cross_entropies_are_of_their_logits(name):
    loss, outputs, logits, weighted = LOSSES[name]
    loss = type(loss).from_config({**loss.get_config(), "reduction": None})
    assert json.loads(json.dumps(loss.get_config())) == loss.get_config()
    for labels in (LABELS, LABELS[:, None], np.eye(CLASSES)[LABELS]):
        found = numpy(loss(labels, outputs))
        np.testing.assert_allclose(found, entropy(logits), rtol=1e-4, atol=1e-5)
    found = numpy(loss(LABELS, outputs, WEIGHTS))
    expected = entropy(weighted) * WEIGHTS.max(1)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


ACCURACIES = {
    "latency": M.LatencyAccuracy(2),
    "max": M.MaxOverTimeAccuracy(),
    "rate": M.PopulationAccuracy(2),
    "count": M.PopulationAccuracy(2, DT, (0.0, TIME * DT)),
}


@pytest.mark.torch
@pytest.mark.parametrize("name", ACCURACIES)
def test_accuracies_are_of_the_same_logits(name):
    _, outputs, logits, weighted = LOSSES[name]
    metric = type(ACCURACIES[name]).from_config(ACCURACIES[name].get_config())
    metric.update_state(LABELS, outputs)
    assert float(metric.result()) == pytest.approx(np.mean(logits.argmax(1) == LABELS))
    metric.reset_state()
    metric.update_state(np.eye(CLASSES)[LABELS], outputs, WEIGHTS)
    if name == "rate":  # a rate weighs steps, and their sum is what is compared
        weighted = members((SPIKES * share()).sum(1))
    hits = np.average(weighted.argmax(1) == LABELS, weights=WEIGHTS.max(1))
    assert float(metric.result()) == pytest.approx(hits)


@pytest.mark.torch
def test_the_last_step_is_the_last_that_counts():
    metric = M.LastStepAccuracy()
    metric.update_state(LABELS, VOLTAGES)
    hits = VOLTAGES[:, -1].argmax(1) == LABELS
    assert float(metric.result()) == pytest.approx(hits.mean())
    metric.reset_state()
    metric.update_state(LABELS, VOLTAGES, WEIGHTS)
    last = [VOLTAGES[i, np.flatnonzero(WEIGHTS[i])[-1]] for i in range(BATCH)]
    hits = np.argmax(last, axis=1) == LABELS
    assert float(metric.result()) == pytest.approx(
        np.average(hits, weights=WEIGHTS.max(1))
    )


def expected_latency(p):
    """Of spikes that are sent with these probabilities, one by one in time."""
    silent, total = np.ones(p.shape[::2]), np.ones(p.shape[::2])
    for n in range(p.shape[1]):
        silent = silent * (1 - p[:, n])
        total = total + silent
    return total


def test_the_gradient_of_a_latency_is_that_of_the_expected_one():
    weights = RNG.normal(size=(BATCH, CLASSES))

    def logits(spikes):
        return LATENCY._logits(spikes, None)

    spikes = SPIKES.astype("float32")
    _, found = gradient(logits, spikes, weights=weights.astype("float32"))
    expected = np.zeros_like(FIRED)
    for index in np.ndindex(*FIRED.shape):
        # It is linear in each of them.
        one, none = FIRED.copy(), FIRED.copy()
        one[index], none[index] = 1, 0
        slope = members(expected_latency(one) - expected_latency(none))
        expected[index] = np.sum(weights * slope) * -DT / 0.004 * (DT / 0.5)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    assert np.abs(expected).max() > 0


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("weighted", [False, True])
def test_masks_that_keras_hands_on_are_weights_of_0(name, weighted):
    loss, outputs, *_ = LOSSES[name]
    keep = WEIGHTS > 0
    masked = handed_on(outputs, keep)
    weights = np.linspace(0.5, 2, BATCH) if weighted else None
    steps = keep.astype("float32")
    if weighted:
        steps = steps * weights[:, None]
    found = loss(LABELS, masked, weights)
    np.testing.assert_allclose(
        float(found), float(loss(LABELS, outputs, steps)), rtol=1e-5
    )
    metric = ACCURACIES[name]
    results = []
    for values, given in ((masked, weights), (outputs, steps)):
        metric.reset_state()
        metric.update_state(LABELS, values, given)
        results.append(float(metric.result()))
    assert results[0] == pytest.approx(results[1])


def handed_on(outputs, keep):
    """Outputs with a mask, as a layer of Keras hands it on."""
    layer = keras.layers.Masking(-1.0, dtype="float32")
    gone = np.where(keep[..., None], outputs, -1.0)
    return keras.layers.Identity()(layer(gone.astype("float32")))


@pytest.mark.parametrize(
    "metric",
    [M.FiringRate(), M.Sparsity(), M.SpikesPerInference(DT), M.DeadNeurons()],
    ids=lambda metric: metric.name,
)
def test_what_counts_spikes_leaves_masked_steps_out(metric):
    keep = WEIGHTS > 0
    results = []
    for values, given in ((handed_on(SPIKES, keep), None), (SPIKES, keep)):
        metric.reset_state()
        metric.update_state(None, values, given)
        results.append(float(metric.result()))
    assert results[0] == pytest.approx(results[1])
    metric.reset_state()
    metric.update_state(None, SPIKES)
    if metric.name != "dead_neurons":
        assert float(metric.result()) != pytest.approx(results[0])


@pytest.mark.parametrize("name", LOSSES)
def test_the_word_is_the_accuracy_of_the_loss_also_under_masks(name, tmp_path):
    loss, outputs, _, weighted = LOSSES[name]
    model = keras.Sequential(
        [keras.Input(outputs.shape[1:]), keras.layers.Masking(-1.0)]
    )
    model.add(keras.layers.Identity())
    model.compile("sgd", loss, metrics=["accuracy"], jit_compile=JIT)
    x = np.where(WEIGHTS[..., None] > 0, outputs, -1.0)
    found = model.evaluate(x, LABELS, verbose=0, return_dict=True)
    if name in ("rate", "count"):
        weighted = members(counting(SPIKES).sum(1))
    hits = np.mean(weighted.argmax(1) == LABELS)
    assert found["accuracy"] == pytest.approx(hits)
    model.save(tmp_path / "m.keras")
    again = keras.models.load_model(tmp_path / "m.keras")
    assert again.evaluate(x, LABELS, verbose=0, return_dict=True) == found


def test_a_class_is_taught_to_fire_first():
    rng = np.random.RandomState(0)
    x, y = rng.normal(size=(64, 8)), rng.randint(0, 2, 64)
    x[np.arange(64), y] += 3.0
    model = keras.Sequential(
        [
            keras.Input((8,)),
            ksn.layers.Repeat(20),
            keras.layers.Dense(2, bias_initializer="ones"),
            ksn.layers.Neurons("lif", return_sequences=True, seed=0),
        ]
    )
    loss = L.LatencyCrossEntropy(0.001, 0.003)
    model.compile(
        keras.optimizers.Adam(0.02), loss, metrics=["accuracy"], jit_compile=JIT
    )
    before = model.evaluate(x, y, verbose=0, return_dict=True)
    model.fit(x, y, batch_size=16, epochs=20, verbose=0)
    after = model.evaluate(x, y, verbose=0, return_dict=True)
    assert after["loss"] < 0.5 * before["loss"]
    assert after["accuracy"] > 0.9


@pytest.mark.parametrize(
    "make",
    [
        lambda: L.LatencyCrossEntropy(DT, population=2)(LABELS, SPIKES[..., :5]),
        lambda: RATE(LABELS, SPIKES[..., :5]),
        lambda: M.PopulationAccuracy(4).update_state(LABELS, SPIKES),
        lambda: M.LatencyAccuracy(4).update_state(LABELS, SPIKES),
    ],
)
def test_outputs_are_a_whole_number_of_populations(make):
    with pytest.raises(ValueError, match=r"With population=\d, outputs are of so many"):
        make()


@pytest.mark.parametrize("metric", [M.LastStepAccuracy(), M.MaxOverTimeAccuracy()])
def test_outputs_without_classes_over_time_are_refused(metric):
    for shape in ((BATCH, CLASSES), (BATCH, TIME, 2, CLASSES)):
        with pytest.raises(ValueError, match=type(metric).__name__):
            metric.update_state(LABELS, np.zeros(shape))
