"""Our simulator beside nengo's own, nengo-ocl and NengoDL, on four networks.

Networks (`peers/circuits.py`): an integrator, 500 neurons; a circular convolution of
16 dimensions, 1,800; a basal ganglia of 16 actions, 4,000; a random network of 64
ensembles of 640 neurons and 16 dimensions, 40,960. One filtered probe on an output,
1,000 steps of 1 ms.

Every simulator runs each network in a process of its own, one after the other. nengo
computes in float64 and has no minibatches: its time for 16 is 16 times that for one.
So does nengo-ocl, on PoCL, and in float32. We and NengoDL compute in float32, with
minibatches of 1 and 16, and we with 128. NengoDL 3.6.0 runs in
an environment of its own, with the TensorFlow and nengo that it needs and
`inference_only=True`; `unroll_simulation` is 1, its default, and 25, that of its own
benchmarks, as its documentation says to try. NumPy's products have one thread: two
that wait for each other are slower as soon as the machine has other work. nengo runs
with all cores as well. Claims take the better row of a peer, and *start* is build and
first run together.

*build*: the constructor, nengo's cache of decoders disabled. *first*: the first run,
what is compiled then included. *run*: the median of at least five more, each from the
reset state; resets are not timed. A small network was built and run before, so that
starting the libraries counts for none of them.

Our output of the first run is compared with that of nengo's, which had the same seeds,
and is timed only if it agrees: within a thousandth of the range (rms), or twice what
float32 makes of nengo itself. In float64 it must be the same. A difference makes the
exit code 1. Targets that are not met do not.
NengoDL needs an older nengo, which draws other numbers: not compared.
"""

import json
import statistics
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from peers.environment import Unavailable
from peers.process import report_of
from peers.report import console, judged
from peers.workload import cores
from suite import BACKENDS, Options, shown

TITLE = "Nengo networks"
BATCH = 16
CORE = "nengo,"
PEERS = ("nengo-ocl", "NengoDL")
UNROLLED = (1, 25)
QUICK = {"steps": 100, "repeats": 1, "enough": 0.0}

# At least so many times the speed of nengo, batch 1.
CORE_TARGETS = {
    "integrator": 10.0,
    "circular_convolution": 5.0,
    "basal_ganglia": 5.0,
    "random": 3.0,
}
# At least so many times the speed of NengoDL, batch 16; and to start, at most its time.
NENGODL_TARGET = 10.0
START_TARGET = 1.0


@dataclass(frozen=True)
class Row:
    """What one simulator needed for one network and size of batch, in seconds."""

    network: str
    simulator: str
    batch: int
    build: float
    first: float
    run: float

    @property
    def start(self) -> float:
        return self.build + self.first


def simulators(options: Options) -> dict[str, dict]:
    """Label -> how `report_of` reaches it; nengo first, as others are compared."""
    found: dict[str, dict] = {}
    for threads in sorted({1, cores()}):
        label = f"nengo, {threads} thread{'s' * (threads > 1)}"
        found[label] = {"arguments": ("nengo",), "threads": threads}
    for backend in options.backends:
        label = BACKENDS[backend]
        found[label] = {"arguments": ("ours",), "backend": backend, "threads": 1}
    peer = {"minutes": options.minutes, "threads": 1}
    if options.wants("ocl"):
        found["nengo-ocl"] = {"arguments": ("ocl",), "peer": "ocl"} | peer
    for steps in UNROLLED if options.wants("nengodl") else ():
        arguments = ("nengodl", str(steps))
        found[f"NengoDL, unroll {steps}"] = {
            "arguments": arguments,
            "peer": "nengodl",
        } | peer
    return found


def run_network(network: str, found: dict, options: dict):
    """Label -> report of every simulator that there is, and label -> why not."""
    reports, skipped = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for label, how in found.items():
            # Another nengo draws other numbers: NengoDL gets no file to compare with.
            name = "none" if how.get("peer") == "nengodl" else "nengo.npz"
            work = {"network": network, "reference": str(Path(folder) / name)} | options
            try:
                with console.status(f"{network}, {label}"):
                    reports[label] = _report(work, **how)
                show_progress(network, label, reports[label])
            except Unavailable as reason:
                skipped[f"{network}, {label}"] = str(reason)
    return reports, skipped


def _report(work: dict, arguments: tuple[str, ...], **where) -> dict:
    return report_of("simulators.py", json.dumps(work), *arguments, **where)


def show_progress(network: str, label: str, report: dict) -> None:
    """One line when a simulator is done, as the whole takes long."""
    times = [
        f"{statistics.median(row['seconds']):.3f} s (batch {row['batch']})"
        for row in report["rows"]
        if row["seconds"]
    ]
    wrong = [
        f"WRONG: {check['found']}" for check in report["checks"] if not check["ok"]
    ]
    load = f"load {report['load']:g}"
    console.print(f"{network}, {label}: {', '.join([*times, *wrong, load])}")


def rows_of(network: str, reports: dict) -> list[Row]:
    """One row per simulator and batch that was timed, nengo's own for 16 included."""
    rows = [
        Row(
            network,
            label,
            row["batch"],
            row["build"],
            row["first"],
            statistics.median(row["seconds"]),
        )
        for label, report in reports.items()
        for row in report["rows"]
        if row["seconds"]
    ]
    return rows + [
        replace(row, batch=BATCH, first=BATCH * row.first, run=BATCH * row.run)
        for row in rows
        if row.simulator.startswith((CORE, "nengo-ocl"))
    ]


def least(rows: list[Row], simulator: str, batch: int, what: str) -> float | None:
    """The least time of the rows whose simulator's name begins so."""
    times = [
        getattr(row, what)
        for row in rows
        if row.simulator.startswith(simulator) and row.batch == batch
    ]
    return min(times, default=None)


def targets_of(network: str, rows: list[Row]) -> list[dict]:
    """Every target of one network whose rows ran, with the ratio that was reached."""

    def time(simulator, batch, what="run"):
        return least(rows, simulator, batch, what)

    claims = []
    for ours in BACKENDS.values():
        bound = {"at least": CORE_TARGETS[network]}
        claims.append((f"nengo / {ours}", time(CORE, 1), time(ours, 1), bound))
        bound = {"at least": NENGODL_TARGET}
        times = time("NengoDL", BATCH), time(ours, BATCH)
        claims.append((f"NengoDL / {ours}, batch {BATCH}", *times, bound))
        bound = {"at most": START_TARGET}
        for batch in (1, BATCH):
            times = time(ours, batch, "start"), time("NengoDL", batch, "start")
            claims.append((f"{ours} / NengoDL, start, batch {batch}", *times, bound))
    return [
        judged({"claim": f"{network}: {claim}", "ratio": above / below} | bound)
        for claim, above, below, bound in claims
        if above and below
    ]


def table_of(network: str, rows: list[Row], steps: int) -> dict:
    """Fastest first within a batch; how many times the speed of nengo and NengoDL."""
    cells = []
    for row in sorted(rows, key=lambda row: (row.batch, row.run)):
        peers = (least(rows, peer, row.batch, "run") for peer in (CORE, "NengoDL"))
        factors = (peer / row.run if peer else None for peer in peers)
        times = (row.build, row.first, 1e3 * row.run)
        cells.append((row.batch, row.simulator, *times, *factors))
    columns = ("batch", "simulator", "build s", "first s", "run ms", "x nengo")
    return shown(f"{network}, {steps} steps", (*columns, "x NengoDL"), cells)


def checks_of(reports: dict) -> list[dict]:
    """Ours and nengo's; what a peer makes of a network is its own affair."""
    return [
        check | {"name": f"{check['name']}: {label}"}
        for label, report in reports.items()
        for check in report["checks"]
        if check["ok"] or not label.startswith(PEERS)
    ]


def differing(reports: dict) -> dict[str, str]:
    """Peers whose output differs from nengo's, which are then not timed."""
    return {
        f"{check['name']}, {label}": f"differs from nengo: {check['found']}"
        for label, report in reports.items()
        for check in report["checks"]
        if label.startswith(PEERS) and not check["ok"]
    }


def run(options: Options) -> dict:
    work = QUICK if options.quick else {}
    found, skipped = simulators(options), {}
    reports, medians, checks, targets, tables = {}, [], [], [], []
    for network in CORE_TARGETS:
        if options.quick and network == "random":
            continue
        reports[network], missing = run_network(network, found, work)
        skipped |= missing | differing(reports[network])
        rows = rows_of(network, reports[network])
        tables.append(table_of(network, rows, work.get("steps", 1000)))
        medians += map(asdict, rows)
        checks += checks_of(reports[network])
        targets += [] if options.quick else targets_of(network, rows)
    return {
        "tables": tables,
        "rows": medians,
        "checks": checks,
        "targets": targets,
        "skipped": skipped,
        "reports": reports,
    }
