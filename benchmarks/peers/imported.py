"""An imported network as layers, as one layer, and looped; `python imported.py`.

On the backend that KERAS_BACKEND names.
"""

import functools
import itertools
import json
import statistics
import time
from collections.abc import Callable

import keras
import nengo
import numpy as np

import keras_spiking_nengo as ksn

BATCHES = (1, 16)
STEPS, REPEATS = 1000, 15
EXACT_STEPS, EXACT = 200, 1e-9


def decoded() -> nengo.Network:
    """Five ensembles in a row, with a filtered probe on the last."""
    with nengo.Network(seed=0) as net:
        before: nengo.Node | nengo.Ensemble = nengo.Node([0.0, 0.0], label="stimulus")
        for i in range(5):
            ensemble = nengo.Ensemble(200, 2, label=f"ens{i}")
            nengo.Connection(before, ensemble)
            before = ensemble
        nengo.Probe(before, synapse=0.01)
    return net


def dense() -> nengo.Network:
    """Five layers of neurons, each with weights to all of the next."""
    rng, n = np.random.RandomState(0), 512
    with nengo.Network(seed=0) as net:
        stimulus = nengo.Node([0.0, 0.0], label="stimulus")
        rest = {
            "gain": np.ones(n),
            "bias": np.full(n, 0.9),
            "encoders": np.ones((n, 1)),
        }
        layers = [nengo.Ensemble(n, 1, label=f"ens{i}", **rest) for i in range(5)]
        nengo.Connection(
            stimulus, layers[0].neurons, transform=rng.standard_normal((n, 2))
        )
        for pre, post in zip(layers, layers[1:], strict=False):
            weights = rng.standard_normal((n, n)) / (60 * n**0.5)
            nengo.Connection(pre.neurons, post.neurons, transform=weights)
        nengo.Probe(layers[-1].neurons[:10], synapse=0.01)
    return net


NETWORKS = {"decoded": decoded, "dense": dense}


def looped(net: nengo.Network) -> keras.Model:
    x = keras.Input((None, 2))
    cell = ksn.layers.NetworkCell(net)
    return keras.Model(x, keras.layers.RNN(cell, return_sequences=True)(x))


MODELS: dict[str, Callable[[nengo.Network], keras.Model]] = {
    "layers": ksn.from_nengo,
    "one layer": lambda net: ksn.from_nengo(net, layered=False),
    "looped": looped,
}


def data(batch: int, steps: int, dtype: str) -> np.ndarray:
    x = np.random.RandomState(0).uniform(-1, 1, (batch, 1, 2))
    return np.repeat(x, steps, axis=1).astype(dtype)


def compared(network: str) -> list[dict]:
    """Whether all models of a network give the same in float64."""
    if keras.backend.backend() == "jax":
        import jax

        jax.config.update("jax_enable_x64", True)
    policy = keras.config.dtype_policy()
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    net, x = NETWORKS[network](), data(2, EXACT_STEPS, "float64")
    found = {name: make(net).predict_on_batch(x) for name, make in MODELS.items()}
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy(policy)
    if keras.backend.backend() == "jax":
        jax.config.update("jax_enable_x64", False)
    scale = np.ptp(found["looped"])
    off = {
        name: np.max(np.abs(y - found["looped"])) / scale for name, y in found.items()
    }
    return [
        {
            "name": f"{network}: {name}, {EXACT_STEPS} steps in float64",
            "wanted": f"<= {EXACT:g}",
            "found": f"{value:.1e}",
            "ok": bool(value <= EXACT),
        }
        for name, value in off.items()
        if name != "looped"
    ]


def median(call) -> float:
    """Seconds of one call, the first not counted."""
    call()
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main() -> dict:
    checks = [check for network in NETWORKS for check in compared(network)]
    rows = []
    for network, batch in itertools.product(NETWORKS, BATCHES):
        net, x = NETWORKS[network](), data(batch, STEPS, "float32")
        for name, make in MODELS.items():
            model = make(net)
            model.compile(jit_compile=True)
            seconds = median(functools.partial(model.predict_on_batch, x))
            row = {"network": network, "batch": batch, "model": name}
            rows.append(row | {"seconds": seconds})
    return {"rows": rows, "checks": checks}


if __name__ == "__main__":
    print(json.dumps(main()), flush=True)
