"""Steps of a program with Python in its loop, driven from Python.

Nothing is called back from within a compiled program. A step is cut at its calls of
Python (`engine.segments`); what lies between two of them is one compiled call, whose
state stays on the device. The last segment of a step is compiled together with the
first one of the next step, so that a step with one call of Python is one compiled call.

From the device comes what Python reads; to it goes one row of what is known of the
step and of what Python answered. What probes show is fetched once for several steps.
"""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_spiking_nengo.dynamics.loops import store
from keras_spiking_nengo.engine import Mode, Program, without_collection
from keras_spiking_nengo.engine.segments import Segments
from keras_spiking_nengo.engine.signals import Value, concatenated, sliced

__all__ = ["Driven"]

# Of so many steps, what probes show is left on the device, and then fetched.
_HELD = 16


class Driven:
    """Blocks of steps of a program that calls Python.

    Args:
        program: its steps.
        mode: how it runs.
        unpacked: from the parameters that are passed to those of all operations.
    """

    def __init__(self, program: Program, mode: Mode, unpacked: Callable):
        self._program, self._mode, self._unpacked = program, mode, unpacked
        self._segments = Segments(program)
        self._last = len(self._segments.all) - 1
        step, *others = program.inputs
        self._inputs = [step, *(v for v in others if v in program.used_inputs)]
        self._shown = {key: gather.size for key, gather in program.outputs.items()}
        answers = (out for call in program.python_calls for out in call.outs)
        self._answers = _columns(answers, 0)
        # A row: what Python answers, the inputs of the step, and those of the next.
        self._now = _columns(self._inputs, _stop(self._answers))
        self._next = _columns(self._inputs, _stop(self._now))
        self._calls: dict[tuple[int, ...], Callable] = {}
        self._store = store()
        self._tensors: Any = None
        # Values of the present step that later segments read.
        self._handed: Sequence = ()

    @property
    def width(self) -> int:
        """Elements that a step takes until the end of its block."""
        return _stop(self._next) + sum(self._shown.values())

    def __call__(self, tensors, state: list, inputs: Sequence[np.ndarray], first: int):
        """All steps of a block.

        Args:
            tensors: parameters that are passed.
            state: tensors, which are still there afterwards.
            inputs: `(batch, steps, size)` for each of the program's.
            first: number of steps done before.

        Returns:
            Arrays `(batch, steps, size)` in the order of the outputs, and the next
            state.
        """
        self._tensors = tensors
        self._store.fill(state, keras.tree.flatten(tensors))
        with without_collection():
            return self._steps(self._rows(inputs), first), self._store.state()

    def _steps(self, rows: np.ndarray, first: int) -> list[np.ndarray]:
        """What is shown of each step, by output."""
        held: list = []
        n_steps, batch, _ = rows.shape
        width = sum(self._shown.values())
        shown = np.empty((batch, n_steps, width), self._mode.dtype)
        (read,) = self._advance((0,), rows[0])
        for i, row in enumerate(rows):
            self._ask(0, first + i + 1, read, row)
            for number in range(1, self._last):
                (read,) = self._advance((number,), row)
                self._ask(number, first + i + 1, read, row)
            if i + 1 < len(rows):
                values, read = self._advance((self._last, 0), row)
            else:
                (values,) = self._advance((self._last,), row)
            held.append(values)
            if len(held) == _HELD or i + 1 == n_steps:
                for j, values in enumerate(held, i + 1 - len(held)):
                    shown[:, j] = ops.convert_to_numpy(values)[:, :width]
                held = []
        return list(sliced(shown, self._shown).values())

    def _rows(self, inputs: Sequence[np.ndarray]) -> np.ndarray:
        """What is known of each step, `(steps, batch, width)`."""
        by_value = dict(zip(self._program.inputs, inputs, strict=True))
        batch, n_steps, _ = inputs[0].shape
        rows = np.zeros((n_steps, batch, _stop(self._next)), self._mode.dtype)
        for value in self._inputs:
            frames = np.swapaxes(by_value[value], 0, 1)
            rows[..., self._now[value]] = frames
            rows[:-1, :, self._next[value]] = frames[1:]
        return rows

    def _ask(self, number: int, step: int, read, row: np.ndarray) -> None:
        """Make the calls after a segment, and write what is answered to the row."""
        x = ops.convert_to_numpy(read)
        start = 0
        for call in self._segments.all[number].calls:
            values = []
            for gather in call.reads:
                values.append(x[:, start : start + gather.size])
                start += gather.size
            y = call.operator.answer(step, len(row), values)
            if call.outs:
                first, last = self._answers[call.outs[0]], self._answers[call.outs[-1]]
                row[:, first.start : last.stop] = y

    # --- compiled calls ---------------------------------------------------------

    def _advance(self, numbers: tuple[int, ...], row: np.ndarray):
        """Some segments: what is shown, if the last is among them, and then read."""
        if numbers not in self._calls:
            self._calls[numbers] = self._compiled(numbers)
        # A copy: the backend may go on looking at the array.
        results = self._calls[numbers]([*self._handed, row.copy()])
        count = len(results) - len(numbers)
        self._handed = results[:count]
        return results[count:]

    def _compiled(self, numbers: tuple[int, ...]) -> Callable:
        """Segments, one after the other, as one call.

        It is given values that were handed on, and a row. It returns values to hand on,
        and what is shown and read.
        """
        bounds = [0, *itertools.accumulate(len(n.initial) for n in self._operations)]
        positions = [i for n in numbers for i in self._segments.all[n].positions]
        renewed = [j for i in positions for j in range(bounds[i], bounds[i + 1])]
        handed = self._segments.all[numbers[0] - 1].handed_on if numbers[0] else ()
        structure = keras.tree.map_structure(lambda _: 0, self._tensors)

        def function(state, tensors, x):
            states = [state[a:b] for a, b in itertools.pairwise(bounds)]
            packed = self._unpacked(keras.tree.pack_sequence_as(structure, tensors))
            env = dict(zip(handed, x[:-1], strict=True))
            row = ops.convert_to_tensor(x[-1])
            states, handed_on, results = self._run(numbers, packed, states, env, row)
            new = [value for state in states for value in state]
            return [new[j] for j in renewed], [*handed_on, *results]

        return self._store.compiled(function, renewed)

    @property
    def _operations(self):
        return self._program.operations

    def _run(self, numbers: Iterable[int], packed, states, env: dict, row):
        """Next states, values that are handed on, and what is shown and read."""
        inputs, results = self._now, []
        handed_on: list = []
        for number in numbers:
            env = env | {v: row[:, columns] for v, columns in inputs.items()}
            env |= {v: row[:, columns] for v, columns in self._answers.items()}
            steps = env[self._inputs[0]]
            env, states = self._segments.compute(
                number, packed, states, env, self._mode, steps
            )
            segment = self._segments.all[number]
            if number == self._last:
                gathers = list(self._program.outputs.values())
                inputs, handed_on = self._next, []
            else:
                gathers = [gather for call in segment.calls for gather in call.reads]
                handed_on = [env[value] for value in segment.handed_on]
            parts = [gather(env, steps) for gather in gathers]
            # Something, so that it can be waited for.
            results.append(concatenated(parts) if parts else steps)
            env = {} if number == self._last else env
        return states, handed_on, results


def _columns(values: Iterable[Value], start: int) -> dict[Value, slice]:
    """Where values are in a row, one after the other."""
    columns = {}
    for value in values:
        columns[value] = slice(start, start + value.size)
        start += value.size
    return columns


def _stop(columns: Mapping[Value, slice]) -> int:
    return max((column.stop for column in columns.values()), default=0)
