"""Nengo's operators as nodes: one rule for each."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import nengo
import numpy as np
import scipy.sparse
from keras import ops
from nengo.builder import Model
from nengo.builder import operator as nengo_operators
from nengo.builder.learning_rules import SimBCM, SimOja, SimPES, SimRLS, SimVoja
from nengo.builder.neurons import SimNeurons
from nengo.builder.node import SimPyFunc
from nengo.builder.probe import SimProbe
from nengo.builder.processes import SimProcess
from nengo.builder.transforms import ConvInc, ConvTransposeInc
from nengo.exceptions import BuildError

from keras_spiking_nengo.dynamics import learning, random
from keras_spiking_nengo.dynamics.neurons import NEURONS, RATES_TO_SPIKES
from keras_spiking_nengo.dynamics.synapses import SYNAPSES, LinearSystem, linear_system
from keras_spiking_nengo.engine.cells import Filter, Neurons, dynamics_of
from keras_spiking_nengo.engine.functions import Apply, is_tensor_function
from keras_spiking_nengo.engine.host import Call, Host, Source
from keras_spiking_nengo.engine.linear import (
    Convolve,
    Learn,
    Multiply,
    Product,
    RecursiveLeastSquares,
    Sparse,
)
from keras_spiking_nengo.engine.nodes import Node
from keras_spiking_nengo.engine.signals import Fetch, Param, Ref, Value, elements
from keras_spiking_nengo.engine.translation import Translation
from keras_spiking_nengo.registry import Registry

__all__ = ["OPERATORS", "translate"]

OPERATORS: Registry = Registry("operator", governing=("make_step",))


def translate(model: Model, given: Mapping[Any, Value] | None = None) -> Translation:
    """The nodes of a built model; `assemble` adds those that make its signals.

    Args:
        model: nengo's, as its builder leaves it.
        given: base signals whose values come from outside.

    Raises:
        BuildError: for what no node can be made of.
    """
    found = Translation(model, given or {})
    for signal in (model.step, model.time):
        found.value(signal)
    for op in model.operators:
        written = [*op.sets, *op.incs]
        if written and all(signal.base in found.given for signal in written):
            continue
        if op in OPERATORS:
            OPERATORS[op](op, found)
        else:
            host(op, found)
    return found


# --- time, copies and sums ------------------------------------------------------


@OPERATORS.register(nengo_operators.TimeUpdate)
def _time(op, found) -> None:
    """Both signals come from outside: see `Program.inputs`."""


@OPERATORS.register(SimProbe)
def _probe(op, found) -> None:
    """Marks a signal as read; probes are the program's outputs anyway."""


@OPERATORS.register(nengo_operators.Reset)
def _reset(op, found) -> None:
    found.set(op.dst)
    if op.value:
        found.add_constant(op.dst, op.value)


@OPERATORS.register(nengo_operators.Copy)
def _copy(op, found) -> None:
    where = elements(op.dst)
    if op.dst_slice is not None:
        where = where.reshape(op.dst.shape)[op.dst_slice].ravel()
    index = np.arange(op.src.size)
    if op.src_slice is not None:
        index = index.reshape(op.src.shape)[op.src_slice].ravel()
    index = np.broadcast_to(index, where.shape)
    if not op.inc:
        if len(np.unique(where)) < len(where):
            raise BuildError(
                f"{op}: Cannot have repeated indices in ``dst_slice`` when copy is not"
                " an increment"
            )
        found.set(op.dst, where)
    if found.is_constant(op.src):
        found.add_constant(op.dst, found.param(op.src, index), where)
    else:
        found.add(op.dst, found.ref(op.src)[index], where)


@OPERATORS.register(nengo_operators.ElementwiseInc)
def _elementwise(op, found) -> None:
    # The positions of both factors, spread over the output.
    a, x = (np.arange(s.size).reshape(s.shape) for s in (op.A, op.X))
    shape = np.broadcast_shapes(a.shape, x.shape)
    if np.prod(shape) != op.Y.size:
        raise BuildError(
            f"Incompatible shapes in ElementwiseInc: Trying to do {op.Y.shape} +="
            f" {op.A.shape} * {op.X.shape}"
        )
    weights: list[Param] = []
    reads: list[Fetch] = []
    for signal, index in ((op.A, a), (op.X, x)):
        index = np.broadcast_to(index, shape).ravel()
        if found.is_constant(signal) and not weights:
            weights.append(found.param(signal, index))
        else:
            reads.append(Fetch([found.ref(signal)[index]]))
    out = Value(f"{_label(op)}", op.Y.size)
    node = Multiply(_label(op), tuple(reads), (out,), weights=tuple(weights))
    found.nodes.append(node)
    found.write(op, op.Y, out)


# --- products -------------------------------------------------------------------


@OPERATORS.register(nengo_operators.DotInc)
def _dot(op, found) -> None:
    if op.A.ndim < 2 and op.A.size == 1 or op.X.shape == ():
        _elementwise(op, found)
        return
    columns = op.A.shape[-1]
    rows = op.A.size // columns
    constant = found.is_constant(op.A)
    weights = (found.param(op.A),) if constant else ()
    factors = (op.X,) if constant else (op.X, op.A)
    reads = tuple(found.fetch(signal) for signal in factors)
    out = Value(_label(op), rows)
    found.nodes.append(
        Product(_label(op), reads, (out,), rows=rows, columns=columns, weights=weights)
    )
    found.write(op, op.Y, out)


@OPERATORS.register(nengo_operators.SparseDotInc)
def _sparse_dot(op, found) -> None:
    matrix = op.A.initial_value
    if scipy.sparse.issparse(matrix):
        matrix = matrix.tocoo()
        data, rows, columns = matrix.data, matrix.row, matrix.col
    else:  # nengo's own, where it found no SciPy
        data, (rows, columns) = matrix.data, np.transpose(matrix.indices)
    found.parameters[op.A.base] = data
    _add_sparse(op, found, Param(op.A.base, None, len(data)), rows, columns)


@OPERATORS.register(nengo_operators.BsrDotInc)
def _bsr_dot(op, found) -> None:
    # Numbers in place of the entries show where each of them ends up.
    blocks = np.arange(1, op.A.size + 1).reshape(op.A.shape)
    shape = (op.Y.size, op.X.size)
    matrix = scipy.sparse.bsr_matrix((blocks, op.indices, op.indptr), shape=shape)
    matrix = matrix.tocoo()
    found_where = matrix.data.astype(int) - 1
    data = found.param(op.A, found_where)
    _add_sparse(op, found, data, matrix.row, matrix.col)


def _add_sparse(op, found, data: Param, rows, columns) -> None:
    out = Value(_label(op), op.Y.size)
    own = {"data": (data,), "rows": rows, "columns": columns}
    found.nodes.append(Sparse(_label(op), (found.fetch(op.X),), (out,), **own))
    found.write(op, op.Y, out)


@OPERATORS.register(ConvInc, ConvTransposeInc)
def _convolution(op, found) -> None:
    if not found.is_constant(op.W):
        host(op, found)
        return
    out = Value(_label(op), op.Y.size)
    own = {"transform": op.conv, "kernel": (found.param(op.W),)}
    found.nodes.append(Convolve(_label(op), (found.fetch(op.X),), (out,), **own))
    found.write(op, op.Y, out)


# --- neurons and processes ------------------------------------------------------

_NENGO_NAMES = {"refractory": "refractory_time"}


@OPERATORS.register(SimNeurons)
def _neurons(op, found) -> None:
    generator = isinstance(op.neurons, nengo.neurons.RatesToSpikesNeuronType)
    if op.neurons not in (RATES_TO_SPIKES if generator else NEURONS):
        host(op, found)
        return
    dynamics = dynamics_of(op.neurons, generator)
    initial, outs = [], [Value(_label(op), op.output.size)]
    found.write(op, op.output, outs[0])
    for name in dynamics.states:
        signal = op.state.get(_NENGO_NAMES.get(name, name))
        initial.append(_initial_state(op, name, signal))
        if signal is not None:
            outs.append(Value(f"{_label(op)} {name}", signal.size))
            found.write(op, signal, outs[-1])
    shown = dynamics.states if op.state else ()
    found.nodes.append(
        Neurons(
            _label(op),
            (found.fetch(op.J),),
            tuple(outs),
            tuple(initial),
            populations=((op.neurons, op.output.size),),
            generator=generator,
            shown=tuple(shown),
        )
    )


def _initial_state(op, name: str, signal) -> np.ndarray:
    if signal is None:  # of a random stream
        if name != random.STATES[0]:
            return np.zeros(op.output.size, "int32")
        rng = np.random.RandomState()
        rng.set_state(op.state_extra["rng"].get_state())
        return rng.randint(random.MAX_KEY, size=op.output.size).astype("int32")
    value = np.array(signal.initial_value, dtype=float)
    value = np.broadcast_to(value, op.output.shape).ravel()
    if name == "refractory":
        return np.exp(np.maximum(value, 0) / op.neurons.tau_rc)
    return value


@OPERATORS.register(SimProcess)
def _process(op, found) -> None:
    linear = op.input is not None and op.process in SYNAPSES
    if not linear or op.mode == "inc":
        host(op, found)
        return
    lag = op.mode == "update"
    # A lagged output is nengo's update: its delay is in the system already.
    out = _filtered(op, found, lag)
    found.add(op.output, Ref(out, np.arange(out.size)))
    if lag:
        found.update(op.output, lambda: _filtered(op, found, False))
    else:
        found.set(op.output)


def _filtered(op, found, lag: bool) -> Value:
    """The output of a linear synapse, before or after it has moved."""
    system = _system(op.process, found.dt, int(lag))
    out = Value(_label(op), op.output.size)
    reads = (found.fetch(op.input),)
    if system.order == 0:
        node: Node = Multiply(_label(op), reads, (out,), factor=system.D)
    else:
        initial = (np.zeros((system.order, op.output.size)),)
        systems = ((system, op.output.size),)
        node = Filter(_label(op), reads, (out,), initial, systems=systems, lag=lag)
    found.nodes.append(node)
    return out


@functools.lru_cache(maxsize=256)
def _system(synapse, dt: float, delay: int) -> LinearSystem:
    return linear_system(synapse, dt, delay)


# --- learning rules -------------------------------------------------------------


def _learn(op, found, rule: Callable, *signals) -> None:
    out = Value(_label(op), op.delta.size)
    reads = tuple(found.fetch(signal) for signal in signals)
    shapes = tuple(signal.shape for signal in signals)
    found.nodes.append(Learn(_label(op), reads, (out,), shapes=shapes, rule=rule))
    found.write(op, op.delta, out)


@OPERATORS.register(SimPES)
def _pes(op, found) -> None:
    rule = functools.partial(learning.pes, op.learning_rate * found.dt)
    _learn(op, found, rule, op.pre_filtered, op.error)


@OPERATORS.register(SimBCM)
def _bcm(op, found) -> None:
    rule = functools.partial(learning.bcm, op.learning_rate * found.dt)
    _learn(op, found, rule, op.pre_filtered, op.post_filtered, op.theta)


@OPERATORS.register(SimOja)
def _oja(op, found) -> None:
    rule = functools.partial(learning.oja, op.learning_rate * found.dt, op.beta)
    _learn(op, found, rule, op.pre_filtered, op.post_filtered, op.weights)


@OPERATORS.register(SimVoja)
def _voja(op, found) -> None:
    alpha = op.learning_rate * found.dt

    def rule(decoded, post, encoders, signal):
        scale = ops.convert_to_tensor(op.scale, dtype=post.dtype)
        return learning.voja(alpha, scale, decoded, post, encoders, signal)

    signals = (op.pre_decoded, op.post_filtered, op.scaled_encoders)
    _learn(op, found, rule, *signals, op.learning_signal)


@OPERATORS.register(SimRLS)
def _rls(op, found) -> None:
    outs = (Value(_label(op), op.delta.size), Value("RLS", op.inv_gamma.size))
    initial = np.array(op.inv_gamma.initial_value, dtype=float).ravel()
    reads = (found.fetch(op.pre_filtered), found.fetch(op.error))
    found.nodes.append(RecursiveLeastSquares(_label(op), reads, outs, (initial,)))
    found.write(op, op.delta, outs[0])
    found.write(op, op.inv_gamma, outs[1])


# --- Python ---------------------------------------------------------------------


@OPERATORS.register(SimPyFunc)
def _function(op, found) -> None:
    if not is_tensor_function(op.fn) or op.output is None or not op.reads:
        host(op, found)
        return
    out = Value(_label(op), op.output.size)
    reads = tuple(found.fetch(signal) for signal in op.reads)
    own = {"function": op.fn, "timed": op.t_passed}
    found.nodes.append(Apply(_label(op), reads, (out,), **own))
    found.write(op, op.output, out)


def host(op, found) -> None:
    """Run an operator as nengo wrote it: ahead, or by a call back."""
    times = {found.model.step, found.model.time}
    given = [s for s in op.reads if s.base in times or not found.is_constant(s)]
    writes = list(dict.fromkeys([*op.sets, *op.incs, *_read_updates(op, found)]))
    call = Call(op, found.dt, given, writes, _label(op))
    found.calls[op] = call
    outs = tuple(Value(_label(op), signal.size) for signal in writes)
    ahead = len(outs) == 1 and all(signal.base in times for signal in given)
    # Functions may share what Python remembers: all keep nengo's order then.
    if ahead and not (isinstance(op, SimPyFunc) and found.interactive):
        found.sources.append(Source(call, outs[0], len(given)))
    else:
        reads = tuple(found.fetch(signal) for signal in given)
        found.nodes.append(Host(_label(op), reads, outs, call=call))
    for signal, out in zip(writes, outs, strict=True):
        found.write(op, signal, out)


def _read_updates(op, found) -> list:
    """Updated signals that others read; the rest is the operator's own affair."""
    return [s for s in op.updates if s.base in found.shared]


def _label(op) -> str:
    if op.tag:
        return str(op.tag)
    signals = (*op.sets, *op.incs, *op.updates, *op.reads)
    return f"{type(op).__name__} of {signals[0].name}" if signals else type(op).__name__
