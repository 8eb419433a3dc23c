"""Our LIF layer beside a C loop, SpikingJelly, snnTorch, Norse and Spyx.

*forward*: input currents in, spikes out, 16 x 500 steps x 512 neurons.
*train*: one step of Linear (Dense) + LIF, as many features as neurons, forward,
backward and Adam, for 512 to 4,096 neurons; *linear*: the same without the LIF layer.
*sizes*: our LIF layer alone and the C loop, other numbers of neurons, steps and items.
*synapse*: a lowpass, as a loop and all steps at once.

Every library runs in a process of its own on the same numbers (`peers/workload.py`).
The C loop (`lif.c`, `cc -O3`) has one thread, TensorFlow and JAX all cores, the torch
libraries one or all, whichever is faster. Each peer is written in the fastest way we
found, and beside it as its own tutorial has it where that differs; beyond 512 neurons
only the fastest. Before timing, the C loop is compared with nengo's own step and our
layer with the C loop, spike for spike. What a claim compares within one process takes
turns: our layer and the C loop, Linear + LIF and Linear.

The floor, per neuron and step, in float32:

- forward: 8 bytes (a current in, a spike out; voltage and refractory state stay
  in cache) and 16 operations, one of them a division. A copy of the array moves
  the same 8 bytes.
- train: 2 x features operations in the product forward and as many for the gradient
  of the weights, so the products dominate; besides about 40 bytes (inputs twice 8,
  currents 8, spikes 4, the saved state 8, their gradients 12). The two products alone
  are timed. Kept for the reverse pass are 12 bytes: current, spike, state.

*Pages kept*: glibc gives arrays of megabytes back to the system after each call, and
takes them anew at the next, page by page; where a page costs microseconds, as here,
that is up to a third of a call. Those rows run with `MALLOC_ARENA_MAX=1
MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=1099511627776`, which tells it not to; all
others as they are.

What cannot be reached, training 512 neurons:

- 30 times snnTorch and 12 times Norse, each in its fastest form. The two products
  alone, in NumPy, take a fifth to a seventh of those forms' time: a layer that costs
  nothing would be 5 to 7 times as fast. Beside their slowest forms, those of tutorials
  on one thread, we are 10 to 14 times as fast, and the products alone are 30 times.
- 2 times SpikingJelly, on some runs: a third of our step is new pages. Where they are
  kept we are 2.6 times as fast.
- 1.5 times Spyx. Its step and ours are bound by the products, which both leave to XLA:
  it takes as long as JAX takes for the Linear layer alone. Its neuron has no
  refractory time and no exact spike times, so one multiplication and one comparison
  per step.
"""

import json
import statistics
from dataclasses import asdict, replace

from peers.environment import Unavailable
from peers.process import report_of
from peers.report import console, judged, ratios
from peers.workload import Workload
from suite import Options, shown

TITLE = "One layer of LIF neurons"
TORCH = ("spikingjelly", "snntorch", "norse")
KEPT = "pages kept"
WORKERS = ("c", "tensorflow", "jax", *TORCH, "spyx")
QUICK = Workload(batch=4, steps=100, repeats=3, enough=0.3, too_long=5.0)
UNITS = (512, 1024, 2048, 4096)

# Batch, steps, neurons.
SIZES = (
    *((1, 100, 128), (1, 1000, 1024), (1, 5000, 128), (1, 1000, 16384)),
    *((16, 100, 128), (16, 500, 512), (16, 5000, 1024), (16, 100, 16384)),
    *((256, 100, 128), (256, 100, 1024), (256, 1000, 128)),
)
SYNAPSES = (100, 1000, 5000)

# Most times the C loop's time, forward; our own Linear layer's, training. Least times
# our time, training.
FORWARD_TARGETS = {"TensorFlow, jit": 2.5, "JAX, jit": 4.0}
LINEAR_TARGET = 1.25
TRAIN_TARGETS = {"SpikingJelly": 2.0, "snnTorch": 30.0, "Norse": 12.0, "Spyx": 1.5}


def run(options: Options) -> dict:
    first = QUICK if options.quick else Workload()
    brief = replace(first, brief=True, repeats=3, enough=1.0)
    sizes = {512: first} | {
        n: replace(brief, units=n, features=n)
        for n in (UNITS[1:2] if options.quick else UNITS[1:])
    }
    found, skipped, checks, tables, targets = {}, {}, [], [], []
    for units, work in sizes.items():
        found[units], missing = reports_of(work, options)
        if units == UNITS[0]:
            found[units] |= with_kept_pages(work, options)
        skipped |= missing
        checks += [c for report in found[units].values() for c in report["checks"]]
        cases = {c: medians(found[units], c) for c in ("forward", "train", "linear")}
        tables += tables_of(cases, work)
        if not options.quick:
            targets += targets_of(cases, beside_c(found[units]), units)
    alone = {b: alone_on(b, options) for b in options.backends}
    for backend, report in alone.items():
        checks += report["checks"]
        tables += tables_alone(backend, report)
    return {
        "tables": tables,
        "checks": checks,
        "targets": targets,
        "skipped": skipped,
        "reports": {"sizes": found, "alone": alone},
    }


def reports_of(work: Workload, options: Options) -> tuple[dict, dict]:
    """Report of each worker that there is, and why the others are not."""
    reports, skipped = {}, {}
    for worker in WORKERS:
        ours = worker in ("tensorflow", "jax")
        if not (worker in options.backends if ours else options.wants(worker)):
            continue
        try:
            with console.status(f"{worker}, {work.units} neurons"):
                reports[worker] = run_worker(worker, work, options)
        except Unavailable as reason:
            skipped[f"{worker}, {work.units} neurons"] = str(reason)
    return reports, skipped


def with_kept_pages(work: Workload, options: Options) -> dict:
    """Our reports once more, from processes that keep their memory."""
    workload, reports = json.dumps(asdict(work)), {}
    for backend in options.backends:
        with console.status(f"{backend}, {work.units} neurons, {KEPT}"):
            report = report_of("ours.py", workload, backend=backend, keep_pages=True)
        for row in report["cases"]:
            row["name"] = f"{row['name']}, {KEPT}"
        reports[f"{backend}, {KEPT}"] = report | {"checks": []}
    return reports


def run_worker(worker: str, work: Workload, options: Options) -> dict:
    """The report of one worker; raises `Unavailable` if a peer or backend is not."""
    workload = json.dumps(asdict(work))
    limit = {"peer": worker, "minutes": options.minutes}
    if worker in TORCH:
        return report_of("torch_layers.py", workload, worker, **limit)
    if worker == "spyx":
        return report_of("jax_layers.py", workload, **limit)
    if worker == "c":
        return report_of("c.py", workload)
    return report_of("ours.py", workload, backend=worker)


def alone_on(backend: str, options: Options) -> dict:
    """Our layers over sizes, on one backend."""
    work = replace(QUICK, batch=16, units=512) if options.quick else Workload()
    wanted = {
        "sizes": SIZES[:2] if options.quick else SIZES,
        "synapses": SYNAPSES[:1] if options.quick else SYNAPSES,
        "doubled": False,
    }
    work = replace(work, enough=1.0, most=30)
    with console.status(f"sizes, {backend}"):
        return report_of(
            "alone.py", json.dumps(asdict(work)), json.dumps(wanted), backend=backend
        )


def medians(reports: dict, case: str) -> dict[str, float]:
    """Name -> median seconds of the rows of one case."""
    return {
        row["name"]: statistics.median(row["seconds"])
        for report in reports.values()
        for row in report["cases"]
        if row["case"] == case
    }


def beside_c(reports: dict) -> dict[str, float]:
    """Name -> multiple of the C loop's time, which was taken in turns."""
    return {
        row["name"]: statistics.median(row["seconds"]) / statistics.median(row["c"])
        for report in reports.values()
        for row in report["cases"]
        if "c" in row
    }


def tables_of(cases: dict[str, dict], work: Workload) -> list[dict]:
    size = f"{work.batch} x {work.steps} steps x {work.units} neurons"
    ours = [name for name in FORWARD_TARGETS if name in cases["train"]]
    tables = [
        compared(f"Train step, Linear + LIF, {size}", "ms", 1e3, cases["train"], ours)
    ]
    linear = [
        (name, 1e3 * both, 1e3 * alone, both / alone)
        for name, both, alone in with_linear(cases)
    ]
    columns = ("backend", "Linear + LIF ms", "Linear ms", "ratio")
    tables.append(
        shown(f"Train step beside that of Linear alone, {size}", columns, linear)
    )
    if cases["forward"]:
        ns = 1e9 / work.neuron_steps
        title = f"Forward, {size}"
        unit = "ns per neuron-step"
        tables.insert(0, compared(title, unit, ns, cases["forward"], ["C loop"]))
    return tables


def with_linear(cases: dict[str, dict]) -> list[tuple[str, float, float]]:
    """Of each of our backends, the train step with the LIF layer and without."""
    return [(n, cases["train"][n], alone) for n, alone in cases["linear"].items()]


def compared(title: str, unit: str, scale: float, times: dict, bases) -> dict:
    """One row per name, slowest last; a column per row to compare with."""
    bases = [base for base in bases if base in times]
    columns = {base: ratios(times, base) for base in bases}
    rows = [
        (name, seconds * scale, *(column[name] for column in columns.values()))
        for name, seconds in sorted(times.items(), key=lambda item: item[1])
    ]
    return shown(title, ("layer", unit, *(f"/ {base}" for base in bases)), rows)


def tables_alone(backend: str, report: dict) -> list[dict]:
    def ns(row, who):
        batch, steps, units = row["size"]
        return 1e9 * statistics.median(row[who]) / (batch * steps * units)

    sizes = [
        (*row["size"], ns(row, "ours"), ns(row, "c"), ns(row, "ours") / ns(row, "c"))
        for row in report["sizes"]
    ]
    heads = ("batch", "steps", "neurons", "ns per neuron-step", "C loop", "ratio")
    filters = []
    for row in report["synapses"]:
        loop, once = (statistics.median(row[k]) for k in ("loop", "at once"))
        filters.append(
            (row["synapse"], row["steps"], 1e3 * loop, 1e3 * once, loop / once)
        )
    return [
        shown(f"Forward over sizes, {backend}", heads, sizes),
        shown(
            f"Synapse layers, 16 x 512 features, {backend}",
            ("synapse", "steps", "loop ms", "at once ms", "ratio"),
            filters,
        ),
    ]


def targets_of(cases: dict[str, dict], to_c: dict, units: int) -> list[dict]:
    """Every target of a row that ran, with the ratio that was reached."""
    reached = [
        {"claim": f"{name} / C loop, forward", "at most": most, "ratio": to_c[name]}
        for name, most in FORWARD_TARGETS.items()
        if name in to_c
    ]
    reached += [
        {
            "claim": f"{name}: Linear + LIF / Linear, train, {units} neurons",
            "at most": LINEAR_TARGET,
            "ratio": both / alone,
        }
        for name, both, alone in with_linear(cases)
    ]
    for ours in FORWARD_TARGETS if units == UNITS[0] else ():
        times = ratios(cases["train"], ours)
        for peer, least in TRAIN_TARGETS.items():
            best = [ratio for name, ratio in times.items() if name.startswith(peer)]
            if best:
                claim = f"{peer}, its fastest / {ours}, train, {units} neurons"
                reached.append({"claim": claim, "at least": least, "ratio": min(best)})
    return [judged(target) for target in reached]
