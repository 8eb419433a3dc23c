"""Our layers alone, over sizes, on the backend that KERAS_BACKEND names.

`python alone.py <workload> <json>` with the list of sizes `[batch, steps, units]` of
the LIF layer, the list of steps of the synapse, and whether a call that only doubles
the array is timed beside the layer.
"""

import json
import sys
from dataclasses import replace

import keras
import nengo
import numpy as np
from c import Loop, compare
from ours import BACKEND, neurons
from workload import Workload, main

import keras_spiking_nengo as ksn
from keras_spiking_nengo.dynamics.loops import compiled
from keras_spiking_nengo.layers.base import Cell
from keras_spiking_nengo.layers.synapse import SynapseCell

SYNAPSES = {"lowpass": nengo.Lowpass(0.02), "alpha": nengo.Alpha(0.02)}


class LoopedCell(SynapseCell):
    """A synapse that takes one step after the other."""

    sequence = Cell.sequence


class Looped(ksn.layers.Synapse):
    """A synapse in a loop."""

    cell_class = LoopedCell


class Doubled(keras.layers.Layer):
    """What the least of calls does to an array: it reads it, and makes another."""

    def call(self, x):
        return 2 * x


def call_of(layer: keras.layers.Layer, x):
    """A compiled call of `layer`, ready when it returns."""
    layer.build(x.shape)
    if BACKEND == "tensorflow":
        run = compiled(lambda x: layer(x))
        return lambda: run(x)
    import jax

    trained = [v.value for v in layer.trainable_variables]
    others = [v.value for v in layer.non_trainable_variables]
    run = compiled(lambda x: layer.stateless_call(trained, others, x)[0])
    return lambda: jax.block_until_ready(run(x))


def lif(work: Workload, size: list[int], doubled: bool) -> tuple[dict, dict]:
    """Seconds of our layer and of the C loop for one size, and whether they agree."""
    batch, steps, units = size
    work = replace(work, batch=batch, steps=steps, units=units, features=64)
    currents = work.currents()
    loop = Loop(work, currents)
    x = keras.ops.convert_to_tensor(currents)
    call = call_of(neurons(work), x)
    check = compare(f"LIF, {batch} x {steps} x {units}", call(), loop(), 0.001)
    calls = {"ours": call, "c": loop}
    if doubled:
        calls["doubled"] = call_of(Doubled(), x)
    times = work.measure_together(calls)
    return {"size": size} | times, check


def synapse(work: Workload, kind: str, steps: int) -> tuple[dict, dict]:
    """Seconds of a synapse as a loop and all steps at once."""
    x = np.random.default_rng(0).standard_normal((work.batch, steps, work.units))
    x = keras.ops.convert_to_tensor(x, "float32")
    calls = {
        name: call_of(layer(SYNAPSES[kind], return_sequences=True), x)
        for name, layer in {"loop": Looped, "at once": ksn.layers.Synapse}.items()
    }
    y = {name: keras.ops.convert_to_numpy(call()) for name, call in calls.items()}
    off = float(np.abs(y["loop"] - y["at once"]).max() / np.abs(y["loop"]).max())
    check = {"name": f"{kind}, {steps} steps: at once as the loop", "wanted": "<= 1e-4"}
    seconds = work.measure_together(calls)
    return (
        {"synapse": kind, "steps": steps} | seconds,
        check | {"found": f"{off:.1e}", "ok": off <= 1e-4},
    )


def run(work: Workload) -> dict:
    wanted = json.loads(sys.argv[2])
    pairs = [lif(work, size, wanted["doubled"]) for size in wanted["sizes"]]
    filters = [
        synapse(work, kind, steps) for kind in SYNAPSES for steps in wanted["synapses"]
    ]
    return {
        "sizes": [row for row, _ in pairs],
        "synapses": [row for row, _ in filters],
        "checks": [check for _, check in [*pairs, *filters]],
    }


if __name__ == "__main__":
    main(run)
