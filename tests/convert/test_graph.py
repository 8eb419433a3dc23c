"""Vertices that only pass on are fused away; what follows is the same."""

import nengo
import numpy as np
import pytest
import scipy.sparse

import keras_spiking_nengo as ksn
from keras_spiking_nengo.convert.graph import (
    Edge,
    Graph,
    Names,
    Port,
    Subnet,
    Vertex,
    fold_constants,
    fuse,
)
from keras_spiking_nengo.convert.keras.writing import write as write_keras
from keras_spiking_nengo.convert.nengo.writing import write as write_nengo
from tests.marks import TAKES_TURNS

pytestmark = TAKES_TURNS

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


def test_what_is_at_an_end():
    first, second = Edge("in", "middle"), Edge("middle", "out")
    whole = graph(Vertex("middle", (2,)), first, second)
    assert whole["middle"] is whole.vertices[1]
    assert whole.into["middle"] == (first,) and whole.out_of["middle"] == (second,)
    assert whole.into["in"] == () == whole.out_of["out"]
    assert whole.before(["middle"]) == {"in", "middle"}
    part = whole.only(["middle", "out"])
    assert names(part) == ["middle", "out"] and part.edges == (second,)
    with pytest.raises(KeyError):
        whole["other"]


def test_names_are_given_once():
    unique = Names(["a", "a_2"])
    assert [unique.new(name) for name in "aab"] == ["a_3", "a_4", "b"]
    assert unique.new("a_4") == "a_4_2"


@pytest.mark.parametrize("synapse", [None, SLOW])
def test_constants_go_into_biases(synapse):
    """Past a filter they stay: it begins at zero."""
    middle = Vertex("middle", (2,), bias=np.array([1.0, 2.0]))
    edges = (
        Edge("in", "out"),
        Edge("middle", "out", transform=DOUBLE, synapse=synapse),
    )
    folded = fold_constants(graph(middle, *edges))
    kept = ["in", "out"] if synapse is None else ["in", "middle", "out"]
    assert names(folded) == kept
    assert len(folded.edges) == len(kept) - 1
    if synapse is None:
        np.testing.assert_array_equal(folded["out"].bias, [2, 4])


def test_constants_of_constants():
    middle, more = Vertex("middle", (2,), bias=np.ones(2)), Vertex("more", (2,))
    edges = Edge("middle", "more"), Edge("more", "out", transform=DOUBLE)
    folded = fold_constants(graph(middle, *edges, extra=(more,)))
    assert names(folded) == ["in", "out"] and not folded.edges
    np.testing.assert_array_equal(folded["out"].bias, [2, 2])


# --- writing ----------------------------------------------------------------------


GAIN, BIAS = np.array([2.0, 0.5]), np.array([0.0, 0.25])


def with_gain():
    """`relu(g u + b)`, which is known."""
    neurons = Vertex(
        "neurons",
        (2,),
        neuron_type=nengo.RectifiedLinear(),
        gain=GAIN,
        bias=BIAS,
        layers=("neurons",),
    )
    return graph(neurons, Edge("in", "neurons"), Edge("neurons", "out"))


@pytest.mark.parametrize("write", [write_nengo, write_keras])
def test_gains_are_in_what_is_written(write):
    x = np.random.RandomState(0).uniform(-1, 1, (2, 5, 2))
    written = write(with_gain())
    y = written.run(x) if write is write_nengo else written.predict(x, verbose=0)
    np.testing.assert_allclose(y, np.maximum(GAIN * x + BIAS, 0), atol=1e-6)


def with_subnet():
    with nengo.Network(label="inner", seed=0, add_to_container=False) as net:
        given = nengo.Node(np.zeros(2), label="given")
        ens = nengo.Ensemble(
            20, 2, label="ens", neuron_type=nengo.PoissonSpiking(nengo.LIFRate())
        )
        nengo.Connection(given, ens)
        nengo.Connection(ens, ens, synapse=0.1)
        turned = nengo.Node(lambda t, x: x[::-1], size_in=2, label="turned")
        nengo.Connection(ens, turned)
        probe = nengo.Probe(turned, synapse=0.01)
    hub = Vertex("hub", (2,), subnet=Subnet(net, (given,), (probe,)), layers=("hub",))
    sent = Vertex("sent", (2,), output=("hub", 0))
    edges = Edge("in", "hub"), Edge("sent", "out")
    return graph(hub, *edges, extra=(sent,))


def described(net):
    """All that a network says of its objects, whichever objects they are."""
    objects = [*net.all_ensembles, *net.all_nodes, *net.all_connections]
    objects += net.all_probes
    return [
        (
            type(obj).__name__,
            obj.label,
            obj.seed,
            obj.size_in,
            obj.size_out,
            getattr(obj, "neuron_type", None),
            getattr(obj, "output", None).__class__,
            getattr(obj, "transform", None),
        )
        for obj in objects
    ]


def test_writing_changes_no_network():
    whole = with_subnet()
    net = whole["hub"].subnet.net
    before = described(net)
    first, second = write_nengo(whole, seed=1), write_nengo(whole, seed=1)
    assert described(net) == before
    assert described(first.net) == described(second.net)
    assert not {*net.all_nodes} & {*first.net.all_nodes, *second.net.all_nodes}
    x = np.random.RandomState(0).uniform(-1, 1, (1, 20, 2))
    np.testing.assert_array_equal(first.run(x), second.run(x))
    # In the other direction the network is still what it was.
    assert write_keras(whole).predict(x, verbose=0).shape == (1, 20, 2)


def test_a_bias_is_no_input():
    """A constant of ours comes back as a bias; one of the user's takes data."""
    whole = graph(Vertex("middle", (2,), bias=BIAS), Edge("in", "middle", DOUBLE))
    whole = fuse(
        Graph(
            "graph",
            whole.vertices[:2],
            whole.edges,
            whole.inputs,
            (Port("middle", "middle", True),),
        )
    )
    net = write_nengo(whole).net
    back = ksn.from_nengo(net)
    assert len(back.inputs) == 1
    x = np.random.RandomState(0).uniform(-1, 1, (2, 5, 2))
    np.testing.assert_allclose(back.predict(x, verbose=0), 2 * x + BIAS, atol=1e-6)
    dense = next(layer for layer in back.layers if layer.name.startswith("in_to"))
    np.testing.assert_allclose(dense.bias, BIAS)
    with net:
        nengo.Connection(nengo.Node([0.0], label="own"), net.nodes[1][0])
    assert len(ksn.from_nengo(net).inputs) == 2
    # A layer that holds the network has the same inputs.
    assert len(ksn.layers.Network(net).cell.ports.nodes) == 2
