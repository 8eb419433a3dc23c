"""Passes over a program: each gives another one with the same numbers.

`simplify` drops what nothing reads, and sums that only pass on what they read.
`pool` filters a sum once where its terms were filtered alike. `condense` splits the
one loop over all nodes into strongly connected components: a node on no cycle does all
steps at once, and only real recurrences loop. `sink` takes products back into a loop,
which then hands out less. `merge` joins stages, and nodes within a stage, that do the
same to different values. `narrow` lets a loop hand out only those elements that others
read. `compact` keeps states in less memory.

`sink` pays for several items at a time, and like `compact` where no gradients are
asked for.
"""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from keras_spiking_nengo.engine.cells import Filter, Neurons
from keras_spiking_nengo.engine.linear import Product
from keras_spiking_nengo.engine.nodes import Accumulate, Node, Sum, join
from keras_spiking_nengo.engine.order import ordered
from keras_spiking_nengo.engine.program import Program, Stage
from keras_spiking_nengo.engine.signals import Fetch, Ref, Value, whole
from keras_spiking_nengo.graphs import labels, schedule

__all__ = [
    "ALWAYS",
    "PASSES",
    "compact",
    "condense",
    "merge",
    "narrow",
    "pool",
    "simplify",
    "sink",
]


def simplify(program: Program) -> Program:
    """Drop dead nodes, states that nobody looks at, and sums of one term."""
    (stage,) = program.stages
    found: dict[Value, Fetch] = {}

    def trace(ref: Ref) -> Sequence[Ref]:
        source = found.get(ref.value) if ref.value is not None else None
        if source is None:
            return [ref]
        return source.taken(ref.index)

    nodes = []
    for node in ordered(stage.nodes):
        node = node.rewired(trace)
        alias = node.alias if isinstance(node, Sum) else None
        if alias is not None:
            found[node.outs[0]] = alias
        else:
            nodes.append(node)
    # A lagged node may read what was found to be an alias only later.
    nodes = [node.rewired(trace) for node in nodes]
    outputs = {key: fetch.rewired(trace) for key, fetch in program.outputs.items()}
    nodes = _alive(nodes, outputs.values())
    return replace(program, stages=(Stage("loop", tuple(nodes)),), outputs=outputs)


def _alive(nodes: Sequence[Node], outputs: Iterable[Fetch]) -> list[Node]:
    """Nodes that outputs or Python see, with only those states shown that are read."""
    maker = {out: node for node in nodes for out in node.outs}
    pending = [value for fetch in outputs for value in fetch.values]
    pending += [value for node in nodes if node.host for value in node.sources]
    needed: set[Value] = set()
    while pending:
        value = pending.pop()
        if value not in needed:
            needed.add(value)
            pending += maker[value].sources if value in maker else []
    alive = [n for n in nodes if n.host or any(out in needed for out in n.outs)]
    return [_shown(n, needed) if isinstance(n, Neurons) else n for n in alive]


def _shown(node: Neurons, needed: set[Value]) -> Neurons:
    shown = zip(node.shown, node.outs[1:], strict=True)
    kept = [(name, out) for name, out in shown if out in needed]
    names, outs = zip(*kept, strict=True) if kept else ((), ())
    return replace(node, shown=tuple(names), outs=(node.outs[0], *outs))


def pool(program: Program) -> Program:
    """Filter sums, not their terms, where equal filters serve nothing but the sum."""
    (stage,) = program.stages
    filters = {n.outs[0]: n for n in stage.nodes if isinstance(n, Filter)}
    readers: dict[Value, list[Node | None]] = defaultdict(list)
    for node in stage.nodes:
        for value in node.sources:
            readers[value].append(node)
    for fetch in program.outputs.values():
        for value in fetch.values:
            readers[value].append(None)
    nodes: list[Node] = []
    for node in stage.nodes:
        if not isinstance(node, Sum):
            nodes.append(node)
            continue
        groups: dict[Hashable, list[tuple[Ref, np.ndarray]]] = defaultdict(list)
        for ref, where in node.parts:
            source = filters.get(ref.value) if ref.value is not None else None
            if source is None or len(readers[source.outs[0]]) > 1:
                key = None
            else:
                key = source.key(False)
            groups[key].append((ref, where))
        kept = groups.pop(None, [])
        for parts in groups.values():
            rows = np.unique(np.concatenate([where for _, where in parts]))
            if sum(ref.size for ref, _ in parts) > len(rows):
                made, pooled = _pooled(parts, rows, filters)
                nodes += made
                parts = [(whole(pooled), rows)]
            kept += parts
        nodes.append(node.of_parts(kept) if groups else node)
    nodes = _alive(nodes, program.outputs.values())
    return replace(program, stages=(Stage("loop", tuple(nodes)),))


def _pooled(parts, rows: np.ndarray, filters: Mapping[Value, Filter]):
    """A sum of what `parts` filter, for the elements `rows`, and its one filter."""
    first = filters[parts[0][0].value]
    initial = np.zeros((*first.initial[0].shape[:-1], len(rows)))
    terms = []
    for ref, where in parts:
        source, places = filters[ref.value], np.searchsorted(rows, where)
        for row, given in zip(initial, source.initial[0], strict=True):
            np.add.at(row, places, given[ref.index])
        start = 0
        for found in source.reads[0].taken(ref.index):
            if found.value is not None:
                terms.append((found, places[start : start + found.size]))
            start += found.size
    total, filtered = (Value(f"{first.label} and others", len(rows)) for _ in range(2))
    node = replace(
        first,
        reads=(Fetch([whole(total)]),),
        outs=(filtered,),
        initial=(initial,),
        systems=((first.systems[0][0], len(rows)),),
    )
    return [Sum.of(first.label, total, terms, ()), node], filtered


# --- components -----------------------------------------------------------------


def condense(program: Program) -> Program:
    """Loop over strongly connected components only."""
    (stage,) = program.stages
    nodes = stage.nodes
    edges = list(_edges(nodes))
    n_components, label = labels(len(nodes), edges)
    members: list[list[int]] = [[] for _ in range(n_components)]
    for i, component in enumerate(label):
        members[component].append(i)
    needs: list[set[int]] = [set() for _ in range(n_components)]
    for a, b in edges:
        if label[a] != label[b]:
            needs[label[b]].add(label[a])
    selfish = {a for a, b in edges if a == b}
    order = [c for group in schedule(needs, [None] * n_components) for c in group]
    stages = tuple(
        _stage([nodes[i] for i in members[c]], members[c][0] in selfish) for c in order
    )
    return replace(program, stages=stages)


def _edges(nodes: Sequence[Node]) -> Iterable[tuple[int, int]]:
    """From a node to those that read it, in this step or the next."""
    maker = {out: i for i, node in enumerate(nodes) for out in node.outs}
    readers = defaultdict(list)
    for i, node in enumerate(nodes):
        for value in node.sources:
            if value in maker:
                yield maker[value], i
            readers[value].append(i)
    # Learned weights are never laid out over time: who reads them loops with them.
    for i, node in enumerate(nodes):
        if isinstance(node, Accumulate) and len(node.outs[0].shape) > 1:
            writers = (maker[value] for value in node.sources if value in maker)
            for j in (*readers[node.outs[0]], *writers):
                yield i, j
                yield j, i
    # Python sees what happened in the order of steps.
    hosts = [i for i, node in enumerate(nodes) if node.host]
    for i, j in zip(hosts, hosts[1:], strict=False):
        yield i, j
        yield j, i


def _stage(nodes: Sequence[Node], cyclic: bool) -> Stage:
    if len(nodes) > 1 or cyclic:
        return Stage("loop", tuple(ordered(nodes)))
    (node,) = nodes
    if isinstance(node, Filter):
        return Stage("filter", (node,))
    return Stage("loop" if node.initial else "map", (node,))


def sink(program: Program) -> Program:
    """Take large products of what a loop multiplies anyway into that loop.

    Only where they are all that reads it outside, so that it is not handed out.
    """
    home = {out: s for s in program.stages for n in s.nodes for out in n.outs}
    shown = {value for fetch in program.outputs.values() for value in fetch.values}
    readers: dict[Value, list[Stage]] = defaultdict(list)
    for stage in program.stages:
        for value in {value for node in stage.nodes for value in node.sources}:
            if home.get(value) not in (None, stage):
                readers[value].append(stage)
    sunk: dict[Stage, list[Node]] = defaultdict(list)
    gone: set[Stage] = set()
    for value, reading in readers.items():
        loop = home[value]
        inside = {_multiplied(node) for node in loop.nodes} - {None}
        outside = {
            _multiplied(stage.nodes[0]) if stage.kind == "map" else None
            for stage in reading
        }
        if loop.kind == "loop" and value not in shown and outside <= inside:
            sunk[loop] += [stage.nodes[0] for stage in reading]
            gone.update(reading)
    stages = tuple(
        replace(stage, nodes=(*stage.nodes, *sunk[stage])) if stage in sunk else stage
        for stage in program.stages
        if stage not in gone
    )
    return replace(program, stages=stages)


def _multiplied(node: Node) -> Hashable:
    """What a large product reads; None of any other node."""
    large = isinstance(node, Product) and node.large
    return (node.key(True), node.reads[0].key) if large else None


# --- merging --------------------------------------------------------------------


def merge(program: Program) -> Program:
    """Join what does the same to different values, or to the same."""
    stages, moved = _stacked_stages(program.stages)
    program = _moved(replace(program, stages=stages), moved)
    stages, moved = _merged_stages(program.stages)
    return _moved(replace(program, stages=stages), moved)


def _stacked_stages(stages: Sequence[Stage]):
    """Large products of the same vector in a loop, as one: it is read once."""
    moved: dict[Value, Ref] = {}
    stacked = []
    for stage in stages:
        groups: dict[Hashable, list[Node]] = defaultdict(list)
        for node in stage.nodes if stage.kind == "loop" else ():
            if _multiplied(node) is not None:
                groups[_multiplied(node)].append(node)
        instead: dict[Node, Node | None] = {}
        for group in groups.values():
            if len(group) > 1:
                node, places = join(group)
                moved.update(places)
                instead.update(dict.fromkeys(group))
                instead[group[0]] = node
        nodes = (instead.get(node, node) for node in stage.nodes)
        kept = tuple(node for node in nodes if node is not None)
        stacked.append(replace(stage, nodes=kept))
    return tuple(stacked), moved


def _moved(program: Program, moved: dict[Value, Ref]) -> Program:
    if not moved:
        return program

    def rewire(ref: Ref) -> Sequence[Ref]:
        # A value may have moved more than once.
        while ref.value in moved:
            target = moved[ref.value]
            ref = target[ref.index]
        return [ref]

    stages = tuple(
        replace(stage, nodes=tuple(node.rewired(rewire) for node in stage.nodes))
        for stage in program.stages
    )
    outputs = {key: fetch.rewired(rewire) for key, fetch in program.outputs.items()}
    return replace(program, stages=stages, outputs=outputs)


def _merged_stages(stages: Sequence[Stage]):
    maker = {out: i for i, s in enumerate(stages) for n in s.nodes for out in n.outs}
    needs = [
        {maker[v] for n in stage.nodes for v in n.sources if v in maker} - {i}
        for i, stage in enumerate(stages)
    ]
    moved: dict[Value, Ref] = {}
    merged = []
    for group in schedule(needs, [_stage_key(stage) for stage in stages]):
        nodes = [node for i in group for node in stages[i].nodes]
        kind = stages[group[0]].kind
        if kind == "loop":
            nodes = _merged_nodes(nodes, moved)
        elif len(nodes) > 1:
            node, places = join(nodes)
            moved.update(places)
            nodes = [node]
        merged.append(Stage(kind, tuple(nodes)))
    return tuple(merged), moved


def _stage_key(stage: Stage) -> Hashable:
    if stage.kind == "loop":
        # A loop with Python in it is not compiled, so that others stay out of it.
        host = any(node.host for node in stage.nodes)
        lone = len(stage.nodes) == 1 and not host
        return ("loop", host, stage.nodes[0].key(True) if lone else None)
    key = stage.nodes[0].key(False)
    return None if key is None else (stage.kind, key)


def _merged_nodes(nodes: Sequence[Node], moved: dict[Value, Ref]) -> list[Node]:
    maker = {out: i for i, node in enumerate(nodes) for out in node.outs}
    needs = [
        {maker[v] for v in n.sources if v in maker and not nodes[maker[v]].lagged}
        for n in nodes
    ]
    merged = []
    for group in schedule(needs, [node.key(True) for node in nodes]):
        node = nodes[group[0]]
        if len(group) > 1:
            node, places = join([nodes[i] for i in group])
            moved.update(places)
        merged.append(node)
    return merged


# --- narrowing ------------------------------------------------------------------


def narrow(program: Program) -> Program:
    """Let each loop hand out only what is read of it elsewhere."""
    wanted = _wanted(program)
    moved: dict[Value | None, Ref] = {}
    stages = []
    for stage in program.stages:
        extra = []
        for value in [out for node in stage.nodes for out in node.outs]:
            read = wanted.get((id(stage), value))
            if stage.kind != "loop" or read is None or 2 * read.sum() > value.size:
                continue
            index = np.flatnonzero(read)
            small = Value(f"part of {value.name}", len(index))
            parts = [(Ref(value, index), np.arange(len(index)))]
            extra.append(Sum.of(value.name, small, parts, ()))
            where = np.zeros(value.size, int)
            where[index] = np.arange(len(index))
            moved[value] = Ref(small, where)
        stages.append(replace(stage, nodes=(*stage.nodes, *extra)))
    return _outside(replace(program, stages=tuple(stages)), moved)


def _wanted(program: Program) -> dict[tuple[int, Value], np.ndarray]:
    """By stage and value, which elements are read outside of the stage."""
    home = {out: s for s in program.stages for n in s.nodes for out in n.outs}
    readers: list[tuple[Stage | None, Fetch]] = [
        (stage, fetch)
        for stage in program.stages
        for node in stage.nodes
        for fetch in node.reads
    ]
    readers += [(None, fetch) for fetch in program.outputs.values()]
    wanted: dict[tuple[int, Value], np.ndarray] = {}
    for stage, fetch in readers:
        for ref in fetch.refs:
            if ref.value in home and home[ref.value] is not stage:
                key = (id(home[ref.value]), ref.value)
                read = wanted.setdefault(key, np.zeros(ref.value.size, bool))
                read[ref.index] = True
    return wanted


def _outside(program: Program, moved: dict[Value | None, Ref]) -> Program:
    stages = []
    for stage in program.stages:
        own = {out for node in stage.nodes for out in node.outs}

        def rewire(ref: Ref, own=own) -> Sequence[Ref]:
            there = ref.value in moved and ref.value not in own
            return [moved[ref.value][ref.index] if there else ref]

        nodes = tuple(node.rewired(rewire) for node in stage.nodes)
        stages.append(replace(stage, nodes=nodes))
    outputs = {
        key: Fetch(
            moved[ref.value][ref.index] if ref.value in moved else ref
            for ref in fetch.refs
        )
        for key, fetch in program.outputs.items()
    }
    return replace(program, stages=tuple(stages), outputs=outputs)


# --- memory ---------------------------------------------------------------------


def compact(program: Program) -> Program:
    """Keep the state of neurons in less memory, where that loses nothing."""
    stages = tuple(
        replace(
            stage,
            nodes=tuple(
                node.compacted() if isinstance(node, Neurons) else node
                for node in stage.nodes
            ),
        )
        for stage in program.stages
    )
    return replace(program, stages=stages)


PASSES: dict[str, Callable[[Program], Program]] = {
    "simplify": simplify,
    "pool": pool,
    "condense": condense,
    "sink": sink,
    "merge": merge,
    "narrow": narrow,
    "compact": compact,
}

# Those that suit every use.
ALWAYS = tuple(name for name in PASSES if name not in ("sink", "compact"))
