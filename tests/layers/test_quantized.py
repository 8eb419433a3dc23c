"""Layers whose weights are rounded to a few bits."""

import json

import keras
import numpy as np
import pytest
from keras import layers as L
from keras import ops

import keras_spiking_nengo as ksn
from keras_spiking_nengo.layers.quantized import CHANNELS
from tests.arrays import assert_near, numpy, run
from tests.builders import randomise, static
from tests.conftest import BACKEND
from tests.gradients import gradient
from tests.marks import TAKES_TURNS, quick, slow_on_jax

pytestmark = TAKES_TURNS

K = ksn.layers

# Layer, shape of its inputs, and the axes of its kernel that a channel's weights fill.
KINDS = {
    "Dense": (lambda: L.Dense(4, "relu"), (3, 5), (0,)),
    "EinsumDense": (
        lambda: L.EinsumDense("abc,cde->abde", (5, 2, 3), bias_axes="de"),
        (5, 4),
        (0,),
    ),
    "EinsumDense(channels)": (
        lambda: L.EinsumDense("abc,bcd->abd", (5, 3)),
        (5, 4),
        (1,),
    ),
    "Conv1D": (lambda: L.Conv1D(4, 3, groups=2), (6, 4), (0, 1)),
    "Conv2D": (lambda: L.Conv2D(4, 3, activation="relu"), (6, 5, 2), (0, 1, 2)),
    "Conv3D": (lambda: L.Conv3D(2, 2), (4, 4, 3, 2), (0, 1, 2, 3)),
    "DepthwiseConv1D": (
        lambda: L.DepthwiseConv1D(3, depth_multiplier=2),
        (6, 3),
        (0,),
    ),
    "DepthwiseConv2D": (lambda: L.DepthwiseConv2D(3), (6, 5, 3), (0, 1)),
}


QUICK = ("Dense", "EinsumDense(channels)", "Conv2D", "DepthwiseConv1D")
# Compiling anew what is not compiled takes JAX long, and torch has no compiler here.
JIT = {"tensorflow": [False, True], "jax": [True], "torch": [False]}[BACKEND]


def built(layer, shape):
    layer.build((None, *shape))
    rng = np.random.RandomState(0)
    layer.set_weights([rng.normal(size=w.shape) for w in layer.weights])
    return layer


def data(shape, seed=1):
    return np.random.RandomState(seed).normal(size=(2, *shape)).astype("float32")


def in_numpy(w, bits, axes):
    """Integers and scales, written out."""
    scale = np.abs(w).max(axis=axes, keepdims=True) / (2 ** (bits - 1) - 1)
    scale = np.where(scale > 0, scale, 1)
    return np.rint(w / scale), scale


def test_every_kind_has_a_case():
    kinds = {type(make()) for make, *_ in KINDS.values()}
    assert kinds == set(CHANNELS)


# --- numbers ------------------------------------------------------------------------


@pytest.mark.torch
@pytest.mark.parametrize("name", quick(KINDS, QUICK))
@pytest.mark.parametrize(("bits", "per_channel"), [(4, True), (9, False)])
def test_the_layer_computes_with_integers_times_scales(name, bits, per_channel):
    make, shape, axes = KINDS[name]
    layer = built(K.Quantized(make(), bits, per_channel), shape)
    kernel, *rest = layer.get_weights()
    expected, scale = in_numpy(kernel, bits, axes if per_channel else None)
    integers, scales = layer.quantized_weights()
    np.testing.assert_array_equal(integers, expected)
    assert integers.dtype == ("int8" if bits <= 8 else "int16")
    np.testing.assert_allclose(scales, scale, rtol=1e-6)
    assert integers.max() <= 2 ** (bits - 1) - 1 == np.abs(integers).max()
    twin = make()
    twin.build((None, *shape))
    twin.set_weights([integers * scales, *rest])
    x = data(shape)
    np.testing.assert_allclose(run(layer, x), run(twin, x), rtol=1e-6, atol=1e-6)
    assert layer.compute_output_shape((2, *shape)) == run(layer, x).shape
    plain = layer.plain()
    assert type(plain) is type(twin) and plain.name == layer.name
    np.testing.assert_array_equal(numpy(plain.kernel), integers * scales)
    np.testing.assert_array_equal(run(plain, x), run(layer, x))


def test_double_precision(float64):
    layer = built(K.Quantized(L.Dense(4), 16), (50,))
    integers, scales = layer.quantized_weights()
    expected, scale = in_numpy(layer.get_weights()[0], 16, (0,))
    np.testing.assert_array_equal(integers, expected)
    np.testing.assert_allclose(scales, scale, rtol=1e-15)
    assert run(layer, np.eye(50)).dtype == "float64"


@pytest.mark.torch
def test_channels_of_zeros_stay_zeros():
    layer = built(K.Quantized(L.Dense(3), 4), (2,))
    layer.layer.kernel.assign([[0.0, 1e-38, 0.5], [0.0, 0.0, -1.0]])
    integers, scales = layer.quantized_weights()
    assert not np.any(integers[:, :2]) and np.all(np.isfinite(scales))
    y = run(layer, np.eye(2, dtype="float32")) - layer.get_weights()[1]
    np.testing.assert_allclose(y[:, :2], 0, atol=1e-6)
    assert np.all(np.isfinite(y))


def test_halves_are_rounded_to_even():
    layer = built(K.Quantized(L.Dense(1), 3), (6,))
    kernel = np.array([[3.0, 2.5, 1.5, 0.5, -0.5, -1.5]]).T
    layer.layer.kernel.assign(kernel)
    assert layer.quantized_weights()[0].ravel().tolist() == [3, 2, 2, 0, 0, -2]


@pytest.mark.torch
@pytest.mark.parametrize("eager", [False, True])
def test_the_gradient_goes_straight_through(eager):
    layer = built(K.Quantized(L.Dense(4, "tanh"), 3), (5,))
    kernel, bias = layer.get_weights()
    x = data((5,))
    weights = np.random.RandomState(2).normal(size=(2, 4)).astype("float32")

    def called(x, kernel, bias):
        return layer.stateless_call([kernel, bias], [], x)[0]

    y, slopes = gradient(
        called, x, kernel, bias, weights=ops.convert_to_tensor(weights), eager=eager
    )
    integers, scale = in_numpy(kernel, 3, (0,))
    q = integers * scale
    expected = np.tanh(x @ q + bias)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)
    delta = weights * (1 - expected**2)
    by_hand = delta @ q.T, x.T @ delta, delta.sum(axis=0)
    for slope, other in zip(slopes, by_hand, strict=True):
        np.testing.assert_allclose(slope, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision(policy):
    layer = built(K.Quantized(L.Dense(4, dtype=policy), 5), (6,))
    assert layer.compute_dtype == policy[6:] and layer.layer.kernel.dtype == "float32"
    x = ops.cast(data((6,)), policy[6:])
    y = layer(x)
    assert keras.backend.standardize_dtype(y.dtype) == policy[6:]
    np.testing.assert_array_equal(
        *(numpy(ops.cast(f(x), "float32")) for f in [layer, layer.plain()])
    )
    # What the plain layer stores has been rounded already.
    stored = ops.cast(layer.plain().kernel, policy[6:])
    np.testing.assert_array_equal(
        numpy(ops.cast(stored, "float32")), numpy(layer.plain().kernel)
    )


@slow_on_jax
@pytest.mark.torch
@pytest.mark.parametrize("jit", JIT)
def test_it_trains_and_is_compiled(jit):
    layer = K.Quantized(L.Dense(2), 3)
    model = static(layer, shape=(3,))
    model.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=jit)
    x, before = data((3,)), layer.get_weights()
    y = model.predict(x, verbose=0)
    np.testing.assert_allclose(y, run(layer, x), rtol=1e-5, atol=1e-6)
    losses = model.fit(x, np.ones((2, 2)), epochs=8, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    for old, new in zip(before, layer.get_weights(), strict=True):
        assert np.all(old != new)


def test_what_is_regularised_is_the_weight_and_the_output():
    inner = L.Dense(2, kernel_regularizer=keras.regularizers.L1(1.0), use_bias=False)
    layer = K.Quantized(inner, 3, activity_regularizer=keras.regularizers.L2(1.0))
    layer.build((None, 3))
    x = data((3,))
    y = run(layer, x)
    losses = sorted(map(float, layer.losses))
    expected = np.sum(y**2) / len(x), np.abs(layer.get_weights()[0]).sum()
    np.testing.assert_allclose(losses, sorted(expected), rtol=1e-5)
    again = K.Quantized.from_config(layer.get_config())
    assert again.activity_regularizer is not None


def test_masks_pass():
    x = keras.Input((None, 3))
    h = K.Quantized(L.Dense(4))(L.Masking()(x))
    model = keras.Model(x, K.Neurons("lif", seed=0, return_sequences=True)(h))
    values = np.ones((1, 6, 3), "float32")
    values[0, 4:] = 0
    assert K.Quantized(L.Dense(4)).supports_masking
    assert not K.Quantized(L.Conv1D(4, 3)).supports_masking
    assert h._keras_mask is not None
    assert model.predict(values, verbose=0).shape == (1, 6, 4)


# --- files --------------------------------------------------------------------------


@pytest.mark.torch
def test_saved_and_cloned(tmp_path):
    own = keras.Sequential(
        [
            keras.Input((6, 6, 1)),
            K.Quantized(L.Conv2D(2, 3, kernel_constraint="max_norm"), 5, False),
            L.Flatten(),
            K.Quantized(L.Dense(3, "tanh", name="inner"), bits=3, name="outer"),
        ]
    )
    x = data((6, 6, 1))
    y = own.predict(x, verbose=0)
    own.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), y)
    clone = keras.models.clone_model(own)
    own.save_weights(tmp_path / "m.weights.h5")
    clone.load_weights(tmp_path / "m.weights.h5")
    np.testing.assert_array_equal(clone.predict(x, verbose=0), y)
    for layer, other in zip(own.layers, loaded.layers, strict=True):
        config = json.loads(json.dumps(layer.get_config()))
        assert config == json.loads(json.dumps(other.get_config()))
    first, *_, last = loaded.layers
    assert (first.bits, first.per_channel) == (5, False)
    assert (last.bits, last.per_channel, last.layer.name) == (3, True, "inner")


def test_the_dtype_of_the_layer_is_saved():
    layer = K.Quantized(L.Dense(3, dtype="mixed_float16"))
    again = K.Quantized.from_config(layer.get_config())
    assert again.compute_dtype == again.layer.compute_dtype == "float16"
    assert K.Quantized(L.Dense(3), dtype="float32").dtype_policy.name == "float32"


# --- what is refused ----------------------------------------------------------------


class Own(L.Dense):
    def call(self, x):
        return ops.flip(super().call(x), axis=-1)


class Named(L.Dense):
    """A subclass that computes as its base does."""


def quantized_by_keras():
    layer = L.Dense(3)
    layer.build((None, 2))
    layer.quantize("int8")
    return layer


POSSIBLE = "Conv1D, Conv2D, Conv3D, Dense, DepthwiseConv1D, .*EinsumDense"
REFUSED = {
    "another layer": (
        lambda: K.Quantized(L.Conv2DTranspose(2, 3)),
        TypeError,
        POSSIBLE,
    ),
    "neurons": (lambda: K.Quantized(K.Neurons()), TypeError, POSSIBLE),
    "no layer": (lambda: K.Quantized("dense"), TypeError, POSSIBLE),
    "a call of its own": (lambda: K.Quantized(Own(3)), TypeError, "received Own"),
    "a wrapper": (lambda: K.Quantized(K.PerStep(L.Dense(2))), TypeError, "one by one"),
    "one bit": (lambda: K.Quantized(L.Dense(2), 1), ValueError, "from 2 to 16.*1"),
    "17 bits": (lambda: K.Quantized(L.Dense(2), 17), ValueError, "from 2 to 16"),
    "half a bit": (lambda: K.Quantized(L.Dense(2), 4.5), ValueError, "integer"),
    "a regularizer": (
        lambda: K.Quantized(L.Dense(2, activity_regularizer="l2")),
        ValueError,
        "activity_regularizer.*Give it to ksn.layers.Quantized",
    ),
    "an adapter": (lambda: K.Quantized(L.Dense(2, lora_rank=1)), ValueError, "LoRA"),
    "int8": (lambda: K.Quantized(quantized_by_keras()), ValueError, "int8 by Keras"),
    "another dtype": (
        lambda: K.Quantized(L.Dense(2), dtype="float16"),
        ValueError,
        "'float32', or None; received 'float16'",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name):
    make, kind, match = REFUSED[name]
    with pytest.raises(kind, match=match):
        make()


def test_what_is_refused_later():
    layer = K.Quantized(Named(2))
    for method in (layer.quantized_weights, layer.plain):
        with pytest.raises(ValueError, match="no weights yet"):
            method()
    built(layer, (3,))
    layer.layer.kernel.assign(np.full((3, 2), np.nan))
    with pytest.raises(ValueError, match="infinite or NaN"):
        layer.quantized_weights()
    layer.layer.enable_lora(1)
    with pytest.raises(ValueError, match="LoRA"):
        layer(np.ones((1, 3)))


def test_a_model_that_keras_quantizes_too_is_refused():
    model = static(K.Quantized(L.Dense(2), name="q"), shape=(3,))
    model.quantize("int8")
    with pytest.raises(ValueError, match="Take one of the two"):
        model(np.ones((1, 3)))


# --- within other layers, and converted ---------------------------------------------


@slow_on_jax
def test_within_other_layers():
    inner = K.Quantized(L.Conv2D(2, 3), 4)
    x = data((5, 6, 6, 1))
    y = run(K.PerStep(inner), x)
    np.testing.assert_allclose(y[:, 2], run(inner, x[:, 2]), rtol=1e-5, atol=1e-6)
    lmu = K.LMU(2, 4, 8.0, [K.Quantized(L.Dense(5, "relu"), 3)])
    values, model = data((7, 3)), randomise(static(lmu, shape=(7, 3)))
    y = model.predict(values, verbose=0)
    (hidden,) = lmu.cell.hidden_layers
    kernel = np.multiply(*hidden.quantized_weights())
    hidden.layer.kernel.assign(kernel)
    np.testing.assert_allclose(model.predict(values, verbose=0), y, atol=1e-6)
    assert np.any(y) and ksn.to_nengo(model).verify(values).ok


@slow_on_jax
def test_step_by_step():
    layers = [
        K.Quantized(L.Conv1D(4, 3, padding="causal", dilation_rate=2), 4),
        K.Quantized(L.Dense(3), 4),
    ]
    model = randomise(static(*layers, shape=(None, 3)))
    x, step = data((7, 3)), ksn.serving.Step(model)
    states, outputs = step.initial_state(2), []
    for t in range(7):
        (y,), states = step([x[:, t]], states)
        outputs.append(numpy(y))
    assert_near(np.stack(outputs, axis=1), model.predict(x, verbose=0), 1e-6)


@slow_on_jax
@pytest.mark.parametrize("over_time", quick([False, True], [True]))
def test_a_spiking_model_stays_quantized(over_time):
    stack = [
        K.Quantized(L.Dense(16, "relu"), 3, name="hidden"),
        K.Quantized(L.Dense(3, "softmax"), 4, name="out"),
    ]
    model = randomise(static(*stack, shape=(20, 8) if over_time else (8,)))
    x = data((8,)) / 8
    model = static(*stack, shape=(8,))
    options = {"n_steps": None if over_time else 400}
    spiking = ksn.to_spiking(
        model, scale_firing_rates="calibrate", calibration_data=x, **options
    )
    for name, bits, activation in (("hidden", 3, "linear"), ("out", 4, "linear")):
        layer = spiking.get_layer(name)
        assert type(layer) is K.Quantized and layer.bits == bits
        assert keras.activations.serialize(layer.activation) == activation
        kernels = [m.get_layer(name).quantized_weights()[0] for m in (model, spiking)]
        np.testing.assert_array_equal(*kernels)
    assert stack[0].activation is keras.activations.relu
    steps = np.repeat(x[:, None], 400, axis=1) if over_time else x
    found = spiking.predict(steps, verbose=0)
    np.testing.assert_allclose(found, model.predict(x, verbose=0), atol=0.02)


def test_an_activation_of_one_s_own_stays():
    def leaky(x):
        return ops.maximum(x, 0.1 * x)

    layer = built(K.Quantized(L.Dense(3, leaky), 4), (5,))
    assert layer.plain().activation is leaky
    x = data((5,))
    np.testing.assert_array_equal(run(layer.plain(), x), run(layer, x))


def test_to_nir_has_integers_times_scales():
    dense = K.Quantized(L.Dense(4, use_bias=False), 4, name="dense")
    conv = K.Quantized(L.Conv2D(2, 3), 5, name="conv")
    model = keras.Sequential(
        [
            keras.Input((None, 6, 6, 1)),
            K.PerStep(conv, name="conv_steps"),
            K.PerStep(L.Flatten()),
            dense,
        ]
    )
    graph = ksn.to_nir(randomise(model))
    weights = {
        type(n).__name__: n.weight for n in graph.nodes.values() if hasattr(n, "weight")
    }
    kernel = np.multiply(*conv.quantized_weights())
    np.testing.assert_array_equal(
        weights["Conv2d"], np.moveaxis(kernel, (-1, -2), (0, 1))
    )
    found = np.sort(weights["Linear"].ravel())
    kernel = np.multiply(*dense.quantized_weights())
    np.testing.assert_array_equal(found, np.sort(kernel.ravel()))
    x = data((5, 6, 6, 1))
    again = ksn.from_nir(graph).predict(x, verbose=0)
    assert_near(again, model.predict(x, verbose=0), 1e-5)


# --- trained as it will be used -----------------------------------------------------


def digits(n=600):
    """Three of the digits of scikit-learn, in random order."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    order = np.random.RandomState(0).permutation(len(x))
    order = order[y[order] < 4][:n]
    return (x[order] / 16).astype("float32"), y[order]


@slow_on_jax
def test_a_classifier_of_4_bits_decides_alike_everywhere():
    x, y = digits()
    kind = ksn.types.IntegrateAndFire(0.01, amplitude=0.001)
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((10, 64)),
            K.Quantized(L.Dense(24), bits=4, name="in"),
            K.Neurons(kind, return_sequences=True, seed=0),
            K.Quantized(L.Dense(4), bits=4, name="out"),
            L.GlobalAveragePooling1D(),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss, jit_compile=True)
    steps = np.repeat(x[:, None], 10, axis=1)
    model.fit(steps[:500], y[:500], batch_size=50, epochs=6, verbose=0)
    logits = model.predict(steps[500:], verbose=0)
    decisions = logits.argmax(axis=1)
    assert np.mean(decisions == y[500:]) > 0.9
    in_nengo = ksn.to_nengo(model).run(steps[500:520])
    np.testing.assert_array_equal(in_nengo.argmax(axis=1), decisions[:20])
    np.testing.assert_allclose(in_nengo, logits[:20], rtol=1e-4, atol=1e-4)
    with pytest.warns(UserWarning, match="mean over time"):
        again = ksn.from_nir(ksn.to_nir(model))
    in_nir = again.predict(steps[500:], verbose=0).mean(axis=1)
    np.testing.assert_array_equal(in_nir.argmax(axis=1), decisions)
