"""Learning rules of ours in Nengo: an operator that its simulator steps, and a builder.

`nengo.builder.Builder` finds it as soon as the package is imported.
"""

from typing import Any

import nengo
import numpy as np
from nengo.builder import Builder
from nengo.builder.operator import Operator, Reset
from nengo.builder.signal import Signal
from nengo.exceptions import ValidationError

from keras_spiking_nengo import types
from keras_spiking_nengo.dynamics.spike_timing import (
    change_of_pairs,
    constants,
    step_of_rule,
    step_of_traces,
)

__all__ = ["SimSTDP"]

# Where more than one neuron in so many spikes, all synapses are changed at once.
_SPARSE = 3


class SimSTDP(Operator):
    """The change of weights that a rule of spike times asks for.

    Args:
        rule: `types.STDP`, `types.TripletSTDP` or `types.RewardModulatedSTDP`.
        pre, post: signals of the neurons' activities.
        weights: signal `(m, n)`.
        reward: signal `(1,)`, or None for a rule without.
        delta: signal `(m, n)` of the change.
        traces: signals by the names in the rule's `time_constants`.
        ends: what is taken of `pre`, and of `post`, as indices.
        heights: of spikes times `dt`, of what is taken.

    Signals stand in `reads` and `updates` alone, where merging operators replaces them.
    """

    def __init__(
        self, rule, pre, post, weights, reward, delta, traces, ends, heights, tag=None
    ):
        super().__init__(tag=tag)
        self.rule, self.ends, self.heights = rule, ends, heights
        self.names = tuple(traces)
        self.sets = []
        self.incs = []
        self.reads = [pre, post, weights, *([] if reward is None else [reward])]
        self.updates = [delta, *traces.values()]

    @property
    def _descstr(self) -> str:
        return f"{self.rule} -> {self.updates[0]}"

    def make_step(self, signals, dt, rng):
        """The step, in NumPy."""
        p = constants(self.rule, dt, self.heights)
        pre, post, weights, *reward = (signals[s] for s in self.reads)
        delta, *traces = (signals[s] for s in self.updates)
        state = dict(zip(self.names, traces, strict=True))
        from_pre, from_post = self.ends

        def step_stdp() -> None:
            ends = pre[from_pre], post[from_post]
            if reward:
                change, after = step_of_rule(
                    np, self.rule, p, *ends, weights, state, *reward
                )
                delta[...] = change
            else:
                factors, after = step_of_traces(np, self.rule, p, *ends, state)
                _write_pairs(self.rule, p, factors, weights, delta)
            for name, value in after.items():
                state[name][...] = value

        return step_stdp


def _write_pairs(rule, p, factors, weights, delta) -> None:
    """The change, of synapses alone that have a spike at one of their ends."""
    up, down, x, y = factors
    columns, rows = np.flatnonzero(down), np.flatnonzero(up)
    if _SPARSE * (len(columns) + len(rows)) > len(down) + len(up):
        delta[...] = change_of_pairs(np, rule, p, factors, weights)
        return
    delta[...] = 0
    if len(rows):
        block = up[rows], down, x, y[rows]
        delta[rows] = change_of_pairs(np, rule, p, block, weights[rows])
    if len(columns):
        block = up, down[columns], x[columns], y
        delta[:, columns] = change_of_pairs(np, rule, p, block, weights[:, columns])


@Builder.register(types.STDP)
@Builder.register(types.TripletSTDP)
@Builder.register(types.RewardModulatedSTDP)
def build_stdp(model, stdp, rule) -> None:
    """Add the operator of a rule, and its signals, to a model."""
    conn = rule.connection
    weights = model.sig[conn]["weights"]
    ends = _neurons_at(conn, stdp)
    _check_weights(conn, stdp, weights, ends)
    shape = tuple(len(index) for index in reversed(ends))
    shapes = {"pre_trace": shape[1:], "post_trace": shape[:1], "eligibility": shape}
    shapes |= {f"slow_{name}": shapes[name] for name in ("pre_trace", "post_trace")}
    traces = {
        name: Signal(shape=shapes[name], name=f"{conn}.{name}")
        for name in stdp.time_constants
    }
    reward = None
    if stdp.size_in:
        reward = Signal(shape=rule.size_in, name=f"{conn}.reward")
        model.add_op(Reset(reward))
        model.sig[rule]["in"] = model.sig[rule]["reward"] = reward
    neurons = [_neurons_of(obj) for obj in (conn.pre_obj, conn.post_obj)]
    heights = tuple(
        _spike_heights(ens.ensemble.neuron_type, index)
        for ens, index in zip(neurons, ends, strict=True)
    )
    pre, post = (model.sig[ens]["out"] for ens in neurons)
    delta = model.sig[rule]["delta"]
    model.add_op(
        SimSTDP(stdp, pre, post, weights, reward, delta, traces, ends, heights)
    )
    model.sig[rule].update(traces)


def _neurons_of(obj) -> nengo.ensemble.Neurons:
    return obj.neurons if isinstance(obj, nengo.Ensemble) else obj


def _neurons_at(conn: nengo.Connection, stdp) -> tuple[np.ndarray, np.ndarray]:
    """Which neurons the weights lead from, and to."""
    found = []
    for name in ("pre", "post"):
        obj, where = getattr(conn, f"{name}_obj"), getattr(conn, f"{name}_slice")
        neural = isinstance(obj, nengo.Ensemble | nengo.ensemble.Neurons)
        if not neural or not _neurons_of(obj).ensemble.neuron_type.spiking:
            kind = _neurons_of(obj).ensemble.neuron_type if neural else obj
            raise _not_for(
                conn,
                stdp,
                f"{name!r} must be neurons that spike; got {kind!r}. Use spiking ones,"
                " such as nengo.LIF()",
            )
        index = np.arange(_neurons_of(obj).size_out)
        # A slice of an ensemble is one of its dimensions, and all neurons take part.
        found.append(index if isinstance(obj, nengo.Ensemble) else index[where])
    return found[0], found[1]


def _check_weights(conn, stdp, weights, ends) -> None:
    """Refuses a connection without a weight of its own for each pair of neurons."""
    shape = tuple(len(index) for index in reversed(ends))
    if weights.shape != shape:
        raise _not_for(
            conn,
            stdp,
            f"It changes a full matrix {shape}, from each neuron to each; got weights"
            f" of {weights.shape}. Give transform=nengo.Dense({shape}, init=...), or"
            " solver=nengo.solvers.LstsqL2(weights=True) between ensembles",
        )


def _not_for(conn, stdp, why: str) -> ValidationError:
    return ValidationError(f"{stdp}: {why}", attr="learning_rule_type", obj=conn)


def _spike_heights(kind, index: np.ndarray) -> Any:
    """Of a spike, times `dt`."""
    amplitude = getattr(kind, "amplitude", 1.0)
    return np.asarray(amplitude)[index] if np.ndim(amplitude) else float(amplitude)
