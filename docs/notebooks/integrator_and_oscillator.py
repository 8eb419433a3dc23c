# %% [markdown]
# # An integrator and an oscillator
#
# Recurrent ensembles of the Neural Engineering Framework as Keras layers: the feedback
# makes dynamics, and Nengo's solver finds the decoders for it.

# %%
import keras
import matplotlib.pyplot as plt
import numpy as np

import keras_spiking_nengo as ksn

dt = 0.001
time = np.arange(1, 2001) * dt

# %% [markdown]
# ## An integrator
#
# Feedback through a synapse of time constant $\tau$ holds what is there; the input is
# multiplied by $\tau$, so that the value is its integral.

# %%
tau = 0.1
integrator = keras.Sequential(
    [
        keras.Input((None, 1)),
        ksn.layers.Ensemble(
            500,
            1,
            recurrent=True,
            recurrent_synapse=tau,
            synapse=tau,
            transform=tau,
            seed=0,
            return_sequences=True,
        ),
        ksn.layers.Synapse(0.02, return_sequences=True),
    ]
)
pulses = np.where((time > 0.2) & (time < 0.7), 1.0, 0.0)
pulses -= np.where((time > 1.2) & (time < 1.5), 1.0, 0.0)
held = integrator.predict(pulses[None, :, None], verbose=0)[0, :, 0]

fig, ax = plt.subplots(figsize=(8, 2.5))
ax.plot(time, pulses, color="0.7", label="input")
ax.plot(time, np.cumsum(pulses) * dt, "k--", label="its integral")
ax.plot(time, held, label="500 LIF neurons")
ax.set_xlabel("seconds")
ax.legend(loc="upper right")

# %% [markdown]
# ## A controlled oscillator
#
# Two dimensions turn around each other at a speed that is the third: the function that
# is fed back is any Python function, solved by Nengo when the layer is built.


# %%
def turn(x):
    angle = tau * 10 * x[2]
    return x[0] - angle * x[1], x[1] + angle * x[0]


oscillator = keras.Sequential(
    [
        keras.Input((None, 3)),
        ksn.layers.Ensemble(
            800,
            3,
            radius=1.7,
            recurrent=turn,
            recurrent_synapse=tau,
            recurrent_transform=np.eye(3)[:, :2],
            seed=0,
            return_sequences=True,
        ),
        ksn.layers.Synapse(0.02, return_sequences=True),
    ]
)
fig, axes = plt.subplots(1, 2, figsize=(8, 2.5), sharey=True)
for ax, speed in zip(axes, (0.5, 1.0), strict=True):
    kick = np.where(time < 0.1, 1.0, 0.0)
    x = np.stack([kick, 0 * time, np.full_like(time, speed)], axis=-1)
    ax.plot(time, oscillator.predict(x[None], verbose=0)[0, :, :2])
    ax.set_title(f"{10 * speed:.0f} radians per second")
    ax.set_xlabel("seconds")
