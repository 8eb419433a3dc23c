"""What a program is made of: a node computes values from values, for one step.

A node knows nothing of time: its arrays have any leading axes, so a node without
state does all steps of a batch at once, and a node with state is the body of a
loop. Nodes of equal `key` can be joined to one that does the work of all, on the
concatenation of their inputs.
"""

import abc
import functools
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
from keras import ops

from keras_spiking_nengo.dynamics.surrogates import Arctan, Surrogate
from keras_spiking_nengo.engine.signals import (
    Fetch,
    Param,
    Ref,
    Rewire,
    Value,
    pick,
)

__all__ = ["Accumulate", "Mode", "Node", "Sum"]

# More terms than this for one element are summed by a matrix product.
_MANY_TERMS = 12


@dataclass(frozen=True)
class Mode:
    """How a program runs.

    Attributes:
        dtype: of all floating values.
        training: whether gradients will be asked for.
        forward: what spiking neurons do in training; see `dynamics.modes`.
        surrogate: of their spikes.
        differentiable: whether gradients may be asked for, training or not.
        many: whether a loop is known to do many items of a batch in each step.
    """

    dtype: str = "float32"
    training: bool = False
    forward: str = "spikes"
    surrogate: Surrogate = field(default_factory=Arctan)
    differentiable: bool = True
    many: bool = False


@dataclass(frozen=True, eq=False)
class Node(abc.ABC):
    """Abstract node.

    Attributes:
        label: of the nengo object, for messages.
        reads: what it reads of this step's values.
        outs: the values it computes.
        initial: first value of each of its states, without batch; the last axis is
            the one that grows when nodes are joined.
    """

    label: str
    reads: tuple[Fetch, ...]
    outs: tuple[Value, ...]
    initial: tuple[np.ndarray, ...] = ()

    # Whether outputs come from the state before this step's input moves it.
    lagged: ClassVar[bool] = False
    # Whether it calls Python, in an order that counts.
    host: ClassVar[bool] = False

    def key(self, looped: bool) -> Any:
        """Nodes of equal keys can be joined; None for a node that cannot.

        Args:
            looped: whether single steps are taken.
        """
        return None

    def joined(self, nodes: Sequence["Node"], reads, outs, initial) -> "Node":
        """One node for several of this node's key, itself the first of them."""
        raise NotImplementedError

    def params(self) -> Sequence[Param]:
        """Constant signals that it uses."""
        return ()

    def pack(self, values: Mapping, dt: float, mode: Mode) -> dict[str, Any]:
        """What `compute` needs of the parameters: numbers, arrays and tensors."""
        return {}

    @abc.abstractmethod
    def compute(self, p, x: list, state: list, mode: Mode, like) -> tuple[list, list]:
        """Outputs and next state.

        Args:
            p: what `pack` returned.
            x: what was read, `(..., size)` each.
            state: `(batch, *shape)` each.
            mode: how the program runs.
            like: any array with the leading axes, in the dtype.
        """

    def output(self, p, state: list) -> list:
        """Outputs of a lagged node."""
        raise NotImplementedError

    def rewired(self, rewire: Rewire) -> "Node":
        """The node, reading the same elements from where they are now."""
        reads = tuple(fetch.rewired(rewire) for fetch in self.reads)
        if all(map(operator.is_, reads, self.reads)):
            return self
        return replace(self, reads=reads)

    @property
    def sources(self) -> set[Value]:
        """The values that it reads."""
        return {value for fetch in self.reads for value in fetch.values}


def join(nodes: Sequence[Node]) -> tuple[Node, dict[Value, Ref]]:
    """One node for several of one key, and where their outputs are in its own."""
    first = nodes[0]
    # Where they read different numbers of things, `joined` sees to that itself.
    n_reads = min(len(node.reads) for node in nodes)
    reads = tuple(
        Fetch(ref for node in nodes for ref in node.reads[j].refs)
        for j in range(n_reads)
    )
    moved: dict[Value, Ref] = {}
    outs = []
    for j, out in enumerate(first.outs):
        size = sum(node.outs[j].size for node in nodes)
        wide = Value(f"{out.name} and {len(nodes) - 1} more", size)
        start = 0
        for node in nodes:
            stop = start + node.outs[j].size
            moved[node.outs[j]] = Ref(wide, np.arange(start, stop))
            start = stop
        outs.append(wide)
    initial = tuple(
        np.concatenate([node.initial[j] for node in nodes], axis=-1)
        for j in range(len(first.initial))
    )
    return first.joined(nodes, reads, tuple(outs), initial), moved


@dataclass(frozen=True, eq=False)
class Sum(Node):
    """A signal put together: what is written to its elements is added up.

    Attributes:
        parts: refs, and the elements that each is added to.
        constants: parameters or numbers, and the elements they are added to.
    """

    parts: tuple[tuple[Ref, np.ndarray], ...] = ()
    constants: tuple[tuple[Param | float, np.ndarray], ...] = ()

    @classmethod
    def of(cls, label, out: Value, parts, constants, **own) -> "Sum":
        """The sum, with its parts in layers: the r-th term of every element."""
        parts, constants = tuple(parts), tuple(constants)
        reads = _layers(parts, out.size)
        return cls(label, reads, (out,), parts=parts, constants=constants, **own)

    def of_parts(self, parts: Sequence[tuple[Ref, np.ndarray]]) -> "Sum":
        """The same with other parts."""
        reads = _layers(parts, self.outs[0].size)
        return replace(self, reads=reads, parts=tuple(parts))

    @functools.cached_property
    def matrix(self) -> np.ndarray | None:
        """Which of many terms are added to which element, if there are many."""
        if len(self.reads) != 1 or not self.parts:
            return None
        where = np.concatenate([index for _, index in self.parts])
        if _terms(where, self.outs[0].size) <= _MANY_TERMS:
            return None
        matrix = np.zeros((self.outs[0].size, len(where)))
        np.add.at(matrix, (where, np.arange(len(where))), 1.0)
        return matrix

    @property
    def alias(self) -> Fetch | None:
        """What it reads, if that is all it does."""
        plain = len(self.reads) == 1 and not self.constants and self.matrix is None
        return self.reads[0] if plain and not self.initial else None

    def key(self, looped):
        if self.matrix is not None:
            return None
        # One term apiece stays apart: there it may be no work at all.
        return type(self), min(len(self.reads), 2), bool(self.constants)

    def joined(self, nodes, reads, outs, initial):
        parts, constants, start = [], [], 0
        for node in nodes:
            parts += [(ref, index + start) for ref, index in node.parts]
            constants += [(value, index + start) for value, index in node.constants]
            start += node.outs[0].size
        return replace(
            self,
            reads=_layers(parts, start),
            outs=outs,
            initial=initial,
            parts=tuple(parts),
            constants=tuple(constants),
        )

    def rewired(self, rewire):
        node = super().rewired(rewire)
        if node is self:
            return self
        parts = []
        for ref, index in self.parts:
            start = 0
            for found in rewire(ref):
                parts.append((found, index[start : start + found.size]))
                start += found.size
        return replace(self, reads=node.reads, parts=tuple(parts))

    def params(self):
        return [value for value, _ in self.constants if isinstance(value, Param)]

    def pack(self, values, dt, mode):
        packed = {} if self.matrix is None else {"matrix": self.matrix}
        if self.constants:
            packed["constant"] = _scattered(values, self.constants, self.outs[0].size)
        return packed

    def compute(self, p, x, state, mode, like):
        terms = list(x)
        if "matrix" in p:
            terms = [ops.matmul(x[0], ops.transpose(p["matrix"]))]
        if "constant" in p:
            terms.append(p["constant"])
        if not x:  # nothing but a constant
            size = self.outs[0].size
            terms.append(ops.zeros((*ops.shape(like)[:-1], size), dtype=like.dtype))
        return [sum(terms[1:], terms[0])], []


def _terms(where: np.ndarray, size: int) -> int:
    return int(np.bincount(where, minlength=size).max(initial=0))


def _layers(parts, size: int) -> tuple[Fetch, ...]:
    if not parts:
        return ()
    where = np.concatenate([index for _, index in parts])
    refs = [ref for ref, _ in parts]
    if len(where) == size and np.array_equal(where, np.arange(size)):
        return (Fetch(refs),)
    n_layers = _terms(where, size)
    if n_layers > _MANY_TERMS:
        return (Fetch(refs),)
    owner = np.concatenate([np.full(len(i), n) for n, (_, i) in enumerate(parts)])
    index = np.concatenate([ref.index for ref in refs])
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
        layers.append(Fetch(_runs(source, owner, index, refs)))
    return tuple(layers)


def _runs(source, owner, index, refs):
    """Refs for each element's source, an index into all terms or -1 for none."""
    who = np.where(source < 0, -1, owner[source])
    edges = [0, *(np.flatnonzero(np.diff(who)) + 1), len(who)]
    for start, stop in zip(edges, edges[1:], strict=False):
        if who[start] < 0:
            yield Ref(None, np.zeros(stop - start, int))
        else:
            yield Ref(refs[who[start]].value, index[source[start:stop]])


def _scattered(values, constants, size: int):
    """Sum of constants at their elements; of NumPy where no tensor is among them."""
    total: Any = np.zeros(size)
    for value, where in constants:
        term = pick(values, [value]) if isinstance(value, Param) else value
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

    Its state is the signal itself, `(size,)`. Elements that are set are 0 in `kept`.

    Attributes:
        kept: 1 for each element that goes on from its last value.
    """

    kept: tuple[np.ndarray, ...] = ()

    def joined(self, nodes, reads, outs, initial):
        kept = np.concatenate([node.kept[0] for node in nodes])
        return replace(super().joined(nodes, reads, outs, initial), kept=(kept,))

    def pack(self, values, dt, mode):
        packed = super().pack(values, dt, mode)
        return packed if self.kept[0].all() else packed | {"kept": self.kept[0]}

    def compute(self, p, x, state, mode, like):
        (total,), _ = super().compute(p, x, state, mode, like)
        last = state[0] * p["kept"] if "kept" in p else state[0]
        total = total + last
        return [total], [total]
