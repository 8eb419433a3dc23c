# %% [markdown]
# # 6. Ship it
#
# A trained spiking model leaves Python: as a file for whoever has Keras, as a
# SavedModel for servers and other languages, step by step for data that come one by
# one, and as a graph for other spiking libraries and chips.

# %%
import keras
import nengo
import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits

import keras_spiking_nengo as ksn

keras.utils.set_random_seed(0)
digits = load_digits()
x, y = (digits.images / 16).astype("float32"), digits.target
model = keras.Sequential(
    [
        keras.Input((8, 8)),
        keras.layers.Flatten(),
        keras.layers.Dense(64, bias_initializer="ones"),
        ksn.layers.Repeat(30),
        ksn.layers.Neurons(nengo.LIF(amplitude=0.01), return_sequences=True),
        ksn.layers.Synapse(0.02),
        keras.layers.Dense(10),
    ]
)
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
model.compile("adam", loss, metrics=["accuracy"], jit_compile=True)
model.fit(x[:1400], y[:1400], epochs=8, verbose=0)
expected = model.predict(x[1400:1405], verbose=0)

# %% [markdown]
# ## A Keras file
#
# No code is in it, and none is needed to read it but this package.

# %%
model.save("digits.keras")
loaded = keras.models.load_model("digits.keras")
print(np.abs(loaded.predict(x[1400:1405], verbose=0) - expected).max())

# %% [markdown]
# ## A SavedModel
#
# `ksn.export` writes it, runs it, and compares it with the model. TensorFlow alone
# reads it, in any language that it has.

# %%
print(ksn.export(model, "digits"))
served = tf.saved_model.load("digits")
print(np.abs(served.serve(x[1400:1405]) - expected).max())

# %% [markdown]
# ## Step by step
#
# A stream takes one step at a time, and hands its state back: for as many users as
# you like, for as long as they like. The picture comes with each step now, and may
# move meanwhile.

# %%
ksn.export_streaming(model, "digits_stream")
stream = ksn.serving.Stream("digits_stream")
state = stream.initial_state(batch_size=1)
for step in range(30):
    evidence, state = stream.step(x[1400:1401], state)
    if step % 5 == 4:
        print(f"after {step + 1} ms: {np.argmax(evidence)}")
print("largest difference:", np.abs(evidence - expected[0]).max())

# %% [markdown]
# ## Other libraries, and chips
#
# NIR is a file that Norse, snnTorch, SpikingJelly, Sinabs and the tools of several
# chips read; Nengo has backends of its own.

# %%
print(ksn.to_nengo(model).verify(x[1400:1405]))

# %% [markdown]
# [Export](../export.md) says what every layer does in each format, ONNX, LiteRT and
# OpenVINO among them; [serving](../serving.md) has a server with sessions;
# [NIR](../nir.md) has the exchange.
