"""Convolutions and pooling of images as nodes of NIR."""

from dataclasses import replace

import keras
import numpy as np

from keras_spiking_nengo.convert.layer_rules import Site, array
from keras_spiking_nengo.convert.nir.signals import Signal, images
from keras_spiking_nengo.convert.nir.writing import (
    WRITERS,
    Writer,
    by_graph,
    refuse_activation,
)

_WINDOWS = (
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.AveragePooling2D,
)


def _takes_padding(call: Site) -> bool:
    return (
        type(call.layer) in _WINDOWS
        and call.layer.padding == "valid"
        and call.layer.data_format == "channels_last"
    )


Padding = list[tuple[int, int]]


@WRITERS.register(keras.layers.ZeroPadding1D, keras.layers.ZeroPadding2D)
def _padding(writer: Writer, call: Site, site: Site) -> Signal | None:
    amount = np.reshape(call.layer.padding, (-1, 2)).tolist()
    after = [c for c in writer.found if call.name in c.sources]
    shown = call.name in writer.found.outputs.values()
    signal = writer.source(site)
    if signal.padding or shown or not all(map(_takes_padding, after)):
        return by_graph(writer, call, site)
    return replace(signal, padding=tuple(map(tuple, amount)))


def _window(writer: Writer, call: Site, site: Site, kernel: tuple[int, ...], dilation):
    """An image, and its padding; None if it has its channels first."""
    layer, signal = call.layer, writer.source(site)
    if layer.data_format != "channels_last":
        return None
    (shape,) = site.inputs
    padding: Padding = list(signal.padding) or [(0, 0)] * len(kernel)
    space = [n - sum(p) for n, p in zip(shape[:-1], padding, strict=True)]
    image = writer.drawing.standing(
        replace(signal, padding=()), call.name, (*space, shape[-1])
    )
    if layer.padding == "same":
        reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
        sizes = zip(space, layer.strides, reach, strict=True)
        total = [max((-(-n // s) - 1) * s + r - n, 0) for n, s, r in sizes]
        padding = [(t // 2, t - t // 2) for t in total]
    return image, padding


def _symmetric(kernel: np.ndarray, padding: Padding, dilation) -> tuple:
    """A kernel with zeros, so that its padding may be as much on both sides."""
    more = []
    for (before, after), step in zip(padding, dilation, strict=True):
        taps, rest = divmod(abs(after - before), step)
        if rest:
            raise ValueError(
                f"its padding is {before} before and {after} after an axis, with a"
                f" dilation of {step}, and NIR pads alike on both sides"
            )
        more.append((taps, 0) if after > before else (0, taps))
    kernel = np.pad(kernel, [*more, (0, 0), (0, 0)])
    return kernel, tuple(max(p) for p in padding)


def _imaged(writer: Writer, call: Site, site: Site, image: Signal, node) -> Signal:
    """The images that a node makes of images."""
    name = writer.drawing.add(call.name, node)
    writer.drawing.connect(image, name)
    return Signal((name,), *images(site.output))


@WRITERS.register(keras.layers.Conv1D, keras.layers.Conv2D)
def _convolution(writer: Writer, call: Site, site: Site) -> Signal | None:
    layer = call.layer
    refuse_activation(writer, call)
    kernel = array(layer.kernel)
    dilation = layer.dilation_rate
    found = _window(writer, call, site, kernel.shape[:-2], dilation)
    if found is None or layer.padding == "causal":
        return by_graph(writer, call, site)
    image, around = found
    kernel, padding = _symmetric(kernel, around, dilation)
    one = kernel.ndim == 3
    bias = array(layer.bias) if layer.use_bias else np.zeros(kernel.shape[-1])
    make = writer.nir.Conv1d if one else writer.nir.Conv2d

    def sizes(values):
        values = tuple(map(int, values))
        return values[0] if one else values

    node = make(
        input_shape=sizes(image.shape[1:]),
        weight=np.moveaxis(kernel, (-1, -2), (0, 1)),
        stride=sizes(layer.strides),
        padding=sizes(padding),
        dilation=sizes(dilation),
        groups=int(layer.groups),
        bias=bias,
    )
    return _imaged(writer, call, site, image, node)


@WRITERS.register(keras.layers.AveragePooling2D)
def _pooling(writer: Writer, call: Site, site: Site) -> Signal | None:
    layer = call.layer
    found = _window(writer, call, site, tuple(layer.pool_size), (1, 1))
    # At the borders Keras takes the mean of what is there, and not of zeros.
    means = found is None or (layer.padding == "same" and np.any(found[1]))
    if means or any(before != after for before, after in found[1]):
        return by_graph(writer, call, site)
    image, padding = found
    node = writer.nir.AvgPool2d(
        kernel_size=np.array(layer.pool_size),
        stride=np.array(layer.strides),
        padding=np.array(padding)[:, 0],
    )
    return _imaged(writer, call, site, image, node)
