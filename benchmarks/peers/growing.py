"""Networks of many ensembles, built and first run; and long runs.

`python growing.py <work> <simulator>`: `build` with a list of numbers of ensembles, or
`steps` with one number of steps, in an environment that has the simulator.
"""

import json
import resource
import sys
import time

import nengo
import numpy as np
from simulators import SIMULATORS, warm_up

NEURONS, STEPS = 50, 10
PROBED = 0.01


def many(ensembles: int) -> tuple[nengo.Network, nengo.Probe]:
    """Pairs of ensembles, each with a decoded connection, a function and a loop.

    One seed for all: the solver is then asked once per kind of connection, and what is
    timed is how a simulator builds, not how it solves.
    """
    rng = np.random.RandomState(0)
    eval_points = rng.uniform(-1, 1, (100, 1))
    with nengo.Network(seed=0) as net:
        net.config[nengo.Ensemble].eval_points = eval_points
        source = nengo.Node(np.sin)
        output = nengo.Node(size_in=1)
        for _ in range(ensembles // 2):
            first = nengo.Ensemble(NEURONS, 1, seed=1)
            second = nengo.Ensemble(NEURONS, 1, seed=2)
            nengo.Connection(source, first, seed=3)
            nengo.Connection(first, second, function=np.square, seed=4)
            nengo.Connection(second, second, synapse=0.1, transform=0.9, seed=5)
            nengo.Connection(second, output, synapse=None, seed=6)
        probe = nengo.Probe(output, synapse=0.01)
    return net, probe


def built(simulator, ensembles: int) -> dict:
    net, probe = many(ensembles)
    start = time.perf_counter()
    with simulator(net, 1) as sim:
        build = time.perf_counter() - start
        start = time.perf_counter()
        sim.run_steps(STEPS)
        first = time.perf_counter() - start
        data = np.ravel(sim.data[probe])[-STEPS:]
    return {
        "ensembles": ensembles,
        "build": build,
        "first": first,
        "output": data.tolist(),
    }


def long(simulator, steps: int) -> dict:
    """Seconds, and the largest memory, of a run with one filtered probe."""
    with nengo.Network(seed=0) as net:
        source = nengo.Node(np.sin)
        ens = nengo.Ensemble(1000, 1)
        nengo.Connection(source, ens)
        nengo.Connection(ens, ens, synapse=0.1, transform=0.5)
        probe = nengo.Probe(ens, synapse=0.01, sample_every=PROBED)
    with simulator(net, 1) as sim:
        start = time.perf_counter()
        sim.run_steps(steps, progress_bar=False)
        seconds = time.perf_counter() - start
        kept = len(np.reshape(sim.data[probe], (-1, 1)))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"steps": steps, "seconds": seconds, "megabytes": peak, "kept": kept}


def main(work: dict, name: str) -> dict:
    nengo.rc.set("decoder_cache", "enabled", "False")
    simulator = SIMULATORS[name]
    warm_up(simulator)
    if "steps" in work:
        return long(simulator, work["steps"])
    return {"rows": [built(simulator, n) for n in work["build"]]}


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]), sys.argv[2])), flush=True)
