"""What a program is made of: an operation computes values from values, for one step.

An operation knows nothing of time: its arrays have any leading axes, so one without
state does all steps of a batch at once, and one with state is the body of a loop.
Operations of equal `key` can be joined to one that does the work of all, on the
concatenation of their inputs.
"""

import abc
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import numpy as np

from keras_spiking_nengo.dynamics.surrogates import Arctan, Surrogate
from keras_spiking_nengo.engine.signals import Gather, Rewire, Slice, Value, Weight

__all__ = ["Mode", "Operation", "join"]


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
        python: what an operation does that calls Python: `"call"` it, `"record"` what
            it answers, too, or `"recall"` that, from the last step to the first.
    """

    dtype: str = "float32"
    training: bool = False
    forward: str = "spikes"
    surrogate: Surrogate = field(default_factory=Arctan)
    differentiable: bool = True
    many: bool = False
    python: str = "call"


@dataclass(frozen=True, eq=False)
class Operation(abc.ABC):
    """Abstract operation.

    Attributes:
        label: of the nengo object, for messages.
        reads: what it reads of this step's values.
        outs: the values it computes.
        initial: first value of each of its states, without batch; the last axis is
            the one that grows when operations are joined.
    """

    label: str
    reads: tuple[Gather, ...]
    outs: tuple[Value, ...]
    initial: tuple[np.ndarray, ...] = ()

    # What its states are called, with numbers; its class by default.
    state_name: ClassVar[str] = ""
    # Whether outputs come from the state before this step's input moves it.
    lagged: ClassVar[bool] = False
    # Its fields that have an item, or several, for each of what is joined.
    stacked: ClassVar[tuple[str, ...]] = ()
    # Whether it calls Python, in an order that counts.
    calls_python: ClassVar[bool] = False

    def key(self, looped: bool) -> Any:
        """Operations of equal keys can be joined; None for an operation that cannot.

        Args:
            looped: whether single steps are taken.
        """
        return None

    def joined(self, operations: Sequence[Any], reads, outs, initial) -> Self:
        """One operation for several of this one's key, itself the first of them."""
        fields = {
            name: tuple(item for one in operations for item in getattr(one, name))
            for name in self.stacked
        }
        label = f"{self.label} and {len(operations) - 1} more"
        return replace(
            self, label=label, reads=reads, outs=outs, initial=initial, **fields
        )

    def used_weights(self) -> Sequence[Weight]:
        """Constant signals that it uses."""
        return ()

    def pack(self, values: Mapping, dt: float, mode: Mode) -> dict[str, Any]:
        """What `compute` needs of the parameters: numbers, arrays and tensors."""
        return {}

    @abc.abstractmethod
    def compute(self, p, x: list, state: list, mode: Mode, steps) -> tuple[list, list]:
        """Outputs and next state.

        Args:
            p: what `pack` returned.
            x: what was read, `(..., size)` each.
            state: `(batch, *shape)` each.
            mode: how the program runs.
            steps: `(..., 1)`, numbers of the steps, in the dtype; their leading axes
                are those of the outputs.
        """

    def output(self, p, state: list) -> list:
        """Outputs of a lagged operation."""
        raise NotImplementedError

    def rewired(self, rewire: Rewire) -> "Operation":
        """The operation, reading the same elements from where they are now."""
        reads = tuple(gather.rewired(rewire) for gather in self.reads)
        if all(map(operator.is_, reads, self.reads)):
            return self
        return replace(self, reads=reads)

    @property
    def multiplications(self) -> int:
        """Products of two numbers in a step of one item, were none of them zero."""
        return 0

    @property
    def updates(self) -> int:
        """Neurons or filter orders whose state a step of one item renews."""
        return 0

    @property
    def values_read(self) -> set[Value]:
        """The values that it reads."""
        return {value for gather in self.reads for value in gather.values}


def join(operations: Sequence[Operation]) -> tuple[Operation, dict[Value, Slice]]:
    """One operation for several of one key, and where their outputs are in its own."""
    first = operations[0]
    # Where they read different numbers of things, `joined` sees to that itself.
    n_reads = min(len(operation.reads) for operation in operations)
    reads = tuple(
        Gather(piece for operation in operations for piece in operation.reads[j].slices)
        for j in range(n_reads)
    )
    moved: dict[Value, Slice] = {}
    outs = []
    for j, out in enumerate(first.outs):
        size = sum(operation.outs[j].size for operation in operations)
        wide = Value(f"{out.name} and {len(operations) - 1} more", size)
        start = 0
        for operation in operations:
            stop = start + operation.outs[j].size
            moved[operation.outs[j]] = Slice(wide, np.arange(start, stop))
            start = stop
        outs.append(wide)
    initial = tuple(
        np.concatenate([operation.initial[j] for operation in operations], axis=-1)
        for j in range(len(first.initial))
    )
    return first.joined(operations, reads, tuple(outs), initial), moved
