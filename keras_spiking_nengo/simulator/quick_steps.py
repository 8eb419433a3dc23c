"""Nengo's steps of common operators, to the last bit, with less work.

Of few neurons, calls are most of the time: what a step calls is looked up once, and
writes where there is room already. Of a synapse with one state `x` and an input `u`,
that is `x = a x + b u`. What a function of the user's returns is looked at where it is
written; where something is wrong, Nengo's own step says so.

LIF neurons: with the refractory time `r`, which a step first makes shorter by `dt`,
Nengo computes

    e = expm1(-clip(dt - r, 0, dt) / tau_rc)
    v = v - (J - v) e

Most neurons are not refractory, `r <= 0`, and have the same `e`. Here it is computed
for the others alone. A step of 20,000 neurons takes half of the time or less.
"""

import copy
from collections.abc import Callable, Mapping
from functools import partial

import nengo
import numpy as np
from nengo.builder.learning_rules import SimPES
from nengo.builder.neurons import SimNeurons
from nengo.builder.node import SimPyFunc
from nengo.builder.operator import Copy, DotInc, ElementwiseInc, Operator, TimeUpdate
from nengo.builder.processes import SimProcess

__all__ = ["quick_step"]

_LINEAR = (nengo.Lowpass, nengo.Alpha, nengo.LinearFilter)


def quick_step(op: Operator, signals: Mapping, dt: float) -> Callable[[], None] | None:
    """A step of an operator that is quicker than its own, and equal; None without one.

    Args:
        op: of Nengo's.
        signals: arrays, which it changes in place.
        dt: float, seconds.
    """
    if type(op) in _QUICK:
        return _QUICK[type(op)](op, signals, dt)
    return None


def _step_of_neurons(op: SimNeurons, signals: Mapping, dt: float):
    """That of LIF neurons; None for others."""
    if type(op.neurons) is not nengo.LIF:
        return None
    state = [signals[op.state[name]] for name in ("voltage", "refractory_time")]
    arrays = [signals[op.J], signals[op.output], *state]
    if any(array.dtype != np.float64 or array.ndim != 1 for array in arrays):
        return None
    return _step_of_lif(op.neurons, arrays, dt)


def _step_of_time(op: TimeUpdate, signals: Mapping, dt: float) -> Callable[[], None]:
    count, time = signals[op.step], signals[op.time]

    def step() -> None:
        n = count.item() + 1
        count.fill(n)
        time.fill(n * dt)

    return step


def _step_of_function(op: SimPyFunc, signals: Mapping, dt: float):
    """That of a function of the user's whose values are kept."""
    if op.output is None:
        return None
    fn, output, isfinite = op.fn, signals[op.output], np.isfinite
    t, x = (None if s is None else signals[s] for s in (op.t, op.x))
    finite, given = np.empty(output.shape, bool), None
    if x is not None:  # in single precision where steps are, the function's never
        given = partial(x.astype, np.result_type(x, np.float64))

    def step() -> None:
        if given is None:
            y = fn() if t is None else fn(t.item())
        else:
            y = fn(given()) if t is None else fn(t.item(), given())
        try:
            output[...] = y
            if isfinite(output, finite).all() and y is not None:
                return
        except (TypeError, ValueError):
            pass  # which Nengo's step says, next
        refused = copy.copy(op)
        refused.fn = lambda *_: y
        own = refused.make_step(signals, dt, None)
        refused.fn = fn
        own()

    return step


def _step_of_copy(op: Copy, signals: Mapping, dt: float):
    """That of one between slices; None where single elements are picked."""
    source, target = signals[op.src], signals[op.dst]
    slices = [... if s is None else s for s in (op.src_slice, op.dst_slice)]
    if not all(s is ... or isinstance(s, slice) for s in slices):
        return None
    source, target = source[slices[0]], target[slices[1]]
    if source.dtype != target.dtype or source.shape != target.shape:
        return None
    add, copyto = np.add, np.copyto
    if op.inc:
        return lambda: add(target, source, target)
    return lambda: copyto(target, source)


def _step_of_scaling(op: ElementwiseInc, signals: Mapping, dt: float):
    """That of `y += a x`; None for those that differ in type."""
    a, x, y = (signals[signal] for signal in (op.A, op.X, op.Y))
    added = np.asarray(a * x)
    if not a.dtype == x.dtype == y.dtype or added.shape != y.shape:
        return None
    return _step_of_adding(np.multiply, a, x, added, added, y)


def _step_of_adding(operation, a, x, room, added, y) -> Callable[[], None]:
    """What adds an operation of `a` and `x`, made in `room` (`added`), to `y`."""
    add = np.add

    def step() -> None:
        operation(a, x, room)
        add(y, added, y)

    return step


def _step_of_pes(op: SimPES, signals: Mapping, dt: float):
    """That of a rule; None for those that differ in type."""
    names = (op.pre_filtered, op.error, op.delta)
    activity, error, delta = (signals[signal] for signal in names)
    if not activity.dtype == error.dtype == delta.dtype or error.ndim != 1:
        return None
    alpha = -op.learning_rate * dt / activity.shape[0]
    scaled, multiply = np.empty_like(error), np.multiply
    column, row = scaled[:, None], activity[None]

    def step() -> None:
        multiply(error, alpha, scaled)
        multiply(column, row, delta)

    return step


def _step_of_product(op: DotInc, signals: Mapping, dt: float):
    """That of `y += A x`; None for sparse arrays, and for those that differ in type."""
    A, x, y = (signals[signal] for signal in (op.A, op.X, op.Y))
    if not isinstance(A, np.ndarray) or not A.dtype == x.dtype == y.dtype:
        return None
    product = np.asarray(A.dot(x))
    if not product.shape or not product.flags.c_contiguous:
        return None
    added = product.reshape(y.shape) if op.reshape else product
    if added.shape != y.shape:
        return None
    return _step_of_adding(np.dot, A, x, product, added, y)


def _step_of_synapse(op: SimProcess, signals: Mapping, dt: float):
    """That of a linear synapse; None for others."""
    if op.input is None or op.mode == "inc" or type(op.process) not in _LINEAR:
        return None
    u, output = signals[op.input], signals[op.output]
    state = {name: signals[signal] for name, signal in op.state.items()}
    made = op.process.make_step(u.shape, output.shape, dt, None, state)
    if not u.dtype == output.dtype == made.X.dtype:
        return None
    if type(made) is nengo.LinearFilter.NoX:
        d, multiply = made.d, np.multiply
        return lambda: multiply(u, d, output)
    if type(made) is nengo.LinearFilter.NoD and u.ndim == 1:
        return _step_of_states(made, u, output)
    if type(made) in (nengo.LinearFilter.OneX, nengo.LinearFilter.OneXScalar):
        return _step_of_state(made, u, output)
    return None


def _step_of_state(made, u: np.ndarray, output: np.ndarray) -> Callable[[], None]:
    """Of a synapse with one state."""
    a, b, x = made.a, made.b, made.X
    y, added = x[0], np.empty_like(u)
    if x.size == 1:

        def step_one() -> None:
            y.fill(a * x.item() + b * u.item())
            output[...] = y

        return step_one
    add, multiply = np.add, np.multiply

    def step() -> None:
        multiply(x, a, x)
        multiply(u, b, added)
        add(y, added, y)
        output[...] = y

    return step


def _step_of_states(made, u: np.ndarray, output: np.ndarray) -> Callable[[], None]:
    """Of a synapse with several states, whose output is of the present input."""
    A, B, C = (matrix.astype(u.dtype) for matrix in (made.A, made.B, made.C))
    X, Y = made.X, np.empty((1, *u.shape), u.dtype)
    kept, added = np.empty_like(X), np.empty_like(X)
    dot, add, multiply, y = np.dot, np.add, np.multiply, Y[0]

    def step() -> None:
        dot(A, X, kept)
        multiply(B, u, added)
        add(kept, added, X)
        dot(C, X, Y)
        output[...] = y

    return step


def _step_of_lif(lif: nengo.LIF, arrays: list, dt: float) -> Callable[[], None]:
    J, output, voltage, refractory_time = arrays
    tau_rc, tau_ref, least = lif.tau_rc, lif.tau_ref, lif.min_voltage
    height = lif.amplitude / dt
    free = np.expm1(-np.full(1, dt) / tau_rc)[0]
    decay, change = np.empty(J.shape), np.empty(J.shape)
    mask = np.empty(J.shape, bool)
    subtract, multiply, greater = np.subtract, np.multiply, np.greater
    maximum, expm1, log1p = np.maximum, np.expm1, np.log1p

    def step() -> None:
        subtract(refractory_time, dt, refractory_time)
        (waiting,) = greater(refractory_time, 0, mask).nonzero()
        subtract(J, voltage, change)
        if waiting.size:
            left = dt - refractory_time.take(waiting)
            decay.fill(free)
            decay[waiting] = expm1(-maximum(left, 0, out=left) / tau_rc)
            multiply(change, decay, change)
        else:
            multiply(change, free, change)
        subtract(voltage, change, voltage)

        # None of those that spike: the least voltage is 0 at most.
        maximum(voltage, least, out=voltage)

        (spiked,) = greater(voltage, 1, mask).nonzero()
        output.fill(0)
        if spiked.size:
            output[spiked] = height
            above = voltage.take(spiked) - 1
            spent = dt + tau_rc * log1p(-above / (J.take(spiked) - 1))
            voltage[spiked] = 0
            refractory_time[spiked] = tau_ref + spent

    return step


_QUICK = {
    Copy: _step_of_copy,
    DotInc: _step_of_product,
    ElementwiseInc: _step_of_scaling,
    SimNeurons: _step_of_neurons,
    SimPES: _step_of_pes,
    SimProcess: _step_of_synapse,
    SimPyFunc: _step_of_function,
    TimeUpdate: _step_of_time,
}
