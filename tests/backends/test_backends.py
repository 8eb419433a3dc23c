"""Exports on other simulators of Nengo: nengo-ocl, and the emulator of nengo-loihi."""

import os

import keras
import nengo
import numpy as np
import pytest

import keras_spiking_nengo as ksn
from tests.cases import MODELS, make

pytestmark = pytest.mark.backends

# nengo-ocl 3.0.0 knows neither RegularSpiking nor Tanh, and its slicing calls np.bool.
UNKNOWN_TO_OCL = {
    "axes",
    "bias and activation before the synapse",
    "bias before the synapse",
    "ensembles",
    "memory of spikes",
    "presented",
    "residual",
    "trained",
    "two synapses",
    "two transforms",
}


def present(export, x):
    """Lets the input nodes hold the first item of `x`; its number of steps."""
    steps = export.graph.n_steps or 1
    for port, values in zip(export.graph.inputs, export.arrays(x), strict=True):
        item = np.asarray(values, float)[0]
        frames = item.reshape(len(item) if port.temporal else 1, -1)
        steps = max(steps, len(frames))
        export.inputs[port.name].output = lambda t, f=frames: f[
            min(round(t / export.dt), len(f)) - 1
        ]
    return steps


@pytest.mark.parametrize("name", [n for n in MODELS if n not in UNKNOWN_TO_OCL])
def test_opencl_gives_the_same_numbers(name, monkeypatch):
    monkeypatch.setitem(os.environ, "PYOPENCL_CTX", "0")
    import nengo_ocl

    model, x = make(name)
    export = ksn.to_nengo(model)
    steps = present(export, x)
    with nengo.Simulator(export.net, export.dt, progress_bar=False) as reference:
        reference.run_steps(steps)
    with nengo_ocl.Simulator(export.net, dt=export.dt, progress_bar=False) as sim:
        sim.run_steps(steps)
    for probe in export.outputs.values():
        expected = reference.data[probe]
        scale = np.max(np.abs(expected))
        assert scale > 0
        np.testing.assert_allclose(sim.data[probe], expected, atol=1e-5 * scale)


def test_loihi_fires_at_nearly_the_same_rates():
    """The chip has whole numbers, starts from 0, and takes inputs from -1 to 1."""
    import nengo_loihi

    rest = nengo.LIF(initial_state={"voltage": nengo.dists.Choice([0])})
    normal = keras.initializers.RandomNormal(stddev=2.0, seed=1)
    model = keras.Sequential(
        [
            keras.Input((None, 4)),
            keras.layers.Dense(64, None, True, normal, bias_initializer="ones"),
            ksn.layers.Neurons(rest, return_sequences=True, seed=0),
            ksn.layers.Synapse(0.02, return_sequences=True),
            keras.layers.Dense(2),
        ]
    )
    export, steps = ksn.to_nengo(model), 500
    (node,), (ensemble,) = export.inputs.values(), export.net.ensembles
    node.output = np.array([0.5, -0.6, 0.9, 0.3])
    with export.net:
        spikes = nengo.Probe(ensemble.neurons)
    rates = []
    for simulator in (nengo.Simulator, nengo_loihi.Simulator):
        with simulator(export.net, progress_bar=False) as sim:
            sim.run_steps(steps)
        rates.append(np.sum(sim.data[spikes] > 0, axis=0) / (steps * export.dt))
    core, loihi = rates
    assert np.mean(core > 0) > 0.25
    assert np.corrcoef(core, loihi)[0, 1] > 0.99
    assert np.mean(np.abs(loihi - core)) < 0.15 * np.mean(core)
