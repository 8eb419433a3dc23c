# %% [markdown]
# # The Lorenz attractor in 2,000 neurons
#
# A nonlinear system in a recurrent ensemble: what is fed back is $x + \tau f(x)$, and
# the synapse of time constant $\tau$ makes that $\dot x = f(x)$. The same network runs
# in `nengo.Simulator` and in `ksn.Simulator`, spike for spike the same in float64.

# %%
import matplotlib.pyplot as plt
import nengo
import numpy as np

import keras_spiking_nengo as ksn

tau, sigma, beta, rho = 0.1, 10, 8 / 3, 28


def feedback(x):
    dx0 = -sigma * x[0] + sigma * x[1]
    dx1 = -x[0] * x[2] - x[1]
    dx2 = x[0] * x[1] - beta * (x[2] + rho) - rho
    return dx0 * tau + x[0], dx1 * tau + x[1], dx2 * tau + x[2]


with nengo.Network(seed=0) as net:
    state = nengo.Ensemble(2000, 3, radius=60)
    nengo.Connection(state, state, function=feedback, synapse=tau)
    probe = nengo.Probe(state, synapse=tau)

with ksn.Simulator(net, progress_bar=False, dtype="float64") as sim:
    sim.run(12.0)
x = sim.data[probe]

# %%
fig = plt.figure(figsize=(9, 4))
ax = fig.add_subplot(1, 2, 1, projection="3d")
ax.plot(*x[500:].T, linewidth=0.7)
ax = fig.add_subplot(1, 2, 2)
ax.plot(sim.trange(), x, linewidth=0.7)
ax.set_xlabel("seconds")

# %% [markdown]
# A chaotic system forgets nothing: had one spike been different, all that follows would
# be, too. The first half second, in Nengo:

# %%
with nengo.Simulator(net, progress_bar=False) as core:
    core.run(0.5)
print("largest difference", np.abs(core.data[probe] - x[:500]).max())
