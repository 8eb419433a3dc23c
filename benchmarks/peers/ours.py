"""`ksn.layers.Neurons(nengo.LIF())` on the backend that KERAS_BACKEND names."""

from importlib.metadata import version

import keras
import nengo
import numpy as np
from c import Loop, compare
from workload import Workload, cores, main

import keras_spiking_nengo as ksn

BACKEND = keras.backend.backend()
LABEL = {"tensorflow": "TensorFlow", "jax": "JAX"}[BACKEND]


def neurons(work: Workload) -> keras.layers.Layer:
    """From rest; `amplitude=dt` makes a spike 1, as it is for the peers."""
    lif = nengo.LIF(
        tau_rc=work.tau_rc,
        tau_ref=work.tau_ref,
        amplitude=work.dt,
        initial_state={"voltage": nengo.dists.Choice([0])},
    )
    return ksn.layers.Neurons(lif, dt=work.dt, return_sequences=True)


def forward_calls(work: Workload) -> dict:
    """Name -> a call that returns the spikes of `work.currents()`."""
    layer = neurons(work)
    layer.build((work.batch, work.steps, work.units))
    currents = keras.ops.convert_to_tensor(work.currents())

    if BACKEND == "jax":
        import jax

        state = [
            [variable.value for variable in variables]
            for variables in (layer.trainable_variables, layer.non_trainable_variables)
        ]
        compiled = jax.jit(lambda x: layer.stateless_call(*state, x)[0])
        return {f"{LABEL}, jit": lambda: compiled(currents).block_until_ready()}

    import tensorflow as tf

    # A function on CPU returns when its outputs are there.
    compiled = tf.function(lambda x: layer(x), jit_compile=True, autograph=False)
    graph = tf.function(lambda x: layer(x), jit_compile=False, autograph=False)
    return {
        f"{LABEL}, jit": lambda: compiled(currents),
        f"{LABEL}, graph": lambda: graph(currents),
    }


def train_call(work: Workload, *layers):
    """One whole `train_on_batch`: forward, backward and Adam, compiled by XLA."""
    dense = keras.layers.Dense(work.units)
    shape = (work.steps, work.features)
    model = keras.Sequential([keras.Input(shape), dense, *layers])
    dense.set_weights([work.weights(), np.ones(work.units, np.float32)])
    model.compile(
        optimizer=keras.optimizers.Adam(work.learning_rate),
        loss=lambda _, spikes: keras.ops.mean(keras.ops.square(spikes), axis=-1),
        jit_compile=True,
    )
    inputs = keras.ops.convert_to_tensor(work.inputs())
    unused = keras.ops.zeros((work.batch, 1))
    return model, lambda: model.train_on_batch(inputs, unused)


def run(work: Workload) -> dict:
    checks, timed, activity = [], [], None
    if not work.brief:
        loop = Loop(work, work.currents())
        expected = loop()
        activity = float(expected.mean())
        calls = forward_calls(work)
        checks = [compare(n, call(), expected, 0.001) for n, call in calls.items()]
        for name, call in calls.items():
            # The loop in C takes turns with each.
            times = work.measure_together({"seconds": call, "c": loop})
            timed.append({"case": "forward", "name": name} | times)
    model, train = train_call(work, neurons(work))
    _, linear = train_call(work)
    before = model.get_weights()[0]
    times = work.measure_together({"train": train, "linear": linear})
    timed += [
        {"case": case, "name": f"{LABEL}, jit", "seconds": seconds}
        for case, seconds in times.items()
    ]
    timed = [row | {"threads": cores()} for row in timed]
    after = model.get_weights()[0]
    moved = float((after != before).mean())
    checks.append(
        {
            "name": f"{LABEL}, train, {work.units} neurons",
            "wanted": "finite, weights moved",
            "found": f"{moved:.0%}",
            "ok": moved > 0.1 and bool(np.isfinite(after).all()),
        }
    )
    versions = {name: version(name) for name in (BACKEND, "keras", "nengo", "numpy")}
    return {
        "versions": versions,
        "cases": timed,
        "checks": checks,
        "activity": activity,
    }


if __name__ == "__main__":
    main(run)
