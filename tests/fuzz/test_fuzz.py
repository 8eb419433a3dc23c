"""Files that were changed at random are read, or refused by an error of ours.

No other error, no hang, and no memory beyond the budget. `nox -s fuzz` tries new
inputs, `KSN_FUZZ` seconds for each kind of file; what has been found is in
`corpus.json`, which is tried by default.
"""

import json
from pathlib import Path

import pytest

from tests.conftest import BACKEND
from tests.fuzz.mutations import bounded_run, changed, fuzz
from tests.fuzz.targets import TARGETS
from tests.marks import quick

CORPUS = json.loads((Path(__file__).parent / "corpus.json").read_text())
pytestmark = pytest.mark.skipif(
    BACKEND == "torch", reason="streams are written from TensorFlow and JAX"
)


@pytest.mark.fuzz
@pytest.mark.parametrize("target", TARGETS)
def test_inputs_that_no_one_wrote(target):
    bases, read = TARGETS[target]
    fuzz(changed(bases()), read)


@pytest.mark.parametrize("target", quick(TARGETS, {*TARGETS} - {"streams"}))
def test_inputs_that_were_found(target):
    assert CORPUS[target]
    for name, changes in CORPUS[target]:
        with bounded_run():
            TARGETS[target][1](name, changes)
