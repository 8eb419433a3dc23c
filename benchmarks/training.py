"""A native Nengo network trained by `fit`, beside plain Keras and NengoDL, in one run.

The stages of NengoDL's notebook "Integrating a Keras model into a Nengo network":
import, build, fit 5 epochs, evaluate 10,000 images, convert. Fashion-MNIST as 784
pixels, 128 rectified linear neurons, 10 outputs; Adam. *Keras* is two Dense layers.
*Simulator* is `ksn.Simulator(net)` with its `compile` and `fit`, *from_nengo* the model
that `ksn.from_nengo(net)` makes; their network consists of Nengo's objects
(`peers/notebook.py`), and so does NengoDL's. Data are NumPy arrays; images are
sequences of one step where there is time. Batches are 20 and 32; 20 for NengoDL 3.6.0,
which runs in an environment of its own with the TensorFlow that it needs, as its
notebook has it, and with the loop over time left out (`use_loop=False`).

Every library has a process of its own, one after the other, but that Keras's layers
are trained in the same one as our network, an epoch each in turn, so that both see the
same machine. A process that only imports goes before, so that files are read and
compiled to bytecode, and a small model is trained before others are timed. *fit* is all
epochs, the first of which compiles; *later epoch* is the median of the others.
*evaluate* is the first call, and compiles. *convert* makes a network of the Keras
model, *build it* a simulator of that, and *run it* predicts the 10,000 images. CPU
seconds are those of all threads.

We are judged by the clock against Keras on the same backend and with the same batch;
all of these are compiled by XLA, without which Keras on TensorFlow took 1.5 times as
long. NengoDL is judged by CPU seconds, its faster row. Only rows that learn what Keras
learns are judged: accuracy within 0.02 of Keras's (0.1 with --quick). Our two ways must
give the logits that Keras gives after training from equal weights, without a bias on
the output, which the network lacks; a converted network must give those of its model. A
difference makes the exit code 1. Targets that are not met do not.

The floor, per image: 409,000 operations, 2 per weight forward, 2 per weight for its
gradient, and 2,560 back through the second layer. Per batch, 12 for each of 101,760
weights in Adam's step: 61,000 per image at batch 20, 38,000 at 32. Bytes: 3,136 of an
image, read once for the batch and twice in it; 28 per weight in Adam's step (weight and
two moments read and written, gradient read), 142,000 per image at batch 20, 89,000 at
32, in cache. *NumPy* does this alone, on one thread: no shuffling, loss or metric.

Half of NengoDL's CPU seconds cannot be reached on TensorFlow: Keras's own two layers
take two thirds of them there, with nothing of ours in the process. A step of `fit` is
a call of a compiled function of some milliseconds, of which the products and Adam are
a seventh.
"""

import json
import os
import tempfile
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace

from peers.environment import Unavailable
from peers.process import report_of
from peers.report import console, judged
from suite import BACKENDS, Options, shown

TITLE = "A native Nengo network, trained"
BATCHES = (20, 32)
KERAS, NENGODL = "Keras", "NengoDL"
OURS = ("Simulator", "from_nengo")
ONLY_IMPORT = {"only_import": True}
QUICK = {"train": 2000, "epochs": 1}
STAGES = ("build", "fit", "first epoch", "later epoch", "evaluate")
CONVERSION = ("convert", "build", "run")

# At most so many times Keras's seconds; NengoDL needs at least so many times our CPU's.
KERAS_TARGET = 1.3
NENGODL_TARGET = 2.0
# Of the accuracy of Keras; and what Keras must reach, after one short epoch or five.
TOLERANCE = {True: 0.1, False: 0.02}
LEARNED = {True: 0.5, False: 0.85}


@dataclass(frozen=True)
class Row:
    """One network trained with one size of batch.

    Attributes:
        library: backend, or NengoDL.
        way: in which it was made.
        stages: name -> `{"wall": seconds, "cpu": seconds}`.
        ok: whether it learned.
    """

    library: str
    way: str
    batch: int
    stages: dict[str, dict[str, float]]
    accuracy: float
    ok: bool = True

    @property
    def label(self) -> str:
        return f"{self.library}, {self.way}, batch {self.batch}"


def workers(options: Options) -> dict[tuple[str, str], dict]:
    """`(library, who)` -> how `report_of` reaches it."""
    found: dict[tuple[str, str], dict] = {}
    for backend in options.backends:
        for who in ("keras", "ours"):
            found[BACKENDS[backend], who] = {"backend": backend}
    if options.wants("nengodl"):
        found[NENGODL, "nengodl"] = {"peer": "nengodl", "minutes": options.minutes}
    return found


def run_workers(options: Options) -> tuple[dict, dict]:
    """Reports by `(library, who)`, and why there is none."""
    reports, skipped = {}, {}
    for (library, who), where in workers(options).items():
        try:
            with console.status(f"{library}, {who}"):
                report_of_work(ONLY_IMPORT, who, where)
                work = work_of(who, options)
                reports[library, who] = report_of_work(work, who, where)
        except Unavailable as reason:
            skipped[f"{library}, {who}"] = str(reason)
    return reports, skipped


def work_of(who: str, options: Options) -> dict:
    """What a worker does; Keras, which is trained beside our ways, is only imported."""
    if who == "keras":
        return ONLY_IMPORT
    batches = BATCHES[:1] if who == "nengodl" else BATCHES
    return (QUICK if options.quick else {}) | {"batches": batches}


@contextmanager
def bytecode():
    """Where Python may keep what it compiles, whatever the environment says."""
    names = ("PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX")
    before = {name: os.environ.pop(name) for name in names if name in os.environ}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["PYTHONPYCACHEPREFIX"] = folder
        yield
    del os.environ["PYTHONPYCACHEPREFIX"]
    os.environ.update(before)


def report_of_work(work: dict, who: str, where: dict) -> dict:
    return report_of("notebook.py", json.dumps(work), who, threads=1, **where)


def rows_of(reports: dict) -> list[Row]:
    """Every way to train, not yet judged."""
    return [
        Row(library, row["way"], row["batch"], row["stages"], row["accuracy"])
        for (library, _), report in reports.items()
        for row in report.get("rows", ())
    ]


def learned(row: Row, rows: list[Row], quick: bool) -> dict:
    """Whether a network classifies as well as Keras does, and Keras well."""
    peers = [r for r in rows if r.way == KERAS and r.batch == row.batch]
    peers = [r for r in peers if r.library == row.library] or peers
    check = {"name": f"{row.label}: accuracy", "found": f"{row.accuracy:.4f}"}
    if row.way == KERAS or not peers:
        least = LEARNED[quick]
        return check | {"wanted": f">= {least:g}", "ok": row.accuracy >= least}
    wanted, allowed = peers[0].accuracy, TOLERANCE[quick]
    ok = abs(row.accuracy - wanted) <= allowed
    return check | {"wanted": f"{wanted:.4f} +- {allowed:g}", "ok": ok}


def least(rows: list[Row], library: str, way: str, batch: int, stage: str, kind: str):
    """The least seconds of the rows that learned and whose way begins so."""
    return min(
        (
            row.stages[stage][kind]
            for row in rows
            if row.ok
            and row.library == library
            and row.way.startswith(way)
            and row.batch == batch
            and stage in row.stages
        ),
        default=None,
    )


def targets_of(rows: list[Row]) -> list[dict]:
    """Every target of rows that ran and learned, with the ratio that was reached."""
    claims = []
    for row in rows:
        if row.way not in OURS or not row.ok:
            continue
        ours = f"{row.library}, {row.way}"
        for stage in ("fit", "later epoch"):
            where = f"{stage}, batch {row.batch}"
            keras = least(rows, row.library, KERAS, row.batch, stage, "wall")
            ratio = keras and row.stages[stage]["wall"] / keras
            bound = {"at most": KERAS_TARGET}
            claims.append((f"{ours} / {KERAS}, {where}", ratio, bound))
            peer = least(rows, NENGODL, NENGODL, row.batch, stage, "cpu")
            ratio = peer and peer / row.stages[stage]["cpu"]
            bound = {"at least": NENGODL_TARGET}
            claims.append((f"{NENGODL} / {ours}, CPU of {where}", ratio, bound))
    return [
        judged({"claim": claim, "ratio": ratio} | bound)
        for claim, ratio, bound in claims
        if ratio
    ]


def tables_of(rows: list[Row], floors: dict, reports: dict) -> list[dict]:
    """By the clock and of the CPU: all stages, then imports and conversions."""
    kinds = {"wall": "wall seconds", "cpu": "CPU seconds, of all threads"}
    return [
        table
        for kind, title in kinds.items()
        for table in (
            stages_table(rows, floors, kind, title),
            conversions_table(reports, kind, title),
        )
    ]


def stages_table(rows: list[Row], floors: dict, kind: str, title: str) -> dict:
    cells: list[tuple] = [
        (
            row.batch,
            row.library,
            row.way,
            *(row.stages[s][kind] if s in row.stages else None for s in STAGES),
            row.accuracy,
        )
        for row in sorted(rows, key=lambda row: row.batch)
    ]
    for batch, cost in floors.items():
        times = [cost[kind] if stage == "later epoch" else None for stage in STAGES]
        cells.append((int(batch), "NumPy", "products and Adam", *times, None))
    columns = ("batch", "library", "way", *STAGES, "accuracy")
    return shown(f"Training, {title}", columns, cells)


def conversions_table(reports: dict, kind: str, title: str) -> dict:
    cells = []
    for (library, who), report in reports.items():
        stages = report.get("conversion", {})
        times = (stages[s][kind] if s in stages else None for s in CONVERSION)
        cells.append((library, who, report["import"][kind], *times))
    columns = ("library", "worker", "import", "convert", "build it", "run it")
    return shown(f"Import and conversion, {title}", columns, cells)


def checks_of(reports: dict) -> list[dict]:
    return [
        check | {"name": f"{library}, {check['name']}"}
        for (library, _), report in reports.items()
        for check in report.get("checks", ())
    ]


def run(options: Options) -> dict:
    with bytecode():
        reports, skipped = run_workers(options)
    rows = rows_of(reports)
    verdicts = [learned(row, rows, options.quick) for row in rows]
    rows = [
        replace(row, ok=verdict["ok"])
        for row, verdict in zip(rows, verdicts, strict=True)
    ]
    sources = sorted({r["data"] for r in reports.values() if "data" in r})
    console.print(f"data: {', '.join(sources)}")
    floors: dict = next((r["floor"] for r in reports.values() if "floor" in r), {})
    return {
        "tables": tables_of(rows, floors, reports),
        "data": sources,
        "rows": [asdict(row) for row in rows],
        "checks": verdicts + checks_of(reports),
        "targets": [] if options.quick else targets_of(rows),
        "skipped": skipped,
        "reports": {f"{library}, {who}": r for (library, who), r in reports.items()},
    }
