"""Vertices that only pass on are fused away; what follows is the same."""

import nengo
import numpy as np
import pytest
import scipy.sparse

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


@pytest.mark.parametrize("kind", ["matrix", "sparse", "diagonal", "convolution"])
def test_bias_before_a_transform_is_multiplied(kind):
    matrix = np.array([[1.0, 2.0], [0.0, 4.0]])
    kernel = np.array([4.0, 2.0, 1.0]).reshape(3, 1, 1)
    transform, expected = {
        "matrix": (nengo.Dense((2, 2), init=matrix), [5, 8]),
        "sparse": (nengo.Sparse((2, 2), init=scipy.sparse.csr_matrix(matrix)), [5, 8]),
        "diagonal": (nengo.Dense((2, 2), init=[3.0, 4.0]), [3, 8]),
        # The constant is not one at the border, where there is padding.
        "convolution": (
            nengo.Convolution(1, (2, 1), (3,), (1,), padding="same", init=kernel),
            [4, 8],
        ),
    }[kind]
    middle = Vertex("middle", (2,), bias=np.array([1.0, 2.0]))
    edges = Edge("in", "middle"), Edge("middle", "out", transform=transform)
    fused = fuse(graph(middle, *edges))
    assert names(fused) == ["in", "out"]
    np.testing.assert_array_equal(fused["out"].bias, expected)


@pytest.mark.parametrize("first", [True, False])
def test_diagonals_go_into_transforms(first):
    diagonal, matrix = nengo.Dense((2, 2), init=[3.0, 4.0]), [[1.0, 2.0], [0.0, 4.0]]
    both = [diagonal, nengo.Dense((2, 2), init=matrix)]
    both = both if first else both[::-1]
    middle = Vertex("middle", (2,), bias=np.ones(2), layers=("norm",))
    edges = (
        Edge("in", "middle", transform=both[0], layers=("a",)),
        Edge("middle", "out", transform=both[1], synapse=None, layers=("b",)),
    )
    fused = fuse(graph(middle, *edges))
    (edge,) = fused.edges
    assert edge.layers == ("a", "norm", "b")
    expected = [[3, 8], [0, 16]] if first else [[3, 6], [0, 16]]
    np.testing.assert_array_equal(edge.transform.init, expected)


@pytest.mark.parametrize("synapse", [None, SLOW])
def test_a_diagonal_stays_for_several(synapse):
    """It is computed once; a filter commutes with it."""
    diagonal = nengo.Dense((2, 2), init=[3.0, 4.0])
    other = Vertex("other", (2,), neuron_type=nengo.LIF())
    first = Edge("in", "middle", transform=diagonal, synapse=synapse)
    second = Edge("middle", "out", transform=DOUBLE)
    third = Edge("middle", "other", transform=DOUBLE)
    assert "middle" in names(
        fuse(graph(Vertex("middle", (2,)), first, second, third, extra=(other,)))
    )
    (edge,) = fuse(graph(Vertex("middle", (2,)), first, second)).edges
    np.testing.assert_array_equal(edge.transform.init, np.diag([6, 8]))
    assert edge.synapse == synapse


def test_what_is_fed_back_stays():
    edges = (
        Edge("in", "middle"),
        Edge("middle", "middle", transform=DOUBLE, synapse=nengo.Lowpass(0)),
        Edge("middle", "out"),
    )
    fused = fuse(graph(Vertex("middle", (2,)), *edges))
    assert len(fused.edges) == 3 and "middle" in names(fused)


def test_bias_moves_on_without_its_vertex():
    """Two matrices stay two; the constant goes behind the second of them."""
    middle = Vertex("middle", (2,), bias=np.ones(2))
    edges = (
        Edge("in", "middle", transform=DOUBLE),
        Edge("middle", "out", transform=DOUBLE),
    )
    fused = fuse(graph(middle, *edges))
    assert fused["middle"].bias is None and middle.bias is not None
    np.testing.assert_array_equal(fused["out"].bias, [2, 2])


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
