"""Linear maps: matrices, with a bias or without, and a number for each element."""

from collections.abc import Iterator

import keras
import numpy as np

from keras_spiking_nengo import layers
from keras_spiking_nengo.convert.layer_rules import array
from keras_spiking_nengo.convert.nir.graph_nodes import by_graph
from keras_spiking_nengo.convert.nir.layout import Axes, kind
from keras_spiking_nengo.convert.nir.primitives import Place, Primitive, elementwise
from keras_spiking_nengo.convert.nir.sketch import Bundle, Writer
from keras_spiking_nengo.convert.quantized_by_keras import dense_kernel
from keras_spiking_nengo.convert.rules.activations import neurons

__all__ = ["LINEAR_NODES", "refuse_activation"]


def refuse_activation(writer: Writer) -> None:
    """Raises for a layer whose activation would be neurons without a state."""
    neuron_type = neurons(writer.site.layer)
    if neuron_type is not None:
        raise writer.refusal(
            f"its activation is {neuron_type}, and NIR's neurons have states. Train it"
            " with ksn.layers.Neurons, or convert it with ksn.to_spiking"
        )


def _matrix_sizes(node, shape: Axes) -> tuple[Axes, Axes]:
    weight = np.shape(node.weight)
    if len(weight) != 2:
        raise ValueError(f"its weight is (out, in); received shape {weight}")
    return (weight[1],), (weight[0],)


def _read_matrix(place: Place) -> Iterator[keras.Layer]:
    weight = np.asarray(place.node.weight, float)
    if place.order is not None:
        weight = weight[:, place.order]
    (size,), biased = place.sends, kind(place.node) == "Affine"
    layer = keras.layers.Dense(size, use_bias=biased, name=place.named())
    bias = [np.broadcast_to(np.asarray(place.node.bias, float), size)] if biased else []
    yield place.weighted(layer, weight.T, *bias)


def _write_dense(writer: Writer) -> Bundle | None:
    site, layer = writer.site, writer.site.layer
    if len(site.output) > 1:
        return by_graph(writer)
    refuse_activation(writer)
    bias = array(layer.bias) if layer.use_bias else None
    weight = dense_kernel(layer).T
    return writer.sketch.multiplied(writer.source, site.name, weight, bias)


def _write_delayed_dense(writer: Writer) -> Bundle | None:
    """A delay before the matrix or after it; of each synapse, a matrix for each."""
    site, cell = writer.site, writer.site.layer.cell
    if cell.per == "synapse":
        return by_graph(writer)
    matrix, times = array(cell.kernel).T, cell.delays.steps() * cell.dt
    bias = None if cell.bias is None else array(cell.bias)
    name, sketch = site.name, writer.sketch
    if cell.per == "axon":
        bundle = writer.settled()
        node = writer.nir.Delay(bundle.arranged(times))
        bundle = sketch.after(bundle, f"{name}_delay", node)
        return sketch.multiplied(bundle, name, matrix, bias)
    bundle = sketch.multiplied(writer.settled(), name, matrix)
    node = writer.nir.Delay(bundle.arranged(times))
    return sketch.after(bundle, f"{name}_delay", node).shifted(bias)


def _read_scale(place: Place) -> Iterator[keras.Layer]:
    scale = np.asarray(place.numbers("scale")).tolist()
    yield keras.layers.Rescaling(scale, name=place.named())


_DENSE = {keras.layers.Dense: _write_dense}
LINEAR_NODES = {
    "Affine": Primitive("`keras.layers.Dense`", _matrix_sizes, _read_matrix, _DENSE),
    "Linear": Primitive(
        "`keras.layers.Dense(use_bias=False)`",
        *(_matrix_sizes, _read_matrix),
        _DENSE | {layers.DelayedDense: _write_delayed_dense},
    ),
    "Scale": Primitive(
        *("`keras.layers.Rescaling`", elementwise("scale"), _read_scale),
        {keras.layers.Rescaling: by_graph},
    ),
}
