"""Layers that multiply and shift each element: `y = d x + b`.

Batch normalisation does so at inference, with `d = gamma / sqrt(variance + epsilon)`
and `b = beta - d mean`.

Reference:
    Ioffe and Szegedy (2015), *Batch normalization: accelerating deep network training
    by reducing internal covariate shift*, arXiv:1502.03167.
"""

import keras
import nengo
import numpy as np

from keras_spiking_nengo.convert.layer_rules import LAYERS, LayerRule, Part, Site, array

__all__ = ["constant", "diagonal", "scaled"]


def diagonal(values: np.ndarray, size: int) -> nengo.Dense | None:
    """A transform that multiplies element by element, or None for ones."""
    values = np.asarray(values, float).ravel()
    if np.all(values == 1):
        return None
    if np.all(values == values[0]):
        return nengo.Dense((size, size), init=float(values[0]))
    return nengo.Dense((size, size), init=values)


def constant(site: Site, value) -> np.ndarray:
    """Numbers that meet the output of a layer, in the shape of the output.

    Raises:
        NotImplementedError: if they differ within the batch or over time.
    """
    value = array(value)
    lead = value.ndim - len(site.output)
    if lead > 0:
        if set(value.shape[:lead]) != {1}:
            raise site.refusal(
                f"it has numbers of shape {value.shape}, which differ within the batch"
                " or over time. Give them as an input"
            )
        value = value.reshape(value.shape[lead:])
    return np.broadcast_to(value, site.output)


def scaled(site: Site, scale, offset) -> Part:
    """`scale x + offset`, with numbers that meet the output."""
    d, b = (constant(site, value).ravel() for value in (scale, offset))
    return site.through(diagonal(d, d.size), bias=b if np.any(b) else None)


def _along(site: Site, values: np.ndarray) -> np.ndarray:
    """One number per element of the layer's axis, in the shape of the output."""
    axis = site.axis(site.layer.axis)
    if axis < 0:
        raise site.refusal("it normalises over the batch or over time")
    shape = [1] * len(site.output)
    shape[axis] = -1
    return values.reshape(shape)


def _batch_normalization(site: Site) -> Part:
    layer = site.layer
    scale = 1 / np.sqrt(array(layer.moving_variance) + layer.epsilon)
    if layer.scale:
        scale = scale * array(layer.gamma)
    offset = -scale * array(layer.moving_mean)
    if layer.center:
        offset = offset + array(layer.beta)
    return scaled(site, _along(site, scale), _along(site, offset))


def _normalization(site: Site) -> Part:
    layer = site.layer
    mean = array(layer.mean)
    deviation = np.maximum(np.sqrt(array(layer.variance)), keras.config.epsilon())
    if layer.invert:
        return scaled(site, deviation, mean)
    return scaled(site, 1 / deviation, -mean / deviation)


def _rescaling(site: Site) -> Part:
    scale, offset = array(site.layer.scale), array(site.layer.offset)
    if scale.ndim and keras.config.image_data_format() == "channels_first":
        # Keras gives channels the axis before two of space.
        scale = scale.reshape(scale.shape + (1,) * (3 - scale.ndim))
    return scaled(site, scale, offset)


LAYERS.add(LayerRule(_batch_normalization), keras.layers.BatchNormalization)
LAYERS.add(LayerRule(_normalization), keras.layers.Normalization)
LAYERS.add(LayerRule(_rescaling), keras.layers.Rescaling)
