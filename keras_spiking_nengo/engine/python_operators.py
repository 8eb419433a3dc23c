"""Operators that run as nengo wrote them: Python, on NumPy arrays.

A `PythonOperator` runs one nengo operator by its own `make_step`, on signals of its
own, for every item of a batch and every step in order. Where it needs nothing but the
time it is a `TimedInput` of the program, whose values are there before a sequence is
run; else a `PythonCall`, an operation that calls Python while the program runs.

The number of the step comes with each call. Step 1 begins a sequence: what an item
remembers is made anew then, as `nengo.Simulator.reset` does, from the random numbers
that it was given first; while training, from others in every sequence. Number 0 is no
step, of an item that is masked.

A reverse pass computes the steps of a loop again, backwards. Python, which goes
forwards only, is not called again: its answers were recorded.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from nengo.builder.operator import Operator, SimPyFunc
from nengo.builder.processes import SimProcess
from nengo.builder.signal import Signal, SignalDict
from nengo.exceptions import SimulationError
from nengo.utils.functions import function_name

from keras_spiking_nengo.dynamics.loops import call_host
from keras_spiking_nengo.engine.operation import Operation
from keras_spiking_nengo.engine.signals import Value

__all__ = ["PythonCall", "PythonOperator", "TimedInput"]


@dataclass
class _Item:
    """What an operator remembers of one item of a batch.

    Attributes:
        signals: its private values of nengo's signals.
        step: nengo's function that changes them.
        fresh: whether no step was done yet.
    """

    signals: Mapping
    step: Callable[[], None]
    fresh: bool = True


class PythonOperator:
    """One operator, and its private signals for each item of a batch.

    Args:
        op: nengo operator.
        dt: float, seconds.
        reads: signals that are given before each step.
        clocks: signals of the number of the step and of the time, which are made of
            the number here: Nengo's time is a double.
        writes: signals that are returned after it.
        label: of the nengo object.

    Attributes:
        independent: whether each item of a batch has random numbers of its own.
        error: what the operator raised last, as a compiled program hides it.
        answers: what was recorded and not recalled.
    """

    def __init__(
        self,
        op: Operator,
        dt: float,
        reads: Sequence[Signal],
        clocks: Sequence[Signal],
        writes: Sequence[Signal],
        label: str,
    ):
        self.op = op
        self.dt = dt
        self.reads = tuple(reads)
        self.clocks = tuple(clocks)
        self.writes = tuple(writes)
        self.label = label
        self.independent = False
        self.error: BaseException | None = None
        self.answers: list[np.ndarray] = []
        self.reset(np.random.RandomState(0))

    @property
    def size(self) -> int:
        """Number of elements of a step's outputs."""
        return sum(signal.size for signal in self.writes)

    def reset(self, rng: np.random.RandomState) -> None:
        """Begin anew, drawing from `rng` what nengo would."""
        self.error = None
        self._drawn = self._drawn_anew = rng.get_state()
        self._items = [self.item(rng)]

    def begin_anew(self, draw: bool = False) -> None:
        """Begin a sequence in all items, with the random numbers of the last reset.

        Args:
            draw: with others instead, which no sequence had before.
        """
        for position in range(len(self._items)):
            self._begin_anew(position, draw)

    def _begin_anew(self, position: int, draw: bool) -> None:
        if draw and not position:
            rng = np.random.RandomState()
            rng.set_state(self._drawn_anew)
            self._drawn_anew = np.random.RandomState(rng.randint(2**31)).get_state()
        changed = self._drawn_anew is not self._drawn
        if changed or not self._items[position].fresh:
            drawn = self._drawn_anew if draw else self._drawn
            self._items[position] = self.item(self._generator(position, drawn))

    def go_on(self, signals: Mapping, step: Callable[[], None]) -> None:
        """Go on with one item, from what runs elsewhere and will not any more.

        Args:
            signals: arrays of the operator's signals.
            step: nengo's function that changes them.
        """
        self._items = [_Item(signals, step, fresh=False)]

    def memory(self) -> list[dict]:
        """The values of each item's signals."""
        return [
            {
                key: np.array(value)
                for key, value in item.signals.items()
                if not key.readonly
            }
            for item in self._items
        ]

    def restore(self, memory: list[dict]) -> None:
        """Set the signals to what `memory` returned."""
        for item, values in zip(self.items(len(memory)), memory, strict=True):
            for key, value in values.items():
                item.signals[key][...] = value

    def items(self, size: int) -> list[_Item]:
        """The first `size` items; those that are missing are made."""
        for position in range(len(self._items), size):
            generator = self._generator(position, self._drawn)
            self._items.append(self.item(generator))
        return self._items[:size]

    def _generator(self, position: int, drawn) -> np.random.RandomState:
        rng = np.random.RandomState()
        rng.set_state(drawn)
        if self.independent and position:
            rng = np.random.RandomState(rng.randint(2**31) ^ position)
        return rng

    def item(self, rng: np.random.RandomState) -> _Item:
        """What is remembered of an item before its first step."""
        signals = SignalDict()
        self.op.init_signals(signals)
        return _Item(signals, self.op.make_step(signals, self.dt, rng))

    def __call__(
        self, steps: np.ndarray, *inputs: np.ndarray, draw: bool = False
    ) -> np.ndarray:
        """Outputs of steps, in order.

        Args:
            steps: `(batch, [time,] 1)`, numbers of the steps. An item begins anew
                where its number is 1, and does nothing where it is 0.
            *inputs: `(batch, [time,] size)` for each signal in `reads`.
            draw: as for `begin_anew`.

        Returns:
            `(batch, [time,] size)`, with one element if there are no `writes`.
        """
        try:
            return self._outputs(steps, inputs, draw)
        except BaseException as error:  # an interruption by the user, too
            self.error = error
            raise

    def _outputs(self, steps, inputs, draw):
        lead = steps.shape[:-1]
        numbers = np.reshape(steps, (lead[0], -1))
        frames = [np.reshape(x, (*numbers.shape, x.shape[-1])) for x in inputs]
        outputs = np.zeros((*numbers.shape, max(self.size, 1)))
        self.items(lead[0])
        for t in range(numbers.shape[1]):
            for b in range(lead[0]):
                if numbers[b, t] == 1:
                    self._begin_anew(b, draw)
                if numbers[b, t]:
                    values = [x[b, t] for x in frames]
                    y = self.advance(self._items[b], int(numbers[b, t]), values)
                    outputs[b, t, : self.size] = y
        return outputs.reshape((*lead, -1))

    def record(self, *arrays: np.ndarray, draw: bool = False) -> np.ndarray:
        """As a call, and keep the answer until it is recalled."""
        self.answers.append(self(*arrays, draw=draw))
        return self.answers[-1]

    def recall(self, *arrays: np.ndarray, draw: bool = False) -> np.ndarray:
        """The last answer that was recorded and not recalled; else that of a call."""
        return self.answers.pop() if self.answers else self(*arrays, draw=draw)

    def advance(
        self, item: _Item, step: int, values: Sequence[np.ndarray] = ()
    ) -> np.ndarray:
        """One step of an item: the elements of `writes`, one after the other.

        Args:
            item: of `items`.
            step: its number.
            values: flat, one array for each signal in `reads`.
        """
        item.fresh = False
        signals = item.signals
        for signal, value in zip(self.reads, values, strict=True):
            signals[signal][...] = value.reshape(signal.shape)
        for signal in self.clocks:
            counts = signal.dtype.kind != "f"
            signals[signal][...] = step if counts else step * self.dt
        for signal in self.op.incs:
            signals[signal][...] = 0
        with np.errstate(invalid="raise", divide="ignore"):
            item.step()
        # Concatenation copies: Python goes on changing the signals.
        return np.concatenate(
            [np.zeros(0), *(np.ravel(signals[signal]) for signal in self.writes)]
        )


@dataclass(frozen=True, eq=False)
class PythonCall(Operation):
    """An operation that runs a `PythonOperator` while the program runs."""

    operator: Any = None

    calls_python = True

    def compute(self, p, x, state, mode, steps):
        function = {
            "call": self.operator,
            "record": self.operator.record,
            "recall": self.operator.recall,
        }[mode.python]
        function = functools.partial(function, draw=mode.training)
        size = max(self.operator.size, 1)
        y = call_host(function, [steps, *x], size, mode.dtype, self.label)
        if not self.outs:
            return [], []
        ends = np.cumsum([out.size for out in self.outs])
        return [
            y[..., int(end) - out.size : int(end)]
            for out, end in zip(self.outs, ends, strict=True)
        ], []


class TimedInput:
    """A value that depends on nothing but the time.

    Args:
        operator: what computes it; it reads nothing but the time.
        value: what it is in the program.
    """

    def __init__(self, operator: PythonOperator, value: Value):
        self.operator = operator
        self.value = value
        # Values of the steps after the first so many, for `at`.
        self._dropped = 0
        self._drawn = False
        self._held = np.zeros((0, value.size))

    @property
    def label(self) -> str:
        """Of the nengo object."""
        return self.operator.label

    def draws(self, n_steps: int) -> bool:
        """Whether other random numbers give so many first steps other values."""
        if not isinstance(self.operator.op, SimProcess):
            return False
        items = [self.operator.item(np.random.RandomState(seed)) for seed in (0, 1)]
        steps = range(1, n_steps + 1)
        first, second = (self._values(item, steps) for item in items)
        return not np.array_equal(first, second, equal_nan=True)

    def __call__(
        self, first: int, n_steps: int, batch: int = 1, draw: bool = False
    ) -> np.ndarray:
        """Values `(batch or 1, n_steps, size)` of the steps after the `first` ones.

        Without any `first` ones the operator begins anew, and may `draw`, as in
        `PythonOperator.begin_anew`. Items have values of their own only if the operator
        is `independent`.
        """
        op = self.operator.op
        steps = range(first + 1, first + n_steps + 1)
        if isinstance(op, SimPyFunc) and op.t_passed:
            times = np.array(steps) * self.operator.dt
            return _evaluated(op.fn, times, self.value.size)[None]
        if not first:
            self.operator.begin_anew(draw)
        items = self.operator.items(batch if self.operator.independent else 1)
        return np.stack([self._values(item, steps) for item in items])

    def _values(self, item: _Item, steps: Sequence[int]) -> np.ndarray:
        return np.stack([self.operator.advance(item, step) for step in steps])

    def at(self, steps: np.ndarray, draw: bool = False) -> np.ndarray:
        """Values of steps that go on from those of the last call.

        Each is computed once, in order, as a process must be. The present step of the
        items is held, and what comes before it is forgotten: when that is asked for,
        the operator begins anew.

        Args:
            steps: `(batch, [time,] 1)`, numbers of the steps; items may be apart.
            draw: begin anew at each first step, as in `PythonOperator.begin_anew`.

        Returns:
            `(batch, [time,] size)`.
        """
        numbers = np.round(steps[..., 0]).astype(int)
        begins = (draw or self._drawn) and bool(np.any(numbers == 1))
        if begins or np.min(numbers) <= self._dropped:
            self._dropped, self._held = 0, self._held[:0]
        self._drawn = draw
        done, last = self._dropped + len(self._held), int(np.max(numbers))
        if last > done:
            self._held = np.concatenate(
                [self._held, self(done, last - done, draw=draw)[0]]
            )
        values = self._held[numbers - 1 - self._dropped]
        passed = int(np.min(np.max(numbers.reshape(len(numbers), -1), axis=1))) - 1
        self._held = self._held[passed - self._dropped :].copy()
        self._dropped = passed
        return values


def _evaluated(function: Callable, times: np.ndarray, size: int) -> np.ndarray:
    """Values `(time, size)` of a function of the time."""
    name = function_name(function)
    rows = np.empty((len(times), size))
    for row, time in zip(rows, times.tolist(), strict=True):
        value = function(time)
        try:
            # Copied, as the function may go on changing what it returned.
            row[...] = value
        except (TypeError, ValueError) as error:
            raise SimulationError(
                f"Function '{name}' returned a value {value!r} of invalid type"
                f" {type(value)!r}"
            ) from error
    if not np.all(np.isfinite(rows)):
        raise SimulationError(f"Function '{name}' returned non-finite value")
    return rows
