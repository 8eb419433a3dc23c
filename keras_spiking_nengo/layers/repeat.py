"""A static input, presented for a number of steps."""

import keras
from keras import ops

from keras_spiking_nengo.budgets import Bounded
from keras_spiking_nengo.checks import check_float, checked_count
from keras_spiking_nengo.saving import registered

__all__ = ["Repeat"]


@registered()
class Repeat(Bounded, keras.layers.Layer):
    """Present a static input for `n_steps` steps of time.

    `keras.layers.RepeatVector` for features of any rank. What follows gets a sequence:
    `Dense`, activations and the layers of this package act on every step of it, and
    layers of images, such as `Conv2D`, `MaxPooling2D` and `Flatten`, go into
    `ksn.layers.PerStep(keras.layers.Conv2D(...))`. It costs less to have them before
    `Repeat`, where they see each image once.

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
        >>> from keras_spiking_nengo.layers import PerStep
        >>> frames = Repeat(10)(keras.ops.ones((2, 8, 8, 1)))
        >>> PerStep(keras.layers.Conv2D(4, 3))(frames).shape == (2, 10, 6, 6, 4)
        True

    Reference:
        `keras.layers.RepeatVector`, whose outputs these are for features of one axis.
    """

    def __init__(self, n_steps: int, **kwargs):
        super().__init__(**kwargs)
        self.n_steps = checked_count("n_steps", n_steps)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.n_steps, *input_shape[1:])

    def call(self, inputs):
        check_float("inputs", inputs.dtype, "Give the parts as features.")
        return ops.repeat(ops.expand_dims(inputs, 1), self.n_steps, axis=1)

    def get_config(self):
        return {**super().get_config(), "n_steps": self.n_steps}
