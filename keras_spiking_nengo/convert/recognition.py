"""Which activation of Keras a function is: the same object, or the same numbers.

A name tells nothing: a function of one's own may be called `relu`, and `tf.nn.relu` is
not Keras's. What is none of Keras's functions is tried on numbers of both signs, small
and large, and is the function that gives the same ones.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

import keras
import numpy as np
from keras import activations, ops

__all__ = ["Recognised", "recognised"]

# Of two that are equal, as elu and celu are by default, the shorter name counts.
# What is there beside functions of one tensor.
_OTHERS = frozenset(("deserialize", "get", "serialize", "threshold"))
_KNOWN = tuple(
    dict.fromkeys(
        getattr(activations, name)
        for name in sorted(dir(activations), key=lambda name: (len(name), name))
        if not name.startswith("_")
        and name not in _OTHERS
        and callable(getattr(activations, name))
    )
)
# Keras's functions with the defaults of other libraries.
_VARIANTS = (
    partial(activations.gelu, approximate=True),
    partial(activations.leaky_relu, negative_slope=0.01),
)
_FAR = np.array([20.0, 1e2, 1e3, 1e4, 1e6])
_GRID = np.concatenate([-_FAR, np.linspace(-8, 8, 129), _FAR])[None, :]
# Of float32, in which the numbers are.
_RTOL, _ATOL = 1e-5, 1e-6


@dataclass(frozen=True, eq=False)
class Recognised:
    """An activation of Keras.

    Attributes:
        function: in `keras.activations`.
        arguments: beside the tensor, by name.
    """

    function: Callable
    arguments: Mapping[str, Any] = field(default_factory=dict)


def recognised(function: Any) -> Recognised | None:
    """The activation of Keras that a function is, or None.

    Args:
        function: of one tensor. A layer is no function.

    Example:
        >>> recognised(lambda x: keras.ops.maximum(x, 0)).function.__name__
        'relu'
        >>> recognised(lambda x: keras.ops.clip(x, 0, 0.5)) is None
        True
    """
    inner = function.func if isinstance(function, partial) else None
    if any(inner is known for known in _KNOWN) and not function.args:
        return Recognised(function.func, function.keywords)
    if any(function is known for known in _KNOWN):
        return Recognised(function)
    if isinstance(function, keras.Operation) or not callable(function):
        return None
    values = _tried(function)
    if values is None:
        return None
    same = (known for known, numbers in _table() if _equal(values, numbers))
    known = next(same, None)
    if isinstance(known, partial):
        return Recognised(known.func, known.keywords)
    return None if known is None else Recognised(known)


@cache
def _table() -> list[tuple[Callable, np.ndarray]]:
    """Each of Keras's functions, with what it makes of the grid."""
    rows = ((known, _tried(known)) for known in (*_KNOWN, *_VARIANTS))
    return [(known, numbers) for known, numbers in rows if numbers is not None]


def _tried(function: Callable) -> np.ndarray | None:
    """What a function makes of the grid; None where it makes nothing."""
    x = ops.convert_to_tensor(_GRID, dtype="float32")
    try:
        values = np.asarray(ops.convert_to_numpy(function(x)), float)
    # Code of the user's, which may take something else than a tensor, and say so by
    # any error.
    except Exception:
        return None
    return values if values.shape == _GRID.shape else None


def _equal(values: np.ndarray, numbers: np.ndarray) -> bool:
    return np.allclose(values, numbers, _RTOL, _ATOL, equal_nan=True)
