"""Spiking neurons and synapses as Keras layers."""

from keras_spiking_nengo.layers.neurons import Neurons, NeuronsCell
from keras_spiking_nengo.layers.repeat import Repeat
from keras_spiking_nengo.layers.synapse import Synapse, SynapseCell

__all__ = ["Neurons", "NeuronsCell", "Repeat", "Synapse", "SynapseCell"]
