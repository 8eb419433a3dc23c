"""A model at work, on one page."""

from typing import Any

import keras
import numpy as np

from keras_spiking_nengo.analysis.drawing import (
    COLORS,
    histograms,
    new_figure,
    raster,
    tidy,
)
from keras_spiking_nengo.analysis.energy import EnergyReport, energy
from keras_spiking_nengo.analysis.recording import Recording, record
from keras_spiking_nengo.checks import check_switches, is_whole

__all__ = ["overview"]


def overview(model: keras.Model, x: Any, item: int = 0, strict: bool = True):
    """A model at work on data: spikes, rates, operations, output.

    Args:
        model: functional or `keras.Sequential`, as for `ksn.analysis.energy`.
        x: data, as for `energy`.
        item: int. Which item's spikes and output are drawn. Defaults to 0.
        strict: bool. As for `energy`. Defaults to True.

    Returns:
        The figure: spikes of the first layer of neurons and output of one item; firing
        rates and operations over all of them. Without spiking layers, operations and
        output.

    Raises:
        ImportError: if matplotlib is not installed.
        ValueError: if there is no such item.
        TypeError, NotImplementedError: for what `energy` refuses.

    Example:
        >>> import keras, numpy as np, keras_spiking_nengo as ksn
        >>> model = keras.Sequential([
        ...     keras.Input((4,)), ksn.layers.Repeat(20),
        ...     ksn.layers.Neurons("lif", seed=0, return_sequences=True)])
        >>> len(overview(model, np.full((2, 4), 3.0)).axes)
        4
    """
    check_switches(strict=strict)
    recorded, outputs = record(model, x)
    if not is_whole(item) or not -len(outputs[0]) <= item < len(outputs[0]):
        raise ValueError(f"x has {len(outputs[0])} items; received item={item!r}.")
    # Encoders are of interest where no neurons are.
    recorded = [r for r in recorded if r.neurons] or recorded
    rows = 2 if recorded else 1
    figure = new_figure(10.0, 3.4 * rows)
    axes = figure.subplots(rows, 2, squeeze=False)
    figure.suptitle(f"{model.name}, {len(outputs[0])} items")
    if recorded:
        _draw_spikes(recorded[0], item, axes[0, 0])
        histograms({r.name: r.rates for r in recorded}, 30, axes[0, 1])
        axes[0, 1].set_title("firing rates", fontsize=10)
    _draw_operations(energy(model, x, (), strict=strict), axes[-1, 0])
    _draw_output(outputs[0][item], recorded, axes[-1, 1])
    return figure


def _draw_spikes(recorded: Recording, item: int, ax) -> None:
    raster(recorded.counts[item], recorded.dt, ax)
    ax.set_title(f"spikes of {recorded.name}, item {item}", fontsize=10)


def _draw_operations(report: EnergyReport, ax) -> None:
    worked = [layer for layer in report.layers if layer.dense or layer.updates]
    bars = {
        "dense": ([layer.dense for layer in worked], "#BBBBBB"),
        "MACs and ACs": ([layer.macs + layer.acs for layer in worked], COLORS[0]),
        "updates": ([layer.updates for layer in worked], COLORS[1]),
    }
    bars = {label: bar for label, bar in bars.items() if any(bar[0])}
    height = 0.7 / max(len(bars), 1)
    for i, (label, (values, color)) in enumerate(bars.items()):
        place = np.arange(len(worked)) + height * (i - (len(bars) - 1) / 2)
        ax.barh(place, values, height=height, color=color, label=label)
    ax.set_yticks(range(len(worked)), [layer.name for layer in worked])
    ax.invert_yaxis()
    ax.set_xscale("symlog", linthresh=1)
    ax.set_title("operations by layer", fontsize=10)
    if bars:
        _legend_below(ax)
    tidy(ax, "operations per inference", "", grid="x")


def _draw_output(value: np.ndarray, recorded: list[Recording], ax) -> None:
    ax.set_title("output", fontsize=10)
    if value.ndim < 2:
        value = np.atleast_1d(value)
        ax.bar(range(len(value)), value, color=COLORS[0])
        ax.xaxis.get_major_locator().set_params(integer=True)
        tidy(ax, "unit", "value", grid="y")
        return
    dt = recorded[-1].dt if recorded else 0.001
    flat = value.reshape(len(value), -1)
    for unit in range(min(flat.shape[1], len(COLORS))):
        t = np.arange(1, len(flat) + 1) * dt
        ax.plot(t, flat[:, unit], color=COLORS[unit], linewidth=1.2, label=f"{unit}")
    shown = f"first {len(COLORS)} units" if flat.shape[1] > len(COLORS) else "units"
    ax.set_title(f"output, {shown}", fontsize=10)
    _legend_below(ax)
    tidy(ax, "time (s)", "value")


def _legend_below(ax) -> None:
    """A legend in a row, where it hides no data."""
    ax.legend(
        loc="upper center",
        bbox_to_anchor=(0.5, -0.22),
        ncols=len(COLORS),
        frameon=False,
        fontsize=9,
        columnspacing=1.2,
        handlelength=1.4,
    )
