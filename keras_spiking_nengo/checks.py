"""Checks of arguments: each returns what is right, and says of the rest what is wrong.

Errors name the argument, what was received, and what is possible.
"""

import math
from collections.abc import Collection
from typing import Any, TypeVar

import numpy as np

__all__ = [
    "check_fits",
    "checked_dt",
    "checked_number",
    "checked_seed",
    "is_number",
    "one_of",
    "positive",
]

Choice = TypeVar("Choice")


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
    if high < math.inf:
        possible = f"from {low:g} to {high:g}"
    else:
        possible = "a finite number" if low == -math.inf else f"at least {low:g}"
    raise _refused(name, value, possible, unit, advice)


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
    raise _refused(name, value, "above 0, and finite", unit, advice)


def _refused(name, value, possible: str, unit: str, advice: str) -> ValueError:
    unit, advice = (f" {text}" if text else "" for text in (unit, advice))
    return ValueError(f"{name} is {possible}{unit}; received {value!r}.{advice}")


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
    raise ValueError(f"{name} is one of {tuple(possible)}; received {value!r}.")


def checked_dt(dt: float) -> float:
    """`dt` as a float.

    Raises:
        ValueError: unless it is a positive, finite number of seconds.
    """
    if not is_number(dt) or not 0 < dt < math.inf:
        raise ValueError(
            f"dt is the length of a step in seconds, above 0; received {dt!r}. Nengo's"
            " default is dt=0.001."
        )
    return float(dt)


def checked_seed(seed: int | None) -> int | None:
    """`seed` as it is.

    Raises:
        ValueError: unless it is None or an integer that NumPy takes.
    """
    whole = isinstance(seed, int | np.integer) and not isinstance(seed, bool)
    if seed is not None and not (whole and 0 <= seed < 2**32):
        raise ValueError(
            f"seed is an integer from 0 to 2**32 - 1, or None; received {seed!r}."
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
