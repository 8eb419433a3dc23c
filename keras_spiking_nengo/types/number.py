"""The numbers that Nengo's frozen objects of ours hold."""

import math

import numpy as np
from nengo.exceptions import ValidationError
from nengo.params import NumberParam

__all__ = ["Number"]


class Number(NumberParam):
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
