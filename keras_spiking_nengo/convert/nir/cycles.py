"""Cycles of a directed graph, and where they are cut.

A cycle needs a delay. One that passes a `Delay` node has it there; any other is given
one of a single step, on the edge that leads back: depth first from where signals
enter, by name, the one that leads to a node which is still on the way.
"""

from collections.abc import Collection, Iterable, Sequence

import numpy as np
import scipy.sparse
from scipy.sparse.csgraph import connected_components

__all__ = ["backward", "components"]

Edge = tuple[str, str]


def components(names: Sequence[str], edges: Iterable[Edge]) -> list[list[str]]:
    """Strongly connected components, sources first.

    Args:
        names: of the nodes.
        edges: pairs of names.
    """
    number = {name: i for i, name in enumerate(names)}
    pairs = [(number[a], number[b]) for a, b in edges]
    rows, columns = zip(*pairs, strict=True) if pairs else ((), ())
    matrix = scipy.sparse.coo_matrix(
        (np.ones(len(rows)), (rows, columns)), (len(names), len(names))
    )
    count, label = connected_components(matrix, directed=True, connection="strong")
    members: list[list[str]] = [[] for _ in range(count)]
    for name, component in zip(names, label, strict=True):
        members[component].append(name)
    needs: list[set[int]] = [set() for _ in range(count)]
    for a, b in pairs:
        if label[a] != label[b]:
            needs[label[b]].add(int(label[a]))
    found: list[list[str]] = []
    done: set[int] = set()
    waiting = list(range(count))
    while waiting:
        ready = [c for c in waiting if needs[c] <= done]
        found += [members[c] for c in ready]
        done |= {*ready}
        waiting = [c for c in waiting if c not in done]
    return found


def backward(
    members: Collection[str], edges: Iterable[Edge], delays: Collection[str] = ()
) -> set[Edge]:
    """The edges within a component that lead back.

    Args:
        members: nodes of a strongly connected component.
        edges: of the whole graph, pairs of names.
        delays: nodes that delay by a step or more. What leads to them leads back.
    """
    inner: dict[str, list[str]] = {name: [] for name in sorted(members)}
    entries: set[str] = set()
    found: set[Edge] = set()
    for a, b in sorted(set(edges)):
        if b not in inner:
            continue
        if a not in inner:
            entries.add(b)
        elif b in delays:
            found.add((a, b))
            entries.add(b)
        else:
            inner[a].append(b)
    done: set[str] = set()
    # What delays sends what came before, as if it came from outside.
    starts = sorted(entries, key=lambda name: (name in delays, name))
    for start in [*starts, *inner]:
        on_the_way: list[str] = []
        stack = [] if start in done else [(start, iter(inner[start]))]
        on_the_way += [start] if stack else []
        while stack:
            name, successors = stack[-1]
            follower = next(successors, None)
            if follower is None:
                stack.pop()
                on_the_way.pop()
                done.add(name)
            elif follower in on_the_way:
                found.add((name, follower))
            elif follower not in done:
                stack.append((follower, iter(inner[follower])))
                on_the_way.append(follower)
    return found
