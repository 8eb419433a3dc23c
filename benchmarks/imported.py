"""A feed-forward Nengo network as ordinary layers, and as one layer.

    KERAS_BACKEND=jax python benchmarks/imported.py [--json FILE]

Five ensembles of 200 LIF neurons and 2 dimensions in a row, 1,000 steps, float32,
compiled by XLA, `predict_on_batch` on data that is there; batches of 1 and 16. *Layers*
is what `ksn.from_nengo(net)` makes; *one layer*, with `layered=False`, a program that
does all steps at once what it can; *looped* is
`keras.layers.RNN(ksn.layers.NetworkCell(net))`, which takes one step after the other.
All three must give the same output, to a thousandth of its range (rms).
"""

import argparse
import functools
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import keras
import nengo
import numpy as np
from peers.report import console, judged, machine, show_machine, show_verdicts, write
from rich.table import Table

import keras_spiking_nengo as ksn

STEPS, REPEATS, TARGET, CLOSE = 1000, 15, 2.0, 1e-3


def feed_forward() -> nengo.Network:
    """Five ensembles in a row, with a filtered probe on the last."""
    with nengo.Network(seed=0) as net:
        before: nengo.Node | nengo.Ensemble = nengo.Node([0.0, 0.0], label="stimulus")
        for i in range(5):
            ensemble = nengo.Ensemble(200, 2, label=f"ens{i}")
            nengo.Connection(before, ensemble)
            before = ensemble
        nengo.Probe(before, synapse=0.01)
    return net


def looped(net: nengo.Network) -> keras.Model:
    x = keras.Input((None, 2))
    cell = ksn.layers.NetworkCell(net)
    return keras.Model(x, keras.layers.RNN(cell, return_sequences=True)(x))


MODELS: dict[str, Callable[[nengo.Network], keras.Model]] = {
    "layers": ksn.from_nengo,
    "one layer": lambda net: ksn.from_nengo(net, layered=False),
    "looped": looped,
}


def median(call) -> float:
    """Seconds of one call, the first not counted."""
    call()
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    here = machine() | {"backend": keras.backend.backend()}
    show_machine(here)
    net, rows, checks, targets = feed_forward(), [], [], []
    table = Table(title=f"{here['backend']}, {STEPS} steps", title_justify="left")
    for column in ("batch", "model", "ms", "x looped"):
        table.add_column(column, justify="right")
    for batch in (1, 16):
        x = np.random.RandomState(0).uniform(-1, 1, (batch, 1, 2))
        x = np.repeat(x, STEPS, axis=1).astype("float32")
        outputs, seconds = {}, {}
        for name, make in MODELS.items():
            model = make(net)
            model.compile(jit_compile=True)
            outputs[name] = model.predict_on_batch(x)
            seconds[name] = median(functools.partial(model.predict_on_batch, x))
        scale = np.ptp(outputs["looped"])
        for name, taken in seconds.items():
            off = float(np.sqrt(np.mean((outputs[name] - outputs["looped"]) ** 2)))
            checks.append(
                {
                    "name": f"{name}, batch {batch}",
                    "wanted": f"<= {CLOSE:g}",
                    "found": f"{off / scale:.1e}",
                    "ok": bool(off <= CLOSE * scale),
                }
            )
            ratio = seconds["looped"] / taken
            table.add_row(str(batch), name, f"{1000 * taken:.1f}", f"{ratio:.2f}")
            rows.append({"batch": batch, "model": name, "seconds": taken})
        ratio = seconds["looped"] / seconds["layers"]
        goal = {"claim": f"layers, x looped, batch {batch}", "ratio": ratio}
        targets.append(judged(goal | {"at least": TARGET}))
    console.print(table)
    show_verdicts(checks, targets, {})
    if options.json:
        result = {"rows": rows, "checks": checks, "targets": targets}
        write(options.json, here, result)
    return 0 if all(check["ok"] for check in checks) else 1


if __name__ == "__main__":
    sys.exit(main())
