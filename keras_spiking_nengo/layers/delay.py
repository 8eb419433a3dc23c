"""Signals as they were some time ago."""

from typing import Any

import numpy as np
from keras import ops

from keras_spiking_nengo.budgets import spend
from keras_spiking_nengo.checks import check_fits, checked_array, checked_dt
from keras_spiking_nengo.layers.base import Cell, SequenceLayer
from keras_spiking_nengo.layers.parameters import warn_of_seconds
from keras_spiking_nengo.saving import registered

__all__ = ["Delay", "DelayCell"]


@registered()
class DelayCell(Cell):
    """One step of a delay.

    Args:
        **kwargs: the arguments of `Delay` that are not those of an RNN layer, and
            those of `keras.layers.Layer`.

    Call arguments:
        inputs: `(batch, *features)`.
        states: list of one `(batch, steps, *features)` tensor, the last inputs, with
            the oldest first; empty where nothing is delayed.

    Output shape:
        `(batch, *features)`.

    Raises:
        ValueError: for arguments that `Delay` refuses.

    Example:
        >>> import keras
        >>> layer = keras.layers.RNN(DelayCell(0.003), return_sequences=True)
        >>> float(layer(keras.ops.ones((1, 5, 1)))[0, 2, 0])
        0.0

    Reference:
        Pedersen et al. (2024), *Neuromorphic intermediate representation: a unified
        instruction set for interoperable brain-inspired computing*, Nature
        Communications 15 (the primitive `Delay`).
    """

    def __init__(self, delay: Any = 0.001, dt: float = 0.001, **kwargs: Any):
        super().__init__(**kwargs)
        self.dt = checked_dt(dt)
        self.delay = checked_array(
            "delay", delay, 0, "It is a time in seconds, in the shape of the features."
        )
        warn_of_seconds(self.dt, delay=self.delay)
        steps = self.delay / self.dt
        self.steps = np.rint(steps).astype(int)
        if not np.allclose(steps, self.steps, rtol=1e-6, atol=1e-6):
            raise ValueError(
                "delay is a whole number of steps, in seconds; received"
                f" {delay!r} with dt={self.dt:g} s. Round it to multiples of dt."
            )
        spend(8 * self.longest, f"A delay of {self.longest} steps")
        self.state_names = ("past",) if self.longest else ()

    @property
    def longest(self) -> int:
        """Steps of the longest delay."""
        return int(np.max(self.steps))

    def build(self, input_shape):
        super().build(input_shape)
        check_fits("delay", self.delay, self.features)

    def state_shapes(self):
        return [(self.longest, *self.features)] * len(self.state_names)

    def initial_state(self, batch_size):
        return [
            ops.zeros((batch_size, *shape), dtype=self.state_dtype)
            for shape in self.state_shapes()
        ]

    def _delayed(self, past, n_steps: int):
        """The last steps of what is delayed, from all inputs, `longest` of them old."""
        y = None
        for kind in np.unique(self.steps):
            start = self.longest - kind
            shifted = past[:, start : start + n_steps]
            chosen = np.broadcast_to(self.steps == kind, self.features)
            y = shifted if y is None else ops.where(chosen, shifted, y)
        return y

    def program(self, training=False):
        def step(p, x, state):
            if not state:
                return x[0], state
            past = ops.concatenate([state[0], x[0][:, None]], axis=1)
            return self._delayed(past, 1)[:, 0], [past[:, 1:]]

        return step, {}

    def sequence(self, inputs, state, training, unroll):
        if not state or inputs.shape[1] is None or unroll:
            return super().sequence(inputs, state, training, unroll)
        past, n_steps = ops.concatenate([state[0], inputs], axis=1), inputs.shape[1]
        return self._delayed(past, n_steps), [past[:, n_steps:]]

    def get_config(self):
        return {**super().get_config(), "delay": self.delay.tolist(), "dt": self.dt}


@registered()
class Delay(SequenceLayer):
    """A delay of every feature, `y(t) = x(t - delay)`; zeros come before the start.

    Args:
        delay: seconds, or array with the shape of the features; whole steps.
            Defaults to 0.001.
        dt: float, seconds. Length of one step. Defaults to 0.001.
        return_sequences, return_state, go_backwards, stateful, unroll,
        zero_output_for_mask: as in `keras.layers.LSTM`; all default to False.
        save_state: bool. Store the current state of a stateful layer with the
            weights. Defaults to False.

    Call arguments:
        sequences: `(batch, time, *features)`.
        initial_state: list of one tensor, the last inputs, as returned with
            `return_state=True`.
        mask: `(batch, time)` booleans.

    Output shape:
        `(batch, time, *features)` with `return_sequences=True`, else
        `(batch, *features)`, the last step. With `return_state=True`, the
        last inputs follow, `(batch, steps, *features)`.

    Raises:
        ValueError: for a delay that is negative or no whole number of steps, a `dt`
            that is not positive, or an array that does not fit the features.

    Example:
        >>> import keras
        >>> layer = Delay([0.001, 0.003], return_sequences=True)
        >>> y = layer(keras.ops.ones((1, 4, 2)))
        >>> keras.ops.convert_to_numpy(y[0, :, 1]).tolist()
        [0.0, 0.0, 0.0, 1.0]

    Reference:
        Pedersen et al. (2024), *Neuromorphic intermediate representation: a unified
        instruction set for interoperable brain-inspired computing*, Nature
        Communications 15 (the primitive `Delay`).
    """

    cell_class = DelayCell
