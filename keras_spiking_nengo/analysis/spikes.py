"""Statistics of spikes, as pure functions of NumPy arrays.

A spike is `height` high and one step long; with Nengo's neurons `height` is
`amplitude / dt`, so that the mean of spikes over time is `amplitude` times their rate.
A value of `k * height` is `k` spikes in one step.
"""

from typing import Any

import numpy as np

from keras_spiking_nengo.checks import checked_array, is_whole, positive

__all__ = ["common_height", "count", "rates", "sparsity"]

# Rounding by which a spike may differ from its height: bfloat16 has two digits.
_CLOSE = 1e-2


def count(values: Any, height: Any) -> np.ndarray:
    """Number of spikes in each element, up or down.

    Args:
        values: array of activity.
        height: of a spike, a number or an array that broadcasts; 0 where values are
            no spikes, which counts as none.

    Raises:
        ValueError: if values are no multiples of the height, or not finite.

    Example:
        >>> count([0.0, 1000.0, -2000.0], 1000.0).tolist()
        [0.0, 1.0, 2.0]
    """
    values = np.abs(checked_array("values", values, finite=False))
    height = checked_array("height", height)
    try:
        np.broadcast_shapes(values.shape, height.shape)
    except ValueError as error:
        raise ValueError(
            f"height is a number, or an array for values of shape {values.shape};"
            f" received one of shape {height.shape}."
        ) from error
    exact = np.where(height > 0, values / np.where(height > 0, height, 1.0), 0.0)
    number = np.rint(exact)
    with np.errstate(invalid="ignore"):  # infinity less infinity
        off = np.abs(exact - number)
    if not np.all(off <= _CLOSE * np.maximum(number, 1)):
        worst = values.flat[np.argmax(off)]  # the first that is not a number, if any
        raise ValueError(
            f"values: Spikes are multiples of their height, {np.max(height):g};"
            f" received a value of {worst:g}. Pass the activity of a spiking neuron"
            " type, and its amplitude / dt."
        )
    return number


def common_height(values: Any) -> float | None:
    """The one magnitude of all values that are not 0, or None.

    Such values are spikes: all that they say is where and with which sign.

    Example:
        >>> common_height([0.0, 1000.0, -1000.0])
        1000.0
        >>> common_height([0.5, 1.0]) is None
        True
    """
    magnitude = np.abs(checked_array("values", values, finite=False))
    highest = float(np.max(magnitude, initial=0.0))
    if not 0 < highest < np.inf:
        return None
    lowest = float(np.min(np.where(magnitude > 0, magnitude, highest)))
    return highest if lowest >= highest * (1 - 1e-6) else None


def rates(values: Any, amplitude: float = 1.0, axis: int = 0) -> np.ndarray:
    """Firing rates in Hz, from activity whose spikes are `amplitude / dt` high.

    Args:
        values: array of activity.
        amplitude: of the neuron type.
        axis: of time, which is averaged over.

    Example:
        >>> rates([[0.0, 1000.0], [0.0, 0.0]]).tolist()
        [0.0, 500.0]
    """
    values = checked_array("values", values, finite=False)
    amplitude = positive("amplitude", amplitude)
    if not is_whole(axis) or not -values.ndim <= axis < values.ndim:
        raise ValueError(
            f"axis is one of the {values.ndim} axes of values, from 0 on; received"
            f" axis={axis!r}, and values of shape {values.shape}."
        )
    return np.mean(values, axis=axis) / amplitude


def sparsity(values: Any) -> float:
    """Share of values that are 0.

    Example:
        >>> sparsity([0.0, 1.0, 0.0, 0.0])
        0.75
    """
    values = checked_array("values", values, finite=False)
    return float(np.mean(values == 0)) if values.size else 0.0
