"""docs/performance.md and its plot, from the results of the suites."""

import importlib
import json
from collections.abc import Iterable
from pathlib import Path

from suite import BACKENDS

__all__ = ["write_report"]

DOCS = Path(__file__).parents[1] / "docs"
COLOURS = ("tab:orange", "tab:blue")
PAGE, PLOT = "performance.md", "performance.svg"
HEAD = """# Performance

![How many times as fast as what you would use instead](performance.svg)

How many times as fast as what you would use instead, each in one run on one machine;
below 1 it is slower. A table for each kind of work follows; how it was measured, and
what we had set out to reach, is at the end.
"""
METHODS = """## How it was measured

What is compared ran on one machine, in one run, and only ratios carry over to another.
Every suite checks outputs before it times them. `uv run --group test benchmarks/run.py
all` runs everything (an hour and a half; peers get environments of their own in
`~/.cache/keras_spiking_nengo/bench`), `--quick` a small part of it. This page is
written by `--report`; do not edit it.
"""
# What the plot shows: the suite, and the claim on each backend.
BARS = {
    "nengo:\nan integrator": ("networks", "integrator: nengo / {}"),
    "nengo: a pendulum in Python,\n2,000 neurons": (
        "loops",
        "nengo / {}, pendulum, 2,000 neurons",
    ),
    "NengoDL:\nbasal ganglia, batch 16": (
        "networks",
        "basal_ganglia: NengoDL / {}, batch 16",
    ),
    "SpikingJelly:\ntraining, 512 neurons": (
        "layers",
        "SpikingJelly, its fastest / {}, jit, train, 512 neurons",
    ),
    "Spyx:\ntraining, 512 neurons": (
        "layers",
        "Spyx, its fastest / {}, jit, train, 512 neurons",
    ),
}


def write_report(suites: Iterable[str], results: Path) -> None:
    """Write the page and the plot of those suites that have results."""
    found = {}
    for name in suites:
        file = results / f"{name}.json"
        if file.exists():
            found[name] = json.loads(file.read_text())
    if not found:
        raise SystemExit(f"{results} has no results: run a suite first")
    parts = [HEAD]
    for name, result in found.items():
        parts += tables_of(importlib.import_module(name), result)
    parts.append(METHODS)
    for name, result in found.items():
        parts += method_of(importlib.import_module(name), name, result)
    (DOCS / PAGE).write_text("\n".join(parts))
    draw(found, DOCS / PLOT)


def tables_of(suite, result: dict) -> Iterable[str]:
    """What a suite measured."""
    yield f"## {suite.TITLE}\n"
    for table in result["tables"]:
        yield f"**{table['title']}**\n"
        yield markdown(table["columns"], table["rows"])


def method_of(suite, name: str, result: dict) -> Iterable[str]:
    """How a suite measures, and what it was to reach."""
    here = result["machine"]
    yield f"### {suite.TITLE}\n"
    yield f"`benchmarks/run.py {name}`, on {here['cpu']}, {here['cores']} cores" + (
        f", load {here['load_before']} before and {here['load_after']} after.\n"
    )
    yield suite.__doc__.strip() + "\n"
    yield from verdicts(result["targets"])
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


def draw(found: dict[str, dict], file: Path) -> None:
    """A bar for each of `BARS` and each backend that was measured."""
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 4), layout="tight")
    for place, (backend, colour) in enumerate(
        zip(BACKENDS.values(), COLOURS, strict=True)
    ):
        for i, (suite, claim) in enumerate(reversed(BARS.values())):
            targets = found.get(suite, {"targets": []})["targets"]
            ratios = {t["claim"]: t["ratio"] for t in targets}
            ratio = ratios.get(claim.format(backend))
            if ratio is not None:
                at = i + 0.2 - 0.4 * place
                axes.barh(at, ratio - 1, 0.38, left=1, color=colour, label=backend)
                text = f"{ratio:.0f}" if ratio >= 10 else f"{ratio:.1f}"
                axes.text(max(ratio, 1) * 1.06, at, text, va="center", fontsize=8)
    axes.set_yticks(range(len(BARS)), list(reversed(BARS)), fontsize=8)
    axes.set_xscale("log")
    axes.set_xlim(0.5, 200)
    axes.set_xticks([0.5, 1, 2, 5, 10, 20, 50, 100], labels=None)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()
    axes.set_xlabel("times as fast")
    axes.axvline(1, color="black", linewidth=0.8)
    handles, labels = axes.get_legend_handles_labels()
    named = dict(zip(labels, handles, strict=True))
    axes.legend(named.values(), named.keys(), loc="lower right")
    figure.savefig(file)
    plt.close(figure)
