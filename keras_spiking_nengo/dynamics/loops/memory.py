"""What a loop keeps for its reverse pass.

    kept states                     computed again           numbers for T steps
    before each step                nothing, but the step    T
    before each span of k steps     a span at a time         T / k + k
    none, as gradients are local    all, from the first on   1

With k about the root of T, the second is least.

Reference:
    Griewank (1992), *Achieving logarithmic growth of temporal and spatial complexity in
    reverse automatic differentiation*, Optimization Methods and Software 1(1); Chen et
    al. (2016), *Training deep nets with sublinear memory cost*, arXiv:1604.06174.
"""

import math
from dataclasses import dataclass
from typing import Any

from keras import ops

__all__ = ["Memory", "Spans"]


@dataclass(frozen=True)
class Spans:
    """Steps of time in spans of equal length, and a shorter one at the end.

    Attributes:
        steps: of a span.
        whole: number of spans that have as many.
        rest: steps that are left after them. Each may be a tensor.
    """

    steps: Any
    whole: Any
    rest: Any

    @property
    def each(self) -> bool:
        """Whether each step is a span."""
        return isinstance(self.steps, int) and self.steps == 1

    @property
    def has_rest(self) -> bool:
        """Whether steps are left, or may be."""
        return not (isinstance(self.rest, int) and self.rest == 0)

    @property
    def total(self):
        """Number of spans, if all that may be are there."""
        return self.whole + 1 if self.has_rest else self.whole


@dataclass(frozen=True)
class Memory:
    """How much of a loop is kept.

    Attributes:
        checkpoint: states are kept at every so many-th step; True for about the root
            of the number of steps, None for each.
        local: gradients do not go from one step to another, so that none is kept.
    """

    checkpoint: bool | int | None = None
    local: bool = False

    def spans(self, length) -> Spans:
        """Of so many steps, a number or a tensor."""
        if not self.checkpoint:
            return Spans(1, length, 0)
        number = isinstance(length, int)
        if self.checkpoint is not True:
            steps = self.checkpoint
            steps = min(steps, max(length, 1)) if number else steps
        elif number:
            steps = max(math.isqrt(max(length - 1, 0)) + 1, 1)
        else:
            root = ops.sqrt(ops.cast(length, "float32"))
            steps = ops.maximum(ops.cast(ops.ceil(root), "int32"), 1)
        whole = length // steps
        return Spans(steps, whole, length - whole * steps)
