"""Pytest plugin that runs Nengo's own tests against `ksn.Simulator`.

The wheel lacks nengo's root conftest, so its settings are made here. Nengo's tests
presume double precision; `KSN_DTYPE=float32` asks for ours instead. `KSN_COMPILE`
says what does the steps: `True`, `False`, or `auto`.
"""

import os
import warnings

import keras
import nengo
import pytest
from nengo.rc import rc

import keras_spiking_nengo as ksn

keras.config.set_floatx(os.environ.get("KSN_DTYPE", "float64"))
COMPILE = {"True": True, "False": False}.get(os.environ.get("KSN_COMPILE", ""), "auto")


class Simulator(ksn.Simulator):
    """Ours, whose steps are done as `KSN_COMPILE` says where a test does not."""

    def __init__(self, *args, **arguments):
        several = arguments.get("minibatch_size")
        compile = "auto" if COMPILE is False and several else COMPILE
        super().__init__(*args, **{"compile": compile} | arguments)


@pytest.fixture(autouse=True)
def _settings():
    rc.reload_rc([])
    rc.set("decoder_cache", "enabled", "False")
    rc.set("exceptions", "simplified", "False")
    rc.set("nengo.Simulator", "fail_fast", "True")
    rc.set("progress", "progress_bar", "False")
    nengo.Simulator.fail_fast = True
    warnings.simplefilter("ignore", DeprecationWarning)
