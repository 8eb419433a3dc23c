"""How often neurons fire, as pictures."""

from typing import Any

import keras
import numpy as np

from keras_spiking_nengo.analysis import spikes
from keras_spiking_nengo.analysis.drawing import histograms, new_axes
from keras_spiking_nengo.analysis.recording import record
from keras_spiking_nengo.checks import checked_array, checked_count

__all__ = ["rate_histograms"]


def rate_histograms(
    values: Any, x: Any = None, amplitude: float = 1.0, bins: int = 30, ax=None
):
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
        >>> axes = rate_histograms(np.ones((2, 10, 5)))
        >>> axes.get_xlabel()
        'firing rate (Hz)'
    """
    bins = checked_count("bins", bins)
    if isinstance(values, keras.Model):
        if x is None:
            raise ValueError("The rates of a model depend on data: give x, too.")
        named = {r.name: r.rates for r in record(values, x)[0]}
        if not named:
            raise ValueError(f"{values.name!r} has no spiking layer.")
        return histograms(named, bins, new_axes(ax))
    values = checked_array("values", values, finite=False)
    if x is not None:
        raise ValueError(
            f"x is data for a model; received x={x!r} with an array of values."
        )
    if values.ndim < 3:
        raise ValueError(
            "values: Rates need (batch, time, *features); received an array of shape"
            f" {values.shape}. Add an axis for a batch of one item, as values[None]."
        )
    firing_rates = np.mean(spikes.rates(values, amplitude, axis=1), axis=0)
    return histograms({"": firing_rates.ravel()}, bins, new_axes(ax))
