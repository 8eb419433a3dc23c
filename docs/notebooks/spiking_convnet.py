# %% [markdown]
# # A convolutional network becomes a spiking one
#
# A network that was trained with `relu` gets spiking neurons in the place of its
# activations. As it is, they fire far too seldom to say anything in 50 ms; calibrated
# on some hundred images they say it all.

# %%
import warnings

import keras
import matplotlib.pyplot as plt
import nengo
import numpy as np
from sklearn.datasets import load_digits

import keras_spiking_nengo as ksn

keras.utils.set_random_seed(0)
digits = load_digits()
x, y = (digits.images / 16).astype("float32")[..., None], digits.target
x, y, x_test, y_test = x[:1400], y[:1400], x[1400:], y[1400:]

layers = keras.layers
model = keras.Sequential(
    [
        keras.Input((8, 8, 1)),
        layers.Conv2D(16, 3, padding="same", use_bias=False, name="conv1"),
        layers.BatchNormalization(name="norm"),
        layers.ReLU(name="relu1"),
        layers.AveragePooling2D(2, name="pool"),
        layers.Conv2D(32, 3, padding="same", activation="relu", name="conv2"),
        layers.Flatten(),
        layers.Dense(64, activation="relu", name="dense"),
        layers.Dense(10, name="logits"),
    ]
)
model.compile(
    keras.optimizers.Adam(0.002),
    keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    jit_compile=True,
)
model.fit(x, y, epochs=15, verbose=0)


# %%
def accuracy(model):
    return np.mean(np.argmax(model.predict(x_test, verbose=0), axis=1) == y_test)


calibrate = {"scale_firing_rates": "calibrate", "calibration_data": x[:300]}
kinds = {"integrate and fire": nengo.SpikingRectifiedLinear(), "LIF": nengo.LIF()}
found = {"relu": accuracy(model)}
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    found["spikes, as it is"] = accuracy(ksn.to_spiking(model, n_steps=50))
    for name, kind in kinds.items():
        spiking = ksn.to_spiking(model, {"relu": kind}, n_steps=50, **calibrate)
        found[f"{name}, calibrated"] = accuracy(spiking)
for warning in {str(each.message).splitlines()[0] for each in told}:
    print(warning[:200])

# %%
plt.figure(figsize=(7, 2))
plt.barh(list(found), list(found.values()))
plt.xlabel("test accuracy")
plt.gca().invert_yaxis()

# %% [markdown]
# `ksn.compare` shows where spikes and activations part, layer by layer.

# %%
spiking = ksn.to_spiking(model, n_steps=50, **calibrate)
report = ksn.compare(model, spiking, x_test[:100])
print(report)
report.figure()
