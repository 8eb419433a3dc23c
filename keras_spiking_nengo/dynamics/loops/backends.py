"""What differs from one backend to the other, besides loops and calls of Python."""

import contextlib
from collections.abc import Callable

import keras
import numpy as np
from keras import ops

from keras_spiking_nengo.names import keras_name

__all__ = [
    "array_of",
    "backend_name",
    "becomes_tensorflow",
    "compiled",
    "gather",
    "loops_are_fast",
    "precise",
    "precision",
    "rounded",
    "weight_name",
]


def backend_name() -> str:
    """The backend that runs: `"tensorflow"`, `"jax"` or `"torch"`."""
    return keras.backend.backend()


def becomes_tensorflow() -> bool:
    """Whether a function has to be translated before TensorFlow can save it."""
    return backend_name() == "jax"


def weight_name(name: str) -> str:
    """What a weight may be called: names of Torch's have no dots."""
    return keras_name(name, dot=":" if backend_name() == "torch" else ".")


def gather(x, index: np.ndarray):
    """Elements of the last axis at constant positions, which are all there."""
    if backend_name() == "tensorflow":
        import tensorflow as tf

        return tf.gather(x, index.astype("int32"), axis=-1)
    if backend_name() == "jax":
        return x.at[..., index].get(mode="promise_in_bounds")
    return ops.take(x, index, axis=-1)


def array_of(tensor) -> np.ndarray:
    """The numbers of a tensor on a CPU, where they are: not to be written to."""
    if backend_name() == "torch":
        return ops.convert_to_numpy(tensor)
    return np.asarray(tensor)


def precise(name: str, x):
    """`keras.ops.<name>` of one array, in the array's own precision.

    Keras on JAX computes some functions of doubles in single precision.
    """
    if backend_name() == "jax":
        from jax import numpy as jnp

        return getattr(jnp, name)(x)
    return getattr(ops, name)(x)


def rounded(product):
    """A product, rounded before anything is added to it.

    XLA on a CPU joins a product and a sum to one operation, which rounds once.
    """
    # It adds a zero of which it cannot know.
    zero = ops.where(product != 0, ops.zeros_like(product), product)
    return product + ops.stop_gradient(zero)


def loops_are_fast() -> bool:
    """Whether a step of a loop costs little more than what it computes.

    Not where TensorFlow runs a graph without compiling it, nor on a graphics card,
    which starts anew for each step.
    """
    if backend_name() == "tensorflow":
        import tensorflow as tf

        from keras_spiking_nengo.dynamics.loops.stacks import is_compiled

        return is_compiled() and not tf.config.list_logical_devices("GPU")
    if backend_name() != "jax":
        return False
    import jax

    return jax.default_backend() == "cpu"


def compiled(function: Callable, host: bool = False) -> Callable:
    """`function` of nested tensors, compiled by XLA where the backend has it.

    Args:
        function: pure. Tensors of the same shapes and dtypes have the same structure.
        host: whether it uses `call_host`, which TensorFlow's XLA refuses.
    """
    if backend_name() == "tensorflow":
        from keras_spiking_nengo.dynamics.loops.signatures import by_signature

        return by_signature(function, host)
    if backend_name() == "jax":
        import jax

        return jax.jit(function)
    return function


def precision(dtype: str):
    """A context in which the backend has tensors of `dtype`."""
    if dtype == "float64" and backend_name() == "jax":
        import jax

        return jax.enable_x64(True)
    return contextlib.nullcontext()
