"""What weights are held to while they are trained."""

from collections.abc import Sequence

import keras
from keras import ops

from keras_spiking_nengo.checks import is_whole
from keras_spiking_nengo.saving import registered

__all__ = ["Mean"]


@registered()
class Mean(keras.constraints.Constraint):
    """Holds all elements of a weight to their mean, so that they are one parameter.

    After each update every element is the mean along `axis`. A weight with one value
    per unit is so shared between units, and still has its shape: useful for layers that
    have no shared kind of it. (`ksn.layers` do: `trainable_parameters=("tau_rc",)`.)

    Args:
        axis: int or tuple of ints, the axes along which elements become equal.
            Defaults to None, all of them.

    Call arguments:
        w: tensor of any shape that has these axes.

    Output shape:
        That of `w`.

    Raises:
        ValueError: if `axis` is neither.

    Example:
        >>> import keras
        >>> w = Mean(axis=0)(keras.ops.array([[1.0, 5.0], [3.0, 7.0]]))
        >>> keras.ops.convert_to_numpy(w).tolist()
        [[2.0, 6.0], [2.0, 6.0]]
        >>> layer = keras.layers.Dense(3, bias_constraint=Mean())  # one bias for all

    Reference:
        Goodfellow, Bengio and Courville (2016), *Deep learning*, MIT Press, section 7.9
        (parameters that are shared).
    """

    def __init__(self, axis: int | Sequence[int] | None = None):
        axes = axis if isinstance(axis, list | tuple) else [axis]
        if axis is not None and not (axes and all(map(is_whole, axes))):
            raise ValueError(
                f"axis is an integer, a tuple of them, or None; received {axis!r}."
            )
        self.axis = tuple(axis) if isinstance(axis, list | tuple) else axis

    def __call__(self, w):
        w = ops.convert_to_tensor(w)
        return ops.broadcast_to(ops.mean(w, axis=self.axis, keepdims=True), w.shape)

    def get_config(self):
        return {"axis": self.axis}
