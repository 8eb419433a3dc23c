"""What long runs need: memory against steps, and time per neuron-step against size.

*memory*: a recurrent ensemble of 1,000 LIF neurons, a filtered probe sampled every 10
ms, 1,000 to 1,000,000 steps of 1 ms; the largest memory of a process of its own, with
what the libraries take.
*time*: our LIF layer on 16 x 512 neurons, for 12 to 12,000 steps, so that there are 1e5
to 1e8 neuron-steps (`peers/alone.py`).

The floor: a probe keeps 4 bytes per sample (0.4 MB in 1,000,000 steps), a block of
steps what its budget allows. *doubled* is the least that a call can do with these
arrays: it multiplies the input by 2, and writes another array of its size. *less* is
our time less that: what the neurons take, and what is to grow with their number alone.
Pages kept are those of `layers`.

What cannot be reached: 1.5 in all rows. For the smallest size the call that doubles
takes 0.2 ms on JAX and 0.3 ms on TensorFlow, 2 and 3 ns per neuron-step, more than the
neurons take. Without kept pages the pages of the result cost 2 ns per neuron-step from
1e7 on, and nothing for 1e6. Less both, the neurons take 1 to 2 ns at every size, which
is what this machine measures twice of one thing.
"""

import json
import statistics
from dataclasses import asdict

from peers.process import report_of
from peers.report import console, judged
from peers.workload import Workload
from suite import BACKENDS, Options, shown

TITLE = "Growth"
STEPS = (1_000, 10_000, 100_000, 1_000_000)
SIZES = ((16, 12, 512), (16, 122, 512), (16, 1220, 512), (16, 12200, 512))
MEMORY_TARGET, TIME_TARGET = 1.1, 1.5


def run(options: Options) -> dict:
    steps = STEPS[:2] if options.quick else STEPS
    sizes = SIZES[:2] if options.quick else SIZES
    tables, checks, targets, rows = [], [], [], {}
    for backend in options.backends:
        with console.status(f"memory, {backend}"):
            memory = [
                report_of(
                    "growing.py", json.dumps({"steps": n}), "ours", backend=backend
                )
                for n in steps
            ]
        with console.status(f"time, {backend}"):
            work = asdict(Workload(enough=1.0))
            wanted = json.dumps({"sizes": sizes, "synapses": [], "doubled": True})
            alone, kept = (
                report_of(
                    *("alone.py", json.dumps(work), wanted),
                    backend=backend,
                    keep_pages=keep_pages,
                )
                for keep_pages in (False, True)
            )
        rows[backend] = {
            "memory": memory,
            "time": alone["sizes"],
            "kept": kept["sizes"],
        }
        checks += alone["checks"] + [sampled(backend, row) for row in memory]
        tables += tables_of(backend, **rows[backend])
        targets += [] if options.quick else targets_of(backend, **rows[backend])
    return {
        "tables": tables,
        "rows": rows,
        "checks": checks,
        "targets": targets,
        "skipped": {},
    }


def sampled(backend: str, row: dict) -> dict:
    wanted = row["steps"] // 10
    name = f"{BACKENDS[backend]}, samples kept in {row['steps']} steps"
    found = {"wanted": str(wanted), "found": str(row["kept"])}
    return {"name": name, **found, "ok": wanted == row["kept"]}


def ns(row: dict, what: str = "ours") -> float:
    batch, steps, units = row["size"]
    return 1e9 * statistics.median(row[what]) / (batch * steps * units)


def less(row: dict) -> float:
    return ns(row) - ns(row, "doubled")


def tables_of(backend: str, memory, time, kept) -> list[dict]:
    label = BACKENDS[backend]
    cells = [(r["steps"], r["megabytes"], r["seconds"]) for r in memory]
    heads = ("neuron-steps", "ns per neuron-step", "doubled", "less")
    return [
        shown(f"Memory, {label}", ("steps", "largest MB", "seconds"), cells),
        *(
            shown(
                f"LIF, {label}{case}",
                heads,
                [
                    (
                        float(row["size"][1] * 8192),
                        ns(row),
                        ns(row, "doubled"),
                        less(row),
                    )
                    for row in rows
                ],
            )
            for case, rows in (("", time), (", pages kept", kept))
        ),
    ]


def targets_of(backend: str, memory, time, kept) -> list[dict]:
    used = [row["megabytes"] for row in memory]
    label = BACKENDS[backend]
    cases = {
        "": list(map(ns, time)),
        ", less doubled": list(map(less, time)),
        ", pages kept": list(map(ns, kept)),
        ", pages kept, less doubled": list(map(less, kept)),
    }
    return [
        judged(
            {
                "claim": f"{label}: memory, 1e6 steps / 1e3 steps",
                "ratio": used[-1] / used[0],
                "at most": MEMORY_TARGET,
            }
        ),
        *(
            judged(
                {
                    "claim": f"{label}{case}: slowest / fastest ns per neuron-step,"
                    " 1e5 to 1e8",
                    "ratio": max(times) / min(times),
                    "at most": TIME_TARGET,
                }
            )
            for case, times in cases.items()
        ),
    ]
