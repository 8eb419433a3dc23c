"""What a loop keeps for its reverse pass does not change the gradient."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_spiking_nengo.dynamics.loops import scan
from keras_spiking_nengo.dynamics.loops.memory import Memory
from tests.conftest import BACKEND
from tests.gradients import gradient, penalty
from tests.marks import TAKES_TURNS, quick, slow_on_jax

pytestmark = TAKES_TURNS

BATCH, TIME, N = 2, 13, 4


def bent(x):
    """Of Keras's functions, on JAX, not all keep double precision; these do."""
    return x / (1 + x * x)


def slope_of_bent(x):
    return (1 - x * x) / (1 + x * x) ** 2


def step(p, x, s):
    v, count, fed = s
    v = p["d"] * v + bent(x[0] + fed + 0.1 * ops.cast(count, v.dtype))
    return v * v, [v, (count + 1) % 3, bent(v)]


def plain(p, x, s):
    return step(p, x, s)


def problem(fed=True, **options):
    """A function of inputs, a state, a decay and a kernel."""

    def run(x, v, d, kernel):
        count = ops.zeros((BATCH, N), dtype="int32")
        state, used = [v, count, 0.5 * v], kernel if fed else None
        y, (v, *_) = scan(step, {"d": d}, [x], state, kernel=used, **options)
        return y, v

    rng = np.random.RandomState(0)
    shapes = (BATCH, TIME, N), (BATCH, N), (N,), (N, N)
    return run, [0.5 * rng.standard_normal(shape) for shape in shapes]


def slopes(run, arguments, how):
    """Outputs and gradients of a weighted sum of outputs and the final state."""

    def total(*tensors):
        y, v = run(*tensors)
        weights = 1 + ops.arange(TIME, dtype=y.dtype)[:, None]
        return ops.sum(y * weights) + ops.sum(v * v * v)

    if how == "jit" and BACKEND == "tensorflow":
        import tensorflow as tf

        return compiled_slopes(tf, total, arguments)
    return gradient(total, *arguments, eager=how == "eager")


def compiled_slopes(tf, total, arguments):
    @tf.function(jit_compile=True)
    def run(tensors):
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            loss = total(*tensors)
        return loss, tape.gradient(loss, tensors, unconnected_gradients="zero")

    loss, found = run([ops.convert_to_tensor(x) for x in arguments])
    return loss.numpy(), [x.numpy() for x in found]


@pytest.mark.parametrize("how", ["eager", "graph", "jit"])
@pytest.mark.parametrize("fed", [True, False])
@pytest.mark.parametrize("save", quick([True, False], {True}))
@pytest.mark.parametrize("every", quick([True, 1, 2, 5, 13, 100], {True, 5}))
def test_gradients_from_checkpoints_are_those_from_all_states(
    every, save, fed, how, float64
):
    options = {"save": save, "forward": plain}
    run, arguments = problem(checkpoint=every, fed=fed, **options)
    expected_run, _ = problem(fed=fed, **options)
    loss, found = slopes(run, arguments, how)
    expected_loss, expected = slopes(expected_run, arguments, how)
    np.testing.assert_allclose(loss, expected_loss, rtol=1e-12)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="JAX knows lengths")
@pytest.mark.parametrize("every", [True, 5])
def test_lengths_may_be_known_only_when_it_runs(every, float64):
    import tensorflow as tf

    run, arguments = problem(checkpoint=every)
    expected_run, _ = problem()

    @tf.function(
        input_signature=[
            tf.TensorSpec((None, None, N), "float64"),
            *(tf.TensorSpec(np.shape(x), "float64") for x in arguments[1:]),
        ]
    )
    def found(*tensors):
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            loss = sum(map(tf.reduce_sum, run(*tensors)))
        return tape.gradient(loss, tensors)

    def total(*tensors):
        return sum(map(ops.sum, expected_run(*tensors)))

    expected = gradient(total, *arguments)[1]
    for ours, theirs in zip(found(*arguments), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12)


@slow_on_jax
@pytest.mark.skipif(BACKEND == "torch", reason="gradients are torch's own there")
def test_second_derivatives_go_through_checkpoints(float64):
    run, (x, *rest) = problem(checkpoint=5)
    expected, _ = problem(unroll=True)
    x, *rest = map(ops.convert_to_tensor, (x, *rest))
    pair = [penalty(lambda x, r=r: r(x, *rest)[0])(x) for r in (run, expected)]
    np.testing.assert_allclose(*map(ops.convert_to_numpy, pair), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("how", ["eager", "graph", "jit"])
@pytest.mark.parametrize("save", quick([True, False], {True}))
def test_a_local_gradient_stays_within_each_step(save, how, float64):
    options = {"fed": False, "save": save}
    run, arguments = problem(local=True, **options)
    _, (dx, dv, dd, _) = slopes_of_outputs(run, arguments, how)
    x, v, d, _ = arguments
    count, fed = np.zeros((BATCH, N)), 0.5 * v
    expected_dx, expected_dd = np.zeros_like(x), np.zeros(N)
    for t in range(TIME):
        J = x[:, t] + fed + 0.1 * count
        new = d * v + bent(J)
        expected_dx[:, t] = (1 + t) * 2 * new * slope_of_bent(J)
        expected_dd += ((1 + t) * 2 * new * v).sum(axis=0)
        v, count, fed = new, (count + 1) % 3, bent(new)
    np.testing.assert_allclose(dx, expected_dx, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(dd, expected_dd, rtol=1e-10, atol=1e-12)
    np.testing.assert_array_equal(dv, np.zeros_like(dv))


def slopes_of_outputs(run, arguments, how):
    def with_kernel(x, v, d, kernel):
        y, v = run(x, v, d, None)
        return y, v + 0 * ops.sum(kernel)

    return slopes(with_kernel, arguments, how)


@pytest.mark.parametrize(
    ("length", "checkpoint", "expected"),
    [
        (100, True, (10, 10, 0)),
        (101, True, (11, 9, 2)),
        (10_000, True, (100, 100, 0)),
        (7, 3, (3, 2, 1)),
        (7, 30, (7, 1, 0)),
        (7, None, (1, 7, 0)),
        (0, True, (1, 0, 0)),
        (1, True, (1, 1, 0)),
    ],
)
def test_steps_are_kept_in_spans(length, checkpoint, expected):
    spans = Memory(checkpoint).spans(length)
    assert (spans.steps, spans.whole, spans.rest) == expected
    assert spans.total * spans.steps >= length


@pytest.mark.skipif(BACKEND != "jax", reason="JAX says how much memory a program takes")
def test_checkpoints_take_memory_by_the_root_of_the_steps():
    import jax

    def extra(steps, **options):
        def total(x):
            state = [ops.zeros((4, 64)), ops.zeros((4, 64), "int32"), x[:, 0]]
            d = {"d": 0.9}
            return ops.sum(scan(step, d, [x], state, **options)[0] ** 2)

        x = jax.ShapeDtypeStruct((4, steps, 64), keras.backend.floatx())
        program = jax.jit(jax.grad(total)).lower(x).compile()
        return program.memory_analysis().temp_size_in_bytes / (4 * 4 * 64)

    def kept(steps, **options):
        """States of one step, beyond what a gradient without memory takes."""
        return extra(steps, **options) - extra(steps, local=True)

    # Three states each.
    assert kept(10_000) > 2.99 * 10_000
    assert kept(10_000, checkpoint=True) < 3 * 250
