"""Delays of a cell as weights, which narrow while they are trained."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_spiking_nengo.checks import checked_dt, positive
from keras_spiking_nengo.dynamics import delays
from keras_spiking_nengo.layers.parameters import Within, weight_from

__all__ = ["TrainedDelays", "checked_longest", "steps_of_times"]


def checked_longest(name: str, longest: Any, dt: float) -> int:
    """The steps of the longest delay, of at least one.

    Raises:
        ValueError: unless it is seconds above 0, in whole steps.
    """
    longest = positive(name, longest, "s", "It is the longest delay.")
    return int(steps_of_times(name, np.asarray(longest), dt))


def steps_of_times(name: str, times: np.ndarray, dt: float) -> np.ndarray:
    """Times in seconds as whole steps.

    Raises:
        ValueError: if they are none.
    """
    steps = times / checked_dt(dt)
    whole = np.rint(steps)
    if not np.allclose(steps, whole, rtol=1e-6, atol=1e-6) or (
        np.any((whole == 0) & (times > 0))
    ):
        raise ValueError(
            f"{name} is a whole number of steps, in seconds; received {times.tolist()}"
            f" with dt={dt:g} s. Round it to multiples of dt."
        )
    return whole.astype(int)


class TrainedDelays:
    """Delays of `cell`, of 0 to `longest` steps, and how wide they are.

    What is trained is the share of the longest delay, which is of the size that
    optimizers are made for; a constraint holds it between 0 and 1. The width `sigma`,
    in seconds, is a weight that is not trained; with 0 the delays are rounded.

    Args:
        cell: the built cell that owns the weights, with `dt` and `state_dtype`.
        name: of the delays; `<name>_share` and `<name>_sigma` are the weights.
        shape: of the delays.
        longest: the longest delay, in steps.
        initializer: `keras.initializers.Initializer` of seconds; None for a uniform
            draw from 0 to the longest delay.
        sigma: seconds to start from.
        regularizer: of the share, or None.
    """

    def __init__(
        self,
        cell,
        name: str,
        shape: tuple[int, ...],
        longest: int,
        initializer: Callable | None,
        sigma: float,
        regularizer: keras.regularizers.Regularizer | None = None,
    ):
        self.dt, self.longest = cell.dt, longest
        seconds = longest * self.dt
        draw = initializer or keras.initializers.RandomUniform(0, seconds)

        def share(shape, dtype=None):
            return ops.clip(draw(shape, dtype=dtype) / seconds, 0, 1)

        self.share = cell.add_weight(
            name=f"{name}_share",
            shape=shape,
            dtype=cell.state_dtype,
            initializer=share,
            regularizer=regularizer,
            constraint=Within(0.0, 1.0),
            autocast=False,
        )
        self.sigma = weight_from(cell, f"{name}_sigma", sigma, cell.state_dtype)

    @property
    def rounded(self) -> bool:
        """Whether the delays are whole steps."""
        return float(ops.convert_to_numpy(self.sigma)) == 0

    def steps(self) -> np.ndarray:
        """Present delays in steps; once they are rounded, in whole steps."""
        steps = self.longest * ops.convert_to_numpy(self.share).astype(float)
        return np.rint(steps) if self.rounded else steps

    def taps(self):
        """A filter for each delay, `(longest + 1, *shape)`, the oldest step first."""
        steps = self.longest * ops.convert_to_tensor(self.share)
        sigma = ops.convert_to_tensor(self.sigma) / self.dt
        return delays.taps(steps, sigma, self.longest)

    def narrow(self, sigma: float) -> None:
        """Sets the width, in seconds."""
        self.sigma.assign(sigma)

    def round(self) -> None:
        """Makes the delays whole steps, which are not trained any more."""
        self.narrow(0.0)
        self.share.assign(self.steps() / self.longest)
