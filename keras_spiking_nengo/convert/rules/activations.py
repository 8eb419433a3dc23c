"""Activations as neurons whose rates are plain numbers: one unit is one."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import nengo
import numpy as np
from keras import activations, layers

from keras_spiking_nengo.convert.layer_rules import LAYERS, LayerRule, Part, Site
from keras_spiking_nengo.convert.recognition import recognised
from keras_spiking_nengo.convert.rules.affine import constant
from keras_spiking_nengo.types import BoundedReLU, Elementwise, LeakyReLU

__all__ = ["CURVE_OPERATIONS", "Maker", "activation_objection", "neurons", "population"]


@dataclass(frozen=True)
class Maker:
    """Makes the neuron type for an activation.

    Attributes:
        make: gives the type, or None for the identity.
        names: from Keras's names of its arguments to those of `make`.
    """

    make: Callable[..., nengo.neurons.NeuronType | None]
    names: Mapping[str, str] = field(default_factory=dict)

    def given(self, values: Mapping[str, Any]) -> nengo.neurons.NeuronType | None:
        """The neuron type for Keras's arguments."""
        return self.make(**{v: values[k] for k, v in self.names.items() if k in values})

    def of(self, owner: Any) -> nengo.neurons.NeuronType | None:
        """The neuron type for a layer or an operation that holds the arguments."""
        held = {k: getattr(owner, k) for k in self.names if hasattr(owner, k)}
        return self.given(held)


def _relu(
    negative_slope=0.0, max_value=None, threshold=0.0
) -> nengo.neurons.NeuronType:
    slope = float(negative_slope)
    if max_value is not None or threshold:
        highest = math.inf if max_value is None else float(max_value)
        return BoundedReLU(highest, slope, float(threshold))
    return _leaky_relu(slope) if slope else nengo.RectifiedLinear()


def _leaky_relu(negative_slope=0.2) -> nengo.neurons.NeuronType:
    if negative_slope < 0:
        return Elementwise("leaky_relu", negative_slope)
    return LeakyReLU(float(negative_slope))


def _gelu(approximate=False) -> nengo.neurons.NeuronType:
    return Elementwise("gelu_tanh" if approximate else "gelu")


_RELU = ("negative_slope", "max_value", "threshold")
# Keras's name of the one argument that some functions have.
_ALPHAS = {
    "celu": "alpha",
    "elu": "alpha",
    "hard_shrink": "threshold",
    "soft_shrink": "threshold",
    "squareplus": "b",
}
_MAKERS: dict[Callable, Maker] = {
    activations.linear: Maker(lambda: None),
    activations.relu: Maker(_relu, dict(zip(_RELU, _RELU, strict=True))),
    activations.relu6: Maker(partial(BoundedReLU, 6)),
    activations.leaky_relu: Maker(_leaky_relu, {"negative_slope": "negative_slope"}),
    activations.sigmoid: Maker(partial(nengo.Sigmoid, tau_ref=1)),
    activations.tanh: Maker(partial(nengo.Tanh, tau_ref=1)),
    activations.gelu: Maker(_gelu, {"approximate": "approximate"}),
} | {
    getattr(activations, name): Maker(
        partial(Elementwise, name), {_ALPHAS[name]: "alpha"} if name in _ALPHAS else {}
    )
    for name in (
        *("celu", "elu", "exponential", "hard_shrink", "hard_sigmoid", "hard_silu"),
        *("hard_tanh", "log_sigmoid", "mish", "selu", "silu", "soft_shrink"),
        *("softplus", "softsign", "sparse_plus", "sparse_sigmoid", "squareplus"),
        "tanh_shrink",
    )
}
_LAYERS: dict[type, Maker] = {
    layers.ELU: _MAKERS[activations.elu],
    layers.LeakyReLU: _MAKERS[activations.leaky_relu],
    layers.ReLU: _MAKERS[activations.relu],
}
# Operations of functional models, by the name of their class: mostly the function's.
CURVE_OPERATIONS: dict[str, Maker] = {
    "Absolute": Maker(partial(Elementwise, "absolute")),
    "Exp": _MAKERS[activations.exponential],
    "ReLU": _MAKERS[activations.relu],
    "Square": Maker(partial(Elementwise, "square")),
} | {
    function.__name__.title().replace("_", ""): maker
    for function, maker in _MAKERS.items()
    if function not in (activations.exponential, activations.linear)
}


def activation_objection(layer) -> str:
    """Why the activation of a layer is no neuron type, or ""."""
    function = layer.activation
    same = recognised(function)
    if type(function) in _LAYERS or (same is not None and same.function in _MAKERS):
        return ""
    name = getattr(same.function if same else function, "__name__", repr(function))
    advice = "Leave it out and train on logits. " if "softmax" in name else ""
    possible = ", ".join(sorted(function.__name__ for function in _MAKERS))
    return (
        f"its activation {name!r} is no function of single elements that neurons"
        f" compute. {advice}Possible activations are {possible}"
    )


def neurons(layer) -> nengo.neurons.NeuronType | None:
    """The neuron type for the activation of a layer, which may be a layer itself."""
    activation = layer.activation
    if type(activation) in _LAYERS:
        return _LAYERS[type(activation)].of(activation)
    same = recognised(activation)
    assert same is not None, f"{activation} was not objected to"
    return _MAKERS[same.function].given(same.arguments)


def population(site: Site, neuron_type: nengo.neurons.NeuronType | None) -> Part:
    """The part of a layer of neurons."""
    return site.through(neuron_type=neuron_type)


def _activation(site: Site) -> Part:
    return population(site, neurons(site.layer))


def _activation_layer(site: Site) -> Part:
    kinds = (kind for kind in _LAYERS if isinstance(site.layer, kind))
    return population(site, _LAYERS[next(kinds)].of(site.layer))


def _prelu(site: Site) -> Part:
    alpha = constant(site, site.layer.alpha).ravel()
    same = np.all(alpha == alpha[0])
    return population(site, Elementwise("leaky_relu", alpha[0] if same else alpha))


LAYERS.add(LayerRule(_activation, activation_objection), layers.Activation)
LAYERS.add(LayerRule(_activation_layer), *_LAYERS)
LAYERS.add(LayerRule(_prelu), layers.PReLU)
