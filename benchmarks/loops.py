"""Closed loops with Python, single steps, and first runs, beside nengo's simulator.

*loops*: the models of `tests/catalogue/loops.py` (an arm, a pendulum, a muscle, an
actor and critic, a delay network, queues, neurons and a process of a user's own) with
200, 2,000 and 20,000 neurons. *x nengo* is nengo's time for the same steps over ours;
*other* the same for the kind of steps that `compile="auto"` did not choose; *x 16* is
16 times nengo's over ours with `minibatch_size=16`, and *vectorised* that with
functions that are marked by `ksn.tensor_function`. *Python* is what part of nengo's
step is the user's: functions, processes, neurons. Python in a minibatch that remembers
anything is shared by all items: its times count, its numbers mean nothing.
*single*: an integrator stepped by `sim.step()`, and by a controller that reads a probe,
sets a command, and calls `sim.run(dt)`.
*first runs*: from the constructor to the data, of an integrator of 500 neurons without
Python in its loop, and of the pendulum of 200 with it; and of all networks of the
tests' catalogue and loops of 200 neurons, of which the slowest are shown.

Each model runs in a process of its own, where simulators take turns (`peers/loops.py`).
Times are those of the process, which other work on the machine does not add to; first
runs, in which several threads compile, go by the clock, and so do minibatches with
vectorised functions, which run on all cores: *vectorised* is by the clock, and beside
it by the time of the process, of all its threads. We compute in float32, nengo in
float64, NumPy's products on one thread. In float64 our first steps must be nengo's.
"""

import json
from collections.abc import Iterable

from peers.process import report_of
from peers.report import console, judged
from suite import BACKENDS, Options, shown

TITLE = "Closed loops"
MODELS = ("arm", "pendulum", "muscle", "actor_critic", "delay_network", "queues")
MODELS += ("sign_neurons", "process")
SIZES, SINGLE, STARTS = (200, 2_000, 20_000), (500, 5_000), (0.1, 1.0, 10.0)
BATCH = 16
# At least so many times nengo's speed; at that many neurons where Python is no tenth of
# nengo's step; and for a minibatch without Python in it.
TARGET, LARGE_TARGET, BATCH_TARGET = 1.0, 4.0, 8.0
LARGE, LITTLE_PYTHON = 20_000, 0.1
# At most so many times nengo's time for a first run, the longest last.
START_TARGETS = (1.3, 1.3, 1.3)
WORST = 5


def run(options: Options) -> dict:
    sizes, models = (
        options.sizes or SIZES,
        options.only or (*MODELS, "single", "first", "catalogue"),
    )
    if options.quick:
        sizes = sizes[:1]
    tables, checks, targets, rows = [], [], [], {}
    for backend in options.backends:
        label = BACKENDS[backend]
        loops = []
        for model in filter(models.__contains__, MODELS):
            report = _report(backend, {"model": model, "sizes": sizes})
            checks += [c | {"name": f"{c['name']}: {label}"} for c in report["checks"]]
            loops += report["rows"]
            show_progress(label, report["rows"])
        single = _rows(backend, models, "single", {"single": SINGLE})
        first = _rows(backend, models, "first", {"starts": STARTS})
        every = _rows(backend, models, "catalogue", {"catalogue": STARTS})
        rows[backend] = {"loops": loops, "single": single, "first": first}
        rows[backend]["catalogue"] = every
        tables += [*tables_of(label, loops, single, first), *catalogue_of(label, every)]
        targets += list(targets_of(label, loops, single, [*first, *slowest(every)]))
    return {
        "tables": tables,
        "rows": rows,
        "checks": checks,
        "targets": [] if options.quick else targets,
        "skipped": {},
    }


def _report(backend: str, work: dict) -> dict:
    with console.status(f"{work}, {BACKENDS[backend]}"):
        return report_of("loops.py", json.dumps(work), backend=backend, threads=1)


def _rows(backend: str, models, name: str, work: dict) -> list[dict]:
    return _report(backend, work)["rows"] if name in models else []


def times_nengo(row: dict, name: str, of="process", count: int = 1) -> float | None:
    """How many times nengo's speed; None where it was not timed."""
    times = row["times"]
    if name not in times:
        return None
    return count * times["nengo"][of] / times[name][of]


def show_progress(label: str, rows: list[dict]) -> None:
    """One line when a model is done, as the whole takes long."""
    cells = [f"{row['neurons']}: {times_nengo(row, 'ours'):.2f}" for row in rows]
    console.print(f"{rows[0]['model']}, {label}, x nengo: {', '.join(cells)}")


def tables_of(label: str, loops, single, first) -> Iterable[dict]:
    heads = ("model", "neurons", "nengo us", "Python", "steps", "x nengo", "other")
    if loops:
        cells = [
            (
                row["model"],
                row["neurons"],
                1e6 * row["times"]["nengo"]["process"] / row["steps"],
                row["python"],
                "compiled" if row["compiled"] else "Nengo's",
                times_nengo(row, "ours"),
                times_nengo(row, "other"),
                times_nengo(row, "many", count=BATCH),
                times_nengo(row, "vectorised", "clock", BATCH),
                times_nengo(row, "vectorised", count=BATCH),
            )
            for row in loops
        ]
        yield shown(f"Loops, {label}", (*heads, "x 16", "vectorised", "process"), cells)
    if single:
        cells = [
            (
                row["what"],
                row["neurons"],
                times_nengo(row, "ours"),
                times_nengo(row, "stepped"),
            )
            for row in single
        ]
        heads = ("steps by", "neurons", "x nengo", "compile=False")
        yield shown(f"Single steps, {label}", heads, cells)
    if first:
        cells = [
            (
                row["what"],
                f"{row['seconds']:g} s",
                row["times"]["nengo"]["clock"],
                1 / times_nengo(row, "ours", "clock"),
                1 / times_nengo(row, "stepped", "clock"),
            )
            for row in first
        ]
        heads = ("model", "simulated", "nengo s", "x nengo's time", "compile=False")
        yield shown(f"First runs, {label}", heads, cells)


def catalogue_of(label: str, rows: list[dict]) -> Iterable[dict]:
    """For each length: all networks together, and those that do worst."""
    for seconds in dict.fromkeys(row["seconds"] for row in rows):
        chosen = [row for row in rows if row["seconds"] == seconds]
        chosen.sort(key=lambda row: times_nengo(row, "ours", "clock"))
        sums = {
            name: {"clock": sum(row["times"][name]["clock"] for row in chosen)}
            for name in ("nengo", "ours")
        }
        whole = {"what": f"all {len(chosen)}", "times": sums}
        cells = [
            (
                row["what"],
                row["times"]["nengo"]["clock"],
                1 / times_nengo(row, "ours", "clock"),
            )
            for row in (whole, *chosen[:WORST])
        ]
        title = (
            f"First {seconds:g} s of the catalogue, the slowest beside nengo, {label}"
        )
        yield shown(title, ("network", "nengo s", "x nengo's time"), cells)


def slowest(rows: list[dict]) -> list[dict]:
    """The row of each length that does worst."""
    worst: dict[float, dict] = {}
    for row in rows:
        other = worst.setdefault(row["seconds"], row)
        if times_nengo(row, "ours", "clock") < times_nengo(other, "ours", "clock"):
            worst[row["seconds"]] = row
    return list(worst.values())


def targets_of(label: str, loops, single, first) -> Iterable[dict]:
    for row in loops:
        name = f"{label}, {row['model']}, {row['neurons']:,} neurons"
        large = row["neurons"] >= LARGE and row["python"] < LITTLE_PYTHON
        least = LARGE_TARGET if large else TARGET
        yield _least(name, times_nengo(row, "ours"), least)
        many = times_nengo(row, "vectorised", "clock", BATCH)
        if many:
            yield _least(f"{name}, batch {BATCH}, vectorised", many, BATCH_TARGET)
    for row in single:
        name = f"{label}, {row['what']}, {row['neurons']:,} neurons"
        yield _least(name, times_nengo(row, "ours"), TARGET)
    for row in first:
        most = dict(zip(STARTS, START_TARGETS, strict=True))[row["seconds"]]
        claim = f"{label}, {row['what']}, first {row['seconds']:g} s / nengo's"
        ratio = 1 / times_nengo(row, "ours", "clock")
        yield judged({"claim": claim, "ratio": ratio, "at most": most})


def _least(claim: str, ratio: float, least: float) -> dict:
    return judged({"claim": f"nengo / {claim}", "ratio": ratio, "at least": least})
