"""Calls outside of any compiled program, compiled for themselves.

A function that traces a loop costs as much as compiling one, each time it is called
with tensors that have values. An `EagerCall` is traced once.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import keras

from keras_spiking_nengo.dynamics.loops.backends import backend_name

__all__ = ["EagerCall", "are_eager", "is_compiled_eagerly"]


class EagerCall:
    """A function of tensors and of variables, compiled by XLA; differentiable.

    Attributes:
        variables: as below.

    Args:
        function: from a list of tensors, of the same shapes and dtypes each time, to
            nested tensors. What it reads, besides tensors and variables, stays what it
            is when this is first called.
        variables: of Keras, which the function reads, and may assign.
    """

    def __init__(self, function: Callable, variables: Sequence[keras.Variable]):
        self.variables = list(variables)
        self._function = function
        self._assigned: list[keras.Variable] = []
        self._run = _COMPILERS[backend_name()](self._traced, self._values)

    def __call__(self, tensors: Sequence):
        """What the function returns; variables are assigned what it assigns them."""
        result, assigned = self._run(tensors)
        if assigned:
            for variable, value in zip(self._assigned, assigned, strict=True):
                variable.assign(value)
        return result

    def _values(self) -> list:
        return [variable.value for variable in self.variables]

    def _traced(self, values: Sequence, tensors: Sequence) -> tuple[Any, list]:
        """What the function returns, and assigns."""
        mapping = list(zip(self.variables, values, strict=True))
        with keras.StatelessScope(state_mapping=mapping) as scope:
            before = list(map(scope.get_current_value, self.variables))
            result = self._function(tensors)
            after = list(map(scope.get_current_value, self.variables))
        changed = [i for i, new in enumerate(after) if new is not before[i]]
        self._assigned = [self.variables[i] for i in changed]
        return result, [after[i] for i in changed]


def are_eager(tensors: Sequence) -> bool:
    """Whether what is called with these now can be an `EagerCall`.

    They have values, and no other program is being traced, nor run step by step to
    find a fault.
    """
    return _condition(backend_name())(tensors)


def is_compiled_eagerly(n_steps: int) -> bool:
    """Whether an eager call of so many steps is traced anyway.

    TensorFlow runs short loops step by step, in less time than compiling takes.
    """
    if backend_name() != "tensorflow":
        return True
    from keras_spiking_nengo.dynamics.loops.tensorflow import LONG

    return n_steps > LONG


@functools.cache
def _condition(backend: str) -> Callable[[Sequence], bool]:
    return _CONDITIONS[backend]() if backend in _CONDITIONS else lambda _: False


def _condition_in_tensorflow() -> Callable[[Sequence], bool]:
    import tensorflow as tf

    def are_eager(_):
        return (
            tf.executing_eagerly()
            and not tf.config.functions_run_eagerly()
            and not tf.distribute.has_strategy()
        )

    return are_eager


def _condition_in_jax() -> Callable[[Sequence], bool]:
    from jax.core import Tracer

    def has_value(x) -> bool:
        # A tracer of `jax.grad` has one, that of `jax.jit` has none.
        if not isinstance(x, Tracer):
            return True
        concrete = getattr(x, "to_concrete_value", None)
        return concrete is not None and concrete() is not None

    def are_eager(tensors):
        return keras.distribution.distribution() is None and all(
            map(has_value, tensors)
        )

    return are_eager


def _compiled_by_tensorflow(function: Callable, read: Callable) -> Callable:
    """Two programs, each compiled when it is first needed.

    Where a tape may record, the variables' values are arguments, for their gradients.
    Elsewhere the program reads them: TensorFlow takes long to match arguments.
    """
    from keras_spiking_nengo.dynamics.loops.signatures import (
        differentiable,
        is_recording,
        traced_for,
    )

    form: list = []
    programs: dict[str, Callable] = {}

    def flat(values, tensors):
        results = function(values, tensors)
        form[:] = [keras.tree.map_structure(lambda _: 0, results)]
        return keras.tree.flatten(results)

    def recorded(n_values, *tensors):
        return flat(tensors[:n_values], tensors[n_values:])

    def alone(*tensors):
        return flat(read(), tensors)

    def nested(tensors):
        if is_recording():
            values = list(map(keras.ops.convert_to_tensor, read()))
            if "recorded" not in programs:
                program = functools.partial(recorded, len(values))
                programs["recorded"] = differentiable(program)
            results = programs["recorded"](*values, *tensors)
        else:
            if "alone" not in programs:
                programs["alone"] = traced_for(alone, tensors, host=False)
            results = programs["alone"](*tensors)
        return keras.tree.pack_sequence_as(form[0], results)

    return nested


def _compiled_by_jax(function: Callable, read: Callable) -> Callable:
    import jax

    compiled = jax.jit(function)
    return lambda tensors: compiled(read(), tensors)


_CONDITIONS = {"tensorflow": _condition_in_tensorflow, "jax": _condition_in_jax}
_COMPILERS = {"tensorflow": _compiled_by_tensorflow, "jax": _compiled_by_jax}
