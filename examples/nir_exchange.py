"""A network that Keras trained, as a NIR file that other frameworks run, and back.

Integrate-and-fire neurons learn digits. The network is written to a file, read from it
as a Keras model, and run by Nengo: three times the same spikes.

Run it with `uv run --extra nir examples/nir_exchange.py`.
"""

import argparse
import os
import pathlib
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow's start-up notes

import data
import keras
import nir
import numpy as np

import keras_spiking_nengo as ksn

STEPS = 30


def network(shape) -> keras.Model:
    """Images over time to the spikes of ten neurons."""
    neurons = ksn.types.IntegrateAndFire(tau_mem=0.01, amplitude=0.001)  # spikes of 1
    options = {"return_sequences": True}
    return keras.Sequential(
        [
            keras.Input((None, *shape)),
            keras.layers.Dense(64, name="in"),
            ksn.layers.Neurons(neurons, name="hidden", **options),
            keras.layers.Dense(10, name="out"),
            ksn.layers.Neurons(neurons, name="classes", **options),
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    data.add_argument(parser)
    options = parser.parse_args()
    keras.utils.set_random_seed(0)
    (x, y), (x_test, y_test) = data.load(options.data)
    x, x_test = (
        np.repeat(a.reshape(len(a), 1, -1), STEPS, axis=1)
        for a in (x[:10_000], x_test[:500])
    )
    model = network(x.shape[2:])
    loss = ksn.losses.SpikeCountCrossEntropy(dt=0.001, amplitude=0.001)
    model.compile(keras.optimizers.Adam(2e-3), loss, jit_compile=True)
    model.fit(x, y[: len(x)], batch_size=32, epochs=10, verbose=2)

    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "digits.nir")
        nir.write(path, ksn.to_nir(model))
        print({name: type(n).__name__ for name, n in nir.read(path).nodes.items()})
        again = ksn.from_nir(path)

    spikes = model.predict(x_test, verbose=0)
    rate = np.mean(np.argmax(spikes.sum(1), axis=1) == y_test[:500])
    print(f"accuracy {rate:.3f}")
    differing = np.sum(again.predict(x_test, verbose=0) != spikes)
    print(f"spikes that differ after the file: {differing} of {np.sum(spikes):.0f}")
    print(ksn.to_nengo(again).verify(x_test[:5]))


if __name__ == "__main__":
    main()
