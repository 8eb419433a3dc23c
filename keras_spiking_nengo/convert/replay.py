"""The calls of a Keras model made once more, to see what is inside."""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from keras_spiking_nengo.convert.calls import Call, Calls

__all__ = ["Replay", "applied", "outputs_of"]

Seen = Callable[[str, Any], Any]


def _as_sent(name: str, value: Any) -> Any:
    return value


class Replay(keras.Model):
    """The calls of a model once more, which gives what some of them send.

    It holds the layers themselves; a model made of their symbolic outputs would
    leave traces in them.

    Args:
        found: the calls.
        names: of the calls to see. What runs over time is seen at all steps.
        seen: `(name, value) -> value`, tensors or structures of them, to give.
        **kwargs: those of `keras.Model`.
    """

    def __init__(
        self, found: Calls, names: tuple[str, ...], seen: Seen = _as_sent, **kwargs
    ):
        super().__init__(**kwargs)
        self._found = [found]  # Keras would look for layers in it
        self._names = tuple(names)
        self._seen = seen
        self._runs = {
            name: _sequences(found[name].layer)
            for name in names
            if hasattr(found[name].layer, "return_sequences")
        }

    def call(self, inputs):
        (found,) = self._found
        inputs = inputs if isinstance(inputs, list | tuple) else [inputs]
        values = dict(zip(found.inputs.values(), inputs, strict=True))
        sent = dict(values)
        for call in found:
            if call.name in values:
                continue
            sources = [values[name] for name in call.sources]
            if call.name in self._runs:
                sent[call.name] = self._runs[call.name](sources[0])
                last = not call.layer.return_sequences
                values[call.name] = sent[call.name][:, -1] if last else sent[call.name]
            else:
                values[call.name] = sent[call.name] = _value(call, sources)
        return {name: self._seen(name, sent[name]) for name in self._names}


def _value(call: Call, sources: list):
    if call.port is not None:
        return sources[0][call.port]
    if call.hosted:
        return [applied(call.layer, sources, call.per_step)]
    if call.enters:
        return outputs_of(call.layer, sources)
    return applied(call.layer, sources, call.per_step)


def _sequences(layer):
    """The layer, or one with the same cell that gives all steps."""
    if layer.return_sequences:
        return layer
    twin = type(layer).from_config({**layer.get_config(), "return_sequences": True})
    twin.cell = layer.cell
    return twin


def outputs_of(layer, sources: list) -> list:
    """Outputs of a layer with several, from its inputs in the order of its rule."""
    ports = getattr(layer.cell, "ports", None)
    structure = None if ports is None else ports.inputs
    given: Any = sources
    if isinstance(structure, dict):
        given = dict(zip(structure, sources, strict=True))
    elif not isinstance(structure, list):
        (given,) = sources
    return keras.tree.flatten(layer(given))


def applied(layer, sources: list, per_step: bool = False):
    """Output of a layer; `per_step` folds the steps into the batch."""
    if not per_step:
        return layer(sources[0] if len(sources) == 1 else sources)
    shape = ops.shape(sources[0])[:2]
    folded = [ops.reshape(source, (-1, *source.shape[2:])) for source in sources]
    result = layer(folded[0] if len(folded) == 1 else folded)
    return ops.reshape(result, (*shape, *result.shape[1:]))
