"""Calls outside of any compiled program, compiled for themselves.

A function that traces a loop costs as much as compiling one, each time it is called
with tensors that have values. `EagerCall` compiles it for tensors of given shapes.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from keras_spiking_nengo.dynamics.loops.backends import backend_name

__all__ = ["EagerCall", "are_eager", "is_recorded"]


class EagerCall:
    """A function of tensors and of variables, compiled for their shapes and dtypes.

    Differentiable in both. XLA compiles it, but where TensorFlow would have to call
    Python from there.

    Attributes:
        variables: of Keras, which the function reads, and may assign. Whatever else it
            reads stays what it is when this is first called.

    Args:
        function: from tensors to nested tensors.
        variables: of Keras.
        host: whether the function calls Python.
        recorded: whether `is_recorded` where it is called.
    """

    def __init__(
        self, function: Callable, variables: Sequence, host: bool, recorded: bool
    ):
        self.variables = list(variables)
        self._function = function
        self._host, self._recorded = host, recorded
        self._run: Callable | None = None
        # The tensors that variables consist of, where the program reads them itself.
        self._read: list = []
        self._reads = False
        self._dtypes: list = []
        self._assigned: list = []

    def fits(self, values: Sequence) -> bool:
        """Whether it can be called with these: variables may consist of others now."""
        pairs = zip(values, self._read, self._dtypes, strict=True)
        return all(
            value.dtype == dtype if read is None else value is read
            for value, read, dtype in pairs
        )

    def __call__(self, values: Sequence, tensors: Sequence):
        """What the function returns; variables are assigned what it assigns them.

        Args:
            values: of the variables, at present: `variable.value`.
            tensors: arguments of the function.
        """
        if self._run is None:
            read = map(self._is_read, values)
            self._read = [v if r else None for v, r in zip(values, read, strict=True)]
            self._reads = any(read is not None for read in self._read)
            self._dtypes = [value.dtype for value in values]
            self._run = _COMPILERS[backend_name()](
                self._traced, self._passed(values), tensors, self._host, self._recorded
            )
        result, assigned = self._run(self._passed(values), tensors)
        if assigned:
            for variable, value in zip(self._assigned, assigned, strict=True):
                variable.assign(value)
        return result

    def _is_read(self, value) -> bool:
        """Whether this is TensorFlow's variable, which its program reads itself."""
        return hasattr(value, "assign") and not self._recorded

    def _passed(self, values: Sequence) -> list:
        if not self._reads:
            return list(values)
        pairs = zip(values, self._read, strict=True)
        return [value for value, read in pairs if read is None]

    def _traced(self, passed: Sequence, tensors: Sequence) -> tuple[Any, list]:
        """What the function returns, and assigns."""
        variables = self._passed(self.variables)
        mapping = list(zip(variables, passed, strict=True))
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


def is_recorded() -> bool:
    """Whether TensorFlow records what is called now, to differentiate it."""
    return backend_name() == "tensorflow" and _tensorflow().is_recording()


@functools.cache
def _tensorflow():
    from keras_spiking_nengo.dynamics.loops import signatures

    return signatures


@functools.cache
def _condition(backend: str) -> Callable[[Sequence], bool]:
    return _CONDITIONS[backend]() if backend in _CONDITIONS else lambda _: False


# --- TensorFlow -----------------------------------------------------------------


def _condition_in_tensorflow() -> Callable[[Sequence], bool]:
    import tensorflow as tf

    def are_eager(tensors):
        return (
            tf.executing_eagerly()
            and not tf.config.functions_run_eagerly()
            and not tf.distribute.has_strategy()
            and all(hasattr(x, "numpy") for x in tensors)
        )

    return are_eager


def _compiled_by_tensorflow(
    traced, values, tensors, host: bool, recorded: bool
) -> Callable:
    n = len(values)
    form: list = []

    def flat(*arguments):
        results = traced(arguments[:n], arguments[n:])
        form[:] = [keras.tree.map_structure(lambda _: 0, results)]
        return keras.tree.flatten(results)

    if recorded:
        run = _tensorflow().differentiable(flat, host)
    else:
        run = _tensorflow().traced_for(flat, [*values, *tensors], host)

    def nested(values, tensors):
        results = run(*map(ops.convert_to_tensor, values), *tensors)
        return keras.tree.pack_sequence_as(form[0], results)

    return nested


# --- JAX ------------------------------------------------------------------------


def _condition_in_jax() -> Callable[[Sequence], bool]:
    from jax.core import Tracer

    def are_eager(tensors):
        for x in tensors:
            # A tracer of `jax.grad` has a value, one of `jax.jit` has none.
            if isinstance(x, Tracer) and x.to_concrete_value() is None:
                return False
        return keras.distribution.distribution() is None

    return are_eager


def _compiled_by_jax(traced, values, tensors, host: bool, recorded: bool) -> Callable:
    import jax

    return jax.jit(traced)


_CONDITIONS = {"tensorflow": _condition_in_tensorflow, "jax": _condition_in_jax}
_COMPILERS = {"tensorflow": _compiled_by_tensorflow, "jax": _compiled_by_jax}
