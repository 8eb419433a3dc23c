"""Signals put together: what is written to the elements of a signal is added up.

`y[i] = sum of the terms written to i`, and `y[t, i] = y[t - 1, i] + ...` for elements
that nothing sets anew in each step.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from keras import ops

from keras_spiking_nengo.dynamics import transforms
from keras_spiking_nengo.engine import signals
from keras_spiking_nengo.engine.operation import Operation
from keras_spiking_nengo.engine.signals import Gather, Slice, Value, Weight, pick

__all__ = ["Accumulate", "Sum"]

# More terms than this for one element are not summed one after the other.
_MANY_TERMS = 12
# Rows of terms have at most so many places for each.
_ROOM = 2
# Zeros and ones for sums of many terms.
_LARGEST_MATRIX = 2**20


@dataclass(frozen=True, eq=False)
class Sum(Operation):
    """A signal put together: what is written to its elements is added up.

    Attributes:
        parts: slices, and the elements that each is added to.
        constants: parameters or numbers, and the elements they are added to.
    """

    parts: tuple[tuple[Slice, np.ndarray], ...] = ()
    constants: tuple[tuple[Weight | float, np.ndarray], ...] = ()

    @classmethod
    def of(cls, label, out: Value, parts, constants, **fields) -> "Sum":
        """The sum, with its parts in layers: the r-th term of every element."""
        parts, constants = tuple(parts), tuple(constants)
        reads = _layers(parts, out.size)
        return cls(label, reads, (out,), parts=parts, constants=constants, **fields)

    def of_parts(self, parts: Sequence[tuple[Slice, np.ndarray]]) -> "Sum":
        """The same with other parts."""
        reads = _layers(parts, self.outs[0].size)
        return replace(self, reads=reads, parts=tuple(parts))

    @functools.cached_property
    def many(self) -> str:
        """How more terms than a few for one element are put together; "" for few.

        `"rows"`: the terms of all elements side by side, with zeros where there are
        less. `"matrix"`: a product with zeros and ones. `"scattered"`: one by one,
        where such a matrix would be large.
        """
        if len(self.reads) != 1:
            return ""
        where, size = self._where, self.outs[0].size
        return _form(_terms(where, size), size, len(where))

    @property
    def _where(self) -> np.ndarray:
        return np.concatenate([np.zeros(0, int), *(index for _, index in self.parts)])

    @property
    def alias(self) -> Gather | None:
        """What it reads, if that is all it does."""
        plain = len(self.reads) == 1 and not self.constants and not self.many
        return self.reads[0] if plain and not self.initial else None

    def key(self, looped):
        if self.many:
            return None
        # One term apiece stays apart: there it may be no work at all.
        return type(self), min(len(self.reads), 2), bool(self.constants)

    def joined(self, operations, reads, outs, initial):
        parts, constants, start = [], [], 0
        for operation in operations:
            parts += [(piece, index + start) for piece, index in operation.parts]
            constants += [
                (value, index + start) for value, index in operation.constants
            ]
            start += operation.outs[0].size
        total = super().joined(operations, _layers(parts, start), outs, initial)
        return replace(total, parts=tuple(parts), constants=tuple(constants))

    def rewired(self, rewire):
        operation = super().rewired(rewire)
        if operation is self:
            return self
        parts = []
        for piece, index in self.parts:
            start = 0
            for part in rewire(piece):
                parts.append((part, index[start : start + part.size]))
                start += part.size
        return replace(self, reads=operation.reads, parts=tuple(parts))

    def used_weights(self):
        return [value for value, _ in self.constants if isinstance(value, Weight)]

    def pack(self, values, dt, mode):
        packed: dict[str, Any] = {}
        if self.many == "matrix":
            where = self._where
            packed["matrix"] = np.zeros((self.outs[0].size, len(where)))
            packed["matrix"][where, np.arange(len(where))] = 1.0
        if self.constants:
            packed["constant"] = _scattered(values, self.constants, self.outs[0].size)
        return packed

    def compute(self, p, x, state, mode, steps):
        terms = list(x)
        if self.many:
            terms = [self._total(p, x[0])]
        if "constant" in p:
            terms.append(p["constant"])
        if not x:  # nothing but a constant
            size = self.outs[0].size
            terms.append(ops.zeros((*ops.shape(steps)[:-1], size), dtype=steps.dtype))
        return [sum(terms[1:], terms[0])], []

    def _total(self, p, terms):
        """Many terms put together."""
        size = self.outs[0].size
        if self.many == "rows":
            rows = ops.reshape(terms, (*ops.shape(terms)[:-1], -1, size))
            return ops.sum(rows, axis=-2)
        if self.many == "matrix":
            return transforms.matrix_product(p["matrix"], terms)
        lead = ops.shape(terms)[:-1]
        columns = ops.transpose(ops.reshape(terms, (-1, len(self._where))))
        total = ops.segment_sum(columns, self._where, size)
        return ops.reshape(ops.transpose(total), (*lead, size))


def _terms(where: np.ndarray, size: int) -> int:
    return int(np.bincount(where, minlength=size).max(initial=0))


def _form(most: int, size: int, n_terms: int) -> str:
    """As `Sum.many`, of at most so many terms for one element."""
    if most <= _MANY_TERMS:
        return ""
    if most * size <= _ROOM * n_terms:
        return "rows"
    return "matrix" if size * n_terms <= _LARGEST_MATRIX else "scattered"


def _layers(parts, size: int) -> tuple[Gather, ...]:
    if not parts:
        return ()
    where = np.concatenate([index for _, index in parts])
    slices = [piece for piece, _ in parts]
    if len(where) == size and np.array_equal(where, np.arange(size)):
        return (Gather(slices),)
    n_layers = _terms(where, size)
    form = _form(n_layers, size, len(where))
    if form in ("matrix", "scattered"):
        return (Gather(slices),)
    owner = np.concatenate([np.full(len(i), n) for n, (_, i) in enumerate(parts)])
    index = np.concatenate([piece.index for piece in slices])
    # The rank of each term among those of its element, in the order of parts.
    order = np.argsort(where, kind="stable")
    ordered = where[order]
    first = np.searchsorted(ordered, ordered, side="left")
    rank = np.empty(len(where), int)
    rank[order] = np.arange(len(where)) - first
    layers = []
    for r in range(n_layers):
        chosen = np.flatnonzero(rank == r)
        source = np.full(size, -1)
        source[where[chosen]] = chosen
        layers.append(Gather(_runs(source, owner, index, slices)))
    if form == "rows":
        return (Gather(piece for layer in layers for piece in layer.slices),)
    return tuple(layers)


def _runs(source, owner, index, slices):
    """Refs for each element's source, an index into all terms or -1 for none."""
    who = np.where(source < 0, -1, owner[source])
    for start, stop in signals.stretches(np.diff(who), len(who)):
        if who[start] < 0:
            yield Slice(None, np.zeros(stop - start, int))
        else:
            yield Slice(slices[who[start]].value, index[source[start:stop]])


def _scattered(values, constants, size: int):
    """Sum of constants at their elements; of NumPy where no tensor is among them."""
    total: Any = np.zeros(size)
    for value, where in constants:
        term = pick(values, [value]) if isinstance(value, Weight) else value
        full = len(where) == size and np.array_equal(where, np.arange(size))
        if ops.is_tensor(term):
            if not full:
                term = ops.scatter(where[:, None], term, (size,))
            if isinstance(total, np.ndarray):
                total = ops.cast(total, term.dtype)
            total = total + term
        elif ops.is_tensor(total):
            placed = np.zeros(size)
            np.add.at(placed, where, term)
            total = total + ops.cast(placed, total.dtype)
        else:
            np.add.at(total, where, term)
    return total


@dataclass(frozen=True, eq=False)
class Accumulate(Sum):
    """A signal that is added to and never set anew: it keeps what it was.

    Its state is the signal itself, `(size,)`. Elements that are set are 0 in `carried`.

    Attributes:
        carried: 1 for each element that goes on from its last value.
    """

    carried: tuple[np.ndarray, ...] = ()

    def joined(self, operations, reads, outs, initial):
        total = super().joined(operations, reads, outs, initial)
        carried = np.concatenate([operation.carried[0] for operation in operations])
        return replace(total, carried=(carried,))

    def pack(self, values, dt, mode):
        packed = super().pack(values, dt, mode)
        if not self.carried[0].all():
            packed["carried"] = self.carried[0]
        return packed

    def compute(self, p, x, state, mode, steps):
        (total,), _ = super().compute(p, x, state, mode, steps)
        last = state[0] * p["carried"] if "carried" in p else state[0]
        total = total + last
        return [total], [total]
