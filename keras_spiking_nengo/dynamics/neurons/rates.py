"""Neurons that send rates, and the rate curves of those that spike."""

import math
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import nengo
from keras import ops

from keras_spiking_nengo import types
from keras_spiking_nengo.dynamics.loops import precise
from keras_spiking_nengo.dynamics.neurons.neuron import (
    NEURONS,
    Neuron,
    declared_ranges,
    log,
    per_neuron,
)
from keras_spiking_nengo.types.varied import numbers_of

__all__ = ["SMOOTHING", "leaky", "lif_rates", "rectified", "soft_lif_rates"]

# Width over which a rate curve's kink is smoothed in the backward pass.
SMOOTHING = 0.02


# How near zero training takes what has to stay above it, as a part of the start.
_NEAREST_ZERO = 1e-3


def _rate_rule(rates, trainable=(), slopes=None):
    """A rule for a neuron without state, whose output is its rate curve."""

    def rule(neuron_type) -> Neuron:
        return Neuron(
            parameters=numbers_of(neuron_type),
            states=(),
            constants=lambda parameters, dt: parameters,
            step=lambda parameters, J, state, spike: (rates(parameters, J), state),
            rates=rates,
            slopes=slopes,
            trainable=trainable,
            ranges=lambda dt: declared_ranges(neuron_type),
            spiking=False,
        )

    return rule


def rectified(p, J):
    """`amplitude max(J, 0)`."""
    return p["amplitude"] * ops.relu(J)


def leaky(p, J):
    """The line, with another slope below zero."""
    return p["amplitude"] * ops.where(J < 0, p["negative_slope"] * J, J)


def _sigmoid(p, J):
    return ops.sigmoid(J) / p["tau_ref"]


def _tanh(p, J):
    return precise("tanh", J) / p["tau_ref"]


def lif_rates(p, J):
    """`amplitude / (tau_ref + tau_rc log(1 + 1 / (J - 1)))` above 1, else 0."""
    j = J - 1
    # The inner choice keeps 1/j and its gradient finite where it is not used.
    positive = ops.where(j > 0, j, 1.0)
    isi = p["tau_ref"] + p["tau_rc"] * ops.log1p(1 / positive)
    # Multiplied by the current's own NaN, so that NaN goes in and comes out.
    return ops.where(j > 0, p["amplitude"] / isi, 0 * j)


def soft_lif_rates(p, J, sigma=None):
    """The same with `sigma log(1 + exp((J - 1) / sigma))` in place of `J - 1`."""
    sigma = p["sigma"] if sigma is None else sigma
    z = (J - 1) / sigma
    j = sigma * ops.softplus(z)
    # log(softplus(z)) tends to z where softplus itself underflows.
    deep = z < -30
    log_j = ops.where(deep, z + log(sigma), ops.log(ops.where(deep, 1.0, j)))
    return p["amplitude"] / (p["tau_ref"] + p["tau_rc"] * (ops.log1p(j) - log_j))


def _bounded(p, J):
    below = p["negative_slope"] * (J - p["threshold"])
    line = ops.where(p["threshold"] < J, ops.minimum(J, p["max_value"]), below)
    return p["amplitude"] * line


_LIF_RATES = ("tau_rc", "tau_ref", "amplitude")
NEURONS.add(_rate_rule(rectified, ("amplitude",)), nengo.RectifiedLinear)
NEURONS.add(_rate_rule(leaky, ("amplitude", "negative_slope")), types.LeakyReLU)
NEURONS.add(
    _rate_rule(_bounded, ("amplitude", "negative_slope", "max_value")),
    types.BoundedReLU,
)
NEURONS.add(_rate_rule(_sigmoid, ("tau_ref",)), nengo.Sigmoid)
NEURONS.add(_rate_rule(_tanh, ("tau_ref",)), nengo.Tanh)
NEURONS.add(_rate_rule(lambda p, J: J), nengo.Direct)
NEURONS.add(_rate_rule(lif_rates, _LIF_RATES, soft_lif_rates), nengo.LIFRate)
NEURONS.add(_rate_rule(soft_lif_rates, _LIF_RATES), types.SoftLIFRate)

_OPS = SimpleNamespace(
    **{name: getattr(ops, name) for name in ("abs", "clip", "erf", "exp", "expm1")},
    **{name: getattr(ops, name) for name in ("maximum", "minimum", "sigmoid", "sign")},
    **{name: getattr(ops, name) for name in ("softplus", "sqrt", "where")},
    tanh=partial(precise, "tanh"),
)


@NEURONS.register(types.Elementwise)
def _rate_of_elementwise(neuron_type) -> Neuron:
    curve, alpha = types.CURVES[neuron_type.function], neuron_type.alpha

    def rates(p, J):
        values = curve(_OPS, J, per_neuron(p["alpha"], J) if "alpha" in p else None)
        return p["amplitude"] * values

    shared = ("amplitude", "alpha") if isinstance(alpha, float) else ("amplitude",)
    # One divides by the first's, and the second takes a root of its own.
    needs = neuron_type.function in ("celu", "squareplus") and isinstance(alpha, float)
    ranges = {"alpha": (_NEAREST_ZERO * alpha, math.inf)} if needs else {}
    return replace(
        _rate_rule(rates, shared)(neuron_type),
        parameters={"amplitude": float(neuron_type.amplitude)}
        | ({} if alpha is None else {"alpha": alpha}),
        ranges=lambda dt: ranges,
        variant=neuron_type.function,
    )
