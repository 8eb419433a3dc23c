"""Large networks, built and run: parts as Spaun's, and one kind of much.

`python brains.py <work> <simulator>` with a JSON object of `modules`, how many sets of
parts the network has, for `builders`, `nengo` or `ours`; or, for `ours`, of `neurons`
of one ensemble, `copies` of an integrator, `steps` that are written to a file, or
`trials`, of which each is a network and a length of its own.
"""

import json
import resource
import sys
import tempfile
import time
from pathlib import Path

import nengo
import numpy as np
from nengo.builder import Model
from simulators import warm_up

import keras_spiking_nengo as ksn
from keras_spiking_nengo.engine.quick_builder import QuickBuilder

DIMENSIONS, ITEMS, ACTIONS, NEURONS = 64, 32, 16, 50
STEPS, TURNS = 100, 3
LENGTHS = (300, 1_000)


def brain(modules: int) -> tuple[nengo.Network, nengo.Probe]:
    """In each module semantic pointers are stored, bound, cleaned up, and acted on.

    23,400 neurons, 520 ensembles and about 1,450 connections in a module.
    """
    rng = np.random.RandomState(0)
    pointers = rng.normal(size=(ITEMS, DIMENSIONS)) / DIMENSIONS**0.5
    with nengo.Network(seed=0) as net:
        memories = [module(pointers, i) for i in range(modules)]
        for one, other in zip(memories, memories[1:], strict=False):
            nengo.Connection(one.output, other.input, transform=0.5)
        probe = nengo.Probe(memories[-1].output, synapse=0.02)
    return net, probe


def module(pointers: np.ndarray, shift: int) -> nengo.networks.EnsembleArray:
    """Its memory, in a network that is open."""
    seen = nengo.Node(lambda t: pointers[(int(10 * t) + shift) % ITEMS])
    arrays = [
        nengo.networks.EnsembleArray(NEURONS, DIMENSIONS, radius=0.35) for _ in range(2)
    ]
    state, memory = arrays
    bound = nengo.networks.CircularConvolution(NEURONS, DIMENSIONS)
    cleaned = nengo.networks.AssociativeMemory(pointers, n_neurons=NEURONS)
    cleaned.add_wta_network()
    ganglia = nengo.networks.BasalGanglia(ACTIONS)
    thalamus = nengo.networks.Thalamus(ACTIONS)
    nengo.Connection(seen, state.input)
    nengo.Connection(state.output, bound.input_a)
    nengo.Connection(memory.output, bound.input_b)
    nengo.Connection(bound.output, cleaned.input)
    nengo.Connection(cleaned.output, memory.input, synapse=0.1)
    nengo.Connection(memory.output, memory.input, synapse=0.1)
    nengo.Connection(state.output, ganglia.input, transform=pointers[:ACTIONS])
    nengo.Connection(ganglia.output, thalamus.input)
    acted = 0.1 * pointers[:ACTIONS].T
    nengo.Connection(thalamus.output, state.input, transform=acted)
    return memory


def integrator(neurons: int, seed: int = 0) -> tuple[nengo.Network, nengo.Probe]:
    with nengo.Network(seed=seed) as net:
        ens = nengo.Ensemble(neurons, 1, n_eval_points=500)
        nengo.Connection(nengo.Node(np.sin), ens, transform=0.1, synapse=0.1)
        if neurons <= 1_000:  # decoders of a million neurons are another job
            nengo.Connection(ens, ens, synapse=0.1)
            return net, nengo.Probe(ens, synapse=0.01)
        return net, nengo.Probe(ens.neurons[:10])


def builders(work: dict) -> dict:
    """Seconds of Nengo's builder and of ours, and whether they built the same."""
    net, _ = brain(work["modules"])
    times: dict[str, list[float]] = {"nengo": [], "ours": []}
    for _ in range(TURNS if work["modules"] < 3 else 1):
        models = {"nengo": Model(), "ours": Model(builder=QuickBuilder())}
        for name, model in models.items():
            start = time.process_time()
            model.build(net)
            times[name].append(time.process_time() - start)
    pairs = zip(*(m.operators for m in models.values()), strict=True)
    signals = [
        pair
        for ours, nengos in pairs
        for pair in zip(ours.all_signals, nengos.all_signals, strict=True)
    ]
    equal = all(
        np.array_equal(one.initial_value, other.initial_value)
        for one, other in signals
        if not one.sparse
    )
    return {name: min(found) for name, found in times.items()} | {"equal": equal}


def run(work: dict, name: str) -> dict:
    """Seconds until it is built, of the first steps, and of those after them."""
    net, probe = brain(work["modules"])
    times = [time.process_time()]
    if name == "nengo":
        sim = nengo.Simulator(net, seed=0, progress_bar=False)
    else:
        sim = ksn.Simulator(net, seed=0, progress_bar=False, compile=True)
    with sim:
        times.append(time.process_time())
        for _ in range(2):
            sim.run_steps(STEPS)
            times.append(time.process_time())
        output = np.array(sim.data[probe])
    build, first, later = np.diff(times).tolist()
    row = {"neurons": net.n_neurons, "ensembles": len(net.all_ensembles)}
    row |= {"build": build, "first": first, "ms": 1e3 * later / STEPS}
    return row | {"output": output[::10].tolist()}


def one_ensemble(work: dict) -> dict:
    """A million neurons."""
    net, probe = integrator(work["neurons"])
    start = time.perf_counter()
    with ksn.Simulator(net, progress_bar=False) as sim:
        built = time.perf_counter()
        sim.run_steps(10)
        first = time.perf_counter()
        sim.run_steps(STEPS)
        ms = 1e3 * (time.perf_counter() - first) / STEPS
        assert np.isfinite(sim.data[probe]).all()
    return {"build": built - start, "first": first - built, "ms": ms}


def copies(work: dict) -> dict:
    """A minibatch of as many."""
    net, probe = integrator(200)
    start = time.perf_counter()
    with ksn.Simulator(net, progress_bar=False, minibatch_size=work["copies"]) as sim:
        built = time.perf_counter()
        sim.run_steps(STEPS)
        first = time.perf_counter()
        sim.run_steps(STEPS)
        ms = 1e3 * (time.perf_counter() - first) / STEPS
        assert sim.data[probe].shape == (work["copies"], 2 * STEPS, 1)
    return {"build": built - start, "first": first - built, "ms": ms}


def steps(work: dict) -> dict:
    """Many, of which all that is shown goes to a file."""
    net, probe = integrator(200)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "data.h5"
        start = time.perf_counter()
        with ksn.Simulator(net, progress_bar=False) as sim:
            sim.record_to(file)
            built = time.perf_counter()
            sim.run_steps(1_000)
            first = time.perf_counter()
            before = peak()
            sim.run_steps(work["steps"] - 1_000)
            ms = 1e3 * (time.perf_counter() - first) / (work["steps"] - 1_000)
            grown = peak() - before
            assert len(sim.data[probe]) == work["steps"]
        size = file.stat().st_size / 1024**3
    row = {"build": built - start, "first": first - built, "ms": ms}
    return row | {"grown": grown, "file": size}


def trials(work: dict) -> dict:
    """Networks of other seeds, run for lengths of their own."""
    rng, times = np.random.RandomState(0), []
    for seed in range(work["trials"]):
        n_steps = rng.randint(*LENGTHS)
        net, probe = integrator(50, seed)
        start = time.perf_counter()
        with ksn.Simulator(net, progress_bar=False, compile=True) as sim:
            built = time.perf_counter()
            sim.run_steps(n_steps)
            assert len(sim.data[probe]) == n_steps
        times.append((built - start, time.perf_counter() - built))
    build, ran = np.transpose(times)
    row = {"build": float(np.median(build)), "first": float(ran[0])}
    return row | {"run": float(np.median(ran)), "longest": float(ran[5:].max())}


def peak() -> float:
    """Gigabytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2


OURS = {"neurons": one_ensemble, "copies": copies, "steps": steps, "trials": trials}


def main(work: dict, name: str) -> dict:
    nengo.rc.set("decoder_cache", "enabled", "False")
    warm_up(lambda net, batch: ksn.Simulator(net, progress_bar=False))
    if name == "builders":
        found = builders(work)
    elif "modules" in work:
        found = run(work, name)
    else:
        (kind,) = work
        found = OURS[kind](work)
    return work | found | {"gigabytes": peak()}


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]), sys.argv[2])), flush=True)
