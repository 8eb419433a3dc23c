"""Pictures of spikes, neurons, synapses and models.

Each function draws into the `ax` it is shown, or into a figure of its own, and returns
the axes; those with several panels return the figure. Nothing is shown or kept:
`axes.figure.savefig("name.png")` writes a file. The colours are those of Okabe and Ito
and the viridis map, which colour-blind readers can tell apart.

They need matplotlib: `pip install keras-spiking-nengo[plots]`.

Reference:
    Okabe and Ito (2008), *Color Universal Design*, https://jfly.uni-koeln.de/color/.
"""

import math
from collections.abc import Sequence
from typing import Any

import nengo
import numpy as np
from keras import ops

from keras_spiking_nengo import layers
from keras_spiking_nengo.analysis.drawing import (
    COLORS,
    new_axes,
    new_figure,
    raster,
    tidy,
)
from keras_spiking_nengo.analysis.firing import rate_histograms as rates
from keras_spiking_nengo.analysis.page import overview
from keras_spiking_nengo.checks import (
    checked_array,
    checked_count,
    checked_dt,
    checked_items,
    checked_seed,
    positive,
)
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
    population = _population(ensemble, sim)
    dimensions = population["encoders"].shape[1]
    line = np.eye(dimensions)[0]
    if direction is not None:
        line = checked_array("direction", direction)
    if line.shape != (dimensions,) or not np.any(line):
        raise ValueError(
            f"direction is a vector of {dimensions} numbers that is not 0; received"
            f" {direction!r}."
        )
    line = line / np.linalg.norm(line)
    n_points = checked_count("n_points", n_points)
    x = np.linspace(-population["radius"], population["radius"], n_points)
    along = np.outer(x, (population["encoders"] @ line) / population["radius"])
    kind = population["neuron_type"]
    curves = _neuron_output(kind, population["gain"] * along + population["bias"])
    curves = curves / getattr(kind, "amplitude", 1.0)
    ax = new_axes(ax)
    weight = np.sum(np.abs(curves), axis=0)
    order = np.argsort(x @ np.abs(curves) / np.where(weight > 0, weight, 1))
    for place, unit in enumerate(order):
        color = _viridis(place / max(len(order) - 1, 1))
        ax.plot(x, curves[:, unit], color=color, linewidth=1.2)
    axis = "represented value" if dimensions == 1 else "distance along the direction"
    ax.set_xlim(x[0], x[-1])
    return tidy(ax, axis, "firing rate (Hz)")


def _viridis(share: float):
    from matplotlib import colormaps

    # The last tenth is too light for white paper.
    return colormaps["viridis"](0.9 * share)


def _neuron_output(neuron_type, currents: np.ndarray) -> np.ndarray:
    """Rates for currents `(points, neurons)`, which are not scaled further."""
    n_neurons = currents.shape[1]
    return neuron_type.rates(currents, np.ones(n_neurons), np.zeros(n_neurons))


def _population(ensemble, sim) -> dict[str, Any]:
    if sim is not None and not hasattr(sim, "model"):
        raise TypeError(f"sim is the simulator of a nengo.Ensemble; received {sim!r}.")
    if isinstance(ensemble, layers.Ensemble):
        if not ensemble.built:
            raise ValueError(f"{ensemble.name} is not built: call it on data first.")
        ensemble = ensemble.network().ensembles[0]
        built: Any = ensemble
    elif isinstance(ensemble, nengo.Ensemble) and sim is not None:
        built = sim.data[ensemble]
    else:
        raise TypeError(
            "ensemble: Tuning curves are of a ksn.layers.Ensemble, or of a"
            " nengo.Ensemble together with the simulator that built it; received"
            f" {ensemble!r}."
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
    single = isinstance(neuron_types, nengo.neurons.NeuronType)
    possible = "neuron types, or names of them"
    several = (
        checked_items("neuron_types", neuron_types, possible) if not single else ()
    )
    try:
        kinds = [to_neuron_type(kind) for kind in (several or [neuron_types])]
    except (TypeError, ValueError) as error:
        raise type(error)(f"neuron_types: {error}") from error
    dt, time = checked_dt(dt), positive("time", time, "s")
    checked_seed(seed)
    if currents is not None:
        currents = checked_array("currents", currents)
    ax = new_axes(ax)
    has_curve = any(neuron(kind).rates is not None for kind in kinds)
    for i, kind in enumerate(kinds):
        high = 30.0 if isinstance(kind, nengo.Izhikevich) else 5.0
        shown = np.linspace(0, high, 201) if currents is None else np.ravel(currents)
        color, label = COLORS[i % len(COLORS)], repr(kind)
        if neuron(kind).rates is not None:
            curve = _neuron_output(kind, shown[:, None])[:, 0]
            # Curves may coincide: each leaves gaps for those below.
            ax.plot(shown, curve, color=color, linestyle=("-", "--", ":")[i % 3])
        dots = shown[:: max(len(shown) // 20, 1)]
        measured = _measured(kind, dots, dt, time, seed)
        style = {"linestyle": "none", "marker": "o", "markersize": 4}
        ax.plot(dots, measured, color=color, label=label, **style)
    title = "lines: rate curve, dots: measured" if has_curve else "dots: measured"
    ax.legend(frameon=False, title=title, alignment="left")
    return tidy(ax, "input current", "output: amplitude x rate (Hz)")


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
    from matplotlib.ticker import NullFormatter

    figure = new_figure(9.6, 3.2)
    figure.get_layout_engine().set(wspace=0.06)
    cell = layers.SynapseCell(synapse, dt=dt, delay=delay)
    system = cell.system
    impulse = _impulse(system, _length(system))
    figure.suptitle("no synapse" if cell.synapse is None else repr(cell.synapse))
    first, second, third = figure.subplots(1, 3)
    t = np.arange(len(impulse) + 1) * dt * 1000
    for axes, values, label in (
        (first, impulse / dt, "impulse response (1/s)"),
        (second, np.cumsum(impulse), "step response"),
    ):
        # A value holds for the step that ends at its time.
        held = np.concatenate([values[:1], values])
        axes.plot(t, held, color=COLORS[0], drawstyle="steps-pre")
        axes.set_xlim(0, t[-1])
        axes.set_ylim(bottom=min(0.0, 1.05 * float(np.min(values))))
        tidy(axes, "time (ms)", label)
    lowest = min(0.2 / (len(impulse) * dt), 1e-3 / dt)
    frequency = np.geomspace(lowest, 0.5 / dt, 300)
    gain = np.abs(_transfer(system, np.exp(2j * np.pi * frequency * dt)))
    decibel = 20 * np.log10(np.maximum(gain, 1e-6))
    third.semilogx(frequency, decibel, color=COLORS[0])
    third.xaxis.set_minor_formatter(NullFormatter())
    third.set_xlim(frequency[0], frequency[-1])
    if np.ptp(decibel) < 1:  # it passes all alike
        third.set_ylim(np.mean(decibel) - 3, np.mean(decibel) + 3)
    tidy(third, "frequency (Hz)", "gain (dB)")
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
    state, outputs = np.zeros(system.order), []
    for u in [1.0] + [0.0] * (length - 1):
        outputs.append(float(system.C @ state + system.D * u))
        state = system.A @ state + np.asarray(system.B) * u
    return np.array(outputs)


def _transfer(system: LinearSystem, z: np.ndarray) -> np.ndarray:
    """`C (z - A)^-1 B + D`."""
    if not system.order:
        return np.full(z.shape, system.D, dtype=complex)
    matrices = z[:, None, None] * np.eye(system.order) - system.A
    column = np.asarray(system.B)[None, :, None]
    return (np.linalg.solve(matrices, column)[..., 0] @ system.C) + system.D
