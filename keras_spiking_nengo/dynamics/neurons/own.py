"""Neuron types of a user's own."""

from collections.abc import Callable
from typing import Any

import nengo

from keras_spiking_nengo import serialization
from keras_spiking_nengo.dynamics.neurons.neuron import NEURONS, Neuron

__all__ = ["neuron_rule"]

Rule = Callable[[Any], Neuron]


def neuron_rule(*classes: type) -> Callable[[Rule], Rule]:
    """Teaches all layers, and `ksn.Simulator`, a neuron type of your own: a decorator.

    What it decorates is called with an instance of a class, and returns its dynamics, a
    `ksn.Neuron`. Nengo's type stays the specification: `ksn.check_neuron` compares the
    two. The classes are registered for saving, too, as by `serialization.register`.

    Args:
        *classes: subclasses of `nengo.neurons.NeuronType` with a `step`, which keep the
            arguments of their constructors under their names.

    Returns:
        A decorator, which returns the function that it is given.

    Raises:
        TypeError: unless `classes` are of neuron types.
        ValueError: for a class that has a rule.

    Example:
        A neuron whose rate is the square of its current:

        >>> import nengo, numpy as np, keras_spiking_nengo as ksn
        >>> class Squared(nengo.neurons.NeuronType):
        ...     scale = nengo.params.NumberParam("scale", low=0)
        ...     def __init__(self, scale=1.0, initial_state=None):
        ...         super().__init__(initial_state)
        ...         self.scale = scale
        ...     def step(self, dt, J, output):
        ...         output[...] = self.scale * J**2
        >>> @ksn.neuron_rule(Squared)
        ... def squared(kind):
        ...     def rates(p, J):
        ...         return p["scale"] * J**2
        ...     return ksn.Neuron(
        ...         parameters={"scale": kind.scale},
        ...         states=(),
        ...         constants=lambda p, dt: p,
        ...         step=lambda c, J, state, spike: (rates(c, J), state),
        ...         rates=rates,
        ...         trainable=("scale",),
        ...         spiking=False,
        ...     )
        >>> ksn.check_neuron(Squared(2.0)).ok
        True
    """
    for cls in classes:
        if not isinstance(cls, type) or not issubclass(cls, nengo.neurons.NeuronType):
            raise TypeError(
                "classes are of neuron types, as in @ksn.neuron_rule(MyType); received"
                f" {cls!r}."
            )

    def keep(rule: Rule) -> Rule:
        NEURONS.add(rule, *classes)
        for cls in classes:
            serialization.register(cls)
        return rule

    return keep
