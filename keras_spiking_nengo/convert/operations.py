"""Operations of functional models, such as `a + b`, which Keras keeps beside layers.

Here an operation is taken for a layer of the tensors that it is called with; what else
it is called with are its constants.
"""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_spiking_nengo.convert import windows
from keras_spiking_nengo.convert.activations import OPERATIONS as FUNCTIONS
from keras_spiking_nengo.convert.activations import population
from keras_spiking_nengo.convert.moved import called, measured, move
from keras_spiking_nengo.convert.rule import LayerRule, Part, Site, Time, array
from keras_spiking_nengo.convert.scaled import scaled
from keras_spiking_nengo.convert.sums import joined, weighted_sum
from keras_spiking_nengo.types import Elementwise

__all__ = ["OPERATIONS", "Operation", "bound", "operation_rule"]


@dataclass(frozen=True)
class _Slot:
    """Stands for a tensor among the arguments."""

    number: int


class Operation:
    """An operation of `keras.ops` with its arguments.

    Args:
        operation: what Keras holds.
        args, kwargs: what it is called with; a slot stands for each tensor.
    """

    def __init__(self, operation: keras.Operation, args: list, kwargs: dict):
        self.operation = operation
        self.name = operation.name
        self.kind = type(operation).__name__
        self._given = args, kwargs

    @property
    def operands(self) -> list:
        """What it is called with, in order."""
        args, kwargs = self._given
        return [*args, *kwargs.values()]

    @property
    def axis(self):
        """The axis of an operation that has one."""
        return self.operation.axis

    def __call__(self, inputs):
        args, kwargs = self._filled(inputs)
        return self.operation(*args, **kwargs)

    def compute_output_shape(self, shapes):
        several = isinstance(shapes, list)
        tensors = [keras.KerasTensor(s) for s in (shapes if several else [shapes])]
        args, kwargs = self._filled(tensors)
        found = self.operation.compute_output_spec(*args, **kwargs)
        return keras.tree.map_structure(lambda tensor: tensor.shape, found)

    def _filled(self, inputs) -> tuple[list, dict]:
        tensors = inputs if isinstance(inputs, list | tuple) else [inputs]

        def fill(value):
            if isinstance(value, _Slot):
                return tensors[value.number]
            if isinstance(value, list | tuple):
                return type(value)(map(fill, value))
            return value

        args, kwargs = self._given
        return fill(args), {name: fill(value) for name, value in kwargs.items()}


def bound(operation: keras.Operation, arguments: dict[str, Any]):
    """An operation as a layer, and where the tensors it takes come from.

    Args:
        arguments: as the configuration of the model describes the call.

    Returns:
        The `Operation`, and a `keras_history` for each tensor.
    """
    histories: list[tuple] = []

    def revive(tree):
        if isinstance(tree, list | tuple):
            return type(tree)(map(revive, tree))
        if not isinstance(tree, dict):
            return tree
        if tree.get("class_name") != "__keras_tensor__":
            return keras.saving.deserialize_keras_object(tree)
        history = tuple(tree["config"]["keras_history"])
        if history not in histories:
            histories.append(history)
        return _Slot(histories.index(history))

    args = [revive(value) for value in arguments["args"]]
    kwargs = {name: revive(value) for name, value in arguments["kwargs"].items()}
    return Operation(operation, args, kwargs), histories


def operation_rule(layer: Operation) -> LayerRule | None:
    """The rule for an operation, or None."""
    return OPERATIONS.get(layer.kind)


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
        return population(site, Elementwise("square"))
    (factor,) = (v for v in site.layer.operands if not isinstance(v, _Slot))
    return scaled(site, array(factor), 0.0)


def _quotient_objection(layer: Operation) -> str:
    return "it divides by a signal" if _slots(layer)[1] else ""


def _quotient(site: Site) -> Part:
    return scaled(site, 1 / array(site.layer.operands[1]), 0.0)


def _power_objection(layer: Operation) -> str:
    base, exponent = layer.operands
    square = isinstance(base, _Slot) and np.isscalar(exponent) and exponent == 2
    return "" if square else "of powers there is the square only, x ** 2"


def _function(site: Site) -> Part:
    layer = site.layer
    return population(site, FUNCTIONS[layer.kind].of(layer.operation))


# --- what Keras is asked about --------------------------------------------------------


def _check_items(site: Site) -> None:
    """Refuses what depends on other items of the batch."""
    rng = np.random.RandomState(0)
    x = rng.uniform(-1, 1, (2, *site.inputs[0]))
    whole = called(site.layer, x)
    if whole.shape == (2, *site.output):
        apart = np.concatenate([called(site.layer, x[i : i + 1]) for i in range(2)])
        if np.allclose(whole, apart, 1e-4, 1e-5):
            return
    raise site.refusal("it moves or mixes the items of a batch")


def _moved(site: Site) -> Part:
    _check_items(site)
    return move(site)


def _linear_objection(layer: Operation) -> str:
    return "it multiplies signals with each other" if all(_slots(layer)[:2]) else ""


def _linear(site: Site) -> Part:
    _check_items(site)
    matrix, _ = measured(site.layer, site.inputs[0])
    transform = windows.stored(matrix)
    return site.vertex(), (site.edge(site.sources[0], transform=transform),)


# By the name of the class, which is all of it that Keras gives a public name.
OPERATIONS: dict[str, LayerRule] = (
    {name: LayerRule(Time.KEEPS, _function) for name in FUNCTIONS}
    | {
        "Add": LayerRule(Time.KEEPS, _sum),
        "Subtract": LayerRule(Time.KEEPS, lambda site: _sum(site, (1.0, -1.0))),
        "Negative": LayerRule(Time.KEEPS, lambda site: _sum(site, (-1.0,))),
        "Multiply": LayerRule(Time.KEEPS, _product, _product_objection),
        "Divide": LayerRule(Time.KEEPS, _quotient, _quotient_objection),
        "TrueDivide": LayerRule(Time.KEEPS, _quotient, _quotient_objection),
        "Power": LayerRule(
            Time.KEEPS,
            lambda site: population(site, Elementwise("square")),
            _power_objection,
        ),
        "Concatenate": LayerRule(Time.KEEPS, joined),
        "Matmul": LayerRule(Time.MIXES, _linear, _linear_objection),
        "Mean": LayerRule(Time.MIXES, _linear),
        "Sum": LayerRule(Time.MIXES, _linear),
    }
    | {
        name: LayerRule(Time.MIXES, _moved)
        for name in (
            *("ExpandDims", "Flip", "GetItem", "Moveaxis", "Pad", "Repeat", "Reshape"),
            *("Roll", "Squeeze", "Swapaxes", "Tile", "Transpose"),
        )
    }
)
