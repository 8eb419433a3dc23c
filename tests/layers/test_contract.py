"""Every layer in the catalogue keeps the whole contract."""

import pytest

from keras_spiking_nengo.layers.base import Cell
from keras_spiking_nengo.layers.encoders.drawn import RandomCell
from keras_spiking_nengo.layers.encoders.encoder import EncoderCell
from tests.cases import LAYERS
from tests.conftest import BACKEND
from tests.layers.contract import check_layer
from tests.marks import SLOW_ON_JAX

CHECKS = [name for name in dir(check_layer) if name.startswith("check_")]
TORCH = [
    "check_shapes",
    "check_training",
    "check_saving",
    "check_stateful",
    "check_plain_rnn",
]


@pytest.mark.torch
@pytest.mark.parametrize("base", [Cell, EncoderCell, RandomCell])
def test_a_cell_without_its_step_cannot_be_made(base):
    with pytest.raises(TypeError, match="abstract.*program|abstract.*drawn"):
        base(dt=0.001, seed=0)


QUICK = ("check_config", "check_saving", "check_stateful")
# JAX has the whole contract of these among the default tests, and QUICK of all.
THOROUGH = ("Network", "Neurons(LIF, trained)", "Synapse(Lowpass, trained)")


# What is made like another layer, whose checks are not repeated in the default tests.
ALIKE = ("BernoulliEncoder", "Delay", "DeltaEncoder", "Ensemble", "LatencyEncoder")
ALIKE += ("Neurons(LIF)", "Neurons(SoftLIFRate)", "PoissonEncoder")
ALIKE += ("DelayedDense(axon)", "DelayedDense(dendrite)", "RecurrentNeurons(LIF)")
ALIKE += ("RecurrentNeurons(LIF, delays)",)


def _marks(name, check):
    if name in ALIKE and check not in QUICK:
        return [pytest.mark.slow]
    if check == "check_training" and name not in (*THOROUGH, "LMU"):
        return [pytest.mark.slow]  # it takes longer than all others together
    return [] if name in THOROUGH or check in QUICK else SLOW_ON_JAX


CASES = [
    pytest.param(name, check, marks=_marks(name, check))
    for name in LAYERS
    for check in CHECKS
]


@pytest.mark.parametrize(("name", "check"), CASES)
@pytest.mark.skipif(BACKEND == "torch", reason="fewer on torch")
def test_contract(name, check):
    check_layer(*LAYERS[name], only=[check])


@pytest.mark.torch
@pytest.mark.skipif(BACKEND != "torch", reason="in test_contract")
@pytest.mark.parametrize(
    ("name", "check"),
    [
        pytest.param(name, check, marks=slow if name in ALIKE else [])
        for name in LAYERS
        for check in TORCH
        for slow in [[] if check in QUICK else [pytest.mark.slow]]
    ],
)
def test_contract_on_torch(name, check):
    check_layer(*LAYERS[name], only=[check])
