"""One network on one simulator: built, run, checked, timed.

`python simulators.py <work> <simulator>` with `nengo`, `ours`, `ocl`, or `nengodl` and
a number of unrolled steps, in an environment that has the simulator.
"""

import json
import os
import sys
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import nengo
import numpy as np
from circuits import CIRCUITS

# Largest rms difference, as part of the range: in float64, and in float32 at least.
# There nengo itself may say more: a spike a step later changes all those after it, so
# twice the difference that float32 makes to nengo is allowed.
EXACT = 1e-9
CLOSE = 1e-3
EXACT_STEPS = 200


@dataclass(frozen=True)
class Work:
    """A network, for how long and how often it runs, and where its output is.

    Attributes:
        network: name in `CIRCUITS`.
        reference: `.npz` file that nengo writes: its output, `(steps, size)`, and
            `single`, how far float32 takes it from that.
        repeats: least number of timed runs; more, up to `most`, in `enough` seconds.
    """

    network: str
    reference: str
    steps: int = 1000
    repeats: int = 5
    most: int = 25
    enough: float = 3.0


def core(net, batch: int):
    """`nengo.Simulator`; it has no minibatches."""
    return nengo.Simulator(net, progress_bar=False)


def ours(net, batch: int, dtype: str = "float32"):
    """`ksn.Simulator` on the backend that KERAS_BACKEND names."""
    import keras_spiking_nengo as ksn

    return ksn.Simulator(net, progress_bar=False, minibatch_size=batch, dtype=dtype)


def ocl(net, batch: int):
    """`nengo_ocl.Simulator` on the first device, in float32; it has no minibatches."""
    import nengo_ocl

    return nengo_ocl.Simulator(net, progress_bar=False)


def nengodl(net, batch: int):
    """`nengo_dl.Simulator`, with the settings of its own benchmarks."""
    import nengo_dl

    with net:
        nengo_dl.configure_settings(inference_only=True)
    return nengo_dl.Simulator(
        net,
        progress_bar=False,
        minibatch_size=batch,
        unroll_simulation=int(sys.argv[3]),
    )


SIMULATORS = {"nengo": core, "ours": ours, "ocl": ocl, "nengodl": nengodl}
BATCHES = {"nengo": (1,), "ocl": (1,), "nengodl": (1, 16), "ours": (1, 16, 128)}
PACKAGES = ("nengo", "numpy", "keras", "tensorflow", "jax", "nengo-ocl", "nengo-dl")


def warm_up(simulator) -> None:
    """Let the libraries start: a network of one neuron, built and run."""
    with nengo.Network(seed=0) as net:
        nengo.Probe(nengo.Ensemble(1, 1))
    with simulator(net, 1) as sim:
        sim.run_steps(100)


def timed(call) -> tuple[float, object]:
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def run_batch(work: Work, simulator, batch: int) -> tuple[dict, dict, np.ndarray]:
    """Times of one size of batch, the check before them, `(batch, steps, size)`."""
    net, probe = CIRCUITS[work.network]()
    build, sim = timed(lambda: simulator(net, batch))
    with sim:
        first, _ = timed(lambda: sim.run_steps(work.steps))
        output = probed(sim, probe)
        check = compared(work, f"batch {batch}", output)
        seconds = repeated(work, sim) if check["ok"] else []
    row = {"batch": batch, "build": build, "first": first, "seconds": seconds}
    return row, check, output


def probed(sim, probe) -> np.ndarray:
    """A copy of what was probed, `(batch, steps, size)`."""
    output = np.array(sim.data[probe])
    return output.reshape((-1, *output.shape[-2:]))


def repeated(work: Work, sim) -> list[float]:
    """Seconds of each run after the first; resets are not timed."""
    times: list[float] = []
    while len(times) < work.repeats or (
        len(times) < work.most and sum(times) < work.enough
    ):
        sim.reset()
        times.append(timed(lambda: sim.run_steps(work.steps))[0])
    return times


def exact(work: Work) -> dict:
    """Our simulator in float64 beside nengo, spike for spike."""
    steps = min(EXACT_STEPS, work.steps)
    output = run_once(work, lambda net: ours(net, 1, dtype="float64"), steps)
    return compared(work, f"{steps} steps in float64", output, EXACT)


def run_once(work: Work, simulator, steps: int) -> np.ndarray:
    net, probe = CIRCUITS[work.network]()
    with simulator(net) as sim:
        sim.run_steps(steps)
        return probed(sim, probe)


def write_reference(work: Work, output: np.ndarray) -> dict:
    """Keep nengo's output, and how far it moves if nengo computes in float32."""
    nengo.rc.set("precision", "bits", "32")
    single = run_once(work, lambda net: core(net, 1), work.steps)
    nengo.rc.set("precision", "bits", "64")
    moved = relative_rms(single, output[0])
    np.savez(work.reference, output=output[0], single=moved)
    name = f"{work.network}, in float32"
    return {"name": name, "wanted": "", "found": f"{moved:.1e}", "ok": True}


def relative_rms(output: np.ndarray, expected: np.ndarray) -> float:
    """Of the item of the batch that differs most, as part of the range of values."""
    difference = output - expected[: output.shape[1]]
    rms = float(np.sqrt(np.mean(difference**2, axis=(1, 2))).max())
    return rms / float(np.ptp(expected))


def compared(
    work: Work, name: str, output: np.ndarray, allowed: float | None = None
) -> dict:
    """The difference from nengo's output; by default what float32 may make.

    Without a reference (nengo itself, or another version of it) the output must only
    be finite and move.
    """
    check = {"name": f"{work.network}, {name}"}
    if not Path(work.reference).is_file():
        moved = float(np.ptp(output, axis=1).max())
        ok = bool(np.isfinite(output).all()) and moved > 0.01
        return check | {"wanted": "range > 0.01", "found": f"{moved:.3g}", "ok": ok}
    with np.load(work.reference) as reference:
        expected, single = reference["output"], float(reference["single"])
    allowed = allowed or max(CLOSE, 2 * single)
    relative = relative_rms(output, expected)
    wanted, found = f"rms / range <= {allowed:.1e}", f"{relative:.1e}"
    return check | {"wanted": wanted, "found": found, "ok": relative <= allowed}


def installed() -> dict[str, str]:
    """The versions of those packages that this process has loaded."""
    loaded = [p for p in PACKAGES if p.replace("-", "_") in sys.modules]
    return {package: version(package) for package in loaded}


def main(work: Work, name: str) -> dict:
    nengo.rc.set("decoder_cache", "enabled", "False")
    warm_up(SIMULATORS[name])
    rows, checks = [], []
    for batch in BATCHES[name]:
        row, check, output = run_batch(work, SIMULATORS[name], batch)
        rows.append(row)
        checks.append(check)
        if name == "nengo" and not Path(work.reference).is_file():
            checks.append(write_reference(work, output))
    if name == "ours":
        checks.append(exact(work))
    load = round(os.getloadavg()[0], 2)
    return {"versions": installed(), "load": load, "rows": rows, "checks": checks}


if __name__ == "__main__":
    print(json.dumps(main(Work(**json.loads(sys.argv[1])), sys.argv[2])), flush=True)
