"""Gradients of a function, by whichever backend runs."""

import keras
from keras import ops


def gradient(function, *arrays, weights=None, eager=False):
    """`function(*arrays)` and the gradient of its weighted sum, as NumPy arrays.

    One gradient for one array, a list for several. `weights` is an array of the
    output's shape; ones if not given. `eager` makes no graph of it.
    """

    def total(*tensors):
        y = function(*tensors)
        return ops.sum(y if weights is None else y * weights), y

    tensors = [ops.convert_to_tensor(x) for x in arrays]
    y, slopes = _BACKENDS[keras.backend.backend()](total, tensors, eager)
    slopes = [ops.convert_to_numpy(s) for s in slopes]
    return ops.convert_to_numpy(y), slopes[0] if len(slopes) == 1 else slopes


def _tensorflow(total, tensors, eager):
    import tensorflow as tf

    def run(tensors):
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            loss, y = total(*tensors)
        return y, tape.gradient(loss, tensors, unconnected_gradients="zero")

    return (run if eager else tf.function(run))(tensors)


def _jax(total, tensors, eager):
    import jax

    run = jax.value_and_grad(total, argnums=tuple(range(len(tensors))), has_aux=True)
    (_, y), slopes = (run if eager else jax.jit(run))(*tensors)
    return y, slopes


def _torch(total, tensors, eager):
    tensors = [x.detach().requires_grad_(True) for x in tensors]
    loss, y = total(*tensors)
    loss.backward()
    return y.detach(), [x.grad for x in tensors]


_BACKENDS = {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch}


def penalty(run):
    """The gradient of a squared gradient, as a function of `x`: a second derivative."""

    def squared(x):
        y = run(x)
        return ops.sum(y * y)

    if keras.backend.backend() == "jax":
        import jax

        slope = jax.grad(squared)
        return jax.grad(lambda x: ops.sum(slope(x) ** 2))
    import tensorflow as tf

    def of_penalty(x):
        with tf.GradientTape() as outer:
            outer.watch(x)
            with tf.GradientTape() as inner:
                inner.watch(x)
                total = squared(x)
            value = ops.sum(inner.gradient(total, x) ** 2)
        return outer.gradient(value, x)

    return of_penalty
