"""Which programs are alike: the same computation, of other numbers.

The same network with another seed has other weights and other starts. These are given
to a compiled program when it runs, so that one program does for both.
"""

import functools
import hashlib
import sys
from collections.abc import Hashable, Mapping
from dataclasses import fields, is_dataclass
from types import FunctionType
from typing import Any

import numpy as np
from nengo.params import FrozenObject, iter_params

from keras_spiking_nengo.engine.operation import Operation
from keras_spiking_nengo.engine.program import Program
from keras_spiking_nengo.engine.signals import Gather, Value, Weight

__all__ = ["likeness"]

# Types that are known to be all that their parameters say.
_PACKAGES = ("nengo", "keras_spiking_nengo")
# What Nengo notes of an object beside the values of its parameters.
_ASIDE = {"_paramdict", "_FrozenObject__argreprs"}


def likeness(program: Program, strict: bool = True) -> Hashable | None:
    """Equal for programs whose `sequence` computes the same from what it is given.

    That is from what `pack` makes of parameters, from the state, and from inputs. None
    for a program of which that is not known, such as one with functions of users.

    Args:
        program: to be compared.
        strict: False takes the functions of users for equal. What is returned then has
            the same `repr` in every process.
    """
    try:
        return _Likeness(program, strict).key
    except _Unknown:
        return None


class _Unknown(Exception):
    """An object that may be more than can be seen of it."""


class _Likeness:
    """Values and parameters of one program, numbered as they come."""

    def __init__(self, program: Program, strict: bool):
        self._strict = strict
        self._values: dict[Value, int] = {}
        self._weights: dict[Any, int] = {}
        self.key = (
            self._of(program.inputs),
            self._of([(stage.kind, stage.operations) for stage in program.stages]),
            self._of(tuple(program.outputs.values())),
            program.dt,
        )

    def _of(self, thing: Any) -> Hashable:
        if thing is None or isinstance(thing, bool | int | float | str | bytes):
            return type(thing).__name__, thing
        if isinstance(thing, Value):
            return (
                "value",
                self._values.setdefault(thing, len(self._values)),
                thing.size,
            )
        if isinstance(thing, Weight):
            number = self._weights.setdefault(thing.key, len(self._weights))
            return "weight", number, thing.total, self._of(thing.index)
        if isinstance(thing, np.ndarray | np.generic):
            return _of_array(np.asarray(thing))
        if isinstance(thing, Gather):
            return "gather", self._of(thing.slices)
        if isinstance(thing, list | tuple):
            return type(thing).__name__, *map(self._of, thing)
        if isinstance(thing, Mapping):
            return "mapping", *map(self._of, thing.items())
        if isinstance(thing, functools.partial):
            return "partial", *map(self._of, (thing.func, thing.args, thing.keywords))
        return self._of_object(thing)

    def _of_object(self, thing: Any) -> Hashable:
        kind = type(thing)
        if isinstance(thing, FunctionType) and _is_public(thing):
            return "function", thing.__module__, thing.__qualname__
        if kind.__module__.split(".")[0] in _PACKAGES:
            if isinstance(thing, FrozenObject) and vars(thing).keys() <= _ASIDE:
                names = sorted(iter_params(thing))
                return kind, *((n, self._of(getattr(thing, n))) for n in names)
            if is_dataclass(thing):
                return kind, *self._of_fields(thing)
        if self._strict:
            raise _Unknown(thing)
        return kind.__qualname__

    def _of_fields(self, thing: Any):
        for field in fields(thing):
            value = getattr(thing, field.name)
            if isinstance(thing, Operation) and field.name == "label":
                continue
            if isinstance(thing, Operation) and field.name == "initial":
                value = tuple((x.shape, x.dtype.kind) for x in value)
            yield field.name, self._of(value)


def _of_array(array: np.ndarray) -> Hashable:
    if array.dtype.hasobject:
        raise _Unknown(array)
    content = hashlib.blake2b(np.ascontiguousarray(array).tobytes()).digest()
    return "array", array.dtype.str, array.shape, content


def _is_public(function: FunctionType) -> bool:
    """Whether it is what its module has by its name, and so is all that it does."""
    module = sys.modules.get(function.__module__)
    return getattr(module, function.__qualname__, None) is function
