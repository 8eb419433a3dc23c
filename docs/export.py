"""Writes the tables of `export.md` from what `nox -s export` found.

Run `python docs/export.py`, after `nox -s export -- write`.
"""

import json
from pathlib import Path

FILE = Path(__file__).with_name("export.md")
RESULTS = Path(__file__).parents[1] / "tests" / "serving" / "results"
MARKS = "<!-- tables -->\n", "<!-- end of tables -->\n"
TITLES = {"tensorflow": "From TensorFlow", "jax": "From JAX"}


def tables() -> str:
    """A table for each backend, and the reasons that they number."""
    reasons: list[str] = []
    lines = []
    for backend, title in TITLES.items():
        columns = json.loads((RESULTS / f"{backend}.json").read_text())
        lines += ["", f"### {title}", "", *table(columns, reasons)]
    lines += ["", "### Reasons", ""]
    lines += [f"{i}. {text}" for i, text in enumerate(reasons, 1)]
    return "\n".join(lines[1:]) + "\n"


def table(columns: dict[str, dict[str, str]], reasons: list[str]) -> list[str]:
    """Rows of one backend; adds reasons that are new."""
    rows = max(columns.values(), key=len)
    lines = [f"| | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for row in rows:
        cells = [cell(found.get(row), reasons) for found in columns.values()]
        lines.append(f"| {row} | {' | '.join(cells)} |")
    return lines


def cell(outcome: str | None, reasons: list[str]) -> str:
    """What a cell shows: green, the number of a reason, or no such model."""
    if outcome is None:
        return ""
    if not outcome:
        return "yes"
    if outcome not in reasons:
        reasons.append(outcome)
    return f"no ({reasons.index(outcome) + 1})"


def text() -> str:
    """The page with its tables written anew."""
    begin, end = MARKS
    page = FILE.read_text()
    before, _, rest = page.partition(begin)
    _, _, after = rest.partition(end)
    return before + begin + tables() + end + after


if __name__ == "__main__":
    FILE.write_text(text())
