"""A ring of neurons and a matrix as recurrent neurons, which can be trained."""

from collections.abc import Collection

import keras
import nengo
import numpy as np
from keras import ops

from keras_spiking_nengo import layers
from keras_spiking_nengo.convert.nir.layout import kind
from keras_spiking_nengo.convert.nir.primitives import StepOptions
from keras_spiking_nengo.convert.nir.shapes import FlatGraph
from keras_spiking_nengo.convert.nir.table import PRIMITIVES

__all__ = ["recurrent_neurons_of"]

_MATRICES = ("Affine", "Linear")


def recurrent_neurons_of(
    flat: FlatGraph, members: Collection[str], options: StepOptions, taken: set[str]
) -> tuple[layers.RecurrentNeurons, str] | None:
    """The layer of a cycle, and the name of its neurons; None for other cycles.

    It is a ring of neurons and a matrix without a bias, with a lowpass filter or
    without, into which signals come, and out of which they go, at the neurons alone.

    Args:
        flat: the graph.
        members: names of the nodes of the cycle.
        options: of the steps.
        taken: names of layers.
    """
    inside = [edge for edge in flat.edges if {*edge} <= {*members}]
    ends = {b for a, b in flat.edges if b in members and a not in members}
    ends |= {a for a, b in flat.edges if a in members and b not in members}
    if len(inside) != len(members) or len(ends) != 1:
        return None
    (name,) = ends
    names = {kind(flat.nodes[n]): n for n in members if n != name}
    matrices = [n for k, n in names.items() if k in _MATRICES]
    filters = [n for k, n in names.items() if k == "LI"]
    entered = any(a not in members for a in flat.before[name])
    if len(matrices) != 1 or not entered or 1 + len(filters) != len(members) - 1:
        return None
    if len(flat.shapes[name]) != 1 or kind(flat.nodes[name]) not in PRIMITIVES:
        return None
    neurons = _only_layer(flat, name, options, set(taken))
    dense = _only_layer(flat, matrices[0], options, set())
    synapse = _synapse_of(flat, filters, options)
    if (
        not isinstance(neurons, layers.Neurons)
        or not neurons.cell.sends_spikes
        or (dense.use_bias and np.any(ops.convert_to_numpy(dense.bias)))
        or (filters and synapse is None)
    ):
        return None
    cell = neurons.cell
    layer = layers.RecurrentNeurons(
        *(cell.neuron_type, cell.dt),
        recurrent_initializer="zeros",
        recurrent_synapse=synapse,
        return_sequences=True,
        seed=0,
        name=neurons.name,
    )
    taken.add(layer.name)
    layer.build((None, None, *flat.shapes[name]))
    heights = ops.convert_to_numpy(layer.cell.spikes_per_output())
    layer.cell.recurrent_kernel.assign(ops.convert_to_numpy(dense.kernel) / heights)
    return layer, name


def _only_layer(flat, name: str, options: StepOptions, taken: set[str]) -> keras.Layer:
    """What stands for a node."""
    with flat.naming(name):
        place = flat.place(name, options, taken)
        (layer,) = PRIMITIVES[kind(place.node)].read(place)
    return layer


def _synapse_of(flat, filters: list[str], options) -> nengo.Lowpass | None:
    """The synapse that a filter is, if it is one."""
    if not filters:
        return None
    leak = _only_layer(flat, filters[0], options, set()).cell.neuron_type
    numbers = leak.tau_mem, leak.r, leak.v_leak
    if any(np.size(n) != 1 for n in numbers) or numbers[1:] != (1.0, 0.0):
        return None
    if leak.discretization != "exact":
        return None
    return nengo.Lowpass(float(numbers[0]))
