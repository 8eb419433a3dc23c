"""What a user gives as data, matched to the inputs of a model."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from keras_spiking_nengo.checks import check_float
from keras_spiking_nengo.models.calls import Calls

__all__ = ["arrays_of", "matched", "matched_arrays"]

Shapes = Mapping[str, tuple[int | None, ...]]


def arrays_of(
    calls: Calls, x: Any, argument: str = "x", finite: bool = False
) -> list[np.ndarray]:
    """One array for each of the inputs of a model, in order.

    Args:
        calls: of the model.
        x: array; or a list, tuple or dict of them by the names of the inputs.
        argument: what the user knows `x` by.
        finite: whether infinite numbers and NaN are refused.

    Raises:
        ValueError: if their number, names, shapes or items do not fit.

    Example:
        >>> from keras_spiking_nengo.models.calls import calls
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
        >>> (array,) = arrays_of(calls(model), [[1.0, 2.0]])
        >>> array.shape
        (1, 2)
    """
    shapes = {name: tuple(symbol.shape) for name, symbol in calls.inputs.items()}
    return matched_arrays(x, shapes, repr(calls.model.name), argument, finite)


def matched_arrays(
    x: Any, shapes: Shapes, owner: str, argument: str = "x", finite: bool = False
) -> list[np.ndarray]:
    """One array for each of several inputs, in order.

    Args:
        x: as for `arrays_of`.
        shapes: of the inputs by name, with None for what may be any number. The first
            axis is that of items, of which all inputs have the same number.
        owner: whose inputs they are, for the message.
        argument: what the user knows `x` by.
        finite: whether infinite numbers and NaN are refused.

    Raises:
        ValueError: if number, names, shapes or items do not fit.
    """
    values = matched(x, shapes, owner, argument)
    arrays = list(map(_array, values))
    lengths = {len(array) if array.ndim else 0 for array in arrays}
    fit = all(map(_fits, arrays, shapes.values()))
    if not fit or len(lengths) > 1 or 0 in lengths:
        received = ", ".join(str(array.shape) for array in arrays)
        raise _error(argument, owner, shapes, f"the shapes {received}")
    for name, array in zip(shapes, arrays, strict=True):
        check_float(f"{argument}, for {name!r} of {owner},", array.dtype)
        if finite and not np.all(np.isfinite(array)):
            raise ValueError(
                f"{argument} has values that are not finite, for {name!r} of {owner}."
                " Replace them before."
            )
    return arrays


def matched(x: Any, shapes: Shapes, owner: str, argument: str = "x") -> list:
    """What is given for each of several inputs, in order, as it is.

    Args:
        x, shapes, owner, argument: as for `matched_arrays`.

    Raises:
        ValueError: if number or names do not fit.
    """
    if x is None and not shapes:
        return []
    if isinstance(x, Mapping):
        if set(x) != set(shapes):
            raise _error(argument, owner, shapes, f"the keys {sorted(map(str, x))}")
        return [x[name] for name in shapes]
    # A list of numbers is data of one input, a list of arrays is not.
    several = isinstance(x, list | tuple) and len(x) and hasattr(x[0], "shape")
    values = list(x) if several else [x]
    if x is None or len(values) != len(shapes):
        received = "None" if x is None else f"{len(values)} arrays"
        raise _error(argument, owner, shapes, received)
    return values


def _array(value) -> np.ndarray:
    tensor = keras.ops.is_tensor(value)
    return np.asarray(keras.ops.convert_to_numpy(value) if tensor else value)


def _fits(array: np.ndarray, shape: tuple) -> bool:
    pairs = zip(shape[1:], array.shape[1:], strict=False)
    return array.ndim == len(shape) and all(m in (None, n) for m, n in pairs)


def _error(argument, owner, shapes: Shapes, received: str) -> ValueError:
    wanted = [
        f"{name!r} ({', '.join('any' if n is None else str(n) for n in shape)})"
        for name, shape in shapes.items()
    ]
    how = "an array" if len(wanted) == 1 else "a dict by name, or a list in this order"
    return ValueError(
        f"{argument} does not fit the inputs of {owner}: {', '.join(wanted) or 'none'}."
        f" Give {how}, with the same number of items for all, at least one; received"
        f" {received}."
    )
