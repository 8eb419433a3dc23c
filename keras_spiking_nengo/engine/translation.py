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
from keras_spiking_nengo.engine.filters import Filter
from keras_spiking_nengo.engine.functions import is_tensor_function
from keras_spiking_nengo.engine.operation import Operation
from keras_spiking_nengo.engine.python_operators import PythonOperator, TimedInput
from keras_spiking_nengo.engine.signals import (
    Gather,
    Slice,
    Value,
    Weight,
    elements,
    whole_slice,
    written_bases,
)

__all__ = ["ONE_STEP", "Translation"]

ONE_STEP = LinearSystem(np.zeros((1, 1)), np.ones(1), np.ones(1), 0.0)


@dataclass(eq=False)
class Translation:
    """What is known while a model is translated, and at the end of it.

    Attributes:
        model: nengo's built model.
        outside: base signals whose values come from outside, as values.
        present: values of signals after some steps, from which the program goes on.
        operations: in the order of the operators.
        timed_inputs: values that depend on the time alone.
        python_operators: operators that run in Python, and what runs each.
        values: of base signals.
        parameters: initial values of the signals that nothing writes.
    """

    model: Model
    outside: Mapping[Any, Value] = field(default_factory=dict)
    present: Mapping[Any, np.ndarray] = field(default_factory=dict)
    operations: list[Operation] = field(default_factory=list)
    timed_inputs: list[TimedInput] = field(default_factory=list)
    python_operators: dict[Operator, PythonOperator] = field(default_factory=dict)
    values: dict[Any, Value] = field(default_factory=dict)
    parameters: dict[Any, Any] = field(default_factory=dict)

    def __post_init__(self):
        self.values.update(self.outside)
        self.written = written_bases(self.model.operators).keys() - self.outside.keys()
        # What is written to base signals, and where: see `add`, `set` and `update`.
        self.terms: dict[Any, list] = defaultdict(list)
        self.constants: dict[Any, list] = defaultdict(list)
        self.overwritten: dict[Any, np.ndarray] = {}
        self.updates: dict[Any, list] = defaultdict(list)
        self.read_bases: set[Any] = set()
        # What some operator reads, a probe among them.
        self.shared = {s.base for op in self.model.operators for s in op.reads}

    @functools.cached_property
    def calls_python(self) -> bool:
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

    def first_value(self, signal) -> np.ndarray:
        """What a signal is before the first step of the program."""
        value = self.present.get(signal, signal.initial_value)
        return np.array(value, dtype=float)

    def is_constant(self, signal) -> bool:
        base = signal.base
        return base not in self.written and base not in self.outside

    def value(self, signal) -> Value:
        """The value of a signal's base."""
        base = signal.base
        if base not in self.values:
            self.values[base] = Value(base.name, base.size, base.shape)
        return self.values[base]

    def piece(self, signal) -> Slice:
        """What a signal is in this step, also if it is a parameter."""
        self.read_bases.add(signal.base)
        return Slice(self.value(signal), elements(signal))

    def gathers(self, *signals) -> tuple[Gather, ...]:
        """The elements of each signal."""
        return tuple(map(self.gather, signals))

    def gather(self, signal) -> Gather:
        return Gather([self.piece(signal)])

    def weight(self, signal, index=None) -> Weight:
        """A constant signal as a parameter."""
        base = signal.base
        initial = base.initial_value
        if not base.sparse:
            self.parameters[base] = initial
        if index is None and not signal.is_view:
            return Weight(base, None, base.size)
        where = elements(signal) if index is None else elements(signal)[index]
        return Weight(base, where, base.size)

    # --- writing ----------------------------------------------------------------

    def set(self, signal, index=None) -> None:
        """Say that elements of a signal do not go on from their last value."""
        base = signal.base
        covered = self.overwritten.setdefault(base, np.zeros(base.size, bool))
        covered[elements(signal) if index is None else index] = True

    def add(self, signal, piece: Slice, index=None) -> None:
        """Add values to a signal, or to those of its base's elements in `index`."""
        where = elements(signal) if index is None else index
        self.terms[signal.base].append((piece, where))

    def add_constant(self, signal, value: Weight | float, index=None) -> None:
        where = elements(signal) if index is None else index
        self.constants[signal.base].append((value, where))

    def write(self, op: Operator, signal, value: Value) -> None:
        """Write a value as the operator declares it: by set, inc or update."""
        piece = whole_slice(value)
        if any(signal is s for s in op.sets):
            self.set(signal)
        elif any(signal is s for s in op.updates):
            self.update(signal, lambda: value)
            piece = whole_slice(self.delayed(value, signal))
        self.add(signal, piece)

    def update(self, signal, after: Callable[[], Value]) -> None:
        """Say that a signal is updated: `after` makes what it then is."""
        self.set(signal)
        self.updates[signal.base].append((after, elements(signal)))

    def delayed(self, value: Value, signal) -> Value:
        """The value that was computed in the last step."""
        out = Value(f"{value.name} before", value.size)
        initial = self.first_value(signal).reshape(1, -1)
        read = Gather([whole_slice(value)])
        operation = Filter(
            value.name, (read,), (out,), (initial,), systems=((ONE_STEP, value.size),)
        )
        self.operations.append(operation)
        return out
