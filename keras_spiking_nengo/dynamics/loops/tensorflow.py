"""`scan` on TensorFlow, of flat lists of tensors."""

import itertools

import tensorflow as tf

from keras_spiking_nengo.dynamics.loops.stacks import (
    Stacks,
    is_compiled,
    run_loop,
    run_steps,
    swapped,
)
from keras_spiking_nengo.dynamics.loops.structures import (
    floats_of,
    is_float,
    product,
    slope_of_kernel,
    with_product,
)

__all__ = ["LONG", "first_steps_tensorflow", "scan_tensorflow"]

# Steps beyond which tracing a graph costs less than running them eagerly.
LONG = 100


def scan_tensorflow(step, forward, parameters, inputs, state, save, shapes, fed, how):
    """Outputs and final states, lists of tensors; as `recurrence.scan`.

    If `fed`, the last parameter is the kernel.
    """
    # Variables, too: a custom gradient takes those it is not given for hidden ones.
    tensors = [tf.convert_to_tensor(x) for x in (*parameters, *inputs, *state)]
    sizes = len(parameters), len(inputs), len(state)

    once = with_product(forward or step) if fed else forward or step

    def ahead(tensors, save):
        parameters, inputs, state = _dealt(tensors, sizes)
        spans = how.spans(_sizes(inputs[0])[1]) if save else None
        return _forward(once, parameters, inputs, state, spans, shapes)

    def back(tensors, saved, upstream, n_outputs):
        parameters, inputs, state = _dealt(tensors, sizes)
        dy, ds, dsaved = _dealt(upstream, (n_outputs, len(state), len(state)))
        if how.local:
            return _local_reverse(step, parameters, inputs, state, dy)
        spans = how.spans(_sizes(inputs[0])[1])
        return _reverse(step, fed, spans, parameters, inputs, saved, dy, ds, dsaved)

    def plain(*tensors):
        return ahead(tensors, False)

    # XLA has no second derivative of the loop that TensorFlow makes of a gradient.
    ours = save or forward or is_compiled()
    made = _differentiable_locally if how.local else _differentiable
    run = made(ahead, back, len(state), save) if ours else plain
    if tf.executing_eagerly() and inputs[0].shape[1] > LONG:
        # One for this call: TensorFlow would warn of functions that are traced often.
        run = tf.function(run, autograph=False).get_concrete_function(*tensors)
    results = list(run(*tensors))
    n_outputs = len(results) - len(state)
    for y in results[:n_outputs]:
        y.set_shape(inputs[0].shape[:2] + y.shape[2:])
    return results[:n_outputs], results[n_outputs:]


def first_steps_tensorflow(step, parameters, inputs, state, count, shapes):
    """Outputs and states after so many steps, without a gradient."""

    def body(t, s):
        y, new = step(parameters, [x[:, t] for x in inputs], s)
        return new, y

    emitted = _emitted(body, inputs[0], state, shapes)
    batch, length = _sizes(inputs[0])
    axes = [1] * len(emitted)
    final, ys = run_loop(count, body, state, emitted, axes, batch, length)
    return ys, final


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


def _differentiable_locally(ahead, back, n_states: int, save: bool):
    """The same where the gradient needs the states before no step but the first."""
    del save

    @tf.custom_gradient
    def run(*tensors):
        results = ahead(tensors, False)

        def grad(*upstream):
            return back(tensors, (), upstream, len(results) - n_states)

        return results, grad

    return run


def _dealt(values, sizes) -> list[list]:
    """The values, so many at a time."""
    values = iter(values)
    return [list(itertools.islice(values, size)) for size in sizes]


def _sizes(sequence) -> list:
    """Batch and number of steps: numbers, or tensors where they are not known now."""
    pairs = zip(sequence.shape[:2], tf.unstack(tf.shape(sequence)[:2]), strict=True)
    return [now if known is None else known for known, now in pairs]


def _forward(step, parameters, inputs, state, spans, shapes):
    """Outputs, final states, and if there are spans the states before each."""
    each = spans is not None and spans.each

    def body(t, s):
        y, new = step(parameters, [x[:, t] for x in inputs], s)
        return new, [*y, *s] if each else y

    if tf.executing_eagerly():
        return _forward_eagerly(inputs[0].shape[1], body, state, spans)
    emitted = _emitted(body, inputs[0], state, shapes)
    emitted += state if each and shapes is not None else []
    n_outputs = len(emitted) - (len(state) if each else 0)
    batch, length = _sizes(inputs[0])
    if spans is None or each:
        axes = [1] * n_outputs + [0] * (len(emitted) - n_outputs)
        final, emits = run_loop(length, body, state, emitted, axes, batch)
        return [*emits[:n_outputs], *final, *emits[n_outputs:]]
    outputs = Stacks(emitted, [1] * n_outputs, length, batch)
    final, ys, saved = _forward_by_spans(body, state, spans, outputs, batch)
    return [*outputs.tensors(ys), *final, *saved]


def _emitted(body, x, state, shapes) -> list:
    """What a step emits, or its specs: outputs, if their shapes are known."""
    if shapes is not None:
        return [tf.TensorSpec((x.shape[0], *shape), x.dtype) for shape in shapes]
    # Only for shapes and dtypes: it is traced and never run, as a call of Python
    # in it would be one too many.
    first = tf.function(lambda: body(0, state)[1], autograph=False)
    return list(first.get_concrete_function().structured_outputs)


def _forward_eagerly(length: int, body, state, spans):
    """As `_forward`, in a loop of Python."""
    emits, saved = [], []
    for t in range(length):
        if spans is not None and t % spans.steps == 0:
            saved.append(state)
        state, emit = body(t, state)
        emits.append(emit[: len(emit) - len(state)] if spans and spans.each else emit)
    stacked = [
        [tf.stack(x) for x in zip(*all_, strict=True)] for all_ in (emits, saved)
    ]
    return [*map(swapped, stacked[0]), *state, *stacked[1]]


def _forward_by_spans(body, state, spans, outputs: Stacks, batch):
    """Final states, stacks of outputs, and the states before each span."""
    kept = Stacks(state, [0] * len(state), spans.total, batch)

    def span(i, s, stacks, n=spans.steps):
        ys, saved = stacks[: len(outputs.start)], stacks[len(outputs.start) :]
        saved = kept.written(saved, i, s)

        def one(t, s, ys):
            s, y = body(i * spans.steps + t, s)
            return s, outputs.written(ys, i * spans.steps + t, y)

        s, ys = run_steps(n, one, s, ys)
        return s, [*ys, *saved]

    stacks = [*outputs.start, *kept.start]
    state, stacks = run_steps(spans.whole, span, state, stacks)
    if spans.has_rest:
        state, stacks = span(spans.whole, state, stacks, spans.rest)
    n = len(outputs.start)
    return state, stacks[:n], kept.tensors(stacks[n:])


def _reverse(step, fed, spans, parameters, inputs, saved, dy, ds, dsaved):
    """Gradients of all parameters, inputs and first states, None for integers.

    `dy`, `ds` and `dsaved` are those of the outputs, the final states, and, if they
    have any, the states before each span.
    """
    batch, length = _sizes(inputs[0])
    floats = floats_of(inputs, inputs)
    slopes = Stacks([x[:, 0] for x in floats], [1] * len(floats), length, batch)
    back = _SpanBack(step, fed, parameters, inputs, dy, slopes, batch)
    # Integer states have no gradient, but they have a place in the loop.
    pairs = zip(saved, ds, strict=True)
    carry = [tf.zeros_like(s[0]) if d is None else d for s, d in pairs]
    carry += [tf.zeros_like(p) for p in parameters]
    if spans.each:
        carry, dx = back(0, length, saved, carry, slopes.start, dsaved)
    else:
        again = with_product(step) if fed else step

        def span(i, carry, dx, n=spans.steps):
            first = i * spans.steps

            def body(t, s):
                xs = [x[:, first + t] for x in inputs]
                return again(parameters, xs, s)[1], s

            start = [s[i] for s in saved]
            axes = [0] * len(start)
            _, states = run_loop(n, body, start, start, axes, batch)
            carry, dx = back(first, n, states, carry, dx)
            more = [d if d is None else d[i] for d in dsaved]
            return [*map(_sum, carry, more), *carry[len(more) :]], dx

        dx = slopes.start
        if spans.has_rest:
            carry, dx = span(spans.whole, carry, dx, spans.rest)
        carry, dx = run_steps(spans.whole, span, carry, dx, reverse=True)
    dx = iter(slopes.tensors(dx))
    return [
        *(d if is_float(d) else None for d in carry[len(saved) :]),
        *(next(dx) if is_float(x) else None for x in inputs),
        *(d if is_float(d) else None for d in carry[: len(saved)]),
    ]


class _SpanBack:
    """The reverse pass of some steps: from gradients after them to those before.

    Args:
        step: of `recurrence.scan`, of flat lists; if `fed`, the last of the
            `parameters` is the kernel.
        inputs, dy: sequences, and the gradients of outputs.
        slopes: stacks for the gradients of inputs.
        batch: first size of a step's tensors.
    """

    def __init__(self, step, fed, parameters, inputs, dy, slopes: Stacks, batch):
        self.step, self.fed, self.inputs, self.dy = step, fed, inputs, dy
        self.parameters = parameters[:-1] if fed else parameters
        self.kernel = parameters[-1] if fed else None
        self.slopes, self.batch = slopes, batch
        # Here, and not in each step.
        self.turned = tf.transpose(self.kernel) if fed else None

    def __call__(self, first, n, saved, carry, dx, dsaved=()):
        """Gradients of states and parameters, and stacks of those of inputs.

        Args:
            first, n: of the steps.
            saved: states before each of them.
            carry: gradients of the states after them, and of parameters so far.
            dx: stacks of the gradients of inputs.
            dsaved: further gradients of the states before each.
        """
        factors = [saved[-1][0]] * 2 if self.fed else []
        # What the kernel multiplied after each step, and the slopes of the products.
        products = Stacks(factors, [0] * len(factors), n, self.batch)
        n_inputs = len(dx)

        def body(t, carry, stacks):
            carry, dx_t, factors = self._step_back(first, t, saved, carry, dsaved)
            dx = self.slopes.written(stacks[:n_inputs], first + t, dx_t)
            return carry, [*dx, *products.written(stacks[n_inputs:], t, factors)]

        *carry, slope = carry if self.fed else (*carry, None)
        stacks = [*dx, *products.start]
        carry, stacks = run_steps(n, body, carry, stacks, reverse=True)
        if self.fed:
            factors = products.tensors(stacks[n_inputs:])
            carry = [*carry, slope + slope_of_kernel(self.kernel, *factors)]
        return carry, stacks[:n_inputs]

    def _step_back(self, first, t, saved, carry, dsaved):
        """Gradients before a step, of its inputs, and the factors of the product."""
        ds, dp = carry[: len(saved)], carry[len(saved) :]
        xs = [x[:, first + t] for x in self.inputs]
        primals = [self.parameters, xs, [s[t] for s in saved]]
        upstream = [None if d is None else d[:, first + t] for d in self.dy]
        sums = ds[-1:] if self.fed else []
        if self.fed:
            ds = [*ds[:-1], product(ds[-1], self.turned)]
        new, (now, dx, ds) = _adjoint(self.step, primals, upstream, ds)
        more = [d if d is None else d[t] for d in dsaved]
        ds = [*map(_sum, ds, more), *ds[len(more) :]]
        factors = [new[-1], *sums] if self.fed else []
        return [*ds, *map(tf.add, dp, now)], floats_of(dx, self.inputs), factors


def _sum(x, more):
    return x if more is None else x + more


def _local_reverse(step, parameters, inputs, state, dy):
    """Gradients as of `_reverse`, which do not go from one step to another.

    So states are computed again from the first step on, and none is kept.
    """
    n_states = len(state)

    def body(t, carry):
        s, dp = carry[:n_states], carry[n_states:]
        primals = [parameters, [x[:, t] for x in inputs], s]
        upstream = [None if d is None else d[:, t] for d in dy]
        new, (now, dx, _) = _adjoint(step, primals, upstream, [None] * n_states)
        return [*new, *map(tf.add, dp, now)], floats_of(dx, inputs)

    start = [*state, *(tf.zeros_like(p) for p in parameters)]
    emitted = [x[:, 0] for x in floats_of(inputs, inputs)]
    batch, length = _sizes(inputs[0])
    carry, emits = run_loop(length, body, start, emitted, [1] * len(emitted), batch)
    slopes = iter(emits)
    return [
        *(d if is_float(d) else None for d in carry[n_states:]),
        *(next(slopes) if is_float(x) else None for x in inputs),
        *(tf.zeros_like(s) if is_float(s) else None for s in state),
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
