"""Layers that only move elements, and linear ones that Keras is asked about.

Where each element of the output comes from is read from the layer itself, which is
run on the numbers `1, 2, ...`: one comes out where its element goes, and a zero where
there is padding. What mixes the positions of an image is read column by column, from
images that hold a single one.
"""

import math
from collections.abc import Callable
from typing import Any

import keras
import nengo
import numpy as np
import scipy.sparse
from keras import layers as L
from keras import ops

from keras_spiking_nengo.convert.layer_rules import LAYERS, LayerRule, Part, Site
from keras_spiking_nengo.convert.windows import each_channel, is_first, space

__all__ = ["layer_output", "gathered", "measured", "measured_image", "move", "origins"]

Function = Callable[[Any], Any]

# Digits of this base are exact in any format that Keras computes in.
_BASE = 128
# Columns that are measured at once.
_COLUMNS_AT_ONCE = 256


def origins(function: Function, shape: tuple[int, ...]) -> np.ndarray:
    """Where each element comes from that `function` gives of features of `shape`.

    Args:
        function: of a batch; it moves, repeats or drops elements, or puts zeros.

    Returns:
        Integers in the shape of the output: number of the element of the flat input,
        or -1 where there is a zero.
    """
    numbers = np.arange(1, math.prod(shape) + 1).reshape(shape)
    powers = [1]
    while powers[-1] * _BASE <= numbers.size:
        powers.append(powers[-1] * _BASE)
    # The digits of a number are the items of a batch.
    digits = np.stack([numbers // power % _BASE for power in powers])
    moved = np.rint(layer_output(function, digits)).astype(int)
    return np.tensordot(powers, moved, axes=1) - 1


def gathered(origin: np.ndarray, size: int) -> nengo.Sparse | None:
    """The transform that takes elements of a vector from where they are."""
    origin = origin.ravel()
    if np.array_equal(origin, np.arange(size)):
        return None
    rows = np.flatnonzero(origin >= 0)
    return nengo.Sparse(
        (origin.size, size),
        indices=np.stack([rows, origin[rows]], axis=1),
        init=np.ones(len(rows)),
    )


def measured(function: Function, shape: tuple[int, ...]) -> tuple[Any, np.ndarray]:
    """A function of the form `A x + b`, of features of `shape`.

    Returns:
        The sparse matrix `A` from flat input to flat output, and the vector `b`.
    """
    size = math.prod(shape)
    offset = layer_output(function, np.zeros((1, *shape))).ravel()
    columns = []
    for start in range(0, size, _COLUMNS_AT_ONCE):
        ones = np.eye(min(_COLUMNS_AT_ONCE, size - start), size, start)
        images = layer_output(function, ones.reshape(-1, *shape))
        part = images.reshape(len(ones), -1) - offset
        columns.append(scipy.sparse.csr_matrix(part))
    return scipy.sparse.vstack(columns).T, offset


def layer_output(function: Function, x: np.ndarray) -> np.ndarray:
    """What a function of tensors gives for an array."""
    tensor = ops.convert_to_tensor(x, dtype=keras.config.floatx())
    return np.asarray(ops.convert_to_numpy(function(tensor)), float)


def move(site: Site) -> Part:
    """The part of a layer that only moves elements."""
    (shape,) = site.inputs
    return site.through(gathered(origins(site.layer, shape), math.prod(shape)))


def measured_image(site: Site, layer: L.Layer | None = None) -> Part:
    """The part of a layer that does the same linear thing to each channel.

    Args:
        layer: another one to take instead.
    """
    layer, (shape,) = layer or site.layer, site.inputs
    first = is_first(layer)
    inner, channels = space(shape, first)
    matrix, offset = measured(layer, (1, *inner) if first else (*inner, 1))
    transform = each_channel(matrix, channels, first)
    spread = np.tile if first else np.repeat
    bias = spread(offset, channels) if np.any(offset) else None
    return site.through(transform, bias=bias)


def _flatten(site: Site) -> Part:
    return move(site) if is_first(site.layer) else site.through()


def _repeat_vector(site: Site) -> Part:
    # Each step takes it as it is.
    return site.through() if site.leading == 2 else move(site)


def _up_sampling(site: Site) -> Part:
    nearest = site.layer.interpolation == "nearest"
    return move(site) if nearest else measured_image(site)


LAYERS.add(
    LayerRule(move),
    *(L.Cropping1D, L.Cropping2D, L.Cropping3D, L.Permute, L.UpSampling1D),
    *(L.UpSampling3D, L.ZeroPadding1D, L.ZeroPadding2D, L.ZeroPadding3D),
)
LAYERS.add(LayerRule(_repeat_vector), L.RepeatVector)
LAYERS.add(LayerRule(_flatten), L.Flatten)
# Keras moves no element here.
LAYERS.add(LayerRule(), L.Reshape)
LAYERS.add(LayerRule(_up_sampling), L.UpSampling2D)
LAYERS.add(LayerRule(measured_image), L.CenterCrop, L.Resizing)
