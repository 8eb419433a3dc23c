"""How long what neurons send takes back to them: fixed, or trained.

A delay of one step is that of a connection; what is filtered here are the steps beyond.
"""

from typing import Any

import numpy as np
from keras import initializers, ops

from keras_spiking_nengo.budgets import spend
from keras_spiking_nengo.checks import check_fits, checked_array
from keras_spiking_nengo.layers.trained_delays import (
    TrainedDelays,
    checked_longest,
    steps_of_times,
)

__all__ = ["RecurrentDelay"]


class RecurrentDelay:
    """Delays of what each neuron sends, from one step to `longest` steps.

    Args:
        times: seconds, a number or one for each neuron; None for one step, or if
            delays are trained, for a uniform draw.
        most: seconds. The longest delay, if they are trained; None for fixed delays.
        dt: float, seconds.

    Raises:
        ValueError: for times that are no whole steps, or too long.
    """

    def __init__(self, times: Any, most: Any, dt: float):
        self.dt = dt
        self.times: np.ndarray | None = None
        if times is not None:
            advice = "It is the time from a spike to what it adds, one step at least."
            self.times = checked_array("recurrent_delay", times, dt, advice)
        self.longest, self.trained = 1, most is not None
        if most is not None:
            self.longest = checked_longest("max_recurrent_delay", most, dt)
            if self.longest < 2 or (
                self.times is not None and np.max(self.times) > most
            ):
                raise ValueError(
                    "max_recurrent_delay is at least two steps, and no shorter than"
                    f" recurrent_delay; received {most:g} s with"
                    f" recurrent_delay={times!r} and dt={dt:g} s."
                )
        elif self.times is not None:
            self.steps_at_start = steps_of_times("recurrent_delay", self.times, dt)
            self.longest = int(np.max(self.steps_at_start))
        spend(8 * self.longest, f"A recurrent delay of {self.longest} steps")

    @property
    def lasts(self) -> bool:
        """Whether any is longer than one step."""
        return self.longest > 1

    def build(self, cell) -> TrainedDelays | None:
        """Weights of a cell, if delays are trained.

        Raises:
            ValueError: if there is another number of delays than of neurons.
        """
        if self.times is not None:
            check_fits("recurrent_delay", self.times, cell.features)
        if not self.trained:
            return None
        beyond = (self.longest - 1) * self.dt
        start = initializers.RandomUniform(0, beyond, cell.seed)
        if self.times is not None:
            late = np.broadcast_to(self.times - self.dt, cell.features)
            start = lambda shape, dtype=None: ops.cast(late, dtype)  # noqa: E731
        size = cell.features
        return TrainedDelays(
            *(cell, "recurrent_delay", size, self.longest - 1, start, beyond / 2)
        )

    def steps(self, features: tuple[int, ...], trained: TrainedDelays | None):
        """Present delays in steps, an array `(*features)`."""
        if trained is not None:
            return 1 + trained.steps()
        if self.times is None:
            return np.ones(features)
        return np.broadcast_to(self.steps_at_start, features).astype(float)

    def taps(self, features: tuple[int, ...], trained: TrainedDelays | None):
        """A filter for each neuron, `(longest, *features)`, the oldest step first."""
        if trained is not None:
            return trained.taps()
        lags = np.arange(self.longest, 0, -1).reshape(-1, *(1,) * len(features))
        return (lags == self.steps(features, None)).astype("float64")
