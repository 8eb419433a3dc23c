"""What a network costs until it ran 100 steps, against how many ensembles it has.

Ensembles of 10 LIF neurons in a chain, in parallel chains, in loops, at random, all to
one and one to all (`peers/structures.py`). *build*: the constructor; *first*: 100 steps
and what is compiled for them; *later*: 100 more. Times are those of the process, of all
its threads. Nengo's decoder cache is disabled, and each size has a process of its own.

The floor: nengo's own builder, one decoder after the other, 4 ms for an ensemble with a
connection; it is part of *build* for both. nengo then merges operators in a time that
grows with their square, so that its largest sizes are left out.
"""

import json

import numpy as np
from peers.environment import Unavailable
from peers.process import report_of
from peers.report import console, judged
from suite import BACKENDS, Options, shown

TITLE = "Growth of networks"
STRUCTURES = ("chain", "chain of neurons", "chains of 10", "loops", "random")
STRUCTURES += ("all to one", "one to all")
SIZES, QUICK_SIZES = (1_000, 5_000, 20_000), (50, 100)
# nengo is stopped after so many, and may take so long.
NENGO_MOST, NENGO_MINUTES = 1_000, 10.0
# At most so many times as long for each ensemble, of the most and of the fewest.
TARGET = 1.15


def run(options: Options) -> dict:
    sizes = options.sizes or (QUICK_SIZES if options.quick else SIZES)
    structures = options.only or STRUCTURES
    rows: dict[str, list] = {}
    skipped: dict[str, str] = {}
    for structure in structures:
        for size in sizes:
            work = json.dumps({"structure": structure, "ensembles": size})
            for label, how in simulators(options, size).items():
                which = "nengo" if label == "nengo" else "ours"
                try:
                    with console.status(f"{structure}, {size:,}, {label}"):
                        row = report_of("structures.py", work, which, threads=1, **how)
                except Unavailable as reason:
                    skipped[f"{label}, {structure}, {size:,}"] = str(reason)
                    continue
                rows.setdefault(label, []).append(row)
                total = row["build"] + row["first"]
                console.print(f"{structure}, {size:,}, {label}: {total:.1f} s")
    return {
        "tables": [table_of(label, of) for label, of in rows.items()],
        "rows": rows,
        "checks": checks_of(rows),
        "targets": [] if options.quick else targets_of(rows),
        "skipped": skipped,
    }


def simulators(options: Options, size: int) -> dict[str, dict]:
    """Arguments of `report_of` for each simulator that is asked for such a network."""
    found: dict[str, dict] = {}
    if size <= NENGO_MOST:
        found["nengo"] = {"minutes": NENGO_MINUTES}
    for backend in options.backends:
        found[BACKENDS[backend]] = {"backend": backend}
    return found


def table_of(label: str, rows: list[dict]) -> dict:
    heads = ("structure", "ensembles", "build s", "first s", "later s", "ms each", "GB")
    cells = [
        (
            row["structure"],
            row["ensembles"],
            *(row[part] for part in ("build", "first", "later")),
            1e3 * each(row),
            row["gigabytes"],
        )
        for row in rows
    ]
    return shown(f"Built and run for 100 steps, {label}", heads, cells)


def each(row: dict) -> float:
    """Seconds for an ensemble, built and run for the first time."""
    return (row["build"] + row["first"]) / row["ensembles"]


def checks_of(rows: dict[str, list]) -> list[dict]:
    """Of the networks that nengo ran: outputs are as near as float32 makes them."""
    checks = []
    for expected in rows.get("nengo", []):
        wanted = np.array(expected["output"])
        for label in set(rows) - {"nengo"}:
            (row,) = (row for row in rows[label] if same(row, expected))
            distance = np.abs(np.array(row["output"]) - wanted)
            found = float(np.sqrt(np.mean(distance**2)))
            name = f"{row['structure']}, {row['ensembles']:,} ensembles, {label}"
            check = {"name": name, "wanted": "<= 0.05", "found": f"{found:.1e}"}
            checks.append(check | {"ok": found <= 0.05})
    return checks


def same(row: dict, other: dict) -> bool:
    return all(row[key] == other[key] for key in ("structure", "ensembles"))


def targets_of(rows: dict[str, list]) -> list[dict]:
    targets = []
    for label in set(rows) - {"nengo"}:
        for structure in dict.fromkeys(row["structure"] for row in rows[label]):
            chosen = [row for row in rows[label] if row["structure"] == structure]
            claim = f"{label}, {structure}: an ensemble of the most / of the fewest"
            ratio = each(chosen[-1]) / each(chosen[0])
            targets.append(judged({"claim": claim, "ratio": ratio, "at most": TARGET}))
        for expected in rows.get("nengo", []):
            (row,) = (row for row in rows[label] if same(row, expected))
            claim = f"{label} / nengo, {row['structure']}, {row['ensembles']:,}"
            ratio = each(row) / each(expected)
            targets.append(judged({"claim": claim, "ratio": ratio, "at most": 1.0}))
    return targets
