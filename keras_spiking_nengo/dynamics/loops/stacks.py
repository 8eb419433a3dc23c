"""Loops of TensorFlow that stack what their body emits.

Where XLA compiles it, a stack is written where it is
(docs/decisions/0013-stacks-in-place.md). TensorFlow has no public name for that, nor
for whether it compiles: without its private modules a stack is a `TensorArray`.
"""

import importlib

import tensorflow as tf

__all__ = ["is_compiled", "private", "run_loop", "swapped"]

_CONTEXTS = "tensorflow.python.ops.control_flow_util"
_XLA = "tensorflow.compiler.tf2xla.python.xla"


def is_compiled() -> bool:
    """Whether what is traced now is for XLA: `tf.function(jit_compile=True)`.

    False where this TensorFlow does not say.
    """
    inside = private(_CONTEXTS, "GraphOrParentsInXlaContext")
    return bool(inside and inside(tf.compat.v1.get_default_graph()))


def run_loop(length, body, carry, emitted, axes, batch, reverse=False):
    """`carry, emit = body(t, carry)` for all t; emits are stacked on their axes.

    `emitted` has their shapes and dtypes, and `batch` is their first size.
    """
    fixed = all(None not in tuple(x.shape)[1:] for x in emitted)
    in_place = fixed and is_compiled() and private(_XLA, "dynamic_update_slice")
    stack = _in_place if in_place else _in_array
    stacks = [
        stack(x, axis, length, batch) for x, axis in zip(emitted, axes, strict=True)
    ]
    starts, writes, ends = zip(*stacks, strict=True) if stacks else ((), (), ())

    def iterate(i, carry, stacks):
        t = length - 1 - i if reverse else i
        carry, emit = body(t, carry)
        written = zip(writes, stacks, emit, strict=True)
        return i + 1, carry, [write(stack, t, x) for write, stack, x in written]

    _, carry, stacks = tf.while_loop(
        lambda i, *_: i < length,
        iterate,
        (0, list(carry), list(starts)),
        maximum_iterations=length,
    )
    return carry, [end(stack) for end, stack in zip(ends, stacks, strict=True)]


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
