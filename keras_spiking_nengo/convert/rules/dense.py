"""Layers that are one matrix of weights, with a bias and an activation."""

import math

import keras
import nengo
import numpy as np

from keras_spiking_nengo import layers
from keras_spiking_nengo.convert import windows
from keras_spiking_nengo.convert.layer_rules import (
    LAYERS,
    LayerRule,
    Part,
    Site,
    array,
)
from keras_spiking_nengo.convert.quantized_by_keras import (
    dense_kernel,
    product_of,
    quantized_objection,
)
from keras_spiking_nengo.convert.rules.activations import activation_objection, neurons

__all__ = ["affine", "weights_objection"]


def affine(site: Site, transform: nengo.transforms.Transform, bias) -> Part:
    """Weights, bias and activation.

    Args:
        bias: numbers that meet the output, or None.
    """
    if bias is not None:
        bias = np.broadcast_to(bias, site.output).ravel()
    return site.through(transform, neuron_type=neurons(site.layer), bias=bias)


def _dense_layer(site: Site) -> Part:
    layer = site.layer
    weights = windows.blocks(dense_kernel(layer).T, math.prod(site.output[:-1]))
    return affine(site, weights, array(layer.bias) if layer.use_bias else None)


def _einsum_dense(site: Site) -> Part:
    layer, (shape,) = site.layer, site.inputs
    ones = np.eye(math.prod(shape)).reshape(-1, *(1,) * (site.leading - 1), *shape)
    if layer.quantization_mode is None:
        columns = np.einsum(layer.equation, ones, array(layer.kernel))
    else:
        columns = product_of(layer, ones)
    transform = windows.stored(columns.reshape(len(ones), -1).T)
    bias = None if layer.bias is None else array(layer.bias)
    return affine(site, transform, bias)


def _transform(site: Site) -> Part:
    layer, (shape,) = site.layer, site.inputs
    transform = layer.trained()
    n_images = math.prod(shape) // transform.size_in
    if n_images > 1:
        if not isinstance(transform, nengo.Dense) or np.ndim(transform.init) < 2:
            raise site.refusal(
                f"it acts on {n_images} vectors of each step. Flatten them"
            )
        transform = windows.blocks(np.asarray(transform.init, float), n_images)
    if isinstance(transform, nengo.transforms.NoTransform):
        transform = None
    bias = None if layer.bias is None else np.tile(array(layer.bias), n_images)
    return site.through(transform, bias=bias)


def weights_objection(layer) -> str:
    """Why a layer of weights and an activation cannot be expressed, or ""."""
    return activation_objection(layer) or quantized_objection(layer)


LAYERS.add(LayerRule(_dense_layer, weights_objection), keras.layers.Dense)
LAYERS.add(LayerRule(_einsum_dense, weights_objection), keras.layers.EinsumDense)
LAYERS.add(LayerRule(_transform), layers.Transform)
LAYERS.add(LayerRule(stand_in=layers.Quantized.plain), layers.Quantized)
