"""What nengo's operators say, gathered by signal.

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

import numpy as np
from nengo.builder import Model
from nengo.builder.node import SimPyFunc
from nengo.builder.operator import Operator

from keras_spiking_nengo.dynamics.synapses import LinearSystem
from keras_spiking_nengo.engine.cells import Filter
from keras_spiking_nengo.engine.functions import is_tensor_function
from keras_spiking_nengo.engine.host import Call, Source
from keras_spiking_nengo.engine.nodes import Accumulate, Node, Sum
from keras_spiking_nengo.engine.signals import Fetch, Param, Ref, Value, elements

__all__ = ["Translation"]

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
