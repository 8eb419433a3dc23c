# %% [markdown]
# # Sample by sample on a device: LiteRT
#
# A spiking detector is trained on whole sequences, and exported as a single step for
# LiteRT (once TensorFlow Lite): a small file that keeps no state, so that states go in
# and come out. Neither Keras nor Nengo is on the device. Sample by sample it gives what
# the whole sequence gave.

# %%
import tempfile
from pathlib import Path

import keras
import matplotlib.pyplot as plt
import nengo
import numpy as np
from ai_edge_litert.interpreter import Interpreter

import keras_spiking_nengo as ksn

keras.utils.set_random_seed(0)
steps = 200


def recordings(n, seed):
    """Noise, with a short chirp in half of them; and where that is."""
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 0.5, (n, steps))
    start = rng.integers(20, steps - 80, n)
    time = np.arange(steps) - start[:, None]
    there = (time >= 0) & (time < 60) & (rng.random(n) < 0.5)[:, None]
    x += there * np.sin(time**2 / 150)
    return x[..., None].astype("float32"), there[..., None].astype("float32")


model = keras.Sequential(
    [
        keras.Input((None, 1), name="x"),
        ksn.layers.Synapse(nengo.Alpha(0.003), delay=0, return_sequences=True),
        keras.layers.Dense(64, bias_initializer="ones"),
        ksn.layers.Neurons(nengo.LIF(amplitude=0.01), seed=0, return_sequences=True),
        ksn.layers.Synapse(0.01, delay=0, return_sequences=True),
        keras.layers.Dense(32, activation="relu"),
        ksn.layers.Synapse(0.01, delay=0, return_sequences=True),
        keras.layers.Dense(1, activation="sigmoid"),
    ]
)
model.compile(keras.optimizers.Adam(0.003), "binary_crossentropy", jit_compile=True)
x, there = recordings(512, 0)
model.fit(x, there, batch_size=32, epochs=15, verbose=0)

# %% [markdown]
# ## On the device

# %%
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "detector.tflite"
    ksn.export(model, path, "litert", step=True)
    state = dict(np.load(path.with_suffix(".state.npz")))
    size = path.stat().st_size
    step = Interpreter(str(path)).get_signature_runner()

x_test, there_test = recordings(8, 3)
chirping = np.flatnonzero(there_test.any(axis=(1, 2)))[:1]
x_test, there_test = x_test[chirping], there_test[chirping]
streamed = []
for sample in x_test[0]:
    sent = step(x=sample[None], **state)
    streamed.append(sent.pop("y")[0, 0])
    state = {name: sent[f"next_{name}"] for name in state}
whole = model.predict(x_test, verbose=0)[0, :, 0]
print(f"{size / 1024:.0f} KB; largest difference {np.abs(streamed - whole).max():.1e}")

# %%
fig, axes = plt.subplots(2, 1, figsize=(8, 3.5), sharex=True)
axes[0].plot(x_test[0], color="0.5")
axes[0].fill_between(range(steps), -2, 2, there_test[0, :, 0] > 0, alpha=0.2)
axes[1].plot(whole, label="whole sequence, Keras")
axes[1].plot(streamed, "--", label="sample by sample, LiteRT")
axes[1].set_xlabel("ms")
axes[1].legend()
