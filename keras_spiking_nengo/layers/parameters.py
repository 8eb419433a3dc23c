"""Physical parameters of a cell: checked, and made trainable on request."""

from collections.abc import Iterable, Mapping

import keras
import numpy as np
from keras import ops

from keras_spiking_nengo.dynamics import surrogates

__all__ = ["Trained", "checked_surrogate", "checked_trainable", "weight_from"]

KINDS = ("shared", "unit")


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


def weight_from(cell, name: str, value, dtype: str, trainable: bool = False):
    """A weight of a cell that starts as an array, and keeps its dtype."""
    return cell.add_weight(
        name=name,
        shape=np.shape(value),
        dtype=dtype,
        initializer=lambda shape, dtype: ops.cast(np.asarray(value), dtype),
        trainable=trainable,
        autocast=False,
    )


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
        name = f"log_{name}" if positive else name
        self.weight = weight_from(cell, name, start, cell.state_dtype, trainable=True)

    def value(self):
        """The parameter's present value, a tensor."""
        weight = ops.convert_to_tensor(self.weight)
        return ops.exp(weight) if self.positive else weight
