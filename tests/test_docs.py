"""Names that the documentation mentions are there."""

import functools
import re
from pathlib import Path

import pytest

import keras_spiking_nengo as ksn
from tests.conftest import BACKEND

ROOT = Path(__file__).parents[1]
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
