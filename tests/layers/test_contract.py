"""Every layer in the catalogue keeps the whole contract."""

import keras
import pytest

import keras_spiking_nengo as ksn
from keras_spiking_nengo.layers.base import SequenceLayer
from tests.cases import LAYERS
from tests.layers.contract import check_layer

CHECKS = [name for name in dir(check_layer) if name.startswith("check_")]
TORCH = [
    "check_shapes",
    "check_training",
    "check_saving",
    "check_stateful",
    "check_plain_rnn",
]


def test_every_layer_over_time_has_a_case():
    public = [getattr(ksn.layers, name) for name in ksn.layers.__all__]
    layers = {c for c in public if issubclass(c, SequenceLayer)}
    assert layers == {case[0] for case in LAYERS.values()}


# An ensemble is a network, whose checks are not repeated in the default tests.
QUICK = ("check_config", "check_saving", "check_stateful")
CASES = [
    pytest.param(name, check, marks=pytest.mark.slow)
    if name == "Ensemble" and check not in QUICK
    else (name, check)
    for name in LAYERS
    for check in CHECKS
]


@pytest.mark.parametrize(("name", "check"), CASES)
@pytest.mark.skipif(keras.backend.backend() == "torch", reason="fewer on torch")
def test_contract(name, check):
    check_layer(*LAYERS[name], only=[check])


@pytest.mark.torch
@pytest.mark.skipif(keras.backend.backend() != "torch", reason="in test_contract")
@pytest.mark.parametrize("check", TORCH)
@pytest.mark.parametrize("name", LAYERS)
def test_contract_on_torch(name, check):
    check_layer(*LAYERS[name], only=[check])
