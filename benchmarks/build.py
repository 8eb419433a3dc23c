"""How long it takes until a network of many ensembles has run for the first time.

10 to 2,000 ensembles of 50 LIF neurons in pairs, with a decoded function, a filtered
loop and one probe (`peers/growing.py`); all seeds equal, so that solvers have little to
do. *build*: the constructor, nengo's cache of decoders disabled; *first*: 10 steps, and
what is compiled for them. A small network was built and run before. Outputs are
compared with those of nengo; NengoDL needs an older nengo, which draws other numbers.

The floor: nengo's own builder, which solves for decoders and makes signals, is called
by all of them. What we add should grow with the number of distinct shapes.
"""

import json

import numpy as np
from peers.environment import Unavailable
from peers.process import report_of
from peers.report import console, judged
from suite import BACKENDS, Options, shown

TITLE = "Building large networks"
COUNTS = (10, 100, 500, 2000)
# At most so much of NengoDL's time, for the largest.
TARGET = 0.5


def run(options: Options) -> dict:
    counts = COUNTS[:2] if options.quick else COUNTS
    reports, skipped = {}, {}
    for label, how in simulators(options).items():
        arguments = (json.dumps({"build": counts}), *how.pop("arguments"))
        try:
            with console.status(label):
                reports[label] = report_of("growing.py", *arguments, threads=1, **how)
        except Unavailable as reason:
            skipped[label] = str(reason)
    rows = {label: report["rows"] for label, report in reports.items()}
    return {
        "tables": [table_of(rows)],
        "rows": rows,
        "checks": checks_of(rows),
        "targets": [] if options.quick else targets_of(rows),
        "skipped": skipped,
    }


def simulators(options: Options) -> dict[str, dict]:
    found: dict[str, dict] = {"nengo": {"arguments": ("nengo",)}}
    for backend in options.backends:
        found[BACKENDS[backend]] = {"arguments": ("ours",), "backend": backend}
    if options.wants("nengodl"):
        found["NengoDL"] = {
            "arguments": ("nengodl", "1"),
            "peer": "nengodl",
            "minutes": options.minutes,
        }
    return found


def table_of(rows: dict[str, list]) -> dict:
    cells = [
        (
            row["ensembles"],
            label,
            row["build"],
            row["first"],
            row["build"] + row["first"],
        )
        for label, found in rows.items()
        for row in found
    ]
    columns = ("ensembles", "simulator", "build s", "first s", "both s")
    return shown("Build and first run", columns, sorted(cells, key=lambda c: c[0]))


def checks_of(rows: dict[str, list]) -> list[dict]:
    """Our outputs beside nengo's."""
    checks = []
    for label in BACKENDS.values():
        for row, core in zip(rows.get(label, ()), rows["nengo"], strict=False):
            output, expected = np.array(row["output"]), np.array(core["output"])
            off = float(np.abs(output - expected).max() / np.abs(expected).max())
            name = f"{label}, {row['ensembles']} ensembles"
            check = {"name": name, "wanted": "<= 1e-3", "found": f"{off:.1e}"}
            checks.append(check | {"ok": off <= 1e-3})
    return checks


def targets_of(rows: dict[str, list]) -> list[dict]:
    if "NengoDL" not in rows:
        return []

    def start(label):
        return rows[label][-1]["build"] + rows[label][-1]["first"]

    return [
        judged(
            {
                "claim": f"{label} / NengoDL, build and first run, {COUNTS[-1]}"
                " ensembles",
                "ratio": start(label) / start("NengoDL"),
                "at most": TARGET,
            }
        )
        for label in BACKENDS.values()
        if label in rows
    ]
