# %% [markdown]
# # A Keras model and a Nengo network, together
#
# NengoDL's notebook put a Keras model into a Nengo network, in four degrees: as a
# whole, layer by layer, as native Nengo objects that are trained, and by conversion.
# This is the same tour the other way round: Nengo's parts are Keras layers.

# %%
import keras
import matplotlib.pyplot as plt
import nengo
import numpy as np
from sklearn.datasets import load_digits

import keras_spiking_nengo as ksn

keras.utils.set_random_seed(0)
digits = load_digits()
x, y = (digits.images / 16).astype("float32"), digits.target
x, y, x_test, y_test = x[:1400], y[:1400], x[1400:], y[1400:]
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
found = {}


def accuracy(model):
    return np.mean(np.argmax(model.predict(x_test, verbose=0), axis=1) == y_test)


def train(model, name, epochs=20):
    model.compile(keras.optimizers.Adam(0.003), loss, jit_compile=True)
    model.fit(x, y, epochs=epochs, verbose=0)
    found[name] = accuracy(model)
    return model


# %% [markdown]
# ## Keras alone

# %%
classifier = keras.Sequential(
    [
        keras.Input((8, 8)),
        keras.layers.Flatten(),
        keras.layers.Dense(128, activation="relu"),
        keras.layers.Dense(10),
    ]
)
train(classifier, "Keras alone")
# %% [markdown]
# ## A whole model over time
#
# The trained classifier sees the image for 30 ms, and its scores are filtered.

# %%
over_time = keras.Sequential(
    [
        keras.Input((8, 8)),
        ksn.layers.Repeat(30),
        keras.layers.TimeDistributed(classifier),
        ksn.layers.Synapse(0.005),
    ]
)
found["whole model over time"] = accuracy(over_time)

# %% [markdown]
# ## Layer by layer
#
# Keras's `Dense`, our spiking neurons, trained through their spikes.

# %%
spiking = keras.Sequential(
    [
        keras.Input((8, 8)),
        keras.layers.Flatten(),
        keras.layers.Dense(128, bias_initializer="ones"),
        ksn.layers.Repeat(30),
        ksn.layers.Neurons(nengo.LIF(amplitude=0.01), return_sequences=True),
        ksn.layers.Synapse(0.02),
        keras.layers.Dense(10),
    ]
)
train(spiking, "spiking, layer by layer")
# %% [markdown]
# ## A native Nengo network, trained
#
# `ksn.layers.Network` is a whole `nengo.Network` as a layer; its weights train in
# `fit`.

# %%
with nengo.Network(seed=0) as net:
    image = nengo.Node(np.zeros(64), label="image")
    line = {"gain": nengo.dists.Choice([1]), "bias": nengo.dists.Choice([0])}
    hidden = nengo.Ensemble(128, 1, neuron_type=nengo.RectifiedLinear(), **line)
    scores = nengo.Node(size_in=10)
    glorot = ksn.initializers.KerasDistribution("glorot_uniform")
    weights = nengo.Dense((128, 64), glorot), nengo.Dense((10, 128), glorot)
    nengo.Connection(image, hidden.neurons, transform=weights[0], synapse=None)
    nengo.Connection(hidden.neurons, scores, transform=weights[1], synapse=None)
    nengo.Probe(scores, label="scores")

native = keras.Sequential(
    [
        keras.Input((8, 8)),
        keras.layers.Flatten(),
        ksn.layers.Repeat(1),
        ksn.layers.Network(net),
    ]
)
train(native, "native Nengo network")
# %% [markdown]
# ## Automatic conversion
#
# The spiking model as a `nengo.Network`, which gives the same answers in Nengo itself.

# %%
export = ksn.to_nengo(spiking)
in_nengo = np.argmax(export.run(x_test[:50]), axis=1)
in_keras = np.argmax(spiking.predict(x_test[:50], verbose=0), axis=1)
print(f"the same class for {np.mean(in_nengo == in_keras):.0%} of 50 images")
print(export.verify(x_test[:5]))

# %%
plt.figure(figsize=(7, 2.2))
plt.barh(list(found), list(found.values()))
plt.xlim(0.8, 1)
plt.xlabel("test accuracy")
plt.gca().invert_yaxis()
