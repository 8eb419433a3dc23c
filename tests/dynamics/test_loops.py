"""The sequence loop and its reverse pass agree with single steps."""

import itertools
import sys
from functools import partial

import keras
import numpy as np
import pytest
from keras import ops

from keras_spiking_nengo.dynamics.loops import call_host, compiled, precision, scan
from keras_spiking_nengo.dynamics.neurons import drawn_state, neuron
from keras_spiking_nengo.dynamics.surrogates import Arctan
from tests.cases import NEURONS
from tests.gradients import gradient, penalty
from tests.marks import quick, slow_on_jax

BATCH, TIME, N = 2, 8, 4
RECURRENT = [name for name, kind in NEURONS.items() if neuron(kind).states]


def problem(name):
    """`function(inputs, *float parameters)` with its arguments."""
    kind = NEURONS[name]
    dynamics = neuron(kind)
    rng = np.random.RandomState(0)
    start = drawn_state(kind, neuron(kind), (BATCH, N), rng)
    straight = any(part in name for part in ("Elementwise", "Rec", "ReLU"))
    scale = 20 if name == "Izhikevich" else 100 if straight else 2
    inputs = scale * rng.uniform(-0.5, 4, size=(BATCH, TIME, N))
    values = np.array([dynamics.parameters[k] for k in dynamics.trainable])

    def run(x, values, unroll):
        trained = {k: values[i] for i, k in enumerate(dynamics.trainable)}
        constants = dynamics.constants({**dynamics.parameters, **trained}, 0.001)
        state = [
            ops.convert_to_tensor(s, dtype="int32" if s.dtype.kind == "i" else None)
            for s in start
        ]

        def step(p, x, s):
            return dynamics.step(p, x[0], s, Arctan())

        return scan(step, constants, [x], state, save, unroll)[0]

    save = True
    return run, inputs, values, rng.standard_normal((BATCH, TIME, N))


# What is among the default tests: a reset, an adaptation, a count of spikes.
CHOSEN = ("AdaptiveLIF", "IntegrateAndFire", "SpikingRectifiedLinear")


@pytest.mark.parametrize("name", quick(RECURRENT, CHOSEN))
def test_gradients_equal_autodiff_through_the_steps(name, float64):
    run, inputs, values, weights = problem(name)
    args = (inputs, values)
    y, slopes = gradient(lambda *a: run(*a, False), *args, weights=weights)
    y_steps, slopes_steps = gradient(lambda *a: run(*a, True), *args, weights=weights)
    assert np.any(y)
    np.testing.assert_allclose(y, y_steps, rtol=1e-9)
    for ours, autodiff in zip(slopes, slopes_steps, strict=True):
        assert np.any(autodiff)
        scale = np.max(np.abs(autodiff))
        np.testing.assert_allclose(ours, autodiff, rtol=1e-5, atol=1e-9 * scale)


def test_gradient_without_saved_states_is_the_same(float64):
    def decay(p, x, s):
        y = p["d"] * s[0] + x[0] * x[0]
        return y, [y]

    def run(x, s, save):
        return scan(decay, {"d": 0.9}, [x], [s], save)[0]

    rng = np.random.RandomState(0)
    args = rng.standard_normal((BATCH, TIME, N)), rng.standard_normal((BATCH, N))
    y, (dx, ds) = gradient(lambda *a: run(*a, True), *args)
    y2, (dx2, ds2) = gradient(lambda *a: run(*a, False), *args)
    np.testing.assert_array_equal(y, y2)
    np.testing.assert_array_equal(dx, dx2)
    # The sum of a geometric series, by hand.
    np.testing.assert_allclose(ds, np.full((BATCH, N), (1 - 0.9**TIME) * 9), rtol=1e-9)
    np.testing.assert_array_equal(ds, ds2)
    left = (1 - 0.9 ** np.arange(TIME, 0, -1)) * 10
    np.testing.assert_allclose(dx, 2 * args[0] * left[:, None], rtol=1e-9)


def test_integers_and_booleans_ride_along():
    def count(p, x, s):
        value, flag = x
        total, n = s
        n = n + ops.cast(flag, "int32")
        total = total + ops.where(flag, value, 0.0) * ops.cast(n, value.dtype)
        return total, [total, n]

    x = np.ones((1, 4, 1), "float32")
    flags = np.array([[[True], [False], [True], [True]]])

    def run(x):
        start = [ops.zeros((1, 1)), ops.zeros((1, 1), dtype="int32")]
        return scan(count, {}, [x, ops.convert_to_tensor(flags)], start)[0]

    y, slope = gradient(run, x)
    np.testing.assert_allclose(y[0, :, 0], [1, 1, 3, 6])
    np.testing.assert_allclose(slope[0, :, 0], [4, 0, 4, 3])


@pytest.mark.skipif(keras.backend.backend() == "torch", reason="torch does not trace")
def test_the_traced_program_does_not_grow_with_time():
    def size(steps):
        def step(p, x, s):
            y = 0.5 * s[0] + x[0]
            return y, [y]

        def run(x):
            return scan(step, {}, [x], [ops.zeros((1, 2))])[0]

        x = np.ones((1, steps, 2), "float32")
        if keras.backend.backend() == "jax":
            import jax

            return len(jax.make_jaxpr(run)(x).jaxpr.eqns)
        import tensorflow as tf

        graph = tf.function(run).get_concrete_function(tf.constant(x)).graph
        return len(graph.get_operations())

    assert size(10) == size(1000)


# --- nested structures -------------------------------------------------------------


def nested(step):
    """`scan` of `oscillation`'s arguments, in structures of all kinds."""

    def run(d, k, x, w, v, u, **options):
        parameters = {"decay": {"d": d, "k": k, "n": 2}, "rest": [None, ARRAY]}
        state = {"v": v, "of": (u, None)}
        inputs = {"x": x, "more": [w, 3.0]}
        y, end = scan(step, parameters, inputs, state, **options)
        return y["v"], y["all"][0], end["v"], end["of"][0]

    return run


ARRAY = np.array([0.5, 1.0, -1.0, 2.0])


def nested_step(p, x, s):
    v, (u, none) = s["v"], s["of"]
    (w, three), (nothing, array) = x["more"], p["rest"]
    # What is constant can be folded: it is no tensor.
    assert type(p["decay"]["n"]) is int and type(three) is float
    assert none is None and nothing is None and isinstance(array, np.ndarray)
    v, u = oscillation(p["decay"]["d"], p["decay"]["k"], x["x"], w, v, u)
    return {"v": v, "all": (v * u,)}, {"of": [u, None], "v": v}


def oscillation(d, k, x, w, v, u):
    v = d * v + k * u / (1 + u * u) + x * ops.cast(ARRAY, x.dtype)
    return v, u - 2 * d * v + 3.0 * w


def flat_step(p, x, s):
    v, u = oscillation(p["d"], p["k"], x[0], x[1], *s)
    return ops.concatenate([v, v * u], axis=-1), [v, u]


def flat(d, k, x, w, v, u, **options):
    y, (v, u) = scan(flat_step, {"d": d, "k": k}, [x, w], [v, u], **options)
    return y[..., :N], y[..., N:], v, u


def arguments():
    rng = np.random.RandomState(0)
    shapes = (), (N,), (BATCH, TIME, N), (BATCH, TIME, N), (BATCH, N), (BATCH, N)
    return [0.3 * rng.standard_normal(shape) for shape in shapes]


@pytest.mark.torch
@pytest.mark.parametrize("save", [True, False])
@pytest.mark.parametrize("unroll", [False, True])
def test_nested_structures_are_scanned_as_flat_ones_are(save, unroll, float64):
    options = {"save": save, "unroll": unroll}
    tensors = list(map(ops.convert_to_tensor, arguments()))
    runs = [
        compiled(lambda *a, run=run: run(*a, **options))(*tensors)
        for run in (flat, nested(nested_step))
    ]
    for ours, expected in zip(runs[1], runs[0], strict=True):
        pair = map(ops.convert_to_numpy, (ours, expected))
        np.testing.assert_allclose(*pair, rtol=1e-12, atol=1e-14)


@slow_on_jax
@pytest.mark.torch
@pytest.mark.parametrize("eager", [False, True])
def test_gradients_of_nested_structures_are_those_of_flat_ones(eager, float64):
    def total(run, **options):
        return lambda *a: sum(map(ops.sum, run(*a, **options)))

    run = nested(nested_step)
    y, slopes = gradient(total(run), *arguments(), eager=eager)
    for other in (total(flat), total(run, unroll=True), total(run, save=False)):
        y_other, expected = gradient(other, *arguments(), eager=eager)
        np.testing.assert_allclose(y, y_other, rtol=1e-12)
        for slope, theirs in zip(slopes, expected, strict=True):
            assert np.any(theirs)
            np.testing.assert_allclose(slope, theirs, rtol=1e-9, atol=1e-12)


@pytest.mark.torch
def test_numbers_and_arrays_are_inputs_states_and_outputs():
    def step(p, x, s):
        total = s[0] + x
        return (total, 7, ops.cast(total, "int32")), (total, 2 * s[1], 1.0, s[3])

    x, start = np.ones((2, 3, 1), "float32"), np.zeros((2, 1), "float32")

    def run(x):
        return scan(step, None, x, (start, 1, 5.0, None))

    (y, sevens, whole), (total, power, one, none) = run(x)
    sums = ops.convert_to_numpy(y)[..., 0].tolist()
    assert sums == ops.convert_to_numpy(whole)[..., 0].tolist() == [[1, 2, 3]] * 2
    assert ops.convert_to_numpy(sevens).tolist() == [[7] * 3] * 2
    assert (np.ravel(ops.convert_to_numpy(total)).tolist()) == [3, 3]
    assert (int(power), float(one), none) == (8, 1.0, None)
    _, slope = gradient(lambda x: run(x)[0][0], x)
    np.testing.assert_array_equal(slope[..., 0], [[3, 2, 1]] * 2)


@pytest.mark.torch
def test_what_cannot_be_scanned_is_refused():
    with pytest.raises(ValueError, match="no tensor among them"):
        scan(lambda p, x, s: (s, s), {}, [1.0], ops.zeros((1, 1)))
    x = ops.zeros((1, 2, 1))
    with pytest.raises(ValueError, match="in the structure of the one it gets"):
        scan(lambda p, x, s: (x, [s, s]), {}, x, ops.zeros((1, 1)))


# --- second derivatives ------------------------------------------------------------


@pytest.mark.parametrize("how", ["eager", "compiled"])
def test_second_derivatives_go_through_what_was_saved(how, float64):
    """Also where what runs forward has no derivative of its own."""

    def step(p, x, s):
        v = p["d"] * s + x * x
        return v, v - v / (1 + v * v)

    def forward(p, x, s):
        v = p["d"] * s + x * x
        return v, v - ops.stop_gradient(v / (1 + v * v))

    def run(x, **options):
        start = ops.zeros((BATCH, N), dtype=x.dtype)
        return scan(step, {"d": 0.9}, x, start, **options)[0]

    x = ops.convert_to_tensor(np.random.RandomState(0).uniform(size=(BATCH, TIME, N)))
    make = compiled if how == "compiled" else lambda function: function
    expected = ops.convert_to_numpy(penalty(lambda x: run(x, unroll=True))(x))
    assert np.any(expected)
    for save, ahead in itertools.product((True, False), (None, forward)):
        ours = partial(run, save=save, forward=ahead)
        slope = ops.convert_to_numpy(make(penalty(ours))(x))
        np.testing.assert_allclose(slope, expected, rtol=1e-9)


# --- without TensorFlow's private modules ------------------------------------------


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="TensorFlow's")
@pytest.mark.parametrize(
    "hidden",
    [
        "tensorflow.python.ops.control_flow_util",
        "tensorflow.compiler.tf2xla.python.xla",
    ],
)
def test_private_modules_of_tensorflow_can_be_missing(hidden, monkeypatch, float64):
    import tensorflow as tf

    def results(jit):
        tensors = list(map(tf.constant, arguments()))

        @tf.function(jit_compile=jit)
        def both(*tensors):
            with tf.GradientTape() as tape:
                tape.watch(tensors)
                outputs = nested(nested_step)(*tensors)
                total = sum(map(ops.sum, outputs))
            return outputs, tape.gradient(total, tensors)

        values = tf.nest.flatten(both(*tensors))
        graph = both.get_concrete_function(*tensors).graph.as_graph_def()
        return values, "XlaDynamicUpdateSlice" in str(graph)

    expected, in_place = results(jit=True)
    assert in_place
    monkeypatch.setitem(sys.modules, hidden, None)
    for jit in (False, True):
        values, in_place = results(jit)
        assert not in_place
        for value, other in zip(values, expected, strict=True):
            np.testing.assert_allclose(value, other, rtol=1e-9, atol=1e-12)


# --- Python in a compiled program --------------------------------------------------


@pytest.mark.torch
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_calls_of_python_keep_their_order_inside_a_scan(dtype):
    seen = []
    x = np.arange(1.0, 9.0).reshape(1, 8, 1) + 1e-12
    name = keras.backend.standardize_dtype(dtype)

    def host(total, now):
        seen.append((float(now[0, 0]), total.dtype.name))
        return total + 10 * now

    def step(p, now, s):
        total = call_host(host, [s[0], now[0]], 1, name, "node")
        return total, [total]

    def run(x):
        return scan(step, {}, [x], [ops.zeros((1, 1), dtype=name)], False)[0]

    with precision(dtype):
        inputs = ops.convert_to_tensor(x, dtype=dtype)
        run = compiled(run, host=True)
        for _ in range(2):  # the second run is not traced
            y = ops.convert_to_numpy(run(inputs))
    assert [kind for _, kind in seen] == [dtype] * 16
    np.testing.assert_allclose([now for now, _ in seen], [*x[0, :, 0]] * 2, rtol=1e-7)
    tolerance = 1e-15 if dtype == "float64" else 1e-6
    np.testing.assert_allclose(y[0, :, 0], 10 * x[0, :, 0].cumsum(), rtol=tolerance)
    assert y.dtype == dtype


def test_doubles_pass_through_python_unrounded():
    exact = np.array([[np.pi, 1 / 3, 1e300, -5e-324]])
    with precision("float64"):
        x = ops.convert_to_tensor(exact, dtype="float64")
        run = compiled(
            lambda x: call_host(lambda a: a, [x], 4, "float64", "node"), host=True
        )
        np.testing.assert_array_equal(ops.convert_to_numpy(run(x)), exact)


def test_python_gets_no_gradient_and_gives_none():
    def run(x):
        return x * x + call_host(lambda a: 100 * a, [x], 2, "float32", "node")

    x = np.array([[1.0, 2.0]], "float32")
    y, slope = gradient(run, x)
    np.testing.assert_allclose(y, [[101, 204]])
    np.testing.assert_allclose(slope, [[2, 4]])


def test_a_compiled_function_takes_nested_tensors():
    traced = []

    def function(tensors, state):
        traced.append(1)
        return tensors["a"] * tensors["b"][0], [s + 1 for s in state]

    run = compiled(function)
    a = ops.convert_to_tensor(np.float32([1, 2]))
    for _ in range(2):
        y, state = run({"a": a, "b": [a]}, [a])
    np.testing.assert_array_equal(ops.convert_to_numpy(y), [1, 4])
    np.testing.assert_array_equal(ops.convert_to_numpy(state[0]), [2, 3])
    if keras.backend.backend() != "torch":
        assert len(traced) == 1
