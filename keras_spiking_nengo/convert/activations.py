"""Activations as neurons whose rates are plain numbers: one unit is one."""

import inspect
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import nengo
import numpy as np
from keras import activations, layers

from keras_spiking_nengo.convert.rule import LAYERS, LayerRule, Part, Site, Time
from keras_spiking_nengo.convert.scaled import constant
from keras_spiking_nengo.types import BoundedReLU, Elementwise, LeakyReLU

__all__ = ["activation_objection", "made", "neurons", "of_operation", "population"]

NeuronType = nengo.neurons.NeuronType


def _relu(negative_slope=0.0, max_value=None, threshold=0.0) -> NeuronType:
    slope = float(negative_slope)
    if max_value is not None or threshold:
        highest = math.inf if max_value is None else float(max_value)
        return BoundedReLU(highest, slope, float(threshold))
    return _leaky_relu(slope) if slope else nengo.RectifiedLinear()


def _leaky_relu(negative_slope=0.2) -> NeuronType:
    if negative_slope < 0:
        return Elementwise("leaky_relu", negative_slope)
    return LeakyReLU(float(negative_slope))


def _gelu(approximate=False) -> NeuronType:
    return Elementwise("gelu_tanh" if approximate else "gelu")


def _shrink(name: str) -> Callable[..., NeuronType]:
    return lambda threshold=0.5: Elementwise(name, threshold)


# Arguments are those of Keras's function, and attributes of its layer and operation.
_MAKERS: dict[Callable, Callable[..., NeuronType | None]] = {
    activations.linear: lambda: None,
    activations.relu: _relu,
    activations.leaky_relu: _leaky_relu,
    activations.relu6: lambda: BoundedReLU(6),
    activations.sigmoid: lambda: nengo.Sigmoid(tau_ref=1),
    activations.tanh: lambda: nengo.Tanh(tau_ref=1),
    activations.gelu: _gelu,
    activations.celu: lambda alpha=1.0: Elementwise("celu", alpha),
    activations.elu: lambda alpha=1.0: Elementwise("elu", alpha),
    activations.hard_shrink: _shrink("hard_shrink"),
    activations.soft_shrink: _shrink("soft_shrink"),
    activations.squareplus: lambda b=4: Elementwise("squareplus", b),
} | {
    getattr(activations, name): partial(Elementwise, name)
    for name in (
        *("exponential", "hard_sigmoid", "hard_silu", "hard_tanh", "log_sigmoid"),
        *("mish", "selu", "silu", "softplus", "softsign", "sparse_plus"),
        *("sparse_sigmoid", "tanh_shrink"),
    )
}
_LAYERS = {
    layers.ELU: activations.elu,
    layers.LeakyReLU: activations.leaky_relu,
    layers.ReLU: activations.relu,
}
# Operations of functional models, by the name of their class, where it is not that
# of the function.
_OPERATIONS = {
    "Absolute": partial(Elementwise, "absolute"),
    "Exp": _MAKERS[activations.exponential],
    "ReLU": _relu,
    "Square": partial(Elementwise, "square"),
} | {
    function.__name__.title().replace("_", ""): make
    for function, make in _MAKERS.items()
}


def made(make: Callable[..., NeuronType | None], owner: Any) -> NeuronType | None:
    """A neuron type with the parameters that a layer or an operation holds."""
    if isinstance(make, partial):
        return make()
    names = inspect.signature(make).parameters
    held = {name: getattr(owner, name) for name in names if hasattr(owner, name)}
    return make(**held)


def of_operation(operation: keras.Operation) -> Callable[..., NeuronType | None] | None:
    """What makes the neurons for an operation, or None."""
    return _OPERATIONS.get(type(operation).__name__)


def activation_objection(layer) -> str:
    """Why the activation of a layer is no neuron type, or ""."""
    activation = layer.activation
    function = activation.func if isinstance(activation, partial) else activation
    if function in _MAKERS or type(function) in _LAYERS:
        return ""
    name = getattr(function, "__name__", repr(function))
    advice = "Leave it out and train on logits. " if "softmax" in name else ""
    possible = ", ".join(sorted(function.__name__ for function in _MAKERS))
    return (
        f"its activation {name!r} is no function of single elements that neurons"
        f" compute. {advice}Possible activations are {possible}"
    )


def neurons(layer) -> NeuronType | None:
    """The neuron type for the activation of a layer, which may be a layer itself."""
    activation = layer.activation
    if isinstance(activation, partial):
        return _MAKERS[activation.func](**activation.keywords)
    if type(activation) in _LAYERS:
        return made(_MAKERS[_LAYERS[type(activation)]], activation)
    return _MAKERS[activation]()


def population(site: Site, neuron_type: NeuronType | None) -> Part:
    """The part of a layer of neurons."""
    return site.vertex(neuron_type=neuron_type), (site.edge(site.sources[0]),)


def _prelu(site: Site) -> Part:
    alpha = constant(site, site.layer.alpha).ravel()
    same = np.all(alpha == alpha[0])
    return population(site, Elementwise("leaky_relu", alpha[0] if same else alpha))


LAYERS.add(
    LayerRule(
        Time.KEEPS,
        lambda site: population(site, neurons(site.layer)),
        activation_objection,
    ),
    layers.Activation,
)
for _layer, _function in _LAYERS.items():
    LAYERS.add(
        LayerRule(
            Time.KEEPS,
            lambda site, make=_MAKERS[_function]: population(
                site, made(make, site.layer)
            ),
        ),
        _layer,
    )
LAYERS.add(LayerRule(Time.KEEPS, _prelu), layers.PReLU)
