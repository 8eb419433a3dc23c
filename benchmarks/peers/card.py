"""One case on JAX, on the platform that is named: `python card.py <work> cuda|cpu`.

A JSON object with `kind`, a name in `KINDS`, and `units`.
"""

import json
import os
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np

BATCH, TIME, LONG, REPEATS = 16, 500, 10_000, 5
COPIES, STEPS = 64, 200


def numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 3, shape).astype("float32")


def called(layer, x: np.ndarray) -> Callable[[], np.ndarray]:
    """Sums over time of what a layer puts out, compiled."""
    import jax

    layer.build(x.shape)
    state = [[v.value for v in layer.trainable_variables]]
    state += [[v.value for v in layer.non_trainable_variables]]
    compiled = jax.jit(lambda x: layer.stateless_call(*state, x)[0].sum(1))
    x = jax.device_put(x)
    return lambda: np.asarray(compiled(x))


def trained(*layers, features: int) -> Callable[[], np.ndarray]:
    """The loss of one step of training after the other."""
    import keras

    model = keras.Sequential([keras.Input((TIME, features)), *layers])
    model.compile("sgd", loss="mse", jit_compile=True)
    x = keras.ops.convert_to_tensor(numbers(BATCH, TIME, features))
    y = keras.ops.zeros((BATCH, *model.output_shape[1:]))
    return lambda: np.asarray(model.train_on_batch(x, y)).reshape(-1)[:1]


def lif(**options):
    import nengo

    import keras_spiking_nengo as ksn

    rest = {"voltage": nengo.dists.Choice([0])}
    neurons = nengo.LIF(amplitude=0.001, initial_state=rest)
    return ksn.layers.Neurons(neurons, return_sequences=True, **options)


def forward(units: int):
    return called(lif(), numbers(BATCH, TIME, units))


def train(units: int):
    import keras

    keras.utils.set_random_seed(0)
    return trained(keras.layers.Dense(units), lif(), features=units)


def recurrent(units: int):
    import keras
    import nengo

    import keras_spiking_nengo as ksn

    keras.utils.set_random_seed(0)
    neurons = ksn.layers.RecurrentNeurons(nengo.LIF(amplitude=0.001))
    return trained(keras.layers.Dense(units), neurons, features=128)


def synapse(units: int):
    import nengo

    import keras_spiking_nengo as ksn

    layer = ksn.layers.Synapse(nengo.Lowpass(0.05), return_sequences=True)
    return called(layer, numbers(BATCH, LONG, units))


def populations(units: int):
    """Four that drive each other, an input, and what is decoded of the last."""
    import nengo

    with nengo.Network(seed=0) as net:
        source = nengo.Node(np.zeros(2))
        ensembles = [nengo.Ensemble(units // 4, 2, n_eval_points=500) for _ in range(4)]
        nengo.Connection(source, ensembles[0])
        for one, other in zip(ensembles, ensembles[1:] + ensembles[:1], strict=True):
            nengo.Connection(one, other, transform=0.5)
        return net, source, nengo.Probe(ensembles[-1], synapse=0.05)


def network(units: int):
    import keras

    import keras_spiking_nengo as ksn

    keras.utils.set_random_seed(0)
    net, _, _ = populations(units)
    return trained(ksn.layers.Network(net, return_sequences=True), features=2)


def simulator(units: int):
    import keras_spiking_nengo as ksn

    net, _, probe = populations(units)
    copies = COPIES if units < 10_000 else 1
    options = {"minibatch_size": copies, "compile": True, "progress_bar": False}
    sim = ksn.Simulator(net, seed=0, **options)

    def call():
        sim.run_steps(STEPS)
        shown = np.array(sim.data[probe]).mean(axis=1)
        sim.clear_probes()
        return shown

    return call


KINDS = {
    f.__name__: f for f in (forward, train, recurrent, synapse, network, simulator)
}


def main(work: dict) -> dict:
    import jax

    call = KINDS[work["kind"]](work["units"])
    times = [time.perf_counter()]
    for _ in range(1 + REPEATS):
        output = call()
        times.append(time.perf_counter())
    first, *later = np.diff(times).tolist()
    row = {"first": first, "seconds": statistics.median(later)}
    device = jax.devices()[0]
    return row | {"device": device.device_kind, "output": output.tolist()}


if __name__ == "__main__":
    os.environ["JAX_PLATFORMS"] = sys.argv[2]
    print(json.dumps(main(json.loads(sys.argv[1]))), flush=True)
