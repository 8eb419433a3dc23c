"""`nengo.Simulator`'s interface over the engine, and training behind it."""

from keras_spiking_nengo.simulator.records import Signals, SimulationData
from keras_spiking_nengo.simulator.simulator import Simulator
from keras_spiking_nengo.simulator.training import TrainableModel

__all__ = ["Signals", "SimulationData", "Simulator", "TrainableModel"]
