"""`scan` on TensorFlow, of flat lists of tensors."""

import itertools

import tensorflow as tf

from keras_spiking_nengo.dynamics.loops.stacks import is_compiled, run_loop, swapped
from keras_spiking_nengo.dynamics.loops.structures import (
    floats_of,
    is_float,
    product,
    slope_of_kernel,
    with_product,
)

__all__ = ["LONG", "scan_tensorflow"]

# Steps beyond which tracing a graph costs less than running them eagerly.
LONG = 100


def scan_tensorflow(step, forward, parameters, inputs, state, save, shape, fed):
    """Outputs and final states, lists of tensors; as `recurrence.scan`.

    If `fed`, the last parameter is the kernel.
    """
    # Variables, too: a custom gradient takes those it is not given for hidden ones.
    tensors = [tf.convert_to_tensor(x) for x in (*parameters, *inputs, *state)]
    sizes = len(parameters), len(inputs), len(state)

    once = with_product(forward or step) if fed else forward or step

    def ahead(tensors, save):
        parameters, inputs, state = _dealt(tensors, sizes)
        return _forward(once, parameters, inputs, state, save, shape)

    def back(tensors, saved, upstream, n_outputs):
        parameters, inputs, _ = _dealt(tensors, sizes)
        dy, ds, dsaved = _dealt(upstream, (n_outputs, len(state), len(state)))
        return _reverse(step, fed, parameters, inputs, saved, dy, ds, dsaved)

    def plain(*tensors):
        return ahead(tensors, False)

    # XLA has no second derivative of the loop that TensorFlow makes of a gradient.
    ours = save or forward or is_compiled()
    run = _differentiable(ahead, back, len(state), save) if ours else plain
    if tf.executing_eagerly() and inputs[0].shape[1] > LONG:
        # One for this call: TensorFlow would warn of functions that are traced often.
        run = tf.function(run, autograph=False).get_concrete_function(*tensors)
    results = list(run(*tensors))
    n_outputs = len(results) - len(state)
    for y in results[:n_outputs]:
        y.set_shape(inputs[0].shape[:2] + y.shape[2:])
    return results[:n_outputs], results[n_outputs:]


def _differentiable(ahead, back, n_states: int, save: bool):
    """A function of tensors to outputs and final states, with its own reverse pass.

    Args:
        ahead: `(tensors, save)` to outputs, final states, and with `save` the states
            before each step, one after the other.
        back: gradients of the tensors, from these states and the gradients of what
            `ahead` returned.
        n_states: number of states.
        save: keep the states for the reverse pass, or compute them again.
    """

    @tf.custom_gradient
    def saving(*tensors):
        """What `ahead` returns, differentiated as if the step had computed it all.

        Second derivatives go through the states that were saved.
        """
        results = ahead(tensors, True)

        def grad(*upstream):
            saved = saving(*tensors)[len(results) - n_states :]
            return back(tensors, saved, upstream, len(results) - 2 * n_states)

        return results, grad

    @tf.custom_gradient
    def run(*tensors):
        results = saving(*tensors) if save else ahead(tensors, False)
        n = len(results) - n_states if save else len(results)

        def grad(*upstream):
            saved = (results if save else saving(*tensors))[n:]
            return back(tensors, saved, upstream, n - n_states)

        return results[:n], grad

    return run


def _dealt(values, sizes) -> list[list]:
    """The values, so many at a time."""
    values = iter(values)
    return [list(itertools.islice(values, size)) for size in sizes]


def _forward(step, parameters, inputs, state, save, shape):
    """Outputs, final states, and with `save` the states before each step."""

    def body(t, s):
        y, new = step(parameters, [x[:, t] for x in inputs], s)
        return new, [*y, *s] if save else y

    n_saved = len(state) if save else 0
    if tf.executing_eagerly():
        final, emits = _run_eagerly(inputs[0].shape[1], body, state)
        n_outputs = len(emits) - n_saved
        return [*map(swapped, emits[:n_outputs]), *final, *emits[n_outputs:]]
    if shape is None:
        # Only for shapes and dtypes: it is traced and never run, as a call of Python
        # in it would be one too many.
        first = tf.function(lambda: body(0, state)[1], autograph=False)
        emitted = list(first.get_concrete_function().structured_outputs)
    else:
        x = inputs[0]
        emitted = [
            tf.TensorSpec((x.shape[0], *shape), x.dtype),
            *(state if save else ()),
        ]
    n_outputs = len(emitted) - n_saved
    batch, length = tf.unstack(tf.shape(inputs[0])[:2])
    axes = [1] * n_outputs + [0] * n_saved
    final, emits = run_loop(length, body, state, emitted, axes, batch)
    return [*emits[:n_outputs], *final, *emits[n_outputs:]]


def _run_eagerly(length: int, body, carry):
    emits = []
    for t in range(length):
        carry, emit = body(t, carry)
        emits.append(emit)
    return list(carry), [tf.stack(values) for values in zip(*emits, strict=True)]


def _reverse(step, fed, parameters, inputs, saved, dy, ds, dsaved):
    """Gradients of all parameters, inputs and first states, None for integers.

    `dy`, `ds` and `dsaved` are those of the outputs, the final states, and, if they
    have any, the states before each step.
    """
    *parameters, kernel = parameters if fed else (*parameters, None)
    turned = tf.transpose(kernel) if fed else None  # here, and not in each step
    n_states = len(saved)

    def body(t, carry):
        ds, dp = carry[:n_states], carry[n_states:]
        primals = [parameters, [x[:, t] for x in inputs], [s[t] for s in saved]]
        upstream = [None if d is None else d[:, t] for d in dy]
        sums = ds[-1:] if fed else []
        if fed:
            ds = [*ds[:-1], product(ds[-1], turned)]
        new, (now, dx, ds) = _adjoint(step, primals, upstream, ds)
        if dsaved:
            pairs = zip(ds, dsaved, strict=True)
            ds = [d if more is None else d + more[t] for d, more in pairs]
        factors = [new[-1], *sums] if fed else []
        return [*ds, *map(tf.add, dp, now)], [*floats_of(dx, inputs), *factors]

    # Integer states have no gradient, but they have a place in the loop.
    pairs = zip(saved, ds, strict=True)
    start = [tf.zeros_like(s[0]) if d is None else d for s, d in pairs]
    start += [tf.zeros_like(p) for p in parameters]
    emitted = [x[:, 0] for x in floats_of(inputs, inputs)]
    axes = [1] * len(emitted)
    if fed:
        # What the kernel multiplied after each step, and the slopes of the products.
        emitted, axes = [*emitted, *[saved[-1][0]] * 2], [*axes, 0, 0]
    batch, length = tf.unstack(tf.shape(inputs[0])[:2])
    carry, emits = run_loop(length, body, start, emitted, axes, batch, reverse=True)
    slopes = iter(emits)
    return [
        *(d if is_float(d) else None for d in carry[n_states:]),
        *([slope_of_kernel(kernel, *emits[-2:])] if fed else ()),
        *(next(slopes) if is_float(x) else None for x in inputs),
        *(d if is_float(d) else None for d in carry[:n_states]),
    ]


def _adjoint(step, primals, dy, ds):
    """The next state of a step, and its vector-Jacobian product; zeros for integers."""
    watched = [x for x in tf.nest.flatten(primals) if is_float(x)]
    with tf.GradientTape() as tape:
        tape.watch(watched)
        y, new = step(*primals)
    targets = [*zip(y, dy, strict=True), *zip(new, ds, strict=True)]
    targets = [(y, d) for y, d in targets if d is not None and is_float(y)]
    gradients = iter(
        tape.gradient(
            [y for y, _ in targets],
            watched,
            output_gradients=[d for _, d in targets],
            unconnected_gradients="zero",
        )
    )
    return new, tf.nest.map_structure(
        lambda x: next(gradients) if is_float(x) else tf.zeros_like(x), primals
    )
