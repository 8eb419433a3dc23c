"""From data to a served model and a Nengo network, with spiking neurons.

Run it with `uv run examples/quickstart.py` (scikit-learn's digits, half a minute)
or with `--data fashion-mnist` (two minutes).

A dense network with leaky integrate-and-fire neurons is trained with
`model.fit`, through its spikes; then saved, loaded, exported as a SavedModel that
a process with nothing but TensorFlow serves, and exported to a `nengo.Network`.
"""

import keras_spiking_nengo as ksn  # first: TensorFlow then starts quietly

# isort: split
import argparse
import math
import pathlib
import subprocess
import sys
import tempfile

import data
import keras
import nengo
import numpy as np
from rich.console import Console
from rich.table import Table

BATCH = 64
SERVER = pathlib.Path(__file__).with_name("serve.py")


def network(shape, neuron_type, n_steps: int) -> keras.Model:
    """An image, presented for `n_steps` ms, to class scores after the last one."""
    return keras.Sequential(
        [
            keras.Input(shape),
            keras.layers.Flatten(),
            keras.layers.Dense(128, bias_initializer="ones"),
            ksn.layers.Repeat(n_steps),
            ksn.layers.Neurons(neuron_type, return_sequences=True, seed=0),
            ksn.layers.Synapse(0.02),
            keras.layers.Dense(10),
        ]
    )


def train(model, x, y, epochs: int) -> keras.Model:
    batches = epochs * math.ceil(len(x) / BATCH)
    rate = keras.optimizers.schedules.CosineDecay(0.003, batches, alpha=0.02)
    model.compile(
        keras.optimizers.Adam(rate),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=True,
    )
    model.fit(x, y, batch_size=BATCH, epochs=epochs)
    # From here without XLA, as it will be served: another order of summation can
    # move a spike, in float32.
    model.jit_compile = False
    return model


def scores(model, x) -> np.ndarray:
    return model.predict(x, batch_size=40, verbose=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    data.add_argument(parser)
    parser.add_argument("--steps", type=int, default=30, help="ms per image")
    parser.add_argument("--epochs", type=int, help="5; 30 for the small digits")
    options = parser.parse_args()
    epochs = options.epochs or (30 if options.data == "digits" else 5)
    (x, y), (x_test, y_test) = data.load(options.data)
    keras.utils.set_random_seed(1)

    # A spike is 1/dt = 1000 high; an amplitude of 0.01 makes rates of 100 Hz be 1.
    print("Rate neurons")
    rate = network(x.shape[1:], nengo.LIFRate(amplitude=0.01), options.steps)
    train(rate, x, y, epochs)
    print("Spiking neurons")
    model = network(x.shape[1:], nengo.LIF(amplitude=0.01), options.steps)
    train(model, x, y, epochs)

    table = Table("", "test accuracy", "against the trained model")
    spiking = scores(model, x_test)

    def row(name, result, note=""):
        accuracy = np.mean(np.argmax(result, axis=1) == y_test[: len(result)])
        table.add_row(name, f"{accuracy:.4f}", note)

    def difference(result):
        return (
            f"largest difference {np.max(np.abs(result - spiking[: len(result)])):.1e}"
        )

    row("rate", scores(rate, x_test), "the same network with rate neurons")
    row("spiking", spiking)
    with tempfile.TemporaryDirectory() as folder:
        model.save(f"{folder}/model.keras")
        loaded = keras.models.load_model(f"{folder}/model.keras", compile=False)
        reloaded = scores(loaded, x_test)
        row("reloaded", reloaded, difference(reloaded))
        served = serve(model, x_test, pathlib.Path(folder))
        row("served", served, difference(served))
    export = ksn.to_nengo(model)
    first = x_test[:1000]
    in_nengo = export.run(first)
    agree = np.mean(np.argmax(in_nengo, 1) == np.argmax(spiking[: len(first)], 1))
    row("Nengo", in_nengo, f"the same class for {agree:.1%} of {len(first)} images")
    Console().print(table)


def serve(model, x, folder: pathlib.Path) -> np.ndarray:
    """Scores from a clean process that has TensorFlow and nothing of ours."""
    model.export(folder / "served", verbose=False)
    np.save(folder / "x.npy", x)
    command = [sys.executable, SERVER, folder / "served", folder / "x.npy"]
    # TensorFlow alone says much when it starts: shown if it fails.
    done = subprocess.run(
        [*command, folder / "y.npy"], stderr=subprocess.PIPE, text=True
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return np.load(folder / "y.npy")


if __name__ == "__main__":
    main()
