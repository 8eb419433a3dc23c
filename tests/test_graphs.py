"""Algorithms on graphs, beside networkx-like definitions written out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_spiking_nengo.graphs import components, labels, reachable, schedule, unused

edges = st.integers(1, 8).flatmap(
    lambda n: st.tuples(
        st.just(n),
        st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)), max_size=20),
    )
)


def paths(n: int, pairs) -> np.ndarray:
    """Whether there is a path from one node to another, by Warshall's algorithm."""
    found = np.eye(n, dtype=bool)
    for a, b in pairs:
        found[a, b] = True
    for k in range(n):
        found |= np.outer(found[:, k], found[k])
    return found


@given(edges)
def test_nodes_with_paths_both_ways_are_one_component(graph):
    n, pairs = graph
    there = paths(n, pairs)
    count, label = labels(n, pairs)
    same = label[:, None] == label[None]
    assert np.array_equal(same, there & there.T)
    assert count == len(set(label.tolist()))


@given(edges)
def test_components_come_after_what_leads_to_them(graph):
    n, pairs = graph
    order = components(range(n), pairs)
    assert sorted(name for members in order for name in members) == list(range(n))
    place = {name: i for i, members in enumerate(order) for name in members}
    assert all(place[a] <= place[b] for a, b in pairs)


@given(edges)
def test_what_a_path_leads_to_is_reachable(graph):
    n, pairs = graph
    assert reachable([0], pairs) == set(np.flatnonzero(paths(n, pairs)[0]).tolist())


@given(edges, st.lists(st.sampled_from(["a", "b", None]), min_size=8, max_size=8))
def test_a_schedule_has_needs_first_and_leaves_out_what_waits_for_itself(graph, keys):
    n, pairs = graph
    needs = [{a for a, b in pairs if b == i} for i in range(n)]
    groups = schedule(needs, keys[:n])
    order = [i for group in groups for i in group]
    place = {node: number for number, group in enumerate(groups) for node in group}
    assert all(place[a] < place[i] for i in order for a in needs[i])
    for group in groups:
        assert len({keys[i] for i in group}) == 1
        assert len(group) == 1 or keys[group[0]] is not None
    there = paths(n, pairs)
    cyclic = {a for a, b in pairs if there[b, a]}
    stuck = {i for i in range(n) for c in cyclic if there[c, i]}
    assert set(order) == set(range(n)) - stuck


def test_items_of_one_key_wait_for_each_other():
    # 0 and 3 are of one kind; 3 needs 1, which can be done first.
    assert schedule([set(), set(), set(), {1}], ["a", None, None, "a"]) == [
        [1],
        [0, 3],
        [2],
    ]


@pytest.mark.parametrize("taken", [set(), {"x"}, {"x", "x:2"}])
def test_names_are_made_unique(taken):
    name = unused("x", taken, ":")
    assert name not in taken
    assert name == ("x" if not taken else f"x:{len(taken) + 1}")
