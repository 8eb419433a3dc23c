"""A recurrence over a whole sequence, with its own reverse pass.

`scan` runs `y[t], s[t+1] = step(parameters, x[t], s[t])` over axis 1. Backward,
it runs the adjoint of `step` from the last step to the first: only the states
`s[t]` are kept, and what `step` computes from them is computed again. That is
the same for every recurrence, so a rule for new dynamics is a `step` alone.

This is the only module that knows which backend runs. Two primitives are needed
of TensorFlow and JAX: a loop that stacks what its body emits, and the
vector-Jacobian product of one step. Torch records an ordinary Python loop.
"""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

__all__ = ["scan", "static_length"]

Tensors = list[Any]
Step = Callable[[dict, Tensors, Tensors], tuple[Any, Tensors]]


def static_length(sequence) -> int | None:
    """Number of time steps of `(batch, time, ...)`, or None if not known now."""
    length = sequence.shape[1]
    # JAX exports with symbolic dimensions, which are not integers.
    return length if isinstance(length, int) else None


def scan(
    step: Step,
    parameters: dict[str, Any],
    inputs: Sequence[Any],
    state: Sequence[Any],
    save: bool = True,
    unroll: bool = False,
) -> tuple[Any, Tensors]:
    """Run `step` along axis 1 of `inputs`.

    Args:
        step: `(parameters, x, state) -> (y, state)` for one step of time, where
            `x` and `state` are lists. It may use `parameters` and constants, but
            no other tensors.
        parameters: dict of Python numbers (constants) and tensors, which get
            gradients.
        inputs: tensors `(batch, time, ...)`.
        state: tensors `(batch, ...)`.
        save: keep the states for the reverse pass. Without, a gradient is still
            right but runs the sequence again.
        unroll: write the steps out one by one; needs a static length.

    Returns:
        `(batch, time, ...)` outputs and the list of final states.

    Example:
        >>> import keras
        >>> def decay(p, x, s):
        ...     y = p["d"] * s[0] + x[0]
        ...     return y, [y]
        >>> y, _ = scan(decay, {"d": 0.5}, [keras.ops.ones((1, 3, 1))],
        ...             [keras.ops.zeros((1, 1))])
        >>> [float(v) for v in y[0, :, 0]]
        [1.0, 1.5, 1.75]
    """
    inputs, state = list(inputs), list(state)
    backend = keras.backend.backend()
    if unroll or backend not in _SCANS:
        return _unrolled(step, parameters, inputs, state)
    names = [name for name, value in parameters.items() if ops.is_tensor(value)]

    def listed(values, x, s):
        y, s = step({**parameters, **dict(zip(names, values, strict=True))}, x, s)
        return y, list(s)

    tensors = [parameters[name] for name in names]
    return _SCANS[backend](listed, tensors, inputs, state, save)


def _unrolled(step, parameters, inputs, state):
    outputs = []
    for t in range(inputs[0].shape[1]):
        y, state = step(parameters, [x[:, t] for x in inputs], state)
        outputs.append(y)
    return ops.stack(outputs, axis=1), list(state)


def _is_float(x) -> bool:
    return "float" in keras.backend.standardize_dtype(x.dtype)


def _scan_tensorflow(step, parameters, inputs, state, save):
    import tensorflow as tf

    def loop(body, carry, emitted, reverse=False):
        """`carry, emit = body(t, carry)` for all t; emits are stacked on axis 0."""
        length = tf.shape(inputs[0])[1]
        arrays = [
            tf.TensorArray(x.dtype, length, element_shape=x.shape) for x in emitted
        ]

        def iterate(i, carry, arrays):
            t = length - 1 - i if reverse else i
            carry, emit = body(t, carry)
            written = zip(arrays, emit, strict=True)
            return i + 1, carry, [array.write(t, x) for array, x in written]

        _, carry, arrays = tf.while_loop(
            lambda i, *_: i < length,
            iterate,
            (0, list(carry), arrays),
            maximum_iterations=length,
        )
        return carry, [array.stack() for array in arrays]

    def forward(parameters, inputs, state, save):
        def body(t, s):
            y, new = step(parameters, [x[:, t] for x in inputs], s)
            return new, [y, *s] if save else [y]

        # Only for the shape and dtype of y; the graph drops it.
        y, _ = step(parameters, [x[:, 0] for x in inputs], state)
        final, emits = loop(body, state, [y, *state] if save else [y])
        return _swap(tf, emits[0]), final, emits[1:]

    def adjoint(t, parameters, inputs, saved, dy, ds):
        primals = [parameters, [x[:, t] for x in inputs], [s[t] for s in saved]]
        watched = [x for x in tf.nest.flatten(primals) if x.dtype.is_floating]
        with tf.GradientTape() as tape:
            tape.watch(watched)
            y, new = step(*primals)
            targets = [(y, dy[:, t]), *zip(new, ds, strict=True)]
            targets = [(y, d) for y, d in targets if y.dtype.is_floating]
        gradients = tape.gradient(
            [y for y, _ in targets],
            watched,
            output_gradients=[d for _, d in targets],
            unconnected_gradients="zero",
        )
        gradients = iter(gradients)
        return tf.nest.map_structure(
            lambda x: next(gradients) if x.dtype.is_floating else tf.zeros_like(x),
            primals,
        )

    n_parameters, n_inputs = len(parameters), len(inputs)

    @tf.custom_gradient
    def run(*tensors):
        parameters = list(tensors[:n_parameters])
        inputs = list(tensors[n_parameters : n_parameters + n_inputs])
        state = list(tensors[n_parameters + n_inputs :])
        y, final, saved = forward(parameters, inputs, state, save)

        def grad(dy, *ds):
            kept = saved or forward(parameters, inputs, state, True)[2]

            # Integer states have no gradient, but they have a place in the loop.
            pairs = zip(state, ds, strict=True)
            start = [tf.zeros_like(s) if d is None else d for s, d in pairs]

            def body(t, carry):
                ds, dp = carry[: len(state)], carry[len(state) :]
                now, dx, ds = adjoint(t, parameters, inputs, kept, dy, ds)
                return [*ds, *map(tf.add, dp, now)], _floats(dx, inputs)

            zeros = [tf.zeros_like(p) for p in parameters]
            emitted = [x[:, 0] for x in _floats(inputs, inputs)]
            carry, dx = loop(body, [*start, *zeros], emitted, reverse=True)
            found = iter([_swap(tf, x) for x in dx])
            return [
                *carry[len(state) :],
                *(next(found) if _is_float(x) else None for x in inputs),
                *(d if _is_float(d) else None for d in carry[: len(state)]),
            ]

        return (y, *final), grad

    if tf.executing_eagerly() and inputs[0].shape[1] > _LONG:
        run = tf.function(run, autograph=False)
    y, *final = run(*parameters, *inputs, *state)
    y.set_shape(inputs[0].shape[:2] + y.shape[2:])
    return y, final


# Steps beyond which tracing a graph costs less than running them eagerly.
_LONG = 100


def _floats(values, like) -> list:
    return [v for v, x in zip(values, like, strict=True) if _is_float(x)]


def _swap(tf, x):
    return tf.transpose(x, (1, 0, *range(2, len(x.shape))))


def _scan_jax(step, parameters, inputs, state, save):
    import jax
    from jax import lax
    from jax import numpy as jnp

    del save  # a custom_vjp saves only where it is differentiated

    def at(x, t, axis=1):
        return lax.dynamic_index_in_dim(x, t, axis, keepdims=False)

    def put(array, x, t, axis=1):
        return lax.dynamic_update_index_in_dim(array, x, t, axis)

    def empty(x, length, axis=1):
        shape = (*x.shape[:axis], length, *x.shape[axis:])
        return jnp.zeros(shape, x.dtype)

    def forward(parameters, inputs, state, save):
        # Axis 1 is indexed where it is: moving time to the front would copy.
        length = inputs[0].shape[1]
        y = jax.eval_shape(step, parameters, [x[:, 0] for x in inputs], state)[0]
        saved = [empty(s, length, 0) for s in state] if save else []

        def body(t, carry):
            s, ys, saved = carry
            saved = [put(array, x, t, 0) for array, x in zip(saved, s, strict=False)]
            y, s = step(parameters, [at(x, t) for x in inputs], s)
            return s, put(ys, y, t), saved

        final, ys, saved = lax.fori_loop(
            0, length, body, (state, empty(y, length), saved)
        )
        return ys, final, saved

    @jax.custom_vjp
    def run(parameters, inputs, state):
        return forward(parameters, inputs, state, False)[:2]

    def run_forward(parameters, inputs, state):
        y, final, saved = forward(parameters, inputs, state, True)
        return (y, final), (parameters, inputs, saved)

    def run_reverse(kept, upstream):
        parameters, inputs, saved = kept
        dy, ds = upstream
        length = inputs[0].shape[1]
        # Integer states have no cotangent; a step still has to be given one.
        floating = [_is_float(s) for s in saved]

        def body(i, carry):
            ds, dp, dx = carry
            t = length - 1 - i
            primals = (parameters, [at(x, t) for x in inputs], [s[t] for s in saved])
            (y, new), adjoint = jax.vjp(step, *primals)
            cotangents = [
                d if f else _float0(s)
                for d, f, s in zip(ds, floating, new, strict=True)
            ]
            now, dx_t, ds_t = adjoint((at(dy, t), cotangents))
            dx = [put(d, x, t) for d, x in zip(dx, _floats(dx_t, inputs), strict=True)]
            ds = [
                new if f else old
                for old, new, f in zip(ds, ds_t, floating, strict=True)
            ]
            return ds, [a + b for a, b in zip(dp, now, strict=True)], dx

        ds = [d if f else jnp.zeros(()) for d, f in zip(ds, floating, strict=True)]
        dp = [jnp.zeros_like(p) for p in parameters]
        dx = [jnp.zeros_like(x) for x in inputs if _is_float(x)]
        ds, dp, dx = lax.fori_loop(0, length, body, (ds, dp, dx))
        dx = iter(dx)
        return (
            dp,
            [next(dx) if _is_float(x) else None for x in inputs],
            [d if f else None for d, f in zip(ds, floating, strict=True)],
        )

    run.defvjp(run_forward, run_reverse)
    return run(parameters, inputs, state)


def _float0(x):
    import jax

    return np.zeros(x.shape, jax.dtypes.float0)


_SCANS = {"tensorflow": _scan_tensorflow, "jax": _scan_jax}
