"""Passes over a program: each gives another one with the same numbers.

`simplify` drops what nothing reads, and sums that only pass on what they read.
`share_filters` filters a sum once where its terms were filtered alike. `condense`
splits the one loop over all operations into strongly connected components: an
operation on no cycle does all steps at once, and only real recurrences loop.
`fuse_into_loop` takes products back into a loop, which then hands out less.
`gather_levels` has one loop where there would be very many stages. `merge`
joins stages, and operations within a stage, that do the same to different values.
`drop_unread` lets a loop hand out only those elements that others read. `pack_state`
keeps states in less memory.

`fuse_into_loop` pays for several items at a time, and like `pack_state` where no
gradients are asked for.
"""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from keras_spiking_nengo.engine.filters import Filter
from keras_spiking_nengo.engine.operation import Operation, join
from keras_spiking_nengo.engine.order import needs_in_step, ordered
from keras_spiking_nengo.engine.populations import Population
from keras_spiking_nengo.engine.products import Product
from keras_spiking_nengo.engine.program import Program, Stage
from keras_spiking_nengo.engine.signals import Gather, Slice, Value, whole_slice
from keras_spiking_nengo.engine.sums import Accumulate, Sum
from keras_spiking_nengo.graphs import condensed, schedule

__all__ = [
    "ALWAYS",
    "PASSES",
    "pack_state",
    "condense",
    "merge",
    "drop_unread",
    "share_filters",
    "simplify",
    "fuse_into_loop",
    "gather_levels",
]

# So many stages take less than two seconds to compile, however deep a network is.
_FEW_STAGES = 24
# A product of so many weights is worth a stage, which reads them once for many steps.
_WORTH_A_STAGE = 2**16


def simplify(program: Program) -> Program:
    """Drop dead operations, states that nobody looks at, and sums of one term."""
    (stage,) = program.stages
    aliases: dict[Value, Gather] = {}

    def trace(piece: Slice) -> Sequence[Slice]:
        source = aliases.get(piece.value) if piece.value is not None else None
        if source is None:
            return [piece]
        return source.taken(piece.index)

    operations = []
    for operation in ordered(stage.operations):
        operation = operation.rewired(trace)
        alias = operation.alias if isinstance(operation, Sum) else None
        if alias is not None:
            aliases[operation.outs[0]] = alias
        else:
            operations.append(operation)
    # A lagged operation may read what was found to be an alias only later.
    operations = [operation.rewired(trace) for operation in operations]
    outputs = {key: gather.rewired(trace) for key, gather in program.outputs.items()}
    operations = [
        operation.with_clock(program.dt)
        if isinstance(operation, Population)
        else operation
        for operation in _alive(operations, outputs.values())
    ]
    return replace(program, stages=(Stage("loop", tuple(operations)),), outputs=outputs)


def _alive(
    operations: Sequence[Operation], outputs: Iterable[Gather]
) -> list[Operation]:
    """What outputs or Python see, with only those states shown that are read."""
    maker = {out: operation for operation in operations for out in operation.outs}
    pending = [value for gather in outputs for value in gather.values]
    pending += [
        value
        for operation in operations
        if operation.calls_python
        for value in operation.values_read
    ]
    needed: set[Value] = set()
    while pending:
        value = pending.pop()
        if value not in needed:
            needed.add(value)
            pending += maker[value].values_read if value in maker else []
    alive = [
        n for n in operations if n.calls_python or any(out in needed for out in n.outs)
    ]
    return [_shown(n, needed) if isinstance(n, Population) else n for n in alive]


def _shown(operation: Population, needed: set[Value]) -> Population:
    shown = zip(operation.shown, operation.outs[1:], strict=True)
    seen = [(name, out) for name, out in shown if out in needed]
    names, outs = zip(*seen, strict=True) if seen else ((), ())
    return replace(operation, shown=tuple(names), outs=(operation.outs[0], *outs))


def share_filters(program: Program) -> Program:
    """Filter sums, not their terms, where equal filters serve nothing but the sum."""
    (stage,) = program.stages
    filters = {n.outs[0]: n for n in stage.operations if isinstance(n, Filter)}
    readers: dict[Value, list[Operation | None]] = defaultdict(list)
    for operation in stage.operations:
        for value in operation.values_read:
            readers[value].append(operation)
    for gather in program.outputs.values():
        for value in gather.values:
            readers[value].append(None)
    operations: list[Operation] = []
    for operation in stage.operations:
        if not isinstance(operation, Sum):
            operations.append(operation)
            continue
        groups: dict[Hashable, list[tuple[Slice, np.ndarray]]] = defaultdict(list)
        for piece, where in operation.parts:
            source = filters.get(piece.value) if piece.value is not None else None
            if source is None or len(readers[source.outs[0]]) > 1:
                key = None
            else:
                key = source.key(False)
            groups[key].append((piece, where))
        terms = groups.pop(None, [])
        for parts in groups.values():
            rows = np.unique(np.concatenate([where for _, where in parts]))
            if sum(piece.size for piece, _ in parts) > len(rows):
                added, filtered = _shared_filter(parts, rows, filters)
                operations += added
                parts = [(whole_slice(filtered), rows)]
            terms += parts
        operations.append(operation.of_parts(terms) if groups else operation)
    operations = _alive(operations, program.outputs.values())
    return replace(program, stages=(Stage("loop", tuple(operations)),))


def _shared_filter(parts, rows: np.ndarray, filters: Mapping[Value, Filter]):
    """A sum of what `parts` filter, for the elements `rows`, and its one filter."""
    first = filters[parts[0][0].value]
    initial = np.zeros((*first.initial[0].shape[:-1], len(rows)))
    terms = []
    for piece, where in parts:
        source, places = filters[piece.value], np.searchsorted(rows, where)
        for row, state in zip(initial, source.initial[0], strict=True):
            np.add.at(row, places, state[piece.index])
        start = 0
        for read in source.reads[0].taken(piece.index):
            if read.value is not None:
                terms.append((read, places[start : start + read.size]))
            start += read.size
    total, filtered = (Value(f"{first.label} and others", len(rows)) for _ in range(2))
    operation = replace(
        first,
        reads=(Gather([whole_slice(total)]),),
        outs=(filtered,),
        initial=(initial,),
        systems=((first.systems[0][0], len(rows)),),
    )
    return [Sum.of(first.label, total, terms, ()), operation], filtered


# --- components -----------------------------------------------------------------


def condense(program: Program) -> Program:
    """Loop over strongly connected components only."""
    (stage,) = program.stages
    operations = stage.operations
    edges = list(_dependencies(operations))
    members, needs = condensed(len(operations), edges)
    selfish = {a for a, b in edges if a == b}
    stages = tuple(
        _stage([operations[i] for i in members[c]], members[c][0] in selfish)
        for (c,) in schedule(needs, [None] * len(needs))
    )
    return replace(program, stages=stages)


def _dependencies(operations: Sequence[Operation]) -> Iterable[tuple[int, int]]:
    """From an operation to those that read it, in this step or the next."""
    maker = {out: i for i, operation in enumerate(operations) for out in operation.outs}
    readers = defaultdict(list)
    for i, operation in enumerate(operations):
        for value in operation.values_read:
            if value in maker:
                yield maker[value], i
            readers[value].append(i)
    # Learned weights are never laid out over time: who reads them loops with them.
    for i, operation in enumerate(operations):
        if isinstance(operation, Accumulate) and len(operation.outs[0].shape) > 1:
            writers = (maker[v] for v in operation.values_read if v in maker)
            for j in (*readers[operation.outs[0]], *writers):
                yield i, j
                yield j, i
    # Python sees what happened in the order of steps.
    callers = [i for i, operation in enumerate(operations) if operation.calls_python]
    for i, j in zip(callers, callers[1:], strict=False):
        yield i, j
        yield j, i


def _stage(operations: Sequence[Operation], cyclic: bool) -> Stage:
    if len(operations) > 1 or cyclic:
        return Stage("loop", tuple(ordered(operations)))
    (operation,) = operations
    if isinstance(operation, Filter):
        return Stage("filter", (operation,))
    return Stage("loop" if operation.initial else "map", (operation,))


def fuse_into_loop(program: Program) -> Program:
    """Take large products of what a loop multiplies anyway into that loop.

    Only where they are all that reads it outside, so that it is not handed out.
    """
    home = {out: s for s in program.stages for n in s.operations for out in n.outs}
    shown = {value for gather in program.outputs.values() for value in gather.values}
    readers: dict[Value, list[Stage]] = defaultdict(list)
    for stage in program.stages:
        for value in {
            value for operation in stage.operations for value in operation.values_read
        }:
            if home.get(value) not in (None, stage):
                readers[value].append(stage)
    fused: dict[Stage, list[Operation]] = defaultdict(list)
    gone: set[Stage] = set()
    for value, reading in readers.items():
        loop = home[value]
        inside = {_large_product(operation) for operation in loop.operations} - {None}
        outside = {
            _large_product(stage.operations[0]) if stage.kind == "map" else None
            for stage in reading
        }
        if loop.kind == "loop" and value not in shown and outside <= inside:
            fused[loop] += [stage.operations[0] for stage in reading]
            gone.update(reading)
    stages = tuple(
        replace(stage, operations=(*stage.operations, *fused[stage]))
        if stage in fused
        else stage
        for stage in program.stages
        if stage not in gone
    )
    return replace(program, stages=stages)


def _large_product(operation: Operation) -> Hashable:
    """What a large product reads; None of any other operation."""
    large = isinstance(operation, Product) and operation.large
    return (operation.key(True), operation.reads[0].key) if large else None


# --- levels -----------------------------------------------------------------------


def gather_levels(program: Program) -> Program:
    """Have few loops where each level of a deep network would be stages of its own.

    Compiling takes as long as there are stages. Between levels stands a synapse: within
    a step they do not wait for each other, and can be merged as if side by side.
    """
    stages = program.stages
    needs = _stage_needs(stages)
    if len(schedule(needs, list(map(_stage_key, stages)))) <= _FEW_STAGES:
        return program
    apart = [_stands_apart(stage) for stage in stages]
    # How many of those that stay apart come before each stage, one after the other.
    band: list[int] = []
    for i in range(len(stages)):
        band.append(max((band[j] + apart[j] for j in needs[i]), default=0))
    gathered: list[Stage] = []
    for number in range(max(band) + 1):
        members = [i for i, n in enumerate(band) if n == number]
        inside = [n for i in members if not apart[i] for n in stages[i].operations]
        if inside:
            gathered.append(Stage("loop", tuple(ordered(inside))))
        gathered += [stages[i] for i in members if apart[i]]
    return replace(program, stages=tuple(gathered))


def _stands_apart(stage: Stage) -> bool:
    """Whether it costs more in a loop with others than it takes to compile."""
    if stage.kind == "loop":
        return any(operation.calls_python for operation in stage.operations)
    products = (n for n in stage.operations if isinstance(n, Product))
    return sum(n.multiplications for n in products) >= _WORTH_A_STAGE


def _stage_needs(stages: Sequence[Stage]) -> list[set[int]]:
    """By stage, those that it reads something of."""
    maker = {
        out: i for i, s in enumerate(stages) for n in s.operations for out in n.outs
    }
    return [
        {maker[v] for n in stage.operations for v in n.values_read if v in maker} - {i}
        for i, stage in enumerate(stages)
    ]


# --- merging --------------------------------------------------------------------


def merge(program: Program) -> Program:
    """Join what does the same to different values, or to the same."""
    stages, moved = _stacked_stages(program.stages)
    program = _rewired(replace(program, stages=stages), moved)
    stages, moved = _merged_stages(program.stages)
    return _rewired(replace(program, stages=stages), moved)


def _stacked_stages(stages: Sequence[Stage]):
    """Large products of the same vector in a loop, as one: it is read once."""
    moved: dict[Value, Slice] = {}
    stacked = []
    for stage in stages:
        groups: dict[Hashable, list[Operation]] = defaultdict(list)
        for operation in stage.operations if stage.kind == "loop" else ():
            if _large_product(operation) is not None:
                groups[_large_product(operation)].append(operation)
        instead: dict[Operation, Operation | None] = {}
        for group in groups.values():
            instead |= dict.fromkeys(group) | {group[0]: _as_one(group, moved)}
        operations = (instead.get(n, n) for n in stage.operations)
        left = tuple(operation for operation in operations if operation is not None)
        stacked.append(replace(stage, operations=left))
    return tuple(stacked), moved


def _rewired(program: Program, moved: dict[Value, Slice]) -> Program:
    if not moved:
        return program

    def rewire(piece: Slice) -> Sequence[Slice]:
        # A value may have moved more than once.
        while piece.value in moved:
            target = moved[piece.value]
            piece = target[piece.index]
        return [piece]

    outputs = {key: gather.rewired(rewire) for key, gather in program.outputs.items()}
    program = _changed(program, lambda operation: operation.rewired(rewire))
    return replace(program, outputs=outputs)


def _changed(program: Program, change: Callable[[Operation], Operation]) -> Program:
    """The program with what `change` makes of each operation."""
    stages = tuple(
        replace(stage, operations=tuple(map(change, stage.operations)))
        for stage in program.stages
    )
    return replace(program, stages=stages)


def _merged_stages(stages: Sequence[Stage]):
    needs = _stage_needs(stages)
    moved: dict[Value, Slice] = {}
    merged = []
    for group in schedule(needs, [_stage_key(stage) for stage in stages]):
        operations = [operation for i in group for operation in stages[i].operations]
        kind = stages[group[0]].kind
        if kind == "loop":
            operations = _merged_nodes(operations, moved)
        else:
            operations = [_as_one(operations, moved)]
        merged.append(Stage(kind, tuple(operations)))
    return tuple(merged), moved


def _as_one(operations: Sequence[Operation], moved: dict[Value, Slice]) -> Operation:
    """What does the work of operations of one key; notes where their values are."""
    if len(operations) == 1:
        return operations[0]
    operation, places = join(operations)
    moved.update(places)
    return operation


def _stage_key(stage: Stage) -> Hashable:
    if stage.kind == "loop":
        # A loop with Python in it is not compiled, so that others stay out of it.
        python = any(operation.calls_python for operation in stage.operations)
        lone = len(stage.operations) == 1 and not python
        return ("loop", python, stage.operations[0].key(True) if lone else None)
    key = stage.operations[0].key(False)
    return None if key is None else (stage.kind, key)


def _merged_nodes(
    operations: Sequence[Operation], moved: dict[Value, Slice]
) -> list[Operation]:
    keys = [operation.key(True) for operation in operations]
    groups = schedule(needs_in_step(operations), keys)
    return [_as_one([operations[i] for i in group], moved) for group in groups]


# --- narrowing ------------------------------------------------------------------


def drop_unread(program: Program) -> Program:
    """Let each loop hand out only what is read of it elsewhere."""
    wanted = _wanted(program)
    moved: dict[Value | None, Slice] = {}
    stages = []
    for stage in program.stages:
        extra = []
        for value in [out for operation in stage.operations for out in operation.outs]:
            read = wanted.get((id(stage), value))
            if stage.kind != "loop" or read is None or 2 * read.sum() > value.size:
                continue
            index = np.flatnonzero(read)
            small = Value(f"part of {value.name}", len(index))
            parts = [(Slice(value, index), np.arange(len(index)))]
            extra.append(Sum.of(value.name, small, parts, ()))
            where = np.zeros(value.size, int)
            where[index] = np.arange(len(index))
            moved[value] = Slice(small, where)
        stages.append(replace(stage, operations=(*stage.operations, *extra)))
    return _reading_parts(replace(program, stages=tuple(stages)), moved)


def _wanted(program: Program) -> dict[tuple[int, Value], np.ndarray]:
    """By stage and value, which elements are read outside of the stage."""
    home = {out: s for s in program.stages for n in s.operations for out in n.outs}
    readers: list[tuple[Stage | None, Gather]] = [
        (stage, gather)
        for stage in program.stages
        for operation in stage.operations
        for gather in operation.reads
    ]
    readers += [(None, gather) for gather in program.outputs.values()]
    wanted: dict[tuple[int, Value], np.ndarray] = {}
    for stage, gather in readers:
        for piece in gather.slices:
            if piece.value in home and home[piece.value] is not stage:
                key = (id(home[piece.value]), piece.value)
                read = wanted.setdefault(key, np.zeros(piece.value.size, bool))
                read[piece.index] = True
    return wanted


def _reading_parts(program: Program, moved: dict[Value | None, Slice]) -> Program:
    stages = []
    for stage in program.stages:
        computed = {out for operation in stage.operations for out in operation.outs}

        def rewire(piece: Slice, computed=computed) -> Sequence[Slice]:
            there = piece.value in moved and piece.value not in computed
            return [moved[piece.value][piece.index] if there else piece]

        operations = tuple(operation.rewired(rewire) for operation in stage.operations)
        stages.append(replace(stage, operations=operations))
    outputs = {
        key: Gather(
            moved[piece.value][piece.index] if piece.value in moved else piece
            for piece in gather.slices
        )
        for key, gather in program.outputs.items()
    }
    return replace(program, stages=tuple(stages), outputs=outputs)


# --- memory ---------------------------------------------------------------------


def pack_state(program: Program) -> Program:
    """Keep the state of neurons in less memory, where that loses nothing."""
    dt = program.dt
    return _changed(program, lambda n: n.packed(dt) if isinstance(n, Population) else n)


_IN_ORDER: tuple[Callable[[Program], Program], ...] = (
    *(simplify, share_filters, condense, fuse_into_loop),
    *(gather_levels, merge, drop_unread, pack_state),
)
PASSES = {change.__name__: change for change in _IN_ORDER}

# Those that suit every use.
ALWAYS = tuple(name for name in PASSES if name not in ("fuse_into_loop", "pack_state"))
