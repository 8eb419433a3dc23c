"""Pictures of spikes, neurons, synapses and models.

Each function draws into the `ax` it is given, or into a figure of its own, and returns
the axes; those with several panels return the figure. Nothing is shown or kept:
`axes.figure.savefig("name.png")` writes a file. The colours are those of Okabe and Ito
and the viridis map, which colour-blind readers can tell apart.

They need matplotlib: `pip install keras-spiking-nengo[plots]`.

Reference:
    Okabe and Ito (2008), *Color Universal Design*, https://jfly.uni-koeln.de/color/.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import nengo
import numpy as np
from keras import ops

from keras_spiking_nengo import layers
from keras_spiking_nengo.analysis import spikes
from keras_spiking_nengo.analysis.energy import EnergyReport, energy
from keras_spiking_nengo.analysis.recording import Recording, record
from keras_spiking_nengo.dynamics.neurons import neuron
from keras_spiking_nengo.dynamics.synapses import LinearSystem
from keras_spiking_nengo.types import neuron_type as to_neuron_type

__all__ = [
    "filter_response",
    "overview",
    "raster",
    "rates",
    "response_curves",
    "tuning_curves",
]

COLORS = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#000000",
)
_GREY = "#666666"


def _figure(width: float = 6.4, height: float = 3.8):
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "ksn.analysis.plots draws with matplotlib, which is not installed. Run"
            " pip install keras-spiking-nengo[plots]."
        ) from error
    return Figure(figsize=(width, height), layout="constrained")


def _axes(ax):
    return _figure().subplots() if ax is None else ax


def _tidy(ax, xlabel: str, ylabel: str, grid: str = "both"):
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    ax.spines[["top", "right"]].set_visible(False)
    if grid:
        ax.grid(axis=grid, color="#DDDDDD", linewidth=0.6)
    ax.set_axisbelow(True)
    return ax


# --- spikes ---------------------------------------------------------------------


def raster(values: Any, dt: float = 0.001, ax=None):
    """One mark for each neuron and step with a spike.

    Args:
        values: `(time, *features)` activity of one item; pick it from a batch, as
            `spikes[0]`. What is not 0 is a spike; below 0 it has another colour.
        dt: float, seconds. Length of one step. Defaults to 0.001.
        ax: matplotlib axes. Defaults to those of a new figure.

    Returns:
        The axes.

    Raises:
        ImportError: if matplotlib is not installed.
        ValueError: if `values` has no axis of neurons.

    Example:
        >>> import numpy as np
        >>> axes = raster(np.eye(5) * 1000)
        >>> axes.get_xlabel()
        'time (s)'
    """
    values = np.asarray(values)
    if values.ndim < 2:
        raise ValueError(
            "A raster needs (time, *features) of one item of a batch; received an array"
            f" of shape {values.shape}. Pass spikes[0] of (batch, time, *features)."
        )
    ax = _axes(ax)
    flat = values.reshape(len(values), -1)
    size = float(np.clip(220 / max(flat.shape[1], 1), 1.5, 12))
    for sign, color in ((1, COLORS[0]), (-1, COLORS[1])):
        step, unit = np.nonzero(sign * flat > 0)
        ax.plot(
            *((step + 1) * dt, unit),
            linestyle="none",
            marker="|",
            markersize=size,
            markeredgewidth=1.0,
            color=color,
        )
    ax.set_xlim(0, (len(flat) + 1) * dt)
    ax.set_ylim(-0.75, flat.shape[1] - 0.25)
    ax.yaxis.get_major_locator().set_params(integer=True)
    return _tidy(ax, "time (s)", "neuron", grid="")


def rates(values: Any, x: Any = None, amplitude: float = 1.0, bins: int = 30, ax=None):
    """Histogram of firing rates, of an array or of each spiking layer of a model.

    Args:
        values: `(batch, time, *features)` activity, or a Keras model.
        x: data for the model.
        amplitude: of the neuron type, for an array.
        bins: int. Number of bars.
        ax: matplotlib axes. Defaults to those of a new figure.

    Returns:
        The axes.

    Raises:
        ImportError: if matplotlib is not installed.
        ValueError: if a model has no spiking layer or no data, or an array no axis of
            neurons.

    Example:
        >>> import numpy as np
        >>> axes = rates(np.ones((2, 10, 5)))
        >>> axes.get_xlabel()
        'firing rate (Hz)'
    """
    if isinstance(values, keras.Model):
        if x is None:
            raise ValueError("The rates of a model depend on data: give x, too.")
        named = {r.name: r.rates for r in record(values, x)[0]}
        if not named:
            raise ValueError(f"{values.name!r} has no spiking layer.")
        return _histograms(named, bins, _axes(ax))
    values = np.asarray(values, dtype=float)
    if values.ndim < 3:
        raise ValueError(
            "Rates need (batch, time, *features); received an array of shape"
            f" {values.shape}. Add an axis for a batch of one item, as values[None]."
        )
    found = np.mean(spikes.rates(values, amplitude, axis=1), axis=0)
    return _histograms({"": found.ravel()}, bins, _axes(ax))


def _histograms(named: Mapping[str, np.ndarray], bins: int, ax):
    highest = max(float(np.max(values, initial=0.0)) for values in named.values())
    lowest = min(float(np.min(values, initial=0.0)) for values in named.values())
    edges = np.linspace(lowest, highest if highest > lowest else lowest + 1, bins + 1)
    for i, (name, values) in enumerate(named.items()):
        color = COLORS[i % len(COLORS)]
        mean = float(np.mean(values))
        label = f"{name}: mean {mean:.3g} Hz" if name else f"mean {mean:.3g} Hz"
        ax.hist(values, edges, histtype="stepfilled", color=color, alpha=0.25)
        ax.hist(values, edges, histtype="step", color=color, linewidth=1.6, label=label)
        ax.axvline(mean, color=color, linewidth=1.2, linestyle="--")
    ax.legend(frameon=False)
    ax.yaxis.get_major_locator().set_params(integer=True)
    return _tidy(ax, "firing rate (Hz)", "neurons", grid="y")


# --- neurons --------------------------------------------------------------------


def tuning_curves(
    ensemble: Any,
    sim: Any = None,
    direction: Sequence[float] | None = None,
    n_points: int = 200,
    ax=None,
):
    """Firing rates of an ensemble's neurons over what it represents.

    Args:
        ensemble: `ksn.layers.Ensemble`, built, or a `nengo.Ensemble` with its `sim`.
            A layer is drawn with its present weights.
        sim: the simulator that a `nengo.Ensemble` was built in.
        direction: of the line through the represented space on which the curves are
            drawn, from `-radius` to `radius`. Defaults to the first dimension.
        n_points: int. Points of each curve.
        ax: matplotlib axes. Defaults to those of a new figure.

    Returns:
        The axes. Colours go from neurons that fire for low values to those that fire
        for high ones.

    Raises:
        ImportError: if matplotlib is not installed.
        TypeError: for another kind of ensemble.
        ValueError: for a direction of another size, or a layer that is not built.

    Example:
        >>> import keras
        >>> layer = layers.Ensemble(20, 1, seed=0)
        >>> y = layer(keras.ops.ones((1, 2, 1)))
        >>> len(tuning_curves(layer).lines)
        20

    Reference:
        Eliasmith and Anderson (2003), *Neural Engineering*, MIT Press.
    """
    found = _population(ensemble, sim)
    dimensions = found["encoders"].shape[1]
    line = np.eye(dimensions)[0] if direction is None else np.asarray(direction, float)
    if line.shape != (dimensions,) or not np.any(line):
        raise ValueError(
            f"direction is a vector of {dimensions} numbers that is not 0; received"
            f" {direction!r}."
        )
    line = line / np.linalg.norm(line)
    x = np.linspace(-found["radius"], found["radius"], n_points)
    along = np.outer(x, (found["encoders"] @ line) / found["radius"])
    curves = _activity(found["neuron_type"], found["gain"] * along + found["bias"])
    ax = _axes(ax)
    weight = np.sum(np.abs(curves), axis=0)
    order = np.argsort(x @ np.abs(curves) / np.where(weight > 0, weight, 1))
    for place, unit in enumerate(order):
        color = _viridis(place / max(len(order) - 1, 1))
        ax.plot(x, curves[:, unit], color=color, linewidth=1.2)
    axis = "represented value" if dimensions == 1 else "distance along the direction"
    ax.set_xlim(x[0], x[-1])
    return _tidy(ax, axis, "firing rate (Hz)")


def _viridis(share: float):
    from matplotlib import colormaps

    # The last tenth is too light for white paper.
    return colormaps["viridis"](0.9 * share)


def _activity(neuron_type, currents: np.ndarray) -> np.ndarray:
    """Rates for currents `(points, neurons)`, which are not scaled further."""
    n_neurons = currents.shape[1]
    return neuron_type.rates(currents, np.ones(n_neurons), np.zeros(n_neurons))


def _population(ensemble, sim) -> dict[str, Any]:
    if isinstance(ensemble, layers.Ensemble):
        if not ensemble.built:
            raise ValueError(f"{ensemble.name} is not built: call it on data first.")
        ensemble = ensemble.network().ensembles[0]
        built: Any = ensemble
    elif isinstance(ensemble, nengo.Ensemble) and sim is not None:
        built = sim.data[ensemble]
    else:
        raise TypeError(
            "Tuning curves are of a ksn.layers.Ensemble, or of a nengo.Ensemble"
            f" together with the simulator that built it; received {ensemble!r}."
        )
    encoders = np.asarray(built.encoders, dtype=float)
    if built is ensemble and ensemble.normalize_encoders:
        encoders = encoders / np.linalg.norm(encoders, axis=1, keepdims=True)
    return {
        "encoders": encoders,
        "gain": np.asarray(built.gain, dtype=float),
        "bias": np.asarray(built.bias, dtype=float),
        "radius": float(ensemble.radius),
        "neuron_type": ensemble.neuron_type,
    }


def response_curves(
    neuron_types: Any,
    currents: Any = None,
    dt: float = 0.001,
    time: float = 1.0,
    seed: int = 0,
    ax=None,
):
    """Output of neurons over a constant current: the curve, and measured.

    The line is the type's rate curve, the dots are the mean output of a simulation. Of
    adaptive types the curve is that before they adapt, and the dots are from the second
    half of the simulation, when they have.

    Args:
        neuron_types: one or several `nengo.neurons.NeuronType` or names.
        currents: array. Defaults to 0 to 5, or 0 to 30 for Izhikevich neurons.
        dt: float, seconds. Length of one step. Defaults to 0.001.
        time: float, seconds, of the simulation. Defaults to 1.
        seed: int. Of the initial state and of random types. Defaults to 0.
        ax: matplotlib axes. Defaults to those of a new figure.

    Returns:
        The axes.

    Raises:
        ImportError: if matplotlib is not installed.
        NotImplementedError: for a type without a rule.

    Example:
        >>> axes = response_curves("lif", time=0.1)
        >>> axes.get_ylabel()
        'output: amplitude x rate (Hz)'
    """
    single = isinstance(neuron_types, str | nengo.neurons.NeuronType)
    kinds = list(map(to_neuron_type, [neuron_types] if single else neuron_types))
    ax = _axes(ax)
    for i, kind in enumerate(kinds):
        high = 30.0 if isinstance(kind, nengo.Izhikevich) else 5.0
        given = np.linspace(0, high, 201) if currents is None else np.asarray(currents)
        color, label = COLORS[i % len(COLORS)], repr(kind)
        if neuron(kind).rates is not None:
            ax.plot(given, _activity(kind, given[:, None])[:, 0], color=color)
        dots = given[:: max(len(given) // 20, 1)]
        measured = _measured(kind, dots, dt, time, seed)
        style = {"linestyle": "none", "marker": "o", "markersize": 4}
        ax.plot(dots, measured, color=color, label=label, **style)
    ax.legend(frameon=False, title="lines: rate curve, dots: measured")
    return _tidy(ax, "input current", "output: amplitude x rate (Hz)")


def _measured(kind, currents: np.ndarray, dt: float, time: float, seed: int):
    """Mean output over the second half of a simulation."""
    steps = max(round(time / dt), 2)
    layer = layers.Neurons(kind, dt=dt, seed=seed, return_sequences=True)
    x = np.broadcast_to(currents, (1, steps, len(currents))).astype("float32")
    values = ops.convert_to_numpy(layer(x))[0]
    return np.mean(values[steps // 2 :], axis=0)


# --- synapses -------------------------------------------------------------------


def filter_response(synapse: Any, dt: float = 0.001, delay: int = 1):
    """Impulse, step and frequency response of a synapse.

    Args:
        synapse: `nengo.synapses.Synapse`, linear, or a time constant in seconds.
        dt: float, seconds. Length of one step. Defaults to 0.001.
        delay: 1 for Nengo's order of events, 0 for no lag, as in `Synapse`.

    Returns:
        The figure, with three axes.

    Raises:
        ImportError: if matplotlib is not installed.
        ValueError, NotImplementedError: for what `Synapse` refuses.

    Example:
        >>> figure = filter_response(0.01)
        >>> len(figure.axes)
        3
    """
    cell = layers.SynapseCell(synapse, dt=dt, delay=delay)
    system = cell.system
    impulse = _impulse(system, _length(system))
    t = np.arange(1, len(impulse) + 1) * dt * 1000
    figure = _figure(9.6, 3.2)
    figure.suptitle(repr(cell.synapse), fontsize=11)
    first, second, third = figure.subplots(1, 3)
    first.plot(t, impulse / dt, color=COLORS[0])
    _tidy(first, "time (ms)", "impulse response (1/s)")
    second.plot(t, np.cumsum(impulse), color=COLORS[0])
    _tidy(second, "time (ms)", "step response")
    frequency = np.geomspace(0.2 / (len(impulse) * dt), 0.5 / dt, 300)
    gain = np.abs(_transfer(system, np.exp(2j * np.pi * frequency * dt)))
    third.semilogx(frequency, 20 * np.log10(np.maximum(gain, 1e-6)), color=COLORS[0])
    _tidy(third, "frequency (Hz)", "gain (dB)")
    for axes in (first, second):
        axes.set_xlim(0, t[-1])
    third.set_xlim(frequency[0], frequency[-1])
    return figure


def _length(system: LinearSystem) -> int:
    """Steps in which the slowest part of a filter has died out."""
    poles = np.abs(np.linalg.eigvals(system.A)) if system.order else np.zeros(1)
    slowest = float(np.max(poles))
    if slowest >= 1 - 1e-9:  # it keeps what it has been given
        return 200
    memory = -7 / math.log(slowest) if slowest > 0 else 1
    return int(np.clip(math.ceil(memory), 2 * system.order + 10, 20000))


def _impulse(system: LinearSystem, length: int) -> np.ndarray:
    state, found = np.zeros(system.order), []
    for u in [1.0] + [0.0] * (length - 1):
        found.append(float(system.C @ state + system.D * u))
        state = system.A @ state + np.asarray(system.B) * u
    return np.array(found)


def _transfer(system: LinearSystem, z: np.ndarray) -> np.ndarray:
    """`C (z - A)^-1 B + D`."""
    if not system.order:
        return np.full(z.shape, system.D, dtype=complex)
    matrices = z[:, None, None] * np.eye(system.order) - system.A
    column = np.asarray(system.B)[None, :, None]
    return (np.linalg.solve(matrices, column)[..., 0] @ system.C) + system.D


# --- models ---------------------------------------------------------------------


def overview(model: keras.Model, x: Any, item: int = 0, strict: bool = True):
    """A model at work on data: spikes, rates, operations, output.

    Args:
        model: functional or `keras.Sequential`, as for `ksn.analysis.energy`.
        x: data, as for `energy`.
        item: int. Which item's spikes and output are drawn. Defaults to 0.
        strict: bool. As for `energy`. Defaults to True.

    Returns:
        The figure: spikes of the first spiking layer and output of one item; firing
        rates and operations over all of them.

    Raises:
        ImportError: if matplotlib is not installed.
        ValueError: if there is no such item.
        TypeError, NotImplementedError: for what `energy` refuses.

    Example:
        >>> import keras, numpy as np
        >>> model = keras.Sequential([
        ...     keras.Input((4,)), layers.Repeat(20),
        ...     layers.Neurons("lif", seed=0, return_sequences=True)])
        >>> len(overview(model, np.full((2, 4), 3.0)).axes)
        4
    """
    figure = _figure(10.0, 6.4)
    recorded, outputs = record(model, x)
    if not -len(outputs[0]) <= item < len(outputs[0]):
        raise ValueError(f"x has {len(outputs[0])} items; received item={item!r}.")
    (first, second), (third, fourth) = figure.subplots(2, 2)
    figure.suptitle(f"{model.name}, {len(outputs[0])} items", fontsize=12)
    _draw_spikes(recorded, item, first)
    _draw_rates(recorded, second)
    _draw_operations(energy(model, x, (), strict=strict), third)
    _draw_output(outputs[0][item], recorded, fourth)
    return figure


def _empty(ax, text: str) -> None:
    ax.text(0.5, 0.5, text, ha="center", va="center", color=_GREY)
    ax.set_axis_off()


def _draw_spikes(recorded: list[Recording], item: int, ax) -> None:
    if not recorded:
        return _empty(ax, "no spiking layers")
    first = recorded[0]
    raster(first.counts[item], first.dt, ax)
    ax.set_title(f"spikes of {first.name}, item {item}", fontsize=10)
    return None


def _draw_rates(recorded: list[Recording], ax) -> None:
    if not recorded:
        return _empty(ax, "no firing rates")
    _histograms({r.name: r.rates for r in recorded}, 30, ax)
    ax.set_title("firing rates", fontsize=10)
    return None


def _draw_operations(report: EnergyReport, ax) -> None:
    worked = [layer for layer in report.layers if layer.dense or layer.updates]
    if not worked:
        return _empty(ax, "no operations")
    bars = {
        "dense": [layer.dense for layer in worked],
        "effective (MACs and ACs)": [layer.macs + layer.acs for layer in worked],
        "updates": [layer.updates for layer in worked],
    }
    for i, (label, values) in enumerate(bars.items()):
        place = np.arange(len(worked)) + 0.27 * (i - 1)
        color = ("#BBBBBB", COLORS[0], COLORS[1])[i]
        ax.barh(place, values, height=0.25, color=color, label=label)
    ax.set_yticks(range(len(worked)), [layer.name for layer in worked])
    ax.invert_yaxis()
    ax.set_xscale("symlog", linthresh=1)
    ax.set_title("operations by layer", fontsize=10)
    ax.legend(frameon=False, fontsize=8)
    _tidy(ax, "operations per inference", "", grid="x")
    return None


def _draw_output(value: np.ndarray, recorded: list[Recording], ax) -> None:
    ax.set_title("output", fontsize=10)
    if value.ndim < 2:
        value = np.atleast_1d(value)
        ax.bar(range(len(value)), value, color=COLORS[0])
        ax.xaxis.get_major_locator().set_params(integer=True)
        _tidy(ax, "unit", "value", grid="y")
        return
    dt = recorded[-1].dt if recorded else 0.001
    flat = value.reshape(len(value), -1)
    for unit in range(min(flat.shape[1], len(COLORS))):
        t = np.arange(1, len(flat) + 1) * dt
        ax.plot(t, flat[:, unit], color=COLORS[unit], linewidth=1.2, label=f"{unit}")
    shown = f"unit (first {len(COLORS)})" if flat.shape[1] > len(COLORS) else "unit"
    ax.legend(frameon=False, fontsize=8, title=shown, ncols=2)
    _tidy(ax, "time (s)", "value")
