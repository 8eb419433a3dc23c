"""What is fetched of values is what NumPy's indexing finds."""

from unittest import mock

import nengo
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops
from nengo.builder.signal import Signal

import keras_spiking_nengo as ksn
from keras_spiking_nengo.dynamics.loops import gather
from keras_spiking_nengo.engine.signals import (
    Gather,
    Slice,
    Value,
    Weight,
    elements,
    pick,
    whole_slice,
)
from tests.conftest import BACKEND

LEAD = (2, 3)
SIZES = (1, 4, 30)


@st.composite
def slices(draw):
    """Pieces: runs, single elements, whole values, blocks of a matrix, and zeros."""
    values = [Value(str(size), size) for size in SIZES]
    found = []
    for _ in range(draw(st.integers(0, 6))):
        value = draw(st.sampled_from([None, *values]))
        size = 5 if value is None else value.size
        kind = draw(st.sampled_from(["run", "any", "all", "block"]))
        if kind == "all":
            index = np.arange(size)
        elif kind == "run":
            start = draw(st.integers(0, size - 1))
            index = np.arange(start, draw(st.integers(start, size)))
        elif kind == "block" and size == 30:
            columns = draw(st.sampled_from([2, 3, 5, 6]))
            rows, across = (
                slice(*sorted(draw(st.tuples(*[st.integers(0, n)] * 2))))
                for n in (30 // columns, columns)
            )
            index = np.arange(30).reshape(-1, columns)[rows, across].ravel()
        else:
            places = st.lists(st.integers(0, size - 1), max_size=40)
            index = np.array(draw(places), dtype=int)
        found.append(Slice(value, index))
    return values, found


# JAX compiles each of them anew.
@settings(max_examples=20 if BACKEND == "jax" else 60, deadline=None, derandomize=True)
@given(slices())
def test_fetch_is_numpys_indexing(case):
    values, found = case
    rng = np.random.RandomState(0)
    arrays = {v: rng.uniform(1, 2, (*LEAD, v.size)).astype("float32") for v in values}
    expected = [
        np.zeros((*LEAD, piece.size), "float32")
        if piece.value is None
        else arrays[piece.value][..., piece.index]
        for piece in found
    ]
    expected = np.concatenate([np.zeros((*LEAD, 0), "float32"), *expected], axis=-1)
    env = {v: ops.convert_to_tensor(array) for v, array in arrays.items()}
    read = Gather(found)
    actual = ops.convert_to_numpy(read(env, env[values[0]]))
    np.testing.assert_array_equal(actual, expected)
    assert read.size == actual.shape[-1]
    assert set(read.values) == {r.value for r in found if r.value and r.size}


@pytest.mark.parametrize("long", [False, True])
def test_few_long_pieces_are_put_side_by_side(long):
    """An element that is looked up takes ten times as long as one that is copied."""
    wide, narrow = Value("wide", 400 if long else 40), Value("narrow", 4)
    rng = np.random.RandomState(0)
    arrays = {
        v: rng.uniform(1, 2, (*LEAD, v.size)).astype("float32") for v in (wide, narrow)
    }
    pieces = [
        Slice(narrow, np.array([3, 1])),
        Slice(wide, np.arange(wide.size)),
        Slice(None, np.zeros(1, int)),
        Slice(narrow, np.array([0, 2])),
    ]
    tensors = {v: ops.convert_to_tensor(array) for v, array in arrays.items()}
    with mock.patch("keras_spiking_nengo.engine.signals.gather", wraps=gather) as used:
        y = ops.convert_to_numpy(Gather(pieces)(tensors, tensors[narrow]))
    x, few = arrays[wide], arrays[narrow]
    zeros = np.zeros((*LEAD, 1), "float32")
    expected = [few[..., [3, 1]], x, zeros, few[..., [0, 2]]]
    np.testing.assert_array_equal(y, np.concatenate(expected, axis=-1))
    assert used.called != long


@pytest.mark.parametrize(
    ("rows", "columns"),
    [(slice(5), slice(2, 4)), (slice(1, 5), slice(1)), (slice(1, 6), slice(5, 6))],
)
def test_a_block_of_a_matrix_is_sliced(rows, columns):
    value = Value("matrix", 36)
    index = np.arange(36).reshape(6, 6)[rows, columns].ravel()
    array = np.random.RandomState(0).uniform(1, 2, (*LEAD, 36)).astype("float32")
    with mock.patch("keras_spiking_nengo.engine.signals.gather") as gather:
        y = Gather([Slice(value, index)])({value: ops.convert_to_tensor(array)}, None)
    np.testing.assert_array_equal(ops.convert_to_numpy(y), array[..., index])
    gather.assert_not_called()


def test_whole_values_are_passed_on_untouched():
    value = Value("v", 6)
    x = ops.ones((2, 6))
    for pieces in (
        [whole_slice(value)],
        [whole_slice(value)[:2], whole_slice(value)[2:]],
    ):
        gather = Gather(pieces)
        assert gather.is_whole
        assert gather({value: x}, x) is x
    assert not Gather([whole_slice(value)[::-1]]).is_whole
    assert not Gather([whole_slice(value), whole_slice(value)]).is_whole
    assert not Gather([Slice(None, np.arange(6))]).is_whole


def test_equal_keys_mean_equal_elements():
    a, b = Value("a", 3), Value("b", 3)
    assert Gather([whole_slice(a)]).key == Gather([whole_slice(a)]).key
    assert Gather([whole_slice(a)]).key != Gather([whole_slice(b)]).key
    assert Gather([whole_slice(a)]).key != Gather([whole_slice(a)[::-1]]).key


VIEWS = {
    "slice": lambda s: s[2:5],
    "step": lambda s: s[1::3],
    "negative step": lambda s: s[::-2],
    "element": lambda s: s[3:4],
    "rows": lambda s: s.reshape((4, 3))[1:3],
    "columns": lambda s: s.reshape((4, 3))[:, 1:],
    "reversed columns": lambda s: s.reshape((4, 3))[::-1, ::-2],
    "empty": lambda s: s[5:5],
}


@pytest.mark.parametrize("name", VIEWS)
def test_elements_of_a_view_are_numpys(name):
    base = np.arange(12.0)
    view = VIEWS[name](Signal(base, name="base"))
    np.testing.assert_array_equal(elements(view), VIEWS[name](base).ravel())


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
def test_elements_do_not_depend_on_the_size_of_an_element(dtype):
    signal = Signal(np.arange(12).astype(dtype), name="base")
    np.testing.assert_array_equal(elements(signal[1::2]), np.arange(12)[1::2])
    np.testing.assert_array_equal(elements(signal), np.arange(12))


@pytest.mark.parametrize("tensors", [(), (0,), (0, 1)])
def test_pick_joins_elements_of_parameters(tensors):
    values = {"a": np.arange(6.0).reshape(2, 3), "b": np.arange(10.0, 14.0)}
    given_values = {
        key: ops.convert_to_tensor(value) if i in tensors else value
        for i, (key, value) in enumerate(values.items())
    }
    params = [
        Weight("a", None, 6),
        Weight("a", np.array([4, 4, 0]), 6),
        Weight("b", np.array([1, 2]), 4),
        Weight("b", np.arange(4), 4),
    ]
    picked = pick(given_values, params)
    assert ops.is_tensor(picked) == bool(tensors)
    expected = [*range(6), 4, 4, 0, 11, 12, 10, 11, 12, 13]
    np.testing.assert_array_equal(ops.convert_to_numpy(picked), expected)


def test_a_network_that_reads_many_pieces_runs_as_nengo():
    # More pieces than slices are worth: one gather.
    order = np.random.RandomState(0).permutation(40)
    with nengo.Network() as net:
        source = nengo.Node(np.arange(40.0))
        goal = nengo.Node(size_in=40)
        nengo.Connection(source[order], goal, synapse=None)
        nengo.Connection(source[order[:20]], goal[order[20:]], synapse=0)
        probe = nengo.Probe(goal)
    with ksn.Simulator(net, progress_bar=False) as sim:
        sim.run_steps(2)
    with nengo.Simulator(net, progress_bar=False) as reference:
        reference.run_steps(2)
    np.testing.assert_array_equal(sim.data[probe], reference.data[probe])
