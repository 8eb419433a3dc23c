"""`docs/export.md` is what was found, and nothing is left out of it."""

import importlib.util
from pathlib import Path

import pytest

from tests.serving import matrix

PAGE = Path(__file__).parents[2] / "docs" / "export.py"


def page():
    spec = importlib.util.spec_from_file_location("export", PAGE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_what_was_found():
    assert page().FILE.read_text() == page().text()


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_every_layer_and_model_has_a_cell_in_every_column(backend):
    found = matrix.kept(backend)
    assert list(found) == matrix.columns(backend)
    for column, outcomes in found.items():
        assert list(outcomes) == matrix.rows(column)
        assert any(outcome == "" for outcome in outcomes.values())
        assert not any(text.startswith("WRONG") for text in outcomes.values())
