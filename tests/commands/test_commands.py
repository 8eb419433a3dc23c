"""What `ksn` prints, writes and returns."""

import errno
import json
import os
from pathlib import Path

import keras
import nengo
import nir
import numpy as np
import pytest
from typer.testing import CliRunner

import keras_spiking_nengo as ksn
from keras_spiking_nengo import commands
from keras_spiking_nengo.commands import app
from tests.conftest import BACKEND
from tests.marks import slow_on_jax


@pytest.fixture
def model():
    return keras.Sequential(
        [
            keras.Input((None, 4), name="x"),
            keras.layers.Dense(8, name="weights"),
            ksn.layers.Neurons(
                "integrate_and_fire", return_sequences=True, name="spikes"
            ),
        ]
    )


@pytest.fixture
def saved(model, tmp_path):
    model.save(tmp_path / "model.keras")
    return tmp_path / "model.keras"


def run(*words, code=0):
    """What a command printed, with its exit code."""
    wide = {"COLUMNS": "200"}  # no word of a table is broken
    result = CliRunner().invoke(app, [str(word) for word in words], env=wide)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result


def in_json(*words, code=0):
    return json.loads(run(*words, "--json", code=code).stdout)


def test_info_of_a_model(saved):
    found = in_json("info", saved)
    dense, spikes = found["layers"]
    assert found["weights"] == 40 + 8
    assert found["trained"] == dense["trained"] == 40
    assert spikes["output"] == [None, None, 8]
    assert "IntegrateAndFire" in spikes["what"]
    assert "dt=0.001" in spikes["what"]
    assert "spikes" in run("info", saved).stdout


def test_model_to_nir_and_back(model, saved, tmp_path):
    pytest.importorskip("nir")
    run("convert", saved, tmp_path / "net.nir")
    found = in_json("info", tmp_path / "net.nir")
    kinds = [node["primitive"] for node in found["nodes"]]
    assert sorted(kinds) == sorted(["Input", "Affine", "LIF", "Scale", "Output"])
    assert len(found["edges"]) == 4
    run("convert", tmp_path / "net.nir", tmp_path / "back.keras")
    back = keras.saving.load_model(tmp_path / "back.keras")
    x = np.random.default_rng(0).uniform(0, 2, (2, 30, 4)).astype("float32")
    np.testing.assert_array_equal(back.predict(x), model.predict(x))


@pytest.mark.skipif(BACKEND == "torch", reason="torch does not export")
@slow_on_jax
def test_model_to_a_stream(model, saved, tmp_path):
    said = in_json("convert", saved, tmp_path / "stream", "--to", "streaming")
    assert said["format"] == "streaming"
    found = in_json("info", tmp_path / "stream")
    assert [port["name"] for port in found["inputs"]] == ["x"]
    assert found["inputs"][0]["shape"] == ["batch", 4]
    assert found["states"]
    stream = ksn.serving.Stream(tmp_path / "stream")
    x = np.ones((1, 20, 4), "float32")
    y, _ = stream.sequence(x, stream.initial_state(1))
    np.testing.assert_array_equal(y, model.predict(x))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("info", "nothing.keras"), "There is no nothing.keras"),
        (("info", "{folder}"), "neither a .keras or .nir file"),
        (("convert", "{saved}", "out.h5"), "'.h5' is the suffix of no format"),
        (("convert", "{saved}", "out", "--to", "caffe"), "--to is one of keras, nir"),
        (("convert", "{saved}", "{saved}"), "exists"),
        (("convert", "{saved}", "a.nir", "--step"), "not for --to nir"),
        (("convert", "nothing.keras", "a.nir"), "There is no nothing.keras"),
    ],
)
def test_refusals(saved, words, message):
    words = [word.format(saved=saved, folder=saved.parent) for word in words]
    assert message in run(*words, code=1).stderr
    assert message in in_json(*words, code=1)["error"]


def test_a_file_that_is_no_model(tmp_path):
    (tmp_path / "bad.keras").write_bytes(b"nothing")
    assert in_json("info", tmp_path / "bad.keras", code=1)["error"]


FAULTS = {
    "of Python": lambda *args: len(3),
    "of NumPy": lambda *args: np.ones(2) + np.ones(3),
    "a missing key": lambda *args: {}["shape"],
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_of_ours_says_its_type_and_the_way_to_see_more(
    name, saved, monkeypatch
):
    monkeypatch.setattr(commands.describing, "describe", FAULTS[name])
    with pytest.raises((TypeError, ValueError, KeyError)) as caught:
        FAULTS[name]()
    kind = type(caught.value).__name__
    said = run("info", saved, code=1).stderr
    assert said.startswith(f"ksn: {kind}: {caught.value}. This is a fault of ours")
    assert "--debug" in said
    assert "Traceback" not in said
    assert in_json("info", saved, code=1)["error"] == said.strip()[len("ksn: ") :]
    assert "Traceback" in run("info", saved, "--debug", code=1).stderr


def test_what_a_user_can_mend_is_one_line_and_a_traceback_if_asked():
    said = run("info", "nothing.keras", code=1).stderr
    assert said == "ksn: There is no nothing.keras.\n"
    said = run("info", "nothing.keras", "--debug", code=1).stderr
    assert "Traceback" in said
    assert said.endswith("\nksn: There is no nothing.keras.\n")


@pytest.mark.parametrize("suffix", ["keras", "nir"])
def test_a_full_disk_is_one_line_and_half_a_file_goes(
    suffix, saved, tmp_path, monkeypatch
):
    def full(path):
        Path(path).write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(keras.Model, "save", lambda self, path: full(path))
    monkeypatch.setattr(nir, "write", lambda path, graph: full(path))
    said = run("convert", saved, tmp_path / f"new.{suffix}", code=1).stderr
    assert said.strip().splitlines()[-1] == (
        f"ksn: [Errno {errno.ENOSPC}] No space left on device"
    )
    assert [file.name for file in tmp_path.iterdir()] == ["model.keras"]


def test_unknown_command():
    assert run("fly", code=2).stderr


@pytest.mark.slow
def test_bench():
    rows = in_json("bench", "--quick")["rows"]
    assert [row["what"] for row in rows] == [
        "LIF, forward",
        "Dense + LIF, train",
        "integrator",
    ]
    assert all(row["ms"] > 0 and row["peer_ms"] > 0 for row in rows)
    assert "times as fast" in run("bench", "--quick").stdout


@pytest.mark.slow
def test_doctor():
    found = in_json("doctor")
    assert found["ok"]
    assert found["backend"] == BACKEND
    assert found["backends"][BACKEND]["devices"]
    assert found["packages"]["nengo"] == nengo.__version__
    assert set(found["extras"]) >= {"nir", "onnx", "serve"}
    assert "pip install 'keras-spiking-nengo[" in run("doctor").stdout
