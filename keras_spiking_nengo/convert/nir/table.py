"""The table of NIR's primitives, which both directions use: a row for each."""

from keras_spiking_nengo.convert.nir.linear_nodes import LINEAR_NODES
from keras_spiking_nengo.convert.nir.neuron_nodes import NEURON_NODES
from keras_spiking_nengo.convert.nir.shape_nodes import SHAPE_NODES
from keras_spiking_nengo.convert.nir.window_nodes import WINDOW_NODES
from keras_spiking_nengo.registry import Registry

__all__ = ["PRIMITIVES", "STRUCTURES", "WRITERS"]

PRIMITIVES = SHAPE_NODES | LINEAR_NODES | WINDOW_NODES | NEURON_NODES

# What is made of several nodes, as the documentation says it.
STRUCTURES = {
    "NIRGraph": "its nodes, whose names begin with that of the graph",
    "a cycle": "one `ksn.layers.Network`",
}

# What adds nodes for a layer. One that stands in several rows is written alike.
WRITERS: Registry = Registry("NIR writer", governing=("call", "cell_class"))
for _layer, _write in dict.fromkeys(
    pair for row in PRIMITIVES.values() for pair in row.write.items()
):
    WRITERS.add(_write, _layer)
