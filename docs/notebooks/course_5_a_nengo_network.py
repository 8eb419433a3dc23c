# %% [markdown]
# # 5. A Nengo network, trained and handed back
#
# Nengo solves for its weights, population by population. What a whole network makes
# of them can be trained: here two populations in a row, which are to multiply.

# %%
import keras
import matplotlib.pyplot as plt
import nengo
import numpy as np

import keras_spiking_nengo as ksn

with nengo.Network(seed=0) as net:
    factors = nengo.Node([0.0, 0.0], label="factors")
    first = nengo.Ensemble(60, 2, radius=1.4, label="first")
    second = nengo.Ensemble(60, 1, label="second")
    nengo.Connection(factors, first, synapse=None)
    nengo.Connection(first, second, function=lambda x: x[0] * x[1], synapse=0.01)
    product = nengo.Probe(second, synapse=0.02, label="product")

# %% [markdown]
# `ksn.Simulator` is `nengo.Simulator`, compiled, with `compile`, `fit`, `evaluate`
# and `predict`. Data are `(items, steps, size)`, by node and by probe. In the first
# steps the synapses have yet to settle: the loss looks at those from the 60th on.

# %%
STEPS = 100
rng = np.random.default_rng(0)
x = rng.uniform(-1, 1, (256, 1, 2)).repeat(STEPS, axis=1).astype("float32")
y = x[..., :1] * x[..., 1:]
x, y, x_test, y_test = x[:200], y[:200], x[200:], y[200:]


def settled(y_true, y_pred):
    return keras.losses.mean_squared_error(y_true[:, 60:], y_pred[:, 60:])


with ksn.Simulator(net, minibatch_size=len(x_test), progress_bar=False) as sim:
    sim.run_steps(STEPS, data={factors: x_test})
    before = sim.data[product][:, -1]

    sim.compile(keras.optimizers.Adam(0.003), loss={product: settled})
    sim.fit({factors: x}, {product: y}, epochs=60, verbose=0)
    sim.reset()
    sim.run_steps(STEPS, data={factors: x_test})
    after = sim.data[product][:, -1]
    trained = sim.network()

plt.figure(figsize=(4, 4))
for shown, name in ((before, "solved"), (after, "trained")):
    error = np.sqrt(np.mean((shown - y_test[:, -1]) ** 2))
    plt.scatter(y_test[:, -1], shown, s=8, label=f"{name}, rms error {error:.3f}")
plt.plot([-1, 1], [-1, 1], color="grey", linewidth=0.5)
plt.legend()
plt.xlabel("product")
plt.ylabel("decoded")

# %% [markdown]
# ## Back to Nengo
#
# `trained` is a `nengo.Network` of its own, with the trained weights, for any backend
# of Nengo. Here Nengo's own simulator runs it.

# %%
node, probe = trained.nodes[0], trained.probes[0]
node.output = lambda t: x_test[0, 0]
with nengo.Simulator(trained, progress_bar=False) as sim:
    sim.run_steps(STEPS)
print("Nengo:", sim.data[probe][-1], "ours:", after[0], "product:", y_test[0, -1])

# %% [markdown]
# ## As a layer
#
# The same network is one layer of a Keras model, beside any others.

# %%
model = keras.Sequential(
    [
        keras.Input((STEPS, 4)),
        keras.layers.Dense(2, activation="tanh"),
        ksn.layers.Network(trained),
    ]
)
model.summary()

# %% [markdown]
# `ksn.configure(net, ens, trainable=False)` says what training may change; rules as
# PES learn in `fit` and `predict` alike ([online
# learning](online_learning_in_fit.py)).
#
# Next: [ship it](course_6_ship_it.py).
