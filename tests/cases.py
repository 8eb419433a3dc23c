"""The one catalogue of what the tests run over."""

import keras
import nengo
import numpy as np

import keras_spiking_nengo as ksn
from keras_spiking_nengo.types import (
    BoundedReLU,
    Elementwise,
    IntegrateAndFire,
    LeakyIntegrator,
    LeakyReLU,
    SoftLIFRate,
    SpikingLeakyReLU,
    Threshold,
)
from tests.networks import CONVOLUTIONS, NETWORKS, RANDOM_NETWORKS

__all__ = [
    "CONVOLUTIONS",
    "LAYERS",
    "NETWORKS",
    "NEURONS",
    "RANDOM",
    "RANDOM_NETWORKS",
    "SYNAPSES",
]

# Every neuron type with parameters that are not the defaults.
NEURONS = {
    "RectifiedLinear": nengo.RectifiedLinear(amplitude=2.0),
    "SpikingRectifiedLinear": nengo.SpikingRectifiedLinear(amplitude=0.5),
    "Sigmoid": nengo.Sigmoid(tau_ref=0.01),
    "Tanh": nengo.Tanh(tau_ref=0.01),
    "Direct": nengo.Direct(),
    "LIFRate": nengo.LIFRate(tau_rc=0.03, tau_ref=0.004, amplitude=2),
    "LIF": nengo.LIF(tau_rc=0.03, tau_ref=0.0035, min_voltage=-0.5, amplitude=2),
    "AdaptiveLIFRate": nengo.AdaptiveLIFRate(tau_n=0.1, inc_n=0.02, tau_rc=0.03),
    "AdaptiveLIF": nengo.AdaptiveLIF(tau_n=0.1, inc_n=0.02, tau_rc=0.03),
    "Izhikevich": nengo.Izhikevich(tau_recovery=0.03, coupling=0.25),
    "RegularSpiking": nengo.RegularSpiking(nengo.LIFRate(tau_rc=0.03)),
    "RegularSpiking(Tanh)": nengo.RegularSpiking(nengo.Tanh(), amplitude=0.5),
    "RegularSpiking(AdaptiveLIFRate)": nengo.RegularSpiking(
        nengo.AdaptiveLIFRate(tau_n=0.1, inc_n=0.02)
    ),
    "StochasticSpiking": nengo.StochasticSpiking(nengo.Tanh(), amplitude=2),
    "PoissonSpiking": nengo.PoissonSpiking(nengo.LIFRate(tau_rc=0.03)),
    "LeakyReLU": LeakyReLU(negative_slope=0.2, amplitude=2),
    "SpikingLeakyReLU": SpikingLeakyReLU(negative_slope=0.2, amplitude=2),
    "SoftLIFRate": SoftLIFRate(sigma=0.1, tau_rc=0.03),
    "BoundedReLU": BoundedReLU(2.0, negative_slope=0.2, threshold=0.5, amplitude=2),
    "LeakyIntegrator": LeakyIntegrator(None, 0.01, r=20, w_in=2, amplitude=2),
    "IntegrateAndFire": IntegrateAndFire(
        0.01, 0.004, v_leak=0.3, v_threshold=0.8, v_reset=-0.2, amplitude=2
    ),
    "IntegrateAndFire(euler)": IntegrateAndFire(
        0.01, w_in=1.5, reset="subtract", discretization="euler"
    ),
    "Threshold": Threshold(0.5, amplitude=0.5),
    "Elementwise(elu)": Elementwise("elu", alpha=0.5),
    "Elementwise(gelu)": Elementwise("gelu"),
    "RegularSpiking(Elementwise)": nengo.RegularSpiking(
        Elementwise("softplus"), amplitude=50.0
    ),
}
RANDOM = ("StochasticSpiking", "PoissonSpiking")

SYNAPSES = {
    "Lowpass": nengo.Lowpass(0.02),
    "Lowpass(0)": nengo.Lowpass(0),
    "Lowpass(euler)": nengo.LinearFilter([1], [0.02, 1], method="euler"),
    "Alpha": nengo.Alpha(0.02),
    "LinearFilter(zoh)": nengo.LinearFilter([1, 2], [0.0004, 0.02, 1]),
    "LinearFilter(bilinear)": nengo.LinearFilter(
        [1], [0.0004, 0.02, 1], method="bilinear"
    ),
    "LinearFilter(backward_diff)": nengo.LinearFilter(
        [1], [0.0004, 0.02, 1], method="backward_diff"
    ),
    "LinearFilter(euler)": nengo.LinearFilter([1], [0.0004, 0.04, 1], method="euler"),
    "LinearFilter(discrete)": nengo.LinearFilter([0.1], [1, -0.9], analog=False),
    "LinearFilter(passthrough)": nengo.LinearFilter([1, 3], [1, 5]),
    "LinearFilter(order 6)": nengo.LinearFilter([1], np.poly([-50.0] * 6) / 50.0**6),
    "LinearFilter(gain)": nengo.LinearFilter([2.0], [1.0]),
    "Triangle": nengo.Triangle(0.01),
    "None": None,
}


def _network() -> nengo.Network:
    """A small recurrent network with an input and a probe."""
    with nengo.Network(seed=4) as net:
        stimulus = nengo.Node([0.0, 0.0], label="stimulus")
        memory = nengo.Ensemble(12, 2, label="memory")
        nengo.Connection(stimulus, memory, synapse=0.004)
        nengo.Connection(memory, memory, synapse=0.02)
        nengo.Probe(memory, synapse=0.003)
    return net


# Layer class, arguments (none of them the default), and shape of the features.
LAYERS = {
    "Neurons(LIF)": (
        ksn.layers.Neurons,
        {
            "neuron_type": NEURONS["LIF"],
            "dt": 0.002,
            "seed": 5,
            "surrogate": "triangle",
        },
        (4,),
    ),
    "Neurons(LIF, trained)": (
        ksn.layers.Neurons,
        {
            "neuron_type": NEURONS["LIF"],
            "trainable_parameters": {"tau_rc": "unit", "amplitude": "shared"},
            "seed": 5,
        },
        (2, 3),
    ),
    "Neurons(AdaptiveLIF, spike_aware)": (
        ksn.layers.Neurons,
        {
            "neuron_type": NEURONS["AdaptiveLIF"],
            "forward": "spike_aware",
            "surrogate": ksn.surrogates.SoftLIF(0.1),
            "seed": 5,
        },
        (4,),
    ),
    "Neurons(SpikingRectifiedLinear, rate)": (
        ksn.layers.Neurons,
        {
            "neuron_type": NEURONS["SpikingRectifiedLinear"],
            "forward": "rate",
            "seed": 5,
        },
        (4,),
    ),
    "Neurons(PoissonSpiking)": (
        ksn.layers.Neurons,
        {"neuron_type": NEURONS["PoissonSpiking"], "seed": 5},
        (3,),
    ),
    "Neurons(SoftLIFRate)": (
        ksn.layers.Neurons,
        {"neuron_type": NEURONS["SoftLIFRate"], "dt": 0.002, "seed": 5},
        (3,),
    ),
    "Synapse(Lowpass)": (
        ksn.layers.Synapse,
        {"synapse": SYNAPSES["Lowpass"], "dt": 0.002},
        (2, 3),
    ),
    "Synapse(Alpha, initial_level)": (
        ksn.layers.Synapse,
        {
            "synapse": SYNAPSES["Alpha"],
            "delay": 0,
            "initial_level": [0.5, -1.0, 2.0],
            "trainable_parameters": ("initial_level",),
        },
        (3,),
    ),
    "Synapse(Lowpass, trained)": (
        ksn.layers.Synapse,
        {"synapse": SYNAPSES["Lowpass"], "trainable_parameters": {"tau": "unit"}},
        (3,),
    ),
    "PoissonEncoder": (
        ksn.layers.PoissonEncoder,
        {"max_rate": 200.0, "dt": 0.002, "seed": 5},
        (2, 3),
    ),
    "BernoulliEncoder": (ksn.layers.BernoulliEncoder, {"dt": 0.002, "seed": 5}, (3,)),
    "LatencyEncoder": (
        ksn.layers.LatencyEncoder,
        {"tau": 0.02, "threshold": 0.5, "code": "logarithmic", "dt": 0.002},
        (3,),
    ),
    "Delay": (
        ksn.layers.Delay,
        {"delay": [[0.0, 0.004, 0.002], [0.002, 0.004, 0.0]], "dt": 0.002},
        (2, 3),
    ),
    "DeltaEncoder": (
        ksn.layers.DeltaEncoder,
        {"threshold": 0.7, "initial_level": 0.2, "split": True, "dt": 0.002},
        (3,),
    ),
    "LMU": (
        ksn.layers.LMU,
        {
            "memory_d": 2,
            "order": 3,
            "theta": 5.5,
            "hidden_cell": keras.saving.serialize_keras_object(
                keras.layers.SimpleRNNCell(4, activation="softsign", name="cell")
            ),
            "trainable_theta": True,
            "hidden_to_memory": True,
            "memory_to_memory": True,
            "input_to_hidden": True,
            "kernel_initializer": "he_normal",
            "recurrent_initializer": "glorot_normal",
            "use_bias": True,
            "bias_initializer": "ones",
        },
        (3,),
    ),
    "Network": (
        ksn.layers.Network,
        {"net": _network(), "dt": 0.002, "surrogate": "triangle", "seed": 5},
        (2,),
    ),
    "Ensemble": (
        ksn.layers.Ensemble,
        {
            "n_neurons": 12,
            "dimensions": 2,
            "neuron_type": nengo.AdaptiveLIF(),
            "radius": 4.0,
            "recurrent": True,
            "recurrent_synapse": 0.05,
            "dt": 0.002,
            "surrogate": "triangle",
            "seed": 5,
        },
        (2,),
    ),
    "Synapse(Triangle)": (ksn.layers.Synapse, {"synapse": SYNAPSES["Triangle"]}, (2,)),
    "Synapse(None)": (ksn.layers.Synapse, {"synapse": None, "dt": 0.002}, (2,)),
}
