"""A built network as one pure program over time.

A `Program` is a list of stages. `map`: a node without memory, for all steps at
once. `filter`: a linear synapse, in blocks of steps. `loop`: nodes that need each
other's last step, one step after the other. Values between stages are sequences
`(batch, time, size)`; within a loop they are `(batch, size)`.

State and parameters go in and come out; nothing is kept here.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from keras import ops

from keras_spiking_nengo.dynamics import random
from keras_spiking_nengo.dynamics.loops import scan, static_length
from keras_spiking_nengo.engine.host import Source
from keras_spiking_nengo.engine.nodes import Mode, Node
from keras_spiking_nengo.engine.signals import Fetch, Value, joined, whole

__all__ = ["Program", "Stage"]

Packed = list[dict[str, Any]]


@dataclass(frozen=True, eq=False)
class Stage:
    """Nodes that run together.

    Attributes:
        kind: "map", "filter" or "loop".
        nodes: one, or those of a loop in the order of a step.
    """

    kind: str
    nodes: tuple[Node, ...]


@dataclass(frozen=True, eq=False)
class Program:
    """A network as a pure function of parameters, state and inputs.

    Attributes:
        stages: in order.
        inputs: values that come from outside; the first two are the number of the
            step and the time.
        outputs: what is read of the values, by any key.
        parameters: initial values of the constant signals.
        sources: those inputs that depend on the time alone.
        dt: float, seconds.
    """

    stages: tuple[Stage, ...]
    inputs: tuple[Value, ...]
    outputs: Mapping[Any, Fetch]
    parameters: Mapping[Any, Any]
    dt: float
    sources: tuple[Source, ...] = ()
    calls: tuple = field(default=())

    @functools.cached_property
    def nodes(self) -> tuple[Node, ...]:
        return tuple(node for stage in self.stages for node in stage.nodes)

    @property
    def hosts(self) -> tuple[Node, ...]:
        """Nodes that call Python."""
        return tuple(node for node in self.nodes if node.host)

    @functools.cached_property
    def used_inputs(self) -> set[Value]:
        """Inputs that something reads."""
        read = {value for node in self.nodes for value in node.sources}
        read |= {value for fetch in self.outputs.values() for value in fetch.values}
        return read & set(self.inputs)

    @functools.cached_property
    def width(self) -> int:
        """Elements that a step takes where sequences are laid out."""
        total = sum(value.size for value in self.inputs)
        for stage in self.stages:
            outs = [out for node in stage.nodes for out in node.outs]
            outs = list(self._outside[id(stage)]) if stage.kind == "loop" else outs
            total += sum(out.size for out in outs)
        return total + sum(fetch.size for fetch in self.outputs.values())

    # --- parameters and state ---------------------------------------------------

    def used_parameters(self) -> list[Any]:
        """Keys of the parameters that some node uses, in order."""
        found = (p.key for node in self.nodes for p in node.params())
        return list(dict.fromkeys(found))

    def pack(self, values: Mapping[Any, Any], mode: Mode) -> Packed:
        """What the nodes make of parameters, once for any number of steps.

        Args:
            values: arrays or tensors by key; `parameters` for what is not there.
            mode: how the program will run.
        """
        values = {**self.parameters, **values}
        return [
            {k: _cast(v, mode) for k, v in node.pack(values, self.dt, mode).items()}
            for node in self.nodes
        ]

    @functools.cached_property
    def state_names(self) -> tuple[str, ...]:
        names = []
        for i, node in enumerate(self.nodes):
            kind = type(node).__name__.lower()
            names += [f"{kind}_{i}_{j}" for j in range(len(node.initial))]
        return tuple(names)

    @functools.cached_property
    def initial(self) -> tuple[np.ndarray, ...]:
        """First value of each state, without batch."""
        return tuple(value for node in self.nodes for value in node.initial)

    def state_dtypes(self, mode: Mode) -> list[str]:
        kinds = [value.dtype.kind for value in self.initial]
        return ["int32" if kind == "i" else mode.dtype for kind in kinds]

    def initial_state(self, batch, mode: Mode) -> list:
        """States before the first step, `(batch, *shape)` each."""
        state = []
        for value, dtype in zip(self.initial, self.state_dtypes(mode), strict=True):
            start = ops.convert_to_tensor(value, dtype=dtype)
            state.append(ops.zeros((batch, *value.shape), dtype=dtype) + start)
        return self._own_streams(state, batch)

    def _own_streams(self, state: list, batch) -> list:
        """Items of a batch draw from different streams."""
        position = 0
        for node in self.nodes:
            n = len(node.initial)
            if n and node.initial[-1].dtype.kind == "i":
                at = position + n - 2
                item = ops.cumsum(ops.ones((batch, 1), dtype="int32"), axis=0)
                state[at] = random.fold(state[at], item)
            position += n
        return state

    # --- running ----------------------------------------------------------------

    def step(self, packed: Packed, state: Sequence, inputs: Mapping, mode: Mode):
        """One step.

        Args:
            packed: what `pack` returned.
            state: tensors, as in `initial_state`.
            inputs: tensors `(batch, size)` of the values in `used_inputs`, and of
                the first of `inputs`.
            mode: how the program runs.

        Returns:
            Outputs `(batch, size)` by key, and the next state.
        """
        env, like = dict(inputs), inputs[self.inputs[0]]
        state, new = list(state), []
        for stage, (p, s) in self._parts(packed, state):
            env, after = _step(stage.nodes, p, s, env, mode, like)
            new += after
        outputs = {key: fetch(env, like) for key, fetch in self.outputs.items()}
        return outputs, new

    def sequence(
        self,
        packed: Packed,
        state: Sequence,
        inputs: Mapping,
        mode: Mode,
        save: bool = False,
        unroll: bool = False,
    ):
        """All steps of `(batch, time, size)` inputs; otherwise as `step`.

        Args:
            packed, state, inputs, mode: as for `step`.
            save: keep states for the reverse pass; see `dynamics.kernels.scan`.
            unroll: write out the steps of loops.
        """
        env, like = dict(inputs), inputs[self.inputs[0]]
        new = []
        for stage, (p, s) in self._parts(packed, list(state)):
            if stage.kind == "map":
                env, after = _step(stage.nodes, p, s, env, mode, like)
            elif stage.kind == "filter" and _at_once(stage.nodes[0], like):
                (node,) = stage.nodes
                outs, after = node.sequence(node.reads[0](env, like), s[0])
                env = env | dict(zip(node.outs, outs, strict=True))
            else:
                loop = _Loop(stage.nodes, self._handed_out(stage))
                env, after = loop(p, s, env, mode, like, save, unroll)
            new += after
        return {key: fetch(env, like) for key, fetch in self.outputs.items()}, new

    def in_blocks(self, packed: Packed, state: Sequence, inputs, mode, length: int):
        """As `sequence`, `length` steps at a time, which then stay in the cache.

        Args:
            packed, state, inputs, mode: as for `sequence`.
            length: divides the number of steps.
        """
        values = list(inputs)
        split = [
            ops.reshape(x, (x.shape[0], -1, length, x.shape[-1]))
            for x in inputs.values()
        ]
        tensors, restore = _flat(packed)

        def step(p, x, state):
            given = dict(zip(values, x, strict=True))
            outputs, new = self.sequence(restore(p), state, given, mode)
            return joined(list(outputs.values())), new

        sizes = {key: fetch.size for key, fetch in self.outputs.items()}
        shape = (length, sum(sizes.values()))
        y, new = scan(step, tensors, split, list(state), save=False, shape=shape)
        y = ops.reshape(y, (y.shape[0], -1, y.shape[-1]))
        return _sliced(y, sizes), new

    def _parts(self, packed: Packed, state: list):
        """Each stage with its nodes' parameters and states."""
        at, place = 0, 0
        for stage in self.stages:
            p = packed[at : at + len(stage.nodes)]
            at += len(stage.nodes)
            states = []
            for node in stage.nodes:
                states.append(state[place : place + len(node.initial)])
                place += len(node.initial)
            yield stage, (p, states)

    def _handed_out(self, stage: Stage) -> tuple[Value, ...]:
        return self._outside[id(stage)]

    @functools.cached_property
    def _outside(self) -> dict[int, tuple[Value, ...]]:
        """By stage, those of its values that are read elsewhere."""
        read: dict[Value, set[int]] = {}
        for stage in self.stages:
            for node in stage.nodes:
                for value in node.sources:
                    read.setdefault(value, set()).add(id(stage))
        for fetch in self.outputs.values():
            for value in fetch.values:
                read.setdefault(value, set()).add(0)
        return {
            id(stage): tuple(
                out
                for node in stage.nodes
                for out in node.outs
                if read.get(out, set()) - {id(stage)}
            )
            for stage in self.stages
        }


def _at_once(node, like) -> bool:
    return node.system is not None and static_length(like) is not None


def _cast(value, mode: Mode):
    if isinstance(value, int | float):
        return value
    return ops.cast(ops.convert_to_tensor(value), mode.dtype)


def _step(nodes, packed, states, env: dict, mode: Mode, like):
    """Values of all nodes of one step, or of steps that need no memory."""
    env = dict(env)
    for node, p, s in zip(nodes, packed, states, strict=True):
        if node.lagged:
            env.update(zip(node.outs, node.output(p, s), strict=True))
    new: dict[int, list] = {}
    late = []
    for i, (node, p, s) in enumerate(zip(nodes, packed, states, strict=True)):
        if node.lagged:
            late.append(i)
            continue
        read = [fetch(env, like) for fetch in node.reads]
        outs, new[i] = node.compute(p, read, s, mode, like)
        env.update(zip(node.outs, outs, strict=True))
    for i in late:
        node = nodes[i]
        read = [fetch(env, like) for fetch in node.reads]
        _, new[i] = node.compute(packed[i], read, states[i], mode, like)
    return env, [value for i in range(len(nodes)) for value in new[i]]


class _Loop:
    """Nodes of a loop over the steps of a sequence.

    Args:
        nodes: in the order of a step.
        handed_out: values that are read outside.
    """

    def __init__(self, nodes: Sequence[Node], handed_out: Sequence[Value]):
        self.nodes = nodes
        self.out = Fetch(map(whole, handed_out))
        self.handed_out = handed_out
        own = {out for node in nodes for out in node.outs}
        read = (v for node in nodes for v in node.sources if v not in own)
        self.given = tuple(dict.fromkeys(read))

    def __call__(self, packed, states, env, mode, like, save, unroll):
        tensors, restore = _flat(packed)
        counts = [len(s) for s in states]

        def step(p, x, state):
            own = restore(p)
            now, *given = x
            before = dict(zip(self.given, given, strict=True))
            parted = _parted(state, counts)
            after, new = _step(self.nodes, own, parted, before, mode, now)
            return self.out(after, now), new

        inputs = [like, *(env[value] for value in self.given)]
        flat = [value for s in states for value in s]
        shape = (self.out.size,)
        y, new = scan(step, tensors, inputs, flat, save, unroll, shape)
        return env | _sliced(y, {value: value.size for value in self.handed_out}), new


def _flat(packed: Packed):
    """Parameters in one dict, and the function that parts them again."""
    flat = {
        f"{i}.{name}": value for i, p in enumerate(packed) for name, value in p.items()
    }

    def restore(values: Mapping[str, Any]) -> Packed:
        own: Packed = [{} for _ in packed]
        for key, value in values.items():
            i, _, name = key.partition(".")
            own[int(i)][name] = value
        return own

    return flat, restore


def _sliced(y, sizes: Mapping[Any, int]) -> dict:
    """Parts of the last axis, one after the other, by key."""
    parts, start = {}, 0
    for key, size in sizes.items():
        parts[key] = y[..., start : start + size]
        start += size
    return parts


def _parted(values: Sequence, counts: Sequence[int]) -> list[list]:
    values, parted = list(values), []
    for count in counts:
        parted.append(values[:count])
        values = values[count:]
    return parted
