"""Checks of arguments: each returns what is right, and says of the rest what is wrong.

Errors name the argument, what was received, and what is possible.
"""

import math
import os
import reprlib
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any, TypeVar

import keras
import numpy as np

__all__ = [
    "check_fits",
    "check_float",
    "check_kind",
    "check_policy",
    "check_switches",
    "checked_array",
    "checked_count",
    "checked_dt",
    "checked_items",
    "checked_name",
    "checked_number",
    "checked_path",
    "checked_seed",
    "checked_switch",
    "from_keras",
    "is_count",
    "is_number",
    "is_whole",
    "one_of",
    "positive",
    "brief",
]

Choice = TypeVar("Choice")

_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxdict, _SHORT.maxlist = 4, 8, 12
_SHORT.maxtuple, _SHORT.maxset, _SHORT.maxlong = 12, 12, 40
_SHORT.maxstring, _SHORT.maxother = 200, 400


def brief(value: Any) -> str:
    """What was received, for a message: as `repr`, but short, whatever it is.

    Example:
        >>> brief([[[[[[1]]]]]])
        '[[[[[...]]]]]'
    """
    return _SHORT.repr(value)


def is_number(value: Any) -> bool:
    """Whether `value` is a real number; a bool is none."""
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def checked_number(
    name: str,
    value: Any,
    low: float = -math.inf,
    high: float = math.inf,
    unit: str = "",
    advice: str = "",
) -> float:
    """`value` as a float, from `low` to `high`, and finite.

    Args:
        name: of the argument.
        value: what was received.
        low, high: floats. The smallest and the largest possible number.
        unit: of the number, for the message.
        advice: a sentence for the end of the message.

    Raises:
        ValueError: for anything else.

    Example:
        >>> checked_number("share", 1, 0, 1)
        1.0
    """
    if is_number(value) and math.isfinite(value) and low <= value <= high:
        return float(value)
    unit = f" {unit}" if unit else ""
    if high < math.inf:
        possible = f"from {low:g} to {high:g}{unit}"
    elif low == -math.inf:
        possible = f"a finite number{unit}"
    else:
        possible = f"at least {low:g}{unit}, and finite"
    raise _refused(name, value, possible, advice)


def positive(name: str, value: Any, unit: str = "", advice: str = "") -> float:
    """`value` as a float, above 0 and finite.

    Args:
        name, value, unit, advice: as for `checked_number`.

    Raises:
        ValueError: for anything else.

    Example:
        >>> positive("rate", 20, "Hz")
        20.0
    """
    if is_number(value) and 0 < value < math.inf:
        return float(value)
    unit = f" {unit}" if unit else ""
    raise _refused(name, value, f"above 0{unit}, and finite", advice)


def _refused(name, value, possible: str, advice: str) -> ValueError:
    message = f"{name} is {possible}; received {brief(value)}."
    return ValueError(f"{message} {advice}" if advice else message)


def is_count(value: Any) -> bool:
    """Whether it is an integer, of Python or NumPy, of at least 1; True is none."""
    return is_whole(value) and bool(value >= 1)


def checked_count(name: str, value: Any, advice: str = "") -> int:
    """`value` as an int, of at least 1.

    Raises:
        ValueError: for anything else.

    Example:
        >>> checked_count("n_steps", 10)
        10
    """
    if is_count(value):
        return int(value)
    raise _refused(name, value, "an integer of at least 1", advice)


def checked_array(
    name: str,
    value: Any,
    low: float = -math.inf,
    advice: str = "",
    finite: bool = True,
) -> np.ndarray:
    """`value` as an array of floats, from `low` on.

    Args:
        name, value, low, advice: as for `checked_number`.
        finite: whether infinite numbers, NaN and an empty array are refused.

    Raises:
        ValueError: for anything else.

    Example:
        >>> checked_array("delay", [1, 2], low=0).tolist()
        [1.0, 2.0]
    """
    try:
        raw = np.asarray(value)
        # What NumPy makes numbers of, but nobody means: "1", None and dates.
        numbers = np.asarray(raw, float) if raw.dtype.kind in "biufV" else None
    except (TypeError, ValueError):
        numbers = None
    if numbers is not None and (not finite or _are_finite(numbers, low)):
        return numbers
    least = "" if low == -math.inf else f" of at least {low:g}"
    kind = "a finite number" if finite else "a number"
    raise _refused(name, value, f"{kind}{least}, or an array of them", advice)


def _are_finite(numbers: np.ndarray, low: float) -> bool:
    return bool(numbers.size and np.all(np.isfinite(numbers) & (numbers >= low)))


def is_whole(value: Any) -> bool:
    """Whether it is an integer, of Python or NumPy; True is none."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def one_of(name: str, value: Choice, possible: Collection[Choice]) -> Choice:
    """`value`, if it is among what is possible.

    Raises:
        ValueError: if it is not.

    Example:
        >>> one_of("mode", "rate", ("rate", "spikes"))
        'rate'
    """
    # By equality of the same type: True is no 1, and an array is nothing of a list.
    if any(type(value) is type(item) and value == item for item in possible):
        return value
    raise ValueError(f"{name} is one of {tuple(possible)}; received {brief(value)}.")


def checked_dt(dt: float) -> float:
    """`dt` as a float.

    Raises:
        ValueError: unless it is a positive, finite number of seconds.
    """
    if not is_number(dt) or not 0 < dt < math.inf:
        raise ValueError(
            "dt is the length of a step in seconds, above 0; received"
            f" {brief(dt)}. Nengo's default is dt=0.001."
        )
    return float(dt)


def checked_seed(seed: int | None) -> int | None:
    """`seed` as it is.

    Raises:
        ValueError: unless it is None or an integer that NumPy takes.
    """
    if seed is not None and not (is_whole(seed) and 0 <= seed < 2**32):
        raise ValueError(
            f"seed is an integer from 0 to 2**32 - 1, or None; received {brief(seed)}."
        )
    return None if seed is None else int(seed)


def check_fits(name: str, value: np.ndarray, features: tuple[int, ...]) -> None:
    """Refuses numbers that do not meet the features.

    Raises:
        ValueError: if they cannot be broadcast to their shape.
    """
    try:
        np.broadcast_to(value, features)
    except ValueError:
        raise ValueError(
            f"{name} has shape {value.shape}, which does not fit the features"
            f" {features}. Pass a number, or an array of that shape."
        ) from None


def checked_switch(name: str, value: Any, possible: str = "True or False") -> bool:
    """`value` as a bool: True or False, or 1 or 0 in their place.

    Raises:
        ValueError: for anything else.

    Example:
        >>> checked_switch("strict", np.bool_(True))
        True
    """
    if isinstance(value, bool | np.bool_) or (is_whole(value) and value in (0, 1)):
        return bool(value)
    raise _refused(name, value, possible, "")


def check_switches(**values: Any) -> None:
    """Refuses what is no switch, by its name.

    Raises:
        ValueError: for the first that is neither True nor False.
    """
    for name, value in values.items():
        checked_switch(name, value)


def check_kind(
    name: str, value: Any, kinds: type | tuple[type, ...], possible: str
) -> None:
    """Refuses what is not of some classes.

    Args:
        name: of the argument.
        value: what was received.
        kinds: the classes.
        possible: what it may be, for the message.

    Raises:
        TypeError: if it is of none of them.
    """
    if not isinstance(value, kinds):
        raise TypeError(
            f"{name} is {possible}; received {value!r} of type {type(value).__name__}."
        )


def checked_path(name: str, value: Any) -> Path:
    """`value` as a path.

    Raises:
        TypeError: unless it is a string or a path.

    Example:
        >>> checked_path("path", "model.onnx").suffix
        '.onnx'
    """
    check_kind(name, value, (str, os.PathLike), "the path of a file or folder")
    return Path(value)


def checked_name(name: str, value: Any) -> str | None:
    """`value`, if it is a name, or None for that of the class.

    Raises:
        TypeError: if it is neither.
    """
    check_kind(name, value, (str, type(None)), "a name, or None")
    return value


def checked_items(name: str, value: Any, possible: str) -> tuple:
    """Items of what may be gone over; a string is one of them.

    Args:
        name: of the argument.
        value: what was received.
        possible: what it may be, for the message.

    Raises:
        TypeError: if it cannot be gone over.

    Example:
        >>> checked_items("layers", "hidden", "names of layers")
        ('hidden',)
    """
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, Iterable) or isinstance(value, bytes | type):
        raise TypeError(f"{name} is {possible}; received {value!r}.")
    return tuple(value)


# --- what Keras has a say in ------------------------------------------------------


def from_keras(name: str, get: Callable[[Any], Any], value: Any) -> Any:
    """What Keras makes of `value`, with `keras.initializers.get` and its like.

    Raises:
        ValueError: for what Keras does not know.

    Example:
        >>> from_keras("kernel_regularizer", keras.regularizers.get, None) is None
        True
    """
    kind = get.__module__.rpartition(".")[2].removesuffix("s")
    possible = f"what keras.{kind}s.get takes: its name, a {kind}, or None"
    if isinstance(value, type | np.ndarray):
        raise _refused(name, value, possible, "")
    try:
        made = get(value)
    except (KeyError, TypeError, ValueError) as error:
        raise _refused(name, value, possible, "") from error
    seed = getattr(made, "seed", None)
    if is_whole(seed):
        try:
            keras.random.uniform((), seed=seed)
        except (OverflowError, ValueError) as error:
            advice = "Seeds of JAX are below 2**32, and none is below 0."
            raise _refused(f"The seed of {name}", seed, "an integer", advice) from error
    return made


def check_policy(dtype: Any) -> None:
    """Refuses a dtype, or policy, in which nothing can be computed here.

    Raises:
        ValueError: for what is no dtype, or none of real numbers.
    """
    advice = (
        "Possible are None, 'float32', 'float64', 'mixed_float16', 'mixed_bfloat16' and"
        " other floats."
    )
    possible = "a dtype of real numbers, or a keras.dtype_policies.DTypePolicy"
    try:
        policy = keras.dtype_policies.get(dtype)
    except (TypeError, ValueError) as error:
        raise _refused("dtype", dtype, possible, advice) from error
    for kind in (policy.compute_dtype, policy.variable_dtype):
        if kind is not None and "float" not in kind:
            raise _refused("dtype", dtype, possible, advice)


def check_float(name: str, dtype: Any, advice: str = "") -> None:
    """Refuses tensors whose dtype is no real number: complex ones, and text.

    Raises:
        ValueError: for them.
    """
    kind = str(getattr(dtype, "name", dtype))
    if any(word in kind for word in ("complex", "str", "bytes", "object")):
        raise _refused(name, kind, "of real numbers", advice)
