"""What encoders have in common: steps of time, and values presented over time."""

from typing import Any

import keras
from keras import ops

from keras_spiking_nengo.checks import checked_dt
from keras_spiking_nengo.layers.base import Cell, SequenceLayer, Signature
from keras_spiking_nengo.layers.repeat import Repeat

# Part of a step, or of a threshold, that may be missing to a whole one: rounding noise,
# which differs between backends, and between compiled and not.
SLACK = 1e-3


def counted_as(value, smooth, training):
    """`value`, while training with the gradient of `smooth`."""
    value, constant = ops.stop_gradient(value), ops.stop_gradient(smooth)
    # Both terms are 0, or NaN if the input is: the difference but for a rounding, where
    # XLA fuses a product into it.
    return value + (smooth - constant if training else 0 * constant)


class EncoderCell(Cell):
    """What the cells have in common: a step of time, and where the state starts."""

    # Arguments that a file has as they are, in attributes of the same names.
    plain_arguments: tuple[str, ...] = ("dt",)
    sends_spikes = True

    def __init__(self, dt: float, **kwargs: Any):
        super().__init__(**kwargs)
        self.dt = checked_dt(dt)

    @property
    def height(self) -> float:
        """Of a spike, which lasts one step."""
        return 1 / self.dt

    def get_config(self):
        plain = {name: getattr(self, name) for name in self.plain_arguments}
        return {**super().get_config(), **plain}


class Encoder(SequenceLayer):
    """An encoder of sequences or, with `n_steps`, of static values."""

    __signature__ = Signature(n_steps=None)

    def __init__(self, *args, n_steps: int | None = None, **kwargs):
        super().__init__(*args, **kwargs)
        present = None if n_steps is None else Repeat(n_steps)
        # Not an attribute that Keras would track: it has nothing to save.
        object.__setattr__(self, "_present", present)
        self.n_steps = None if present is None else present.n_steps

    def _sequence_shape(self, shape):
        return shape if self._present is None else (shape[0], self.n_steps, *shape[1:])

    def build(self, sequences_shape, initial_state_shape=None):
        if self._present is not None and len(sequences_shape) < 2:
            raise ValueError(
                f"{self.name} presents static values for {self.n_steps} steps, and"
                " needs inputs of shape (batch, *features); received"
                f" {tuple(sequences_shape)}. Add an axis with keras.layers.Reshape."
            )
        super().build(self._sequence_shape(sequences_shape), initial_state_shape)
        if self._present is not None:
            self.input_spec = keras.InputSpec(shape=(None, *self.cell.features))

    def compute_output_shape(self, sequences_shape, initial_state_shape=None):
        return super().compute_output_shape(self._sequence_shape(sequences_shape))

    def compute_output_spec(self, sequences, *args, **kwargs):
        self._check_mask(kwargs.get("mask"))
        shape = self._sequence_shape(tuple(sequences.shape))
        sequences = keras.KerasTensor(shape, dtype=sequences.dtype)
        return super().compute_output_spec(sequences, *args, **kwargs)

    def compute_mask(self, sequences, mask=None):
        return super().compute_mask(sequences, mask if self.n_steps is None else None)

    def call(self, sequences, initial_state=None, mask=None, training=False):
        self._check_mask(mask)
        if self._present is not None:
            sequences = self._present(sequences)
        return super().call(sequences, initial_state, mask, training)

    def _check_mask(self, mask):
        if self._present is not None and mask is not None:
            raise ValueError(
                f"{self.name} presents static values for {self.n_steps} steps, so a"
                " mask has no time axis to act on. Leave the mask out, or give the"
                " encoder a sequence and n_steps=None."
            )

    def get_config(self):
        return {**super().get_config(), "n_steps": self.n_steps}
