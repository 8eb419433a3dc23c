"""Keras models as spiking models over time."""

import warnings

import keras
import nengo
import numpy as np
import pytest

import keras_spiking_nengo as ksn
from keras_spiking_nengo.convert.spiking.calibration import Drive, calibrated, skew
from keras_spiking_nengo.types import Elementwise
from tests.marks import TAKES_TURNS, quick, slow_on_jax

pytestmark = TAKES_TURNS

# By default JAX runs the example of `to_spiking`.

layers = keras.layers
STEPS = 200
SPIKING = {
    "SpikingRectifiedLinear": nengo.SpikingRectifiedLinear(),
    "LIF": nengo.LIF(),
    "AdaptiveLIF": nengo.AdaptiveLIF(inc_n=1e-4),
    "RegularSpiking": nengo.RegularSpiking(nengo.LIFRate()),
    "PoissonSpiking": nengo.PoissonSpiking(nengo.RectifiedLinear()),
    "StochasticSpiking": nengo.StochasticSpiking(nengo.LIFRate()),
}


def mlp(units=8, last=None):
    return keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(units, "relu", name="hidden"),
            layers.Dense(3, last, name="logits"),
        ]
    )


def convnet():
    model = keras.Sequential(
        [
            keras.Input((8, 8, 2)),
            layers.Conv2D(4, 3, use_bias=False, name="conv"),
            layers.BatchNormalization(name="norm"),
            layers.ReLU(name="relu"),
            layers.AveragePooling2D(2, name="pool"),
            layers.Flatten(name="flat"),
            layers.Dense(5, "relu", name="dense"),
            layers.Dropout(0.5),
            layers.Dense(3, name="logits"),
        ]
    )
    norm = model.get_layer("norm")
    norm.moving_mean.assign([0.1, -0.1, 0.2, 0.0])
    norm.moving_variance.assign([0.5, 1.0, 2.0, 1.5])
    return model


def uniform(*shape, seed=0):
    return np.random.RandomState(seed).uniform(-1, 1, shape).astype("float32")


def spiking(model, x, **kwargs):
    options = {
        "scale_firing_rates": "calibrate",
        "calibration_data": x,
        "n_steps": STEPS,
    }
    return ksn.to_spiking(model, **options | kwargs)


def predicted(model, x):
    return model.predict(x, verbose=0)


def error(model, other, x):
    wanted = predicted(model, x)
    return np.max(np.abs(predicted(other, x) - wanted)) / np.max(np.abs(wanted))


@pytest.mark.parametrize("make", [mlp, convnet])
def test_calibrated_spikes_give_what_the_model_gives(make):
    model = make()
    x = uniform(8, *model.input_shape[1:])
    # The more spikes, the nearer.
    assert error(model, spiking(model, x), x) < 0.15
    assert error(model, spiking(model, x, target_rate=40_000), x) < 0.015


@slow_on_jax
def test_weights_are_the_same_and_the_model_is_not_changed(tmp_path):
    model = convnet()
    x = uniform(4, 8, 8, 2)
    before = predicted(model, x)
    other = spiking(model, x)
    for name in ("conv", "norm", "dense", "logits"):
        for one, two in zip(
            model.get_layer(name).get_weights(),
            other.get_layer(name).get_weights(),
            strict=True,
        ):
            np.testing.assert_array_equal(one, two)
    other.get_layer("dense").set_weights(
        [0 * w for w in other.get_layer("dense").get_weights()]
    )
    np.testing.assert_array_equal(predicted(model, x), before)
    expected = predicted(other, x)
    other.save(tmp_path / "spiking.keras")
    loaded = keras.saving.load_model(tmp_path / "spiking.keras")
    np.testing.assert_allclose(predicted(loaded, x), expected, atol=1e-6)


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("kind", SPIKING)
def test_neurons_reach_the_target_rate_at_the_percentile(kind, per_channel):
    neurons = SPIKING[kind]
    high = np.array([0.5, 2.0]) if per_channel else 2.0
    drive = calibrated(neurons, high, 100.0, 0.001)
    unit = ksn.serialization.altered(neurons, amplitude=1.0)
    currents = np.atleast_1d(drive.gain * high + drive.bias)
    rates = unit.rates(currents, np.ones(len(currents)), np.zeros(len(currents)))
    np.testing.assert_allclose(np.diag(np.atleast_2d(rates)), 100.0, rtol=1e-6)


def test_a_straight_rate_curve_is_met_exactly():
    drive = calibrated(SPIKING["SpikingRectifiedLinear"], 2.0, 100.0)
    assert (drive.gain, drive.bias) == (50.0, 0.0)
    assert drive.height == pytest.approx(0.02)


def test_a_curve_with_a_threshold_crosses_the_line():
    lif, relu = nengo.LIF(), keras.activations.relu
    drive = calibrated(lif, 2.0, 100.0)
    gain, bias = lif.gain_bias(np.array([100.0]), np.array([0.0]))
    begins_at_0 = Drive(gain[0] / 2, bias[0], 0.02, 2.0)
    assert drive.bias < 1
    assert skew(lif, drive, relu) < 0.8 * skew(lif, begins_at_0, relu)


@pytest.mark.parametrize("kind", SPIKING)
@slow_on_jax
def test_every_spiking_type_fires_at_calibrated_rates(kind):
    model = mlp()
    x = uniform(64, 6)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        other = spiking(model, x, activations={"relu": SPIKING[kind]}, percentile=99)
    row = ksn.compare(model, other, x)["hidden"]
    assert row.correlation > 0.9
    limit = 250 if "LIF" in str(SPIKING[kind]) else 4000
    assert 0.7 * limit < row.high_rate < 1.6 * limit


@slow_on_jax
def test_a_number_scales_rates_and_nothing_else():
    model = mlp()
    x = uniform(8, 6)
    rates = {}
    for scale in (100.0, {"hidden": 300.0}):
        other = ksn.to_spiking(model, scale_firing_rates=scale, n_steps=STEPS)
        assert error(model, other, x) < 0.2
        value = scale if isinstance(scale, float) else scale["hidden"]
        rates[value] = ksn.compare(model, other, x)["hidden"].mean_rate
    assert rates[300.0] == pytest.approx(3 * rates[100.0], rel=0.05)


def test_without_scale_rates_are_activations_and_the_user_is_told():
    model = mlp()
    with pytest.warns(UserWarning, match=r"activation of 1 is 1 Hz, 0.2 spikes in 200"):
        other = ksn.to_spiking(model, n_steps=STEPS)
    kinds = [type(layer).__name__ for layer in other.layers]
    assert "Rescaling" not in kinds


def test_a_skewed_nonlinearity_is_named():
    model = mlp()
    x = uniform(8, 6)
    with pytest.warns(UserWarning, match=r"'hidden': the rates of LIF\(\) .* %"):
        spiking(model, x, activations={"relu": nengo.LIF()})
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        spiking(model, x)


def test_skew_is_the_largest_difference():
    relu = keras.activations.relu
    assert skew(nengo.SpikingRectifiedLinear(), Drive(height=1.0), relu) < 1e-6
    assert skew(nengo.SpikingRectifiedLinear(), Drive(height=0.5), relu) == (
        pytest.approx(0.5)
    )


def test_time_that_a_model_has_is_kept():
    model = keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(8, "relu", name="before"),
            ksn.layers.Repeat(20),
            layers.Dense(4, "relu", name="after"),
        ]
    )
    x = uniform(8, 6)
    other = ksn.to_spiking(
        model, scale_firing_rates="calibrate", calibration_data=x, percentile=100
    )
    assert other.output_shape == (None, 20, 4)
    names = [layer.name for layer in other.layers]
    assert "after_neurons" in names and "before_neurons" not in names
    found = np.mean(predicted(other, x), axis=1)
    wanted = predicted(model, x)[:, -1]
    assert np.max(np.abs(found - wanted)) < 0.06 * np.max(wanted)


def test_an_activation_after_time_stays():
    model = keras.Sequential(
        [
            keras.Input((6,)),
            ksn.layers.Repeat(20),
            layers.Dense(8, "relu", name="hidden"),
            ksn.layers.Synapse(0.005),
            layers.Dense(3, "softmax"),
        ]
    )
    x = uniform(4, 6)
    other = spiking(model, x, n_steps=None, target_rate=1e6)
    np.testing.assert_allclose(predicted(other, x), predicted(model, x), atol=1e-3)


def test_sequences_in_and_out():
    model = mlp()
    x = uniform(4, 6)
    other = spiking(model, x, n_steps=None, output="sequence")
    assert other.input_shape == (None, None, 6)
    y = predicted(other, np.repeat(x[:, None], STEPS, axis=1))
    assert y.shape == (4, STEPS, 3)
    mean = spiking(model, x)
    np.testing.assert_allclose(predicted(mean, x), y.mean(axis=1), atol=1e-5)
    last = spiking(model, x, output="last", synapse=0.01)
    whole = spiking(model, x, output="sequence", synapse=0.01)
    np.testing.assert_allclose(predicted(last, x), predicted(whole, x)[:, -1])


def test_softmax_is_taken_of_the_mean():
    model = mlp(last="softmax")
    x = uniform(8, 6)
    other = spiking(model, x, target_rate=20_000)
    assert other.layers[-1].name == "logits_activation"
    np.testing.assert_allclose(predicted(other, x), predicted(model, x), atol=5e-3)
    np.testing.assert_allclose(predicted(other, x).sum(axis=1), 1, atol=1e-5)


def whole(name):
    x = keras.Input((6,), name="x")
    z = keras.Input((6,), name="z")
    shared = layers.Dense(6, "relu", name="shared")
    if name == "shared":
        return keras.Model(x, layers.Dense(2)(shared(shared(x))))
    if name == "residual":
        h = shared(x)
        return keras.Model(x, layers.Dense(2)(layers.Add()([h, layers.Dense(6)(h)])))
    if name == "nested":
        inner = keras.Sequential([keras.Input((6,)), shared], name="inner")
        return keras.Model(x, layers.Dense(2)(inner(layers.Dense(6, "relu")(x))))
    if name == "keyed":
        both = layers.Concatenate()([shared(x), shared(z)])
        return keras.Model({"x": x, "z": z}, {"a": layers.Dense(2)(both), "b": both})
    image = layers.Reshape((3, 2))(shared(x))
    return keras.Model([x, z], [layers.Conv1D(3, 2)(image), layers.Dense(2)(shared(z))])


@pytest.mark.parametrize("name", ["shared", "residual", "nested", "keyed", "list"])
def test_whole_models(name):
    model = whole(name)
    data = [uniform(8, 6, seed=i) for i, _ in enumerate(model.inputs)]
    x = data[0] if len(data) == 1 else data
    if name == "keyed":
        x = dict(zip(("x", "z"), data, strict=True))
    other = spiking(model, x, target_rate=20_000)
    wanted, found = predicted(model, x), predicted(other, x)
    assert keras.tree.map_structure(np.shape, wanted) == (
        keras.tree.map_structure(np.shape, found)
    )
    for one, two in zip(
        keras.tree.flatten(wanted), keras.tree.flatten(found), strict=True
    ):
        np.testing.assert_allclose(two, one, atol=0.05 * np.max(np.abs(one)))
    if name == "shared":
        # One layer, at two depths with two scales.
        names = [layer.name for layer in other.layers]
        assert "shared_neurons" in names and "shared_2_neurons" in names


@slow_on_jax
def test_the_spiking_model_runs_in_nengo():
    model = convnet()
    x = uniform(3, 8, 8, 2)
    other = spiking(model, x, n_steps=30, output="sequence")
    export = ksn.to_nengo(other)
    assert export.verify(x).ok
    report = export.report(x, model)
    assert {row.name for row in report.layers} == {"relu", "dense"}


def test_training_goes_on():
    model = mlp()
    x = uniform(32, 6)
    other = spiking(model, x, n_steps=20)
    other.compile("adam", "mse", jit_compile=True)
    before = other.evaluate(x, x[:, :3], verbose=0)
    other.fit(x, x[:, :3], epochs=5, verbose=0)
    assert other.evaluate(x, x[:, :3], verbose=0) < before


LINES = {
    "six": (lambda: layers.ReLU(6.0), "relu6"),
    "one": (lambda: layers.ReLU(max_value=0.5), "relu6"),
    "slope": (lambda: layers.ReLU(negative_slope=0.1), "leaky_relu"),
    "slope and end": (lambda: layers.ReLU(0.7, negative_slope=0.1), "leaky_relu"),
    "threshold": (lambda: layers.ReLU(threshold=0.3), "relu"),
    "all": (lambda: layers.ReLU(0.7, 0.2, 0.3), "leaky_relu"),
    "layer": (lambda: layers.LeakyReLU(0.4), "leaky_relu"),
    "name": (lambda: layers.Activation("relu6"), "relu6"),
    "function": (lambda: keras.ops.relu6, "relu6"),
    "operation": (lambda: keras.ops.relu, "relu"),
    "leaky operation": (lambda: keras.ops.leaky_relu, "leaky_relu"),
    "with arguments": (
        lambda: lambda x: keras.activations.relu(x, max_value=0.5),
        "relu6",
    ),
    "activation": (lambda: layers.Dense(16, layers.ReLU(0.4)), "relu6"),
}


@pytest.mark.parametrize(
    "name", quick(LINES, ["all", "layer", "function", "activation"])
)
@slow_on_jax
def test_every_rectified_line_ends_and_bends_where_it_should(name):
    make, key = LINES[name]
    inputs = keras.Input((6,))
    hidden = layers.Dense(16, kernel_initializer=keras.initializers.HeNormal(seed=0))
    h = make()(hidden(inputs))
    model = keras.Model(inputs, layers.Dense(3)(h))
    kind = nengo.SpikingRectifiedLinear()
    if key == "leaky_relu":
        kind = ksn.types.SpikingLeakyReLU()  # of another slope
    x = uniform(16, 6)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        other = spiking(model, x, activations={key: kind}, target_rate=20_000)
    assert error(model, other, x) < 0.03
    row = ksn.compare(model, other, x).layers[0]
    assert row.correlation > 0.99


@slow_on_jax
def test_bounded_spikes_run_in_nengo():
    model = keras.Sequential(
        [keras.Input((6,)), layers.Dense(8), layers.ReLU(0.5), layers.Dense(3)]
    )
    x = uniform(3, 6)
    other = spiking(
        model, x, activations={"relu6": SPIKING["SpikingRectifiedLinear"]}, n_steps=20
    )
    sequence = spiking(
        model,
        x,
        activations={"relu6": SPIKING["SpikingRectifiedLinear"]},
        n_steps=20,
        output="sequence",
    )
    assert ksn.to_nengo(sequence).verify(x).ok
    np.testing.assert_allclose(
        predicted(sequence, x).mean(axis=1), predicted(other, x), atol=1e-5
    )


# Layers and operations with a curve, its name, and the rate type that has it.
CURVED = {
    "elu": (lambda: layers.ELU(0.5), "elu", Elementwise("elu", 0.5)),
    "gelu": (
        lambda: lambda x: keras.ops.gelu(x, approximate=True),
        "gelu",
        Elementwise("gelu_tanh"),
    ),
    "tanh": (lambda: keras.ops.tanh, "tanh", nengo.Tanh(1)),
    "sigmoid": (lambda: keras.ops.sigmoid, "sigmoid", nengo.Sigmoid(1)),
    "softplus": (
        lambda: layers.Activation("softplus"),
        "softplus",
        Elementwise("softplus"),
    ),
}


def curved(*names):
    """Two layers with each of these curves, side by side."""
    inputs, outputs = keras.Input((6,)), []
    for name in names:
        x = inputs
        for i in range(2):
            start = keras.initializers.HeNormal(seed=i)
            x = CURVED[name][0]()(layers.Dense(16, kernel_initializer=start)(x))
        outputs.append(layers.Dense(3)(x))
    return keras.Model(inputs, outputs)


@slow_on_jax
def test_curves_keep_their_bend_at_any_rate():
    model, x = curved(*CURVED), 2 * uniform(16, 6)
    keys = {key for _, key, _ in CURVED.values()}
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        other = spiking(model, x, activations={k: f"spiking_{k}" for k in keys})
    report = ksn.compare(model, other, x)
    assert max(output.error for output in report.outputs) < 0.03
    assert min(row.correlation for row in report.layers) > 0.99
    # 16 spikes per step for the highest activation, of either sign.
    assert max(row.high_rate for row in report.layers) < 17_000
    assert min(row.high_rate for row in report.layers) > 10_000
    assert not report.advice
    kinds = [x.cell.neuron_type for x in other.layers if hasattr(x, "cell")]
    for _, _, curve in CURVED.values():
        same = [kind for kind in kinds if _factor(kind.base_type, curve)]
        assert len(same) == 2
        for kind in same:
            factor = _factor(kind.base_type, curve)
            assert kind.amplitude == pytest.approx(1 / factor)


def _factor(kind, curve):
    """What a rate type is multiplied by, to be another; 0 if it is none."""
    name = "amplitude" if hasattr(curve, "amplitude") else "tau_ref"
    same = type(kind) is type(curve)
    if not same or ksn.serialization.altered(kind, **{name: 1}) != curve:
        return 0
    return kind.amplitude if name == "amplitude" else 1 / kind.tau_ref


def test_a_number_multiplies_the_rate_of_a_curve_and_not_its_input():
    model, x = curved("tanh"), uniform(4, 6)
    kinds = {"tanh": nengo.RegularSpiking(nengo.Tanh(0.5))}
    other = ksn.to_spiking(model, kinds, scale_firing_rates=20_000.0, n_steps=STEPS)
    assert error(model, other, x) < 0.01


@slow_on_jax
def test_curves_run_in_nengo(tmp_path):
    model, x = curved("elu"), uniform(2, 6)
    options = {"activations": {"elu": "spiking_elu"}, "n_steps": 20}
    other = spiking(model, x, output="sequence", **options)
    assert ksn.to_nengo(other).verify(x).ok
    other.save(tmp_path / "curves.keras")
    loaded = keras.saving.load_model(tmp_path / "curves.keras")
    np.testing.assert_array_equal(predicted(loaded, x), predicted(other, x))


def eegnet():
    """As published, on few channels: two blocks of convolutions, with ELU."""
    return keras.Sequential(
        [
            keras.Input((4, 64, 1)),
            layers.Conv2D(4, (1, 16), padding="same", use_bias=False),
            layers.BatchNormalization(),
            layers.DepthwiseConv2D((4, 1), depth_multiplier=2, use_bias=False),
            layers.BatchNormalization(),
            layers.Activation("elu"),
            layers.AveragePooling2D((1, 4)),
            layers.Dropout(0.25),
            layers.SeparableConv2D(8, (1, 8), padding="same", use_bias=False),
            layers.BatchNormalization(),
            layers.Activation("elu"),
            layers.AveragePooling2D((1, 8)),
            layers.Dropout(0.25),
            layers.Flatten(),
            layers.Dense(3),
        ]
    )


@slow_on_jax
def test_eegnet_is_near_at_200_steps():
    """Waves of three lengths, told apart."""
    rng = np.random.RandomState(0)
    labels = rng.randint(0, 3, 64)
    phases = np.arange(64) * (labels[:, None] + 1) / 4 + rng.uniform(0, 6, (64, 1))
    x = np.sin(phases)[:, None, :, None] + rng.normal(size=(64, 4, 64, 1))
    keras.utils.set_random_seed(0)
    model = eegnet()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss)
    model.fit(x, labels, epochs=3, verbose=0)
    other = spiking(model, x, activations={"elu": "spiking_elu"})
    wanted = predicted(model, x[:16])
    assert np.max(np.abs(predicted(other, x[:16]) - wanted)) < 0.02 * np.ptp(wanted)


@pytest.mark.parametrize("key, kind", [("elu", "elu"), ("tanh", nengo.Tanh(1))])
def test_rate_neurons_give_what_the_activation_gives(key, kind):
    model, x = curved(key), uniform(4, 6)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # rates are not too slow
        other = ksn.to_spiking(model, {key: kind}, n_steps=2)
    assert error(model, other, x) < 1e-5
    assert error(model, spiking(model, x, activations={key: kind}, n_steps=2), x) < 1e-5


@pytest.mark.filterwarnings("ignore:Layer 'hidden'")  # its curve differs
def test_rates_stand_in_for_the_spikes_of_a_type():
    model, x = mlp(), uniform(16, 6)
    rates = spiking(model, x, activations={"relu": nengo.LIFRate()}, n_steps=2)
    spikes = spiking(model, x, activations={"relu": nengo.LIF()}, n_steps=2000)
    assert error(rates, spikes, x) < 0.02


def test_other_neurons_for_a_curve_are_named():
    kinds = {"elu": nengo.SpikingRectifiedLinear()}
    with pytest.warns(UserWarning, match="differ from elu.*{'elu': 'spiking_elu'}"):
        spiking(curved("elu"), uniform(16, 6), activations=kinds)
    with pytest.raises(ValueError, match=r"layers have \['elu'\].*\"spiking_elu\""):
        ksn.to_spiking(curved("elu"), n_steps=10)


def test_keys_that_match_nothing_are_named():
    kinds = {"relu": nengo.SpikingRectifiedLinear(), "relu6": nengo.LIF()}
    with pytest.warns(UserWarning, match="has 'relu6', .* nearest .* is 'relu'"):
        ksn.to_spiking(mlp(), kinds, scale_firing_rates=10.0)


def test_layers_are_no_keys_of_scales():
    model = mlp()
    scales = {model.get_layer("hidden"): 10.0}
    with pytest.raises(TypeError, match="Use its name 'hidden'"):
        ksn.to_spiking(model, scale_firing_rates=scales)


def test_a_layer_that_is_silent_on_all_data_is_named():
    model = mlp()
    model.get_layer("hidden").set_weights([np.zeros((6, 8)), -np.ones(8)])
    with pytest.warns(UserWarning, match="No activation of 'hidden' is above 0"):
        spiking(model, uniform(4, 6))


@pytest.mark.parametrize("shape", [(8, 8, 1), (8, 8, 3), (6,), (6, 1)])
def test_static_inputs_of_a_model_over_time(shape):
    start = layers.Flatten() if len(shape) < 3 else layers.Conv2D(2, 3, padding="same")
    model = keras.Sequential(
        [keras.Input(shape), start, layers.ReLU(), layers.Flatten(), layers.Dense(2)]
    )
    other = ksn.to_spiking(model, scale_firing_rates=100.0)
    x = uniform(2, *shape)
    for call in (other, other.predict, other.predict_on_batch):
        # Of one feature, (6, 1) may be a sequence of its own: Keras asks for an axis.
        with pytest.raises(ValueError, match=r"sequence .*n_steps"):
            call(x)
    assert predicted(other, np.stack([x] * 4, axis=1)).shape == (2, 2)


def _refused(**kwargs):
    x = uniform(8, 6)
    options = {"scale_firing_rates": "calibrate", "calibration_data": x}
    return ksn.to_spiking(mlp(), **options | {"n_steps": 10} | kwargs)


@pytest.mark.parametrize(
    ("kwargs", "kind", "message"),
    [
        ({"activations": {"relux": nengo.LIF()}}, ValueError, "relux"),
        ({"activations": {"relu": nengo.Sigmoid()}}, NotImplementedError, "amplitude"),
        ({"activations": {"relu": 3}}, TypeError, "neuron type"),
        ({"activations": 3}, TypeError, "activations is a dict"),
        ({"activations": {"tanh": nengo.LIF()}}, ValueError, r"layers have \['relu'\]"),
        (
            {"calibration_data": uniform(8, 5)},
            ValueError,
            r"the shapes \(8, 5\)",
        ),
        ({"calibration_data": uniform(0, 6)}, ValueError, "the same number of items"),
        ({"calibration_data": None}, ValueError, "needs calibration_data"),
        (
            {"calibration_data": np.full((2, 6), np.nan, "float32")},
            ValueError,
            "not finite",
        ),
        ({"scale_firing_rates": 2.0}, ValueError, "nothing else"),
        (
            {"scale_firing_rates": -1.0, "calibration_data": None},
            ValueError,
            "above 0, and finite",
        ),
        (
            {"scale_firing_rates": {"x": 2.0}, "calibration_data": None},
            ValueError,
            r"names \['x'\].*\['hidden'\]",
        ),
        ({"activations": {"relu": nengo.Izhikevich()}}, NotImplementedError, "hidden"),
        (
            {"activations": {"relu": nengo.LIF()}, "target_rate": 600.0},
            ValueError,
            "fires below 500 Hz",
        ),
        ({"output": "first"}, ValueError, "output is one of"),
        ({"percentile": 0}, ValueError, "percentile"),
        ({"target_rate": -1}, ValueError, "target_rate"),
        ({"n_steps": 0}, ValueError, "n_steps"),
    ],
)
def test_refusals(kwargs, kind, message):
    with pytest.raises(kind, match=message):
        _refused(**kwargs)


def test_shapes_that_are_not_known_are_refused():
    model = keras.Sequential(
        [keras.Input((None, 3)), layers.Conv1D(2, 3, activation="relu", name="conv")]
    )
    with pytest.raises(NotImplementedError, match="conv"):
        ksn.to_spiking(model, scale_firing_rates=10.0, n_steps=10)
    with pytest.raises(TypeError, match="keras.Model"):
        ksn.to_spiking(layers.Dense(3), n_steps=10)
    timed = keras.Sequential(
        [keras.Input((3,)), ksn.layers.Repeat(5), layers.Dense(2, "relu")]
    )
    with pytest.raises(ValueError, match="has time already"):
        ksn.to_spiking(timed, scale_firing_rates=10.0, n_steps=10)
