"""How fast this machine is with this backend.

A first answer, in a minute. What our claims are measured with, and peers beside it, is
`benchmarks/` of the repository.
"""

import statistics
import time
from collections.abc import Callable

import keras
import nengo
import numpy as np

from keras_spiking_nengo import layers
from keras_spiking_nengo.commands.output import Finding, table
from keras_spiking_nengo.dynamics.loops import backend_name
from keras_spiking_nengo.simulator import Simulator

__all__ = ["measure"]


def measure(quick: bool = False, repeats: int = 5) -> Finding:
    """Times a layer of LIF neurons, forward and in training, and a network."""
    batch, steps, units = (4, 100, 128) if quick else (16, 500, 512)
    rows = [*_time_layers(batch, steps, units, repeats), *_time_network(1000, repeats)]
    backend = backend_name()
    shown = table(
        f"{backend}: the median of {repeats} calls, compiled",
        *("what", "size", "ms", "beside", "ms", "times as fast"),
        numbers=1,
    )
    for row in rows:
        peer = row["peer_ms"]
        shown.add_row(
            *(row["what"], row["size"], f"{row['ms']:.2f}", row["peer"]),
            *(f"{peer:.2f}", f"{peer / row['ms']:.2f}"),
        )
    return Finding({"backend": backend, "rows": rows}, [shown])


def _time_layers(batch: int, steps: int, units: int, repeats: int) -> list[dict]:
    x = np.random.default_rng(0).uniform(0, 2, (batch, steps, units))
    x = keras.ops.convert_to_tensor(x, "float32")
    size = f"{batch} x {steps} steps x {units}"
    lif = nengo.LIF(amplitude=0.01)
    neurons = layers.Neurons(lif, return_sequences=True, seed=0)
    alone = keras.Sequential([keras.Input((steps, units)), neurons])
    alone.compile(jit_compile=True)
    forward = _median(lambda: alone.predict_on_batch(x), repeats)
    y = keras.ops.zeros((batch, steps, units))
    trained = [
        _median(_training(units, steps, x, y, *more), repeats)
        for more in ((), (layers.Neurons(lif, return_sequences=True, seed=0),))
    ]
    numpy = _median(_nengo_steps(lif, np.asarray(x)), repeats)
    return [
        _timed("LIF, forward", size, forward, "Nengo's own step", numpy),
        _timed("Dense + LIF, train", size, trained[1], "Dense alone", trained[0]),
    ]


def _training(units, steps, x, y, *more) -> Callable:
    model = keras.Sequential(
        [keras.Input((steps, units)), keras.layers.Dense(units), *more]
    )
    model.compile("adam", "mse", jit_compile=True)
    return lambda: model.train_on_batch(x, y)


def _nengo_steps(lif: nengo.LIF, x: np.ndarray) -> Callable:
    batch, steps, units = x.shape

    def run():
        output = np.zeros((batch, units), np.float32)
        state = lif.make_state(batch * units, np.random.RandomState(0), np.float32)
        state = {k: v.reshape(batch, units) for k, v in state.items() if v.ndim}
        for t in range(steps):
            lif.step(0.001, x[:, t], output, **state)

    return run


def _time_network(steps: int, repeats: int) -> list[dict]:
    with nengo.Network(seed=0) as net:
        stimulus = nengo.Node(np.sin)
        ensemble = nengo.Ensemble(500, 1)
        nengo.Connection(stimulus, ensemble, transform=0.1)
        nengo.Connection(ensemble, ensemble, synapse=0.1)
        nengo.Probe(ensemble, synapse=0.01)
    times = []
    for make in (Simulator, nengo.Simulator):
        with make(net, progress_bar=False) as sim:
            times.append(_median(lambda s=sim: s.run_steps(steps), repeats))
    size = f"{steps} steps, 500 neurons"
    return [_timed("integrator", size, times[0], "nengo.Simulator", times[1])]


def _timed(what: str, size: str, seconds: float, peer: str, beside: float) -> dict:
    times = {"ms": 1e3 * seconds, "peer": peer, "peer_ms": 1e3 * beside}
    return {"what": what, "size": size, **times}


def _median(call: Callable, repeats: int) -> float:
    """Seconds of a call, compiled before."""
    call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)
