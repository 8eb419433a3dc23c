# %% [markdown]
# # A channel that learns to communicate
#
# Decoders begin at zero. The PES rule changes them online, from an error signal, while
# the network runs; what they learn is state of the layer, in `predict` as in `fit`.

# %%
import keras
import matplotlib.pyplot as plt
import nengo
import numpy as np

import keras_spiking_nengo as ksn

with nengo.Network(seed=0) as net:
    stimulus = nengo.Node([0.0, 0.0], label="stimulus")
    learns = nengo.Node([1.0], label="learns")
    pre = nengo.Ensemble(200, 2)
    post = nengo.Ensemble(200, 2, label="post")
    error = nengo.Ensemble(200, 2)
    nengo.Connection(stimulus, pre)
    channel = nengo.Connection(
        pre, post, function=lambda x: [0, 0], learning_rule_type=nengo.PES(2e-4)
    )
    nengo.Connection(post, error)
    nengo.Connection(stimulus, error, transform=-1)
    nengo.Connection(error, channel.learning_rule)
    # A strong inhibition silences the error, which ends learning.
    off = nengo.Node(ksn.tensor_function(lambda t, x: 1 - x), size_in=1, size_out=1)
    nengo.Connection(learns, off, synapse=None)
    nengo.Connection(off, error.neurons, transform=-20 * np.ones((200, 1)))
    nengo.Probe(post, synapse=0.03, label="received")

inputs = {"stimulus": stimulus, "learns": learns}
layer = ksn.layers.Network(net, inputs=inputs, return_sequences=True)
time = np.arange(1, 8001) * 0.001
signal = np.stack([np.sin(6 * time), np.cos(9 * time)], axis=-1)
learning = np.where(time < 6, 1.0, 0.0)[:, None]
received = layer({"stimulus": signal[None], "learns": learning[None]})
received = keras.ops.convert_to_numpy(received)[0]

# %%
fig, axes = plt.subplots(2, 1, figsize=(8, 3.5), sharex=True)
for ax, wanted, got in zip(axes, signal.T, received.T, strict=True):
    ax.plot(time, wanted, "k--", label="sent")
    ax.plot(time, got, label="received")
    ax.axvspan(0, 6, color="tab:green", alpha=0.1, label="learning")
axes[0].legend(loc="upper right", ncol=3)
axes[1].set_xlabel("seconds")
early, late = (
    float(np.sqrt(np.mean((received - signal)[part] ** 2)))
    for part in (slice(0, 500), slice(6500, None))
)
print(f"rms error in the first half second {early:.2f}, after learning {late:.2f}")
