"""What the documentation names is there, and the code that it shows runs."""

import functools
import re

import pytest

import keras_spiking_nengo as ksn
from tests.conftest import BACKEND
from tests.processes import ROOT, printed

PAGES = sorted(
    str(page.relative_to(ROOT))
    for page in [ROOT / "README.md", *ROOT.glob("docs/**/*.md")]
)
NAME = re.compile(r"\bksn((?:\.[A-Za-z_]\w*)+)")
LINK = re.compile(r"\]\((?!https?:)([^)#\s]+)")

pytestmark = pytest.mark.skipif(
    BACKEND != "tensorflow", reason="pages are alike on every backend"
)


@pytest.mark.parametrize("page", PAGES)
def test_names(page):
    for name in set(NAME.findall((ROOT / page).read_text())):
        functools.reduce(getattr, name.strip(".").split("."), ksn)


@pytest.mark.parametrize("page", PAGES)
def test_links(page):
    for link in LINK.findall((ROOT / page).read_text()):
        assert ((ROOT / page).parent / link).exists(), f"{page} leads to {link}"


RUNNING = [
    "docs/index.md",
    "docs/guide/nengo-for-keras-users.md",
    "docs/guide/keras-for-nengo-users.md",
]
NOTEBOOKS = sorted(p.name for p in (ROOT / "docs" / "notebooks").glob("*.py"))
CODE = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.mark.docs
@pytest.mark.parametrize("page", RUNNING)
def test_pages_run(page, tmp_path):
    """All blocks of a page, one after the other, as a reader runs them."""
    blocks = CODE.findall((ROOT / page).read_text())
    assert blocks
    printed("-c", "\n".join(blocks), cwd=tmp_path, timeout=None, MPLBACKEND="agg")


@pytest.mark.docs
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebooks_run(name, tmp_path):
    file = ROOT / "docs" / "notebooks" / name
    lines = [line for line in file.read_text().splitlines() if line.strip()]
    code = [line for line in lines if not line.startswith("#")]
    assert len(code) < 80, f"{len(code)} lines of code"
    printed(file, cwd=tmp_path, timeout=None, MPLBACKEND="agg")
