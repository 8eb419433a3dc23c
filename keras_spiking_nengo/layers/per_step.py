"""Any layer on each step of a sequence."""

from typing import Any

import keras
from keras import ops

from keras_spiking_nengo.budgets import build_held
from keras_spiking_nengo.checks import check_float, check_kind
from keras_spiking_nengo.layers.wrapping import Wrapping
from keras_spiking_nengo.saving import registered

__all__ = ["PerStep"]


@registered()
class PerStep(Wrapping, keras.layers.TimeDistributed):
    """Apply a layer to all steps of time at once.

    As `keras.layers.TimeDistributed`, of which it is a kind, and which runs step
    after step: here steps are more items of the batch. The layer may also take a list
    of inputs.

    Args:
        layer: `keras.layers.Layer` that takes `(batch, *features)`.

    Call arguments:
        inputs: `(batch, time, *features)`, or a list of such tensors.
        training: bool.

    Output shape:
        `(batch, time, *features)`.

    Raises:
        TypeError: if `layer` is no layer.
        ValueError: if an input has no axis of time.

    Example:
        >>> import keras
        >>> frames = keras.ops.ones((2, 30, 8, 8, 3))
        >>> PerStep(keras.layers.Conv2D(4, 3))(frames).shape == (2, 30, 6, 6, 4)
        True

    Reference:
        `keras.layers.TimeDistributed`, whose outputs these are.
    """

    def __init__(self, layer: keras.Layer, **kwargs: Any):
        check_kind("layer", layer, keras.Layer, "a layer that is run on each step")
        super().__init__(layer, **kwargs)

    def build(self, input_shape):
        build_held(self.layer, _per_item(input_shape, _without_time))
        self.built = True

    def compute_output_shape(self, input_shape):
        first = input_shape if isinstance(input_shape, tuple) else input_shape[0]
        shape = self.layer.compute_output_shape(_per_item(input_shape, _without_time))
        return (*first[:2], *shape[1:])

    def call(self, inputs, training=None, mask=None):
        first = inputs[0] if isinstance(inputs, list | tuple) else inputs
        lead = ops.shape(first)[:2]
        for x in keras.tree.flatten(inputs):
            check_float("inputs", x.dtype, "Give the parts as features.")
        items = keras.tree.map_structure(_as_items, inputs)
        result = self.layer(items)
        return ops.reshape(result, (*lead, *result.shape[1:]))


def _as_items(x):
    return ops.reshape(x, (-1, *x.shape[2:]))


def _per_item(shapes, function):
    # From files, one shape is a list as well.
    if not any(isinstance(shape, list | tuple) for shape in shapes):
        return function(tuple(shapes))
    return [function(tuple(shape)) for shape in shapes]


def _without_time(shape):
    if len(shape) < 2:
        raise ValueError(
            f"PerStep needs inputs (batch, time, *features); received {shape}. Present"
            " a static input with ksn.layers.Repeat(n_steps)."
        )
    return (shape[0], *shape[2:])
