"""Spiking neurons, synapses and whole networks of Nengo as Keras 3 layers.

>>> import keras, keras_spiking_nengo as ksn
>>> layer = ksn.layers.Neurons("lif", return_sequences=True)
>>> layer(keras.ops.ones((1, 10, 4))).shape == (1, 10, 4)
True
"""

import sys

from keras_spiking_nengo.start_up import start_quietly

start_quietly()

from keras_spiking_nengo import (
    analysis,
    layers,
    optimizers,
    serialization,
    serving,
    types,
)
from keras_spiking_nengo.convert import (
    Comparison,
    NengoExport,
    compare,
    from_nengo,
    from_nir,
    layer_rule,
    to_nengo,
    to_nir,
    to_spiking,
    verify,
)
from keras_spiking_nengo.dynamics import surrogates
from keras_spiking_nengo.dynamics.neurons import Neuron, neuron_rule
from keras_spiking_nengo.engine.functions import tensor_function
from keras_spiking_nengo.engine.keras_layers import keras_node
from keras_spiking_nengo.engine.made_anew import per_item
from keras_spiking_nengo.engine.trainable import configure
from keras_spiking_nengo.layers.neuron_check import check_neuron
from keras_spiking_nengo.nengo_messages import quiet_new_caches
from keras_spiking_nengo.serving import export, export_streaming, save
from keras_spiking_nengo.simulator import Simulator
from keras_spiking_nengo.training import (
    callbacks,
    constraints,
    initializers,
    losses,
    metrics,
    regularizers,
)

__all__ = [
    "Comparison",
    "NengoExport",
    "Neuron",
    "Simulator",
    "analysis",
    "callbacks",
    "check_neuron",
    "compare",
    "configure",
    "export",
    "export_streaming",
    "constraints",
    "from_nengo",
    "from_nir",
    "initializers",
    "keras_node",
    "layer_rule",
    "layers",
    "losses",
    "metrics",
    "neuron_rule",
    "optimizers",
    "per_item",
    "regularizers",
    "save",
    "serialization",
    "serving",
    "surrogates",
    "tensor_function",
    "to_nengo",
    "to_nir",
    "to_spiking",
    "types",
    "verify",
]

# What `ksn.losses` is, `from keras_spiking_nengo.losses import ...` finds, too: as `os`
# does it with `os.path`.
for _module in (
    *(callbacks, constraints, initializers, losses, metrics, regularizers),
    surrogates,
):
    sys.modules[f"{__name__}.{_module.__name__.rpartition('.')[2]}"] = _module

quiet_new_caches()

__version__ = "0.1.0"
