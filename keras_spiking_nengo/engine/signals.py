"""Values of a program, and where to find them.

A value is flat: one element after the other, behind any number of leading axes
(batch, or batch and time). A nengo `Signal` is a value; a view of it, or what an
operator reads of several values, is a list of pieces, each a `Slice` to elements of
one value. A `Gather` turns such a list into as few tensor operations as it can:
none, if the pieces are one whole value.
"""

import functools
import operator
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import nengo
import numpy as np
from keras import ops

from keras_spiking_nengo.dynamics.loops import gather

__all__ = [
    "Gather",
    "Weight",
    "Slice",
    "Value",
    "elements",
    "is_replaced",
    "concatenated",
    "packed_sizes",
    "pick",
    "probe_connections",
    "sampled",
    "sliced",
    "stretches",
    "whole_slice",
    "written_bases",
]

# More pieces than this are one indexed read instead: XLA fuses no concatenation.
_MANY = 3
# So many are put side by side all the same if they are this long on average: an element
# that is looked up takes ten times as long as one that is copied.
_MANY_LONG, _LONG = 32, 64
# An array of so many elements is no longer copied to lie beside others.
_COPIED = 1024


class Value:
    """A flat array that is computed in each step.

    Attributes:
        name: for messages.
        size: number of elements.
        shape: of the nengo signal that it holds.
    """

    __slots__ = ("name", "shape", "size")

    def __init__(self, name: str, size: int, shape: tuple[int, ...] | None = None):
        self.name = name
        self.size = int(size)
        self.shape = (self.size,) if shape is None else tuple(shape)

    def __repr__(self) -> str:
        return f"Value({self.name!r}, {self.shape})"


@dataclass(frozen=True, eq=False)
class Slice:
    """Elements of a value, in order; of no value, zeros.

    Attributes:
        value: whose elements they are, or None for zeros.
        index: flat positions, an integer array.
    """

    value: Value | None
    index: np.ndarray

    @property
    def size(self) -> int:
        return len(self.index)

    def __getitem__(self, index) -> "Slice":
        return Slice(self.value, self.index[index])


# What a pass says of a piece: where its elements are found now.
Rewire = Callable[[Slice], Sequence[Slice]]


@dataclass(frozen=True, eq=False)
class Weight:
    """Elements of a constant signal, which may be a trained weight.

    Attributes:
        key: of the signal in the mapping of parameters.
        index: flat positions, an integer array, or None for all.
        total: number of elements of the signal.
    """

    key: Any
    index: np.ndarray | None
    total: int

    @property
    def size(self) -> int:
        return self.total if self.index is None else len(self.index)


def whole_slice(value: Value) -> Slice:
    """All elements of a value."""
    return Slice(value, np.arange(value.size))


def elements(signal) -> np.ndarray:
    """Flat positions, in the base signal, of the elements of a nengo signal."""
    base = np.arange(signal.base.size)
    if not signal.is_view:
        return base
    if not signal.size:
        return base[:0]
    # Read at the view's own offset and strides, with a size-1 element for bytes.
    view = np.lib.stride_tricks.as_strided(
        base[signal.elemoffset :],
        signal.shape,
        [stride * base.itemsize for stride in signal.elemstrides],
        writeable=False,
    )
    return np.array(view).ravel()


def probe_connections(model) -> dict:
    """The connection that nengo's builder made for each decoded probe."""
    return {
        obj.post_obj: obj
        for obj in model.sig
        if isinstance(obj, nengo.Connection) and isinstance(obj.post_obj, nengo.Probe)
    }


def written_bases(operators: Iterable) -> dict:
    """The base signals that nengo operators set, increment or update, in order."""
    return dict.fromkeys(
        signal.base for op in operators for signal in (*op.sets, *op.incs, *op.updates)
    )


def is_replaced(op, outside: Collection) -> bool:
    """Whether all that an operator sets in a step comes from outside.

    Args:
        op: nengo operator.
        outside: base signals whose values are given.
    """
    written = [*op.sets, *op.incs]
    return bool(written) and all(signal.base in outside for signal in written)


def sampled(steps: Any, sample_every: float | None, dt: float) -> Any:
    """Which steps, a number or an array counted from 1, a probe of this period records.

    Example:
        >>> [n for n in range(1, 7) if sampled(n, 0.002, 0.001)]
        [2, 4, 6]
    """
    period = 1 if sample_every is None else sample_every / dt
    return steps % period < 1


def pick(values: Mapping, weights: Sequence[Weight]):
    """The elements of several parameters in one flat array, of NumPy if all are."""
    parts = [_part(values[p.key], p) for p in weights]
    if len(parts) == 1:
        return parts[0]
    tensors = [part for part in parts if ops.is_tensor(part)]
    if not tensors:
        return np.concatenate(parts)
    return ops.concatenate([ops.cast(part, tensors[0].dtype) for part in parts])


def _part(value, weight: Weight):
    tensor = ops.is_tensor(value)
    flat = ops.reshape(value, (-1,)) if tensor else np.reshape(value, -1)
    index, n = weight.index, weight.size
    if index is None or (n == weight.total and np.array_equal(index, np.arange(n))):
        return flat
    if n and np.array_equal(index, np.arange(index[0], index[0] + n)):
        return flat[int(index[0]) : int(index[0]) + n]
    return ops.take(flat, index, axis=0) if tensor else flat[index]


class Gather:
    """Reads a list of slices as one array whose last axis has all their elements.

    Args:
        slices: pieces, in order.
    """

    def __init__(self, slices: Iterable[Slice]):
        self.slices = tuple(piece for piece in slices if piece.size)
        self.size = sum(piece.size for piece in self.slices)

    @functools.cached_property
    def bounds(self) -> np.ndarray:
        """Where each piece begins, and the last one ends."""
        return np.cumsum([0, *(piece.size for piece in self.slices)])

    def taken(self, index: np.ndarray) -> list[Slice]:
        """Some of the elements, as slices."""
        if len(self.slices) == 1:
            return [self.slices[0][index]]
        which = np.searchsorted(self.bounds, index, side="right") - 1
        return [
            self.slices[which[a]][index[a:b] - self.bounds[which[a]]]
            for a, b in stretches(np.diff(which), len(index))
        ]

    def rewired(self, rewire: Rewire) -> "Gather":
        """The same elements, from where `rewire` says that they are."""
        pieces = [piece for old in self.slices for piece in rewire(old)]
        same = len(pieces) == len(self.slices)
        same = same and all(map(operator.is_, pieces, self.slices))
        return self if same else Gather(pieces)

    @functools.cached_property
    def values(self) -> tuple[Value, ...]:
        """The distinct values read, in order."""
        owners = (piece.value for piece in self.slices if piece.value is not None)
        return tuple(dict.fromkeys(owners))

    @functools.cached_property
    def key(self) -> tuple:
        """Equal for gathers of the same elements."""
        return tuple((id(piece.value), piece.index.tobytes()) for piece in self.slices)

    @functools.cached_property
    def pieces(self) -> list[tuple[Value | None, int, int]]:
        """Contiguous pieces `(value, start, stop)`, neighbours joined."""
        owners = [None, *self.values]
        number = {id(value): i for i, value in enumerate(owners)}
        none = np.zeros(0, int)
        parts = [np.full(piece.size, number[id(piece.value)]) for piece in self.slices]
        owner = np.concatenate([none, *parts])
        index = np.concatenate([none, *(piece.index for piece in self.slices)])
        index = np.where(owner == 0, 0, index)
        broken = (np.diff(owner) != 0) | ((np.diff(index) != 1) & (owner[1:] != 0))
        return [
            (owners[owner[a]], int(index[a]), int(index[a]) + int(b - a))
            for a, b in stretches(broken, len(owner))
        ]

    @property
    def is_whole(self) -> bool:
        """Whether nothing has to be done."""
        return len(self.pieces) == 1 and self._covers(self.pieces[0])

    @staticmethod
    def _covers(piece) -> bool:
        value, start, stop = piece
        return value is not None and (start, stop) == (0, value.size)

    def __call__(self, env: Mapping[Value, Any], like):
        """The elements `(..., size)`.

        Args:
            env: arrays by value.
            like: any `(..., n)` array, for leading axes and dtype of zeros.
        """
        if len(self.pieces) <= max(_MANY, min(_MANY_LONG, self.size // _LONG)):
            parts = [self._slice(env, like, *piece) for piece in self.pieces]
            return concatenated(parts) if parts else _zeros(like, 0)
        if self._columns is not None:
            return self._block(env[self.values[0]], *self._columns)
        sources, index = self._sources
        parts = [
            env[value] if taken is None else gather(env[value], taken)
            for value, taken in sources
        ]
        if self._padded:
            parts.append(_zeros(like, 1))
        everything = concatenated(parts)
        return everything if index is None else gather(everything, index)

    @functools.cached_property
    def _columns(self) -> tuple[int, int, int, int, int] | None:
        """The pieces as a block of a matrix, if they are one.

        Returns:
            Columns of the matrix that the value is, first row and number of rows,
            first and last column of the block.
        """
        value, first, stop = self.pieces[0]
        starts = np.array([start for _, start, _ in self.pieces])
        widths = {stop - start for _, start, stop in self.pieces}
        steps = set(np.diff(starts).tolist())
        owners = {owner for owner, _, _ in self.pieces}
        if value is None or len(owners) > 1 or len(widths) > 1 or len(steps) > 1:
            return None
        (step,) = steps
        row, column = divmod(first, step) if step > 0 else (0, 0)
        width = stop - first
        if step <= 0 or value.size % step or column + width > step:
            return None
        return step, row, len(starts), column, column + width

    @staticmethod
    def _block(x, columns, row, count, start, stop):
        lead = ops.shape(x)[:-1]
        matrix = ops.reshape(x, (*lead, x.shape[-1] // columns, columns))
        block = matrix[..., row : row + count, start:stop]
        return ops.reshape(block, (*lead, count * (stop - start)))

    def _slice(self, env, like, value, start, stop):
        if value is None:
            return _zeros(like, stop - start)
        return env[value] if stop - start == value.size else env[value][..., start:stop]

    @functools.cached_property
    def _padded(self) -> bool:
        return any(piece.value is None for piece in self.slices)

    @functools.cached_property
    def _sources(self):
        """What is taken of each value, and the order of what was taken."""
        sources: list[tuple[Value, np.ndarray | None]] = []
        places, start = [], 0
        for value in self.values:
            parts = [piece.index for piece in self.slices if piece.value is value]
            taken = np.concatenate(parts)
            if len(self.values) == 1 and not self._padded:
                return [(value, taken)], None
            if len(taken) * 2 > value.size:  # most of it: all of it
                sources.append((value, None))
                places.append(start + taken)
                start += value.size
            else:
                sources.append((value, taken))
                places.append(start + np.arange(len(taken)))
                start += len(taken)
        number = {id(value): i for i, value in enumerate(self.values)}
        position = [0] * len(self.values)
        index = []
        for piece in self.slices:
            if piece.value is None:
                index.append(np.full(piece.size, start))
                continue
            i = number[id(piece.value)]
            index.append(places[i][position[i] : position[i] + piece.size])
            position[i] += piece.size
        order = np.concatenate(index)
        if len(order) == start and np.array_equal(order, np.arange(start)):
            return sources, None
        return sources, order


def _zeros(like, size: int):
    return ops.zeros((*ops.shape(like)[:-1], size), dtype=like.dtype)


def stretches(breaks: np.ndarray, size: int) -> list[tuple[int, int]]:
    """Bounds of what lies between the elements that `breaks` tells apart."""
    edges = [0, *(np.flatnonzero(breaks) + 1), size]
    return [(a, b) for a, b in pairwise(edges) if b > a]


def concatenated(parts: Sequence):
    """Arrays side by side, on the last axis."""
    return parts[0] if len(parts) == 1 else ops.concatenate(parts, axis=-1)


def sliced(y, sizes: Mapping[Any, int]) -> dict:
    """Parts of the last axis, one after the other, by key."""
    parts, start = {}, 0
    for key, size in sizes.items():
        parts[key] = y[..., start : start + size]
        start += size
    return parts


def packed_sizes(sizes: Mapping[Any, int]) -> list[dict[Any, int]]:
    """What is laid out side by side, as each array costs time in each step.

    Large ones stay alone: they would be copied as often.
    """
    large = [{key: size} for key, size in sizes.items() if size >= _COPIED]
    small = {key: size for key, size in sizes.items() if size < _COPIED}
    return [small, *large] if small or not large else large
