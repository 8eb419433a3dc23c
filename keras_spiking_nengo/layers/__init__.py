"""Spiking neurons, synapses and whole networks as Keras layers."""

from keras_spiking_nengo.layers.ensemble import Ensemble, EnsembleCell
from keras_spiking_nengo.layers.network import Network, NetworkCell
from keras_spiking_nengo.layers.neurons import Neurons, NeuronsCell
from keras_spiking_nengo.layers.repeat import Repeat
from keras_spiking_nengo.layers.synapse import Synapse, SynapseCell
from keras_spiking_nengo.layers.transform import Transform

__all__ = [
    "Ensemble",
    "EnsembleCell",
    "Network",
    "NetworkCell",
    "Neurons",
    "NeuronsCell",
    "Repeat",
    "Synapse",
    "SynapseCell",
    "Transform",
]
