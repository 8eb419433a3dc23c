"""Checks of arguments: each returns what is right, and says of the rest what is wrong.

Errors name the argument, what was received, and what is possible.
"""

import math
import reprlib
from collections.abc import Collection
from typing import Any, TypeVar

import numpy as np

__all__ = [
    "check_fits",
    "checked_array",
    "checked_count",
    "checked_dt",
    "checked_number",
    "checked_seed",
    "is_count",
    "is_number",
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
    return _is_whole(value) and bool(value >= 1)


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
    name: str, value: Any, low: float = -math.inf, advice: str = ""
) -> np.ndarray:
    """`value` as an array of floats, from `low` on, and finite.

    Raises:
        ValueError: for anything else, an empty array included.

    Example:
        >>> checked_array("delay", [1, 2], low=0).tolist()
        [1.0, 2.0]
    """
    try:
        numbers = np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        numbers = np.array(math.nan)
    if numbers.size and np.all(np.isfinite(numbers) & (numbers >= low)):
        return numbers
    least = "" if low == -math.inf else f" of at least {low:g}"
    possible = f"a finite number{least}, or an array of them"
    raise _refused(name, value, possible, advice)


def _is_whole(value) -> bool:
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
    if seed is not None and not (_is_whole(seed) and 0 <= seed < 2**32):
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
