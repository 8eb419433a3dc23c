"""The graph as a Nengo network, and a Nengo network as the graph."""

from keras_spiking_nengo.convert.nengo.reading import pair, read
from keras_spiking_nengo.convert.nengo.writing import write

__all__ = ["pair", "read", "write"]
