# %% [markdown]
# # 1. Neurons and time
#
# A spiking neuron is an activation with a memory. What goes in is a current; what
# comes out is nothing, or a spike. So everything here has one axis more than you are
# used to: time, in steps of a millisecond.

# %%
import keras
import matplotlib.pyplot as plt
import nengo
import numpy as np

import keras_spiking_nengo as ksn

currents = np.zeros((1, 200, 3), "float32")  # one item, 200 ms, three neurons
currents[0, 20:] = [0.9, 1.2, 3.0]

# %% [markdown]
# ## What a neuron does
#
# A leaky integrate-and-fire neuron (LIF) has a voltage. It rises towards the current
# with a time constant of 20 ms, `tau_rc`. Above 1 the neuron fires, the voltage goes
# back to 0, and stays there for 2 ms, `tau_ref`. The first of these three never
# fires, as its current is below 1; the larger the current, the sooner the next spike.
# (Where it starts, Nengo draws.)

# %%
layer = ksn.layers.Neurons(nengo.LIF(), return_sequences=True, return_state=True)
spikes, *_ = layer(currents)

# One step after the other, the same layer shows its voltage as well.
cell = ksn.layers.NeuronsCell(nengo.LIF())
state, voltages = None, []
cell.build((1, 3))
state = cell.get_initial_state(1)
for step in range(currents.shape[1]):
    _, state = cell(currents[:, step], state)
    voltages.append(keras.ops.convert_to_numpy(state[0])[0])

figure, (upper, lower) = plt.subplots(2, figsize=(7, 4), sharex=True)
upper.plot(np.arange(200) / 1000, voltages)
upper.axhline(1, color="grey", linewidth=0.5)
upper.set_ylabel("voltage")
upper.legend(["current 0.9", "1.2", "3.0"], loc="right")
ksn.analysis.plots.raster(spikes[0], ax=lower)

# %% [markdown]
# ## Rates
#
# How often it fires is a curve over the current: the activation function of a spiking
# neuron. `ReLU` has one, too; that of the LIF neuron begins at 1, steeply, and ends
# at `1 / tau_ref`, 500 Hz. The line is the formula, the points are spikes that were
# counted.

# %%
axes = ksn.analysis.plots.response_curves(
    [nengo.LIF(), nengo.LIF(tau_rc=0.05), nengo.LIF(tau_ref=0.01)]
)
axes.figure

# %% [markdown]
# ## How high a spike is
#
# A spike is `1 / dt` high, 1000 here: then its mean over time is the rate in Hz.
# `Dense` layers want numbers near 1. `amplitude` scales what comes out: with 0.01, a
# neuron of 100 Hz has a mean of 1.

# %%
for amplitude in (1, 0.01):
    lif = ksn.layers.Neurons(nengo.LIF(amplitude=amplitude), return_sequences=True)
    out = keras.ops.convert_to_numpy(lif(currents))
    print(f"{amplitude=}: a spike is {out.max():g}, means are {out.mean((0, 1))}")

# %% [markdown]
# ## Reading spikes
#
# One step of spikes says little. A synapse smooths the last few of them, as real ones
# do: a lowpass of 5 ms is quick and rough, one of 50 ms slow and calm. That is all
# there is to choose; the next layer reads its last step, or all of them.

# %%
plt.figure(figsize=(7, 2.5))
for tau in (0.005, 0.02, 0.05):
    smooth = ksn.layers.Synapse(tau, return_sequences=True)(out)
    smooth = keras.ops.convert_to_numpy(smooth)
    plt.plot(np.arange(200) / 1000, smooth[0, :, 2], label=f"{1000 * tau:g} ms")
plt.axhline(out[0, 60:, 2].mean(), color="grey", linewidth=0.5)
plt.legend()
plt.xlabel("time (s)")

# %% [markdown]
# ## The same in Nengo
#
# The layer is Nengo's neuron, spike for spike.

# %%
with nengo.Network() as net:
    source = nengo.Node(lambda t: currents[0, round(t * 1000) - 1])
    rest = {"initial_state": {"voltage": nengo.dists.Choice([0])}}
    ens = nengo.Ensemble(
        3, 1, neuron_type=nengo.LIF(**rest), gain=[1] * 3, bias=[0] * 3
    )
    nengo.Connection(source, ens.neurons, synapse=None)
    probe = nengo.Probe(ens.neurons)
with np.errstate(divide="ignore"), nengo.Simulator(net, progress_bar=False) as sim:
    sim.run_steps(200)
layer = ksn.layers.Neurons(nengo.LIF(**rest), return_sequences=True)
same = np.array_equal(
    sim.data[probe] > 0, keras.ops.convert_to_numpy(layer(currents))[0] > 0
)
print("the same spikes:", same)

# %% [markdown]
# Next: [a first spiking network](course_2_a_first_network.py).
