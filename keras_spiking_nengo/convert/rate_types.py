"""Rate neurons for the activations of Keras, with the same parameters."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import nengo
from keras import activations, layers

from keras_spiking_nengo.types import BoundedReLU, Elementwise, LeakyReLU

__all__ = [
    "CURVE_OPERATIONS",
    "RATE_TYPES",
    "RATE_TYPES_OF_LAYERS",
    "Maker",
    "rate_type",
]


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


def _rectifier(
    negative_slope=0.0, max_value=None, threshold=0.0
) -> nengo.neurons.NeuronType:
    slope = float(negative_slope)
    if max_value is not None or threshold:
        highest = math.inf if max_value is None else float(max_value)
        return BoundedReLU(highest, slope, float(threshold))
    return _leaky_rectifier(slope) if slope else nengo.RectifiedLinear()


def _leaky_rectifier(negative_slope=0.2) -> nengo.neurons.NeuronType:
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
# By the activation of Keras.
RATE_TYPES: dict[Callable, Maker] = {
    activations.linear: Maker(lambda: None),
    activations.relu: Maker(_rectifier, dict(zip(_RELU, _RELU, strict=True))),
    activations.relu6: Maker(partial(BoundedReLU, 6)),
    activations.leaky_relu: Maker(
        _leaky_rectifier, {"negative_slope": "negative_slope"}
    ),
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
RATE_TYPES_OF_LAYERS: dict[type, Maker] = {
    layers.ELU: RATE_TYPES[activations.elu],
    layers.LeakyReLU: RATE_TYPES[activations.leaky_relu],
    layers.ReLU: RATE_TYPES[activations.relu],
}
# Operations of functional models, by the name of their class: mostly the function's.
CURVE_OPERATIONS: dict[str, Maker] = {
    "Absolute": Maker(partial(Elementwise, "absolute")),
    "Exp": RATE_TYPES[activations.exponential],
    "ReLU": RATE_TYPES[activations.relu],
    "Square": Maker(partial(Elementwise, "square")),
} | {
    function.__name__.title().replace("_", ""): maker
    for function, maker in RATE_TYPES.items()
    if function not in (activations.exponential, activations.linear)
}


def rate_type(
    function: Callable, arguments: Mapping[str, Any]
) -> nengo.neurons.NeuronType | None:
    """The rate neurons of an activation of Keras; None if it has none, or is linear.

    Example:
        >>> rate_type(activations.elu, {"alpha": 0.5})
        Elementwise(alpha=0.5)
    """
    return RATE_TYPES[function].given(arguments) if function in RATE_TYPES else None
