# %% [markdown]
# # Vision in Keras, action selection in spiking basal ganglia
#
# A convolutional network learns from reward what each picture is worth for each of
# three actions. Its values go into Nengo's model of the basal ganglia and thalamus,
# 1,200 spiking neurons, in which one action wins. Both are one Keras model.

# %%
import keras
import matplotlib.pyplot as plt
import nengo
import numpy as np
from sklearn.datasets import load_digits

import keras_spiking_nengo as ksn

keras.utils.set_random_seed(0)
digits = load_digits(n_class=3)  # the right action is the digit: 0, 1 or 2
x, y = (digits.images / 16).astype("float32")[..., None], digits.target
x, y, x_test, y_test = x[:400], y[:400], x[400:], y[400:]

# %% [markdown]
# ## Learning values from reward
#
# The agent tries actions at random, and is told only whether the one it tried was
# right: the loss looks at the value of that action alone.

# %%
vision = keras.Sequential(
    [
        keras.Input((8, 8, 1)),
        keras.layers.Conv2D(16, 3, activation="relu"),
        keras.layers.Flatten(),
        keras.layers.Dense(3, activation="sigmoid", name="values"),
    ],
    name="vision",
)
rng = np.random.default_rng(0)
trials = rng.integers(len(x), size=4000)
actions = rng.integers(3, size=len(trials))
reward = (y[trials] == actions).astype("float32")


def of_the_action(told, values):
    action, reward = told[:, 0], told[:, 1]
    value = keras.ops.sum(values * keras.ops.one_hot(action, 3), axis=-1)
    return keras.ops.square(value - reward)


vision.compile(keras.optimizers.Adam(0.003), of_the_action, jit_compile=True)
vision.fit(x[trials], np.stack([actions, reward], axis=1), epochs=5, verbose=0)

# %% [markdown]
# ## Selecting an action in spikes

# %%
with nengo.Network(seed=0) as net:
    values = nengo.Node(np.zeros(3), label="values")
    ganglia = nengo.networks.BasalGanglia(3)
    thalamus = nengo.networks.Thalamus(3)
    nengo.Connection(values, ganglia.input, synapse=None)
    nengo.Connection(ganglia.output, thalamus.input)
    nengo.Probe(thalamus.output, synapse=0.02, label="action")

selection = ksn.layers.Network(net, inputs=values, return_sequences=True)
pictures = keras.Input((None, 8, 8, 1))
value = keras.layers.TimeDistributed(vision)(pictures)
agent = keras.Model(pictures, {"value": value, "action": selection(value)})

# %% [markdown]
# A new picture every 200 ms.

# %%
shown = x_test[:5]
film = np.repeat(shown, 200, axis=0)[None]
seen = agent.predict(film, verbose=0)
time = np.arange(len(film[0])) * 0.001
fig, axes = plt.subplots(2, 1, figsize=(8, 4), sharex=True)
for ax, name in zip(axes, ("value", "action"), strict=True):
    ax.plot(time, seen[name][0], label=["0", "1", "2"])
    ax.set_ylabel(name)
for i, picture in enumerate(shown):
    box = axes[0].inset_axes([i / 5 + 0.02, 1.02, 0.16, 0.5])
    box.imshow(picture[..., 0], cmap="gray_r")
    box.axis("off")
axes[1].legend(title="action", loc="upper right", ncol=3)
axes[1].set_xlabel("seconds")
chosen = seen["action"][0, 199::200].argmax(axis=-1)
print("chosen", chosen, "right", y_test[:5])
