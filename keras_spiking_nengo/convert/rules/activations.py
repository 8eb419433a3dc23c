"""Activations as neurons whose rates are plain numbers: one unit is one."""

import nengo
import numpy as np
from keras import layers

from keras_spiking_nengo.convert.layer_rules import LAYERS, LayerRule, Part, Site
from keras_spiking_nengo.convert.rate_types import RATE_TYPES, RATE_TYPES_OF_LAYERS
from keras_spiking_nengo.convert.recognition import recognised
from keras_spiking_nengo.convert.rules.affine import constant
from keras_spiking_nengo.types import Elementwise

__all__ = ["activation_objection", "neurons", "population"]


def activation_objection(layer) -> str:
    """Why the activation of a layer is no neuron type, or ""."""
    function = layer.activation
    same = recognised(function)
    if type(function) in RATE_TYPES_OF_LAYERS or (
        same is not None and same.function in RATE_TYPES
    ):
        return ""
    name = getattr(same.function if same else function, "__name__", repr(function))
    advice = "Leave it out and train on logits. " if "softmax" in name else ""
    possible = ", ".join(sorted(function.__name__ for function in RATE_TYPES))
    return (
        f"its activation {name!r} is no function of single elements that neurons"
        f" compute. {advice}Possible activations are {possible}"
    )


def neurons(layer) -> nengo.neurons.NeuronType | None:
    """The neuron type for the activation of a layer, which may be a layer itself."""
    activation = layer.activation
    if type(activation) in RATE_TYPES_OF_LAYERS:
        return RATE_TYPES_OF_LAYERS[type(activation)].of(activation)
    same = recognised(activation)
    assert same is not None, f"{activation} was not objected to"
    return RATE_TYPES[same.function].given(same.arguments)


def population(site: Site, neuron_type: nengo.neurons.NeuronType | None) -> Part:
    """The part of a layer of neurons."""
    return site.through(neuron_type=neuron_type)


def _activation(site: Site) -> Part:
    return population(site, neurons(site.layer))


def _activation_layer(site: Site) -> Part:
    kinds = (kind for kind in RATE_TYPES_OF_LAYERS if isinstance(site.layer, kind))
    return population(site, RATE_TYPES_OF_LAYERS[next(kinds)].of(site.layer))


def _prelu(site: Site) -> Part:
    alpha = constant(site, site.layer.alpha).ravel()
    same = np.all(alpha == alpha[0])
    return population(site, Elementwise("leaky_relu", alpha[0] if same else alpha))


LAYERS.add(LayerRule(_activation, activation_objection), layers.Activation)
LAYERS.add(LayerRule(_activation_layer), *RATE_TYPES_OF_LAYERS)
LAYERS.add(LayerRule(_prelu), layers.PReLU)
