# %% [markdown]
# # Reading an image pixel by pixel
#
# A Legendre memory unit keeps a sliding window of a sequence in a few numbers. Nothing
# is fed back into this one, so that all steps are computed at once. The hidden part may
# be a dense layer, or spiking neurons.

# %%
import keras
import matplotlib.pyplot as plt
import nengo
import numpy as np
from sklearn.datasets import load_digits

import keras_spiking_nengo as ksn

keras.utils.set_random_seed(0)
digits = load_digits()
order = np.random.RandomState(0).permutation(64)  # pixels, shuffled
x = (digits.images / 16).astype("float32").reshape(-1, 64, 1)[:, order]
y = digits.target
x, y, x_test, y_test = x[:1400], y[:1400], x[1400:], y[1400:]

spiking = [
    keras.layers.Dense(128, bias_initializer="ones"),
    ksn.layers.NeuronsCell(nengo.LIF(amplitude=0.01), seed=0),
    ksn.layers.SynapseCell(0.02),
]
kinds = {"dense": keras.layers.Dense(128, activation="relu"), "spiking": spiking}
learned = {}
for name, hidden in kinds.items():
    model = keras.Sequential(
        [
            keras.Input((64, 1)),
            ksn.layers.LMU(1, 32, 64, hidden),
            keras.layers.Dense(10),
        ]
    )
    model.compile(
        keras.optimizers.Adam(0.003),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=True,
    )
    run = model.fit(x, y, epochs=25, verbose=0, validation_data=(x_test, y_test))
    learned[name] = run.history["val_accuracy"]

# %%
plt.figure(figsize=(7, 3))
for name, accuracy in learned.items():
    plt.plot(accuracy, label=f"{name}, {accuracy[-1]:.3f}")
plt.xlabel("epoch")
plt.ylabel("test accuracy")
plt.legend()
# %% [markdown]
# ## What the memory holds
#
# Without a hidden part the output is the memory: coefficients of Legendre polynomials,
# from which the window can be read back.

# %%
memory = ksn.layers.LMU(1, 24, 200, kernel_initializer=None, return_sequences=True)
time = np.arange(600)
signal = np.sin(time / 23) * np.cos(time / 51)
state = keras.ops.convert_to_numpy(memory(signal[None, :, None].astype("float32")))[0]
ago = np.linspace(0, 1, 200)
basis = np.polynomial.legendre.legvander(2 * ago - 1, 23)
window = basis @ state[-1]
plt.figure(figsize=(7, 2.5))
plt.plot(time, signal, color="0.7", label="signal")
plt.plot(time[-1] - 200 * ago, window, "--", label="read from 24 numbers")
plt.xlabel("step")
plt.legend()
