"""Nengo's operators as operations: one rule for each."""

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
from keras_spiking_nengo.dynamics.synapses import (
    SYNAPSES,
    LinearSystem,
    linear_system,
    state_of_nengo,
)
from keras_spiking_nengo.engine import functions, python_operators
from keras_spiking_nengo.engine.filters import Filter
from keras_spiking_nengo.engine.keras_layers import KerasLayer, LayerCall
from keras_spiking_nengo.engine.operation import Operation
from keras_spiking_nengo.engine.plasticity import (
    Learn,
    RecursiveLeastSquares,
    SpikeTiming,
)
from keras_spiking_nengo.engine.populations import Population, dynamics_of
from keras_spiking_nengo.engine.products import Convolve, Multiply, Product, Sparse
from keras_spiking_nengo.engine.signals import (
    Gather,
    Slice,
    Value,
    Weight,
    elements,
    is_replaced,
)
from keras_spiking_nengo.engine.sim_stdp import SimSTDP
from keras_spiking_nengo.engine.translation import Translation, first_value
from keras_spiking_nengo.registry import Registry

__all__ = ["OPERATORS", "translate"]

OPERATORS: Registry = Registry("operator", governing=("make_step",))


def translate(
    model: Model,
    outside: Mapping[Any, Value] | None = None,
    present: Mapping[Any, np.ndarray] | None = None,
) -> Translation:
    """The operations of a built model; `assembly` adds those that make its signals.

    Args:
        model: nengo's, as its builder leaves it.
        outside: base signals whose values come from outside.
        present: values of base signals after some steps, to go on from.

    Raises:
        BuildError: for what no operation can be made of.
    """
    translation = Translation(model, outside or {}, present or {})
    for signal in (model.step, model.time):
        translation.value(signal)
    for op in model.operators:
        if is_replaced(op, translation.outside):
            continue
        if op in OPERATORS:
            OPERATORS[op](op, translation)
        else:
            run_python(op, translation)
    return translation


def _append(op, translation, kind, reads: tuple[Gather, ...], target, **fields) -> None:
    """Adds an operation of `kind`, whose output is written to the signal `target`."""
    out = Value(_operator_label(op), target.size)
    operation = kind(_operator_label(op), reads, (out,), **fields)
    translation.operations.append(operation)
    translation.write(op, target, out)


# --- time, copies and sums ------------------------------------------------------


@OPERATORS.register(nengo_operators.TimeUpdate)
def _time(op, translation) -> None:
    """Both signals come from outside: see `Program.inputs`."""


@OPERATORS.register(SimProbe)
def _probe(op, translation) -> None:
    """Marks a signal as read; probes are the program's outputs anyway."""


@OPERATORS.register(nengo_operators.Reset)
def _reset(op, translation) -> None:
    translation.set(op.dst)
    if op.value:
        translation.add_constant(op.dst, op.value)


@OPERATORS.register(nengo_operators.Copy)
def _copy(op, translation) -> None:
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
        translation.set(op.dst, where)
    if translation.is_constant(op.src):
        translation.add_constant(op.dst, translation.weight(op.src, index), where)
    else:
        translation.add(op.dst, translation.piece(op.src)[index], where)


@OPERATORS.register(nengo_operators.ElementwiseInc)
def _elementwise_inc(op, translation) -> None:
    # The positions of both factors, spread over the output.
    a, x = (np.arange(s.size).reshape(s.shape) for s in (op.A, op.X))
    shape = np.broadcast_shapes(a.shape, x.shape)
    if np.prod(shape) != op.Y.size:
        raise BuildError(
            f"Incompatible shapes in ElementwiseInc: Trying to do {op.Y.shape} +="
            f" {op.A.shape} * {op.X.shape}"
        )
    weights: list[Weight] = []
    reads: list[Gather] = []
    for signal, index in ((op.A, a), (op.X, x)):
        index = np.broadcast_to(index, shape).ravel()
        if translation.is_constant(signal) and not weights:
            weights.append(translation.weight(signal, index))
        else:
            reads.append(Gather([translation.piece(signal)[index]]))
    _append(op, translation, Multiply, tuple(reads), op.Y, weights=tuple(weights))


# --- products -------------------------------------------------------------------


@OPERATORS.register(nengo_operators.DotInc)
def _dot(op, translation) -> None:
    if op.A.ndim < 2 and op.A.size == 1 or op.X.shape == ():
        _elementwise_inc(op, translation)
        return
    columns = op.A.shape[-1]
    sizes = {"rows": op.A.size // columns, "columns": columns}
    constant = translation.is_constant(op.A)
    weights = (translation.weight(op.A),) if constant else ()
    reads = translation.gathers(*((op.X,) if constant else (op.X, op.A)))
    _append(op, translation, Product, reads, op.Y, weights=weights, **sizes)


@OPERATORS.register(nengo_operators.SparseDotInc)
def _sparse_dot(op, translation) -> None:
    matrix = op.A.initial_value
    if scipy.sparse.issparse(matrix):
        matrix = matrix.tocoo()
        data, rows, columns = matrix.data, matrix.row, matrix.col
    else:  # nengo's own, where it found no SciPy
        data, (rows, columns) = matrix.data, np.transpose(matrix.indices)
    translation.parameters[op.A.base] = data
    _add_sparse(op, translation, Weight(op.A.base, None, len(data)), rows, columns)


@OPERATORS.register(nengo_operators.BsrDotInc)
def _bsr_dot(op, translation) -> None:
    # Numbers in place of the entries show where each of them ends up.
    blocks = np.arange(1, op.A.size + 1).reshape(op.A.shape)
    shape = (op.Y.size, op.X.size)
    matrix = scipy.sparse.bsr_matrix((blocks, op.indices, op.indptr), shape=shape)
    matrix = matrix.tocoo()
    places = matrix.data.astype(int) - 1
    data = translation.weight(op.A, places)
    _add_sparse(op, translation, data, matrix.row, matrix.col)


def _add_sparse(op, translation, data: Weight, rows, columns) -> None:
    fields = {"data": (data,), "rows": rows, "columns": columns}
    _append(op, translation, Sparse, translation.gathers(op.X), op.Y, **fields)


@OPERATORS.register(ConvInc, ConvTransposeInc)
def _convolve(op, translation) -> None:
    if not translation.is_constant(op.W):
        run_python(op, translation)
        return
    fields = {"transform": op.conv, "kernel": (translation.weight(op.W),)}
    _append(op, translation, Convolve, translation.gathers(op.X), op.Y, **fields)


# --- neurons and processes ------------------------------------------------------


@OPERATORS.register(SimNeurons)
def _sim_neurons(op, translation) -> None:
    generator = isinstance(op.neurons, nengo.neurons.RatesToSpikesNeuronType)
    if op.neurons not in (RATES_TO_SPIKES if generator else NEURONS):
        run_python(op, translation)
        return
    dynamics = dynamics_of(op.neurons, generator)
    initial, outs = [], [Value(_operator_label(op), op.output.size)]
    translation.write(op, op.output, outs[0])
    for name in dynamics.states:
        signal = op.state.get(name)
        initial.append(_initial_state(op, translation, name, signal))
        if signal is not None:
            outs.append(Value(f"{_operator_label(op)} {name}", signal.size))
            translation.write(op, signal, outs[-1])
    common = _operator_label(op), translation.gathers(op.J), tuple(outs), tuple(initial)
    kinds = ((op.neurons, op.output.size),)
    shown = tuple(dynamics.states if op.state else ())
    operation = Population(*common, kinds, generator=generator, shown=shown)
    translation.operations.append(operation)


def _initial_state(op, translation, name: str, signal) -> np.ndarray:
    if signal is None:  # of a random stream
        seeded = name == random.STATES[0]
        return stream_seeds(op) if seeded else np.zeros(op.output.size, "int32")
    return np.broadcast_to(first_value(translation, signal), op.output.shape).ravel()


def stream_seeds(op: SimNeurons) -> np.ndarray:
    """Seeds of neurons that draw random numbers."""
    rng = np.random.RandomState()
    rng.set_state(op.state_extra["rng"].get_state())
    return rng.randint(random.MAX_KEY, size=op.output.size).astype("int32")


@OPERATORS.register(SimProcess)
def _process(op, translation) -> None:
    if functions.is_one(op.process) and op.mode == "set":
        translation.set(op.output)
        translation.add_constant(op.output, 1.0)
        return
    if isinstance(op.process, KerasLayer) and op.process.is_compiled:
        _keras_layer(op, translation)
        return
    linear = op.input is not None and op.process in SYNAPSES
    if not linear or op.mode == "inc":
        run_python(op, translation)
        return
    lag = op.mode == "update"
    # A lagged output is nengo's update: its delay is in the system already.
    out = _synapse_output(op, translation, lag)
    translation.add(op.output, Slice(out, np.arange(out.size)))
    if lag:
        translation.update(op.output, lambda: _synapse_output(op, translation, False))
    else:
        translation.set(op.output)


def _keras_layer(op, translation) -> None:
    for weight in op.process.weights:
        translation.weight(weight)
    label, out = _operator_label(op), Value(_operator_label(op), op.output.size)
    reads, seed = translation.gathers(op.input), len(translation.operations)
    translation.operations.append(LayerCall.of(label, reads, (out,), op.process, seed))
    translation.write(op, op.output, out)


def _synapse_output(op, translation, lag: bool) -> Value:
    """The output of a linear synapse, before or after it has moved."""
    system = _discrete_system(op.process, translation.dt, int(lag))
    out = Value(_operator_label(op), op.output.size)
    common = _operator_label(op), translation.gathers(op.input), (out,)
    if system.order == 0:
        operation: Operation = Multiply(*common, factor=system.D)
    else:
        initial = (_first_state(op, translation, system, lag),)
        systems = ((system, op.output.size),)
        operation = Filter(*common, initial, systems=systems, lag=lag)
    translation.operations.append(operation)
    return out


def _first_state(op, translation, system: LinearSystem, lag: bool) -> np.ndarray:
    if not translation.present:
        return np.zeros((system.order, op.output.size))
    states = {k: first_value(translation, s) for k, s in op.state.items()}
    sent = first_value(translation, op.output).ravel()
    return state_of_nengo(op.process, translation.dt, system, states, sent)


@functools.lru_cache(maxsize=256)
def _discrete_system(synapse, dt: float, delay: int) -> LinearSystem:
    return linear_system(synapse, dt, delay)


# --- learning rules -------------------------------------------------------------


def _learn(op, translation, rule: Callable, *signals) -> None:
    shapes = tuple(signal.shape for signal in signals)
    reads = translation.gathers(*signals)
    _append(op, translation, Learn, reads, op.delta, shapes=shapes, rule=rule)


@OPERATORS.register(SimPES)
def _pes(op, translation) -> None:
    rule = functools.partial(learning.pes, op.learning_rate * translation.dt)
    _learn(op, translation, rule, op.pre_filtered, op.error)


@OPERATORS.register(SimBCM)
def _bcm(op, translation) -> None:
    rule = functools.partial(learning.bcm, op.learning_rate * translation.dt)
    _learn(op, translation, rule, op.pre_filtered, op.post_filtered, op.theta)


@OPERATORS.register(SimOja)
def _oja(op, translation) -> None:
    rule = functools.partial(learning.oja, op.learning_rate * translation.dt, op.beta)
    _learn(op, translation, rule, op.pre_filtered, op.post_filtered, op.weights)


@OPERATORS.register(SimVoja)
def _voja(op, translation) -> None:
    alpha = op.learning_rate * translation.dt

    def rule(decoded, post, encoders, signal):
        scale = ops.convert_to_tensor(op.scale, dtype=post.dtype)
        return learning.voja(alpha, scale, decoded, post, encoders, signal)

    signals = (op.pre_decoded, op.post_filtered, op.scaled_encoders)
    _learn(op, translation, rule, *signals, op.learning_signal)


@OPERATORS.register(SimRLS)
def _rls(op, translation) -> None:
    outs = (Value(_operator_label(op), op.delta.size), Value("RLS", op.inv_gamma.size))
    initial = first_value(translation, op.inv_gamma).ravel()
    reads = translation.gathers(op.pre_filtered, op.error)
    translation.operations.append(
        RecursiveLeastSquares(_operator_label(op), reads, outs, (initial,))
    )
    translation.write(op, op.delta, outs[0])
    translation.write(op, op.inv_gamma, outs[1])


@OPERATORS.register(SimSTDP)
def _stdp(op, translation) -> None:
    label = _operator_label(op)
    outs = tuple(Value(f"{label} {s.name}", s.size) for s in op.updates)
    initial = tuple(first_value(translation, s).ravel() for s in op.updates[1:])
    ends = zip(op.reads, op.ends, strict=False)
    taken = (Gather([translation.piece(signal)[index]]) for signal, index in ends)
    reads = (*taken, *translation.gathers(*op.reads[2:]))
    fields = {"rule": op.rule, "heights": op.heights}
    translation.operations.append(SpikeTiming(label, reads, outs, initial, **fields))
    for signal, out in zip(op.updates, outs, strict=True):
        translation.write(op, signal, out)


# --- Python ---------------------------------------------------------------------


@OPERATORS.register(SimPyFunc)
def _python_function(op, translation) -> None:
    if not functions.is_tensor_function(op.fn) or op.output is None or not op.reads:
        run_python(op, translation)
        return
    reads, fields = translation.gathers(*op.reads), {"function": op.fn}
    _append(
        op,
        translation,
        functions.TensorOperation,
        reads,
        op.output,
        timed=op.t_passed,
        **fields,
    )


def run_python(op, translation) -> None:
    """Run an operator as nengo wrote it: ahead, or by a call back."""
    times = {translation.model.step, translation.model.time}
    clocks = [s for s in op.reads if s.base in times]
    others = [s for s in op.reads if s.base not in times]
    reads = [s for s in others if not translation.is_constant(s)]
    writes = list(dict.fromkeys([*op.sets, *op.incs, *_read_updates(op, translation)]))
    operator = python_operators.PythonOperator(
        op, translation.dt, reads, clocks, writes, _operator_label(op)
    )
    translation.python_operators[op] = operator
    outs = tuple(Value(_operator_label(op), signal.size) for signal in writes)
    ahead = len(outs) == 1 and not reads
    # Functions may share what Python remembers: all keep nengo's order then.
    if ahead and not (isinstance(op, SimPyFunc) and translation.calls_python):
        translation.timed_inputs.append(python_operators.TimedInput(operator, outs[0]))
    else:
        gathers = translation.gathers(*reads)
        call = python_operators.PythonCall(
            _operator_label(op), gathers, outs, operator=operator
        )
        translation.operations.append(call)
    for signal, out in zip(writes, outs, strict=True):
        translation.write(op, signal, out)


def _read_updates(op, translation) -> list:
    """Updated signals that others read; the rest is the operator's own affair."""
    return [s for s in op.updates if s.base in translation.shared]


def _operator_label(op) -> str:
    if op.tag:
        return str(op.tag)
    signals = (*op.sets, *op.incs, *op.updates, *op.reads)
    return f"{type(op).__name__} of {signals[0].name}" if signals else type(op).__name__
