"""A user's function of one point, computed for many points at once.

Nengo calls the function of a connection with one evaluation point after the other. Here
it is called once, with something that stands for all points: what it does with that is
done for each of them. Only what NumPy does element by element can be done with it;
whatever else the function tries raises an error, and the points take their turns.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

__all__ = ["Points", "at_once"]


class Points(NDArrayOperatorsMixin):
    """An array for each of several points.

    Args:
        values: array, its first axis that of the points.
    """

    def __init__(self, values: np.ndarray):
        self.values = values

    def __len__(self) -> int:
        if self.values.ndim == 1:
            raise TypeError("a number has no length")
        return self.values.shape[1]

    def __getitem__(self, key) -> "Points":
        if not isinstance(key, int | np.integer | slice) or self.values.ndim != 2:
            raise TypeError(f"{key!r} is not looked up for all points at once")
        return Points(self.values[:, key])

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __bool__(self):
        raise TypeError("what is true differs from point to point")

    def __array__(self, dtype=None, copy=None):
        raise TypeError("many points are no array of one")

    def __pow__(self, other) -> "Points":
        return _raised(self, other)

    def __rpow__(self, other) -> "Points":
        return _raised(other, self)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs, **options):
        if method != "__call__" or options or ufunc.signature or ufunc.nout != 1:
            return NotImplemented
        if not all(isinstance(x, Points | int | float | np.ndarray) for x in inputs):
            return NotImplemented
        return Points(_elementwise(ufunc, inputs))


def _elementwise(ufunc: np.ufunc, inputs) -> np.ndarray:
    """A function of arrays, of which those of points keep their first axis."""
    ndim = max(map(_ndim, inputs))
    if ufunc is np.power and not ndim:
        raise TypeError("of arrays, some powers are products, and of numbers none")
    return ufunc(*(_with_axes(x, ndim) if isinstance(x, Points) else x for x in inputs))


def _raised(base, exponent) -> Points:
    if _ndim(base) or _ndim(exponent):
        return Points(_elementwise(np.power, (base, exponent)))
    # As numbers do it.
    pairs = zip(*_for_all_points(base, exponent), strict=True)
    return Points(np.array([a**b for a, b in pairs]))


def _for_all_points(base, exponent):
    """Numbers of all points, and as often one that is the same for all."""
    n = len((base if isinstance(base, Points) else exponent).values)
    return [x.values if isinstance(x, Points) else [x] * n for x in (base, exponent)]


def _ndim(x) -> int:
    """Of the array of one point."""
    return x.values.ndim - 1 if isinstance(x, Points) else np.ndim(x)


def _with_axes(points: Points, ndim: int) -> np.ndarray:
    """Axes of length one after the first, up to so many for each point."""
    n, *shape = points.values.shape
    return points.values.reshape(n, *[1] * (ndim - len(shape)), *shape)


def at_once(
    function: Callable[[Any], Any], points: np.ndarray, size: int
) -> np.ndarray | None:
    """What `function(point)` is for each point, `(n_points, size)`.

    Args:
        function: of an array `(dimensions,)`.
        points: array `(n_points, dimensions)`.
        size: of what it returns.

    Returns:
        The values, to the last bit; None where all points cannot be done at once, as
        the function decides, or calls what is not NumPy's, or returns what does not
        depend on the point, which may be random.
    """
    try:
        values = _rows_returned(function(Points(points)), len(points))
    except Exception:  # whatever a user's function does with what is no array
        return None
    if values is None or values.shape[1] != size:
        return None
    # Two of them are called as Nengo does: a function may know what it was given.
    for i in {0, len(points) - 1}:
        if not np.array_equal(np.hstack([function(points[i])]).ravel(), values[i]):
            return None
    return values


def _rows_returned(result, n: int) -> np.ndarray | None:
    """Of what was returned, an array `(n, size)`; None where no point is in it."""
    parts = result if isinstance(result, list | tuple) else [result]
    if not any(isinstance(part, Points) for part in parts):
        return None
    columns = []
    for part in parts:
        if not isinstance(part, Points | int | float):
            return None
        column = part.values if isinstance(part, Points) else np.full(n, part)
        if column.ndim > 2 or len(column) != n:
            return None
        columns.append(column.reshape(n, -1))
    return np.hstack(columns)
