"""Numbers that types declare, and rates for which there is no formula."""

import math

import nengo
import numpy as np
from nengo.exceptions import ValidationError
from nengo.params import NdarrayParam, NumberParam

__all__ = ["FiniteNumber", "NumberOrArray", "check_below", "settled_rates"]


class FiniteNumber(NumberParam):
    """A number of Nengo's, which is none if it is NaN, nor, but for some, infinite."""

    def __init__(self, name, finite: bool = True, **kwargs):
        super().__init__(name, **kwargs)
        self.finite = finite

    def coerce(self, instance, value):
        if isinstance(value, float | np.floating) and (
            math.isnan(value) or (self.finite and math.isinf(value))
        ):
            raise ValidationError(
                f"Must be a finite number; got {value!r}", attr=self.name, obj=instance
            )
        return super().coerce(instance, value)


class NumberOrArray(NdarrayParam):
    """A finite number, or an array with one for each neuron."""

    def coerce_ndarray(self, instance, ndarray):
        try:
            values = np.array(super().coerce_ndarray(instance, ndarray), float)
        except ValueError as error:
            raise ValueError(f"{self.name}: {error}") from error
        if values.ndim > 1 or not values.size or not np.all(np.isfinite(values)):
            raise ValueError(
                f"{self.name} is a finite number, or an array with one for each neuron;"
                f" received {ndarray!r}."
            )
        values.setflags(write=False)
        return values if values.ndim else float(values)


def settled_rates(kind: nengo.neurons.NeuronType, J) -> np.ndarray:
    """Rates in Hz of constant currents, where there is no formula: a second is run.

    Args:
        kind: neuron type, whose states start from 0.
        J: array of currents.
    """
    states = {name: np.zeros_like(J) for name in ("output", *kind.state)}
    return nengo.neurons.settled_firingrate(kind.step, J, states)


def check_below(owner, name: str, bound: str) -> None:
    """Refuses a number of a neuron type that is not below another one.

    Raises:
        ValueError: if it is not.
    """
    value, high = getattr(owner, name), getattr(owner, bound)
    if not value < high:
        raise ValueError(
            f"{name} is below {bound}; received {name}={value!r}, {bound}={high!r}."
        )
