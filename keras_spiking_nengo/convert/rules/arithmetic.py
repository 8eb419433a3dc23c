"""Operations of functional models, such as `a + b`."""

from functools import partial
from typing import Any

import numpy as np

from keras_spiking_nengo.convert import windows
from keras_spiking_nengo.convert.composition import composed
from keras_spiking_nengo.convert.layer_rules import LayerRule, Part, Site, array
from keras_spiking_nengo.convert.rate_types import CURVE_OPERATIONS
from keras_spiking_nengo.convert.rules.activations import population
from keras_spiking_nengo.convert.rules.adding import joined, spread, weighted_sum
from keras_spiking_nengo.convert.rules.affine import constant, diagonal
from keras_spiking_nengo.convert.rules.multiplying import PRODUCT
from keras_spiking_nengo.convert.rules.rearranging import (
    Function,
    gathered,
    layer_output,
    measured,
    origins,
)
from keras_spiking_nengo.models.operations import OperationLayer, Slot
from keras_spiking_nengo.models.temporal import ON_STEPS
from keras_spiking_nengo.models.time import Time, time_of
from keras_spiking_nengo.types import Elementwise

__all__ = ["OPERATIONS"]


def _slots(layer: OperationLayer) -> list[bool]:
    return [isinstance(value, Slot) for value in layer.operands]


# --- arithmetic -----------------------------------------------------------------------


def _signed_sum(site: Site, signs=(1.0, 1.0)) -> Part:
    factors = np.zeros(len(site.sources))
    bias: Any = 0.0
    for value, sign in zip(site.layer.operands, signs, strict=True):
        if isinstance(value, Slot):
            factors[value.number] += sign
        else:
            bias = bias + sign * array(value)
    return weighted_sum(site, factors, bias)


def _of_signals(layer: OperationLayer) -> LayerRule:
    """The rule for a product: of signals, or of one with numbers or itself."""
    values = layer.operands
    if _slots(layer).count(True) < 2 or values[0] == values[1]:
        return LayerRule(_scaled_or_squared)
    return PRODUCT


def _scaled_or_squared(site: Site) -> Part:
    if all(_slots(site.layer)):
        return _square(site)
    (factor,) = (v for v in site.layer.operands if not isinstance(v, Slot))
    return _multiplied(site, array(factor))


def _multiplied(site: Site, factor: np.ndarray) -> Part:
    """The one input, repeated where it is shorter than the factor, times it."""
    d = constant(site, factor)
    return site.through(composed(diagonal(d, d.size), spread(site, site.inputs[0])))


def _quotient_objection(layer: OperationLayer) -> str:
    return "it divides by a signal" if _slots(layer)[1] else ""


def _quotient(site: Site) -> Part:
    return _multiplied(site, 1 / array(site.layer.operands[1]))


def _power_objection(layer: OperationLayer) -> str:
    base, exponent = layer.operands
    square = isinstance(base, Slot) and np.isscalar(exponent) and exponent == 2
    return "" if square else "of powers there is the square only, x ** 2"


def _square(site: Site) -> Part:
    return population(site, Elementwise("square"))


def _curve_part(site: Site) -> Part:
    layer = site.layer
    return population(site, CURVE_OPERATIONS[layer.operation_kind].of(layer.operation))


# --- what Keras is asked about --------------------------------------------------------


def _one_objection(layer: OperationLayer) -> str:
    if layer.n_tensors == 1 and _slots(layer).count(True) == 1:
        return ""
    return "it takes several signals"


def _of_features(site: Site) -> tuple[Function, tuple[int, ...]]:
    """The operation as one of features, and the shape of these.

    What gives a sequence does so step by step, and is tried on steps. What is given one
    and gives none, `x[:, -1]`, is given one step here.
    """
    (shape,) = site.inputs
    if site.leading == 2:
        _require_stepwise(site)
        return lambda x: site.layer(x[:, None])[:, 0], shape
    takes_time = time_of(site.layer, site.layer.operands) is Time.ENDS
    if takes_time and len(site.output) == len(_item_of((1, *shape), site)):
        return site.layer, (1, *shape)
    return site.layer, shape


def _item_of(shape: tuple, site: Site) -> tuple[int, ...]:
    """The shape of the features of `x[key]`."""
    return np.empty((1, *shape))[tuple(site.layer.operands[1])].shape[1:]


def _require_stepwise(site: Site) -> None:
    x = np.random.RandomState(0).uniform(1, 2, (1, 3, *site.inputs[0]))
    try:
        whole = layer_output(site.layer, x)
        steps = [layer_output(site.layer, x[:, i : i + 1]) for i in range(3)]
    # Keras's, of any kind, where the operation is made for one number of steps.
    except Exception as error:
        raise site.refusal(f"it would mix steps of time. {ON_STEPS}") from error
    apart = np.concatenate(steps, axis=1)
    if apart.shape != whole.shape or not np.allclose(apart, whole, 1e-4):
        raise site.refusal(f"it would mix steps of time. {ON_STEPS}")


def _two_items(site: Site, function: Function, shape: tuple):
    """Random features for two items of a batch, and what the layer makes of them."""
    x = np.random.RandomState(0).uniform(1, 2, (2, *shape))
    y = layer_output(function, x)
    if y.shape != (2, *site.output):
        raise site.refusal("it changes the axis of the batch")
    return x, y


def _rearranged(site: Site) -> Part:
    function, shape = _of_features(site)
    x, y = _two_items(site, function, shape)
    origin = origins(function, shape)
    expected = np.where(origin < 0, 0, x.reshape(2, -1)[:, origin])
    if not np.allclose(y, expected, 1e-2):
        raise site.refusal("it moves or mixes the items of a batch, or adds numbers")
    return site.through(gathered(origin, x[0].size))


def _linear(site: Site) -> Part:
    function, shape = _of_features(site)
    x, y = _two_items(site, function, shape)
    if not np.allclose(y[1:], layer_output(function, x[1:]), 1e-2):
        raise site.refusal("it mixes the items of a batch")
    matrix, _ = measured(function, shape)
    return site.through(windows.stored(matrix))


# By the name of the class, which is all of it that Keras gives a public name.
OPERATIONS: dict[str, LayerRule] = (
    {name: LayerRule(_curve_part) for name in CURVE_OPERATIONS}
    | {
        "Add": LayerRule(_signed_sum),
        "Subtract": LayerRule(partial(_signed_sum, signs=(1.0, -1.0))),
        "Negative": LayerRule(partial(_signed_sum, signs=(-1.0,))),
        "Multiply": LayerRule(chosen=_of_signals),
        "Divide": LayerRule(_quotient, _quotient_objection),
        "TrueDivide": LayerRule(_quotient, _quotient_objection),
        "Power": LayerRule(_square, _power_objection),
        "Concatenate": LayerRule(joined),
    }
    | {name: LayerRule(_linear, _one_objection) for name in ("Matmul", "Mean", "Sum")}
    | {
        name: LayerRule(_rearranged, _one_objection)
        for name in (
            *("ExpandDims", "Flip", "GetItem", "Moveaxis", "Pad", "Repeat", "Reshape"),
            *("Roll", "Squeeze", "Swapaxes", "Tile", "Transpose"),
        )
    }
)
