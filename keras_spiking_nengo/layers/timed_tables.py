"""What Python computes for a call of a layer, before its steps run or meanwhile."""

from contextlib import AbstractContextManager, nullcontext

__all__ = ["TimedTables"]


class TimedTables:
    """Of a cell that needs nothing of Python's."""

    @property
    def calls_python(self) -> bool:
        """Whether Python is called while steps are run."""
        return False

    def computed(self, n_steps: int, training: bool) -> list:
        """Arrays that are computed anew for each call, before its steps are run.

        None for one that is computed while they are.
        """
        return []

    def given(self, tables: list) -> AbstractContextManager:
        """A context in which the cell runs with these, as tensors."""
        return nullcontext()
