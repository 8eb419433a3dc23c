"""Training on devices and in processes together gives what training alone gives."""

import functools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_spiking_nengo  # noqa: F401 - registers the layers of what is saved
from tests.processes import ROOT, descendants, python

pytestmark = pytest.mark.distributed

EPOCHS = 3
LIMIT = 300  # seconds, of one training


def words(*options) -> list[str]:
    common = ("--epochs", str(EPOCHS), *map(str, options))
    return ["-m", "examples.data_parallel", *common]


def environment(backend: str) -> dict[str, str]:
    return os.environ | {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}


@functools.cache
def losses(backend: str, *options) -> tuple[list[float], float]:
    """Of every epoch, and the accuracy on the test set."""
    done = python(*words(*options), timeout=LIMIT, KERAS_BACKEND=backend)
    assert done.returncode == 0, done.stderr[-3000:]
    return read(done.stdout)


def read(text: str) -> tuple[list[float], float]:
    """The last loss that was told of each epoch, and the accuracy."""
    lines = text.splitlines()
    epochs = [json.loads(line) for line in lines if line.startswith("{")]
    found = {epoch["epoch"]: epoch["loss"] for epoch in epochs}
    assert sorted(found) == list(range(EPOCHS))
    accuracy = next(line for line in lines if line.startswith("test accuracy"))
    return [found[i] for i in range(EPOCHS)], float(accuracy.split()[-1])


def assert_equal(found, wanted):
    np.testing.assert_allclose(found[0], wanted[0], rtol=0, atol=1e-4)
    assert found[1] == pytest.approx(wanted[1], abs=0.005)
    assert wanted[0][-1] < 0.7 * wanted[0][0], "nothing was learned"


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_devices_of_one_process(backend):
    assert_equal(losses(backend, "--devices", 2), losses(backend))


def test_two_processes(tmp_path):
    saved = tmp_path / "model.keras"
    found = losses("jax", "--processes", 2, "--save", saved)
    assert_equal(found, losses("jax"))
    assert keras.saving.load_model(saved).count_params()


def test_two_processes_of_two_devices():
    assert_equal(losses("jax", "--processes", 2, "--devices", 2), losses("jax"))


@pytest.mark.parametrize("victim", [0, 1])
def test_killed_process_goes_on_from_the_backup(tmp_path, victim):
    """Whichever dies: what was done is not done again, and losses are equal."""
    options = ("--processes", 2, "--backup", tmp_path / "backup")
    with subprocess.Popen(
        [sys.executable, *words(*options)],
        cwd=ROOT,
        env=environment("jax"),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as supervisor:
        lines = []
        for line in supervisor.stdout:
            lines.append(line)
            if line.startswith('{"epoch": 0'):
                wait_for(tmp_path / "backup" / "0" / "training_metadata.json")
                os.kill(workers(supervisor.pid)[victim], signal.SIGKILL)
        assert supervisor.wait(LIMIT) == 0
    text = "".join(lines)
    assert "all start again" in text
    assert text.count('"epoch": 0') == 1, "an epoch that was kept was trained again"
    assert_equal(read(text), losses("jax"))
    assert not list((tmp_path / "backup").iterdir())


def workers(pid: int) -> list[int]:
    """The processes that train, the first one first."""
    ranks = {}
    for worker in descendants(pid):
        text = Path(f"/proc/{worker}/environ").read_bytes().decode()
        settings = dict(item.partition("=")[::2] for item in text.split("\0"))
        rank = settings.get("KERAS_DISTRIBUTION_PROCESS_ID")
        if rank is not None:
            ranks.setdefault(int(rank), worker)
    return [ranks[rank] for rank in sorted(ranks)]


def wait_for(file: Path) -> None:
    end = time.monotonic() + LIMIT
    while not file.exists():
        assert time.monotonic() < end, f"no {file}"
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("backend", "options", "message"),
    [
        ("jax", ("--processes", 3), "--batch 64 is not a multiple of 3 devices"),
        ("tensorflow", ("--processes", 2), "--processes needs KERAS_BACKEND=jax"),
    ],
)
def test_refusals(backend, options, message):
    done = python(*words(*options), timeout=LIMIT, KERAS_BACKEND=backend)
    assert done.returncode
    assert message in done.stderr
