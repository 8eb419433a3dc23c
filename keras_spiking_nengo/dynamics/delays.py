"""Delays that can be trained: each is a Gaussian over whole steps, which narrows.

A delay of `d` steps is the filter with the taps

    w[k] = exp(-(k - d)^2 / (2 sigma^2)) / sum_j exp(-(j - d)^2 / (2 sigma^2))

for k from 0 to the longest delay. They have a gradient for `d` as long as `sigma` is
not far below a step. With a `sigma` of 0 the delay is the nearest whole step,
and without a gradient.
"""

import numpy as np
from keras import ops

__all__ = ["correlate", "correlate_all", "taps"]

# In steps: all other taps are 0 in double precision, too.
_NARROWEST = 0.02


def taps(steps, sigma, longest: int):
    """Filters of delays, the oldest step first.

    Args:
        steps: tensor, delays in steps.
        sigma: scalar tensor, in steps.
        longest: the longest delay, in steps.

    Returns:
        `(longest + 1, *shape of steps)`.

    Example:
        >>> import keras
        >>> w = taps(keras.ops.array([1.0]), keras.ops.array(0.0), 2)
        >>> keras.ops.convert_to_numpy(w[:, 0]).tolist()
        [0.0, 1.0, 0.0]
    """
    steps = ops.where(sigma > 0, steps, ops.round(steps))
    lags = np.arange(longest, -1, -1).reshape(-1, *(1,) * len(steps.shape))
    distance = (ops.cast(lags, steps.dtype) - steps) / ops.maximum(sigma, _NARROWEST)
    return ops.softmax(-0.5 * ops.square(distance), axis=0)


def correlate(x, filters):
    """Each element of `x` through a filter of its own.

    Args:
        x: `(batch, longest + time, size)`, earlier inputs first.
        filters: `(longest + 1, size)`, the oldest step first.

    Returns:
        `(batch, time, size)`.
    """
    return ops.depthwise_conv(x, filters[..., None], 1, "valid", "channels_last")


def correlate_all(x, filters):
    """Each element of `x` to each of the output, through a filter of their own.

    Args:
        x: `(batch, longest + time, size)`, earlier inputs first.
        filters: `(longest + 1, size, units)`, the oldest step first.

    Returns:
        `(batch, time, units)`.
    """
    return ops.conv(x, filters, 1, "valid", "channels_last")
