"""Our layers over time, none of their arguments at its default."""

import keras
import nengo

import keras_spiking_nengo as ksn
from tests.catalogue.dynamics import NEURONS, SYNAPSES


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
    "RecurrentNeurons(LIF)": (
        ksn.layers.RecurrentNeurons,
        {
            "neuron_type": NEURONS["LIF"],
            "dt": 0.002,
            "recurrent_initializer": "glorot_normal",
            "recurrent_regularizer": "l2",
            "recurrent_constraint": "max_norm",
            "use_recurrent_gradient": False,
            "surrogate": "triangle",
            "seed": 5,
        },
        (4,),
    ),
    "RecurrentNeurons(LIF, delays)": (
        ksn.layers.RecurrentNeurons,
        {
            "neuron_type": NEURONS["LIF"],
            "recurrent_synapse": 0.003,
            "recurrent_delay": [[0.001, 0.003, 0.002], [0.004, 0.001, 0.0025]],
            "max_recurrent_delay": 0.005,
            "seed": 5,
        },
        (2, 3),
    ),
    "RecurrentNeurons(AdaptiveLIF, spike_aware)": (
        ksn.layers.RecurrentNeurons,
        {
            "neuron_type": NEURONS["AdaptiveLIF"],
            "recurrent_synapse": SYNAPSES["Alpha"],
            "self_connections": False,
            "forward": "spike_aware",
            "trainable_parameters": {"tau_rc": "unit"},
            "seed": 5,
        },
        (2, 3),
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
    "DelayedDense(synapse)": (
        ksn.layers.DelayedDense,
        {
            "units": 4,
            "max_delay": 0.008,
            "dt": 0.002,
            "kernel_initializer": "he_normal",
            "delay_initializer": keras.saving.serialize_keras_object(
                keras.initializers.RandomUniform(0.001, 0.007, seed=3)
            ),
            "bias_initializer": "ones",
            "sigma": 0.0015,
            "kernel_regularizer": "l2",
            "delay_regularizer": "l1",
            "bias_regularizer": "l2",
            "kernel_constraint": "max_norm",
            "bias_constraint": "non_neg",
        },
        (3,),
    ),
    "DelayedDense(axon)": (
        ksn.layers.DelayedDense,
        {"units": 2, "max_delay": 0.003, "per": "axon", "use_bias": False},
        (3,),
    ),
    "DelayedDense(dendrite)": (
        ksn.layers.DelayedDense,
        {"units": 2, "max_delay": 0.015, "per": "dendrite", "sigma": 0.0008},
        (3,),
    ),
    "SlidingParallelSpikingNeurons": (
        ksn.layers.SlidingParallelSpikingNeurons,
        {
            "order": 3,
            "dt": 0.002,
            "surrogate": "triangle",
            "amplitude": 0.5,
            "kernel_initializer": keras.saving.serialize_keras_object(
                keras.initializers.RandomUniform(0.2, 1.0, seed=3)
            ),
            "threshold_initializer": keras.saving.serialize_keras_object(
                keras.initializers.Constant(2.0)
            ),
            "kernel_regularizer": "l2",
            "kernel_constraint": "max_norm",
        },
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
