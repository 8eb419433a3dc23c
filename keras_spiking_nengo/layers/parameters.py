"""Physical parameters of a cell: checked, and made trainable on request."""

import math
from collections.abc import Iterable, Mapping

import keras
import numpy as np
from keras import ops

from keras_spiking_nengo.dynamics import surrogates

__all__ = [
    "Trained",
    "check_fits",
    "checked_dt",
    "checked_seed",
    "checked_surrogate",
    "checked_trainable",
    "is_number",
]

KINDS = ("shared", "unit")


def is_number(value) -> bool:
    """Whether `value` is a real number; a bool is none."""
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


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


def checked_surrogate(value) -> surrogates.Surrogate | None:
    """A surrogate from itself, its name or its configuration; None is none.

    Raises:
        ValueError: for anything else.
    """
    if isinstance(value, dict):
        value = keras.saving.deserialize_keras_object(value)
    return None if value is None else surrogates.surrogate(value)


def checked_trainable(
    requested: Iterable[str] | Mapping[str, str], possible: Iterable[str], owner: str
) -> dict[str, str]:
    """`requested` as a dict from parameter name to `"shared"` or `"unit"`.

    Raises:
        ValueError: if a name or kind is not possible for `owner`.
    """
    if isinstance(requested, str):
        requested = (requested,)
    if not isinstance(requested, Iterable):
        raise ValueError(
            "trainable_parameters takes names, such as ('tau_rc',), or a dict from"
            f" names to 'shared' or 'unit'; received {requested!r}."
        )
    if not isinstance(requested, Mapping):
        requested = dict.fromkeys(requested, "shared")
    possible = tuple(possible)
    for name, kind in requested.items():
        if name not in possible:
            choice = ", ".join(map(repr, possible)) or "none"
            raise ValueError(
                f"{owner} cannot train {name!r}. Its trainable parameters: {choice}."
            )
        if kind not in KINDS:
            raise ValueError(
                f"trainable_parameters[{name!r}] must be 'shared' (one value for the"
                f" layer) or 'unit' (one per neuron); received {kind!r}."
            )
    return dict(requested)


class Trained:
    """A parameter of `cell` as a weight.

    Args:
        cell: the built cell that owns the weight.
        name: of the parameter; the weight is called so, or `log_<name>`.
        value: float or array. Initial value.
        shape: of the weight.
        positive: train the logarithm, so that steps are relative and the value
            stays above zero.
    """

    def __init__(self, cell, name: str, value, shape: tuple, positive: bool):
        start = np.broadcast_to(np.log(value) if positive else value, shape)
        self.positive = positive
        self.weight = cell.add_weight(
            name=f"log_{name}" if positive else name,
            shape=shape,
            dtype=cell.state_dtype,
            initializer=lambda shape, dtype: ops.convert_to_tensor(start, dtype=dtype),
            autocast=False,
        )

    def value(self):
        """The parameter's present value, a tensor."""
        weight = ops.convert_to_tensor(self.weight)
        return ops.exp(weight) if self.positive else weight
