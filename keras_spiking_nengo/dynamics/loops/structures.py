"""Nested structures as flat lists of tensors, and back again."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

__all__ = [
    "floats_of",
    "is_float",
    "product",
    "slope_of_kernel",
    "tensors_of",
    "with_product",
]


def tensors_of(structure) -> tuple[list, Callable[[Sequence], Any]]:
    """The tensors of a structure, and a function that puts others in their places.

    All else in the structure, such as numbers, NumPy arrays and None, stays in it as
    it is.
    """
    leaves = keras.tree.flatten(structure)
    places = [i for i, leaf in enumerate(leaves) if ops.is_tensor(leaf)]

    def with_tensors(tensors: Sequence):
        filled = list(leaves)
        for place, tensor in zip(places, tensors, strict=True):
            filled[place] = tensor
        return keras.tree.pack_sequence_as(structure, filled)

    return [leaves[place] for place in places], with_tensors


def is_float(x) -> bool:
    """Whether a tensor can have a gradient."""
    return "float" in keras.backend.standardize_dtype(x.dtype)


def floats_of(values: Sequence, like: Sequence) -> list:
    """Those of `values` whose counterparts in `like` are floating point tensors."""
    return [v for v, x in zip(values, like, strict=True) if is_float(x)]


def with_product(step):
    """A step whose last parameter multiplies the last tensor of the next state."""

    def multiplying(parameters, x, state):
        *parameters, kernel = parameters
        y, new = step(parameters, x, state)
        return y, [*new[:-1], product(new[-1], kernel)]

    return multiplying


def product(x, kernel):
    """`x (batch, *features) @ kernel`, with the features in a row."""
    if len(x.shape) == 2:
        return ops.matmul(x, kernel)
    flat = ops.reshape(x, (-1, kernel.shape[0]))
    return ops.reshape(ops.matmul(flat, kernel), ops.shape(x))


def slope_of_kernel(kernel, x, upstream):
    """Gradient of a kernel from all its products, of `x`, and their gradients."""
    x, upstream = (ops.reshape(a, (-1, kernel.shape[0])) for a in (x, upstream))
    return ops.matmul(ops.transpose(x), upstream)
