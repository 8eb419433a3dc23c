"""A static input, presented for a number of steps."""

import keras
import numpy as np
from keras import ops

__all__ = ["Repeat"]


@keras.saving.register_keras_serializable("keras_spiking_nengo")
class Repeat(keras.layers.Layer):
    """Present a static input for `n_steps` steps of time.

    `keras.layers.RepeatVector` for features of any rank.

    Args:
        n_steps: int >= 1. Number of steps.

    Call arguments:
        inputs: `(batch, *features)`.

    Output shape:
        `(batch, n_steps, *features)`.

    Raises:
        ValueError: if `n_steps` is not a positive integer.

    Example:
        >>> import keras
        >>> Repeat(10)(keras.ops.ones((2, 8, 8))).shape == (2, 10, 8, 8)
        True

    Reference:
        `keras.layers.RepeatVector`, whose outputs these are for features of one axis.
    """

    def __init__(self, n_steps: int, **kwargs):
        super().__init__(**kwargs)
        whole = isinstance(n_steps, int | np.integer) and not isinstance(n_steps, bool)
        if not whole or n_steps < 1:
            raise ValueError(
                f"n_steps is the number of steps, an integer of at least 1; received"
                f" {n_steps!r}."
            )
        self.n_steps = int(n_steps)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.n_steps, *input_shape[1:])

    def call(self, inputs):
        return ops.repeat(ops.expand_dims(inputs, 1), self.n_steps, axis=1)

    def get_config(self):
        return {**super().get_config(), "n_steps": self.n_steps}
