"""Which neurons stand for which activation, as the user says it."""

import warnings
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any, TypeAlias

import keras
import nengo

from keras_spiking_nengo import serialization, types
from keras_spiking_nengo.checks import from_keras
from keras_spiking_nengo.convert.spiking.calibration import NeuronType, rate_half
from keras_spiking_nengo.convert.spiking.forms import Form

__all__ = ["has_curve", "label_of", "replacement", "swaps_of", "warn_of_unused"]

# Neuron types by Keras's names, and by functions of the user's own.
Swaps: TypeAlias = dict[str | Callable, NeuronType]


def swaps_of(activations: Any) -> Swaps:
    """Neuron types by Keras's names, and by functions of the user's own."""
    if activations is None:
        activations = {"relu": nengo.SpikingRectifiedLinear()}
    if not isinstance(activations, Mapping):
        raise TypeError(
            "activations is a dict from activations to spiking neurons, such as"
            f' {{"relu": nengo.LIF()}}; received {activations!r}.'
        )
    swaps: Swaps = {}
    for key, value in activations.items():
        # Raises for what Keras does not know.
        function = from_keras("activations", keras.activations.get, key)
        name = getattr(function, "__name__", "")
        known = getattr(keras.activations, name, None) is function
        swaps[name if known else function] = types.neuron_type(value)
    return swaps


def label_of(key: Any) -> str:
    """What an activation is called in messages."""
    return key if isinstance(key, str) else getattr(key, "__name__", repr(key))


def replacement(form: Form | None, swaps: Swaps) -> NeuronType | None:
    """The neuron type for a form: that of its own function, else that of its name."""
    if form is None:
        return None
    named = swaps.get(form.name)
    kind = next((v for k, v in swaps.items() if k is form.source), named)
    if form.slope is not None and getattr(kind, "negative_slope", None) is not None:
        return serialization.altered(kind, negative_slope=form.slope)
    if kind is not None and form.curve is not None and _is_kin(kind, form.curve):
        spikes = kind is not rate_half(kind)
        return (
            serialization.altered(kind, base_type=form.curve) if spikes else form.curve
        )
    return kind


def has_curve(kind: NeuronType, form: Form | None) -> bool:
    """Whether neurons have the very curve of an activation."""
    return form is not None and form.curve is not None and rate_half(kind) == form.curve


def _is_kin(kind: NeuronType, curve: NeuronType) -> bool:
    """Whether neurons have a curve as this, but for its parameters."""
    rates = rate_half(kind)
    names = (getattr(one, "function", "") for one in (rates, curve))
    functions = {name.removesuffix("_tanh") for name in names}  # gelu has two forms
    return type(rates) is type(curve) and len(functions) == 1


def warn_of_unused(swaps: Swaps, used: list[Form], labels: list[str]) -> None:
    """Says which keys of `activations` no layer has."""
    names = {form.name for form in used}
    for key in swaps:
        if key in names or any(key is form.source for form in used):
            continue
        nearest = get_close_matches(label_of(key), labels, n=1, cutoff=0)
        warnings.warn(
            f"activations has {label_of(key)!r}, which no layer has that is replaced."
            f" The nearest that the model has is {nearest[0]!r}, of {labels}.",
            stacklevel=3,
        )
