"""The house is as `docs/contributing.md` draws it: rooms, names, sizes."""

import ast
from collections import defaultdict
from pathlib import Path

import pytest

import keras_spiking_nengo as ksn
from tests.marks import TAKES_TURNS

pytestmark = TAKES_TURNS

ROOT = Path(ksn.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
TREES = {path: ast.parse(path.read_text()) for path in FILES}
IDS = [str(path.relative_to(ROOT)) for path in FILES]

# One name for the two directions of every format, and public names of two modules which
# users know by their module: a metric and a regularizer.
SAME = {"read", "write", "FiringRate"}


def code(path: Path) -> set[int]:
    """Numbers of the lines that hold code: no docstring, comment or blank line."""
    texts = {
        line
        for node in ast.walk(TREES[path])
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        for line in range(node.lineno, node.end_lineno + 1)
    }
    lines = enumerate(path.read_text().splitlines(), 1)
    return {
        n for n, line in lines if n not in texts and line.strip()[:1] not in ("", "#")
    }


def top_level(tree: ast.Module) -> set[str]:
    """The names that a module defines."""
    names = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        targets = node.targets if isinstance(node, ast.Assign) else []
        targets = [node.target] if isinstance(node, ast.AnnAssign) else targets
        names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return names - {"__all__"}


def test_a_file_s_name_stands_once():
    """So that a name says where one is; but for both directions of a format."""
    places = defaultdict(list)
    for path in FILES:
        places[path.stem].append(path)
    for name in ("__init__", "reading", "writing"):
        del places[name]
    assert {name: paths for name, paths in places.items() if len(paths) > 1} == {}


def test_a_name_means_one_thing():
    places = defaultdict(list)
    for path, tree in TREES.items():
        for name in top_level(tree) - SAME:
            places[name].append(str(path.relative_to(ROOT)))
    assert {name: paths for name, paths in places.items() if len(paths) > 1} == {}


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_files_are_short(path):
    """What holds more than one thing becomes more than one file."""
    assert len(code(path)) <= 400


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_functions_are_short(path):
    lines = code(path)
    long = {
        node.name: size
        for node in ast.walk(TREES[path])
        if isinstance(node, ast.FunctionDef)
        and (size := len(lines & {*range(node.body[0].lineno, node.end_lineno + 1)}))
        > 40
    }
    assert long == {}


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_classes_have_few_methods(path):
    """But for `Simulator`, whose methods are nengo's interface."""
    large = {
        node.name: count
        for node in ast.walk(TREES[path])
        if isinstance(node, ast.ClassDef)
        and node.name != "Simulator"
        and (count := sum(isinstance(item, ast.FunctionDef) for item in node.body)) > 15
    }
    assert large == {}


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_nothing_hides_a_circle(path):
    """Imports that only a type checker sees would."""
    assert "TYPE_CHECKING" not in path.read_text()


def test_one_room_asks_which_backend_runs():
    asking = {
        path.relative_to(ROOT).parts[:2]
        for path in FILES
        if "backend.backend()" in path.read_text()
    }
    assert asking == {("dynamics", "loops")}
