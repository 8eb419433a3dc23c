"""What a layer makes of each element, in a form that spiking neurons can have.

A rectified line may have a slope below zero, a threshold, and a largest value:

    f(x) = min(x, highest)      where x > threshold, and
           slope (x - threshold)  elsewhere.

Neurons `n` with that slope, and else straight, make it of a bounded input,
`f(x) = n(g(x))`: `g` is `f` with a slope of one. So their rate ends at the largest
value, too.

Of other functions there are neurons with that very curve.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from inspect import signature
from typing import Any

import keras
import nengo
from keras import activations

from keras_spiking_nengo.convert.rate_types import rate_type
from keras_spiking_nengo.convert.recognition import Recognised, recognised

__all__ = ["Form", "form_of"]

_OF_LAYERS: dict[type, Callable] = {
    keras.layers.ReLU: activations.relu,
    keras.layers.LeakyReLU: activations.leaky_relu,
    keras.layers.ELU: activations.elu,
}
# By the name that Keras gives the class of an operation.
_OF_OPERATIONS: dict[str, Callable] = {"ReLU": activations.relu} | {
    function.__name__.title().replace("_", ""): function
    for function in (
        *(activations.celu, activations.elu, activations.gelu, activations.leaky_relu),
        *(activations.relu, activations.relu6, activations.selu, activations.sigmoid),
        *(activations.silu, activations.softplus, activations.softsign),
        activations.tanh,
    )
}


@dataclass(frozen=True, eq=False)
class Form:
    """What a layer or an operation makes of each element.

    Attributes:
        name: Keras's name of it: `"relu6"` for each rectified line with a largest
            value, `"leaky_relu"` for one with a slope below zero. "" for a function of
            the user's own.
        function: of a tensor.
        source: what the layer holds as its activation; None for others.
        slope: of `"leaky_relu"`, below zero; else None.
        curve: rate neurons whose activity it is, unless it is a rectified line.
        bound: arguments of the `keras.layers.ReLU` that makes of an input what
            straight neurons take; none where they take it as it is.
    """

    name: str
    function: Callable
    source: Any = None
    slope: float | None = None
    curve: nengo.neurons.NeuronType | None = None
    bound: Mapping[str, float | None] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """What it is called in messages."""
        return self.name or getattr(self.function, "__name__", repr(self.function))

    @property
    def is_own(self) -> bool:
        """Whether its layer holds a function that is not Keras's."""
        if self.source is None or isinstance(self.source, keras.Layer):
            return False
        name = getattr(self.source, "__name__", "")
        return getattr(activations, name, None) is not self.source

    def bounded(self, x: Any) -> Any:
        """An input as straight neurons take it."""
        return keras.layers.ReLU(**self.bound)(x) if self.bound else x


def form_of(operation: Any) -> Form | None:
    """The form of a layer or an operation; None if it is linear, or has none.

    Example:
        >>> form_of(keras.layers.Dense(3, "tanh")).name
        'tanh'
        >>> form = form_of(keras.layers.ReLU(6.0))
        >>> form.name, form.bound["max_value"]
        ('relu6', 6.0)
    """
    source = getattr(operation, "activation", None)
    # What runs over time by itself has its activation in its recurrence.
    if hasattr(operation, "cell"):
        return None
    kind = _activation_in(source) if source is not None else _activation_in(operation)
    if kind is None:
        return None if source is None else Form("", source, source)
    if kind.function is activations.linear:
        return None
    arguments = dict(kind.arguments)
    if kind.function is activations.relu6:
        arguments["max_value"] = 6.0
    slope, bound = _line(kind.function, arguments)
    return Form(
        name=_key_of(kind.function, slope, bound),
        function=partial(kind.function, **kind.arguments),
        source=source,
        slope=slope,
        curve=None if kind.function in _LINES else rate_type(kind.function, arguments),
        bound=bound,
    )


def _activation_in(thing: Any) -> Recognised | None:
    """The activation that a function, a layer or an operation is."""
    if type(thing) in _OF_LAYERS:
        return _held(_OF_LAYERS[type(thing)], thing)
    if isinstance(thing, keras.Layer):
        return None
    if isinstance(thing, keras.Operation):
        function = _OF_OPERATIONS.get(type(thing).__name__)
        return None if function is None else _held(function, thing)
    return recognised(thing)


def _held(function: Callable, owner: Any) -> Recognised:
    """A function with the arguments that a layer or an operation holds."""
    names = [name for name in signature(function).parameters if hasattr(owner, name)]
    return Recognised(function, {name: getattr(owner, name) for name in names})


_LINES = (activations.leaky_relu, activations.relu, activations.relu6)


def _line(function: Callable, arguments: Mapping[str, Any]):
    """Slope below zero, and bound, of a rectified line; else None and none."""
    if function not in _LINES:
        return None, {}
    default = 0.2 if function is activations.leaky_relu else 0.0
    slope = float(arguments.get("negative_slope", default))
    highest = arguments.get("max_value")
    threshold = float(arguments.get("threshold", 0.0))
    bound: dict[str, float | None] = {}
    if highest is not None or threshold:
        highest = None if highest is None else float(highest)
        bound = {"max_value": highest, "negative_slope": 1.0, "threshold": threshold}
    return (slope if slope else None), bound


def _key_of(function: Callable, slope: float | None, bound: Mapping) -> str:
    if function not in _LINES:
        return function.__name__
    if slope is not None:
        return "leaky_relu"
    return "relu" if bound.get("max_value") is None else "relu6"
