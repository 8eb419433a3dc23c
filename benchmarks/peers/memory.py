"""An LMU as it is and in loops: `python memory.py [quick]` on KERAS_BACKEND's backend.

*At once* is `ksn.layers.LMU`; *loop* is the same layer in our own loop, as it runs
where something is fed back; *keras.layers.RNN* is Keras's loop around
`ksn.layers.LMUCell`.
"""

import functools
import itertools
import json
import sys
import time

import keras
import numpy as np

from keras_spiking_nengo.layers import LMU, LMUCell

STEPS, BATCH, REPEATS, SAME = 784, 32, 9, 1e-4
# Channels, order, and units of the hidden part.
SIZES = {"small": (1, 16, 32), "channels": (8, 16, 64), "large": (1, 256, 212)}
KINDS = ("forward", "train")
BASE = "at once"


class LoopedCell(LMUCell):
    """A cell that takes single steps, whatever is fed back."""

    sequence = last = LMUCell.looped


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


def main(quick: bool) -> dict:
    rows, checks = [], []
    for size, last in itertools.product(SIZES, (True, False)):
        if quick and size != "small":
            continue
        seconds, found = measured(size, last, 3 if quick else REPEATS)
        checks += found
        rows += [
            {
                "size": size,
                "steps": "last" if last else "all",
                "kind": kind,
                "layer": name,
                "seconds": seconds[kind][name],
                "ratio": seconds[kind][name] / seconds[kind][BASE],
            }
            for kind, name in itertools.product(KINDS, LAYERS)
        ]
    return {"rows": rows, "checks": checks}


if __name__ == "__main__":
    print(json.dumps(main(len(sys.argv) > 1)), flush=True)
