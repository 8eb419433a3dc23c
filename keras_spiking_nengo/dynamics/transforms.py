"""Linear transforms of one step, for any number of leading axes.

Reference:
    Dumoulin and Visin (2016), *A guide to convolution arithmetic for deep
    learning*, arXiv:1603.07285.
"""

import math

import nengo
from keras import ops

__all__ = ["convolve", "product", "products"]

# Up to this many columns a product is a sum that fuses with what is around it.
_NARROW = 4


def product(matrix, x):
    """`(..., m)` from a matrix `(m, n)`, or `(..., m, n)`, and `x` of `(..., n)`."""
    if len(matrix.shape) > 2:
        return ops.einsum("...mn,...n->...m", matrix, x)
    return ops.matmul(x, ops.transpose(matrix))


def products(matrices, x):
    """`(..., k, m)` from matrices `(k, m, n)` and as many inputs `(..., k, n)`."""
    if matrices.shape[-1] <= _NARROW:
        terms = [matrices[..., j] * x[..., j, None] for j in range(matrices.shape[-1])]
        return sum(terms[1:], terms[0])
    if matrices.shape[-2] == 1:
        return ops.sum(matrices[..., 0, :] * x, axis=-1, keepdims=True)
    return ops.einsum("kmn,...kn->...km", matrices, x)


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
        y = _transposed(conv, kernel, images)
    else:
        y = ops.conv(
            images,
            kernel,
            strides=conv.strides,
            padding=conv.padding,
            data_format="channels_last",
        )
    if not conv.channels_last:
        y = ops.transpose(y, (0, n + 1, *range(1, n + 1)))
    return ops.reshape(y, (*lead, math.prod(conv.output_shape.shape)))


def _transposed(conv, kernel, images):
    y = ops.conv_transpose(
        images,
        ops.swapaxes(kernel, -1, -2),
        strides=conv.strides,
        padding=conv.padding,
        data_format="channels_last",
    )
    # Keras may give less than nengo's size at the far edge: those are zeros.
    sizes = conv.output_shape.spatial_shape
    missing = [n - m for n, m in zip(sizes, y.shape[1:-1], strict=True)]
    if any(missing):
        y = ops.pad(y, [(0, 0), *((0, max(k, 0)) for k in missing), (0, 0)])
        y = y[(slice(None), *(slice(0, n) for n in sizes))]
    return y
