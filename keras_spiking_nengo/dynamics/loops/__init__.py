"""A recurrence over a whole sequence, with its own reverse pass.

`scan` runs `y[t], s[t+1] = step(parameters, x[t], s[t])` over axis 1. Backward,
it runs the adjoint of `step` from the last step to the first: only the states
`s[t]` are kept, and what `step` computes from them is computed again. That is
the same for every recurrence, so a rule for new dynamics is a `step` alone.

This is the only module that knows which backend runs. Two primitives are needed
of TensorFlow and JAX: a loop that stacks what its body emits, and the
vector-Jacobian product of one step. Torch records an ordinary Python loop. Besides
them it compiles a function, and calls Python from a compiled one.
"""

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

__all__ = [
    "call_host",
    "compiled",
    "gather",
    "loops_are_fast",
    "not_exported",
    "precise",
    "precision",
    "scan",
    "static_length",
]

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
    shape: tuple[int, ...] | None = None,
    forward: Step | None = None,
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
        save: keep the states for the reverse pass. Without, TensorFlow's own
            reverse pass, which is slow under XLA, gives the gradient; a loop
            without a custom gradient can be exported without a warning.
        unroll: write the steps out one by one; needs a static length.
        shape: of the output of a step, without the batch, where it is known and of
            the first input's dtype. TensorFlow then traces the step once less.
        forward: the same numbers as `step`, without a useful derivative and what it
            costs: what runs forward. States that were not saved are then computed
            again for the reverse pass, which is ours with `save` or without.

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

    def listed(step):
        def of_lists(values, x, s):
            y, s = step({**parameters, **dict(zip(names, values, strict=True))}, x, s)
            return y, list(s)

        return of_lists

    tensors = [parameters[name] for name in names]
    steps = listed(step), listed(forward) if forward else None
    return _SCANS[backend](*steps, tensors, inputs, state, save, shape)


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
    backend = keras.backend.backend()
    lead = inputs[0].shape[:-1]
    if backend == "tensorflow":
        import tensorflow as tf

        y = tf.numpy_function(lambda *x: function(*x).astype(dtype), inputs, dtype)
        y.set_shape((*lead, size))
        return y
    if backend == "jax":
        import jax
        from jax.experimental import io_callback

        if not all(isinstance(n, int) for n in lead):
            raise NotImplementedError(not_exported(label))
        # JAX hands doubles over as singles: they pass as pairs of integers.
        wide = dtype == "float64"
        kind = "uint32" if wide else dtype

        def numpy(*arrays):
            x = [np.ascontiguousarray(a) for a in arrays]
            y = function(*(a.view(dtype)[..., 0] if wide else a for a in x))
            y = y.astype(dtype)
            return np.ascontiguousarray(y)[..., None].view(kind) if wide else y

        shape = (*lead, size, 2) if wide else (*lead, size)
        if wide:
            inputs = [jax.lax.bitcast_convert_type(x, kind) for x in inputs]
        result = jax.ShapeDtypeStruct(shape, kind)
        y = io_callback(numpy, result, *inputs, ordered=True)
        return jax.lax.bitcast_convert_type(y, dtype) if wide else y
    y = function(*map(ops.convert_to_numpy, inputs))
    return ops.convert_to_tensor(y, dtype=dtype)


def gather(x, index: np.ndarray):
    """Elements of the last axis at constant positions, which are all there."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        return tf.gather(x, index.astype("int32"), axis=-1)
    if backend == "jax":
        return x.at[..., index].get(mode="promise_in_bounds")
    return ops.take(x, index, axis=-1)


def precise(name: str, x):
    """`keras.ops.<name>` of one array, in the array's own precision.

    Keras on JAX computes some functions of doubles in single precision.
    """
    if keras.backend.backend() == "jax":
        from jax import numpy as jnp

        return getattr(jnp, name)(x)
    return getattr(ops, name)(x)


def loops_are_fast() -> bool:
    """Whether a step of a loop costs little more than what it computes.

    Not where TensorFlow runs a graph without compiling it, nor on a graphics card,
    which starts anew for each step.
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        return _tf_compiled() and not tf.config.list_logical_devices("GPU")
    if backend != "jax":
        return False
    import jax

    return jax.default_backend() == "cpu"


def not_exported(label: str) -> str:
    """What to say of Python in a graph that leaves this process."""
    return (
        f"{label} is a Python function, which an exported model cannot call. Make its"
        " node an input, or write it in keras.ops and mark it with"
        " ksn.tensor_function."
    )


def compiled(function: Callable, host: bool = False) -> Callable:
    """`function` of nested tensors, compiled by XLA where the backend has it.

    Args:
        function: pure.
        host: whether it uses `call_host`, which TensorFlow's XLA refuses.
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        return tf.function(function, jit_compile=not host, autograph=False)
    if backend == "jax":
        import jax

        return jax.jit(function)
    return function


def precision(dtype: str):
    """A context in which the backend has tensors of `dtype`."""
    if dtype == "float64" and keras.backend.backend() == "jax":
        import jax

        return jax.enable_x64(True)
    return contextlib.nullcontext()


def _unrolled(step, parameters, inputs, state):
    outputs = []
    for t in range(inputs[0].shape[1]):
        y, state = step(parameters, [x[:, t] for x in inputs], state)
        outputs.append(y)
    return ops.stack(outputs, axis=1), list(state)


def _is_float(x) -> bool:
    return "float" in keras.backend.standardize_dtype(x.dtype)


def _floats(values, like) -> list:
    return [v for v, x in zip(values, like, strict=True) if _is_float(x)]


# --- TensorFlow ----------------------------------------------------------------

# Steps beyond which tracing a graph costs less than running them eagerly.
_LONG = 100


def _scan_tensorflow(step, forward, parameters, inputs, state, save, shape):
    import tensorflow as tf

    sizes = len(parameters), len(inputs)

    def plain(*tensors):
        y, final, _ = _tf_forward(step, *_parted(tensors, *sizes), False, shape)
        return (y, *final)

    @tf.custom_gradient
    def differentiable(*tensors):
        parts = _parted(tensors, *sizes)
        y, final, kept = _tf_forward(forward or step, *parts, save, shape)

        def grad(dy, *ds):
            saved = kept or _tf_forward(forward or step, *parts, True, shape)[2]
            return _tf_reverse(step, *parts, saved, dy, ds)

        return (y, *final), grad

    run = differentiable if save or forward else plain
    if tf.executing_eagerly() and inputs[0].shape[1] > _LONG:
        # One for this call: TensorFlow would warn of functions that are traced often.
        traced = tf.function(run, autograph=False)
        run = traced.get_concrete_function(*parameters, *inputs, *state)
    y, *final = run(*parameters, *inputs, *state)
    y.set_shape(inputs[0].shape[:2] + y.shape[2:])
    return y, final


def _parted(tensors, n_parameters, n_inputs) -> tuple[list, list, list]:
    tensors = list(tensors)
    n = n_parameters + n_inputs
    return tensors[:n_parameters], tensors[n_parameters:n], tensors[n:]


def _tf_compiled() -> bool:
    """Whether what is traced now is for XLA: `tf.function(jit_compile=True)`."""
    import tensorflow as tf
    from tensorflow.python.ops import control_flow_util

    graph = tf.compat.v1.get_default_graph()
    return control_flow_util.GraphOrParentsInXlaContext(graph)


def _tf_loop(length, body, carry, emitted, axes, batch, reverse=False):
    """`carry, emit = body(t, carry)` for all t; emits are stacked on their axes.

    `emitted` has their shapes and dtypes, and `batch` is their first size.
    """
    import tensorflow as tf

    known = all(None not in tuple(x.shape)[1:] for x in emitted)
    stack = _tf_in_place if known and _tf_compiled() else _tf_array
    stacks = [
        stack(x, axis, length, batch) for x, axis in zip(emitted, axes, strict=True)
    ]
    starts, writes, ends = zip(*stacks, strict=True)

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


def _tf_array(x, axis, length, batch):
    """A stack that any TensorFlow can write: its start, how to write, and its end."""
    import tensorflow as tf

    def end(array):
        stacked = array.stack()
        return stacked if axis == 0 else _tf_swap(stacked)

    start = tf.TensorArray(x.dtype, length, element_shape=x.shape)
    return start, lambda array, t, value: array.write(t, value), end


def _tf_in_place(x, axis, length, batch):
    """A stack that XLA writes to where it is, so that no more memory is touched."""
    import tensorflow as tf
    from tensorflow.compiler.tf2xla.python import xla

    sizes = [batch, *x.shape[1:]]
    sizes.insert(axis, length)

    def write(stack, t, value):
        place = [t if i == axis else 0 for i in range(len(sizes))]
        return xla.dynamic_update_slice(stack, tf.expand_dims(value, axis), place)

    return tf.zeros(sizes, x.dtype), write, lambda stack: stack


def _tf_forward(step, parameters, inputs, state, save, shape):
    import tensorflow as tf

    def body(t, s):
        y, new = step(parameters, [x[:, t] for x in inputs], s)
        return new, [y, *s] if save else [y]

    if tf.executing_eagerly():
        final, emits = _eager_loop(inputs[0].shape[1], body, state)
        return _tf_swap(emits[0]), final, emits[1:]

    def first():
        return body(0, state)[1]

    if shape is None:
        # Only for shapes and dtypes: it is traced and never run, as a call of Python
        # in it would be one too many.
        traced = tf.function(first, autograph=False).get_concrete_function()
        emitted = traced.structured_outputs
    else:
        x = inputs[0]
        emitted = [
            tf.TensorSpec((x.shape[0], *shape), x.dtype),
            *(state if save else ()),
        ]
    batch, length = tf.unstack(tf.shape(inputs[0])[:2])
    axes = [1] + [0] * (len(emitted) - 1)
    final, emits = _tf_loop(length, body, state, emitted, axes, batch)
    return emits[0], final, emits[1:]


def _eager_loop(length: int, body, carry):
    import tensorflow as tf

    emits = []
    for t in range(length):
        carry, emit = body(t, carry)
        emits.append(emit)
    return list(carry), [tf.stack(values) for values in zip(*emits, strict=True)]


def _tf_reverse(step, parameters, inputs, state, saved, dy, ds):
    """Gradients of all parameters, inputs and first states, None for integers."""
    import tensorflow as tf

    n_states = len(state)

    def body(t, carry):
        ds, dp = carry[:n_states], carry[n_states:]
        primals = [parameters, [x[:, t] for x in inputs], [s[t] for s in saved]]
        now, dx, ds = _tf_adjoint(step, primals, dy[:, t], ds)
        return [*ds, *map(tf.add, dp, now)], _floats(dx, inputs)

    # Integer states have no gradient, but they have a place in the loop.
    pairs = zip(state, ds, strict=True)
    start = [tf.zeros_like(s) if d is None else d for s, d in pairs]
    start += [tf.zeros_like(p) for p in parameters]
    emitted = [x[:, 0] for x in _floats(inputs, inputs)]
    batch, length = tf.unstack(tf.shape(inputs[0])[:2])
    axes = [1] * len(emitted)
    carry, dx = _tf_loop(length, body, start, emitted, axes, batch, reverse=True)
    found = iter(dx)
    return [
        *carry[n_states:],
        *(next(found) if _is_float(x) else None for x in inputs),
        *(d if _is_float(d) else None for d in carry[:n_states]),
    ]


def _tf_adjoint(step, primals, dy, ds):
    """Vector-Jacobian product of one step; zeros for integers."""
    import tensorflow as tf

    watched = [x for x in tf.nest.flatten(primals) if _is_float(x)]
    with tf.GradientTape() as tape:
        tape.watch(watched)
        y, new = step(*primals)
    targets = [(y, dy), *zip(new, ds, strict=True)]
    targets = [(y, d) for y, d in targets if _is_float(y)]
    gradients = iter(
        tape.gradient(
            [y for y, _ in targets],
            watched,
            output_gradients=[d for _, d in targets],
            unconnected_gradients="zero",
        )
    )
    return tf.nest.map_structure(
        lambda x: next(gradients) if _is_float(x) else tf.zeros_like(x), primals
    )


def _tf_swap(x):
    import tensorflow as tf

    return tf.transpose(x, (1, 0, *range(2, len(x.shape))))


# --- JAX -----------------------------------------------------------------------


def _scan_jax(step, forward_step, parameters, inputs, state, save, shape):
    import jax

    del save  # a custom_vjp saves only where it is differentiated
    ahead = forward_step or step

    @jax.custom_vjp
    def run(parameters, inputs, state):
        return _jax_forward(ahead, parameters, inputs, state, False)[:2]

    def forward(parameters, inputs, state):
        y, final, saved = _jax_forward(ahead, parameters, inputs, state, True)
        return (y, final), (parameters, inputs, saved)

    def reverse(kept, upstream):
        return _jax_reverse(step, *kept, *upstream)

    run.defvjp(forward, reverse)
    return run(parameters, inputs, state)


def _at(x, t, axis=1):
    from jax import lax

    return lax.dynamic_index_in_dim(x, t, axis, keepdims=False)


def _put(array, x, t, axis=1):
    from jax import lax

    return lax.dynamic_update_index_in_dim(array, x, t, axis)


def _jax_forward(step, parameters, inputs, state, save):
    import jax
    from jax import lax
    from jax import numpy as jnp

    # Axis 1 is indexed where it is: moving time to the front would copy.
    length = inputs[0].shape[1]
    y = jax.eval_shape(step, parameters, [x[:, 0] for x in inputs], state)[0]
    ys = jnp.zeros((y.shape[0], length, *y.shape[1:]), y.dtype)
    saved = [jnp.zeros((length, *s.shape), s.dtype) for s in state] if save else []

    def body(t, carry):
        s, ys, saved = carry
        saved = [_put(array, x, t, 0) for array, x in zip(saved, s, strict=False)]
        y, s = step(parameters, [_at(x, t) for x in inputs], s)
        return s, _put(ys, y, t), saved

    final, ys, saved = lax.fori_loop(0, length, body, (state, ys, saved))
    return ys, final, saved


def _jax_reverse(step, parameters, inputs, saved, dy, ds):
    """Gradients of all parameters, inputs and first states, None for integers."""
    import jax
    from jax import lax
    from jax import numpy as jnp

    length = inputs[0].shape[1]
    floating = [_is_float(s) for s in saved]

    def body(i, carry):
        ds, dp, dx = carry
        t = length - 1 - i
        now = [s[t] for s in saved]

        def of_floats(parameters, x, floats):
            # Integer states have no cotangent: here they are constants.
            given = iter(floats)
            pairs = zip(floating, now, strict=True)
            s = [next(given) if f else n for f, n in pairs]
            y, new = step(parameters, x, s)
            return y, _floats(new, saved)

        primals = (parameters, [_at(x, t) for x in inputs], _floats(now, saved))
        dp_t, dx_t, ds = jax.vjp(of_floats, *primals)[1]((_at(dy, t), ds))
        dx = list(map(lambda d, x: _put(d, x, t), dx, _floats(dx_t, inputs)))
        return ds, list(map(jnp.add, dp, dp_t)), dx

    dp = [jnp.zeros_like(p) for p in parameters]
    dx = [jnp.zeros_like(x) for x in _floats(inputs, inputs)]
    carry = lax.fori_loop(0, length, body, (_floats(ds, saved), dp, dx))
    ds, dp, dx = iter(carry[0]), carry[1], iter(carry[2])
    return (
        dp,
        [next(dx) if _is_float(x) else None for x in inputs],
        [next(ds) if f else None for f in floating],
    )


_SCANS = {"tensorflow": _scan_tensorflow, "jax": _scan_jax}
