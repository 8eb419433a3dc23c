"""In which order nodes are done, and what may be done together."""

from collections import defaultdict
from collections.abc import Hashable, Sequence
from typing import Any

from nengo.exceptions import BuildError

from keras_spiking_nengo.engine.nodes import Node

__all__ = ["ordered", "schedule"]


def ordered(nodes: Sequence[Node], merging: bool = False) -> list[Node]:
    """Nodes in an order in which each finds what it reads in this step.

    Args:
        nodes: of one loop.
        merging: keep nodes of one key together where that is possible.

    Raises:
        BuildError: if there is no such order: a loop without a synapse.
    """
    maker = {out: i for i, node in enumerate(nodes) for out in node.outs}
    needs = [
        # The output of a lagged node is there from the start.
        {
            maker[value]
            for value in node.sources
            if value in maker and not nodes[maker[value]].lagged
        }
        for node in nodes
    ]
    keys = [node.key(True) if merging else None for node in nodes]
    groups = schedule(needs, keys)
    order = [i for group in groups for i in group]
    if len(order) < len(nodes):
        stuck = sorted(set(range(len(nodes))) - set(order))
        names = dict.fromkeys(nodes[i].label for i in stuck)
        raise BuildError(
            "These depend on each other within one step: "
            f"{', '.join(list(names)[:12])}. Give a connection among them a synapse; 0"
            " is a delay of one step."
        )
    return [nodes[i] for i in order]


def schedule(needs: Sequence[set[int]], keys: Sequence[Hashable]) -> list[list[int]]:
    """Groups of items of one key, in an order that has their needs first.

    An item with the key None is a group of its own. Items wait for others of their
    key as long as something else can be done.
    """
    readers = defaultdict(list)
    for i, needed in enumerate(needs):
        for j in needed:
            readers[j].append(i)
    unmet = [len(needed) for needed in needs]
    names: list[Hashable] = [
        ("own", i) if key is None else ("key", key) for i, key in enumerate(keys)
    ]
    remaining: dict[Any, int] = defaultdict(int)
    for name in names:
        remaining[name] += 1
    ready: dict[Any, list[int]] = {}

    for i, name in enumerate(names):
        if not unmet[i]:
            ready.setdefault(name, []).append(i)
    groups = []
    while ready:
        complete = (n for n, items in ready.items() if len(items) == remaining[n])
        name = next(complete, None) or max(
            ready, key=lambda n: len(ready[n]) / remaining[n]
        )
        group = sorted(ready.pop(name))
        remaining[name] -= len(group)
        groups.append(group)
        for i in group:
            for j in readers[i]:
                unmet[j] -= 1
                if not unmet[j]:
                    ready.setdefault(names[j], []).append(j)
    return groups
