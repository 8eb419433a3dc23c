"""Nodes that change no number: where signals enter and leave, in which shape and when.

Keras flattens images row by row with their channels last, and NIR with them first. A
bundle that is written carries its order, so that `Flatten`, `Permute` and `Reshape`
cost nothing and the kernel that follows is permuted. What is read is permuted in the
kernel, too, or turned before, where something else follows.
"""

import math
from collections.abc import Iterator
from dataclasses import replace

import keras
import numpy as np

from keras_spiking_nengo import layers
from keras_spiking_nengo.convert.nir.layout import Axes, image_order
from keras_spiking_nengo.convert.nir.primitives import Place, Primitive, elementwise
from keras_spiking_nengo.convert.nir.sketch import Bundle, Writer

__all__ = ["SHAPE_NODES"]


def _input_sizes(node, shape: Axes) -> tuple[Axes, Axes]:
    if shape:
        raise ValueError(f"it is where signals enter, and {shape} leads to it")
    declared = next(iter((node.input_type or {}).values()), None)
    if declared is None:
        raise ValueError("it has no shape")
    return (), tuple(map(int, np.ravel(declared)))


def _write_input(writer: Writer) -> Bundle:
    shape, order = image_order(writer.site.output)
    node = writer.nir.Input({"input": np.array(shape)})
    return Bundle((writer.sketch.add(writer.site.name, node),), shape, order)


def _output_sizes(node, shape: Axes) -> tuple[Axes | None, Axes]:
    declared = next(iter((node.output_type or {}).values()), None)
    return None if declared is None else tuple(map(int, declared)), shape


def _flat_sizes(node, shape: Axes) -> tuple[None, Axes]:
    rank, axes = len(shape), (int(node.start_dim), int(node.end_dim))
    start, end = (axis + rank if axis < 0 else axis for axis in axes)
    if not 0 <= start <= end < rank:
        raise ValueError(f"it flattens axes {axes[0]} to {axes[1]} of shape {shape}")
    return None, (*shape[:start], math.prod(shape[start : end + 1]), *shape[end + 1 :])


def _read_flatten(place: Place) -> Iterator[keras.Layer]:
    rank, shape = len(place.takes), place.sends
    if place.takes == shape:
        return
    if place.free:
        yield layers.PerStep(keras.layers.Flatten(), name=place.named())
        return
    if rank > 1:
        turn = keras.layers.Permute((rank, *range(1, rank)))
        yield layers.PerStep(turn, name=place.named("_turn"))
    yield layers.PerStep(keras.layers.Reshape(shape), name=place.named())
    if len(shape) > 1:
        back = keras.layers.Permute((*range(2, len(shape) + 1), 1))
        yield layers.PerStep(back, name=place.named("_back"))


def _write_flatten(writer: Writer) -> Bundle:
    if len(writer.site.output) == 1 and len(writer.source.shape) > 1:
        return writer.sketch.vector(writer.settled(), writer.site.name)
    return writer.source


def _write_permute(writer: Writer) -> Bundle:
    (shape,) = writer.site.inputs
    axes = [axis - 1 for axis in writer.site.layer.dims]
    turned = writer.source.order.reshape(shape).transpose(axes)
    return replace(writer.source, order=turned.ravel())


def _read_delay(place: Place) -> Iterator[keras.Layer]:
    delay, options = place.numbers("delay"), place.options
    yield layers.Delay(delay, options.dt, return_sequences=True, name=place.named())


def _write_delay(writer: Writer) -> Bundle:
    cell, bundle = writer.site.layer.cell, writer.settled()
    steps = np.broadcast_to(cell.steps, writer.site.output)
    node = writer.nir.Delay(bundle.arranged(steps * cell.dt))
    return writer.sketch.after(bundle, writer.site.name, node)


_FLATTENED = keras.layers.Flatten, keras.layers.Reshape
SHAPE_NODES = {
    "Input": Primitive(
        *("`keras.Input`", _input_sizes, lambda place: ()),
        {keras.layers.InputLayer: _write_input},
    ),
    "Output": Primitive("an output of the model", _output_sizes, lambda place: (), {}),
    "Flatten": Primitive(
        "`Flatten` or `Reshape` in a `PerStep`; the kernel that follows is permuted, or"
        " a `Permute` comes before",
        _flat_sizes,
        _read_flatten,
        dict.fromkeys(_FLATTENED, _write_flatten)
        | {keras.layers.Permute: _write_permute},
    ),
    "Delay": Primitive(
        *("`ksn.layers.Delay`", elementwise("delay"), _read_delay),
        {layers.Delay: _write_delay},
    ),
}
