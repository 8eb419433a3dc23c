"""Networks of many small ensembles in various structures, built and first run.

`python structures.py <work> <simulator>` with a JSON object of `structure`, a name in
`STRUCTURES`, and `ensembles`; with `nengo` or `ours`.
"""

import json
import resource
import sys
import time

import nengo
import numpy as np
from simulators import SIMULATORS, warm_up

NEURONS, STEPS = 10, 100
# Ensembles that one drives in random networks, and the length of parallel chains.
FANOUT, LINKS = 3, 10


def chain(ensembles: list) -> None:
    """Each drives the next one."""
    for one, other in zip(ensembles, ensembles[1:], strict=False):
        nengo.Connection(one, other)


def neurons(ensembles: list) -> None:
    """The same, from neurons to neurons."""
    rng = np.random.RandomState(0)
    for one, other in zip(ensembles, ensembles[1:], strict=False):
        weights = rng.normal(0, 1e-3, (NEURONS, NEURONS))
        nengo.Connection(one.neurons, other.neurons, transform=weights)


def chains(ensembles: list) -> None:
    """Chains of ten, side by side."""
    for start in range(0, len(ensembles), LINKS):
        chain(ensembles[start : start + LINKS])


def loops(ensembles: list) -> None:
    """Each drives itself."""
    for ens in ensembles:
        nengo.Connection(ens, ens, synapse=0.1)


def anywhere(ensembles: list) -> None:
    """Each drives three others, which are drawn."""
    rng = np.random.RandomState(0)
    for ens in ensembles:
        for i in rng.choice(len(ensembles), FANOUT):
            nengo.Connection(ens, ensembles[i], transform=0.3)


def inwards(ensembles: list) -> None:
    """All drive the first one."""
    for ens in ensembles[1:]:
        nengo.Connection(ens, ensembles[0], transform=1 / len(ensembles))


def outwards(ensembles: list) -> None:
    """The first one drives all."""
    for ens in ensembles[1:]:
        nengo.Connection(ensembles[0], ens)


STRUCTURES = {
    "chain": chain,
    "chain of neurons": neurons,
    "chains of 10": chains,
    "loops": loops,
    "random": anywhere,
    "all to one": inwards,
    "one to all": outwards,
}


def network(structure: str, size: int) -> tuple[nengo.Network, nengo.Probe]:
    with nengo.Network(seed=0) as net:
        ensembles = [nengo.Ensemble(NEURONS, 1) for _ in range(size)]
        nengo.Connection(nengo.Node([0.5]), ensembles[0])
        STRUCTURES[structure](ensembles)
        probe = nengo.Probe(ensembles[-1], synapse=0.01)
    return net, probe


def main(work: dict, name: str) -> dict:
    """Seconds of the process, gigabytes, and what the probe showed."""
    nengo.rc.set("decoder_cache", "enabled", "False")
    simulator = SIMULATORS[name]
    warm_up(simulator)
    net, probe = network(work["structure"], work["ensembles"])
    times = [time.process_time()]
    with simulator(net, 1) as sim:
        times.append(time.process_time())
        for _ in range(2):
            sim.run_steps(STEPS, progress_bar=False)
            times.append(time.process_time())
        output = np.reshape(sim.data[probe], -1)[-STEPS:]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    build, first, later = np.diff(times).tolist()
    row = work | {"build": build, "first": first, "later": later, "gigabytes": peak}
    return row | {"output": output.tolist()}


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]), sys.argv[2])), flush=True)
