"""One spike, the earlier the larger the value."""

from typing import Any

from keras import ops

from keras_spiking_nengo.checks import is_number, one_of, positive
from keras_spiking_nengo.dynamics.loops import precise
from keras_spiking_nengo.layers.encoders.encoder import (
    SLACK,
    Encoder,
    EncoderCell,
    counted_as,
)
from keras_spiking_nengo.layers.parameters import warn_of_seconds
from keras_spiking_nengo.saving import registered

__all__ = ["LatencyEncoder", "LatencyEncoderCell"]


CODES = ("linear", "logarithmic")


@registered()
class LatencyEncoderCell(EncoderCell):
    """One step of a code in which the time of the only spike tells the value.

    Args:
        **kwargs: the arguments of `LatencyEncoder` that are not those of an RNN layer,
            and those of `keras.layers.Layer`.

    Call arguments:
        inputs: `(batch, *features)`. Values, usually from 0 to 1.
        states: list of one `(batch, *features)` tensor: the number of steps that a
            feature has waited, or -1 once it has fired.

    Output shape:
        `(batch, *features)`: `1 / dt` at the spike, 0 elsewhere.

    Raises:
        ValueError: for arguments that `LatencyEncoder` refuses.

    Example:
        >>> import keras
        >>> cell = LatencyEncoderCell(0.005)
        >>> layer = keras.layers.RNN(cell, return_sequences=True)
        >>> layer(0.4 * keras.ops.ones((1, 4, 1)))[0, :, 0].shape == (4,)
        True

    Reference:
        Hopfield (1995), *Pattern recognition computation using action potential timing
        for stimulus representation*, Nature 376.
    """

    state_names = ("waited",)
    plain_arguments = ("tau", "threshold", "code", "dt")

    def __init__(
        self,
        tau: float = 0.01,
        threshold: float = 0.01,
        code: str = "linear",
        dt: float = 0.001,
        **kwargs: Any,
    ):
        super().__init__(dt, **kwargs)
        self.tau = positive("tau", tau, "s")
        warn_of_seconds(self.dt, tau=self.tau)
        if not is_number(threshold) or not 0 < threshold < 1:
            raise ValueError(
                "threshold is a value between 0 and 1 that never fires, nor does any"
                f" below it; received {threshold!r}."
            )
        self.threshold = float(threshold)
        self.code = one_of("code", code, CODES)

    def latency(self, x):
        """Time in seconds from the start to the spike of a value `x`.

        A value that never fires, at the threshold or below, has that of a value just
        above it.
        """
        x = ops.maximum(x, self.threshold * (1 + 1e-6))
        if self.code == "linear":
            return self.tau * (1 - ops.minimum(x, 1.0))
        return -self.tau * precise("log1p", -self.threshold / x)

    def initial_state(self, batch_size):
        return [ops.zeros((batch_size, *self.features), dtype=self.state_dtype)]

    def _due(self, x, step):
        """Whether the latency is over at a step, and a smooth form of being just so."""
        steps = ops.maximum(self.latency(x) * self.height, 1.0)
        fires = ops.cast(x > self.threshold, x.dtype)
        smooth = fires * ops.relu(1 - ops.abs(steps - step))
        # Where TensorFlow has XLA compile it, the larger of a number and NaN is either.
        smooth = ops.where(ops.isnan(x), x, smooth)
        return ops.logical_and(step >= steps - SLACK, fires > 0), smooth

    def program(self, training=False):
        def step(p, x, state):
            (waited,) = state
            due, smooth = self._due(x[0], ops.stop_gradient(waited) + 1)
            waiting = waited >= 0
            spikes = ops.cast(ops.logical_and(due, waiting), waited.dtype)
            waits_on = ops.logical_and(waiting, ops.logical_not(due))
            smooth = smooth * ops.cast(waiting, smooth.dtype)
            y = counted_as(spikes, smooth, training) * self.height
            return y, [ops.where(waits_on, waited + 1, -1.0)]

        return step, {}

    def sequence(self, inputs, state, training, unroll):
        (waited,) = state
        start = ops.stop_gradient(waited)[:, None]
        steps = start + ops.cumsum(ops.ones_like(inputs), axis=1)
        waiting = ops.cast(start >= 0, inputs.dtype)
        due, smooth = self._due(inputs, steps)
        due = ops.cast(due, inputs.dtype) * waiting
        # How often it has been due before tells whether it still waits.
        before = ops.cumsum(due, axis=1) - due
        waiting = waiting * ops.cast(before == 0, inputs.dtype)
        y = counted_as(due * waiting, smooth * waiting, training) * self.height
        waits_on = waiting[:, -1] * (1 - due[:, -1]) > 0
        return y, [ops.where(waits_on, steps[:, -1], -1.0)]


@registered()
class LatencyEncoder(Encoder):
    """One spike per feature, the earlier the larger the value.

    A value `x` fires in the first step `n` with `n * dt >= t(x)`, where

    - `code="linear"`: `t = tau * (1 - x)`, and 0 for values above 1;
    - `code="logarithmic"`: `t = tau * ln(x / (x - threshold))`, the time in which a
      membrane with time constant `tau`, driven by `x`, reaches `threshold`. It has no
      bound: of values just above the threshold the spike may come too late to be seen.

    Values up to `threshold` do not fire. In a sequence the present value counts: a
    feature fires once, at the first step that has its latency behind it. In training a
    spike counts as spread linearly over the two steps next to its time.

    Args:
        tau: float > 0, seconds. As in the formulas. Defaults to 0.01.
        threshold: float between 0 and 1. Defaults to 0.01.
        code: `"linear"` (default) or `"logarithmic"`.
        dt: float, seconds. Length of one step. Defaults to 0.001.
        n_steps: int. Number of steps for which static values are presented, as by
            `Repeat`. Defaults to None: the input is a sequence.
        return_sequences, return_state, go_backwards, stateful, unroll,
        zero_output_for_mask: as in `keras.layers.LSTM`; all default to False. A
            `stateful` layer that has fired does so again after `reset_state()` only.
        save_state: bool. Store the current state of a stateful layer with the
            weights. Defaults to False.

    Call arguments:
        sequences: `(batch, time, *features)`, or `(batch, *features)` with `n_steps`.
            Values, usually from 0 to 1.
        initial_state: list of states, as returned with `return_state=True`.
        mask: `(batch, time)` booleans.
        training: bool.

    Output shape:
        `(batch, time, *features)` with `return_sequences=True`, else
        `(batch, *features)`, the last step. With `return_state=True`, the
        states follow.

    Raises:
        ValueError: for a `tau` or `dt` that is not positive, a `threshold` outside
            (0, 1), another code or number of steps, inputs without a time axis, or a
            mask together with `n_steps`.

    Example:
        >>> import keras
        >>> layer = LatencyEncoder(0.004, n_steps=4, return_sequences=True)
        >>> spikes = layer(keras.ops.convert_to_tensor([[1.0, 0.5, 0.25]]))
        >>> keras.ops.convert_to_numpy(keras.ops.argmax(spikes, axis=1)).tolist()
        [[0, 1, 2]]

    Reference:
        Hopfield (1995), *Pattern recognition computation using action potential timing
        for stimulus representation*, Nature 376; Gerstner and Kistler (2002), *Spiking
        Neuron Models*, Cambridge University Press, section 4.1 (the time to reach the
        threshold).
    """

    cell_class = LatencyEncoderCell
