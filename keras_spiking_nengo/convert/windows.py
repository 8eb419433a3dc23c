"""Convolution and pooling of images of one step, as Nengo transforms.

Images are `(*space, channels)` or, with `first`, `(channels, *space)`. Output position
`o` and kernel tap `k` of one axis meet at the input position

    i = o stride + k dilation - before

with `before` elements of padding in front; there is nothing where `i` is outside. A
transposed convolution exchanges `i` and `o`. What meets what is one array for all
axes, `places[output, tap]`, with -1 for nothing.
"""

import math
from collections.abc import Sequence
from functools import reduce

import nengo
import numpy as np
import scipy.sparse
from keras import ops

__all__ = [
    "average",
    "blocks",
    "convolution",
    "convolved",
    "each_channel",
    "is_first",
    "space",
    "stored",
    "transposed",
]

Sizes = tuple[int, ...]


def is_first(layer) -> bool:
    """Whether the channels of a layer's images come before its space."""
    return getattr(layer, "data_format", None) == "channels_first"


def space(shape: Sizes, first: bool) -> tuple[Sizes, int]:
    """The spatial shape of images, and their number of channels."""
    return (shape[1:], shape[0]) if first else (shape[:-1], shape[-1])


def blocks(matrix: np.ndarray, count: int) -> nengo.transforms.Transform:
    """`matrix`, `(size_out, size_in)`, on each of `count` parts in a row."""
    if count == 1:
        return nengo.Dense(matrix.shape, init=matrix)
    rows, columns = matrix.shape
    part, i, j = np.indices((count, rows, columns)).reshape(3, -1)
    indices = np.stack([part * rows + i, part * columns + j], axis=1)
    shape = (count * rows, count * columns)
    return nengo.Sparse(shape, indices=indices, init=np.tile(matrix.ravel(), count))


def stored(matrix) -> nengo.transforms.Transform:
    """A matrix as a transform of the kind that takes less memory."""
    matrix = scipy.sparse.csr_matrix(matrix)
    if matrix.nnz > matrix.shape[0] * matrix.shape[1] / 3:
        return nengo.Dense(matrix.shape, init=matrix.toarray())
    return nengo.Sparse(matrix.shape, init=matrix)


def each_channel(matrix, channels: int, first: bool) -> nengo.Sparse:
    """A sparse matrix between positions, on each channel by itself."""
    one = scipy.sparse.identity(channels)
    parts = (one, matrix) if first else (matrix, one)
    product = scipy.sparse.coo_matrix(scipy.sparse.kron(*parts))
    indices = np.stack([product.row, product.col], axis=1)
    return nengo.Sparse(product.shape, indices=indices, init=product.data)


def convolution(
    kernel: np.ndarray,
    shape: Sizes,
    strides: Sizes,
    padding: str,
    dilation: Sizes,
    groups: int = 1,
    first: bool = False,
) -> nengo.transforms.Transform:
    """A convolution of images.

    Args:
        kernel: `(*kernel_size, channels / groups, filters)`.
        shape: of the images.
        padding: `"valid"`, `"same"` or `"causal"`.
    """
    if padding != "causal" and set(dilation) == {1} and kernel.ndim < 5:
        sizes = kernel.shape[-1], shape, kernel.shape[:-2], strides, padding
        return nengo.Convolution(*sizes, not first, init=kernel, groups=groups)
    places = _windows(
        space(shape, first)[0], kernel.shape[:-2], strides, padding, dilation
    )
    return _tapped(places, kernel, shape, groups, first)


def transposed(
    kernel: np.ndarray,
    shape: Sizes,
    strides: Sizes,
    padding: str,
    output_padding: Sizes | None,
    dilation: Sizes,
    first: bool = False,
) -> nengo.Sparse:
    """A transposed convolution of images, as `keras.ops.conv_transpose` has it.

    Args:
        kernel: `(*kernel_size, filters, channels)`.
        shape, padding: as for `convolution`.
        output_padding: as in Keras; None for Keras's own choice.
    """
    inner, _ = space(shape, first)
    sizes = kernel.shape[:-2]
    extra = output_padding or (None,) * len(sizes)
    axes = zip(inner, sizes, strides, extra, dilation, strict=True)
    places = _crossed(
        [(n, _transposed_axis(n, k, s, padding, e, d)) for n, k, s, e, d in axes]
    )
    return _tapped(places, np.swapaxes(kernel, -1, -2), shape, 1, first)


def average(
    shape: Sizes, size: Sizes, strides: Sizes, padding: str, first: bool = False
) -> nengo.Sparse:
    """Means over windows of `size`, of what of the window is inside."""
    inner, channels = space(shape, first)
    places = _windows(inner, size, strides, padding, (1,) * len(size))
    inside = places >= 0
    weights = np.broadcast_to(1 / inside.sum(axis=1, keepdims=True), places.shape)
    rows = np.broadcast_to(np.arange(len(places))[:, None], places.shape)
    matrix = scipy.sparse.coo_matrix(
        (weights[inside], (rows[inside], places[inside])),
        shape=(len(places), math.prod(inner)),
    )
    return each_channel(matrix, channels, first)


def convolved(transform: nengo.Convolution, x: np.ndarray) -> np.ndarray:
    """What a convolution makes of one flat image, in double precision."""
    image, kernel = transform.input_shape, np.asarray(transform.init, float)
    *sizes, depth, filters = kernel.shape
    groups = image.n_channels // depth
    one = (1,) * len(sizes)
    places = _windows(
        image.spatial_shape, tuple(sizes), transform.strides, transform.padding, one
    )
    first = not transform.channels_last
    x = x.reshape(image.n_channels, -1).T if first else x.reshape(-1, image.n_channels)
    # Where a window is outside, it meets the last row.
    padded = np.concatenate([x, np.zeros((1, image.n_channels))])
    parts = padded[places].reshape(*places.shape, groups, depth)
    weights = kernel.reshape(-1, depth, groups, filters // groups)
    y = np.einsum("otgd,tdgf->ogf", parts, weights).reshape(len(places), filters)
    return y.T.ravel() if first else y.ravel()


def _tapped(places, kernel, shape: Sizes, groups: int, first: bool) -> nengo.Sparse:
    """A convolution whose taps meet the input at `places`."""
    inner, channels = space(shape, first)
    *_, depth, filters = kernel.shape
    output, tap, channel, out = np.indices((*places.shape, depth, filters))
    position = places[output, tap]
    # Filters of a group read the channels of the same group.
    source = channel + depth * (out // (filters // groups))
    weights = kernel.reshape(-1, depth, filters)[tap, channel, out]
    n, m = len(places), math.prod(inner)
    rows = out * n + output if first else output * filters + out
    columns = source * m + position if first else position * channels + source
    inside = position >= 0
    return nengo.Sparse(
        (n * filters, m * channels),
        indices=np.stack([rows[inside], columns[inside]], axis=1),
        init=weights[inside],
    )


def _windows(shape, size, strides, padding, dilation) -> np.ndarray:
    axes = zip(shape, size, strides, dilation, strict=True)
    return _crossed([(n, _axis(n, k, s, d, padding)) for n, k, s, d in axes])


def _crossed(axes: Sequence[tuple[int, np.ndarray]]) -> np.ndarray:
    """`places` of flat positions, from those of each axis and its length."""

    def cross(left, right):
        (n, a), (m, b) = left, right
        a, b = a[:, None, :, None], b[None, :, None, :]
        both = np.where((a < 0) | (b < 0), -1, a * m + b)
        return n * m, both.reshape(both.shape[0] * both.shape[1], -1)

    return reduce(cross, axes)[1]


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


def _transposed_axis(length, size, stride, padding, extra, dilation) -> np.ndarray:
    """Read from Keras itself: where the number of each tap appears."""
    taps = np.arange(1.0, size + 1).reshape(size, 1, 1)
    response = ops.conv_transpose(
        ops.convert_to_tensor(np.eye(length)[..., None], dtype="float32"),
        ops.convert_to_tensor(taps, dtype="float32"),
        *(stride, padding, extra, "channels_last", dilation),
    )
    numbers = np.rint(ops.convert_to_numpy(response)[..., 0]).astype(int)
    position, output = np.nonzero(numbers)
    places = np.full((numbers.shape[1], size), -1)
    places[output, numbers[position, output] - 1] = position
    return places
