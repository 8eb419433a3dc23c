"""A Legendre memory unit that reads images one pixel after the other, shuffled.

    uv run examples/lmu.py                 scikit-learn's digits, 64 steps, a minute
    uv run examples/lmu.py --steps 784     Fashion-MNIST, 784 steps, a subset of it

As in the LMU's paper on permuted sequential MNIST: every image is a sequence of single
pixels in one fixed, random order. The memory is linear, so that all of its steps are
one product; a dense layer reads its last state. With `--recurrent` the hidden part is
recurrent and feeds back into the memory, and with `--spiking` it is LIF neurons.
"""

import keras_spiking_nengo as ksn  # first: TensorFlow then starts quietly

# isort: split
import argparse

import data
import keras
import nengo
import numpy as np


def unit(steps: int, kind: str) -> keras.layers.Layer:
    order = 64 if steps == 64 else 128
    if kind == "recurrent":
        hidden = keras.layers.SimpleRNNCell(128, recurrent_initializer="orthogonal")
        back = {"hidden_to_memory": True, "input_to_hidden": True}
        return ksn.layers.LMU(1, order, steps, hidden, **back)
    if kind == "spiking":
        hidden = [
            keras.layers.Dense(128, bias_initializer="ones"),
            ksn.layers.NeuronsCell(nengo.LIF(amplitude=0.01), seed=0),
            ksn.layers.SynapseCell(0.02),
        ]
        return ksn.layers.LMU(1, order, steps, hidden)
    return ksn.layers.LMU(1, order, steps, keras.layers.Dense(256, activation="relu"))


def pixels(images: np.ndarray) -> np.ndarray:
    """`(n, steps, 1)`, in the same random order for all images."""
    flat = images.reshape(len(images), -1, 1)
    return flat[:, np.random.RandomState(0).permutation(flat.shape[1])]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, choices=[64, 784], default=64)
    parser.add_argument("--train", type=int, default=10_000, help="images at most")
    parser.add_argument("--epochs", type=int, help="40 for 64 steps, else 10")
    kinds = parser.add_mutually_exclusive_group()
    for kind in ("recurrent", "spiking"):
        kinds.add_argument(f"--{kind}", dest="kind", action="store_const", const=kind)
    chosen = parser.parse_args()
    keras.utils.set_random_seed(0)
    (x, y), test = data.load("digits" if chosen.steps == 64 else "fashion-mnist")
    x, y = x[: chosen.train], y[: chosen.train]

    model = keras.Sequential(
        [
            keras.Input((chosen.steps, 1)),
            unit(chosen.steps, chosen.kind or "feed-forward"),
            keras.layers.Dense(10),
        ]
    )
    model.compile(
        keras.optimizers.Adam(0.002),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=True,
    )
    epochs = chosen.epochs or (40 if chosen.steps == 64 else 10)
    model.fit(pixels(x), y, batch_size=64, epochs=epochs, verbose=2)
    _, accuracy = model.evaluate(pixels(test[0]), test[1], batch_size=64, verbose=0)
    print(f"Accuracy on {len(test[0])} test images: {accuracy:.4f}")


if __name__ == "__main__":
    main()
