"""Nengo's operators as nodes: one rule for each.

In a step nengo orders what happens to a signal: sets, then incs, then reads, then
updates. Each base signal becomes one `Value`, which is what is read of it in the
step. What operators write to it are terms of a sum (a set gives up what was there,
an inc does not), and an update comes through a delay of one step: a linear synapse
has that delay in itself.

A signal that nothing writes is a parameter.
"""

import functools
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
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
from nengo.builder.operator import Operator
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
from keras_spiking_nengo.engine.nodes import Accumulate, Node, Sum
from keras_spiking_nengo.engine.signals import Fetch, Param, Ref, Value, elements
from keras_spiking_nengo.rules import Rules

__all__ = ["OPERATORS", "Translation", "translate"]

OPERATORS: Rules = Rules("operator", governing=("make_step",))

_DELAY = LinearSystem(np.zeros((1, 1)), np.ones(1), np.ones(1), 0.0)


@dataclass(eq=False)
class Translation:
    """What is known while a model is translated, and at the end of it.

    Attributes:
        model: nengo's built model.
        given: base signals whose values come from outside, as values.
        nodes: in the order of the operators.
        sources: values that depend on the time alone.
        values: of base signals.
        parameters: initial values of the signals that nothing writes.
    """

    model: Model
    given: Mapping[Any, Value] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)
    sources: list[Source] = field(default_factory=list)
    calls: dict[Operator, Call] = field(default_factory=dict)
    values: dict[Any, Value] = field(default_factory=dict)
    parameters: dict[Any, Any] = field(default_factory=dict)

    def __post_init__(self):
        self.values.update(self.given)
        self._written = {
            signal.base
            for op in self.model.operators
            for signal in (*op.sets, *op.incs, *op.updates)
        } - self.given.keys()
        self._parts: dict[Any, list] = defaultdict(list)
        self._constants: dict[Any, list] = defaultdict(list)
        self._set: dict[Any, np.ndarray] = {}
        self._updates: dict[Any, list] = defaultdict(list)
        self._read_bases: set[Any] = set()
        # What some operator reads, a probe among them.
        self.shared = {s.base for op in self.model.operators for s in op.reads}

    @functools.cached_property
    def interactive(self) -> bool:
        """Whether Python functions are called while the program runs."""
        times = {self.model.step, self.model.time}
        return any(
            isinstance(op, SimPyFunc)
            and not is_tensor_function(op.fn)
            and (op.output is None or any(s.base not in times for s in op.reads))
            for op in self.model.operators
        )

    # --- reading ----------------------------------------------------------------

    @property
    def dt(self) -> float:
        return self.model.dt

    def is_constant(self, signal) -> bool:
        base = signal.base
        return base not in self._written and base not in self.given

    def value(self, signal) -> Value:
        """The value of a signal's base."""
        base = signal.base
        if base not in self.values:
            self.values[base] = Value(base.name, base.size, base.shape)
        return self.values[base]

    def ref(self, signal) -> Ref:
        """What a signal is in this step, also if it is a parameter."""
        self._read_bases.add(signal.base)
        return Ref(self.value(signal), elements(signal))

    def fetch(self, signal) -> Fetch:
        return Fetch([self.ref(signal)])

    def param(self, signal, index=None) -> Param:
        """A constant signal as a parameter."""
        base = signal.base
        initial = base.initial_value
        if not base.sparse:
            self.parameters[base] = initial
        if index is None and not signal.is_view:
            return Param(base, None, base.size)
        found = elements(signal) if index is None else elements(signal)[index]
        return Param(base, found, base.size)

    # --- writing ----------------------------------------------------------------

    def set(self, signal, index=None) -> None:
        """Say that elements of a signal do not go on from their last value."""
        base = signal.base
        covered = self._set.setdefault(base, np.zeros(base.size, bool))
        covered[elements(signal) if index is None else index] = True

    def add(self, signal, ref: Ref, index=None) -> None:
        """Add values to a signal, or to those of its base's elements in `index`."""
        where = elements(signal) if index is None else index
        self._parts[signal.base].append((ref, where))

    def add_constant(self, signal, value: Param | float, index=None) -> None:
        where = elements(signal) if index is None else index
        self._constants[signal.base].append((value, where))

    def write(self, op: Operator, signal, value: Value) -> None:
        """Write a value as the operator declares it: by set, inc or update."""
        ref = Ref(value, np.arange(value.size))
        if any(signal is s for s in op.sets):
            self.set(signal)
        elif any(signal is s for s in op.updates):
            self.update(signal, lambda: value)
            ref = Ref(self.delayed(value, signal), ref.index)
        self.add(signal, ref)

    def update(self, signal, after: Callable[[], Value]) -> None:
        """Say that a signal is updated: `after` makes what it then is."""
        self.set(signal)
        self._updates[signal.base].append((after, elements(signal)))

    def shown(self, signal) -> Fetch:
        """What a probe shows of a signal: its elements after the step's updates."""
        updates = self._updates.get(signal.base, [])
        where = elements(signal)
        updated = np.full(signal.base.size, -1)
        for i, (_, index) in enumerate(updates):
            updated[index] = i
        if np.all(updated[where] < 0):
            return self.fetch(signal)
        parts = []
        for i, (after, index) in enumerate(updates):
            value, chosen = after(), updated[index] == i
            parts.append((Ref(value, np.flatnonzero(chosen)), index[chosen]))
        rest = np.flatnonzero(updated < 0)
        parts.append((Ref(self.value(signal), rest), rest))
        out = Value(f"{signal.base.name} after", signal.base.size, signal.base.shape)
        self.nodes.append(Sum.of(signal.base.name, out, parts, ()))
        return Fetch([Ref(out, where)])

    def delayed(self, value: Value, signal) -> Value:
        """The value that was computed in the last step."""
        out = Value(f"{value.name} before", value.size)
        initial = np.array(signal.initial_value, dtype=float).reshape(1, -1)
        read = Fetch([Ref(value, np.arange(value.size))])
        node = Filter(
            value.name, (read,), (out,), (initial,), systems=((_DELAY, value.size),)
        )
        self.nodes.append(node)
        return out

    # --- the whole --------------------------------------------------------------

    def assemble(self) -> None:
        """Make a sum of what is written to each signal."""
        for base in self.model_bases():
            if base in self.given:
                continue
            if base in self._written:
                self.nodes.append(self._sum(base))
            elif base in self._read_bases:
                param = self.param(base)
                parts = [(param, np.arange(base.size))]
                out = self.value(base)
                self.nodes.append(Sum.of(base.name, out, (), parts))

    def model_bases(self):
        """All base signals that are written or read as values, in order."""
        bases = dict.fromkeys(
            signal.base
            for op in self.model.operators
            for signal in op.all_signals
            if not signal.sparse
        )
        bases.update(dict.fromkeys(self._read_bases))
        times = {self.model.step, self.model.time}
        return [base for base in bases if base not in times]

    def _sum(self, base) -> Node:
        out, parts = self.value(base), self._parts[base]
        constants = list(self._constants[base])
        kept = ~self._set.get(base, np.zeros(base.size, bool))
        grows = np.zeros(base.size, bool)
        for _, where in (*parts, *constants):
            grows[where] = True
        grows &= kept
        initial = np.array(base.initial_value, dtype=float).ravel()
        still = np.flatnonzero(kept & ~grows & (initial != 0))
        if still.size:
            constants.append((Param(base, still, base.size), still))
            self.parameters[base] = base.initial_value
        if not grows.any():
            return Sum.of(base.name, out, parts, constants)
        state = np.where(grows, initial, 0.0)
        own = {"initial": (state,), "kept": (grows.astype(float),)}
        return Accumulate.of(base.name, out, parts, constants, **own)


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
