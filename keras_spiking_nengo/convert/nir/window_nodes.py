"""Windows that move over images: convolutions, and sums and means of pooling.

The padding of NIR's nodes is a layer of its own in Keras, before the windows.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from keras_spiking_nengo.convert.layer_rules import array
from keras_spiking_nengo.convert.nir.graph_nodes import by_graph
from keras_spiking_nengo.convert.nir.layout import Axes, image_order, kind, per_axis
from keras_spiking_nengo.convert.nir.linear_nodes import refuse_activation
from keras_spiking_nengo.convert.nir.primitives import Place, Primitive
from keras_spiking_nengo.convert.nir.sketch import Bundle, Writer
from keras_spiking_nengo.layers import PerStep

__all__ = ["WINDOW_NODES"]

Around = Sequence[tuple[int, int]]


_BY_RANK = {
    1: (keras.layers.ZeroPadding1D, keras.layers.Conv1D),
    2: (keras.layers.ZeroPadding2D, keras.layers.Conv2D),
}


def _swept(space: Axes, kernel: Axes, stride, padding, dilation) -> Axes:
    """The shape of space after windows have moved over it."""
    rank = len(space)
    stride = per_axis("stride", stride, rank)
    dilation = per_axis("dilation", dilation, rank)
    reach = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
    if not isinstance(padding, str):
        total = [2 * p for p in per_axis("padding", padding, rank, 0)]
    elif padding == "same" and set(stride) != {1}:
        raise ValueError("it has padding 'same' with a stride, which says no padding")
    else:
        total = reach if padding == "same" else [0] * rank
    sizes = zip(space, total, reach, stride, strict=True)
    return tuple((n + t - r - 1) // s + 1 for n, t, r, s in sizes)


def _convolution_sizes(node, shape: Axes) -> tuple[Axes, Axes]:
    rank = 1 if kind(node) == "Conv1d" else 2
    if len(shape) != rank + 1 or np.ndim(node.weight) != rank + 2:
        raise ValueError(
            f"it takes (channels, {'length' if rank == 1 else 'height, width'}), and"
            f" its weight is (out, in, *kernel); received inputs {shape} and a weight"
            f" {np.shape(node.weight)}"
        )
    out, channels, *kernel = np.shape(node.weight)
    (groups,) = per_axis("groups", node.groups, 1)
    space = _swept(shape[1:], tuple(kernel), node.stride, node.padding, node.dilation)
    return (channels * groups, *shape[1:]), (out, *space)


def _pool_sizes(node, shape: Axes) -> tuple[None, Axes]:
    if len(shape) != 3:
        raise ValueError(f"it takes (channels, height, width); received {shape}")
    kernel = per_axis("kernel_size", node.kernel_size, 2)
    return None, (shape[0], *_swept(shape[1:], kernel, node.stride, node.padding, 1))


# --- reading ------------------------------------------------------------------------


def _read_padding(place: Place, padding: Axes) -> Iterator[keras.Layer]:
    if any(padding):
        make, _ = _BY_RANK[len(padding)]
        # Of one axis Keras wants what is before and after, of two both alike.
        yield PerStep(make((padding * 2)[:2]), name=place.named("_padding"))


def _read_convolution(place: Place) -> Iterator[keras.Layer]:
    node, weight = place.node, np.asarray(place.node.weight, float)
    rank, padding = weight.ndim - 2, place.node.padding
    stride = per_axis("stride", node.stride, rank)
    dilation = per_axis("dilation", node.dilation, rank)
    if max(dilation) > 1 and max(stride) > 1:
        # Which Keras does not have together: zeros in the kernel are the same.
        weight, dilation = _dilated(weight, dilation), (1,) * rank
    if not isinstance(padding, str):
        yield from _read_padding(place, per_axis("padding", padding, rank, 0))
        padding = "valid"
    _, make = _BY_RANK[rank]
    bias = [] if node.bias is None else [np.asarray(node.bias, float)]
    options: dict[str, Any] = {"groups": int(node.groups), "use_bias": bool(bias)}
    sweep = weight.shape[0], weight.shape[2:], stride, padding
    layer = make(*sweep, dilation_rate=dilation, name=place.named("_step"), **options)
    kernel = np.moveaxis(weight, (0, 1), (-1, -2))
    yield place.weighted(PerStep(layer, name=place.named()), kernel, *bias)


def _dilated(weight: np.ndarray, dilation: Axes) -> np.ndarray:
    """A kernel with zeros between its taps."""
    sizes = zip(weight.shape[2:], dilation, strict=True)
    wide = np.zeros((*weight.shape[:2], *(d * (k - 1) + 1 for k, d in sizes)))
    taps: Any = (..., *(slice(None, None, d) for d in dilation))
    wide[taps] = weight
    return wide


def _read_pool(place: Place) -> Iterator[keras.Layer]:
    node = place.node
    kernel = per_axis("kernel_size", node.kernel_size, 2)
    yield from _read_padding(place, per_axis("padding", node.padding, 2, 0))
    pool = keras.layers.AveragePooling2D(kernel, per_axis("stride", node.stride, 2))
    sums = kind(node) == "SumPool2d"
    yield PerStep(pool, name=place.named("_mean" if sums else ""))
    if sums:
        yield keras.layers.Rescaling(math.prod(kernel), name=place.named())


# --- writing ------------------------------------------------------------------------


def _takes(layer: Any, around: Around) -> bool:
    """Whether a layer's node can have a padding. Means want it alike on both sides."""
    pools = type(layer) is keras.layers.AveragePooling2D
    alike = all(before == after for before, after in around)
    return (
        (type(layer) in (keras.layers.Conv1D, keras.layers.Conv2D) or (pools and alike))
        and layer.padding == "valid"
        and layer.data_format == "channels_last"
    )


def _write_padding(writer: Writer) -> Bundle | None:
    """Notes the padding, if all that follows are windows, which have one in NIR."""
    around = tuple(map(tuple, np.reshape(writer.site.layer.padding, (-1, 2)).tolist()))
    bundle = writer.source
    if bundle.padding or not all(_takes(layer, around) for layer in writer.followers):
        return by_graph(writer)
    return replace(bundle, padding=around)


def _image(writer: Writer, kernel: Axes, dilation: Axes) -> tuple[Bundle, Around]:
    """What windows move over, channels last, and the zeros around it."""
    layer, bundle = writer.site.layer, writer.source
    (shape,) = writer.site.inputs
    around: Around = bundle.padding or [(0, 0)] * len(kernel)
    space = [n - sum(p) for n, p in zip(shape[:-1], around, strict=True)]
    image = writer.sketch.standing(
        replace(bundle, padding=()), writer.site.name, (*space, shape[-1])
    )
    if layer.padding == "same":
        reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
        sizes = zip(space, layer.strides, reach, strict=True)
        total = [max((-(-n // s) - 1) * s + r - n, 0) for n, s, r in sizes]
        around = [(t // 2, t - t // 2) for t in total]
    return image, around


def _symmetric(kernel: np.ndarray, around: Around, dilation: Axes):
    """A kernel with zeros, so that its padding may be as much on both sides."""
    more = []
    for (before, after), step in zip(around, dilation, strict=True):
        taps, rest = divmod(abs(after - before), step)
        if rest:
            raise ValueError(
                f"its padding is {before} before and {after} after an axis, with a"
                f" dilation of {step}, and NIR pads alike on both sides"
            )
        more.append((taps, 0) if after > before else (0, taps))
    kernel = np.pad(kernel, [*more, (0, 0), (0, 0)])
    return kernel, tuple(max(p) for p in around)


def _sweep(writer: Writer, image: Bundle, node) -> Bundle:
    """The images that a node makes of images."""
    after = writer.sketch.after(image, writer.site.name, node)
    return Bundle(after.nodes, *image_order(writer.site.output))


def _write_convolution(writer: Writer) -> Bundle | None:
    layer = writer.site.layer
    refuse_activation(writer)
    if layer.data_format != "channels_last" or layer.padding == "causal":
        return by_graph(writer)
    kernel, dilation = array(layer.kernel), layer.dilation_rate
    image, around = _image(writer, kernel.shape[:-2], dilation)
    kernel, padding = _symmetric(kernel, around, dilation)
    one = kernel.ndim == 3
    make = writer.nir.Conv1d if one else writer.nir.Conv2d
    moves = image.shape[1:], layer.strides, padding, dilation
    axes: list[Any] = [tuple(map(int, values)) for values in moves]
    space, *sizes = [values[0] for values in axes] if one else axes
    weight = np.moveaxis(kernel, (-1, -2), (0, 1))
    bias = array(layer.bias) if layer.use_bias else np.zeros(len(weight))
    return _sweep(writer, image, make(space, weight, *sizes, int(layer.groups), bias))


def _write_pool(writer: Writer) -> Bundle | None:
    layer = writer.site.layer
    if layer.data_format != "channels_last" or len(writer.source.shape) == 1:
        return by_graph(writer)
    image, around = _image(writer, tuple(layer.pool_size), (1, 1))
    # At the borders Keras takes the mean of what is there, and not of zeros.
    partial_means = layer.padding == "same" and np.any(around)
    if partial_means or any(before != after for before, after in around):
        return by_graph(writer)
    padding = np.array(around)[:, 0]
    sizes = np.array(layer.pool_size), np.array(layer.strides), padding
    node = writer.nir.AvgPool2d(*sizes)
    return _sweep(writer, image, node)


def _convolution_row(rank: int) -> Primitive:
    padding, window = _BY_RANK[rank]
    return Primitive(
        f"`{padding.__name__}` and `{window.__name__}`, each in a `ksn.layers.PerStep`",
        _convolution_sizes,
        _read_convolution,
        {padding: _write_padding, window: _write_convolution},
    )


def _pool_row(layer: str) -> Primitive:
    return Primitive(
        layer,
        _pool_sizes,
        _read_pool,
        {
            keras.layers.ZeroPadding2D: _write_padding,
            keras.layers.AveragePooling2D: _write_pool,
            keras.layers.Rescaling: by_graph,
        },
    )


WINDOW_NODES = {
    "Conv1d": _convolution_row(1),
    "Conv2d": _convolution_row(2),
    "SumPool2d": _pool_row(
        "as `AvgPool2d`, and a `Rescaling` by the size of the window"
    ),
    "AvgPool2d": _pool_row(
        "`ZeroPadding2D` and `AveragePooling2D`, each in a `PerStep`"
    ),
}
