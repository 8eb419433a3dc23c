"""Pictures hold the numbers they are of."""

import io
import sys

import keras
import nengo
import numpy as np
import pytest
from keras import layers, ops
from nengo.utils.ensemble import tuning_curves as nengos_curves

import keras_spiking_nengo as ksn
from keras_spiking_nengo.analysis import plots
from tests.marks import TAKES_TURNS, slow_on_jax

pytestmark = TAKES_TURNS


def rendered(thing):
    """Draws, as only then does matplotlib look at everything."""
    figure = getattr(thing, "figure", None) or thing
    with io.BytesIO() as file:
        figure.savefig(file, format="png", dpi=50)
        assert len(file.getvalue()) > 1000
    return thing


def points(line):
    return np.stack(line.get_data(), axis=1)


def model_of(*stack, shape):
    return keras.Sequential([keras.Input(shape), *stack], name="model")


def spiking(n_steps=12):
    return model_of(
        ksn.layers.PoissonEncoder(
            200.0, n_steps=n_steps, seed=0, return_sequences=True, name="encoder"
        ),
        layers.Dense(4, kernel_initializer="ones", name="dense"),
        ksn.layers.Neurons("lif", seed=0, return_sequences=True, name="spikes"),
        ksn.layers.Synapse(0.01, return_sequences=True, name="filter"),
        shape=(5,),
    )


# --- raster -------------------------------------------------------------------


def test_a_raster_marks_each_spike_at_its_time():
    values = np.zeros((6, 2, 2))
    values[0, 0, 0] = values[3, 1, 0] = 1000.0
    values[4, 1, 1] = -1000.0
    axes = rendered(plots.raster(values, dt=0.01))
    up, down = axes.lines
    np.testing.assert_allclose(points(up), [[0.01, 0], [0.04, 2]])
    np.testing.assert_allclose(points(down), [[0.05, 3]])
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("time (s)", "neuron")
    assert [text.get_text() for text in axes.get_legend().texts] == ["up", "down"]
    assert plots.raster(np.eye(3)).get_legend() is None
    with pytest.raises(ValueError, match=r"received an array of shape \(5,\)"):
        plots.raster(np.ones(5))


def test_pictures_go_into_given_axes_and_leave_no_trace():
    from matplotlib.figure import Figure

    before = set(sys.modules)
    first, second = Figure().subplots(1, 2)
    assert plots.raster(np.eye(3), ax=second) is second
    assert second.lines and not first.lines
    own = plots.raster(np.eye(3))
    assert own.figure is not second.figure
    assert "matplotlib.pyplot" not in set(sys.modules) - before


def test_without_matplotlib_an_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install keras-spiking-nengo\[plots\]"):
        plots.raster(np.eye(3))
    with pytest.raises(ImportError, match=r"\[plots\]"):
        plots.filter_response(0.01)


# --- rates --------------------------------------------------------------------


def test_rates_of_an_array():
    values = np.zeros((2, 10, 3))
    values[:, ::5, 1] = 500.0  # amplitude 0.5: 200 Hz
    values[0, :, 2] = 500.0  # 1000 Hz in one of two items
    axes = rendered(plots.rates(values, amplitude=0.5, bins=5))
    edges = np.linspace(0, 500, 6)
    expected = np.histogram([0, 200, 500], edges)[0]
    np.testing.assert_array_equal(_heights(axes, edges), expected)
    (label,) = axes.get_legend().texts
    assert label.get_text() == "mean 233 Hz"
    with pytest.raises(ValueError, match="Add an axis for a batch"):
        plots.rates(values[0])


def _heights(axes, edges):
    """Of the last histogram that was drawn, from its outline."""
    corners = axes.patches[-1].get_path().vertices
    pairs = list(zip(corners[:-1], corners[1:], strict=True))
    return [
        max(a[1] for a, b in pairs if a[1] == b[1] and a[0] <= middle <= b[0])
        for middle in (edges[1:] + edges[:-1]) / 2
    ]


@slow_on_jax
def test_rates_of_a_models_layers():
    model = spiking()
    x = np.random.RandomState(0).uniform(0.5, 1, size=(3, 5))
    axes = rendered(plots.rates(model, x))
    names = [text.get_text().partition(":")[0] for text in axes.get_legend().texts]
    assert names == ["encoder", "spikes"]
    spikes = keras.Model(model.inputs, model.layers[2].output).predict(x, verbose=0)
    lines = [line.get_xdata()[0] for line in axes.lines]
    assert lines[1] == pytest.approx(spikes.mean(), rel=1e-5)
    with pytest.raises(ValueError, match="give x, too"):
        plots.rates(model)
    with pytest.raises(ValueError, match="has no spiking layer"):
        plots.rates(model_of(layers.Dense(2), shape=(5,)), x)


# --- neurons ------------------------------------------------------------------


def test_tuning_curves_are_nengos():
    with nengo.Network() as net:
        ens = nengo.Ensemble(12, 1, radius=2.0, seed=4)
    with nengo.Simulator(net, progress_bar=False) as sim:
        axes = rendered(plots.tuning_curves(ens, sim, n_points=9))
        x, expected = nengos_curves(ens, sim, np.linspace(-2, 2, 9)[:, None])
    drawn = np.array(sorted(line.get_ydata().tolist() for line in axes.lines))
    np.testing.assert_allclose(drawn, sorted(expected.T.tolist()), atol=1e-6)
    np.testing.assert_allclose(axes.lines[0].get_xdata(), x[:, 0])
    layer = ksn.layers.Ensemble(12, 1, radius=2.0, seed=4)
    layer(np.zeros((1, 2, 1), "float32"))
    ours = np.array(
        sorted(
            line.get_ydata().tolist()
            for line in plots.tuning_curves(layer, n_points=9).lines
        )
    )
    np.testing.assert_allclose(ours, drawn, rtol=1e-3, atol=1e-2)


def test_tuning_curves_are_rates_whatever_the_amplitude():
    kind = nengo.LIF(amplitude=0.01)
    arguments = {"neuron_type": kind, "max_rates": [90.0] * 4, "seed": 0}
    layer = ksn.layers.Ensemble(4, 1, **arguments)
    layer(np.zeros((1, 2, 1), "float32"))
    for line in plots.tuning_curves(layer).lines:
        assert np.max(line.get_ydata()) == pytest.approx(90, rel=1e-3)


def test_tuning_curves_lie_along_a_direction_and_follow_the_weights():
    layer = ksn.layers.Ensemble(
        2, 2, encoders=[[1, 0], [0, 1]], gain=[2.0, 2.0], bias=[1.0, 1.0], seed=0
    )
    with pytest.raises(ValueError, match="is not built"):
        plots.tuning_curves(layer)
    layer(np.zeros((1, 2, 2), "float32"))
    x = np.linspace(-1, 1, 5)
    lif = nengo.LIF()
    along = lif.rates(2 * x / np.sqrt(2) + 1, np.ones(1), np.zeros(1))[:, 0]
    axes = plots.tuning_curves(layer, direction=[3, 3], n_points=5)
    assert axes.get_xlabel() == "distance along the direction"
    for line in axes.lines:
        np.testing.assert_allclose(line.get_ydata(), along, rtol=1e-4)
    (bias,) = (w for w in layer.weights if "bias" in w.name)
    bias.assign([5.0, 1.0])
    curves = [line.get_ydata() for line in plots.tuning_curves(layer, n_points=5).lines]
    assert np.max(curves[0]) != pytest.approx(np.max(curves[1]))
    with pytest.raises(ValueError, match="direction is a vector of 2 numbers"):
        plots.tuning_curves(layer, direction=[1.0])
    with pytest.raises(TypeError, match="together with the simulator"):
        plots.tuning_curves(layer.cell.ensemble)


def test_response_curves_are_measured_on_the_curve():
    currents = np.linspace(0.5, 4, 8)
    axes = rendered(plots.response_curves(nengo.LIF(amplitude=0.5), currents))
    curve, dots = axes.lines
    expected = 0.5 * nengo.LIFRate().rates(currents, np.ones(1), np.zeros(1))[:, 0]
    np.testing.assert_allclose(curve.get_ydata(), expected, rtol=1e-6)
    # Half a second of spikes of 0.5 is exact to 1 Hz, and steps delay spikes.
    np.testing.assert_allclose(dots.get_ydata(), expected, atol=2.0)
    assert axes.get_legend().texts[0].get_text() == "LIF(amplitude=0.5)"


def test_types_without_a_curve_are_measured_alone():
    axes = rendered(plots.response_curves([nengo.Izhikevich(), "relu"], time=0.03))
    assert len(axes.lines) == 3
    only = plots.response_curves("izhikevich", [20.0, 30.0], time=0.05)
    assert len(only.lines) == 1 and np.any(only.lines[0].get_ydata())
    assert only.get_legend().get_title().get_text() == "dots: measured"


# --- synapses -----------------------------------------------------------------


def test_the_responses_of_a_lowpass():
    tau, dt = 0.02, 0.0005
    figure = rendered(plots.filter_response(tau, dt, delay=0))
    impulse, step, gain = (axes.lines[0] for axes in figure.axes)
    t = impulse.get_xdata()[1:] / 1000
    # Each step holds the mean of the continuous response over it.
    expected = (np.exp(-(t - dt) / tau) - np.exp(-t / tau)) / dt
    np.testing.assert_allclose(impulse.get_ydata()[1:], expected, rtol=1e-6)
    np.testing.assert_allclose(step.get_ydata()[1:], 1 - np.exp(-t / tau), rtol=1e-6)
    corner = 1 / (2 * np.pi * tau)
    at_corner = np.interp(corner, gain.get_xdata(), gain.get_ydata())
    assert at_corner == pytest.approx(-3.01, abs=0.02)
    labels = [axes.get_xlabel() for axes in figure.axes]
    assert labels == ["time (ms)", "time (ms)", "frequency (Hz)"]
    lagged = plots.filter_response(tau, dt).axes[0].lines[0].get_ydata()
    assert lagged[1] == 0 and lagged[2] == pytest.approx(expected[0])


@pytest.mark.parametrize(
    ("synapse", "gain"),
    [
        (None, 0.0),
        (nengo.LinearFilter([2.0], [1.0]), 6.02),
        (nengo.LinearFilter([1], [1, 0]), -20 * np.log10(2 * np.pi)),
        (nengo.Alpha(0.01), 0.0),
    ],
)
def test_the_gain_of_other_filters_at_low_frequencies(synapse, gain):
    figure = rendered(plots.filter_response(synapse))
    lowest = figure.axes[2].lines[0]
    assert lowest.get_xdata()[0] <= 1.0
    assert lowest.get_ydata()[0] == pytest.approx(gain, abs=0.1)
    assert np.all(np.isfinite(lowest.get_ydata()))


# --- models -------------------------------------------------------------------


@slow_on_jax
def test_an_overview_of_a_spiking_model():
    model = spiking()
    x = np.random.RandomState(0).uniform(0.5, 1, size=(3, 5))
    figure = rendered(plots.overview(model, x, item=1))
    marks, rates, operations, output = figure.axes
    assert marks.get_title() == "spikes of spikes, item 1"
    spikes = keras.Model(model.inputs, model.layers[2].output).predict(x, verbose=0)
    np.testing.assert_allclose(
        points(marks.lines[0]) / [0.001, 1], np.argwhere(spikes[1]) + [1, 0]
    )
    assert [t.get_text().partition(":")[0] for t in rates.get_legend().texts] == [
        "spikes"
    ]
    names = [label.get_text() for label in operations.get_yticklabels()]
    assert names == ["dense", "spikes", "filter"]
    report = ksn.analysis.energy(model, x)
    widths = [bar.get_width() for bar in operations.patches]
    total = report.total
    assert sum(widths) == pytest.approx(
        total.dense + total.macs + total.acs + total.updates
    )
    y = model.predict(x, verbose=0)[1]
    for unit, line in enumerate(output.lines):
        np.testing.assert_allclose(line.get_ydata(), y[:, unit], rtol=1e-5)
    with pytest.raises(ValueError, match="x has 3 items; received item=3"):
        plots.overview(model, x, item=3)


def test_an_overview_without_spikes_has_operations_and_output():
    model = model_of(layers.Dense(3, "relu"), layers.Dense(2), shape=(5,))
    x = np.random.RandomState(0).uniform(size=(2, 5))
    operations, output = rendered(plots.overview(model, x)).axes
    heights = [bar.get_height() for bar in output.patches]
    np.testing.assert_allclose(heights, ops.convert_to_numpy(model(x))[0], rtol=1e-5)
    legend = [text.get_text() for text in operations.get_legend().texts]
    assert legend == ["dense", "MACs and ACs"]
