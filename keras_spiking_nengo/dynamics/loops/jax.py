"""`scan` on JAX, of flat lists of tensors."""

from functools import partial

import jax
from jax import lax
from jax import numpy as jnp

from keras_spiking_nengo.dynamics.loops.structures import (
    floats_of,
    is_float,
    product,
    slope_of_kernel,
    with_product,
)

__all__ = ["first_steps_jax", "scan_jax"]


def scan_jax(step, forward, parameters, inputs, state, save, shapes, fed, how):
    """Outputs and final states, lists of tensors; as `recurrence.scan`.

    If `fed`, the last parameter is the kernel.
    """
    del save, shapes  # a custom_vjp saves only where it is differentiated
    ahead = with_product(forward or step) if fed else forward or step
    if how.local:
        return _jax_local(step, ahead, parameters, inputs, state)
    # Nothing is looked up where nothing is kept: exports have lengths without a value.
    spans = partial(how.spans, inputs[0].shape[1])

    @jax.custom_vjp
    def run(parameters, inputs, state):
        return _jax_forward(ahead, parameters, inputs, state, None)[:2]

    def run_forward(*primals):
        y, final, saved = saving(*primals)
        return (y, final), (*primals[:2], saved)

    @jax.custom_vjp
    def saving(parameters, inputs, state):
        """Outputs, final states, and the states that are kept.

        All are differentiated as if `step` had computed them: second derivatives
        go through what was saved.
        """
        return _jax_forward(ahead, parameters, inputs, state, spans())

    def saving_forward(*primals):
        results = saving(*primals)
        return results, (*primals[:2], results[2])

    def reverse(residuals, upstream):
        return _jax_reverse(step, fed, spans(), *residuals, *upstream)

    run.defvjp(run_forward, reverse)
    saving.defvjp(saving_forward, reverse)
    return run(parameters, inputs, state)


def first_steps_jax(step, parameters, inputs, state, count, shapes):
    """Outputs and states after so many steps, without a gradient."""
    del shapes
    ys = _empty_outputs(step, parameters, inputs, state)
    final, ys, _ = _jax_span(step, parameters, inputs, 0, count, state, ys, False)
    return ys, final


def _at(x, t, axis=1):
    return lax.dynamic_index_in_dim(x, t, axis, keepdims=False)


def _put(array, x, t, axis=1):
    return lax.dynamic_update_index_in_dim(array, x, t, axis)


def _jax_forward(step, parameters, inputs, state, spans):
    """Outputs, final states, and the states before each span, or none."""
    # Axis 1 is indexed where it is: moving time to the front would copy.
    length = inputs[0].shape[1]
    ys = _empty_outputs(step, parameters, inputs, state)
    run = partial(_jax_span, step, parameters, inputs)
    if spans is None:
        s, ys, _ = run(0, length, state, ys, False)
        return ys, s, []
    if spans.each:
        s, ys, saved = run(0, length, state, ys, True)
        return ys, s, saved
    saved = [jnp.zeros((spans.total, *s.shape), s.dtype) for s in state]

    def span(i, carry, n=spans.steps):
        s, ys, saved = carry
        saved = [_put(array, x, i, 0) for array, x in zip(saved, s, strict=True)]
        return *run(i * spans.steps, n, s, ys, False)[:2], saved

    carry = lax.fori_loop(0, spans.whole, span, (state, ys, saved))
    s, ys, saved = span(spans.whole, carry, spans.rest) if spans.has_rest else carry
    return ys, s, saved


def _empty_outputs(step, parameters, inputs, state):
    length = inputs[0].shape[1]
    specs = jax.eval_shape(step, parameters, [x[:, 0] for x in inputs], state)[0]
    return [jnp.zeros((y.shape[0], length, *y.shape[1:]), y.dtype) for y in specs]


def _jax_span(step, parameters, inputs, first, n, state, ys, save):
    """Of `n` steps: the state after them, outputs, with `save` states before each."""
    saved = [jnp.zeros((n, *s.shape), s.dtype) for s in state] if save else []

    def body(i, carry):
        s, ys, saved = carry
        saved = [_put(array, x, i, 0) for array, x in zip(saved, s, strict=False)]
        y, s = step(parameters, [_at(x, first + i) for x in inputs], s)
        # Without places for them, outputs are of no interest.
        ys = [_put(array, x, first + i) for array, x in zip(ys, y, strict=False)]
        return s, ys, saved

    return lax.fori_loop(0, n, body, (state, ys, saved))


def _jax_reverse(step, fed, spans, parameters, inputs, saved, dy, ds, dsaved=()):
    """Gradients of all parameters, inputs and first states, None for integers.

    `dy`, `ds` and `dsaved` are those of the outputs, the final states, and the states
    before each span.
    """
    dsaved = floats_of(dsaved, saved) if dsaved else ()
    dy = [d for d in dy if d.dtype != jax.dtypes.float0]
    back = partial(_jax_span_back, step, fed, parameters, inputs, dy)
    dp = [jnp.zeros_like(p) for p in parameters]
    carry = floats_of(ds, saved), dp, [jnp.zeros_like(x) for x in _floats(inputs)]
    if spans.each:
        carry = back(0, inputs[0].shape[1], saved, carry, dsaved)
    else:
        once = with_product(step) if fed else step
        again = partial(_jax_span, once, parameters, inputs)

        def span(i, carry, n=spans.steps):
            first = i * spans.steps
            states = again(first, n, [s[i] for s in saved], [], True)[2]
            ds, dp, dx = back(first, n, states, carry)
            ds = [d + more[i] for d, more in zip(ds, dsaved or (), strict=False)] or ds
            return ds, dp, dx

        carry = span(spans.whole, carry, spans.rest) if spans.has_rest else carry
        whole = spans.whole
        carry = lax.fori_loop(0, whole, lambda i, c: span(whole - 1 - i, c), carry)
    ds, dp, dx = iter(carry[0]), carry[1], iter(carry[2])
    return (
        [d if is_float(d) else None for d in dp],
        [next(dx) if is_float(x) else None for x in inputs],
        [next(ds) if is_float(s) else None for s in saved],
    )


def _jax_span_back(
    step, fed, parameters, inputs, dy, first, n, saved, carry, dsaved=()
):
    """Gradients of states, parameters and inputs, from those after `n` steps.

    `saved` has the states before each of them.
    """
    *parameters, kernel = parameters if fed else (*parameters, None)
    floating = [is_float(s) for s in saved]

    def body(i, carry):
        ds, dp, dx, products = carry
        t = n - 1 - i
        now = [s[t] for s in saved]
        sums = ds[-1:] if fed else []
        if fed:
            ds = [*ds[:-1], product(ds[-1], kernel.T)]

        def of_floats(parameters, x, floats):
            # Integer states have no cotangent: here they are constants.
            values = iter(floats)
            pairs = zip(floating, now, strict=True)
            s = [next(values) if f else n for f, n in pairs]
            y, new = step(parameters, x, s)
            return floats_of(y, y), floats_of(new, saved)

        x = [_at(x, first + t) for x in inputs]
        primals = (parameters, x, floats_of(now, saved))
        (_, new), transposed = jax.vjp(of_floats, *primals)
        dp_t, dx_t, ds = transposed(([_at(d, first + t) for d in dy], ds))
        if dsaved:
            ds = [d + more[t] for d, more in zip(ds, dsaved, strict=True)]
        dx = [*map(lambda d, x: _put(d, x, first + t), dx, floats_of(dx_t, inputs))]
        factors = [*new[-1:], *sums] if fed else []
        products = [_put(a, x, t, 0) for a, x in zip(products, factors, strict=True)]
        return ds, _sums(dp, dp_t), dx, products

    ds, dp, dx = carry
    dp, slope = (dp[:-1], dp[-1:]) if fed else (dp, [])
    # What the kernel multiplied after each step, and the slopes of the products.
    products = [jnp.zeros_like(saved[-1])] * 2 if fed else []
    ds, dp, dx, products = lax.fori_loop(0, n, body, (ds, dp, dx, products))
    slope = [d + slope_of_kernel(kernel, *products) for d in slope]
    return ds, [*dp, *slope], dx


def _jax_local(step, ahead, parameters, inputs, state):
    """Outputs and final states, whose gradient stays within each step."""

    @jax.custom_vjp
    def run(parameters, inputs, state):
        return _jax_forward(ahead, parameters, inputs, state, None)[:2]

    def reverse(residuals, upstream):
        parameters, inputs, state = residuals
        return _jax_local_reverse(step, parameters, inputs, state, upstream[0])

    run.defvjp(lambda *primals: (run(*primals), primals), reverse)
    return run(parameters, inputs, state)


def _jax_local_reverse(step, parameters, inputs, state, dy):
    """Gradients of parameters and inputs, from the first step to the last."""
    dy = [d for d in dy if d.dtype != jax.dtypes.float0]

    def body(t, carry):
        s, dp, dx = carry

        def of_floats(parameters, x):
            y, new = step(parameters, x, s)
            return floats_of(y, y), new

        primals = parameters, [_at(x, t) for x in inputs]
        _, transposed, s = jax.vjp(of_floats, *primals, has_aux=True)
        dp_t, dx_t = transposed([_at(d, t) for d in dy])
        dx = [*map(lambda d, x: _put(d, x, t), dx, floats_of(dx_t, inputs))]
        return s, _sums(dp, dp_t), dx

    dp = [jnp.zeros_like(p) for p in parameters]
    dx = [jnp.zeros_like(x) for x in _floats(inputs)]
    _, dp, dx = lax.fori_loop(0, inputs[0].shape[1], body, (state, dp, dx))
    slopes = iter(dx)
    return (
        [d if is_float(d) else None for d in dp],
        [next(slopes) if is_float(x) else None for x in inputs],
        [jnp.zeros_like(s) if is_float(s) else None for s in state],
    )


def _floats(values):
    return floats_of(values, values)


def _sums(totals: list, values: list) -> list:
    """Sums of gradients; integers, which have none, stay."""
    pairs = zip(totals, values, strict=True)
    return [total + value if is_float(total) else total for total, value in pairs]
