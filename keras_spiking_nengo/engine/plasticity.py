"""Learning rules: the change of weights in each step."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from keras import ops

from keras_spiking_nengo.dynamics import learning, spike_timing
from keras_spiking_nengo.engine.operation import Operation

__all__ = ["Learn", "RecursiveLeastSquares", "SpikeTiming"]


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


@dataclass(frozen=True, eq=False)
class SpikeTiming(Operation):
    """A rule of spike times, whose state is its traces, flat.

    Outputs are the change and, after it, the traces.

    Attributes:
        rule: one of the rules in `types`.
        heights: of spikes times `dt`, pre- and postsynaptic.
    """

    rule: Any = None
    heights: tuple[Any, Any] = (1.0, 1.0)

    def pack(self, values, dt, mode):
        return spike_timing.constants(self.rule, dt, self.heights)

    def compute(self, p, x, state, mode, steps):
        pre, post, weights, *reward = x
        lead, shape = ops.shape(steps)[:-1], (post.shape[-1], pre.shape[-1])
        traces = dict(zip(self.rule.time_constants, state, strict=True))
        square = {"eligibility"} & traces.keys()
        for name in square:
            traces[name] = ops.reshape(traces[name], (*lead, *shape))
        weights = ops.reshape(weights, (*lead, *shape))
        change, after = spike_timing.step_of_rule(
            ops, self.rule, p, pre, post, weights, traces, *reward
        )
        for name in square:
            after[name] = ops.reshape(after[name], (*lead, shape[0] * shape[1]))
        new = [after[name] for name in traces]
        return [ops.reshape(change, (*lead, shape[0] * shape[1])), *new], new
