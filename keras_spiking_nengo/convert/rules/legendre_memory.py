"""Legendre memory units as Nengo networks: a recurrent node, and what reads it.

Without a time constant a synapse is a delay of one step, so that the memory is a node
that is connected to itself, `m[t] = A m[t-1] + B u[t]`; what is fed back goes the same
way. Each layer of the hidden part becomes what its own rule makes of it.
"""

from collections.abc import Iterator

import keras
import nengo
import numpy as np

from keras_spiking_nengo import layers
from keras_spiking_nengo.convert.graph import Edge, Graph, Port, Subnet, Vertex
from keras_spiking_nengo.convert.layer_rules import (
    LAYERS,
    LayerRule,
    Part,
    Site,
    array,
    first_of,
    kind_of,
    rule_of,
    stand_in,
)
from keras_spiking_nengo.convert.nengo.writing import write
from keras_spiking_nengo.convert.rules.sequences import pure_delay, sequence_objection

_ONE_STEP = pure_delay(1)


def _stages(cell) -> Iterator[keras.Layer]:
    """The layers of the hidden part, as layers that run over time."""
    for layer in cell.hidden_layers:
        is_cell = hasattr(layer, "state_size")
        yield (
            keras.layers.RNN(layer, return_sequences=True)
            if is_cell
            else stand_in(layer)
        )


def _objection(layer) -> str:
    for stage in _stages(layer.cell):
        kind = kind_of(getattr(stage, "cell", stage))
        if stage not in LAYERS:
            return f"its hidden part has {kind}, which has no rule"
        rule = rule_of(stage)
        if rule.outputs is not None or rule.option:
            return f"its hidden part has {kind}, which is more than one Nengo object"
        reason = rule.objection(stage)
        if reason:
            return f"in its hidden part, {reason}"
    return ""


def _lmu(site: Site) -> Part:
    """Of a call that takes inputs the network, else its output."""
    if site.port is not None:
        return site.vertex(output=(site.sources[0], site.port)), ()
    # Not in the network in whose context this may be called.
    with nengo.Network(add_to_container=False):
        export = write(_graph(site))
    nodes, probes = tuple(export.inputs.values()), tuple(export.outputs.values())
    return site.vertex(subnet=Subnet(export.net, nodes, probes)), site.entering()


def _graph(site: Site) -> Graph:
    cell, (shape,) = site.layer.cell, site.inputs
    vertices = [Vertex("x", shape), _memory(cell)]
    edges = list(_into_memory(cell))
    if cell.input_to_hidden:
        size = cell.memory_d * cell.order
        vertices.append(Vertex("read", (size + shape[0],)))
        edges.append(Edge("memory", "read", slice=slice(size)))
        edges.append(Edge("x", "read", slice=slice(size, size + shape[0])))
    for layer in _stages(cell):
        before = vertices[-1]
        name = layer.cell.name if hasattr(layer, "cell") else layer.name
        output = layer.compute_output_shape((None, 1, *before.shape))[2:]
        stage = Site(layer, name, name, (before.name,), (before.shape,), output, 2)
        vertex, entering = rule_of(layer).read(stage)
        vertices.append(vertex)
        edges += entering
    if cell.hidden_to_memory:
        edges.append(_fed_back(cell, vertices[-1]))
    return Graph(
        name=site.path,
        vertices=tuple(vertices),
        edges=tuple(edges),
        inputs=(Port("x", "x", True),),
        outputs=(Port("y", vertices[-1].name, True),),
    )


def _into_coefficients(cell) -> np.ndarray:
    """From the channels to all coefficients, `(memory_d * order, memory_d)`."""
    _, b = map(array, cell.matrices())
    return np.kron(np.eye(cell.memory_d), b[:, None])


def _kernel(cell, name: str) -> np.ndarray:
    """Weights to the channels, `(memory_d, size)`."""
    weights = cell.kernels.get(name)
    return np.eye(cell.memory_d) if weights is None else array(weights).T


def _matrix(matrix: np.ndarray) -> nengo.Dense:
    return nengo.Dense(matrix.shape, init=matrix)


def _memory(cell) -> Vertex:
    bias = None
    if cell.use_bias:
        bias = _into_coefficients(cell) @ array(cell.kernels["bias"])
    return Vertex("memory", (cell.memory_d * cell.order,), bias=bias)


def _into_memory(cell) -> Iterator[Edge]:
    entrance = _into_coefficients(cell)
    a, _ = map(array, cell.matrices())
    recurrent = np.kron(np.eye(cell.memory_d), a)
    if cell.memory_to_memory:
        recurrent = recurrent + entrance @ _kernel(cell, "recurrent_kernel")
    yield Edge("x", "memory", transform=_matrix(entrance @ _kernel(cell, "kernel")))
    yield Edge("memory", "memory", transform=_matrix(recurrent), synapse=_ONE_STEP)


def _fed_back(cell, hidden: Vertex) -> Edge:
    weights = _matrix(_into_coefficients(cell) @ _kernel(cell, "hidden_kernel"))
    return Edge(hidden.name, "memory", transform=weights, synapse=_ONE_STEP)


LAYERS.add(
    LayerRule(
        _lmu,
        first_of(sequence_objection, _objection),
        outputs=lambda layer: {"": (layer.cell.output_size,)},
    ),
    layers.LMU,
)
