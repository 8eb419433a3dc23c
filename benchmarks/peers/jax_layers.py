"""The LIF layer of Spyx, on JAX.

`python jax_layers.py <workload>`, in an environment that has Spyx. Its neuron decays by
`beta` and pays its threshold for a spike, one step after it: less work per step than
ours. Linear is applied to all steps at once, before the loop, and sequences are laid
out as Spyx has them, time first.
"""

import math
from importlib.metadata import version

import jax
import numpy as np
import optax
import spyx.nn
from flax import nnx
from jax import numpy as jnp
from workload import Workload, cores, main


def neuron(work: Workload) -> tuple[spyx.nn.LIF, float]:
    """A population, and the factor on currents that its equation wants."""
    beta = math.exp(-work.dt / work.tau_rc)
    return spyx.nn.LIF((work.units,), beta=beta, rngs=nnx.Rngs(0)), 1 - beta


def split(work: Workload):
    lif, gain = neuron(work)
    graph, state = nnx.split(lif)

    def spikes(currents):
        return spyx.nn.run(nnx.merge(graph, state), currents)[0]

    return spikes, gain


def forward_call(work: Workload):
    spikes, gain = split(work)
    currents = jnp.asarray(np.ascontiguousarray(work.currents().swapaxes(0, 1)) * gain)
    run = jax.jit(spikes)
    return lambda: run(currents).block_until_ready()


def train_call(work: Workload):
    """Forward, backward and Adam."""
    spikes, gain = split(work)
    inputs = jnp.asarray(np.ascontiguousarray(work.inputs().swapaxes(0, 1)))
    values = {
        "kernel": jnp.asarray(work.weights() * np.float32(gain)),
        "bias": jnp.full(work.units, gain, "float32"),
    }
    optimizer = optax.adam(work.learning_rate)

    def loss(values, inputs):
        currents = inputs @ values["kernel"] + values["bias"]
        return jnp.mean(jnp.square(spikes(currents)))

    # Inputs are an argument, as batches are: as a constant they would be transposed
    # while compiling.
    @jax.jit
    def step(values, moments, inputs):
        slopes = jax.grad(loss)(values, inputs)
        updates, moments = optimizer.update(slopes, moments)
        return optax.apply_updates(values, updates), moments

    kept = [values, optimizer.init(values)]

    def call():
        kept[:] = jax.block_until_ready(step(*kept, inputs))

    return call


def run(work: Workload) -> dict:
    calls = {"train": train_call(work)}
    forward = forward_call(work)
    if not work.brief:
        calls["forward"] = forward
    activity = float(forward().mean())
    if activity == 0:
        raise RuntimeError("Spyx LIF is silent: nothing to time")
    rows = [
        {"case": case, "name": "Spyx LIF", "threads": cores()}
        | {"seconds": work.measure(call)}
        for case, call in calls.items()
    ]
    versions = {name: version(name) for name in ("spyx", "jax", "flax", "numpy")}
    return {"versions": versions, "checks": [], "cases": rows, "activity": activity}


if __name__ == "__main__":
    main(run)
