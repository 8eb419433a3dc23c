"""Every layer and model in every format, each loaded where Keras is not installed."""

import os

import pytest

from tests.conftest import BACKEND
from tests.serving import matrix

# One column is what nox runs in a process.
COLUMNS = [c for c in matrix.columns(BACKEND) if c == os.environ.get("KSN_COLUMN", c)]
CELLS = [(column, row) for column in COLUMNS for row in matrix.rows(column)]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """Outcomes of a column, filled once; with KSN_WRITE=1 they are kept, too."""
    found = {}

    def of(column):
        if column not in found:
            folder = tmp_path_factory.mktemp(column.replace(" ", "_"))
            found[column] = matrix.filled(column, matrix.rows(column), folder)
            if os.environ.get("KSN_WRITE"):
                matrix.keep(BACKEND, column, found[column])
        return found[column]

    return of


@pytest.mark.export
@pytest.mark.skipif(BACKEND == "torch", reason="Keras cannot export from torch")
@pytest.mark.parametrize(("column", "row"), CELLS)
def test_a_cell_is_green_or_refused_as_the_table_says(column, row, outcomes):
    found = outcomes(column)[row]
    assert not found.startswith("WRONG"), found
    assert found == matrix.kept(BACKEND)[column][row]
