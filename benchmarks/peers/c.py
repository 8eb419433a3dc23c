"""`lif.c` on one thread, and the floors below it: a copy, and two products."""

import ctypes
import math
import subprocess
import tempfile
from importlib.metadata import version
from pathlib import Path

import nengo
import numpy as np
from workload import Workload, cores, main

SOURCE = Path(__file__).parents[1] / "lif.c"
# Without the last one gcc takes one neuron at a time where there is no AVX-512.
FLAGS = ("-O3", "-march=native", "-fno-trapping-math")
C_TYPES = {"float32": "float", "float64": "double"}


class Loop:
    """`lif.c`, compiled for `dtype`, with buffers for one array of currents."""

    def __init__(self, work: Workload, currents: np.ndarray):
        self.currents = np.ascontiguousarray(currents)
        self.spikes = np.zeros_like(self.currents)
        batch, steps, units = currents.shape
        self.voltage = np.zeros((batch, units), currents.dtype)
        self.refractory = np.ones((batch, units), currents.dtype)

        arrays = (self.currents, self.spikes, self.voltage, self.refractory)
        constants = (work.dt, work.tau_rc, work.tau_ref, 0.0, work.dt)
        self._arguments = (
            *(ctypes.c_void_p(array.ctypes.data) for array in arrays),
            *map(ctypes.c_long, (batch, steps, units)),
            *map(ctypes.c_double, constants),
        )
        self._run = compile_loop(currents.dtype)

    def __call__(self) -> np.ndarray:
        self.voltage[:] = 0
        self.refractory[:] = 1
        self._run(*self._arguments)
        return self.spikes


def compile_loop(dtype: np.dtype):
    """The function `lif` of `lif.c`, with `real` of the given type."""
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "lif.so"
        real = f"-DREAL={C_TYPES[np.dtype(dtype).name]}"
        command = ("cc", *FLAGS, real, "-shared", "-fPIC", SOURCE, "-o", library, "-lm")
        subprocess.run(command, check=True)
        function = ctypes.CDLL(str(library)).lif
    function.restype = None
    return function


def compare(name: str, spikes, expected, allowed: float) -> dict:
    """Count the steps at which one of two spike trains fires and not the other."""
    differing = int(np.count_nonzero((np.asarray(spikes) > 0) != (expected > 0)))
    total = int(np.count_nonzero(expected))
    return {
        "name": name,
        "wanted": f"<= {allowed:.1%} spikes moved",
        "found": f"{differing} of {total}",
        "ok": total > 0 and differing <= allowed * total,
    }


def nengo_spikes(work: Workload, currents: np.ndarray) -> np.ndarray:
    """What nengo's own step says, one step after the other."""
    lif = nengo.LIF(work.tau_rc, work.tau_ref, amplitude=work.dt)
    shape = currents[:, 0].shape
    spikes, state = np.zeros_like(currents), (np.zeros(shape), np.zeros(shape))
    for t in range(currents.shape[1]):
        lif.step(work.dt, currents[:, t], spikes[:, t], *state)
    return spikes


def check(work: Workload) -> list[dict]:
    """Equal in float64; in float32 a rounding may move one spike in a thousand."""
    currents = work.currents()[:4, :, :128].astype(np.float64)
    expected = nengo_spikes(work, currents)
    single = Loop(work, currents.astype(np.float32))()
    return [
        compare("lif.c, float64", Loop(work, currents)(), expected, allowed=0),
        compare("lif.c, float32", single, expected, allowed=0.001),
    ]


def run(work: Workload) -> dict:
    inputs, weights, currents = work.inputs(), work.weights(), work.currents()
    flat = inputs.reshape(-1, work.features)
    slopes = currents.reshape(-1, work.units)

    def products():
        return flat @ weights, flat.T @ slopes

    cases = [("train", "floor: the two products, NumPy", cores(), products)]
    checks, activity = [], None
    if not work.brief:
        loop, copied = Loop(work, currents), np.zeros_like(currents)
        checks, activity = check(work), math.fsum(loop().flat) / work.neuron_steps
        copy = "floor: copy of the array"
        cases += [
            ("forward", "C loop", 1, loop),
            ("forward", copy, 1, lambda: np.copyto(copied, currents)),
        ]
    compiler = subprocess.run(("cc", "--version"), capture_output=True, text=True)
    return {
        "versions": {
            "cc": f"{compiler.stdout.splitlines()[0]}, {' '.join(FLAGS)}",
            "nengo": nengo.__version__,
            "numpy": version("numpy"),
        },
        "checks": checks,
        "cases": [
            {"case": case, "name": name, "threads": n, "seconds": work.measure(call)}
            for case, name, n, call in cases
        ],
        "activity": activity,
    }


if __name__ == "__main__":
    main(run)
