"""Weights rounded to a few bits.

A channel of weights `w` becomes integers `k` times one scale `s`. With `b` bits,

    s = max|w| / (2^(b - 1) - 1)        k = round(w / s)        q = k s

Halves are rounded to the even integer, and the range is symmetric: 0 stays 0, and the
largest weight what it is. The gradient goes straight through, `dL/dw = dL/dq`, as if
`q` were `w`: no weight is out of range, so there is nothing to clip.

References:
    Bengio, Léonard and Courville (2013), *Estimating or propagating gradients through
    stochastic neurons for conditional computation*, arXiv:1308.3432; Jacob et al.
    (2018), *Quantization and training of neural networks for efficient
    integer-arithmetic-only inference*, CVPR, arXiv:1712.05877.
"""

from typing import Any

from keras import ops

__all__ = ["integers_of", "scales_of", "straight_through"]

# Of a channel that counts as zeros: differences of such numbers have no digits left.
_SMALLEST = 1e-30


def scales_of(w: Any, bits: int, axes: tuple[int, ...] | None) -> Any:
    """`s` of each channel; 1 where all of its weights are 0.

    Args:
        w: weights.
        bits: of an integer, with its sign.
        axes: along which the weights of a channel lie, or None for all.

    Returns:
        A tensor of the rank of `w`.
    """
    largest = ops.max(ops.abs(w), axis=axes, keepdims=True)
    # A product, as compilers may make one of a division by a constant.
    s = largest * (1.0 / (2 ** (bits - 1) - 1))
    return ops.where(s > _SMALLEST, s, ops.ones_like(s))


def integers_of(w: Any, s: Any) -> Any:
    """`k`, as floats."""
    return ops.round(w / s)


def straight_through(w: Any, bits: int, axes: tuple[int, ...] | None) -> Any:
    """`q`, with the gradient of `w`.

    Args:
        w, bits, axes: as for `scales_of`.

    Example:
        >>> w = ops.convert_to_tensor([[0.7, -0.1], [0.26, 0.3]])
        >>> [[round(float(x), 3) for x in row] for row in straight_through(w, 3, (0,))]
        [[0.7, -0.1], [0.233, 0.3]]
    """
    s = scales_of(w, bits, axes)
    q = integers_of(w, s) * s
    # Exactly q: it is 0, or within a factor of 2 of w, so that w - q has no error.
    return w - ops.stop_gradient(w - q)
