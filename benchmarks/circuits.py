"""Networks as large as a machine holds: how long until they run, and how fast then.

Parts as Spaun's (semantic pointers of 64 dimensions that are stored, bound, cleaned up
and acted on; `peers/brains.py`), 23,400 neurons and 520 ensembles to a module.
*builder*: Nengo's alone, and the one that every simulator of ours uses; all that they
build is compared, and has to be equal. *build*: the constructor; *first*: 100 steps and
what is compiled for them; *ms*: of a step after that. Then one ensemble of a million
neurons, 1,024 copies of an integrator of 200, a million steps of it with what the probe
shows written to a file, and 1,000 trials, of which each is a network of its own seed
that runs for a length of its own, from 300 to 1,000 steps.

Times of brains are those of the process, others go by the clock. We compute in float32,
nengo in float64.
"""

import json

import numpy as np
from peers.process import report_of
from peers.report import console, judged
from suite import BACKENDS, Options, shown

TITLE = "Large networks"
MODULES = (1, 3, 21)
# nengo is stopped after so many.
NENGO_MOST = 3
OTHERS = {
    "a million neurons": {"neurons": 1_000_000},
    "1,024 copies": {"copies": 1_024},
    "a million steps": {"steps": 1_000_000},
    "1,000 trials": {"trials": 1_000},
}
# Nengo's builder over ours, nengo's step over ours, and gigabytes of the largest.
BUILD_TARGET, STEP_TARGET, MOST_GIGABYTES = 4.0, 15.0, 20.0


def run(options: Options) -> dict:
    sizes = options.sizes or (MODULES[:1] if options.quick else MODULES)
    rows: dict[str, list] = {}
    for size in sizes:
        for label, name, how in simulators(options, size):
            row = _report({"modules": size}, name, label, **how)
            rows.setdefault(label, []).append(row)
    others = {} if options.quick else OTHERS
    for backend in options.backends:
        for what, work in others.items():
            if options.only and what not in options.only:
                continue
            label = f"{what}, {BACKENDS[backend]}"
            rows[label] = [_report(work, "ours", label, backend=backend)]
    return {
        "tables": list(tables_of(rows)),
        "rows": rows,
        "checks": checks_of(rows),
        "targets": [] if options.quick else targets_of(rows),
        "skipped": {},
    }


def simulators(options: Options, size: int):
    """Labels, names of workers, and arguments of `report_of`."""
    if size <= NENGO_MOST:
        yield "builder", "builders", {}
        yield "nengo", "nengo", {}
    for backend in options.backends:
        yield BACKENDS[backend], "ours", {"backend": backend}


def _report(work: dict, name: str, label: str, **how) -> dict:
    with console.status(f"{work}, {label}"):
        row = report_of("brains.py", json.dumps(work), name, threads=1, **how)
    figures = {k: v for k, v in row.items() if isinstance(v, int | float)}
    console.print(f"{label}: {figures}")
    return row


def tables_of(rows: dict[str, list]):
    brains = [row | {"label": label} for label in rows for row in rows[label]]
    if "builder" in rows:
        cells = [
            (row["modules"], row["nengo"], row["ours"], row["nengo"] / row["ours"])
            for row in rows["builder"]
        ]
        heads = ("modules", "Nengo's s", "ours s", "x Nengo's")
        yield shown("Builders", heads, cells)
    cells = [
        (
            row["label"],
            row["neurons"],
            row["ensembles"],
            *(row[part] for part in ("build", "first", "ms", "gigabytes")),
        )
        for row in brains
        if "ensembles" in row
    ]
    heads = ("simulator", "neurons", "ensembles", "build s", "first s", "ms", "GB")
    yield shown("Brains", heads, cells)
    cells = [
        (row["label"], *(row.get(part) for part in ("build", "first", "ms")))
        + (row.get("run"), row.get("longest"), row["gigabytes"])
        for row in brains
        if "ensembles" not in row and row["label"] != "builder"
    ]
    if cells:
        heads = ("what", "build s", "first s", "ms", "a trial s", "longest s", "GB")
        yield shown("Much of one kind", heads, cells)


def checks_of(rows: dict[str, list]) -> list[dict]:
    checks = []
    for row in rows.get("builder", []):
        name = f"{row['modules']} modules, all that is built is Nengo's"
        found = "yes" if row["equal"] else "no"
        checks.append({"name": name, "wanted": "yes", "found": found})
        checks[-1]["ok"] = row["equal"]
    for expected in rows.get("nengo", []):
        wanted = np.array(expected["output"])
        for label in set(rows) & set(BACKENDS.values()):
            (row,) = (r for r in rows[label] if r["modules"] == expected["modules"])
            error = np.sqrt(np.mean((np.array(row["output"]) - wanted) ** 2))
            name = f"{row['modules']} modules, {label}: rms difference, of a memory"
            check = {"name": name, "wanted": "<= 0.05", "found": f"{error:.1e}"}
            checks.append(check | {"ok": bool(error <= 0.05)})
    return checks


def targets_of(rows: dict[str, list]) -> list[dict]:
    targets = []
    for row in rows.get("builder", []):
        claim = f"Nengo's builder / ours, {row['modules']} modules"
        ratio = row["nengo"] / row["ours"]
        targets.append({"claim": claim, "ratio": ratio, "at least": BUILD_TARGET})
    for label in set(rows) & set(BACKENDS.values()):
        for row in rows[label]:
            for other in rows.get("nengo", []):
                if other["modules"] == row["modules"]:
                    claim = f"nengo's step / {label}'s, {row['modules']} modules"
                    ratio = other["ms"] / row["ms"]
                    least = {"at least": STEP_TARGET}
                    targets.append({"claim": claim, "ratio": ratio} | least)
        claim = f"GB of {rows[label][-1]['neurons']:,} neurons, {label}"
        ratio = max(row["gigabytes"] for row in rows[label])
        targets.append({"claim": claim, "ratio": ratio, "at most": MOST_GIGABYTES})
    return list(map(judged, targets))
