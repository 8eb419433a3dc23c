"""Calls of Python from a compiled program."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_spiking_nengo.dynamics.loops.backends import backend_name

__all__ = ["call_host", "host_is_near", "not_exported"]


def host_is_near() -> bool:
    """Whether what is traced now can call Python: not TensorFlow's XLA, one device."""
    if backend_name() == "tensorflow":
        from keras_spiking_nengo.dynamics.loops.stacks import is_compiled

        return not is_compiled()
    return keras.distribution.distribution() is None


def call_host(
    function: Callable, inputs: Sequence[Any], size: int, dtype: str, label: str
):
    """Tensor `(..., size)` that a Python function computes from NumPy arrays.

    Calls keep their order. There is no gradient.

    Args:
        function: from as many arrays as there are inputs to one array.
        inputs: tensors; the first gives the leading axes of the result.
        size: of the last axis of the result.
        dtype: of the result.
        label: of what is called, for messages.

    Raises:
        NotImplementedError: where JAX exports it, with sizes that are symbols.
    """
    inputs = [ops.cast(ops.stop_gradient(x), dtype) for x in inputs]
    shape = (*inputs[0].shape[:-1], size)
    if backend_name() == "tensorflow":
        return _call_from_tensorflow(function, inputs, shape, dtype)
    if backend_name() == "jax":
        if not all(isinstance(n, int) for n in shape):
            raise NotImplementedError(not_exported(label))
        return _call_from_jax(function, inputs, shape, dtype)
    # A copy, as a tensor of Torch would share the array with Python.
    y = function(*map(ops.convert_to_numpy, inputs)).astype(dtype)
    return ops.convert_to_tensor(y)


def not_exported(label: str) -> str:
    """What to say of Python in a graph that leaves this process."""
    return (
        f"{label} is a Python function, which an exported model cannot call. Make its"
        " node an input, or write it in keras.ops and mark it with"
        " ksn.tensor_function."
    )


def _call_from_tensorflow(function, inputs, shape, dtype):
    import tensorflow as tf

    y = tf.numpy_function(lambda *x: function(*x).astype(dtype), inputs, dtype)
    y.set_shape(shape)
    return y


def _call_from_jax(function, inputs, shape, dtype):
    import jax
    from jax.experimental import io_callback

    # JAX hands doubles over as singles: they pass as pairs of integers.
    wide = dtype == "float64"
    kind = "uint32" if wide else dtype

    def numpy(*arrays):
        x = [np.ascontiguousarray(a) for a in arrays]
        y = function(*(a.view(dtype)[..., 0] if wide else a for a in x))
        y = y.astype(dtype)
        return np.ascontiguousarray(y)[..., None].view(kind) if wide else y

    if wide:
        inputs = [jax.lax.bitcast_convert_type(x, kind) for x in inputs]
    result = jax.ShapeDtypeStruct((*shape, 2) if wide else shape, kind)
    y = io_callback(numpy, result, *inputs, ordered=True)
    return jax.lax.bitcast_convert_type(y, dtype) if wide else y
