"""The calls of a model made once more, with something to see or to change at each.

`replay` is plain Python over any values: tensors, symbols, or what stands for them.
`Replay` is a `keras.Model` which gives what some of the calls send, to be compiled and
run as others are.
"""

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from keras_spiking_nengo.models.calls import Call, Calls
from keras_spiking_nengo.models.time import runs

__all__ = ["Replay", "called", "replay"]

Apply = Callable[[Call, tuple, dict], Any]
Send = Callable[[str, Any], Any]


def called(call: Call, args: tuple, kwargs: dict) -> Any:
    """What a call gives for other values, as in the model itself.

    Args:
        call: the call.
        args, kwargs: structures as those of the call, with tensors for symbols.
    """
    n_axes = call.n_folded
    if not n_axes:
        return _as_noted(call, call.called(*args, **kwargs))
    tensors = [x for x in keras.tree.flatten((args, kwargs)) if ops.is_tensor(x)]
    axes = ops.shape(tensors[0])[: 1 + n_axes]

    def fold(x):
        return ops.reshape(x, (-1, *x.shape[1 + n_axes :])) if ops.is_tensor(x) else x

    args, kwargs = keras.tree.map_structure(fold, (args, kwargs))
    outputs = keras.tree.map_structure(
        lambda x: ops.reshape(x, (*axes, *x.shape[1:])), call.called(*args, **kwargs)
    )
    return _as_noted(call, outputs)


def _as_noted(call: Call, outputs: Any) -> Any:
    """Tensors as the symbols are nested: Keras gives states of cells cell by cell."""
    return keras.tree.pack_sequence_as(call.outputs, keras.tree.flatten(outputs))


def replay(calls: Calls, inputs: Sequence, apply: Apply = called) -> list:
    """The model's outputs, call by call.

    Args:
        calls: of the model.
        inputs: one value for each of its inputs, in order; any objects.
        apply: `(call, args, kwargs) -> outputs`, with values in the place of symbols,
            for each call.

    Returns:
        A value for each output, in order.

    Example:
        >>> from keras_spiking_nengo.models.calls import calls
        >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Rescaling(3)])
        >>> (y,) = replay(calls(model), [keras.ops.ones((1, 1))])
        >>> float(y[0, 0])
        3.0
    """
    symbols = calls.inputs.values()
    values = {id(x): value for x, value in zip(symbols, inputs, strict=True)}

    def value_of(leaf):
        return values[id(leaf)] if isinstance(leaf, keras.KerasTensor) else leaf

    def note(symbol, value):
        values[id(symbol)] = value

    for call in calls:
        args, kwargs = keras.tree.map_structure(value_of, (call.args, call.kwargs))
        outputs = apply(call, args, kwargs)
        # A value may be a structure itself.
        keras.tree.map_structure_up_to(call.outputs, note, call.outputs, outputs)
        for key in calls.last_uses.get(call.name, ()):
            del values[key]
    return [values[id(symbol)] for symbol in calls.outputs.values()]


def _as_sent(name: str, value: Any) -> Any:
    return value


class Replay(keras.Model):
    """The calls of a model once more, which gives what some of them send.

    It holds the layers themselves; a model made of their symbolic outputs would
    leave traces in them.

    Args:
        calls: of the model.
        names: of the calls to see: their first outputs. What runs over time is seen at
            all steps.
        send: `(name, value) -> value`, tensors or structures of them, to give.
        **kwargs: those of `keras.Model`.

    Call arguments:
        inputs: a tensor for each input of the model, or a list of them.

    Output shape:
        A dict of what is sent, by the names of the calls.

    Example:
        >>> from keras_spiking_nengo.models.calls import calls
        >>> layers = [keras.layers.Rescaling(3, name="a"), keras.layers.Dense(1)]
        >>> model = keras.Sequential([keras.Input((1,)), *layers])
        >>> sent = Replay(calls(model), ["a"])(keras.ops.ones((1, 1)))
        >>> float(sent["a"][0, 0])
        3.0
    """

    def __init__(
        self, calls: Calls, names: Sequence[str], send: Send = _as_sent, **kwargs: Any
    ):
        super().__init__(**kwargs)
        self._calls = [calls]  # Keras would look for layers in it
        self._names = tuple(names)
        self._send = send
        self._twins = {
            name: _sequences(calls[name].operation)
            for name in names
            if runs(calls[name].operation) and not calls[name].per_step
        }

    def call(self, inputs):
        (calls,) = self._calls
        sent = {}

        def apply(call, args, kwargs):
            if call.name in self._twins:
                steps = self._twins[call.name](*args, **kwargs)
                sent[call.name] = _first(steps)
                steps = _as_noted(call, steps)
                return steps if call.operation.return_sequences else _last_step(steps)
            outputs = called(call, args, kwargs)
            if call.name in self._names:
                sent[call.name] = _first(outputs)
            return outputs

        replay(calls, inputs if isinstance(inputs, list | tuple) else [inputs], apply)
        return {name: self._send(name, sent[name]) for name in self._names}


def _first(outputs) -> Any:
    return keras.tree.flatten(outputs)[0]


def _last_step(outputs) -> Any:
    """The last step of what a layer gives, and its states if it gives them."""
    if isinstance(outputs, list | tuple):
        return type(outputs)([outputs[0][:, -1], *outputs[1:]])
    return outputs[:, -1]


def _sequences(layer) -> keras.layers.Layer:
    """The layer, or one with the same cell that gives all steps."""
    if layer.return_sequences:
        return layer
    twin = type(layer).from_config({**layer.get_config(), "return_sequences": True})
    twin.cell = layer.cell
    return twin
