"""What all pictures have in common: figures, axes, colours, marks for spikes."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_spiking_nengo.checks import checked_array, checked_dt

__all__ = ["COLORS", "histograms", "new_axes", "new_figure", "raster", "tidy"]

# Of Okabe and Ito, in an order of their own.
COLORS = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#000000",
)


def new_figure(width: float = 6.4, height: float = 3.8):
    """A figure of so many inches, which nothing else knows of."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "ksn.analysis.plots draws with matplotlib, which is not installed. Run"
            " pip install keras-spiking-nengo[plots]."
        ) from error
    return Figure(figsize=(width, height), layout="constrained")


def new_axes(ax):
    """Axes that were given, or those of a new figure."""
    if ax is not None and not hasattr(ax, "plot"):
        raise TypeError(f"ax is matplotlib axes, or None; received {ax!r}.")
    return new_figure().subplots() if ax is None else ax


def tidy(ax, xlabel: str, ylabel: str, grid: str = "both"):
    """The axes, with labels, and with lines behind the data along `grid`."""
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    ax.spines[["top", "right"]].set_visible(False)
    if grid:
        ax.grid(axis=grid, color="#DDDDDD", linewidth=0.6)
    ax.set_axisbelow(True)
    return ax


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
    values, dt = checked_array("values", values, finite=False), checked_dt(dt)
    if values.ndim < 2:
        raise ValueError(
            "values: A raster needs (time, *features) of one item of a batch; received"
            f" an array of shape {values.shape}. Pass spikes[0] of (batch, time,"
            " *features)."
        )
    ax = new_axes(ax)
    flat = values.reshape(len(values), -1)
    size = float(np.clip(180 / max(flat.shape[1], 1), 1.5, 20))
    style: dict[str, Any] = {"linestyle": "none", "marker": "|", "markersize": size}
    for sign, color, label in ((1, COLORS[0], "up"), (-1, COLORS[1], "down")):
        step, unit = np.nonzero(sign * flat > 0)
        ax.plot((step + 1) * dt, unit, color=color, label=label, **style)
    if np.any(flat < 0):
        ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False)
    ax.set_xlim(0, (len(flat) + 1) * dt)
    ax.set_ylim(-0.75, flat.shape[1] - 0.25)
    ax.yaxis.get_major_locator().set_params(integer=True)
    return tidy(ax, "time (s)", "neuron", grid="")


def histograms(named: Mapping[str, np.ndarray], bins: int, ax):
    """Firing rates by name, over the same bars."""
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
    ax.legend(edgecolor="none", framealpha=0.9)  # over the lines of the means
    ax.yaxis.get_major_locator().set_params(integer=True)
    return tidy(ax, "firing rate (Hz)", "neurons", grid="y")
