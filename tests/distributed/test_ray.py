"""The examples that use Ray: simulations mapped, and hyper-parameters searched."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("ray.data")
pytest.importorskip("ray.tune")

pytestmark = pytest.mark.distributed

ROOT = Path(__file__).parents[2]


def run(module: str, *options) -> str:
    done = subprocess.run(
        [sys.executable, "-m", f"examples.{module}", *map(str, options)],
        cwd=ROOT,
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_sweep(tmp_path):
    """Each row is what its point gives alone, and more neurons are better."""
    from examples import sweep_ray

    out = tmp_path / "sweep"
    run("sweep_ray", "--seeds", 2, "--out", out)
    found = sweep_ray.read(out)
    assert dict(found.sizes) == {"neurons": 4, "tau": 3, "seed": 2, "time": 100}
    point = {"neurons": 100, "tau": 0.1, "seed": 1}
    alone = sweep_ray.simulate(point)
    np.testing.assert_array_equal(found["decoded"].sel(point), alone["decoded"])
    mean = found["rmse"].mean(["seed", "tau"])
    assert mean.sel(neurons=400) < mean.sel(neurons=50)


def test_search(tmp_path):
    text = run("search_ray", "--trials", 3, "--epochs", 3, "--out", tmp_path)
    accuracies = [float(line.split()[0]) for line in text.splitlines()[-3:]]
    assert re.search("accuracy +epoch +config/learning_rate", text)
    assert accuracies == sorted(accuracies, reverse=True)
    assert accuracies[0] > 0.5
