# %% [markdown]
# # 2. A first spiking network
#
# Digits of 8 x 8 pixels, a hidden layer of spiking neurons, trained with `fit`
# through its spikes. Then we look at what it does: its raster, neurons that are dead,
# and why a bias keeps them alive.

# %%
import keras
import matplotlib.pyplot as plt
import nengo
import numpy as np
from sklearn.datasets import load_digits

import keras_spiking_nengo as ksn

digits = load_digits()
x, y = (digits.images / 16).astype("float32"), digits.target
x, y, x_test, y_test = x[:1400], y[:1400], x[1400:], y[1400:]


def network(bias="ones"):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((8, 8)),
            keras.layers.Flatten(),
            keras.layers.Dense(128, bias_initializer=bias, name="currents"),
            ksn.layers.Repeat(30),  # the image is there for 30 steps of 1 ms
            ksn.layers.Neurons(
                nengo.LIF(amplitude=0.01), return_sequences=True, name="spikes"
            ),
            ksn.layers.Synapse(0.02),  # read at the last step
            keras.layers.Dense(10),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, metrics=["accuracy"], jit_compile=True)
    return model


model = network()
model.fit(x, y, epochs=10, verbose=0)
print("test accuracy:", round(model.evaluate(x_test, y_test, verbose=0)[1], 3))

# %% [markdown]
# ## Its raster
#
# A part of a model is a model. This one ends at the spikes: `(items, steps,
# neurons)`.

# %%
inner = keras.Model(model.inputs, model.get_layer("spikes").output)
spikes = inner.predict(x_test[:200], verbose=0)

figure, (left, right) = plt.subplots(
    1, 2, figsize=(8, 3), width_ratios=[1, 3], layout="constrained"
)
left.imshow(x_test[0], cmap="gray_r")
left.axis("off")
ksn.analysis.plots.raster(spikes[0], ax=right)

# %% [markdown]
# ## Neurons that never fire
#
# A LIF neuron whose current stays below 1 is silent, and a silent neuron says nothing
# and learns slowly. `Dense` begins with a bias of 0, where most currents of such a
# picture are below 1; with a bias of 1 most neurons are at their threshold, where a
# little more or less of the picture makes a difference.

# %%
figure, axes = plt.subplots(1, 2, figsize=(8, 2.5), sharey=True, layout="constrained")
for ax, bias in zip(axes, ("zeros", "ones"), strict=True):
    fresh = network(bias)
    inner = keras.Model(fresh.inputs, fresh.get_layer("spikes").output)
    rates = ksn.analysis.spikes.rates(
        inner.predict(x_test[:200], verbose=0), amplitude=0.01, axis=1
    )
    silent = np.mean(rates.max(axis=0) == 0)
    ax.hist(rates.ravel(), bins=30)
    ax.set_title(f"bias of {bias}: {silent:.0%} of neurons silent")
    ax.set_xlabel("rate (Hz), before training")
    fresh.fit(x, y, epochs=3, verbose=0)
    accuracy = fresh.evaluate(x_test, y_test, verbose=0)[1]
    print(f"bias of {bias}: test accuracy after three epochs {accuracy:.3f}")

# %% [markdown]
# `ksn.callbacks.DeadLayers(x)` warns during training of layers that do not fire, and
# `activity_regularizer=ksn.regularizers.FiringRate((5, 200), l1=0.01)` pulls rates
# into a range.
#
# ## Why this trains at all
#
# A spike is a step, whose gradient is 0 or infinite. In the reverse pass each type
# has a smooth curve in its place, a surrogate gradient; you may choose another with
# `surrogate=`. Forward the spikes stay spikes.
#
# ## In Nengo
#
# The trained model is a Nengo network, too, and `verify` compares them.

# %%
print(ksn.to_nengo(model).verify(x_test[:5]))

# %% [markdown]
# Next: [a spiking convolutional network](spiking_convnet.py), then [recurrent
# ones](course_4_sequences.py).
