"""Vertices that only pass on are fused away; what follows is the same."""

import nengo
import numpy as np
import pytest

from keras_spiking_nengo.convert.graph import Edge, Graph, Port, Vertex, fuse

DOUBLE = nengo.Dense((2, 2), init=2 * np.eye(2))
SLOW = nengo.Lowpass(0.1)


def graph(middle, *edges, extra=()):
    """`in -> middle -> out`, with more vertices and edges."""
    vertices = (Vertex("in", (2,)), middle, *extra, Vertex("out", (2,)))
    ports = (Port("in", "in", True),), (Port("out", "out", True),)
    return Graph("graph", vertices, edges, *ports)


def names(fused):
    return [vertex.name for vertex in fused.vertices]


@pytest.mark.parametrize(
    "first, second",
    [
        ({}, {}),
        ({"transform": DOUBLE}, {}),
        ({}, {"transform": DOUBLE}),
        ({"synapse": SLOW}, {"transform": DOUBLE}),
        ({"transform": DOUBLE}, {"synapse": SLOW}),
        ({"transform": DOUBLE, "synapse": SLOW}, {}),
    ],
)
def test_one_edge_remains(first, second):
    middle = Vertex("middle", (2,), layers=("middle",))
    edges = Edge("in", "middle", **first), Edge("middle", "out", **second)
    fused = fuse(graph(middle, *edges))
    assert names(fused) == ["in", "out"]
    (edge,) = fused.edges
    expected = {"transform": None, "synapse": None} | first | second
    assert (edge.source, edge.target) == ("in", "out")
    assert (edge.transform, edge.synapse) == tuple(expected.values())
    assert edge.layers == ("middle",)


@pytest.mark.parametrize(
    "middle, first, second",
    [
        ({}, {"transform": DOUBLE}, {"transform": DOUBLE}),
        ({}, {"synapse": SLOW}, {"synapse": SLOW}),
        ({"bias": np.ones(2)}, {"transform": DOUBLE}, {"synapse": SLOW}),
        ({"bias": np.ones(2)}, {}, {"transform": DOUBLE}),
        ({"neuron_type": nengo.LIF()}, {}, {}),
        ({"process": SLOW}, {}, {}),
    ],
)
def test_vertex_is_kept(middle, first, second):
    edges = Edge("in", "middle", **first), Edge("middle", "out", **second)
    fused = fuse(graph(Vertex("middle", (2,), **middle), *edges))
    assert names(fused) == ["in", "middle", "out"]


def test_bias_moves_on():
    middle = Vertex("middle", (2,), bias=np.array([1.0, 2.0]))
    out = Vertex("out", (3,), bias=np.ones(3))
    edges = (
        Edge("in", "middle", transform=DOUBLE),
        Edge("middle", "out", slice=slice(1, 3)),
    )
    ports = (Port("in", "in", True),), (Port("out", "out", True),)
    fused = fuse(Graph("graph", (Vertex("in", (2,)), middle, out), edges, *ports))
    np.testing.assert_array_equal(fused["out"].bias, [1, 2, 3])
    np.testing.assert_array_equal(out.bias, np.ones(3))
    (edge,) = fused.edges
    assert (edge.transform, edge.slice) == (DOUBLE, slice(1, 3))


def test_sums_go_to_their_target():
    other = Vertex("other", (2,), neuron_type=nengo.LIF())
    edges = (
        Edge("in", "other"),
        Edge("in", "middle", transform=DOUBLE),
        Edge("other", "middle", synapse=SLOW),
        Edge("middle", "out"),
    )
    fused = fuse(graph(Vertex("middle", (2,)), *edges, extra=(other,)))
    assert names(fused) == ["in", "other", "out"]
    assert {(edge.source, edge.target) for edge in fused.edges} == {
        ("in", "other"),
        ("in", "out"),
        ("other", "out"),
    }


def test_no_transform_is_computed_twice():
    other = Vertex("other", (2,), neuron_type=nengo.LIF())
    edges = (
        Edge("in", "middle", transform=DOUBLE),
        Edge("middle", "other"),
        Edge("middle", "out"),
    )
    fused = fuse(graph(Vertex("middle", (2,)), *edges, extra=(other,)))
    assert "middle" in names(fused)


def test_what_follows():
    middle = Vertex("middle", (2,))
    whole = graph(middle, Edge("in", "middle"), Edge("middle", "out"))
    assert whole.after(["middle"]) == {"middle", "out"}
    assert whole.after([]) == set()
