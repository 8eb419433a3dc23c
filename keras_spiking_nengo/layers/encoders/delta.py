"""Spikes that say how a signal has changed."""

from typing import Any

from keras import ops

from keras_spiking_nengo.checks import checked_number, checked_switch, positive
from keras_spiking_nengo.layers.base import SequenceLayer
from keras_spiking_nengo.layers.encoders.encoder import SLACK, EncoderCell, counted_as
from keras_spiking_nengo.saving import registered

__all__ = ["DeltaEncoder", "DeltaEncoderCell"]


@registered()
class DeltaEncoderCell(EncoderCell):
    """One step of send-on-delta.

    Args:
        **kwargs: the arguments of `DeltaEncoder` that are not those of an RNN layer,
            and those of `keras.layers.Layer`.

    Call arguments:
        inputs: `(batch, *features)`. The signal.
        states: list of one `(batch, *features)` tensor: the level that the spikes sent
            so far add up to.

    Output shape:
        `(batch, *features)`: a whole number of spikes, divided by `dt`, negative where
        the signal falls. With `split=True` the last axis is twice as long.

    Raises:
        ValueError: for arguments that `DeltaEncoder` refuses.

    Example:
        >>> import keras
        >>> layer = keras.layers.RNN(DeltaEncoderCell(0.25))
        >>> float(layer(keras.ops.ones((1, 1, 1)))[0, 0])
        4000.0

    Reference:
        Miskowicz (2006), *Send-on-delta concept: an event-based data reporting
        strategy*, Sensors 6(1).
    """

    state_names = ("level",)
    plain_arguments = ("threshold", "initial_level", "split", "dt")

    def __init__(
        self,
        threshold: float = 0.1,
        initial_level: float = 0.0,
        split: bool = False,
        dt: float = 0.001,
        **kwargs: Any,
    ):
        super().__init__(dt, **kwargs)
        self.threshold = positive(
            "threshold", threshold, advice="It is the change that one spike stands for."
        )
        self.initial_level = checked_number("initial_level", initial_level)
        self.split = checked_switch("split", split)

    @property
    def output_size(self):
        if self._features is None:
            return None
        *lead, last = self.features
        size = (*lead, 2 * last if self.split else last)
        return size[0] if len(size) == 1 else size

    def initial_state(self, batch_size):
        shape = (batch_size, *self.features)
        return [ops.full(shape, self.initial_level, dtype=self.state_dtype)]

    def program(self, training=False):
        def step(p, x, state):
            (level,) = state
            change = (x[0] - level) / self.threshold
            whole = ops.trunc(change + SLACK * ops.sign(change))
            count = counted_as(whole, change, training)
            sent = count
            if self.split:
                # Of the change, whose slope is there without a spike as well; where
                # nothing changes, each has a half of it.
                size = ops.abs(change)
                ways = ops.concatenate([size + change, size - change], axis=-1) / 2
                sent = counted_as(ops.trunc(ways + SLACK), ways, training)
            return sent * self.height, [level + self.threshold * count]

        return step, {}


@registered()
class DeltaEncoder(SequenceLayer):
    """Spikes that say how a signal has changed: send-on-delta.

    A spike is sent for each whole `threshold` by which the signal has moved from the
    level of the last spike, negative where it falls, and moves the level by as much. So
    the level, which `decode` finds from the spikes alone, stays within `threshold` of
    the signal. A fast signal makes several spikes in a step. A change that rounding has
    left up to a thousandth short of a threshold counts as whole.

    In training `trunc` counts as the identity, and spikes as differences of the signal:
    those of a rise as spikes up, and those of a fall as spikes down.

    Args:
        threshold: float > 0. Change of the signal that one spike stands for.
            Defaults to 0.1.
        initial_level: float. Where the level starts. Defaults to 0.
        split: bool. Give spikes up and spikes down as features of their own, both
            positive: the last axis has those up first, and then those down. Defaults
            to False.
        dt: float, seconds. Length of one step. Defaults to 0.001.
        return_sequences, return_state, go_backwards, stateful, unroll,
        zero_output_for_mask: as in `keras.layers.LSTM`; all default to False.
        save_state: bool. Store the current state of a stateful layer with the
            weights. Defaults to False.

    Call arguments:
        sequences: `(batch, time, *features)`. The signal.
        initial_state: list of one tensor, the level, as returned with
            `return_state=True`.
        mask: `(batch, time)` booleans.
        training: bool.

    Output shape:
        `(batch, time, *features)` with `return_sequences=True`, else
        `(batch, *features)`, the last step; the last axis is twice as long with
        `split=True`. With `return_state=True`, the level follows.

    Raises:
        ValueError: for a `threshold` or `dt` that is not positive, a level that is not
            a number, or inputs without a time axis.

    Example:
        >>> import keras
        >>> layer = DeltaEncoder(0.5, return_sequences=True)
        >>> signal = keras.ops.convert_to_tensor([[[0.6], [0.9], [1.7], [0.0]]])
        >>> spikes = layer(signal)
        >>> keras.ops.convert_to_numpy(spikes[0, :, 0]).tolist()
        [1000.0, 0.0, 2000.0, -3000.0]
        >>> keras.ops.convert_to_numpy(layer.decode(spikes)[0, :, 0]).round(3).tolist()
        [0.5, 0.5, 1.5, 0.0]

    Reference:
        Miskowicz (2006), *Send-on-delta concept: an event-based data reporting
        strategy*, Sensors 6(1); Lichtsteiner, Posch and Delbruck (2008), *A 128x128 120
        dB 15 us latency asynchronous temporal contrast vision sensor*, IEEE J.
        Solid-State Circuits 43(2) (the same in a pixel, which `split` follows).
    """

    cell_class = DeltaEncoderCell

    def decode(self, spikes):
        """The level after each step, from the spikes since the start.

        Args:
            spikes: `(batch, time, *features)`, what the layer returns with
                `return_sequences=True`.

        Returns:
            `(batch, time, *features)`, within `threshold` of the signal, in the dtype
            of the level.
        """
        cell = self.cell
        # In half precision the sum of many spikes overflows, or has too few digits.
        count = ops.cast(spikes, cell.state_dtype) / cell.height
        count = counted_as(ops.round(count), count, training=True)
        if cell.split:
            up, down = ops.split(count, 2, axis=-1)
            count = up - down
        return cell.initial_level + cell.threshold * ops.cumsum(count, axis=1)
