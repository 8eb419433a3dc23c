"""A step of a program, cut at its calls of Python.

    segment 0, calls, segment 1, calls, ..., segment n

Calls that do not need each other's answers are made one after the other, between the
same two segments. What a call reads is computed in the first segment that can; all
else, probes and most of the neurons among it, in the last one. The order of calls is
that of the program.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

from keras_spiking_nengo.engine.operation import Mode, Operation
from keras_spiking_nengo.engine.program import Packed, Program
from keras_spiking_nengo.engine.python_operators import PythonCall
from keras_spiking_nengo.engine.signals import Value

__all__ = ["Segment", "Segments"]

States = Sequence[list]


@dataclass(frozen=True, eq=False)
class Segment:
    """Operations between calls of Python.

    Attributes:
        positions: of its operations among the program's, in order.
        calls: of Python that come after it, in order.
        handed_on: values of it, and of segments before, that later ones read.
    """

    positions: tuple[int, ...]
    calls: tuple[PythonCall, ...]
    handed_on: tuple[Value, ...]


class Segments:
    """The segments of a program's step.

    Args:
        program: which calls Python.
    """

    def __init__(self, program: Program):
        self.program = program
        self._early = _read_by_python(program.operations)

    @functools.cached_property
    def all(self) -> tuple[Segment, ...]:
        """In the order of a step."""
        operations = self.program.operations
        level = _levels(operations)
        last = 1 + max(level[i] for i, op in enumerate(operations) if op.calls_python)
        where = [
            level[i] if op.calls_python or i in self._early else last
            for i, op in enumerate(operations)
        ]
        members = [
            [
                i
                for i, n in enumerate(where)
                if n == number and not _is_call(operations[i])
            ]
            for number in range(last + 1)
        ]
        # Lagged ones take what they read once all of it is there.
        members[last].sort(key=lambda i: operations[i].lagged)
        asked = [
            tuple(
                op
                for op, n in zip(operations, where, strict=True)
                if n == number and _is_call(op)
            )
            for number in range(last + 1)
        ]
        return tuple(
            Segment(tuple(members[n]), asked[n], self._handed_on(members, n, asked))
            for n in range(last + 1)
        )

    def _handed_on(self, members, number: int, calls) -> tuple[Value, ...]:
        operations = self.program.operations
        made = [
            out
            for part in members[: number + 1]
            for i in part
            if not operations[i].lagged
            for out in operations[i].outs
        ]
        later = [operations[i] for part in members[number + 1 :] for i in part]
        later += [call for part in calls[number + 1 :] for call in part]
        read = {value for operation in later for value in operation.values_read}
        for gather in self.program.outputs.values():
            read.update(gather.values)
        return tuple(value for value in made if value in read) if later else ()

    def compute(
        self,
        number: int,
        packed: Packed,
        states: States,
        env: Mapping[Value, Any],
        mode: Mode,
        steps,
    ):
        """Values of the step once a segment is done, and the states that it renews.

        Args:
            number: of the segment.
            packed: of all operations.
            states: of all operations.
            env: inputs, answers of Python, and what was handed on.
            mode: how the program runs.
            steps: `(batch, 1)`, the number of the step.

        Returns:
            Values, and all states.
        """
        operations, env, states = self.program.operations, dict(env), list(states)
        for operation, p, s in zip(operations, packed, states, strict=True):
            if operation.lagged:
                env.update(zip(operation.outs, operation.output(p, s), strict=True))
        for i in self.all[number].positions:
            operation = operations[i]
            read = [gather(env, steps) for gather in operation.reads]
            outs, states[i] = operation.compute(packed[i], read, states[i], mode, steps)
            if not operation.lagged:
                env.update(zip(operation.outs, outs, strict=True))
        return env, [list(state) for state in states]


def _is_call(operation: Operation) -> TypeGuard[PythonCall]:
    return isinstance(operation, PythonCall)


def _needs(operations: Sequence[Operation]) -> list[set[int]]:
    """By operation, those whose outputs of this step it reads before it has its own."""
    maker = {out: i for i, n in enumerate(operations) if not n.lagged for out in n.outs}
    return [
        {maker[v] for v in n.values_read if v in maker} if not n.lagged else set()
        for n in operations
    ]


def _levels(operations: Sequence[Operation]) -> list[int]:
    """How many groups of calls come before each operation."""
    level: list[int] = []
    calls = 0
    for operation, needed in zip(operations, _needs(operations), strict=True):
        groups = (level[j] + operations[j].calls_python for j in needed)
        least = max(groups, default=0)
        if operation.calls_python:
            least = calls = max(least, calls)
        level.append(least)
    return level


def _read_by_python(operations: Sequence[Operation]) -> set[int]:
    """Operations that must come before some call of their step."""
    needs = _needs(operations)
    pending = [i for i, operation in enumerate(operations) if operation.calls_python]
    found: set[int] = set()
    while pending:
        for j in needs[pending.pop()] - found:
            found.add(j)
            pending.append(j)
    return {i for i in found if not operations[i].calls_python}
