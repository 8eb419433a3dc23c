"""What nodes and connections compute that is compiled into the program.

A Python function of a signal is called back from the compiled program. One that is
written in `keras.ops` and marked by `tensor_function` becomes part of it: it runs
without Python, has gradients, and can be exported. So does the process `ONE`, which
any simulator runs, and any file holds.
"""

import inspect
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from types import FunctionType
from typing import Any, TypeVar

import keras
import nengo
from keras import ops

from keras_spiking_nengo.engine.operation import Operation

__all__ = [
    "ONE",
    "TensorOperation",
    "half_times_half",
    "is_one",
    "is_tensor_function",
    "tensor_function",
]

_Function = TypeVar("_Function", bound=Callable)
# Where biases come from. The seed is not used: it says that nothing is drawn.
ONE = nengo.processes.PresentInput([[1.0]], presentation_time=1.0, seed=0)
_COMPILED_IN = "_keras_spiking_nengo_tensor_function"


def tensor_function(function: _Function) -> _Function:
    """Mark a function written in `keras.ops`, so that it is compiled in.

    Nengo still calls it with NumPy arrays: it runs in every Nengo simulator. Weights
    of Keras layers that it calls are constants; `ksn.keras_node` makes a node of a
    layer, which is trained.

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
        ...     node = nengo.Node(
        ...         tensor_function(lambda t, x: ops.sin(x) * t), size_in=1, size_out=1)
    """
    if not isinstance(function, FunctionType):
        # A mark on numpy.sin would hold wherever it is used.
        raise TypeError(
            f"tensor_function marks functions of your own; received {function!r}. Wrap"
            " it in a def or lambda."
        )
    for layer in _layers_of(function):
        warnings.warn(
            f"{function.__name__} calls the layer {layer.name}, whose weights are not"
            " trained there, and not saved. Make a node of the layer:"
            " ksn.keras_node(layer, shape_in).",
            stacklevel=2,
        )
    setattr(function, _COMPILED_IN, True)
    return function


def _layers_of(function: FunctionType) -> list[keras.layers.Layer]:
    """Layers that a function finds around it."""
    try:
        found = inspect.getclosurevars(function)
    except ValueError:  # of a variable that has no value yet
        return []
    around = [*found.nonlocals.values(), *found.globals.values()]
    return [value for value in around if isinstance(value, keras.layers.Layer)]


def is_tensor_function(function: Any) -> bool:
    """Whether `tensor_function` has marked it."""
    return getattr(function, _COMPILED_IN, False)


def is_one(output: Any) -> bool:
    """Whether a node's output is a process that is the number 1 at every step.

    Such a node is a part of its network, which a connection weighs to make a bias. No
    data come in its place, as they do in that of a node which holds an array.
    """
    presents = type(output) is nengo.processes.PresentInput
    return presents and output.inputs.size == 1 and output.inputs.item() == 1


@tensor_function
def half_times_half(t, x):
    """What a node makes of two signals, one after the other: their product."""
    half = x.shape[-1] // 2
    return x[:half] * x[half:]


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
        # Copied, as a function may change a tensor of Torch in place.
        flat = [ops.copy(ops.reshape(value, (-1, value.shape[-1]))) for value in x]

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
