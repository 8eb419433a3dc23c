"""Algorithms on directed graphs, and names that are unique in one.

A graph is a number of nodes and pairs of them, `(before, after)`. Nodes are counted,
from 0, or called by any hashable names. Each algorithm is linear in nodes and edges.
"""

import heapq
from collections import defaultdict
from collections.abc import Collection, Container, Hashable, Iterable, Sequence
from itertools import count
from typing import Any, TypeVar

import numpy as np
import scipy.sparse
from scipy.sparse.csgraph import connected_components

__all__ = [
    "back_edges",
    "bypass",
    "components",
    "condensed",
    "followers",
    "labels",
    "reachable",
    "schedule",
    "unused",
]

Name = TypeVar("Name", bound=Hashable)


def labels(n_nodes: int, edges: Iterable[tuple[int, int]]) -> tuple[int, np.ndarray]:
    """Number of strongly connected components, and the component of each node.

    Args:
        n_nodes: number of nodes.
        edges: pairs of nodes, counted from 0.

    Example:
        >>> n_components, component = labels(3, [(0, 1), (1, 0), (1, 2)])
        >>> n_components, bool(component[0] == component[1])
        (2, True)
    """
    pairs = np.array(list(edges), dtype=int).reshape(-1, 2)
    values = np.ones(len(pairs))
    matrix = scipy.sparse.coo_matrix((values, pairs.T), (n_nodes, n_nodes))
    return connected_components(matrix, directed=True, connection="strong")


def condensed(
    n_nodes: int, edges: Iterable[tuple[int, int]]
) -> tuple[list[list[int]], list[set[int]]]:
    """Strongly connected components: the nodes of each, and what comes before it.

    Args:
        n_nodes: number of nodes.
        edges: pairs of nodes, counted from 0.

    Example:
        >>> members, needs = condensed(3, [(0, 1), (1, 0), (2, 1)])
        >>> sorted(members)
        [[0, 1], [2]]
    """
    edges = list(edges)
    n_components, label = labels(n_nodes, edges)
    members: list[list[int]] = [[] for _ in range(n_components)]
    for node, component in enumerate(label):
        members[component].append(node)
    needs: list[set[int]] = [set() for _ in range(n_components)]
    for a, b in edges:
        if label[a] != label[b]:
            needs[label[b]].add(int(label[a]))
    return members, needs


def components(
    names: Sequence[Name], edges: Iterable[tuple[Name, Name]]
) -> list[list[Name]]:
    """Strongly connected components, sources first.

    Args:
        names: of the nodes.
        edges: pairs of names.

    Example:
        >>> components("abc", [("b", "c"), ("c", "b"), ("a", "b")])
        [['a'], ['b', 'c']]
    """
    number = {name: i for i, name in enumerate(names)}
    members, needs = condensed(len(names), [(number[a], number[b]) for a, b in edges])
    level = [0] * len(members)
    for (c,) in schedule(needs, [None] * len(members)):
        level[c] = 1 + max((level[need] for need in needs[c]), default=0)
    order = sorted(range(len(members)), key=level.__getitem__)
    return [[names[node] for node in members[c]] for c in order]


def followers(edges: Iterable[tuple[Name, Name]]) -> dict[Name, list[Name]]:
    """The nodes that each node leads to, in the order of the edges.

    Example:
        >>> followers(["ab", "bc", "ac"])["a"]
        ['b', 'c']
    """
    after: dict[Name, list[Name]] = defaultdict(list)
    for a, b in edges:
        after[a].append(b)
    return after


def reachable(starts: Iterable[Name], edges: Iterable[tuple[Name, Name]]) -> set[Name]:
    """Names of the nodes that a path leads to from one of `starts`, and these.

    Example:
        >>> sorted(reachable("b", [("a", "b"), ("b", "c")]))
        ['b', 'c']
    """
    after = followers(edges)
    reached = set(starts)
    waiting = list(reached)
    while waiting:
        for name in after.get(waiting.pop(), ()):
            if name not in reached:
                reached.add(name)
                waiting.append(name)
    return reached


def back_edges(
    starts: Iterable[Name], edges: Iterable[tuple[Name, Name]]
) -> set[tuple[Name, Name]]:
    """The edges that lead to a node which is still on the way, depth first.

    Without them there is no cycle among the nodes that `starts` lead to.

    Args:
        starts: where ways begin, one after the other.
        edges: pairs of names; of those from one node, the first is followed first.

    Example:
        >>> back_edges("b", [("a", "b"), ("b", "c"), ("c", "a")])
        {('a', 'b')}
    """
    after = followers(edges)
    backward: set[tuple[Name, Name]] = set()
    visited: set[Name] = set()
    for start in starts:
        # Each node on the way, with those of its followers that are left.
        way = {} if start in visited else {start: iter(after[start])}
        while way:
            name = next(reversed(way))
            for follower in way[name]:
                if follower in way:
                    backward.add((name, follower))
                elif follower not in visited:
                    way[follower] = iter(after[follower])
                    break
            else:
                visited.add(name)
                del way[name]
    return backward


def bypass(
    edges: Iterable[tuple[Name, Name]], names: Collection[Name]
) -> tuple[list[tuple[Name, Name]], list[tuple[Name, Name]]]:
    """The edges without some nodes: those that stay, and those past the nodes.

    Args:
        edges: pairs of names.
        names: of the nodes to leave out, none of which leads to another of them.

    Example:
        >>> bypass([("a", "b"), ("b", "c"), ("a", "c")], {"b"})
        ([('a', 'c')], [('a', 'c')])
    """
    edges = list(edges)
    before, after = followers((b, a) for a, b in edges), followers(edges)
    rest = [(a, b) for a, b in edges if a not in names and b not in names]
    return rest, [(a, b) for name in names for a in before[name] for b in after[name]]


def schedule(
    needs: Sequence[set[int]], keys: Sequence[Hashable | None]
) -> list[list[int]]:
    """Groups of nodes of one key, in an order that has their needs first.

    A node with the key None is a group of its own. Nodes wait for others of their
    key as long as something else can be done. What waits for itself is left out.

    Args:
        needs: by node, the nodes that come before it.
        keys: by node.

    Example:
        >>> schedule([set(), {0}, set(), {1}], ["a", "b", "a", "b"])
        [[0, 2], [1], [3]]
    """
    after = followers((j, i) for i, needed in enumerate(needs) for j in needed)
    unmet = [len(needed) for needed in needs]
    groups = [("own", i) if key is None else ("key", key) for i, key in enumerate(keys)]
    queue = _Queue(groups)
    for i, n_needs in enumerate(unmet):
        if not n_needs:
            queue.add(i)
    order = []
    while queue:
        group = queue.take()
        order.append(group)
        for i in group:
            for j in after[i]:
                unmet[j] -= 1
                if not unmet[j]:
                    queue.add(j)
    return order


class _Queue:
    """Nodes that can be done now, by group.

    Args:
        groups: name of the group of each node.
    """

    def __init__(self, groups: Sequence[Hashable]):
        self._groups = groups
        self._remaining: dict[Any, int] = defaultdict(int)
        for name in groups:
            self._remaining[name] += 1
        self._ready: dict[Any, list[int]] = {}
        self._began: dict[Any, int] = {}
        self._complete: list[tuple[int, Any]] = []
        self._count = count()

    def __bool__(self) -> bool:
        return bool(self._ready)

    def add(self, node: int) -> None:
        name = self._groups[node]
        if name not in self._ready:
            self._ready[name] = []
            self._began[name] = next(self._count)
        self._ready[name].append(node)
        if len(self._ready[name]) == self._remaining[name]:
            heapq.heappush(self._complete, (self._began[name], name))

    def take(self) -> list[int]:
        """The first group of which all is there, else the one of which most is."""
        if self._complete:
            _, name = heapq.heappop(self._complete)
        else:
            ready, remaining = self._ready, self._remaining
            name = max(ready, key=lambda n: len(ready[n]) / remaining[n])
        group = sorted(self._ready.pop(name))
        self._remaining[name] -= len(group)
        return group


def unused(name: str, taken: Container[str], mark: str = "_") -> str:
    """`name`, with `mark` and a number if it is taken.

    Example:
        >>> unused("a", {"a", "a_2"})
        'a_3'
    """
    number, unique = 1, name
    while unique in taken:
        number += 1
        unique = f"{name}{mark}{number}"
    return unique
