# %% [markdown]
# # One network, many frameworks: NIR
#
# Integrate-and-fire neurons learn digits in Keras. The network goes into a NIR file,
# which Norse, snnTorch, SpikingJelly and chips read, and comes back from it with the
# same spikes; Nengo runs it, too.

# %%
import tempfile
from pathlib import Path

import keras
import matplotlib.pyplot as plt
import nir
import numpy as np
from sklearn.datasets import load_digits

import keras_spiking_nengo as ksn

keras.utils.set_random_seed(0)
steps = 30
digits = load_digits()
x = np.repeat((digits.data / 16).astype("float32")[:, None], steps, axis=1)
y = digits.target
x, y, x_test, y_test = x[:1400], y[:1400], x[1400:], y[1400:]

neurons = ksn.types.IntegrateAndFire(tau_mem=0.01, amplitude=0.001)  # spikes of 1
model = keras.Sequential(
    [
        keras.Input((None, 64)),
        keras.layers.Dense(64, name="in"),
        ksn.layers.Neurons(neurons, return_sequences=True, name="hidden"),
        keras.layers.Dense(10, name="out"),
        ksn.layers.Neurons(neurons, return_sequences=True, name="classes"),
    ]
)
loss = ksn.losses.SpikeCountCrossEntropy(dt=0.001, amplitude=0.001)
model.compile(keras.optimizers.Adam(0.002), loss, jit_compile=True)
model.fit(x, y, epochs=10, verbose=0)

# %%
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder, "digits.nir")
    nir.write(path, ksn.to_nir(model))
    for name, node in nir.read(path).nodes.items():
        print(f"{name:10} {type(node).__name__}")
    again = ksn.from_nir(path)

# %%
spikes, theirs = (m.predict(x_test, verbose=0) for m in (model, again))
accuracy = np.mean(np.argmax(spikes.sum(axis=1), axis=1) == y_test)
print(f"accuracy {accuracy:.3f}")
print(f"spikes that differ after the file: {np.sum(spikes != theirs)}")
print(ksn.to_nengo(again).verify(x_test[:5]))

# %%
fig, axes = plt.subplots(1, 4, figsize=(9, 2.2))
for ax, item, label in zip(axes, theirs, y_test, strict=False):
    step, neuron = np.nonzero(item)
    ax.plot(step, neuron, "|", markersize=7)
    ax.set(title=f"a {label}", xlabel="ms", ylim=(-0.5, 9.5), yticks=range(10))
fig.tight_layout()
