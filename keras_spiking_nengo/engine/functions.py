"""Functions of operations and connections that are compiled into the program.

A Python function of a signal is called back from the compiled program. One that is
written in `keras.ops` and marked by `tensor_function` becomes part of it: it runs
without Python, has gradients, and can be exported.
"""

from collections.abc import Callable
from dataclasses import dataclass
from types import FunctionType
from typing import Any, TypeVar

from keras import ops

from keras_spiking_nengo.engine.operation import Operation

__all__ = ["TensorOperation", "is_tensor_function", "tensor_function"]

_Function = TypeVar("_Function", bound=Callable)
_COMPILED_IN = "_keras_spiking_nengo_tensor_function"


def tensor_function(function: _Function) -> _Function:
    """Mark a function written in `keras.ops`, so that it is compiled in.

    Nengo still calls it with NumPy arrays: it runs in every Nengo simulator.

    Args:
        function: of what nengo passes: `(t, x)`, `(t)` or, on a connection, `(x)`,
            with `t` in seconds and `x` of shape `(size,)`. It has no side effects.

    Returns:
        `function`.

    Raises:
        TypeError: if it cannot be marked.

    Example:
        >>> import nengo
        >>> from keras import ops
        >>> with nengo.Network():
        ...     operation = nengo.Node(
        ...         tensor_function(lambda t, x: ops.sin(x) * t), size_in=1, size_out=1)
    """
    if not isinstance(function, FunctionType):
        # A mark on numpy.sin would hold wherever it is used.
        raise TypeError(
            f"tensor_function marks functions of your own; received {function!r}. Wrap"
            " it in a def or lambda."
        )
    setattr(function, _COMPILED_IN, True)
    return function


def is_tensor_function(function: Any) -> bool:
    """Whether `tensor_function` has marked it."""
    return getattr(function, _COMPILED_IN, False)


@dataclass(frozen=True, eq=False)
class TensorOperation(Operation):
    """A function of what is read, for each step and item of a batch.

    Attributes:
        function: of the time, the signal, or both.
        timed: whether the first thing read is the time.
    """

    function: Any = None
    timed: bool = False

    def compute(self, p, x, state, mode, steps):
        lead, size = ops.shape(steps)[:-1], self.outs[0].size
        flat = [ops.reshape(value, (-1, value.shape[-1])) for value in x]

        def one(arguments):
            time = [arguments[0][0]] if self.timed else []
            y = self.function(*time, *arguments[len(time) :])
            y = ops.stack([ops.convert_to_tensor(v) for v in y]) if _is_list(y) else y
            y = ops.cast(ops.convert_to_tensor(y), mode.dtype)
            return ops.broadcast_to(ops.reshape(y, (-1,)), (size,))

        y = ops.vectorized_map(one, tuple(flat))
        return [ops.reshape(y, (*lead, size))], []


def _is_list(y) -> bool:
    return isinstance(y, list | tuple)
