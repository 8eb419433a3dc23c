"""Models within a model that a mask keeps in one piece.

What such a model does with its mask is not among the calls of its layers. Tensors bring
it along when these are made one by one.
"""

from dataclasses import replace
from typing import Any

import keras

from keras_spiking_nengo.models.calls import Call, Calls, calls, is_opaque
from keras_spiking_nengo.models.replay import Apply, replay

__all__ = ["calls_within", "replay_within"]


def calls_within(call: Call) -> Calls | None:
    """The calls of a model that a model calls, or None if it is a layer."""
    operation = call.operation
    if not isinstance(operation, keras.Model) or is_opaque(operation):
        return None
    inner = calls(operation)
    names = {one.name: f"{call.name}/{one.name}" for one in inner}
    renamed = tuple(replace(one, name=names[one.name]) for one in inner)
    return replace(inner, calls=renamed)


def replay_within(call: Call, inner: Calls, args: tuple, apply: Apply) -> Any:
    """What the model gives, call by call, in the structure of the call's outputs."""
    outputs = replay(inner, keras.tree.flatten(args), apply)
    return keras.tree.pack_sequence_as(call.outputs, outputs)
