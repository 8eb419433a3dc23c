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
    layer = site.layer
    transform = windows.convolution(
        kernel,
        site.inputs[0],
        layer.strides,
        layer.padding,
        layer.dilation_rate,
        groups,
        windows.is_first(layer),
    )
    return _filtered(site, transform)


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
    layer = site.layer
    transform = windows.transposed(
        array(layer.kernel),
        site.inputs[0],
        layer.strides,
        layer.padding,
        layer.output_padding,
        layer.dilation_rate,
        windows.is_first(layer),
    )
    return _filtered(site, transform)


LAYERS.add(
    LayerRule(_convolution, weights_objection),
    layers.Conv1D,
    layers.Conv2D,
    layers.Conv3D,
)
LAYERS.add(
    LayerRule(_depthwise, weights_objection),
    layers.DepthwiseConv1D,
    layers.DepthwiseConv2D,
)
LAYERS.add(
    LayerRule(_separable_convolution, weights_objection),
    layers.SeparableConv1D,
    layers.SeparableConv2D,
)
LAYERS.add(
    LayerRule(_transposed_layer, weights_objection),
    layers.Conv1DTranspose,
    layers.Conv2DTranspose,
    layers.Conv3DTranspose,
)


# --- pooling ------------------------------------------------------------------------


def _pooling(site: Site) -> Part:
    layer = site.layer
    transform = windows.average(
        site.inputs[0],
        layer.pool_size,
        layer.strides,
        layer.padding,
        windows.is_first(layer),
    )
    return site.vertex(), (site.edge(site.sources[0], transform=transform),)


def _global_pooling(site: Site) -> Part:
    (shape,), first = site.inputs, windows.is_first(site.layer)
    inner, channels = windows.space(shape, first)
    size = math.prod(inner)
    transform = windows.each_channel(np.full((1, size), 1 / size), channels, first)
    return site.vertex(), (site.edge(site.sources[0], transform=transform),)


def _adaptive_mean(site: Site) -> Part:
    """The means of the windows whose maxima the layer takes."""
    layer = site.layer
    mean = _ADAPTIVE[len(layer.output_size) - 1]
    return measured_image(site, mean(layer.output_size, layer.data_format))


_ADAPTIVE = (
    layers.AdaptiveAveragePooling1D,
    layers.AdaptiveAveragePooling2D,
    layers.AdaptiveAveragePooling3D,
)
LAYERS.add(
    LayerRule(_pooling),
    layers.AveragePooling1D,
    layers.AveragePooling2D,
    layers.AveragePooling3D,
)
LAYERS.add(
    LayerRule(_global_pooling),
    layers.GlobalAveragePooling1D,
    layers.GlobalAveragePooling2D,
    layers.GlobalAveragePooling3D,
)
LAYERS.add(LayerRule(measured_image), *_ADAPTIVE)
_OPTION = "max_to_avg_pool"
LAYERS.add(
    LayerRule(_pooling, option=_OPTION),
    layers.MaxPooling1D,
    layers.MaxPooling2D,
    layers.MaxPooling3D,
)
LAYERS.add(
    LayerRule(_global_pooling, option=_OPTION),
    layers.GlobalMaxPooling1D,
    layers.GlobalMaxPooling2D,
    layers.GlobalMaxPooling3D,
)
LAYERS.add(
    LayerRule(_adaptive_mean, option=_OPTION),
    layers.AdaptiveMaxPooling1D,
    layers.AdaptiveMaxPooling2D,
    layers.AdaptiveMaxPooling3D,
)
