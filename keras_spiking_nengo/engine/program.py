"""A built network as one pure program over time.

A `Program` is a list of stages. `map`: an operation without memory, for all steps at
once. `filter`: a linear synapse, in blocks of steps. `loop`: operations that need each
other's last step, one step after the other. Values between stages are sequences
`(batch, time, size)`; within a loop they are `(batch, size)`.

State and parameters go in and come out; nothing is kept here.
"""

import functools
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_spiking_nengo.dynamics import random
from keras_spiking_nengo.dynamics.bits import bits
from keras_spiking_nengo.dynamics.loops import call_host, scan, static_length
from keras_spiking_nengo.engine.operation import Mode, Operation
from keras_spiking_nengo.engine.python_operators import PythonCall, TimedInput
from keras_spiking_nengo.engine.signals import (
    Gather,
    Value,
    concatenated,
    packed_sizes,
    sliced,
    whole_slice,
)

__all__ = ["Program", "Stage", "in_blocks", "streams_of"]

Packed = list[dict[str, Any]]


@dataclass(frozen=True, eq=False)
class Stage:
    """Operations that run together.

    Attributes:
        kind: "map", "filter" or "loop".
        operations: one, or those of a loop in the order of a step.
    """

    kind: str
    operations: tuple[Operation, ...]


@dataclass(frozen=True, eq=False)
class Program:
    """A network as a pure function of parameters, state and inputs.

    Attributes:
        stages: in order.
        inputs: values that come from outside; the first two are the number of the
            step and the time.
        outputs: what is read of the values, by any key.
        parameters: initial values of the constant signals.
        timed_inputs: those inputs that depend on the time alone.
        python_operators: nengo's operators that run in Python, and what runs each.
        dt: float, seconds.
    """

    stages: tuple[Stage, ...]
    inputs: tuple[Value, ...]
    outputs: Mapping[Any, Gather]
    parameters: Mapping[Any, Any]
    dt: float
    timed_inputs: tuple[TimedInput, ...] = ()
    python_operators: tuple = ()

    @functools.cached_property
    def operations(self) -> tuple[Operation, ...]:
        """In the order of a step."""
        return tuple(operation for _, operation in self.walk())

    def walk(self) -> Iterator[tuple[Stage, Operation]]:
        """Each operation with the stage that it is in, in the order of a step."""
        return ((stage, op) for stage in self.stages for op in stage.operations)

    @functools.cached_property
    def python_calls(self) -> tuple[Operation, ...]:
        """Operations that call Python."""
        return tuple(op for op in self.operations if op.calls_python)

    def python(self) -> list[str]:
        """Labels of what Python computes: in the program, or before it is run."""
        calls = [operation.label for operation in self.python_calls]
        return calls + [timed.label for timed in self.timed_inputs]

    @functools.cached_property
    def used_inputs(self) -> set[Value]:
        """Inputs that something reads."""
        gathers = [
            *(g for n in self.operations for g in n.reads),
            *self.outputs.values(),
        ]
        read = {value for gather in gathers for value in gather.values}
        return read & set(self.inputs)

    @functools.cached_property
    def width(self) -> int:
        """Elements that a step takes where sequences are laid out."""
        total = sum(value.size for value in self.inputs)
        for stage in self.stages:
            outs = [out for operation in stage.operations for out in operation.outs]
            outs = list(self._handed_out[id(stage)]) if stage.kind == "loop" else outs
            total += sum(out.size for out in outs)
        return total + sum(gather.size for gather in self.outputs.values())

    # --- parameters and state ---------------------------------------------------

    def used_parameters(self) -> list[Any]:
        """Keys of the parameters that some operation uses, in order."""
        weights = (p for operation in self.operations for p in operation.used_weights())
        return list(dict.fromkeys(weight.key for weight in weights))

    def pack(self, values: Mapping[Any, Any], mode: Mode) -> Packed:
        """What the operations make of parameters, once for any number of steps.

        Args:
            values: arrays or tensors by key; `parameters` for what is not there.
            mode: how the program will run.
        """
        values = {**self.parameters, **values}
        cast = functools.partial(_cast, mode=mode)
        return [
            keras.tree.map_structure(cast, operation.pack(values, self.dt, mode))
            for operation in self.operations
        ]

    @functools.cached_property
    def state_names(self) -> tuple[str, ...]:
        names = []
        for i, operation in enumerate(self.operations):
            kind = operation.state_name or type(operation).__name__.lower()
            names += [f"{kind}_{i}_{j}" for j in range(len(operation.initial))]
        return tuple(names)

    @functools.cached_property
    def initial(self) -> tuple[np.ndarray, ...]:
        """First value of each state, without batch."""
        return tuple(value for n in self.operations for value in n.initial)

    def state_dtypes(self, mode: Mode) -> list[str]:
        kinds = [value.dtype.kind for value in self.initial]
        return ["int32" if kind == "i" else mode.dtype for kind in kinds]

    def initial_state(self, batch, mode: Mode) -> list:
        """States before the first step, `(batch, *shape)` each."""
        state = []
        for value, dtype in zip(self.initial, self.state_dtypes(mode), strict=True):
            start = ops.convert_to_tensor(value, dtype=dtype)
            state.append(ops.zeros((batch, *value.shape), dtype=dtype) + start)
        for at in streams_of(self):
            # Items of a batch draw from different streams.
            item = ops.cumsum(ops.ones((batch, 1), dtype="int32"), axis=0)
            state[at] = random.new_key(state[at], item)
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
        env, steps = dict(inputs), inputs[self.inputs[0]]
        state, new = list(state), []
        for stage, (p, s) in _per_stage(self.stages, packed, state):
            env, after = _one_step(stage.operations, p, s, env, mode, steps)
            new += keras.tree.flatten(after)
        outputs = {key: gather(env, steps) for key, gather in self.outputs.items()}
        return outputs, new

    def sequence(
        self,
        packed: Packed,
        state: Sequence,
        inputs: Mapping,
        mode: Mode,
        save: bool = False,
        unroll: bool = False,
        count: Any = None,
    ):
        """All steps of `(batch, time, size)` inputs; otherwise as `step`.

        Args:
            packed, state, inputs, mode: as for `step`.
            save: keep states for the reverse pass; see `dynamics.loops.scan`.
            unroll: write out the steps of loops.
            count: integer tensor, only so many steps; see `dynamics.loops.scan`.
        """
        env, steps = dict(inputs), inputs[self.inputs[0]]
        new = []
        for stage, (p, s) in _per_stage(self.stages, packed, list(state)):
            if stage.kind == "map":
                env, after = _one_step(stage.operations, p, s, env, mode, steps)
            elif stage.kind == "filter" and _at_once(
                stage.operations[0], steps, unroll
            ):
                (operation,) = stage.operations
                u = operation.reads[0](env, steps)
                outs, after = operation.sequence(u, s[0], count)
                env = env | dict(zip(operation.outs, outs, strict=True))
            else:
                loop = _Loop(stage.operations, self._handed_out[id(stage)])
                env, after = loop(p, s, env, mode, steps, save, unroll, count)
            new += keras.tree.flatten(after)
        return {key: gather(env, steps) for key, gather in self.outputs.items()}, new

    @functools.cached_property
    def _handed_out(self) -> dict[int, tuple[Value, ...]]:
        """By stage, those of its values that are read elsewhere."""
        read: dict[Value, set[int]] = {}
        for stage in self.stages:
            for operation in stage.operations:
                for value in operation.values_read:
                    read.setdefault(value, set()).add(id(stage))
        for gather in self.outputs.values():
            for value in gather.values:
                read.setdefault(value, set()).add(0)
        return {
            id(stage): tuple(
                out
                for operation in stage.operations
                for out in operation.outs
                if read.get(out, set()) - {id(stage)}
            )
            for stage in self.stages
        }


def streams_of(program: Program) -> tuple[int, ...]:
    """Positions of those states that are seeds of `dynamics.random`."""
    ends = itertools.accumulate(len(n.initial) for n in program.operations)
    pairs = zip(program.operations, ends, strict=True)
    # Integers are in no other state, and the number of draws is the last one.
    return tuple(
        end - len(random.STATES)
        for operation, end in pairs
        if operation.initial and operation.initial[-1].dtype.kind == "i"
    )


def in_blocks(
    program: Program,
    packed: Packed,
    state: Sequence,
    inputs: Mapping,
    mode: Mode,
    length: int,
    count: Any,
    spiking: Sequence = (),
):
    """As `program.sequence`, `length` steps at a time, which then stay in the cache.

    Args:
        program: what is run.
        packed, state, inputs, mode: as for its `sequence`.
        length: divides the number of steps that there are inputs for.
        count: integer tensor >= 1. How many of them to take.
        spiking: keys of outputs that are spikes of one height.

    Returns:
        Outputs, which after `count` steps are of no interest, those of `spiking` as
        `dynamics.bits`; and the state after them.
    """
    values = list(inputs)
    split = [
        ops.reshape(x, (x.shape[0], -1, length, x.shape[-1])) for x in inputs.values()
    ]
    before = ops.arange(split[0].shape[1], dtype="int32") * length
    taken = ops.minimum(count - before, length)[None]

    def step(p, x, state):
        *x, taken = x
        block = dict(zip(values, x, strict=True))
        outputs, new = program.sequence(p, state, block, mode, count=taken[0])
        side_by_side = [concatenated([outputs[key] for key in pack]) for pack in packs]
        return [*side_by_side, *(bits(outputs[key] > 0) for key in spiking)], new

    sizes = {key: out.size for key, out in program.outputs.items()}
    packs = packed_sizes({k: size for k, size in sizes.items() if k not in spiking})
    packs = [pack for pack in packs if pack]
    shapes = [(length, sum(pack.values())) for pack in packs]
    blocks = (count + length - 1) // length
    ys, new = scan(
        step,
        packed,
        [*split, taken],
        list(state),
        shapes=None if spiking else shapes,
        count=blocks,
    )
    ys = [ops.reshape(y, (y.shape[0], -1, y.shape[-1])) for y in ys]
    side_by_side, spikes = ys[: len(packs)], ys[len(packs) :]
    shown = dict(zip(spiking, spikes, strict=True))
    for y, pack in zip(side_by_side, packs, strict=True):
        shown |= sliced(y, pack)
    return shown, new


def _per_stage(stages: Sequence[Stage], packed: Packed, state: list):
    """Each stage with its operations' parameters and states."""
    at, place = 0, 0
    for stage in stages:
        p = packed[at : at + len(stage.operations)]
        at += len(stage.operations)
        states = []
        for operation in stage.operations:
            states.append(state[place : place + len(operation.initial)])
            place += len(operation.initial)
        yield stage, (p, states)


def _at_once(operation, steps, unroll: bool) -> bool:
    known = static_length(steps) is not None and not unroll
    return known and operation.system is not None


def _cast(value, mode: Mode):
    if isinstance(value, int | float):
        return value
    return ops.cast(ops.convert_to_tensor(value), mode.dtype)


def _one_step(operations, packed, states, env: dict, mode: Mode, steps):
    """Values of all operations of one step, or of steps that need no memory."""
    env = dict(env)
    for operation, p, s in zip(operations, packed, states, strict=True):
        if operation.lagged:
            env.update(zip(operation.outs, operation.output(p, s), strict=True))
    new: dict[int, list] = {}
    late = []
    for i, (operation, p, s) in enumerate(zip(operations, packed, states, strict=True)):
        if operation.lagged:
            late.append(i)
            continue
        read = [gather(env, steps) for gather in operation.reads]
        outs, new[i] = operation.compute(p, read, s, mode, steps)
        env.update(zip(operation.outs, outs, strict=True))
    for i in late:
        operation = operations[i]
        read = [gather(env, steps) for gather in operation.reads]
        _, new[i] = operation.compute(packed[i], read, states[i], mode, steps)
    return env, [list(new[i]) for i in range(len(operations))]


class _Loop:
    """Operations of a loop over the steps of a sequence.

    Args:
        operations: in the order of a step.
        handed_out: values that are read outside.
    """

    def __init__(self, operations: Sequence[Operation], handed_out: Sequence[Value]):
        self.operations = operations
        self.packs = packed_sizes({value: value.size for value in handed_out})
        self.outs = [Gather(map(whole_slice, pack)) for pack in self.packs]
        computed = {out for operation in operations for out in operation.outs}
        read = (value for operation in operations for value in operation.values_read)
        self.taken = tuple(dict.fromkeys(v for v in read if v not in computed))

    def __call__(self, packed, states, env, mode, steps, save, unroll, count):
        def step_in(mode):
            def step(p, x, state):
                now, taken = x
                before = dict(zip(self.taken, taken, strict=True))
                after, new = _one_step(self.operations, p, state, before, mode, now)
                return [out(after, now) for out in self.outs], new

            return step

        python = [op.operator for op in self.operations if isinstance(op, PythonCall)]
        forward = None
        if python and mode.training and not unroll:
            steps = _once_forgotten(python, steps, mode)
            forward = step_in(replace(mode, python="record"))
            mode = replace(mode, python="recall")
        inputs = [steps, [env[value] for value in self.taken]]
        step, shapes = step_in(mode), [(out.size,) for out in self.outs]
        how = {"shapes": shapes, "forward": forward, "count": count}
        ys, new = scan(step, packed, inputs, states, save, unroll, **how)
        for y, pack in zip(ys, self.packs, strict=True):
            env = env | sliced(y, pack)
        return env, new


def _once_forgotten(python: Sequence, steps, mode: Mode):
    """The numbers of the steps, once answers of another sequence are forgotten."""

    def forget(first):
        for operator in python:
            operator.answers.clear()
        return np.zeros_like(first)

    label = python[0].label
    return steps + call_host(forget, [steps[:, :1]], 1, mode.dtype, label)
