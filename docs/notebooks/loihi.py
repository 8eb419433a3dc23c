# %% [markdown]
# # From Keras to Loihi's emulator
#
# `ksn.to_nengo` makes a `nengo.Network`, and nengo-loihi runs it: on the chip where
# there is one, on its emulator elsewhere. nengo-loihi wants NumPy 1, so that it runs in
# an environment of its own, which `uv` makes; what passes between is the saved model.

# %%
import json
import subprocess
import tempfile
import textwrap
from pathlib import Path

import keras
import matplotlib.pyplot as plt
import nengo
import numpy as np

import keras_spiking_nengo as ksn

keras.utils.set_random_seed(0)
from_zero = {"voltage": nengo.dists.Choice([0])}  # as the chip starts
model = keras.Sequential(
    [
        keras.Input((None, 2), name="x"),
        keras.layers.Dense(64, bias_initializer="ones", name="weights"),
        ksn.layers.Neurons(
            nengo.LIF(initial_state=from_zero), return_sequences=True, name="spikes"
        ),
    ]
)
current = [0.5, -0.2]
steps = 1000
spikes = model.predict(np.tile(current, (1, steps, 1)), verbose=0)[0] * 0.001

# %%
script = textwrap.dedent("""
    import json, sys
    import keras, nengo, nengo_loihi
    import keras_spiking_nengo as ksn
    export = ksn.to_nengo(keras.models.load_model(sys.argv[1]))
    export.inputs["x"].output = json.loads(sys.argv[2])
    with nengo_loihi.Simulator(export.net, target="sim", progress_bar=False) as sim:
        sim.run_steps(int(sys.argv[3]))
    rates = sim.data[export.outputs["spikes"]].mean(axis=0)
    print(json.dumps(rates.tolist()))
""")
root = Path(ksn.__file__).parents[1]
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "model.keras"
    model.save(path)
    environment = ["--with", "nengo-loihi==1.1.0", "--with", "numpy<2"]
    done = subprocess.run(
        ["uv", "run", "-q", "--isolated", "--no-project", *environment]
        + ["--with", str(root), "python", "-c", script, str(path)]
        + [json.dumps(current), str(steps)],
        capture_output=True,
        text=True,
        check=True,
    )
on_loihi = np.array(json.loads(done.stdout.splitlines()[-1]))

# %%
in_keras = spikes.sum(axis=0) / (steps * 0.001)
plt.figure(figsize=(3.5, 3.5))
plt.plot(in_keras, on_loihi, ".")
plt.plot([0, in_keras.max()], [0, in_keras.max()], color="0.7")
plt.xlabel("Hz, Keras")
plt.ylabel("Hz, Loihi's emulator")
off = np.abs(on_loihi - in_keras).sum() / in_keras.sum()
print(f"rates differ by {off:.1%} on average: the chip computes in whole numbers")
