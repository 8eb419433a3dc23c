"""Inputs, states and labels that are no numbers, or do not fit, are refused by name."""

import keras
import nengo
import numpy as np
import pytest

import keras_spiking_nengo as ksn
from tests.marks import TAKES_TURNS

pytestmark = TAKES_TURNS

K = ksn.layers
FRAMES = np.ones((2, 4, 3), "float32")
OVER_TIME = {
    "Neurons": lambda: K.Neurons("lif"),
    "Synapse": lambda: K.Synapse(0.01),
    "Delay": lambda: K.Delay(0.002),
    "LMU": lambda: K.LMU(1, 2, 4.0, keras.layers.Dense(2)),
    "Ensemble": lambda: K.Ensemble(5, 3, seed=0),
    "PoissonEncoder": lambda: K.PoissonEncoder(seed=0),
}


@pytest.mark.parametrize("state", ["a", ["a"], [None], [1j]], ids=str)
@pytest.mark.parametrize("name", OVER_TIME)
def test_states_that_are_no_numbers(name, state):
    with pytest.raises(ValueError, match=r"\binitial_state\b"):
        OVER_TIME[name]()(FRAMES, initial_state=state)


@pytest.mark.parametrize("name", ["Repeat", "PerStep"])
def test_complex_inputs(name):
    layer = {"Repeat": K.Repeat(3), "PerStep": K.PerStep(keras.layers.ReLU())}[name]
    with pytest.raises(ValueError, match=r"inputs is .*real.*complex"):
        layer(FRAMES * 1j)


@pytest.mark.parametrize("wrong", [1j, np.nan, np.inf])
def test_what_cannot_be_compared(wrong):
    model = keras.Sequential(
        [keras.Input((3,)), keras.layers.Dense(4, "relu"), keras.layers.Dense(2)]
    )
    spiking = ksn.to_spiking(model, scale_firing_rates=100.0, n_steps=3)
    x = np.ones((2, 3))
    assert ksn.compare(model, spiking, x).outputs
    with pytest.raises(ValueError, match=r"^x\b"):
        ksn.compare(model, spiking, x * wrong)


def graders():
    for loss in (
        ksn.losses.SpikeRateCrossEntropy(),
        ksn.losses.SpikeCountCrossEntropy(0.001),
        ksn.losses.TemporalCrossEntropy(),
        ksn.losses.LatencyCrossEntropy(0.001),
        ksn.losses.MaxOverTimeCrossEntropy(),
        ksn.metrics.RateAccuracy(),
        ksn.metrics.LatencyAccuracy(),
        ksn.metrics.LastStepAccuracy(),
        ksn.metrics.MaxOverTimeAccuracy(),
        ksn.metrics.PopulationAccuracy(1),
    ):
        yield type(loss).__name__, loss


GRADERS = dict(graders())
LABELS = {
    "none": (None, "y_true"),
    "text": (["a", "b"], "y_true"),
    "texts": (np.array(["a", "b"]), "y_true"),
    "complex": (np.array([1j, 0]), "y_true"),
    "too high": (np.array([0, 7]), "from 0 to 2.*received 7"),
    "negative": (np.array([0, -1]), "from 0 to 2.*received -1"),
    "half": (np.array([0.5, 1]), "from 0 to 2.*received 0.5"),
    "other items": (np.zeros(3, int), r"items.*2.*\(3,\)"),
}


@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("name", GRADERS)
def test_labels_that_are_none(name, labels):
    value, message = LABELS[labels]
    with pytest.raises(ValueError, match=message):
        GRADERS[name](value, FRAMES)


@pytest.mark.parametrize("value", [None, "a", np.array([["a"]])], ids=str)
def test_targets_that_are_no_numbers(value):
    with pytest.raises(ValueError, match="y_true"):
        ksn.losses.MaskedMeanSquaredError()(value, FRAMES)


def test_a_half_is_no_class_in_a_compiled_step_either():
    """Where labels are not known yet, such items count as wrong."""
    model = keras.Sequential([keras.Input((None, 3)), keras.layers.Identity()])
    model.compile(loss=ksn.losses.SpikeRateCrossEntropy(), metrics=["accuracy"])
    first = FRAMES * np.array([3, 2, 1])
    found = model.evaluate(first, np.array([0.0, 0.5]), verbose=0, return_dict=True)
    assert found["accuracy"] == 0.5


def test_lists_of_numbers_are_taken():
    assert K.Synapse(nengo.Lowpass(0.01))(FRAMES).shape == (2, 3)
    loss = ksn.losses.SpikeRateCrossEntropy()
    np.testing.assert_allclose(loss([0, 1], FRAMES), loss(np.array([0, 1]), FRAMES))
