# %% [markdown]
# # 4. Recurrent networks on sequences
#
# A picture that arrives row by row: after eight rows the network has to say which
# digit it was. Neurons without connections among themselves forget; recurrent ones
# need not.

# %%
import keras
import matplotlib.pyplot as plt
import nengo
from sklearn.datasets import load_digits

import keras_spiking_nengo as ksn

digits = load_digits()
# Each row is there for 5 ms: sequences of 40 steps, of 8 numbers each.
x = (digits.images / 16).astype("float32").repeat(5, axis=1)
x, y, x_test, y_test = x[:1400], digits.target[:1400], x[1400:], digits.target[1400:]
lif = nengo.LIF(tau_rc=0.02, amplitude=0.01)
steep = {"surrogate": "fast_sigmoid", "return_sequences": True}


def trained(*layers, epochs=40):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((40, 8)), *layers, keras.layers.Dense(10)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    optimizer = keras.optimizers.Adam(0.005)
    model.compile(optimizer, loss, metrics=["accuracy"], jit_compile=True)
    told = model.fit(
        x, y, validation_data=(x_test, y_test), epochs=epochs, verbose=0
    ).history
    return model, told["val_accuracy"]


# %% [markdown]
# `RecurrentNeurons` is to `Neurons` what `LSTM` is to an activation: weights from its
# own spikes, one step later. The rest of the model is the same. The synapse reads the
# last 20 ms, which is half of the picture; what the first half was, the neurons have
# to tell each other.
#
# Two things help gradients through forty steps: a synapse between the neurons, which
# remembers more than one step, and a surrogate gradient that is bounded, as
# `"fast_sigmoid"`. With the default of both, accuracy falls from the third epoch on.

# %%
histories = {}
_, histories["without"] = trained(
    keras.layers.Dense(100, bias_initializer="ones"),
    ksn.layers.Neurons(lif, **steep),
    ksn.layers.Synapse(0.02),
)
model, histories["recurrent"] = trained(
    keras.layers.Dense(100, bias_initializer="ones"),
    ksn.layers.RecurrentNeurons(lif, recurrent_synapse=0.02, **steep, name="recurrent"),
    ksn.layers.Synapse(0.02),
)
plt.figure(figsize=(6, 2.5))
for name, history in histories.items():
    plt.plot(history, label=f"{name}: {history[-1]:.3f}")
plt.legend()
plt.xlabel("epoch")
plt.ylabel("test accuracy")

# %%
inner = keras.Model(model.inputs, model.get_layer("recurrent").output)
ksn.analysis.plots.raster(inner.predict(x_test[:1], verbose=0)[0]).figure

# %% [markdown]
# ## What LSTM can do
#
# Masks, `Bidirectional`, `stateful`, `return_state` and `go_backwards` are Keras's.
# Here sequences of different lengths: what lies behind a mask is not seen, and sends
# no spike.

# %%
padded = keras.Sequential(
    [
        keras.Input((None, 8)),
        keras.layers.Masking(-1.0),
        keras.layers.Dense(20, bias_initializer="ones"),
        keras.layers.Bidirectional(ksn.layers.RecurrentNeurons(lif)),
    ]
)
short, long = x[:1, :20], x[:1].copy()
long[:, 20:] = -1.0
difference = padded(short) - padded(long)
print("largest difference:", float(keras.ops.max(abs(difference))))

# %% [markdown]
# `DelayedDense` learns delays, `ksn.layers.LMU` keeps a window of the past in
# Legendre polynomials ([a notebook of its own](lmu_sequence.py)).
#
# Next: [a Nengo network, trained and handed back](course_5_a_nengo_network.py).
