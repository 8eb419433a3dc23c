"""Our LIF layer beside a C loop, SpikingJelly, snnTorch and Norse, in one run.

    python benchmarks/layers.py [--quick] [--json FILE] [--peers c,tensorflow,...]

*forward*: input currents in, spikes out, 16 x 500 steps x 512 neurons.
*train*: one step of Dense(512) + LIF on 512 features, forward, backward and Adam.

Every library runs in a process of its own on the same numbers (`peers/workload.py`).
The C loop (`lif.c`, `cc -O3 -march=native`) has one thread, TensorFlow and JAX all
cores, the torch libraries one or all, whichever is faster. Each peer is written in
the fastest way we found, and beside it as its own tutorial has it where that differs.
Before timing, the C loop is compared with nengo's own step and our layer with the
C loop, spike for spike; a difference makes the exit code 1. Targets that are not
met do not. Linux only.

The floor, per neuron and step, in float32:

- forward: 8 bytes (a current in, a spike out; voltage and refractory state stay
  in cache) and 16 operations, one of them a division. A copy of the array moves
  the same 8 bytes.
- train: 2 x 512 operations in the product forward and as many for the gradient of
  the weights, so the products dominate; besides about 50 bytes (inputs twice 8,
  currents 8, spikes 8, two saved states 16, their gradients 12). The two products
  alone are timed.
"""

import argparse
import json
import statistics
import sys
from dataclasses import asdict
from pathlib import Path

from peers.environment import Unavailable
from peers.process import report_of
from peers.report import (
    console,
    judged,
    machine,
    ratios,
    show_machine,
    show_verdicts,
    write,
)
from peers.workload import Workload
from rich.table import Table

OURS = ("tensorflow", "jax")
TORCH = ("spikingjelly", "snntorch", "norse")
WORKERS = ("c", *OURS, *TORCH)
QUICK = Workload(batch=4, steps=100, repeats=3, enough=0.3, too_long=5.0)

# Most times the C loop's time, forward; least times our time, training.
FORWARD_TARGETS = {"TensorFlow, jit": 4.5, "JAX, jit": 7.0}
TRAIN_TARGETS = {"SpikingJelly": 1.5, "snnTorch": 20.0, "Norse": 8.0}
TRAINED = ("TensorFlow, jit", "JAX, jit")


def run_worker(worker: str, work: Workload) -> dict:
    """The report of one worker; raises `Unavailable` if a peer or backend is not."""
    workload = json.dumps(asdict(work))
    if worker in TORCH:
        return report_of("torch_layers.py", workload, worker, peer=worker)
    if worker in OURS:
        return report_of("ours.py", workload, backend=worker)
    return report_of("c.py", workload)


def medians(reports: dict, case: str) -> dict[str, float]:
    """Name -> median seconds of the rows of one case."""
    return {
        row["name"]: statistics.median(row["seconds"])
        for report in reports.values()
        for row in report["cases"]
        if row["case"] == case
    }


def targets(forward: dict[str, float], train: dict[str, float]) -> list[dict]:
    """Every target of a row that ran, with the ratio that was reached."""
    to_c = ratios(forward, "C loop")
    reached = [
        {"claim": f"{name} / C loop", "at most": most, "ratio": to_c[name]}
        for name, most in FORWARD_TARGETS.items()
        if name in to_c
    ]
    for ours in TRAINED:
        reached += [
            {"claim": f"{name} / {ours}", "at least": least, "ratio": ratio}
            for peer, least in TRAIN_TARGETS.items()
            for name, ratio in ratios(train, ours).items()
            if name.startswith(peer)
        ]
    return [judged(target) for target in reached]


def show_times(title: str, times: dict, unit: str, scale: float, bases) -> None:
    """One row per name, slowest last; a column per row to compare with."""
    table = Table(title=title, title_justify="left")
    table.add_column("layer")
    table.add_column(unit, justify="right")
    columns = {base: ratios(times, base) for base in bases if base in times}
    for base in columns:
        table.add_column(f"/ {base}", justify="right")
    for name, seconds in sorted(times.items(), key=lambda item: item[1]):
        compared = [f"{column[name]:.2f}" for column in columns.values()]
        table.add_row(name, f"{seconds * scale:.2f}", *compared)
    console.print(table)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small, no targets")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers")
    default = ",".join(WORKERS)
    parser.add_argument("--peers", default=default, help="default %(default)s")
    chosen = parser.parse_args()
    chosen.peers = chosen.peers.split(",")
    unknown = sorted(set(chosen.peers) - set(WORKERS))
    if unknown:
        parser.error(f"--peers: {unknown} are not among {', '.join(WORKERS)}")
    return chosen


def main() -> int:
    chosen = arguments()
    work, here = (QUICK if chosen.quick else Workload()), machine()
    show_machine(here)

    reports, skipped = {}, {}
    for worker in chosen.peers:
        try:
            with console.status(worker):
                reports[worker] = run_worker(worker, work)
        except Unavailable as reason:
            skipped[worker] = str(reason)

    forward, train = medians(reports, "forward"), medians(reports, "train")
    per_step = 1e9 / work.neuron_steps
    show_times("forward", forward, "ns per neuron-step", per_step, ["C loop"])
    show_times("train step", train, "ms", 1e3, TRAINED)
    checks = [check for report in reports.values() for check in report["checks"]]
    reached = [] if chosen.quick else targets(forward, train)
    show_verdicts(checks, reached, skipped)

    if chosen.json:
        result = {
            "workload": asdict(work),
            "forward": {"seconds": forward, "to C loop": ratios(forward, "C loop")},
            "train": {"seconds": train}
            | {f"to {ours}": ratios(train, ours) for ours in TRAINED},
            "checks": checks,
            "targets": reached,
            "skipped": skipped,
            "reports": reports,
        }
        write(chosen.json, here, result)
    return 0 if all(check["ok"] for check in checks) else 1


if __name__ == "__main__":
    sys.exit(main())
