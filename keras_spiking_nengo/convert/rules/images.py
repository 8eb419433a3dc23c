"""Convolutions and pooling of images of one to three dimensions.

A depthwise convolution has as many groups as channels. A separable one is two in a
row, of which the second has windows of one element, so that both are one kernel:

    K[k, i, f] = sum over m of  D[k, i, m] P[i, m, f]

Reference:
    Chollet (2017), *Xception: deep learning with depthwise separable convolutions*,
    arXiv:1610.02357.
"""

import math

import numpy as np
from keras import layers

from keras_spiking_nengo.convert import windows
from keras_spiking_nengo.convert.layer_rules import LAYERS, LayerRule, Part, Site, array
from keras_spiking_nengo.convert.rules.dense import affine, weights_objection
from keras_spiking_nengo.convert.rules.rearranging import measured_image

__all__: list[str] = []


# --- convolutions -------------------------------------------------------------------


def _filtered(site: Site, transform) -> Part:
    """A kind of convolution, with the layer's bias and activation."""
    layer, bias = site.layer, None
    if layer.use_bias:
        bias = array(layer.bias)
        if windows.is_first(layer):
            bias = bias.reshape(-1, *(1,) * layer.rank)
    return affine(site, transform, bias)


def _convolved_by(site: Site, kernel: np.ndarray, groups: int) -> Part:
    layer, (shape,) = site.layer, site.inputs
    sweep = layer.strides, layer.padding, layer.dilation_rate
    first = windows.is_first(layer)
    return _filtered(site, windows.convolution(kernel, shape, *sweep, groups, first))


def _convolution(site: Site) -> Part:
    return _convolved_by(site, array(site.layer.kernel), site.layer.groups)


def _depthwise(site: Site) -> Part:
    kernel = array(site.layer.kernel)
    *sizes, channels, multiplier = kernel.shape
    return _convolved_by(
        site, kernel.reshape(*sizes, 1, channels * multiplier), channels
    )


def _separable_convolution(site: Site) -> Part:
    depthwise = array(site.layer.depthwise_kernel)
    *_, channels, multiplier = depthwise.shape
    pointwise = array(site.layer.pointwise_kernel).reshape(channels, multiplier, -1)
    return _convolved_by(site, np.einsum("...im,imf->...if", depthwise, pointwise), 1)


def _transposed_layer(site: Site) -> Part:
    layer, (shape,) = site.layer, site.inputs
    kernel, first = array(layer.kernel), windows.is_first(layer)
    sweep = layer.strides, layer.padding, layer.output_padding, layer.dilation_rate
    return _filtered(site, windows.transposed(kernel, shape, *sweep, first))


def _of_ranks(name: str, ranks: str = "123") -> list[type]:
    """Keras's layers of one name for 1, 2 and 3 axes of space."""
    return [getattr(layers, name.format(rank)) for rank in ranks]


_CONVOLUTION = LayerRule(_convolution, weights_objection)
_DEPTHWISE = LayerRule(_depthwise, weights_objection)
_SEPARABLE = LayerRule(_separable_convolution, weights_objection)
_TRANSPOSED = LayerRule(_transposed_layer, weights_objection)
LAYERS.add(_CONVOLUTION, *_of_ranks("Conv{}D"))
LAYERS.add(_DEPTHWISE, *_of_ranks("DepthwiseConv{}D", "12"))
LAYERS.add(_SEPARABLE, *_of_ranks("SeparableConv{}D", "12"))
LAYERS.add(_TRANSPOSED, *_of_ranks("Conv{}DTranspose"))


# --- pooling ------------------------------------------------------------------------


def _pooling(site: Site) -> Part:
    layer = site.layer
    sweep = layer.pool_size, layer.strides, layer.padding, windows.is_first(layer)
    return site.through(windows.average(site.inputs[0], *sweep))


def _global_pooling(site: Site) -> Part:
    (shape,), first = site.inputs, windows.is_first(site.layer)
    inner, channels = windows.space(shape, first)
    size = math.prod(inner)
    mean = np.full((1, size), 1 / size)
    return site.through(windows.each_channel(mean, channels, first))


def _adaptive_mean(site: Site) -> Part:
    """The means of the windows whose maxima the layer takes."""
    layer = site.layer
    mean = _ADAPTIVE[len(layer.output_size) - 1]
    return measured_image(site, mean(layer.output_size, layer.data_format))


_ADAPTIVE = _of_ranks("AdaptiveAveragePooling{}D")
_OPTION = "max_to_avg_pool"
LAYERS.add(LayerRule(_pooling), *_of_ranks("AveragePooling{}D"))
LAYERS.add(LayerRule(_global_pooling), *_of_ranks("GlobalAveragePooling{}D"))
LAYERS.add(LayerRule(measured_image), *_ADAPTIVE)
LAYERS.add(LayerRule(_pooling, option=_OPTION), *_of_ranks("MaxPooling{}D"))
LAYERS.add(
    LayerRule(_global_pooling, option=_OPTION), *_of_ranks("GlobalMaxPooling{}D")
)
LAYERS.add(
    LayerRule(_adaptive_mean, option=_OPTION), *_of_ranks("AdaptiveMaxPooling{}D")
)
