"""The model that is served: trained through its spikes, and exported as a stream.

An image is presented as long as one likes. 128 leaky integrate-and-fire neurons fire;
their filtered spikes are the evidence for each class, after every millisecond. The
loss is that of all steps, so that evidence grows early.

`write` makes a folder of two things, which are all that a server needs: `stream/`, from
`ksn.export_streaming`, and `model.json` with the classes and some images to begin with.
"""

import keras_spiking_nengo as ksn  # first: TensorFlow then starts quietly

# isort: split
import argparse
import json
from pathlib import Path

import keras
import nengo
import numpy as np

from examples import data

N_STEPS = 40
BATCH = 64
CLASSES = {
    "digits": [str(digit) for digit in range(10)],
    "fashion-mnist": [
        *("T-shirt", "trousers", "pullover", "dress", "coat"),
        *("sandal", "shirt", "trainer", "bag", "boot"),
    ],
}


def network(shape) -> keras.Model:
    """Images, held for `N_STEPS` ms, to spikes and evidence after each of them."""
    x = keras.Input(shape, name="image")
    currents = keras.layers.Dense(128, bias_initializer="ones")(
        keras.layers.Flatten()(x)
    )
    neurons = ksn.layers.Neurons(
        nengo.LIF(amplitude=0.01), return_sequences=True, seed=0
    )
    spikes = neurons(ksn.layers.Repeat(N_STEPS)(currents))
    filtered = ksn.layers.Synapse(0.02, return_sequences=True)(spikes)
    evidence = keras.layers.Dense(10)(filtered)
    return keras.Model(x, {"evidence": evidence, "spikes": spikes})


def train(model: keras.Model, x, y, epochs: int) -> None:
    evidence = keras.Model(model.input, model.output["evidence"])
    evidence.compile(
        keras.optimizers.Adam(0.002),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=True,
    )
    steps = np.repeat(y[:, None], N_STEPS, axis=1)
    evidence.fit(x, steps, batch_size=BATCH, epochs=epochs, verbose=2)


def accuracy(model: keras.Model, x, y) -> float:
    last = model.predict(x, batch_size=500, verbose=0)["evidence"][:, -1]
    return float(np.mean(np.argmax(last, axis=1) == y))


def write(folder: Path, name: str, epochs: int | None = None) -> None:
    """Trains on the data set called `name`, and writes what a server needs."""
    (x, y), (x_test, y_test) = data.load(name)
    keras.utils.set_random_seed(1)
    model = network(x.shape[1:])
    train(model, x, y, epochs or (30 if name == "digits" else 4))
    folder.mkdir(parents=True, exist_ok=True)
    ksn.export_streaming(model, folder / "stream")
    firsts = [int(np.flatnonzero(y_test == label)[0]) for label in range(10)]
    notes = {
        "data": name,
        "classes": CLASSES[name],
        "n_steps": N_STEPS,
        "accuracy": round(accuracy(model, x_test, y_test), 4),
        "examples": np.round(x_test[firsts], 3).tolist(),
    }
    (folder / "model.json").write_text(json.dumps(notes))
    print(f"{folder}: test accuracy {notes['accuracy']:.4f} after {N_STEPS} ms")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    data.add_argument(parser)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--epochs", type=int)
    options = parser.parse_args()
    write(options.folder, options.data, options.epochs)
