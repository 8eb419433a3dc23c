"""Closed loops on our simulator and nengo's, which take turns in one process.

`python loops.py <work>`: a JSON object with `model`, a name in the tests' catalogue of
loops, and `sizes`; or with `single`, numbers of neurons of an integrator that is
stepped; or with `starts`, lengths of first runs in seconds; or with `catalogue`, such
lengths for all networks and loops of the tests' catalogue.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial

import nengo
import numpy as np
from nengo.builder.neurons import SimNeurons
from nengo.builder.node import SimPyFunc
from simulators import warm_up

import keras_spiking_nengo as ksn
from tests.catalogue.loops import LOOPS, VECTORISED_LOOPS
from tests.catalogue.networks import NETWORKS

BATCH = 16
CHECKED = 50
TOLERANCE = 1e-6
# Seconds of nengo's in a turn, how many turns there are, and their possible steps.
TURN, TURNS = 0.05, 5
LENGTHS = (1000, 500, 200, 100, 50, 20)
CONTROLLED = 200
# Seconds of the clock, after which a call takes no more turns.
ENOUGH = 1.0
# How often a first run of a length is timed, in the catalogue.
STARTED = {0.1: 3, 1.0: 2, 10.0: 1}


def ours(net, **options):
    return ksn.Simulator(net, progress_bar=False, seed=7, **options)


def theirs(net, **options):
    return nengo.Simulator(net, progress_bar=False, seed=7, **options)


def timed(call: Callable[[], object]) -> tuple[float, float]:
    """Seconds of the process, and of the clock."""
    clock, start = time.perf_counter(), time.process_time()
    call()
    return time.process_time() - start, time.perf_counter() - clock


def turns(calls: dict[str, Callable], count: int = TURNS) -> dict[str, dict]:
    """Medians of calls that take turns, each called once before; slow ones less."""
    found: dict[str, list] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(count):
        for name, call in calls.items():
            if sum(clock for _, clock in found[name]) < ENOUGH:
                found[name].append(timed(call))
    return {
        name: {
            "process": statistics.median(process for process, _ in times),
            "clock": statistics.median(clock for _, clock in times),
        }
        for name, times in found.items()
    }


# --- models ------------------------------------------------------------------------


def measured(model: str, neurons: int) -> dict:
    """A size of a model: nengo's steps, ours, of the kind not chosen, and of many."""

    def fresh(**options):
        return LOOPS[model](neurons, **options)[0]

    auto = ours(fresh())
    plan = auto.plan()
    sims = {
        "nengo": theirs(fresh()),
        "ours": auto,
        "other": ours(fresh(), compile=not plan.compiled),
        "many": ours(fresh(), minibatch_size=BATCH),
    }
    if model in VECTORISED_LOOPS:
        sims["vectorised"] = ours(fresh(vectorised=True), minibatch_size=BATCH)
    steps = length_of(sims["nengo"])
    lengths = dict.fromkeys(sims, steps)
    lengths["many"] = max(20, steps // 5)  # with Python for each, it takes that longer
    times = turns({name: stepping(sim, lengths[name]) for name, sim in sims.items()})
    for name, row in times.items():
        times[name] = {of: steps / lengths[name] * row[of] for of in row}
    share = python_share(sims["nengo"], steps)
    for sim in sims.values():
        sim.close()
    return {
        "model": model,
        "neurons": neurons,
        "steps": steps,
        "compiled": plan.compiled,
        "estimates": [plan.stepped_us, plan.compiled_us],
        "python": share,
        "times": times,
    }


def stepping(sim, steps: int) -> Callable[[], None]:
    def call():
        sim.run_steps(steps)
        sim.clear_probes()

    return call


def length_of(sim) -> int:
    """So many steps of nengo's simulator as take about a turn."""
    sim.run_steps(20)
    step = timed(lambda: sim.run_steps(20))[0] / 20
    return next((n for n in LENGTHS if n * step <= 1.5 * TURN), LENGTHS[-1])


def python_share(sim, steps: int) -> float:
    """The part of nengo's steps that the user's Python takes."""
    spent = []

    def watched(step):
        def call():
            start = time.perf_counter()
            step()
            spent.append(time.perf_counter() - start)

        return call

    kept = sim._steps
    sim._steps = [
        watched(step) if is_of_the_user(op) else step
        for op, step in zip(sim._step_order, kept, strict=True)
    ]
    _, total = timed(stepping(sim, steps))
    sim._steps = kept
    return sum(spent) / total


def is_of_the_user(op) -> bool:
    """Whether it calls a function, a process (no synapse), or neurons of the user."""
    own = isinstance(op, SimNeurons) and not type(op.neurons).__module__.startswith(
        "nengo"
    )
    return own or isinstance(op, SimPyFunc) or getattr(op, "mode", "") == "set"


def difference(model: str, neurons: int) -> dict:
    """Of the first steps in float64, the largest as part of the range."""
    shown = []
    for simulator, options in (
        (theirs, {"optimize": False}),
        (ours, {"dtype": "float64"}),
    ):
        net, probes = LOOPS[model](neurons)
        with simulator(net, **options) as sim:
            sim.run_steps(CHECKED)
            shown.append([np.array(sim.data[probe]) for probe in probes])
    found = max(
        float(np.abs(mine - other).max() / max(np.ptp(other), 1e-9))
        for other, mine in zip(*shown, strict=True)
    )
    check = {"name": f"{model}, {neurons} neurons, {CHECKED} steps in float64"}
    check |= {"wanted": f"<= {TOLERANCE:g}", "found": f"{found:.1e}"}
    return check | {"ok": found <= TOLERANCE}


# --- single steps, and first runs --------------------------------------------------


def integrator(neurons: int) -> tuple[nengo.Network, nengo.Probe, list[float]]:
    """A memory, its probe, and a command that is read in every step."""
    command = [0.0]
    with nengo.Network(seed=0) as net:
        source = nengo.Node(lambda t: command[0])
        ens = nengo.Ensemble(neurons, 1, n_eval_points=500)
        nengo.Connection(source, ens, transform=0.1, synapse=0.1)
        nengo.Connection(ens, ens, synapse=0.1)
        return net, nengo.Probe(ens, synapse=0.01), command


def single(neurons: int) -> list[dict]:
    """Steps one by one, and a controller that looks and commands after each."""
    simulators = {
        "nengo": theirs,
        "ours": ours,
        "stepped": partial(ours, compile=False),
    }
    rows = []
    for what, work in (("step()", one_by_one), ("run(dt), controlled", controlled)):
        made = {name: integrator(neurons) for name in simulators}
        sims = {name: simulators[name](net) for name, (net, *_) in made.items()}
        calls = {
            name: partial(work, sim, *made[name][1:]) for name, sim in sims.items()
        }
        times = turns(calls)
        rows.append({"what": what, "neurons": neurons, "times": times})
        for sim in sims.values():
            sim.close()
    return rows


def one_by_one(sim, probe, command) -> None:
    for _ in range(CONTROLLED):
        sim.step()
    sim.clear_probes()


def controlled(sim, probe, command) -> None:
    for _ in range(CONTROLLED):
        sim.run(sim.dt)
        command[0] = 0.5 - float(sim.data[probe][-1, 0])
    sim.clear_probes()


def start(name: str, seconds: float) -> dict:
    """From a network to the data of its first run."""

    def begin(simulator):
        net, probe = integrator(500)[:2] if name == "integrator" else LOOPS[name](200)
        probe = probe[0] if isinstance(probe, list) else probe

        def call():
            with simulator(net) as sim:
                sim.run(seconds)
                return sim.data[probe]

        return call

    calls = {
        "nengo": begin(theirs),
        "ours": begin(ours),
        "stepped": begin(partial(ours, compile=False)),
    }
    return {"what": name, "seconds": seconds, "times": turns(calls, count=3)}


def started(name: str, build: Callable, seconds: float) -> dict:
    """A first run of a network that `build` makes with its probes, as `start`."""

    def begin(simulator):
        net, probes = build()
        with simulator(net) as sim:
            sim.run(seconds)
            return [sim.data[probe] for probe in probes]

    calls = {"nengo": partial(begin, theirs), "ours": partial(begin, ours)}
    times: dict[str, list] = {name: [] for name in calls}
    for _ in range(STARTED[seconds]):
        for simulator, call in calls.items():
            times[simulator].append(timed(call)[1])
    shown = {which: {"clock": min(clocks)} for which, clocks in times.items()}
    return {"what": name, "seconds": seconds, "times": shown}


def catalogue() -> dict[str, Callable]:
    """How networks and loops are built, each with its probes."""

    def whole(build):
        net = build()
        return net, net.all_probes

    networks = {name: partial(whole, build) for name, build in NETWORKS.items()}
    return networks | {name: partial(build, 200) for name, build in LOOPS.items()}


def main(work: dict) -> dict:
    nengo.rc.set("decoder_cache", "enabled", "False")
    warm_up(lambda net, batch: ours(net))
    if "model" in work:
        model, sizes = work["model"], work["sizes"]
        return {
            "checks": [difference(model, sizes[0])],
            "rows": [measured(model, neurons) for neurons in sizes],
        }
    if "single" in work:
        return {"rows": [row for n in work["single"] for row in single(n)]}
    if "catalogue" in work:
        made, lengths = catalogue(), work["catalogue"]
        return {"rows": [started(n, made[n], s) for n in made for s in lengths]}
    names = "integrator", "pendulum"
    return {"rows": [start(name, s) for name in names for s in work["starts"]]}


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))), flush=True)
