"""What Python computes for a call of a layer, before its steps run or meanwhile.

An eager call computes it anew each time, and passes it to its compiled program.
"""

from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any

from keras_spiking_nengo.dynamics.loops import host_is_near

__all__ = ["NetworkTables", "TimedTables"]


class TimedTables:
    """Of a cell that needs nothing of Python's."""

    def ahead(self, n_steps: int, training: bool) -> list | None:
        """Arrays to compute before the steps run; None if some have to be meanwhile."""
        return []

    def passed(self, tables: list) -> AbstractContextManager:
        """A context in which the cell runs with these, as tensors."""
        return nullcontext()


class NetworkTables(TimedTables):
    """Of the cell of a network: values of its timed inputs.

    Args:
        cell: a `NetworkCell`.
    """

    def __init__(self, cell):
        self._cell = cell

    def ahead(self, n_steps, training):
        engine = self._cell.engine
        known = [self._is_known(x, n_steps, training) for x in engine.timed_inputs]
        if engine.python_calls or not all(known):
            return None
        return [timed(0, n_steps) for timed in engine.timed_inputs]

    @contextmanager
    def passed(self, tables):
        token = _PASSED.set((self, tables))
        try:
            yield
        finally:
            _PASSED.reset(token)

    def of(self, at: int, n_steps: int | None, training: bool):
        """All values of one of the inputs; None if each step has to ask for its own."""
        timed = self._cell.engine.timed_inputs[at]
        if not self._is_known(timed, n_steps, training):
            return None
        owner, tables = _PASSED.get()
        return tables[at] if owner is self else timed(0, n_steps)

    def _is_known(self, timed, n_steps: int | None, training: bool) -> bool:
        """Whether it is the same in each call of this length."""
        if self._cell.continued or n_steps is None:
            return False
        return not (training and host_is_near() and timed.draws(n_steps))


# Whose tables were passed to what runs now, and these.
_PASSED: ContextVar[tuple[Any, list]] = ContextVar("passed", default=(None, []))
