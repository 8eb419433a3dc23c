"""docs/performance.md and its plot, from the results of the suites."""

import importlib
import json
from collections.abc import Iterable
from pathlib import Path

__all__ = ["write_report"]

DOCS = Path(__file__).parents[1] / "docs"
PAGE, PLOT = "performance.md", "performance.svg"
HEAD = """# Performance

Written by `uv run --group test benchmarks/run.py --report`; do not edit.

What is measured here is compared in one run on one machine, and only ratios carry over
to another. Every suite checks outputs before it times them. `uv run --group test
benchmarks/run.py all` runs everything (an hour and a half; peers get environments of
their own in `~/.cache/keras_spiking_nengo/bench`), `--quick` a small part of it.

![How many times as fast as its peers](performance.svg)
"""


def write_report(suites: Iterable[str], results: Path) -> None:
    """Write the page and the plot of those suites that have results."""
    found = {}
    for name in suites:
        file = results / f"{name}.json"
        if file.exists():
            found[name] = json.loads(file.read_text())
    if not found:
        raise SystemExit(f"{results} has no results: run a suite first")
    parts = [HEAD, *(part for item in found.items() for part in section(*item))]
    (DOCS / PAGE).write_text("\n".join(parts))
    draw([t for result in found.values() for t in result["targets"]], DOCS / PLOT)


def section(name: str, result: dict) -> Iterable[str]:
    """The parts of the page about one suite."""
    suite, here = importlib.import_module(name), result["machine"]
    yield f"## {suite.TITLE}\n"
    yield f"`benchmarks/run.py {name}`, on {here['cpu']}, {here['cores']} cores" + (
        f", load {here['load_before']} before and {here['load_after']} after.\n"
    )
    yield suite.__doc__.strip() + "\n"
    yield from verdicts(result["targets"])
    for table in result["tables"]:
        yield f"**{table['title']}**\n"
        yield markdown(table["columns"], table["rows"])
    for label, reason in result["skipped"].items():
        yield f"Not measured: {label} ({reason}).\n"


def verdicts(targets: list[dict]) -> Iterable[str]:
    if targets:
        rows = [
            (
                t["claim"],
                wanted(t),
                f"{t['ratio']:.2f}",
                "yes" if t["met"] else "**no**",
            )
            for t in targets
        ]
        yield markdown(("claim", "wanted", "reached", "met"), rows)


def wanted(target: dict) -> str:
    most = target.get("at most")
    return f"≤ {most:g}" if most else f"≥ {target['at least']:g}"


def markdown(columns, rows) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def draw(targets: list[dict], file: Path) -> None:
    """One bar per claim to be faster than something."""
    from matplotlib import pyplot as plt

    faster = [t for t in targets if "at least" in t]
    figure, axes = plt.subplots(figsize=(9, 0.22 * len(faster) + 1), layout="tight")
    for i, target in enumerate(reversed(faster)):
        colour = "tab:green" if target["met"] else "tab:orange"
        axes.barh(i, target["ratio"], color=colour)
        axes.plot([target["at least"]] * 2, [i - 0.4, i + 0.4], color="black")
    axes.set_yticks(range(len(faster)), [t["claim"] for t in reversed(faster)])
    axes.set_ylim(-1, len(faster))
    axes.tick_params(labelsize=7)
    axes.set_xscale("log")
    axes.set_xlabel("times as fast; the black line is the target")
    axes.axvline(1, color="grey", linewidth=0.5)
    figure.savefig(file)
    plt.close(figure)
