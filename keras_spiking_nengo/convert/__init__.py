"""Keras models as networks of other formats, and back, over one graph."""

from dataclasses import replace
from typing import Any

from keras import Model
from nengo import Network

from keras_spiking_nengo.checks import (
    check_kind,
    check_switches,
    checked_dt,
    checked_seed,
)
from keras_spiking_nengo.convert.export import NengoExport
from keras_spiking_nengo.convert.graph import Edge, Graph, Port, Vertex
from keras_spiking_nengo.convert.keras.reading import read
from keras_spiking_nengo.convert.keras.writing import from_nengo, model_ports
from keras_spiking_nengo.convert.layer_rules import LAYERS, LayerRule, layer_rule
from keras_spiking_nengo.convert.nengo.reading import export_of
from keras_spiking_nengo.convert.nengo.writing import write
from keras_spiking_nengo.convert.nir import from_nir, to_nir
from keras_spiking_nengo.convert.reports.comparison import Comparison, compare
from keras_spiking_nengo.convert.reports.verification import VerifyReport, verified
from keras_spiking_nengo.convert.spiking.writing import to_spiking

__all__ = [
    "LAYERS",
    "Comparison",
    "Edge",
    "Graph",
    "LayerRule",
    "NengoExport",
    "Port",
    "VerifyReport",
    "Vertex",
    "compare",
    "from_nengo",
    "from_nir",
    "layer_rule",
    "to_nengo",
    "to_nir",
    "to_spiking",
    "verify",
]


def to_nengo(
    model: Model,
    seed: int | None = None,
    strict: bool = True,
    max_to_avg_pool: bool = False,
) -> NengoExport:
    """A Keras model as a `nengo.Network` that gives the same numbers.

    Neurons become ensembles, connected neuron by neuron, which start from the states
    that the layers drew; dense layers, convolutions and synapses become connections,
    joined to one where nothing is between them. Each step of the network is one step
    of the model's sequences; a model without time takes a single step. What the
    model does in training only, such as dropout, is left out.

    Args:
        model: functional or `keras.Sequential`, built; its layers may be models of
            the same kinds, be shared, and be wrapped in `TimeDistributed`. Sums and
            other operations of its tensors, such as `a + b`, are taken, too.
        seed: int. Seed of the network, which random neuron types draw from.
        strict: bool. If False, a layer that Nengo has no objects for is run by Keras,
            in a Python node, with a warning. One over time needs a `cell`, or must
            act on every step alike.
        max_to_avg_pool: bool. If True, take the mean where a layer pools the maximum,
            with a warning: the network is then another one than the model.

    Returns:
        A `NengoExport`, with `net`, `inputs`, `outputs` and `layers` by name, `run`
        and `verify`.

    Raises:
        TypeError: if `model` is no Keras model.
        ValueError: if it is not built.
        NotImplementedError: if a layer cannot be expressed; the message names the
            layer, the reason, and the layers that can.

    Example:
        >>> import keras, numpy as np, keras_spiking_nengo as ksn
        >>> model = keras.Sequential([
        ...     keras.Input((28,)), ksn.layers.Repeat(20), keras.layers.Dense(16),
        ...     ksn.layers.Neurons(return_sequences=True, seed=0),
        ...     ksn.layers.Synapse(0.01), keras.layers.Dense(10)])
        >>> export = ksn.to_nengo(model)
        >>> export.run(np.ones((3, 28))).shape
        (3, 10)
    """
    check_switches(strict=strict, max_to_avg_pool=max_to_avg_pool)
    seed = checked_seed(seed)
    options = ("max_to_avg_pool",) if max_to_avg_pool else ()
    return replace(write(read(model, strict, options), seed), model=model)


def verify(
    model: Model,
    net: Network,
    x: Any = None,
    inputs: Any = None,
    outputs: Any = None,
    dt: float = 0.001,
    n_steps: int | None = None,
    rtol: float = 1e-5,
    atol: float = 1e-5,
    raise_on_failure: bool = False,
) -> VerifyReport:
    """Compares what `from_nengo` made of a network with Nengo's own simulator.

    The other direction is `NengoExport.verify`.

    Args:
        model: what `ksn.from_nengo(net, inputs, outputs, dt)` returned.
        net: `nengo.Network`, with a seed.
        x: data of the inputs, `(batch, time, size)` each, as for `model`.
        inputs, outputs, dt: as for `from_nengo`.
        n_steps: int. Number of steps of a network without inputs.
        rtol, atol, raise_on_failure: as for `NengoExport.verify`.

    Returns:
        A `VerifyReport`: per output the largest difference, and per layer of spiking
        neurons the number of spikes and of those that differ.

    Raises:
        ValueError: if `net` has no seed, so that each build draws other numbers, or
            `x` does not fit.
        AssertionError: on request, if they differ.

    Example:
        >>> import nengo, numpy as np, keras_spiking_nengo as ksn
        >>> with nengo.Network(seed=0) as net:
        ...     stimulus = nengo.Node([0.0], label="stimulus")
        ...     ens = nengo.Ensemble(50, 1, label="ens")
        ...     c = nengo.Connection(stimulus, ens)
        ...     probe = nengo.Probe(ens, synapse=0.01, label="estimate")
        >>> model = ksn.from_nengo(net)
        >>> ksn.verify(model, net, np.ones((1, 20, 1))).spikes[0].name
        'ens'
    """
    check_kind("net", net, Network, "a nengo.Network")
    if net.seed is None:
        raise ValueError(
            f"{net} has no seed, so that each build of it draws other numbers. Give it"
            " one, nengo.Network(seed=0), before ksn.from_nengo."
        )
    dt = checked_dt(dt)
    ports = model_ports(net, inputs, outputs)
    if not ports.nodes and n_steps is None:
        raise ValueError("The network has no inputs: say n_steps.")
    export = export_of(net, model, ports.nodes, ports.probes, dt)
    return verified(export, x, rtol, atol, raise_on_failure, n_steps)
