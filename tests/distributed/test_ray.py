"""The examples that use Ray: simulations mapped, and hyper-parameters searched."""

import re

import numpy as np
import pytest

from tests.processes import printed

pytest.importorskip("ray.data")
pytest.importorskip("ray.tune")

pytestmark = pytest.mark.distributed


def test_sweep(tmp_path):
    """Each row is what its point gives alone, and more neurons are better."""
    from examples import sweep_ray

    out = tmp_path / "sweep"
    printed("-m", "examples.sweep_ray", "--seeds", 2, "--out", out)
    found = sweep_ray.read(out)
    assert dict(found.sizes) == {"neurons": 4, "tau": 3, "seed": 2, "time": 100}
    point = {"neurons": 100, "tau": 0.1, "seed": 1}
    alone = sweep_ray.simulate(point)
    np.testing.assert_array_equal(found["decoded"].sel(point), alone["decoded"])
    mean = found["rmse"].mean(["seed", "tau"])
    assert mean.sel(neurons=400) < mean.sel(neurons=50)


def test_search(tmp_path):
    text = printed(
        "-m", "examples.search_ray", "--trials", 3, "--epochs", 3, "--out", tmp_path
    )
    accuracies = [float(line.split()[0]) for line in text.splitlines()[-3:]]
    assert re.search("accuracy +epoch +config/learning_rate", text)
    assert accuracies == sorted(accuracies, reverse=True)
    assert accuracies[0] > 0.5
