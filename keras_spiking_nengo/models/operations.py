"""Operations of functional models, such as `a + b`, which Keras keeps beside layers.

Here the call of an operation, or of a layer of several arguments, is taken for a layer
of the tensors that it is called with; what else it is called with are its constants.
"""

from dataclasses import dataclass
from typing import Any

import keras

from keras_spiking_nengo.budgets import Bounded
from keras_spiking_nengo.models.calls import Call, Symbol, symbols_in
from keras_spiking_nengo.saving import registered

__all__ = ["OperationLayer", "Slot"]


@dataclass(frozen=True)
class Slot:
    """Stands for a tensor among the arguments, by its number."""

    number: int


@registered("Operation")
class OperationLayer(Bounded, keras.layers.Layer):
    """An operation of `keras.ops`, or a layer of several arguments, as a layer.

    Args:
        operation: what Keras holds, or how Keras writes it down.
        arguments: what it is called with, as the configuration of a functional model
            has it: `args` and `kwargs`, with a `keras_history` for each tensor.

    Attributes:
        operation_kind: name of the operation's class.
        n_tensors: number of tensors that it takes, in the order of its arguments.
        operands: what it is called with, with slots for tensors.

    Example:
        >>> from keras_spiking_nengo.models.calls import calls
        >>> x = keras.Input((2,))
        >>> (call,) = calls(keras.Model(x, 2 * x))
        >>> layer = OperationLayer.of(call)
        >>> layer.operation_kind, layer.operands
        ('Multiply', (2, Slot(number=0)))
    """

    def __init__(
        self, operation: keras.Operation | dict, arguments: dict[str, Any], **kwargs
    ):
        if isinstance(operation, dict):
            operation = keras.saving.deserialize_keras_object(operation)
        kwargs = {"name": operation.name} | kwargs
        super().__init__(**kwargs)
        self.operation = operation
        self.operation_kind = type(operation).__name__
        histories: list[tuple] = []
        args = _revived(list(arguments["args"]), histories)
        named = _revived(arguments["kwargs"], histories)
        self.n_tensors = len(histories)
        self.operands = (*args, *named.values())
        # Plain Python: Keras would look for layers in them.
        object.__setattr__(self, "_arguments", arguments)
        object.__setattr__(self, "_call_arguments", (args, named))

    @classmethod
    def of(cls, call: Call) -> "OperationLayer":
        """The operation of a call, as a layer of the tensors that the call takes."""
        numbers: dict[int, int] = {}
        for symbol in call.inputs:
            numbers.setdefault(id(symbol), len(numbers))
        args, kwargs = (
            _written(tree, numbers) for tree in (list(call.args), call.kwargs)
        )
        return cls(call.operation, {"args": args, "kwargs": kwargs})

    @property
    def axis(self) -> int:
        """The axis of an operation that has one."""
        return self.operation.axis

    def call(self, inputs):
        args, named = self._filled(inputs)
        return self.operation(*args, **named)

    def compute_output_shape(self, input_shape):
        several = isinstance(input_shape, list)
        shapes = input_shape if several else [input_shape]
        args, named = self._filled([Symbol(shape) for shape in shapes])
        outputs = self.operation.compute_output_spec(*args, **named)
        return keras.tree.map_structure(lambda tensor: tensor.shape, outputs)

    def _filled(self, inputs) -> tuple[list, dict]:
        tensors = inputs if isinstance(inputs, list | tuple) else [inputs]

        def fill(value):
            if isinstance(value, Slot):
                return tensors[value.number]
            if isinstance(value, list | tuple):
                return type(value)(map(fill, value))
            return value

        args, named = self._call_arguments
        return fill(args), {name: fill(value) for name, value in named.items()}

    def get_build_config(self):
        is_layer = isinstance(self.operation, keras.Layer)
        return self.operation.get_build_config() if is_layer else None

    def build_from_config(self, config):
        # Keras builds it itself where it has written down how.
        if config and not self.operation.built:
            self.operation.build_from_config(config)

    def get_config(self):
        return {
            **super().get_config(),
            "operation": keras.saving.serialize_keras_object(self.operation),
            "arguments": self._arguments,
        }


def _written(tree, numbers: dict[int, int]) -> Any:
    """Arguments as Keras writes them down, from those with symbols."""
    if isinstance(tree, keras.KerasTensor):
        history = ["tensor", numbers[id(tree)], 0]
        config = {"shape": tree.shape, "dtype": tree.dtype, "keras_history": history}
        return {"class_name": "__keras_tensor__", "config": config}
    if isinstance(tree, dict):
        return {name: _written(item, numbers) for name, item in tree.items()}
    if isinstance(tree, list | tuple) and symbols_in(tree):
        return [_written(item, numbers) for item in tree]
    return keras.saving.serialize_keras_object(tree)


def _revived(tree, histories: list[tuple]) -> Any:
    """Arguments from how Keras writes them down; notes the history of tensors."""
    if isinstance(tree, list | tuple):
        return type(tree)(_revived(item, histories) for item in tree)
    if not isinstance(tree, dict):
        return tree
    if "class_name" not in tree:
        return {name: _revived(item, histories) for name, item in tree.items()}
    if tree["class_name"] != "__keras_tensor__":
        return keras.saving.deserialize_keras_object(tree)
    history = tuple(tree["config"]["keras_history"])
    if history not in histories:
        histories.append(history)
    return Slot(histories.index(history))
