"""Keras models as networks of other formats, and back, over one graph."""

from dataclasses import replace

from keras import Model

from keras_spiking_nengo.convert.export import NengoExport
from keras_spiking_nengo.convert.functional import from_nengo
from keras_spiking_nengo.convert.graph import Edge, Graph, Port, Vertex
from keras_spiking_nengo.convert.keras import read
from keras_spiking_nengo.convert.nengo import write
from keras_spiking_nengo.convert.rule import LAYERS, LayerRule
from keras_spiking_nengo.convert.verify import VerifyReport

__all__ = [
    "LAYERS",
    "Edge",
    "Graph",
    "LayerRule",
    "NengoExport",
    "Port",
    "VerifyReport",
    "Vertex",
    "from_nengo",
    "to_nengo",
]


def to_nengo(model: Model, seed: int | None = None) -> NengoExport:
    """A Keras model as a `nengo.Network` that gives the same numbers.

    Neurons become ensembles, connected neuron by neuron, which start from the states
    that the layers drew; dense layers, convolutions and synapses become connections,
    joined to one where nothing is between them. Each step of the network is one step
    of the model's sequences; a model without time takes a single step. What the
    model does in training only, such as dropout, is left out.

    Args:
        model: functional or `keras.Sequential`, built; its layers may be models of
            the same kinds, be shared, and be wrapped in `TimeDistributed`.
        seed: int. Seed of the network, which random neuron types draw from.

    Returns:
        A `NengoExport`, with `net`, `inputs`, `outputs` and `layers` by name, `run`
        and `verify`.

    Raises:
        TypeError: if `model` is no Keras model.
        ValueError: if it is not built.
        NotImplementedError: if a layer cannot be expressed; the message names the
            layer, the reason, and the layers that can.

    Example:
        >>> import keras, numpy as np, keras_spiking_nengo as ksn
        >>> model = keras.Sequential([
        ...     keras.Input((28,)), ksn.layers.Repeat(20), keras.layers.Dense(16),
        ...     ksn.layers.Neurons(return_sequences=True, seed=0),
        ...     ksn.layers.Synapse(0.01), keras.layers.Dense(10)])
        >>> export = ksn.to_nengo(model)
        >>> export.run(np.ones((3, 28))).shape
        (3, 10)
    """
    return replace(write(read(model), seed), model=model)
