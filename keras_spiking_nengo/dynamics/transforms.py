"""Linear transforms of one step, for any number of leading axes.

Reference:
    Dumoulin and Visin (2016), *A guide to convolution arithmetic for deep
    learning*, arXiv:1603.07285.
"""

import math

import nengo
from keras import ops

__all__ = ["convolve", "matrix_product", "products", "sparse"]

# Up to this many columns a product is a sum that fuses with what is around it.
_NARROW = 4


def matrix_product(matrix, x):
    """`(..., m)` from a matrix `(m, n)`, or `(..., m, n)`, and `x` of `(..., n)`."""
    if len(matrix.shape) > 2:
        if matrix.shape[-2] == 1:
            return _total(matrix[..., 0, :] * x)
        return ops.einsum("...mn,...n->...m", matrix, x)
    # XLA would transpose the matrix for a single vector, in each step of a loop.
    return ops.einsum("...n,mn->...m", x, matrix)


def products(matrices, x):
    """`(..., k, m)` from matrices `(k, m, n)` and as many inputs `(..., k, n)`."""
    if matrices.shape[-1] <= _NARROW:
        terms = [matrices[..., j] * x[..., j, None] for j in range(matrices.shape[-1])]
        return sum(terms[1:], terms[0])
    if matrices.shape[-2] == 1:
        return _total(matrices[..., 0, :] * x)
    return ops.einsum("kmn,...kn->...km", matrices, x)


def _total(x):
    """Sums over the last axis, `(..., 1)`: as a product, which XLA does in parallel."""
    return ops.matmul(x, ops.ones((x.shape[-1], 1), dtype=x.dtype))


def sparse(data, rows, columns, size: int, x):
    """`(..., size)` from a matrix's entries at `rows` and `columns`, and `x`."""
    terms = ops.take(x, columns, axis=-1) * data
    lead = ops.shape(terms)[:-1]
    flat = ops.transpose(ops.reshape(terms, (-1, len(rows))))
    total = ops.segment_sum(flat, rows, num_segments=size)
    return ops.reshape(ops.transpose(total), (*lead, size))


def convolve(conv, kernel, x):
    """What nengo's convolution makes of a flat `x` of `(..., size)`.

    Args:
        conv: `nengo.Convolution` or `nengo.ConvolutionTranspose`.
        kernel: `(*kernel_size, channels_in, channels_out)`.
    """
    lead = ops.shape(x)[:-1]
    images = ops.reshape(x, (-1, *conv.input_shape.shape))
    n = conv.dimensions
    if not conv.channels_last:
        images = ops.transpose(images, (0, *range(2, n + 2), 1))
    if isinstance(conv, nengo.ConvolutionTranspose):
        y = _transposed_convolution(conv, kernel, images)
    else:
        y = ops.conv(images, kernel, conv.strides, conv.padding, "channels_last")
    if not conv.channels_last:
        y = ops.transpose(y, (0, n + 1, *range(1, n + 1)))
    return ops.reshape(y, (*lead, math.prod(conv.output_shape.shape)))


def _transposed_convolution(conv, kernel, images):
    """Zeros between the inputs, then a convolution with the kernel mirrored.

    Padding is nengo's, whose larger half comes first.
    """
    sizes, n = conv.output_shape.spatial_shape, conv.dimensions
    for axis, stride in enumerate(conv.strides, start=1):
        shape = images.shape
        images = ops.expand_dims(images, axis + 1)
        width = [(0, 0)] * (n + 3)
        width[axis + 1] = (0, stride - 1)
        images = ops.pad(images, width)
        images = ops.reshape(
            images, (-1, *shape[1:axis], shape[axis] * stride, *shape[axis + 1 :])
        )
    pads = [_transposed_padding(conv, axis, size) for axis, size in enumerate(sizes)]
    crop = tuple(slice(0, size) for size in sizes)
    images = images[(slice(None), *crop)]
    images = ops.pad(images, [(0, 0), *pads, (0, 0)])
    flipped = ops.flip(kernel, axis=tuple(range(n)))
    y = ops.conv(images, flipped, 1, "valid", "channels_last")
    return y[(slice(None), *crop)]


def _transposed_padding(conv, axis: int, size: int) -> tuple[int, int]:
    k = conv.kernel_size[axis]
    total = 2 * (k - 1)
    if conv.padding == "same":
        spread = (conv.input_shape.spatial_shape[axis] - 1) * conv.strides[axis] + 1
        total = min(max(size + k - 1 - spread, 0), total)
    return -(-total // 2), total // 2
