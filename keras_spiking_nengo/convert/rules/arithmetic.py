"""Operations of functional models, such as `a + b`, which Keras keeps beside layers.

Here an operation is taken for a layer of the tensors that it is called with; what else
it is called with are its constants.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
import numpy as np

from keras_spiking_nengo.convert.composition import product
from keras_spiking_nengo.convert.layer_rules import LayerRule, Part, Site, Time, array
from keras_spiking_nengo.convert.rules import windows
from keras_spiking_nengo.convert.rules.activations import OPERATIONS as FUNCTIONS
from keras_spiking_nengo.convert.rules.activations import population
from keras_spiking_nengo.convert.rules.adding import joined, spread, weighted_sum
from keras_spiking_nengo.convert.rules.affine import constant, diagonal
from keras_spiking_nengo.convert.rules.rearranging import (
    called,
    gathered,
    measured,
    origins,
)
from keras_spiking_nengo.saving import registered
from keras_spiking_nengo.types import Elementwise

__all__ = ["OPERATIONS", "Operation"]


@dataclass(frozen=True)
class _Slot:
    """Stands for a tensor among the arguments."""

    number: int


@registered()
class Operation(keras.layers.Layer):
    """An operation of `keras.ops`, or a layer of several arguments, as a layer.

    Args:
        operation: what Keras holds, or how Keras writes it down.
        arguments: what it is called with, as the configuration of a functional model
            has it, with a `keras_history` for each tensor.

    Attributes:
        operation_kind: name of the operation's class.
        histories: where its tensors come from, in the order in which it takes them.
        operands: what it is called with, with slots for tensors.
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
        found: list[tuple] = []
        args = _revived(list(arguments["args"]), found)
        named = _revived(arguments["kwargs"], found)
        self.histories = tuple(found)
        self.operands = (*args, *named.values())
        # Plain Python: Keras would look for layers in them.
        object.__setattr__(self, "_arguments", arguments)
        object.__setattr__(self, "_given", (args, named))

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
        args, named = self._filled([keras.KerasTensor(shape) for shape in shapes])
        found = self.operation.compute_output_spec(*args, **named)
        return keras.tree.map_structure(lambda tensor: tensor.shape, found)

    def _filled(self, inputs) -> tuple[list, dict]:
        tensors = inputs if isinstance(inputs, list | tuple) else [inputs]

        def fill(value):
            if isinstance(value, _Slot):
                return tensors[value.number]
            if isinstance(value, list | tuple):
                return type(value)(map(fill, value))
            return value

        args, named = self._given
        return fill(args), {name: fill(value) for name, value in named.items()}

    def get_build_config(self):
        held = isinstance(self.operation, keras.Layer)
        return self.operation.get_build_config() if held else None

    def build_from_config(self, config):
        if config:
            self.operation.build_from_config(config)

    def get_config(self):
        return {
            **super().get_config(),
            "operation": keras.saving.serialize_keras_object(self.operation),
            "arguments": self._arguments,
        }


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
    return _Slot(histories.index(history))


def _slots(layer: Operation) -> list[bool]:
    return [isinstance(value, _Slot) for value in layer.operands]


# --- arithmetic -----------------------------------------------------------------------


def _sum(site: Site, signs=(1.0, 1.0)) -> Part:
    factors = np.zeros(len(site.sources))
    bias: Any = 0.0
    for value, sign in zip(site.layer.operands, signs, strict=True):
        if isinstance(value, _Slot):
            factors[value.number] += sign
        else:
            bias = bias + sign * array(value)
    return weighted_sum(site, factors, bias)


def _product_objection(layer: Operation) -> str:
    values = layer.operands
    if _slots(layer).count(True) < 2 or values[0] == values[1]:
        return ""
    return "it multiplies signals with each other"


def _product(site: Site) -> Part:
    if all(_slots(site.layer)):
        return _square(site)
    (factor,) = (v for v in site.layer.operands if not isinstance(v, _Slot))
    return _multiplied(site, array(factor))


def _multiplied(site: Site, factor: np.ndarray) -> Part:
    """The one input, repeated where it is shorter than the factor, times it."""
    d = constant(site, factor)
    transform = product(diagonal(d, d.size), spread(site, site.inputs[0]))
    return site.vertex(), (site.edge(site.sources[0], transform=transform),)


def _quotient_objection(layer: Operation) -> str:
    return "it divides by a signal" if _slots(layer)[1] else ""


def _quotient(site: Site) -> Part:
    return _multiplied(site, 1 / array(site.layer.operands[1]))


def _power_objection(layer: Operation) -> str:
    base, exponent = layer.operands
    square = isinstance(base, _Slot) and np.isscalar(exponent) and exponent == 2
    return "" if square else "of powers there is the square only, x ** 2"


def _square(site: Site) -> Part:
    return population(site, Elementwise("square"))


def _function(site: Site) -> Part:
    layer = site.layer
    return population(site, FUNCTIONS[layer.operation_kind].of(layer.operation))


# --- what Keras is asked about --------------------------------------------------------


def _one_objection(layer: Operation) -> str:
    if len(layer.histories) == 1 and _slots(layer).count(True) == 1:
        return ""
    return "it takes several signals"


def _two_items(site: Site) -> tuple[np.ndarray, np.ndarray]:
    """Random features for two items of a batch, and what the layer makes of them."""
    x = np.random.RandomState(0).uniform(1, 2, (2, *site.inputs[0]))
    y = called(site.layer, x)
    if y.shape != (2, *site.output):
        raise site.refusal("it changes the axis of the batch")
    return x, y


def _moved(site: Site) -> Part:
    x, y = _two_items(site)
    origin = origins(site.layer, site.inputs[0])
    expected = np.where(origin < 0, 0, x.reshape(2, -1)[:, origin])
    if not np.allclose(y, expected, 1e-2):
        raise site.refusal("it moves or mixes the items of a batch, or adds numbers")
    transform = gathered(origin, x[0].size)
    return site.vertex(), (site.edge(site.sources[0], transform=transform),)


def _linear(site: Site) -> Part:
    x, y = _two_items(site)
    if not np.allclose(y[1:], called(site.layer, x[1:]), 1e-2):
        raise site.refusal("it mixes the items of a batch")
    matrix, _ = measured(site.layer, site.inputs[0])
    transform = windows.stored(matrix)
    return site.vertex(), (site.edge(site.sources[0], transform=transform),)


# By the name of the class, which is all of it that Keras gives a public name.
OPERATIONS: dict[str, LayerRule] = (
    {name: LayerRule(Time.KEEPS, _function) for name in FUNCTIONS}
    | {
        "Add": LayerRule(Time.KEEPS, _sum),
        "Subtract": LayerRule(Time.KEEPS, partial(_sum, signs=(1.0, -1.0))),
        "Negative": LayerRule(Time.KEEPS, partial(_sum, signs=(-1.0,))),
        "Multiply": LayerRule(Time.KEEPS, _product, _product_objection),
        "Divide": LayerRule(Time.KEEPS, _quotient, _quotient_objection),
        "TrueDivide": LayerRule(Time.KEEPS, _quotient, _quotient_objection),
        "Power": LayerRule(Time.KEEPS, _square, _power_objection),
        "Concatenate": LayerRule(Time.KEEPS, joined),
    }
    | {
        name: LayerRule(Time.MIXES, _linear, _one_objection)
        for name in ("Matmul", "Mean", "Sum")
    }
    | {
        name: LayerRule(Time.MIXES, _moved, _one_objection)
        for name in (
            *("ExpandDims", "Flip", "GetItem", "Moveaxis", "Pad", "Repeat", "Reshape"),
            *("Roll", "Squeeze", "Swapaxes", "Tile", "Transpose"),
        )
    }
)
