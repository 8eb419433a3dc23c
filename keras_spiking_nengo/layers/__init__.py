"""Spiking neurons, synapses and whole networks as Keras layers."""

from keras_spiking_nengo.layers.delay import Delay, DelayCell
from keras_spiking_nengo.layers.delayed_dense import DelayedDense, DelayedDenseCell
from keras_spiking_nengo.layers.encoders.delta import DeltaEncoder, DeltaEncoderCell
from keras_spiking_nengo.layers.encoders.drawn import (
    BernoulliEncoder,
    BernoulliEncoderCell,
    PoissonEncoder,
    PoissonEncoderCell,
)
from keras_spiking_nengo.layers.encoders.latency import (
    LatencyEncoder,
    LatencyEncoderCell,
)
from keras_spiking_nengo.layers.ensemble import Ensemble, EnsembleCell
from keras_spiking_nengo.layers.lmu import LMU, LMUCell
from keras_spiking_nengo.layers.network import Network
from keras_spiking_nengo.layers.network_cell import NetworkCell
from keras_spiking_nengo.layers.neurons import Neurons, NeuronsCell
from keras_spiking_nengo.layers.parallel import (
    ParallelSpikingNeurons,
    SlidingParallelSpikingNeurons,
    SlidingParallelSpikingNeuronsCell,
)
from keras_spiking_nengo.layers.per_step import PerStep
from keras_spiking_nengo.layers.quantized import Quantized
from keras_spiking_nengo.layers.recurrent_neurons import (
    RecurrentNeurons,
    RecurrentNeuronsCell,
)
from keras_spiking_nengo.layers.repeat import Repeat
from keras_spiking_nengo.layers.synapse import Synapse, SynapseCell
from keras_spiking_nengo.layers.transform import Transform

__all__ = [
    "BernoulliEncoder",
    "BernoulliEncoderCell",
    "Delay",
    "DelayCell",
    "DelayedDense",
    "DelayedDenseCell",
    "DeltaEncoder",
    "DeltaEncoderCell",
    "Ensemble",
    "EnsembleCell",
    "LMU",
    "LMUCell",
    "LatencyEncoder",
    "LatencyEncoderCell",
    "Network",
    "NetworkCell",
    "Neurons",
    "NeuronsCell",
    "ParallelSpikingNeurons",
    "PerStep",
    "PoissonEncoder",
    "PoissonEncoderCell",
    "Quantized",
    "RecurrentNeurons",
    "RecurrentNeuronsCell",
    "Repeat",
    "SlidingParallelSpikingNeurons",
    "SlidingParallelSpikingNeuronsCell",
    "Synapse",
    "SynapseCell",
    "Transform",
]
