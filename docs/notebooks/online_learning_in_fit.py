# %% [markdown]
# # Online learning inside `fit`
#
# Two kinds of learning at once. Gradient descent trains a Dense layer in front, over
# epochs; within each sequence, PES learns decoders from an error signal, beginning anew
# each time. The front learns what lets PES learn fast.

# %%
import keras
import matplotlib.pyplot as plt
import nengo
import numpy as np

import keras_spiking_nengo as ksn

keras.utils.set_random_seed(0)
steps = 300


def sequences(n, seed):
    """A sine of random phase, and one of two functions of it, which is to be found."""
    rng = np.random.default_rng(seed)
    time = np.arange(steps) * 0.001
    x = np.sin(4 * np.pi * time + rng.uniform(0, 2 * np.pi, (n, 1)))
    sign = rng.choice([-1.0, 1.0], (n, 1))
    return (a[..., None].astype("float32") for a in (x, sign * x**2))


inputs = {name: keras.Input((steps, 1), name=name) for name in ("x", "target")}
front = keras.layers.Dense(2, activation="tanh", name="front")(inputs["x"])
learner = ksn.layers.Ensemble(
    150,
    2,
    function=lambda x: [0],
    learning_rule=nengo.PES(0.002),
    teacher="target",
    seed=0,
    return_sequences=True,
    name="learner",
)
decoded = learner({"input": front, "target": inputs["target"]})
smooth = ksn.layers.Synapse(0.01, return_sequences=True)(decoded)
model = keras.Model(inputs, smooth)
model.compile(keras.optimizers.Adam(0.01), "mse", jit_compile=True)

x, target = sequences(256, 0)
data = {"x": x, "target": target}
run = model.fit(data, target, batch_size=32, epochs=15, verbose=0)

# %%
x_test, target_test = sequences(4, 1)
found = model.predict({"x": x_test, "target": target_test}, verbose=0)
fig, axes = plt.subplots(1, 2, figsize=(9, 3))
axes[0].plot(run.history["loss"])
axes[0].set_xlabel("epoch")
axes[0].set_ylabel("mean squared error")
for wanted, got in zip(target_test[:2, :, 0], found[:2, :, 0], strict=True):
    (line,) = axes[1].plot(got)
    axes[1].plot(wanted, "--", color=line.get_color())
axes[1].set_xlabel("ms")
axes[1].set_title("learned within a sequence (dashed: target)", fontsize="medium")
first, last = run.history["loss"][0], run.history["loss"][-1]
print(f"loss {first:.4f} in the first epoch, {last:.4f} in the last")
