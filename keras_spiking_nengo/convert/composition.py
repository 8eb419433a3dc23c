"""Products of Nengo's transforms, as far as they are one transform again.

`D = diag(d)` before or after another transform `T` scales its columns or rows:

    (T D)[i, j] = T[i, j] d[j]        (D T)[i, j] = d[i] T[i, j]

A convolution stays one where `d` is the same all over a channel; then its kernel is
scaled. What a transform makes of a constant vector `b` is the vector `T b`.
"""

from typing import Any, TypeAlias

import nengo
import numpy as np

from keras_spiking_nengo import serialization
from keras_spiking_nengo.convert.windows import convolved

__all__ = [
    "NoProductError",
    "composed",
    "diagonal_of",
    "has_matrix",
    "image_of",
    "matrix_of",
]

Linear: TypeAlias = nengo.transforms.Transform


class NoProductError(Exception):
    """There is no such product in Nengo's terms."""


def composed(second: Linear | None, first: Linear | None) -> Linear | None:
    """`second` after `first` as one transform; None is the identity.

    Raises:
        NoProductError: if neither is diagonal, or it is no transform of their kind.
    """
    if first is None or second is None:
        return first or second
    d = diagonal_of(second)
    if d is not None:
        return _rescaled(first, d, rows=True)
    d = diagonal_of(first)
    if d is not None:
        return _rescaled(second, d, rows=False)
    raise NoProductError("Neither transform is diagonal.")


def image_of(transform: Linear | None, x: np.ndarray) -> np.ndarray:
    """What a transform makes of a vector.

    Raises:
        NoProductError: if its numbers are not known.
    """
    if transform is None:
        return x
    d = diagonal_of(transform)
    if d is not None:
        return d * x
    if has_matrix(transform):
        return np.asarray(transform.init, float) @ x
    if isinstance(transform, nengo.Sparse):
        return _scipy(transform) @ x
    if _is_convolution(transform):
        return convolved(transform, x)
    raise NoProductError(f"{transform!r} is not known.")


def matrix_of(transform: Linear) -> np.ndarray:
    """All numbers of a transform, `(size_out, size_in)`.

    Raises:
        NoProductError: if they are not known.
    """
    d = diagonal_of(transform)
    if d is not None:
        return np.diag(d)
    if has_matrix(transform):
        return np.asarray(transform.init, float)
    if isinstance(transform, nengo.Sparse):
        return _scipy(transform).toarray()
    ones = np.eye(transform.size_in)
    return np.stack([image_of(transform, one) for one in ones], axis=1)


def has_matrix(transform) -> bool:
    """Whether a transform is a matrix that is written out."""
    return isinstance(transform, nengo.Dense) and np.ndim(_numbers(transform)) == 2


def _is_convolution(transform) -> bool:
    return isinstance(transform, nengo.Convolution) and isinstance(
        transform.init, np.ndarray
    )


def _numbers(transform: nengo.Dense) -> Any:
    """The transform's weights, unless they are still to be drawn."""
    drawn = isinstance(transform.init, nengo.dists.Distribution)
    return None if drawn else np.asarray(transform.init, float)


def diagonal_of(transform) -> np.ndarray | None:
    """The diagonal of a transform that has nothing else, else None."""
    if isinstance(transform, nengo.transforms.NoTransform):
        return np.ones(transform.size_in)
    numbers = _numbers(transform) if isinstance(transform, nengo.Dense) else None
    if numbers is None or numbers.ndim == 2:
        return None
    return np.broadcast_to(numbers, transform.size_in)


def _scipy(transform: nengo.Sparse):
    """The matrix of a sparse transform, in scipy's form."""
    matrix = transform.sample()
    return matrix if hasattr(matrix, "tocsr") else matrix.allocate().tocsr()


def _rescaled(transform: Linear, d: np.ndarray, rows: bool) -> Linear:
    """`diag(d) T`, or `T diag(d)`."""
    diagonal = diagonal_of(transform)
    if diagonal is not None:
        return nengo.Dense((d.size, d.size), init=diagonal * d)
    if has_matrix(transform):
        assert isinstance(transform, nengo.Dense)
        scale = d[:, None] if rows else d
        return nengo.Dense(transform.shape, init=scale * _numbers(transform))
    if isinstance(transform, nengo.Sparse):
        matrix = _scipy(transform).tocoo()
        where = matrix.row if rows else matrix.col
        indices = np.stack([matrix.row, matrix.col], axis=1)
        return nengo.Sparse(
            transform.shape, indices=indices, init=matrix.data * d[where]
        )
    if _is_convolution(transform):
        assert isinstance(transform, nengo.Convolution)
        return _scaled_convolution(transform, d, rows)
    raise NoProductError(f"{transform!r} is not known.")


def _scaled_convolution(
    transform: nengo.Convolution, d: np.ndarray, rows: bool
) -> nengo.Convolution:
    image = transform.output_shape if rows else transform.input_shape
    values = d.reshape(image.shape)
    values = np.moveaxis(values, -1 if transform.channels_last else 0, -1)
    values = values.reshape(-1, image.n_channels)
    if np.any(values != values[0]):
        raise NoProductError("Elements of one channel differ.")
    kernel = np.asarray(transform.init, float)
    scale = values[0]
    if not rows:
        # Filters of a group read the channels of the same group.
        depth, filters = kernel.shape[-2:]
        groups = image.n_channels // depth
        scale = np.repeat(scale.reshape(groups, depth).T, filters // groups, axis=1)
    return serialization.altered(transform, init=kernel * scale)
