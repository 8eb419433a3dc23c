"""Activations and spikes, compared layer by layer."""

import warnings

import keras
import nengo
import numpy as np
import pytest

import keras_spiking_nengo as ksn
from tests.marks import slow_on_jax

# By default JAX runs the example of `compare`.

layers = keras.layers
STEPS = 100


def mlp(weights=None, units=4):
    model = keras.Sequential(
        [
            keras.Input((2,)),
            layers.Dense(units, "relu", name="hidden"),
            layers.Dense(2, name="logits"),
        ]
    )
    if weights is not None:
        model.get_layer("hidden").set_weights([np.array(w, float) for w in weights])
    return model


def spiking(model, scale, **kwargs):
    return ksn.to_spiking(
        model, scale_firing_rates=scale, n_steps=STEPS, **{"seed": 0} | kwargs
    )


# Activations 1, 2, 0 and 3 for an input of ones.
WEIGHTS = [[[1, 1, -1, 2], [0, 1, 0, 1]], [0, 0, 0, 0]]
ONES = np.ones((2, 2), "float32")


def test_rates_and_shares_by_hand():
    model = mlp(WEIGHTS)
    row = ksn.compare(model, spiking(model, 50.0), ONES)["hidden"]
    # 50, 100, 0 and 150 Hz; within one spike in 100 ms of each.
    assert row.mean_rate == pytest.approx(75, abs=5)
    assert row.high_rate == pytest.approx(150, abs=10)
    assert row.spikes == pytest.approx(row.mean_rate * 0.1)
    assert row.dead == 0 and row.saturated == 0 and row.advice == ""
    assert row.correlation > 0.99 and row.error < 0.1
    assert row.points.shape == (2, 8)


@slow_on_jax
def test_numbers_against_arrays():
    model = mlp()
    x = np.random.RandomState(0).uniform(size=(16, 2)).astype("float32")
    other = spiking(model, 300.0)
    report = ksn.compare(model, other, x, batch_size=5)
    wanted = keras.Model(model.inputs, model.get_layer("hidden").output)(x)
    said = keras.Model(other.inputs, other.get_layer("hidden_neurons").output)(x)
    wanted = keras.ops.convert_to_numpy(wanted).astype(float)
    said = keras.ops.convert_to_numpy(said).mean(axis=1).astype(float)
    row, (out,) = report["hidden"], report.outputs
    assert row.correlation == pytest.approx(
        np.corrcoef(wanted.ravel(), said.ravel())[0, 1], rel=1e-5
    )
    rms = np.sqrt(np.mean((wanted - said) ** 2) / np.mean(wanted**2))
    assert row.error == pytest.approx(rms, rel=1e-4)
    assert row.mean_rate == pytest.approx(300 * said.mean(), rel=1e-4)
    one, two = model.predict(x, verbose=0), other.predict(x, verbose=0)
    assert out.max_difference == pytest.approx(np.max(np.abs(one - two)), rel=1e-4)
    assert out.same == np.mean(one.argmax(1) == two.argmax(1))
    assert report.to_dict()["layers"][0]["name"] == "hidden"


def test_neurons_that_should_fire_and_do_not_are_dead():
    model = mlp(WEIGHTS)
    with pytest.warns(UserWarning, match="not scaled"):
        other = spiking(model, None)
    report = ksn.compare(model, other, ONES)
    row = report["hidden"]
    # 1, 2 and 3 Hz in 100 ms; the initial voltages of this seed let one fire.
    assert row.dead >= 2 / 3 - 1e-9
    assert "Scale rates up" in row.advice
    assert report.advice == (f"hidden: {row.advice}",)


def test_dead_layers_are_warned_of():
    model = mlp(WEIGHTS)
    other = spiking(model, 1e-3)
    with pytest.warns(UserWarning, match=r"layer 'hidden' fires .* Scale rates up"):
        ksn.compare(model, other, ONES)
    silent = mlp([np.zeros((2, 4)), -np.ones(4)])
    with pytest.warns(UserWarning, match=r"0 on all of these data.* train the model"):
        report = ksn.compare(silent, spiking(silent, 50.0), ONES)
    assert report["hidden"].spikes == 0


def test_what_cannot_fire_faster_is_saturated():
    model = mlp(WEIGHTS)
    lif = nengo.LIF(tau_ref=0.01)
    with pytest.warns(UserWarning, match="differ from relu"):
        other = spiking(model, 5000.0, activations={"relu": lif})
    row = ksn.compare(model, other, ONES)["hidden"]
    assert row.saturated == 0.75
    assert "at the limit" in row.advice


def test_per_channel_heights_count():
    model = mlp(WEIGHTS)
    other = spiking(
        model, "calibrate", calibration_data=ONES, per_channel=True, percentile=100
    )
    assert "hidden_height" in [layer.name for layer in other.layers]
    row = ksn.compare(model, other, ONES)["hidden"]
    assert row.error < 0.02
    export = ksn.to_nengo(
        spiking(
            model,
            "calibrate",
            calibration_data=ONES,
            per_channel=True,
            percentile=100,
            output="sequence",
        )
    )
    assert export.report(ONES, model)["hidden"].error < 0.02


def test_sequences_are_compared_by_their_mean():
    model = mlp(WEIGHTS)
    other = ksn.to_spiking(model, scale_firing_rates=50.0, output="sequence")
    with pytest.raises(ValueError, match="say n_steps"):
        ksn.compare(model, other, ONES)
    one = ksn.compare(model, other, ONES, n_steps=STEPS)
    two = ksn.compare(model, spiking(model, 50.0), ONES)
    assert one["hidden"] == two["hidden"]


def test_layers_that_python_runs_are_listed():
    model = keras.Sequential(
        [
            keras.Input((2,)),
            layers.Dense(4, "relu", name="hidden"),
            layers.LayerNormalization(name="norm"),
        ]
    )
    other = spiking(model, 200.0, output="sequence")
    with pytest.warns(UserWarning, match="norm"):
        export = ksn.to_nengo(other, strict=False)
    report = export.report(ONES, model)
    assert report.hosted == ("norm",)
    assert "In Python nodes: norm" in str(report)


def test_products_that_nodes_compute_are_listed():
    x = keras.Input((2,))
    hidden = layers.Dense(4, "relu", name="hidden")(x)
    model = keras.Model(x, layers.Multiply(name="gated")([hidden, layers.Dense(4)(x)]))
    with pytest.warns(UserWarning, match="gated"):
        export = ksn.to_nengo(spiking(model, 200.0, output="sequence"))
    assert export.report(ONES, model).hosted == ("gated",)


def test_tables_and_figures():
    model = mlp()
    report = ksn.compare(model, spiking(model, 300.0), ONES)
    assert "hidden" in str(report) and "same class" in str(report)
    figure = report.figure()
    assert [ax.get_xlabel() for ax in figure.axes] == ["activation"]


def test_refusals():
    model = mlp()
    with pytest.raises(TypeError, match="other is a keras.Model"):
        ksn.compare(model, 3, ONES)
    with pytest.raises(ValueError, match="to_spiking"):
        ksn.compare(model, mlp(), ONES)
    with pytest.raises(ValueError, match="received 2 arrays"):
        ksn.compare(model, spiking(model, 9.0), [ONES, ONES])


def test_an_export_that_gives_sequences_is_compared_with_its_own_model():
    model = keras.Sequential(
        [
            keras.Input((3,)),
            keras.layers.Dense(4, "relu", bias_initializer="ones"),
            keras.layers.Dense(2),
        ]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        spiking = ksn.to_spiking(
            model, n_steps=20, output="sequence", scale_firing_rates=100
        )
    report = ksn.to_nengo(spiking).report(np.ones((2, 3)))
    assert report.outputs[0].max_difference < 1e-4
