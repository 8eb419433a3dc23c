"""A Legendre memory unit whose memory is not fed back, at once and step by step.

    KERAS_BACKEND=jax python benchmarks/lmu.py [--json FILE] [--quick]

784 steps (a pixel of 28 x 28 after the other), a window of as many, a memory of one or
of eight channels, and a Dense hidden part; float32, compiled by XLA. *At once* is
`ksn.layers.LMU`; *loop* is the same layer in our own loop, as it runs where something
is fed back; *keras.layers.RNN* is Keras's loop around `ksn.layers.LMUCell`. *Last*: the
result is read from the last step, as in sequential MNIST; *all*: from all steps, whose
hidden outputs are averaged. Forward is `predict_on_batch`, train `train_on_batch`, on
data that is there.

Of all steps the products of the memory are as many for blocks as for single steps, and
a processor is as busy with either: what is saved is the loop. For the last step alone
one product is left of them. Targets are for the last step; the numbers for all of them
are shown without.

Before timing, all three must give the same numbers.
"""

import argparse
import functools
import itertools
import sys
import time
from pathlib import Path

import keras
import numpy as np
from peers.report import console, judged, machine, show_machine, show_verdicts, write
from rich.table import Table

from keras_spiking_nengo.layers import LMU, LMUCell

STEPS, BATCH, REPEATS, TARGET, SAME = 784, 32, 9, 5.0, 1e-4
# Channels, order, and units of the hidden part.
SIZES = {"small": (1, 16, 32), "channels": (8, 16, 64), "large": (1, 256, 212)}
KINDS = ("forward", "train")
BASE = "at once"


class LoopedCell(LMUCell):
    """A cell that takes single steps, whatever is fed back."""

    sequence = LMUCell.looped


class Looped(LMU):
    """An LMU in a loop."""

    cell_class = LoopedCell


def in_keras(*arguments, return_sequences: bool) -> keras.Layer:
    return keras.layers.RNN(LMUCell(*arguments), return_sequences=return_sequences)


LAYERS = {BASE: LMU, "loop": Looped, "keras.layers.RNN": in_keras}


def model(layer: str, size: str, last: bool) -> keras.Model:
    channels, order, units = SIZES[size]
    hidden = keras.layers.Dense(units, activation="relu")
    unit = LAYERS[layer](
        channels, order, float(STEPS), hidden, return_sequences=not last
    )
    mean = [] if last else [keras.layers.GlobalAveragePooling1D()]
    made = keras.Sequential(
        [keras.Input((STEPS, channels)), unit, *mean, keras.layers.Dense(10)]
    )
    # So small a rate that what is timed stays what it was.
    made.compile(keras.optimizers.Adam(1e-7), "mse", jit_compile=True)
    return made


def compared(found: dict[str, np.ndarray], case: str) -> list[dict]:
    """Whether the outputs are those of the loop, relative to the largest."""
    expected = found.pop("loop")
    checks = []
    for name, y in found.items():
        off = float(np.max(np.abs(y - expected)) / np.max(np.abs(expected)))
        row = {"name": f"{case}: {name} as the loop", "wanted": f"<= {SAME:g}"}
        checks.append(row | {"found": f"{off:.1e}", "ok": off <= SAME})
    return checks


def timed(calls: dict, repeats: int) -> dict[str, float]:
    """Median seconds of each call; they take turns, as the machine may be busy."""
    for call in calls.values():
        call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _, (name, call) in itertools.product(range(repeats), calls.items()):
        start = time.perf_counter()
        call()
        times[name].append(time.perf_counter() - start)
    return {name: float(np.median(seconds)) for name, seconds in times.items()}


def measured(size: str, last: bool, repeats: int) -> tuple[dict, list[dict]]:
    """Seconds by kind and layer, and whether all layers give the same."""
    channels = SIZES[size][0]
    rng = np.random.RandomState(0)
    x = keras.ops.convert_to_tensor(
        rng.standard_normal((BATCH, STEPS, channels)), dtype="float32"
    )
    y = keras.ops.zeros((BATCH, 10))
    models = {name: model(name, size, last) for name in LAYERS}
    for other in models.values():
        other.set_weights(models[BASE].get_weights())
    case = f"{size}, {'last' if last else 'all'}"
    outputs = {name: m.predict_on_batch(x) for name, m in models.items()}
    forward = {n: functools.partial(m.predict_on_batch, x) for n, m in models.items()}
    train = {n: functools.partial(m.train_on_batch, x, y) for n, m in models.items()}
    seconds = {"forward": timed(forward, repeats), "train": timed(train, repeats)}
    return seconds, compared(outputs, case)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers")
    parser.add_argument("--quick", action="store_true", help="one size, no targets")
    options = parser.parse_args()
    here = machine() | {"backend": keras.backend.backend()}
    show_machine(here)
    table = Table(title=f"{here['backend']}, {STEPS} steps", title_justify="left")
    for column in ("size", "steps", "kind", "layer", "ms", f"x {BASE}"):
        table.add_column(column, justify="right")
    rows, checks, targets = [], [], []
    for size, last in itertools.product(SIZES, (True, False)):
        if options.quick and size != "small":
            continue
        steps = "last" if last else "all"
        with console.status(f"{size}, {steps}"):
            seconds, found = measured(size, last, 3 if options.quick else REPEATS)
        checks += found
        for kind, name in itertools.product(KINDS, LAYERS):
            taken = seconds[kind][name]
            ratio = taken / seconds[kind][BASE]
            table.add_row(size, steps, kind, name, f"{1e3 * taken:.2f}", f"{ratio:.1f}")
            row = {"size": size, "steps": steps, "kind": kind, "layer": name}
            rows.append(row | {"seconds": taken, "ratio": ratio})
            if last and name != BASE:
                claim = f"{size}, last step, {kind}: {name} / {BASE}"
                targets.append(
                    judged({"claim": claim, "ratio": ratio, "at least": TARGET})
                )
    console.print(table)
    show_verdicts(checks, [] if options.quick else targets, {})
    if options.json:
        write(options.json, here, {"rows": rows, "checks": checks, "targets": targets})
    return 0 if all(check["ok"] for check in checks) else 1


if __name__ == "__main__":
    sys.exit(main())
