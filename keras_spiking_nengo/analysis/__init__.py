"""What a model does: operations, energy, spikes, pictures."""

from keras_spiking_nengo.analysis import plots, spikes
from keras_spiking_nengo.analysis.devices import DEVICES, Device
from keras_spiking_nengo.analysis.energy import EnergyReport, LayerEnergy, energy

__all__ = [
    "DEVICES",
    "Device",
    "EnergyReport",
    "LayerEnergy",
    "energy",
    "plots",
    "spikes",
]
