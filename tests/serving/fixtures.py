"""What the tests of the example's server share: a small model, and its answers."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from examples import data
from examples.serving.classifier import Classifier
from tests.serving.running import ENV, ROOT


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """A model of the digits, trained for a moment, or the one that KSN_SERVED names."""
    if "KSN_SERVED" in os.environ:
        return Path(os.environ["KSN_SERVED"]).resolve()
    folder = tmp_path_factory.mktemp("served")
    command = [sys.executable, "-m", "examples.serving.model", "--epochs", "3"]
    subprocess.run([*command, str(folder)], check=True, cwd=ROOT, env=ENV)
    return folder


@pytest.fixture(scope="session")
def local(folder):
    """The same model in this process, to compare with."""
    return Classifier(folder)


@pytest.fixture(scope="session")
def images():
    return data.digits()[1][0]


@pytest.fixture(scope="session")
def expected(local, images):
    """Evidence for each image, asked one by one."""
    return np.concatenate([local.predict(image[None]) for image in images])
