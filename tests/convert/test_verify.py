"""What `verify` reports, and that it notices."""

import dataclasses

import nengo
import numpy as np
import pytest
from keras import layers

from keras_spiking_nengo.convert import to_nengo
from tests.builders import neurons, sequence, temporal
from tests.cases import make
from tests.marks import TAKES_TURNS, some_on_jax

pytestmark = TAKES_TURNS


def test_report_of_an_export(float64):
    model, x = make("deep")
    report = to_nengo(model).verify(x)
    assert report.ok
    (output,) = report.outputs
    assert output.name == model.layers[-1].name
    assert 0 <= output.max_difference < 1e-9 < output.scale
    names = [layer.name for layer in model.layers if "neurons" in layer.name]
    assert [row.name for row in report.spikes] == names
    assert all(row.total > 0 and row.differing == 0 for row in report.spikes)


def test_tolerance_is_of_the_range():
    model = temporal(layers.Dense(8), layers.Dense(8))
    x = sequence(model)
    export = to_nengo(model)
    (output,) = export.verify(x).outputs
    relative = output.max_difference / output.scale
    assert 0 < relative < 1e-5
    assert export.verify(x, rtol=2 * relative, atol=0).outputs[0].ok
    assert not export.verify(x, rtol=relative / 2, atol=0).outputs[0].ok


def test_spikes_are_counted():
    model, x = make("last spikes")
    export = to_nengo(model)
    (row,) = export.verify(x).spikes
    _, activity = export.record(x, watch=(row.name,))
    assert row.total == np.sum(activity[row.name]) * export.dt


def test_table():
    model, x = make("dense")
    report = to_nengo(model).verify(x)
    text = str(report)
    assert "max difference" in text and model.layers[-1].name in text
    assert f" {report.spikes[0].total} " in text
    assert report.table.row_count == 2


def tamper(export):
    """Turns one weight matrix around."""
    connection = next(
        c for c in export.net.connections if isinstance(c.transform, nengo.Dense)
    )
    weights = connection.transform
    connection.transform = nengo.Dense(weights.shape, init=-weights.init)


@pytest.mark.parametrize(
    "name", some_on_jax(["dense", "deep", "presented", "joined"], ["presented"])
)
def test_tampering_is_noticed(name):
    model, x = make(name)
    export = to_nengo(model)
    assert export.verify(x).ok
    tamper(export)
    report = export.verify(x)
    assert not report.ok
    assert any(row.differing > 0 for row in report.spikes)
    assert not all(row.ok for row in report.outputs)
    assert "DIFFERENT" in str(report)
    with pytest.raises(AssertionError, match="DIFFERENT"):
        export.verify(x, raise_on_failure=True)


def test_a_changed_model_is_noticed():
    model, x = make("dense")
    export = to_nengo(model)
    model.layers[0].kernel.assign(-model.layers[0].kernel)
    assert not export.verify(x).ok


def test_random_neurons_are_not_compared():
    random = nengo.StochasticSpiking(nengo.RectifiedLinear(amplitude=100))
    model = temporal(neurons(name="before"), neurons(random, name="after"))
    report = to_nengo(model).verify(np.full((2, 20, 5), 3.0))
    before, after = report.spikes
    assert before.compared and not after.compared
    assert not report.outputs[0].compared
    assert report.ok and "random" in str(report)


def test_bad_arguments():
    model, x = make("dense")
    export = to_nengo(model)
    with pytest.raises(ValueError, match="at least 0"):
        export.verify(x, rtol=-1)
    with pytest.raises(ValueError, match="no Keras model"):
        dataclasses.replace(export, model=None).verify(x)
    with pytest.raises(ValueError, match="time, 5"):
        export.verify(x[0])


def test_exports_without_neurons_have_outputs_only():
    model = temporal(layers.Dense(3), time=4)
    report = to_nengo(model).verify(np.ones((2, 4, 5)))
    assert report.ok and not report.spikes
