"""`scan` on JAX, of flat lists of tensors."""

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

__all__ = ["scan_jax"]


def scan_jax(step, forward, parameters, inputs, state, save, shape, fed):
    """Outputs and final states, lists of tensors; as `recurrence.scan`.

    If `fed`, the last parameter is the kernel.
    """
    del save, shape  # a custom_vjp saves only where it is differentiated
    ahead = with_product(forward or step) if fed else forward or step

    @jax.custom_vjp
    def run(parameters, inputs, state):
        return _jax_forward(ahead, parameters, inputs, state, False)[:2]

    def run_forward(*primals):
        y, final, saved = saving(*primals)
        return (y, final), (*primals[:2], saved)

    @jax.custom_vjp
    def saving(parameters, inputs, state):
        """Outputs, final states, and the states before each step.

        All are differentiated as if `step` had computed them: second derivatives
        go through what was saved.
        """
        return _jax_forward(ahead, parameters, inputs, state, True)

    def saving_forward(*primals):
        results = saving(*primals)
        return results, (*primals[:2], results[2])

    def reverse(residuals, upstream):
        return _jax_reverse(step, fed, *residuals, *upstream)

    run.defvjp(run_forward, reverse)
    saving.defvjp(saving_forward, reverse)
    return run(parameters, inputs, state)


def _at(x, t, axis=1):
    return lax.dynamic_index_in_dim(x, t, axis, keepdims=False)


def _put(array, x, t, axis=1):
    return lax.dynamic_update_index_in_dim(array, x, t, axis)


def _jax_forward(step, parameters, inputs, state, save):
    """Outputs, final states, and with `save` the states before each step."""
    # Axis 1 is indexed where it is: moving time to the front would copy.
    length = inputs[0].shape[1]
    specs = jax.eval_shape(step, parameters, [x[:, 0] for x in inputs], state)[0]
    ys = [jnp.zeros((y.shape[0], length, *y.shape[1:]), y.dtype) for y in specs]
    saved = [jnp.zeros((length, *s.shape), s.dtype) for s in state] if save else []

    def body(t, carry):
        s, ys, saved = carry
        saved = [_put(array, x, t, 0) for array, x in zip(saved, s, strict=False)]
        y, s = step(parameters, [_at(x, t) for x in inputs], s)
        return s, [_put(array, x, t) for array, x in zip(ys, y, strict=True)], saved

    final, ys, saved = lax.fori_loop(0, length, body, (state, ys, saved))
    return ys, final, saved


def _jax_reverse(step, fed, parameters, inputs, saved, dy, ds, dsaved=()):
    """Gradients of all parameters, inputs and first states, None for integers.

    `dy`, `ds` and `dsaved` are those of the outputs, the final states, and the states
    before each step.
    """
    *parameters, kernel = parameters if fed else (*parameters, None)
    length = inputs[0].shape[1]
    floating = [is_float(s) for s in saved]
    dsaved = floats_of(dsaved, saved) if dsaved else ()
    dy = [d for d in dy if d.dtype != jax.dtypes.float0]

    def body(i, carry):
        ds, dp, dx, products = carry
        t = length - 1 - i
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

        primals = (parameters, [_at(x, t) for x in inputs], floats_of(now, saved))
        upstream = [_at(d, t) for d in dy], ds
        (_, new), transposed = jax.vjp(of_floats, *primals)
        dp_t, dx_t, ds = transposed(upstream)
        if dsaved:
            ds = [d + more[t] for d, more in zip(ds, dsaved, strict=True)]
        dx = list(map(lambda d, x: _put(d, x, t), dx, floats_of(dx_t, inputs)))
        factors = [*new[-1:], *sums] if fed else []
        products = [_put(a, x, t, 0) for a, x in zip(products, factors, strict=True)]
        return ds, _sums(dp, dp_t), dx, products

    dp = [jnp.zeros_like(p) for p in parameters]
    dx = [jnp.zeros_like(x) for x in floats_of(inputs, inputs)]
    # What the kernel multiplied after each step, and the slopes of the products.
    products = [jnp.zeros_like(saved[-1])] * 2 if fed else []
    carry = lax.fori_loop(0, length, body, (floats_of(ds, saved), dp, dx, products))
    ds, dp, dx = iter(carry[0]), carry[1], iter(carry[2])
    if fed:
        dp = [*dp, slope_of_kernel(kernel, *carry[3])]
    return (
        [d if is_float(d) else None for d in dp],
        [next(dx) if is_float(x) else None for x in inputs],
        [next(ds) if f else None for f in floating],
    )


def _sums(totals: list, values: list) -> list:
    """Sums of gradients; integers, which have none, stay."""
    pairs = zip(totals, values, strict=True)
    return [total + value if is_float(total) else total for total, value in pairs]
