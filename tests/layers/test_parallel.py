"""Parallel spiking neurons beside their definition, in NumPy."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_spiking_nengo as ksn
from keras_spiking_nengo.models.time import stepwise_objection
from tests.arrays import numpy, run
from tests.conftest import BACKEND
from tests.gradients import gradient
from tests.marks import TAKES_TURNS, quick, slow_on_jax

pytestmark = TAKES_TURNS

T = 9
X = np.random.RandomState(0).uniform(-1, 3, (2, T, 2, 3))
Parallel = ksn.layers.ParallelSpikingNeurons
Sliding = ksn.layers.SlidingParallelSpikingNeurons
# In double precision; Keras's products are of single precision on torch.
DTYPE = "float32" if BACKEND == "torch" else "float64"
# JAX compiles anew in every call of a function that it does not compile.
JITS = {"jax": [True], "tensorflow": [False, True], "torch": [False]}


def parallel(**arguments):
    layer = Parallel(
        dt=0.002,
        amplitude=0.5,
        threshold_initializer=keras.initializers.RandomUniform(-0.5, 0.5, seed=1),
        dtype=DTYPE,
        **arguments,
    )
    layer.build(X.shape)
    return layer


def sliding(order, **arguments):
    layer = Sliding(
        order,
        kernel_initializer=keras.initializers.RandomUniform(0.4, 1, seed=2),
        threshold_initializer=keras.initializers.Constant(0.9),
        return_sequences=True,
        dtype=DTYPE,
        **arguments,
    )
    layer.build(X.shape)
    return layer


def defined(kernel, threshold, x):
    """Of each neuron, `h = W x` and where it is above the threshold."""
    spikes = np.zeros_like(x)
    for item, i, j in np.ndindex(x.shape[0], *x.shape[2:]):
        h = [sum(w * v for w, v in zip(row, x[item, :, i, j])) for row in kernel]  # noqa: B905
        spikes[item, :, i, j] = np.array(h) > threshold
    return spikes


def band(order, masking):
    """How much of the weights between two steps is left."""
    left = np.full((T, T), 1 - masking)
    for t in range(T):
        left[t, max(t - order + 1, 0) : t + 1] = 1
    return left


# --- all steps at once ------------------------------------------------------------


@pytest.mark.torch
@pytest.mark.parametrize(("order", "masking"), [(None, 1), (3, 1), (3, 0.4), (20, 1)])
def test_is_its_definition(order, masking, float64):
    layer = parallel(order=order, masking=masking)
    kernel, threshold = numpy(layer.kernel), numpy(layer.threshold)
    if order is not None:
        kernel = kernel * band(order, masking)
    expected = defined(kernel, threshold, X)
    assert 0.2 < expected.mean() < 0.8
    np.testing.assert_allclose(run(layer, X), 250 * expected)


@pytest.mark.torch
def test_an_order_makes_it_causal_and_masking_may_come_later(float64):
    layer = parallel(order=4, masking=0.0)
    later = X.copy()
    later[:, 5:] = 3 - later[:, 5:]
    assert np.any(run(layer, later)[:, :5] != run(layer, X)[:, :5])
    layer.masking.assign(1.0)
    np.testing.assert_array_equal(run(layer, later)[:, :5], run(layer, X)[:, :5])


@pytest.mark.skipif(BACKEND == "torch", reason="in double precision")
def test_gradients_are_those_of_the_surrogate(float64):
    surrogate = ksn.surrogates.Triangle(2.0)
    layer = parallel(order=5, masking=0.5, surrogate=surrogate)
    upstream = np.random.RandomState(1).normal(size=X.shape)
    values = [numpy(w) for w in layer.trainable_weights]
    fixed = [ops.convert_to_tensor(w) for w in layer.non_trainable_variables]

    def called(x, *values):
        return layer.stateless_call(values, fixed, x, training=True)[0]

    _, (of_x, of_kernel, of_threshold) = gradient(
        called, X, *values, weights=ops.convert_to_tensor(upstream)
    )
    left = band(5, 0.5)
    h = np.einsum("ts,bsij->btij", left * values[0], X)
    distance = ops.convert_to_tensor(h - values[1][:, None, None])
    slope = 250 * upstream * numpy(surrogate.gradient(distance))
    expected = np.einsum("btij,bsij->ts", slope, X) * left
    np.testing.assert_allclose(of_kernel, expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(of_threshold, -slope.sum((0, 2, 3)), rtol=1e-9)
    expected = np.einsum("ts,btij->bsij", left * values[0], slope)
    np.testing.assert_allclose(of_x, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.torch
def test_steps_that_are_masked_are_not_seen_and_send_nothing(float64):
    layer, mask = parallel(), np.ones((2, T), bool)
    mask[1, 4:] = False
    seen = X.copy()
    seen[1, 4:] = 0
    y = numpy(layer(X, mask=ops.convert_to_tensor(mask)))
    expected = run(layer, seen)
    assert np.any(expected[1, 4:])
    expected[1, 4:] = 0
    np.testing.assert_array_equal(y, expected)
    with pytest.raises(ValueError, match=r"needs a mask \(batch, time\)"):
        layer(X, mask=ops.ones((2, T - 1), "bool"))
    inputs = keras.Input((T, 3))
    masked = keras.layers.Masking()(inputs)
    model = keras.Model(inputs, Parallel()(masked))
    assert model.outputs[0].shape == (None, T, 3)
    assert not np.any(model.predict(np.zeros((1, T, 3)), verbose=0))


@pytest.mark.torch
def test_half_precision_sums_in_single():
    layer = Parallel(dtype="mixed_float16")
    y = layer(ops.cast(X, "float16"))
    assert keras.backend.standardize_dtype(y.dtype) == "float16"
    assert layer.kernel.dtype == layer.threshold.dtype == "float32"
    whole = Parallel()
    whole.build(X.shape)
    whole.set_weights(layer.get_weights())
    expected = run(whole, X.astype("float16").astype("float32"))
    np.testing.assert_array_equal(numpy(y), expected)


@pytest.mark.torch
@slow_on_jax
@pytest.mark.parametrize("jit", quick(JITS[BACKEND], JITS[BACKEND][-1:]))
def test_both_are_trained_and_saved(jit, tmp_path):
    model = keras.Sequential(
        [
            keras.Input((T, 3)),
            keras.layers.Dense(4),
            Parallel(6, 0.5, "triangle", masking=0.5, threshold_initializer="zeros"),
            keras.layers.Dense(4),
            Parallel(
                dt=0.5,
                threshold_initializer="zeros",
                kernel_regularizer="l2",
                kernel_constraint="max_norm",
            ),
            Sliding(3, dt=0.5, surrogate="fast_sigmoid", return_sequences=True),
            keras.layers.GlobalAveragePooling1D(),
            keras.layers.Dense(1),
        ]
    )
    x = X.reshape(4, T, 3).astype("float32")
    model.compile("adam", "mse", jit_compile=jit)
    before = [numpy(w) for w in model.trainable_weights]
    history = model.fit(x, np.ones((4, 1)), epochs=2, batch_size=2, verbose=0)
    assert np.all(np.isfinite(history.history["loss"]))
    for weight, old in zip(model.trainable_weights, before, strict=True):
        assert np.any(numpy(weight) != old), weight.path
    model.layers[1].masking.assign(0.75)
    y = model.predict(x, verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again.predict(x, verbose=0), y)
    for layer, other in zip(model.layers, again.layers, strict=True):
        assert other.get_config() == layer.get_config()
    assert float(numpy(again.layers[1].masking)) == 0.75


@slow_on_jax
def test_finds_what_was_long_ago():
    """A spike at the end where there was one at the start: weights between the two."""
    rng = np.random.RandomState(0)
    x = rng.uniform(0, 1, (256, 20, 1)).astype("float32")
    y = (x[:, 0] > 0.5).astype("float32")
    layer = Parallel(surrogate=ksn.surrogates.Arctan(1.0), dt=1.0)
    model = keras.Sequential(
        [keras.Input((20, 1)), layer, keras.layers.Lambda(lambda s: s[:, -1])]
    )
    model.compile(keras.optimizers.Adam(0.02), "mse", metrics=["mae"])
    history = model.fit(x, y, epochs=40, batch_size=64, verbose=0).history
    assert history["mae"][-1] < 0.1 < 0.3 < history["mae"][0]
    assert np.argmax(np.abs(numpy(layer.kernel)[-1])) == 0


# --- the last steps ---------------------------------------------------------------


@pytest.mark.torch
@pytest.mark.parametrize("order", [1, 3, 8, 40])
def test_sliding_is_its_definition(order, float64):
    layer = sliding(order)
    kernel, threshold = numpy(layer.cell.kernel), numpy(layer.cell.threshold)
    whole = np.zeros((T, T))
    for t in range(T):
        for k in range(min(order, t + 1)):
            whole[t, t - k] = kernel[order - 1 - k]
    expected = 1000 * defined(whole, threshold, X)
    assert np.any(expected) and np.any(expected == 0)
    np.testing.assert_allclose(run(layer, X), expected)
    # Step by step, and the last step by itself.
    states, steps = layer.get_initial_state(2), []
    for t in range(T):
        y, states = layer.step(ops.convert_to_tensor(X[:, t].astype(DTYPE)), states)
        steps.append(numpy(y))
    np.testing.assert_allclose(np.stack(steps, axis=1), expected)
    layer.return_sequences = False
    np.testing.assert_allclose(run(layer, X), expected[:, -1])


@pytest.mark.torch
def test_sliding_starts_from_halves():
    layer = Sliding(4)
    layer.build((None, None, 2))
    np.testing.assert_array_equal(numpy(layer.cell.kernel), [0.125, 0.25, 0.5, 1])
    assert float(numpy(layer.cell.threshold)) == 1


# --- what is said -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Parallel(order=0), "order is an integer of at least 1; received 0"),
        (lambda: Sliding(0), "order is an integer of at least 1; received 0"),
        (lambda: Parallel(masking=0.5), "masking.* received masking=0.5 without"),
        (lambda: Parallel(order=2, masking=2), "masking is from 0 to 1; received 2"),
        (lambda: Parallel(dt=0), "dt"),
        (lambda: Parallel()(keras.Input((None, 3))), "known number of steps"),
        (lambda: Parallel()(np.ones((2, 3))), "needs inputs of shape"),
        (lambda: Parallel()(keras.Input((5, None))), "feature dimension known"),
    ],
)
def test_what_is_wrong_is_said(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_what_needs_a_whole_sequence_is_not_streamed():
    objection = stepwise_objection(Parallel(), (None, 10, 3))
    assert "whole sequence" in objection and "Sliding" in objection
    model = keras.Sequential([keras.Input((T, 3)), Parallel(name="psn")])
    with pytest.raises(NotImplementedError, match="'psn'.*no rule.*strict=False"):
        ksn.to_nengo(model)
