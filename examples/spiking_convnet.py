"""A trained convolutional network becomes a spiking one, and keeps its accuracy.

Keras trains two convolutions, batch normalisation, pooling and dense layers.
`ksn.to_spiking` puts spiking neurons in the place of its activations: first as they
are, which says almost nothing in 50 steps, then calibrated. `ksn.compare` shows what
each layer says, and Nengo runs the same network.

Run it with `uv run examples/spiking_convnet.py --data fashion-mnist`.
"""

import keras_spiking_nengo as ksn  # first: TensorFlow then starts quietly

# isort: split
import argparse
import warnings

import data
import keras
import nengo
import numpy as np

STEPS = 50
IN_NENGO = 20  # images for nengo.Simulator, which runs them one by one


def convnet(shape) -> keras.Model:
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input(shape),
            layers.Conv2D(16, 3, padding="same", use_bias=False, name="conv1"),
            layers.BatchNormalization(name="norm1"),
            layers.ReLU(name="relu1"),
            layers.AveragePooling2D(2, name="pool1"),
            layers.Conv2D(32, 3, padding="same", activation="relu", name="conv2"),
            layers.AveragePooling2D(2, name="pool2"),
            layers.Flatten(name="flat"),
            layers.Dropout(0.3, name="dropout"),
            layers.Dense(128, activation="relu", name="dense"),
            layers.Dense(10, name="logits"),
        ]
    )


def accuracy(model, x, y) -> float:
    model.compile(jit_compile=True)
    scores = [model.predict_on_batch(x[i : i + 50]) for i in range(0, len(x), 50)]
    return float(np.mean(np.argmax(np.concatenate(scores), axis=1) == y))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    data.add_argument(parser)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--images", type=int, default=2000, help="to test with")
    options = parser.parse_args()
    keras.utils.set_random_seed(0)
    (x, y), (x_test, y_test) = data.load(options.data)
    x, y, x_test = (
        x[:10_000, ..., None],
        y[:10_000],
        x_test[: options.images, ..., None],
    )
    y_test = y_test[: options.images]
    model = convnet(x.shape[1:])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(2e-3), loss, jit_compile=True)
    model.fit(x, y, batch_size=64, epochs=options.epochs, verbose=2)
    print(f"rate: {accuracy(model, x_test, y_test):.4f}")

    spiking = ksn.to_spiking(model, n_steps=STEPS)  # warns
    print(f"spiking, as it is: {accuracy(spiking, x_test, y_test):.4f}")

    calibrate = {"scale_firing_rates": "calibrate", "calibration_data": x[:500]}
    for kind in (nengo.SpikingRectifiedLinear(), nengo.LIF()):
        spiking = ksn.to_spiking(model, {"relu": kind}, n_steps=STEPS, **calibrate)
        print(f"{kind}, calibrated: {accuracy(spiking, x_test, y_test):.4f}")
        print(ksn.compare(model, spiking, x_test[:100]))

        whole = ksn.to_spiking(
            model, {"relu": kind}, n_steps=STEPS, output="sequence", **calibrate
        )
        images = x_test[:IN_NENGO]
        scores = ksn.to_nengo(whole).run(images).mean(axis=1)
        ours = np.argmax(spiking.predict(images, verbose=0), axis=1)
        same = np.mean(np.argmax(scores, axis=1) == ours)
        print(f"the same class in Nengo: {same:.0%} of {len(images)}\n")


if __name__ == "__main__":
    warnings.simplefilter("once")
    main()
