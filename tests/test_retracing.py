"""TensorFlow does not say that we trace too often, whatever is done in a row."""

import pytest

from tests.conftest import BACKEND
from tests.processes import printed


@pytest.mark.slow  # a minute
@pytest.mark.skipif(BACKEND != "tensorflow", reason="a warning of TensorFlow's")
def test_nothing_of_ours_is_said_to_be_traced_too_often():
    # In a process of its own, as TensorFlow says it twice in a process and no more.
    said = set(printed("-m", "tests.retracing").splitlines())
    assert said == {"RETRACING predict_many_models"}
