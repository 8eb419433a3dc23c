"""Loops of TensorFlow that stack what their body emits.

Where XLA compiles it, a stack is written where it is
(docs/decisions/0013-stacks-in-place.md). TensorFlow has no public name for that, nor
for whether it compiles: without its private modules a stack is a `TensorArray`.
"""

import importlib

import tensorflow as tf

__all__ = ["Stacks", "is_compiled", "private", "run_loop", "run_steps", "swapped"]

_CONTEXTS = "tensorflow.python.ops.control_flow_util"
_XLA = "tensorflow.compiler.tf2xla.python.xla"


def is_compiled() -> bool:
    """Whether what is traced now is for XLA: `tf.function(jit_compile=True)`.

    False where this TensorFlow does not say.
    """
    inside = private(_CONTEXTS, "GraphOrParentsInXlaContext")
    return bool(inside and inside(tf.compat.v1.get_default_graph()))


def run_loop(length, body, carry, emitted, axes, batch, places=None):
    """`carry, emit = body(t, carry)` for all t; emits are stacked on their axes.

    `emitted` has their shapes and dtypes, and `batch` is their first size. Stacks have
    `places` for emits, if that is more than `length`.
    """
    stacks = Stacks(emitted, axes, length if places is None else places, batch)

    def writing(t, carry, values):
        carry, emit = body(t, carry)
        return carry, stacks.written(values, t, emit)

    carry, values = run_steps(length, writing, carry, stacks.start)
    return carry, stacks.tensors(values)


def run_steps(length, body, carry, stacks, reverse=False):
    """`carry, stacks = body(t, carry, stacks)` for all t."""

    def iterate(i, carry, stacks):
        return i + 1, *body(length - 1 - i if reverse else i, carry, stacks)

    _, carry, stacks = tf.while_loop(
        lambda i, *_: i < length,
        iterate,
        (0, list(carry), list(stacks)),
        maximum_iterations=length,
    )
    return carry, stacks


class Stacks:
    """Stacks of what the body of a loop emits; each is a value of the loop.

    Args:
        emitted: tensors, or their specs, as each is to be emitted.
        axes: on which each is stacked.
        length: of the stacks.
        batch: first size of what is emitted.
    """

    def __init__(self, emitted, axes, length, batch):
        fixed = all(None not in tuple(x.shape)[1:] for x in emitted)
        in_place = fixed and is_compiled() and private(_XLA, "dynamic_update_slice")
        stack = _in_place if in_place else _in_array
        pairs = zip(emitted, axes, strict=True)
        parts: list[tuple] = [stack(x, axis, length, batch) for x, axis in pairs]
        self.start = [start for start, _, _ in parts]
        self._writes = [write for _, write, _ in parts]
        self._ends = [end for _, _, end in parts]

    def written(self, stacks, t, emit) -> list:
        """The stacks, with what is emitted in place `t`."""
        written = zip(self._writes, stacks, emit, strict=True)
        return [write(stack, t, x) for write, stack, x in written]

    def tensors(self, stacks) -> list:
        """What has been stacked."""
        return [end(stack) for end, stack in zip(self._ends, stacks, strict=True)]


def swapped(x):
    """The first two axes of `x` in the other order."""
    return tf.transpose(x, (1, 0, *range(2, len(x.shape))))


def private(module: str, name: str):
    """What a private module of TensorFlow has by that name, or None."""
    try:
        return getattr(importlib.import_module(module), name, None)
    except ImportError:
        return None


def _in_array(x, axis, length, batch):
    """A stack that any TensorFlow can write: its start, how to write, and its end."""

    def end(array):
        stacked = array.stack()
        return stacked if axis == 0 else swapped(stacked)

    start = tf.TensorArray(x.dtype, length, element_shape=x.shape)
    return start, lambda array, t, value: array.write(t, value), end


def _in_place(x, axis, length, batch):
    """A stack that XLA writes to where it is, so that no more memory is touched."""
    update = private(_XLA, "dynamic_update_slice")
    sizes = [batch, *x.shape[1:]]
    sizes.insert(axis, length)

    def put(stack, t, value):
        place = [t if i == axis else 0 for i in range(len(sizes))]
        return update(stack, tf.expand_dims(value, axis), place)

    @tf.custom_gradient
    def write(stack, t, value):
        # TensorFlow knows no derivative of it; second derivatives need one.
        def grad(upstream):
            before = put(upstream, t, tf.zeros_like(value))
            return before, None, tf.gather(upstream, t, axis=axis)

        return put(stack, t, value), grad

    return tf.zeros(sizes, x.dtype), write, lambda stack: stack
