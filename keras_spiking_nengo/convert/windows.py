"""Convolution and pooling of channels-last features, as Nengo transforms.

Output position `o` and kernel tap `k` of one axis meet at the input position

    i = o stride + k dilation - before

with `before` elements of padding in front; there is nothing where `i` is outside.
"""

import math
from functools import reduce

import nengo
import numpy as np

__all__ = ["average", "blocks", "convolution"]

Sizes = tuple[int, ...]


def blocks(matrix: np.ndarray, count: int) -> nengo.transforms.Transform:
    """`matrix`, `(size_out, size_in)`, on each of `count` parts in a row."""
    if count == 1:
        return nengo.Dense(matrix.shape, init=matrix)
    rows, columns = matrix.shape
    part, i, j = np.indices((count, rows, columns)).reshape(3, -1)
    indices = np.stack([part * rows + i, part * columns + j], axis=1)
    shape = (count * rows, count * columns)
    return nengo.Sparse(shape, indices=indices, init=np.tile(matrix.ravel(), count))


def convolution(
    kernel: np.ndarray,
    shape: Sizes,
    strides: Sizes,
    padding: str,
    dilation: Sizes,
    groups: int = 1,
) -> nengo.transforms.Transform:
    """A convolution of features of `shape`, `(*space, channels)`.

    Args:
        kernel: `(*kernel_size, channels / groups, filters)`.
        padding: `"valid"`, `"same"` or `"causal"`.
    """
    if padding != "causal" and set(dilation) == {1}:
        return nengo.Convolution(
            n_filters=kernel.shape[-1],
            input_shape=shape,
            kernel_size=kernel.shape[:-2],
            strides=strides,
            padding=padding,
            init=kernel,
            groups=groups,
        )
    *sizes, depth, filters = kernel.shape
    where = _windows(shape[:-1], tuple(sizes), strides, padding, dilation)
    output, tap, channel, out = np.indices((*where.shape, depth, filters))
    position = where[output, tap]
    # Filters of a group read the channels of the same group.
    source = channel + depth * (out // (filters // groups))
    weights = kernel.reshape(-1, depth, filters)[tap, channel, out]
    indices = np.stack([output * filters + out, position * shape[-1] + source], axis=-1)
    inside = position >= 0
    return nengo.Sparse(
        (len(where) * filters, math.prod(shape)),
        indices=indices[inside],
        init=weights[inside],
    )


def average(
    shape: Sizes, size: Sizes, strides: Sizes, padding: str
) -> nengo.transforms.Transform:
    """Means over windows of `size`, of what of the window is inside."""
    where = _windows(shape[:-1], size, strides, padding, (1,) * len(size))
    channels = shape[-1]
    output, tap, channel = np.indices((*where.shape, channels))
    position = where[output, tap]
    weights = (1 / np.sum(where >= 0, axis=1))[output]
    indices = np.stack(
        [output * channels + channel, position * channels + channel], axis=-1
    )
    inside = position >= 0
    return nengo.Sparse(
        (len(where) * channels, math.prod(shape)),
        indices=indices[inside],
        init=weights[inside],
    )


def _windows(shape, size, strides, padding, dilation) -> np.ndarray:
    """Flat input position of each `(output position, tap)`; -1 for none."""
    axes = zip(shape, size, strides, dilation, strict=True)
    places = [(n, _axis(n, k, s, d, padding)) for n, k, s, d in axes]

    def cross(left, right):
        (n, a), (m, b) = left, right
        a, b = a[:, None, :, None], b[None, :, None, :]
        both = np.where((a < 0) | (b < 0), -1, a * m + b)
        return n * m, both.reshape(both.shape[0] * both.shape[1], -1)

    return reduce(cross, places)[1]


def _axis(length, size, stride, dilation, padding) -> np.ndarray:
    reach = (size - 1) * dilation + 1
    if padding == "same":
        count = math.ceil(length / stride)
        before = max((count - 1) * stride + reach - length, 0) // 2
    else:
        before = reach - 1 if padding == "causal" else 0
        count = (length + before - reach) // stride + 1
    taps = np.arange(size) * dilation - before
    place = np.arange(count)[:, None] * stride + taps
    return np.where((place >= 0) & (place < length), place, -1)
