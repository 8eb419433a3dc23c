"""The picture on the first page, docs/images/first.svg: `python docs/images.py`."""

import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import matplotlib.pyplot as plt
import nengo
import numpy as np
from sklearn.datasets import load_digits

import keras_spiking_nengo as ksn

STEPS, PICTURE = 60, 1503


def trained(x, y) -> keras.Model:
    """A classifier that reads its own spikes after every millisecond."""
    image = keras.Input((8, 8))
    currents = keras.layers.Dense(48, bias_initializer="ones")(
        keras.layers.Flatten()(image)
    )
    spikes = ksn.layers.Neurons(
        nengo.LIF(amplitude=0.01), return_sequences=True, seed=0
    )(ksn.layers.Repeat(STEPS)(currents))
    smooth = ksn.layers.Synapse(0.02, return_sequences=True)(spikes)
    evidence = keras.layers.Dense(10)(smooth)
    model = keras.Model(image, evidence)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.003), loss, jit_compile=True)
    model.fit(x, np.repeat(y[:, None], STEPS, axis=1), epochs=20, verbose=0)
    return keras.Model(image, [spikes, keras.layers.Softmax()(evidence)])


def draw(image, spikes, evidence, file: Path) -> None:
    plt.rcParams.update({"svg.hashsalt": "ksn", "font.size": 9})
    figure, axes = plt.subplots(
        1, 3, figsize=(9, 2.4), width_ratios=[1, 2.2, 2.2], layout="constrained"
    )
    axes[0].imshow(image, cmap="gray_r")
    axes[0].set(xticks=[], yticks=[], title="a picture")
    steps, neurons = np.nonzero(spikes)
    axes[1].plot(steps, neurons, "|", markersize=3, color="black")
    axes[1].set(title="48 LIF neurons", xlabel="ms", yticks=[])
    best = evidence[-1].argmax()
    for digit, line in enumerate(evidence.T):
        colour = "tab:blue" if digit == best else "0.8"
        axes[2].plot(line, color=colour, zorder=2 + (digit == best))
    axes[2].text(
        STEPS - 1, evidence[-1, best], f" {best}", color="tab:blue", va="center"
    )
    axes[2].set(title="what it is, after each ms", xlabel="ms", ylim=(0, 1.05))
    for axis in axes[1:]:
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, metadata={"Date": None})


def main() -> None:
    keras.utils.set_random_seed(0)
    digits = load_digits()
    x = (digits.images / 16).astype("float32")
    spikes, evidence = trained(x[:1400], digits.target[:1400]).predict(
        x[PICTURE : PICTURE + 1], verbose=0
    )
    file = Path(__file__).parent / "images" / "first.svg"
    file.parent.mkdir(exist_ok=True)
    draw(x[PICTURE], spikes[0], evidence[0], file)
    print(file)


if __name__ == "__main__":
    main()
