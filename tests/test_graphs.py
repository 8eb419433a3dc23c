"""Algorithms on graphs, beside networkx-like definitions written out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_spiking_nengo.graphs import (
    back_edges,
    bypass,
    components,
    followers,
    labels,
    reachable,
    schedule,
    unused,
)

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


@given(edges)
def test_without_the_edges_that_lead_back_there_is_no_cycle(graph):
    n, pairs = graph
    back = back_edges(range(n), pairs)
    there = paths(n, pairs)
    assert all(there[b, a] for a, b in back)  # each closes a cycle
    rest = paths(n, [pair for pair in pairs if pair not in back])
    assert np.array_equal(rest & rest.T, np.eye(n, dtype=bool))
    assert not {(a, a) for a in range(n)} & ({*pairs} - back)


def test_edges_lead_back_depth_first():
    pairs = ["ab", "bc", "ca", "cb", "ad", "dc"]
    assert back_edges("a", map(tuple, pairs)) == {("c", "a"), ("c", "b")}
    # From elsewhere, other ones do; what `starts` do not lead to is not looked at.
    assert back_edges("c", map(tuple, pairs)) == {("b", "c"), ("d", "c")}
    assert back_edges("x", map(tuple, pairs)) == set()


@given(edges)
def test_past_a_node_that_is_left_out_the_same_ways_lead(graph):
    n, pairs = graph
    rest, short = bypass(pairs, {0})
    assert not any(0 in pair for pair in rest)
    others = [(a, b) for a, b in rest + short if 0 not in (a, b)]
    before, after = paths(n, pairs), paths(n, others)
    assert np.array_equal(before[1:, 1:], after[1:, 1:])


def test_followers_are_in_the_order_of_the_edges():
    after = followers([(1, 3), (2, 1), (1, 2)])
    assert dict(after) == {1: [3, 2], 2: [1]}
