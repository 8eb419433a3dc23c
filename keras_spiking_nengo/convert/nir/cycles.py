"""Cycles of a directed graph, and where they are cut.

A cycle needs a delay. One that passes a `Delay` node has it there; any other is given
one of a single step, on the edge that leads back: depth first from where signals
enter, by name, the one that leads to a node which is still on the way.
"""

from collections.abc import Collection, Iterable

__all__ = ["Edge", "backward"]

Edge = tuple[str, str]


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
