"""Nengo's operators merged where they can be, in one order whenever it is done.

Nengo's own optimizer goes over sets, and stops by the clock: two simulators of one
network may merge, and order, in different ways. Here operators are taken in the order
of a network that is not merged, until nothing more can be, and Python is called in that
order.
"""

import heapq
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import count, pairwise

from nengo.builder.neurons import SimNeurons
from nengo.builder.node import SimPyFunc
from nengo.builder.operator import Operator
from nengo.builder.optimizer import OpMergePass
from nengo.builder.processes import SimProcess
from nengo.builder.signal import Signal
from nengo.synapses import LinearFilter
from nengo.utils.graphs import toposort

__all__ = [
    "OURS_AND_NENGOS",
    "is_python",
    "merged_operators",
    "shared_filters",
    "steps_own_type",
]

# Modules whose classes are none of the user's.
OURS_AND_NENGOS = ("nengo.", "keras_spiking_nengo.")


def merged_operators(
    graph: dict[Operator, set], signals: Iterable[Signal]
) -> tuple[list[Operator], dict[Signal, Signal]]:
    """Merges operators, which get other signals.

    Args:
        graph: which operators depend on which; it is changed.
        signals: all that operators have.

    Returns:
        Operators in the order of a step, and the signal that stands for each.
    """
    order = toposort(graph)
    for one, other in pairwise(op for op in order if is_python(op)):
        graph[one].add(other)
    merging = _Pass(graph, order)
    only_views, before, after = True, -1, -2
    while only_views or after < before:
        only_views = before != after
        before = len(merging.dg.forward)
        merging(only_views)
        after = len(merging.dg.forward)
    now = {}
    for signal in signals:
        now[signal] = signal
        while now[signal] in merging.sig_replacements:
            now[signal] = merging.sig_replacements[now[signal]]
    return _by_rank(graph, merging.rank), now


def shared_filters(
    operators: Iterable[Operator],
) -> tuple[set[Operator], dict[Signal, Signal]]:
    """Finds synapses that do what another one does, as those of several learning rules.

    What else reads their output then reads that of the other one.

    Args:
        operators: their lists of signals are changed.

    Returns:
        The synapses that there is no need for, and the signal that stands for each of
        theirs.
    """
    operators = list(operators)
    written: Counter = Counter()
    for op in operators:
        written.update(signal.base for signal in (*op.sets, *op.incs, *op.updates))
    viewed = {s.base for op in operators for s in op.all_signals if s.is_view}
    first: dict[tuple, SimProcess] = {}
    needless: set[Operator] = set()
    instead: dict[Signal, Signal] = {}
    for op in operators:
        if type(op) is not SimProcess or not isinstance(op.process, LinearFilter):
            continue
        own = [*op.sets, *op.updates]
        alone = all(written[s] == 1 and s not in viewed for s in own)
        if op.input is None or op.mode == "inc" or not alone:
            continue
        starts = tuple((s.shape, s.initial_value.tobytes()) for s in own)
        other = first.setdefault((op.process, op.mode, op.input, starts), op)
        if other is not op:
            needless.add(op)
            instead.update(zip(own, (*other.sets, *other.updates), strict=True))
    for op in operators:
        if op not in needless and any(signal in instead for signal in op.reads):
            op.reads = [instead.get(signal, signal) for signal in op.reads]
    return needless, instead


class _Ordered(dict):
    """A set that is gone over in the order in which it was filled."""

    def add(self, item) -> None:
        self[item] = None

    def remove(self, item) -> None:
        del self[item]

    def difference_update(self, items) -> None:
        for item in items:
            self.pop(item, None)


class _Pass(OpMergePass):
    """Nengo's pass, over operators in order."""

    def __init__(self, graph, order: list[Operator]):
        super().__init__(graph)
        self.rank = {op: number for number, op in enumerate(order)}
        self.might_merge = _Ordered.fromkeys(
            op for op in order if not steps_own_type(op)
        )

    def merge(self, tomerge) -> None:
        before = set(self.dg.forward)
        first = min(self.rank[op] for op in tomerge.ops)
        super().merge(tomerge)
        for op in set(self.dg.forward) - before:
            self.rank[op] = first


def is_python(op: Operator) -> bool:
    """Whether a step of it runs Python of the user's."""
    if isinstance(op, SimProcess):
        return not type(op.process).__module__.startswith("nengo.")
    return isinstance(op, SimPyFunc)


def steps_own_type(op: Operator) -> bool:
    """Whether it steps a neuron type of the user's own.

    Nengo compares the parameters that a type declares, and there may be more.
    """
    return isinstance(op, SimNeurons) and not type(op.neurons).__module__.startswith(
        OURS_AND_NENGOS
    )


def _by_rank(
    graph: Mapping[Operator, set], rank: Mapping[Operator, int]
) -> list[Operator]:
    """An order in which each comes after what it needs, lower ranks first."""
    needs = dict.fromkeys(graph, 0)
    for followers in graph.values():
        for op in followers:
            needs[op] += 1
    number = count()
    ready = [(rank[op], next(number), op) for op in graph if not needs[op]]
    heapq.heapify(ready)
    order = []
    while ready:
        *_, op = heapq.heappop(ready)
        order.append(op)
        for follower in sorted(graph[op], key=rank.__getitem__):
            needs[follower] -= 1
            if not needs[follower]:
                heapq.heappush(ready, (rank[follower], next(number), follower))
    return order
