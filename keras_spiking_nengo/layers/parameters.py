"""Physical parameters of a cell: checked, and made trainable on request."""

import math
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import keras
import nengo
import numpy as np
from keras import ops

from keras_spiking_nengo import serialization
from keras_spiking_nengo.checks import checked_array, checked_number, is_number
from keras_spiking_nengo.dynamics import surrogates

__all__ = [
    "Trained",
    "Within",
    "checked_starts",
    "checked_surrogate",
    "checked_synapse",
    "checked_trainable",
    "drawn_start",
    "shape_of_kind",
    "warn_of_seconds",
    "weight_from",
]

KINDS = ("shared", "channel", "unit")


def checked_surrogate(value) -> surrogates.Surrogate | None:
    """A surrogate from itself, its name or its configuration; None is none.

    Raises:
        ValueError: for anything else.
    """
    if isinstance(value, dict):
        value = keras.saving.deserialize_keras_object(value)
    return None if value is None else surrogates.surrogate(value)


def checked_synapse(name: str, value) -> nengo.synapses.Synapse | None:
    """A synapse from itself, or from the time constant of a lowpass; None is none.

    Raises:
        ValueError: for anything else.
    """
    if is_number(value):
        return nengo.Lowpass(checked_number(name, value, 0, unit="s"))
    if value is None or isinstance(value, nengo.synapses.Synapse):
        return value
    raise ValueError(
        f"{name} is a Nengo synapse such as nengo.Alpha(0.01), the time constant of a"
        f" lowpass in seconds, or None; received {value!r}."
    )


def warn_of_seconds(dt: float, **times: Any) -> None:
    """Warns of times that were hardly meant to be seconds.

    A time constant of 20 with steps of 0.001 is taken for milliseconds, and so is a
    step of 1 with a time constant of 0.02; 20 with steps of 1 counts in steps.

    Args:
        dt: float, seconds. Length of a step.
        **times: numbers, arrays or None, by the names of the parameters.
    """
    for name, value in times.items():
        longest = float(np.max(value, initial=0)) if value is not None else 0.0
        if longest > 1 and longest >= 1000 * dt:
            warnings.warn(
                f"{name} is in seconds, and {longest:g} s are {longest / dt:g} steps of"
                f" dt={dt:g} s. {longest:g} ms are {longest / 1000:g}.",
                stacklevel=5,
            )
        elif dt >= 1 and 0 < longest <= dt / 10:
            warnings.warn(
                f"dt is in seconds: a step of {dt:g} s is longer than {name}="
                f"{longest:g} s. {dt:g} ms are {dt / 1000:g}.",
                stacklevel=5,
            )


def checked_trainable(
    requested: Iterable[str] | Mapping[str, str], possible: Iterable[str], owner: str
) -> dict[str, str]:
    """`requested` as a dict from parameter name to one of `KINDS`.

    Raises:
        ValueError: if a name or kind is not possible for `owner`.
    """
    if isinstance(requested, str):
        requested = (requested,)
    names = list(requested) if isinstance(requested, Iterable) else [None]
    if not all(isinstance(name, str) for name in names):
        raise ValueError(
            "trainable_parameters takes names, such as ('tau_rc',), or a dict from"
            f" names to 'shared', 'channel' or 'unit'; received {requested!r}."
        )
    if not isinstance(requested, Mapping):
        requested = dict.fromkeys(requested, "shared")
    possible = tuple(possible)
    for name, kind in requested.items():
        if name not in possible:
            choice = ", ".join(map(repr, possible)) or "none"
            raise ValueError(
                f"trainable_parameters: {owner} cannot train {name!r}. Its trainable"
                f" parameters: {choice}."
            )
        if kind not in KINDS:
            raise ValueError(
                f"trainable_parameters[{name!r}] must be 'shared' (one value for the"
                " layer), 'channel' (one for each element of the last axis) or 'unit'"
                f" (one per neuron); received {kind!r}."
            )
    return dict(requested)


def weight_from(
    cell, name: str, value, dtype: str, trainable: bool = False, **options: Any
):
    """A weight of a cell that starts as an array, and keeps its dtype.

    Args:
        cell: `keras.layers.Layer`.
        name, value, dtype, trainable: of the weight.
        **options: of `add_weight`.
    """
    return cell.add_weight(
        name=name,
        shape=np.shape(value),
        dtype=dtype,
        initializer=lambda shape, dtype: ops.cast(np.asarray(value), dtype),
        trainable=trainable,
        autocast=False,
        **options,
    )


# How far training takes what it takes in steps of its own size: there is a factor
# between a start and the numbers that single precision loses in a deep model.
_FARTHEST = 1e4


class Within(keras.constraints.Constraint):
    """Holds a weight between two numbers; the gradient can lead it back."""

    def __init__(self, low: float, high: float):
        self.low, self.high = low, high

    def __call__(self, w):
        return ops.clip(w, self.low, self.high)


class Trained:
    """A parameter of `cell` as a weight.

    An optimizer holds it to its range, and one that is positive to a factor of
    `_FARTHEST` from its start as well.

    Args:
        cell: the built cell that owns the weight.
        name: of the parameter; the weight is called so, or `log_<name>`.
        value: float or array. Initial value.
        shape: of the weight.
        positive: train the logarithm, so that steps are relative and the value
            stays above zero.
        within: the lowest and the highest value that mean something. A start beyond
            is kept.
        trainable: whether it is trained at all.
    """

    def __init__(
        self,
        cell,
        name: str,
        value,
        shape: tuple,
        positive: bool,
        within: tuple[float, float] = (-math.inf, math.inf),
        trainable: bool = True,
    ):
        low, high = within
        least, largest = float(np.min(value)), float(np.max(value))
        if positive:
            low, high = max(low, least / _FARTHEST), min(high, largest * _FARTHEST)
        bounds = min(low, least), max(high, largest)
        if positive:
            name, value = f"log_{name}", np.log(value)
            bounds = math.log(bounds[0]), math.log(bounds[1])
        self.positive = positive
        self.weight = weight_from(
            cell,
            name,
            np.broadcast_to(value, shape),
            cell.state_dtype,
            trainable=trainable,
            constraint=Within(*bounds) if trainable else None,
        )

    def value(self):
        """The parameter's present value, a tensor."""
        weight = ops.convert_to_tensor(self.weight)
        return ops.exp(weight) if self.positive else weight


def shape_of_kind(kind: str, features: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of a parameter that is trained as one of `KINDS` says."""
    return {"shared": (), "channel": features[-1:], "unit": features}[kind]


def checked_starts(
    starts: Mapping[str, Any] | None, possible: Iterable[str], owner: str
) -> dict[str, Any]:
    """Values that parameters start from: numbers, arrays or distributions, by name.

    Args:
        starts: as given, or None for none.
        possible: names of the parameters that there are.
        owner: whose they are, for messages.

    Raises:
        TypeError: unless `starts` is a dict.
        ValueError: for another name or value.
    """
    if starts is None:
        return {}
    if not isinstance(starts, Mapping):
        raise TypeError(
            "initial_parameters is a dict from names to numbers, arrays or Nengo"
            " distributions, such as {'tau_rc': nengo.dists.Uniform(0.01, 0.03)}, or"
            f" None; received {starts!r}."
        )
    possible = list(possible)
    unknown = [name for name in starts if name not in possible]
    if unknown:
        choice = ", ".join(map(repr, possible)) or "none"
        raise ValueError(
            f"initial_parameters: {owner} has no {unknown[0]!r}. Its parameters:"
            f" {choice}."
        )
    return {name: _checked_start(name, value) for name, value in starts.items()}


def _checked_start(name: str, value: Any):
    if isinstance(value, dict):
        value = serialization.from_config(value)
    if isinstance(value, nengo.dists.Distribution):
        return value
    advice = "Or give a Nengo distribution."
    numbers = checked_array(f"initial_parameters[{name!r}]", value, advice=advice)
    return numbers if numbers.ndim else float(numbers)


def drawn_start(name: str, start: Any, shape: tuple[int, ...], rng) -> Any:
    """What a parameter starts from: numbers of a shape, or one number.

    Raises:
        ValueError: if an array has another shape.
    """
    if isinstance(start, nengo.dists.Distribution):
        return np.reshape(start.sample(math.prod(shape), rng=rng), shape)
    if np.ndim(start) and np.shape(start) != shape:
        raise ValueError(
            f"initial_parameters[{name!r}] is one number, or an array with the shape"
            f" {shape} of what it is a parameter of; received the shape"
            f" {np.shape(start)}."
        )
    return start
