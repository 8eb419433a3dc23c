"""Pytest plugin that runs Nengo's own tests against `ksn.Simulator`.

The wheel lacks nengo's root conftest, so its settings are made here. Nengo's tests
presume double precision; `KSN_DTYPE=float32` asks for ours instead.
"""

import os
import warnings

import keras
import nengo
import pytest
from nengo.rc import rc

keras.config.set_floatx(os.environ.get("KSN_DTYPE", "float64"))


@pytest.fixture(autouse=True)
def _settings():
    rc.reload_rc([])
    rc.set("decoder_cache", "enabled", "False")
    rc.set("exceptions", "simplified", "False")
    rc.set("nengo.Simulator", "fail_fast", "True")
    rc.set("progress", "progress_bar", "False")
    nengo.Simulator.fail_fast = True
    warnings.simplefilter("ignore", DeprecationWarning)
