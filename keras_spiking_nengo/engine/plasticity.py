"""Learning rules: the change of weights in each step."""

from collections.abc import Callable
from dataclasses import dataclass

from keras import ops

from keras_spiking_nengo.dynamics import learning
from keras_spiking_nengo.engine.operation import Operation

__all__ = ["Learn", "RecursiveLeastSquares"]


@dataclass(frozen=True, eq=False)
class Learn(Operation):
    """The change of weights that a rule without memory asks for.

    Attributes:
        shapes: of each array read, without leading axes.
        rule: from these arrays to the change.
    """

    shapes: tuple[tuple[int, ...], ...] = ()
    rule: Callable = learning.pes

    def compute(self, p, x, state, mode, steps):
        lead = ops.shape(steps)[:-1]
        shaped = [
            ops.reshape(a, (*lead, *s)) for a, s in zip(x, self.shapes, strict=True)
        ]
        return [ops.reshape(self.rule(*shaped), (*lead, self.outs[0].size))], []


@dataclass(frozen=True, eq=False)
class RecursiveLeastSquares(Operation):
    """The RLS rule, whose state is the inverse of the correlations, flat."""

    def compute(self, p, x, state, mode, steps):
        pre, error = x
        n, lead = self.reads[0].size, ops.shape(steps)[:-1]
        inverse = ops.reshape(state[0], (*lead, n, n))
        change, inverse = learning.rls(pre, error, inverse)
        flat = ops.reshape(inverse, (*lead, n * n))
        change = ops.reshape(change, (*lead, self.outs[0].size))
        return [change, flat], [flat]
