"""A built model that runs as one compiled program, block by block.

The sources are evaluated ahead, one compiled call does all steps of a block, and the
state is carried. A block is as long as memory allows, and its program does any number
of steps up to that: it is told how many. Where Python is in a loop of the program, its
steps are `driven` from Python.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import nengo
import numpy as np
from keras import ops
from nengo.builder import Model
from nengo.builder.processes import SimProcess
from nengo.utils.graphs import toposort
from nengo.utils.numpy import maxint
from nengo.utils.simulator import operator_dependency_graph

from keras_spiking_nengo import engine
from keras_spiking_nengo.dynamics.bits import BITS
from keras_spiking_nengo.dynamics.loops import (
    array_of,
    backend_name,
    compiled,
    precision,
)
from keras_spiking_nengo.engine.program import Program, in_blocks, streams_of
from keras_spiking_nengo.engine.signals import sampled
from keras_spiking_nengo.simulator.driven import Driven
from keras_spiking_nengo.simulator.interpreted import Interpreted, draws
from keras_spiking_nengo.simulator.records import written_signals
from keras_spiking_nengo.simulator.spike_rows import (
    SpikeRows,
    height_of_spikes,
    shows_spikes,
)

__all__ = ["Compiled"]

# Bytes that the values of a block may take, and the most steps of a block.
_BUDGET = 2**24
_LONGEST = 1000
# So many steps at a time stay in the processor's cache, and so many numbers.
_CACHED, _CACHED_NUMBERS = 25, 2**19


# Compiled blocks of programs without functions of users, by their likeness.
_ALIKE: OrderedDict[Any, Callable] = OrderedDict()
# The most that are kept.
_MOST_ALIKE = 8


@dataclass(frozen=True, eq=False)
class _Block:
    """What a program does with a block of steps: a pure function, to be compiled.

    Attributes:
        program: without weights.
        numbers: those of the parameters that are compiled in, of each operation.
        mode: how it runs.
        parted: so many steps at a time are laid out as stay in the cache; 0 for all.
        spiking: of each output, whether it is spikes of one height, which are
            returned as `dynamics.bits`.
    """

    program: Program
    numbers: list[dict]
    mode: engine.Mode
    parted: int
    spiking: tuple[bool, ...]

    def packed(self, tensors) -> list[dict]:
        """Parameters of all operations: those that are compiled in, and tensors."""
        return [n | t for n, t in zip(self.numbers, tensors, strict=True)]

    def __call__(self, tensors, state, inputs, count):
        packed, program = self.packed(tensors), self.program
        values = dict(zip(program.inputs, inputs, strict=True))
        arguments = packed, state, values, self.mode
        if self.parted:
            length = min(self.parted, inputs[0].shape[1])
            pairs = zip(program.outputs, self.spiking, strict=True)
            spiking = [key for key, spikes in pairs if spikes]
            outputs, state = in_blocks(program, *arguments, length, count, spiking)
        else:
            outputs, state = program.sequence(*arguments, count=count)
        return [outputs[probe] for probe in program.outputs], state


def _compiled_block(block: _Block) -> Callable:
    """The block, compiled: the same function for all that are alike."""
    python = bool(block.program.python_calls)
    alike = None if python else engine.likeness(block.program)
    if alike is None:
        return compiled(block, host=python)
    key = (
        alike,
        repr(block.numbers),
        block.mode,
        block.parted,
        block.spiking,
        backend_name(),
    )
    if key not in _ALIKE:
        # Nothing that only this simulator needs is kept with it.
        bare = replace(
            block.program, parameters={}, timed_inputs=(), python_operators=()
        )
        _ALIKE[key] = compiled(replace(block, program=bare))
    _ALIKE.move_to_end(key)
    if len(_ALIKE) > _MOST_ALIKE:
        _ALIKE.popitem(last=False)
    return _ALIKE[key]


class Compiled:
    """A program, its parameters and its state.

    Args:
        model: nengo's, built; it is not changed.
        inputs: source nodes whose values are given with each step.
        dtype: `"float32"` or `"float64"`.
        batch: number of items.
        optimize: whether operations are joined.
        independent: whether each item has random processes of its own.
        stepped: what has done some steps, for a program that goes on from there.
    """

    def __init__(
        self,
        model: Model,
        inputs: Sequence[nengo.Node],
        dtype: str,
        batch: int,
        optimize: bool,
        independent: bool,
        stepped: Interpreted | None = None,
    ):
        self._model, self._dtype, self._batch = model, dtype, batch
        many = batch > 1
        passes = [n for n in engine.PASSES if many or n != "fuse_into_loop"]
        # Without probes, signals are all there is to look at.
        shown = None if model.probes else written_signals(model)
        present = stepped.watched() if stepped else None
        self.program = engine.compile_model(
            model, inputs, shown, passes if optimize else [], present
        )
        for _, call in self.program.python_operators:
            call.independent = independent
        stages = (stage for stage, op in self.program.walk() if op.calls_python)
        looped = any(stage.kind == "loop" for stage in stages)
        self._mode = engine.Mode(dtype=dtype, differentiable=False, many=many)
        self._driven: Driven | None = None
        self._one_room = bool(self.program.outputs) and not self.program.python_calls
        self._spiking = tuple(
            self._one_room
            and isinstance(key, nengo.Probe)
            and shows_spikes(key, self._batch)
            for key in self.program.outputs
        )
        self._parted = self._one_room and _part_of(self.program.width * batch)
        self.take({})
        if looped:
            self._driven = Driven(self.program, self._mode, self._block.packed)
        self._run = _compiled_block(self._block)
        self._state: list = []
        self._outputs: dict[Any, Any] = {}
        self._steps = np.zeros(0, int)
        self._last: dict[Any, np.ndarray] = {}
        if stepped:
            self._start()
            for at in streams_of(self.program):
                # One number for each step that was done.
                self._state[at + 1] = self._state[at + 1] + int(stepped[model.step])
            for op, call in self.program.python_operators:
                call.go_on(*stepped.handed_on(op))

    @property
    def longest(self) -> int:
        """The most steps of a block."""
        itemsize = np.dtype(self._dtype).itemsize
        width = self._driven.width if self._driven else self.program.width
        size = itemsize * width
        if self._one_room:  # all but what is shown is laid out part by part
            pairs = zip(self.program.outputs.values(), self._spiking, strict=True)
            size = sum(
                -(-out.size // BITS) if bits else out.size * itemsize
                for out, bits in pairs
            )
            size += itemsize * sum(value.size for value in self.program.inputs)
        fitting = _BUDGET // max(1, size * self._batch)
        longest = int(np.clip(fitting, 1, _LONGEST))
        part = _CACHED if longest > _CACHED else 5
        return longest - longest % part if longest > part else longest

    def _room(self, n_steps: int) -> int:
        """Number of steps of the program that does so many."""
        if self._one_room:
            return self.longest
        # Whole sequences are laid out, so that few steps are not many times as many.
        steps = _CACHED
        while steps < n_steps:
            steps *= 2
        return steps

    def take(self, values: Mapping) -> None:
        """Take parameters: numbers are compiled in, arrays are passed."""
        with precision(self._dtype):
            packed = self.program.pack(values, self._mode)
        numbers = [
            {k: v for k, v in p.items() if isinstance(v, int | float)} for p in packed
        ]
        self._block = _Block(
            self.program, numbers, self._mode, self._parted, self._spiking
        )
        self._tensors = [
            {k: v for k, v in p.items() if not isinstance(v, int | float)}
            for p in packed
        ]

    def reset(self, rng: np.random.RandomState) -> None:
        """Go back to the start, drawing from `rng` what nengo would."""
        self._start()
        calls = dict(self.program.python_operators)
        order = self._model.operators
        if any(map(draws, calls)):
            order = toposort(operator_dependency_graph(order))
        for op in order:
            if op in calls:
                calls[op].reset(rng)
            elif draws(op):
                rng.randint(maxint)  # as nengo's process would

    def _start(self) -> None:
        with precision(self._dtype):
            self._state = self.program.initial_state(self._batch, self._mode)
        self._last = {}

    def close(self) -> None:
        """Free what is held."""
        self._state, self._tensors = [], []

    # --- running ----------------------------------------------------------------

    def advance(self, first: int, n_steps: int, frames: Sequence[np.ndarray]) -> None:
        """Do all steps of a block.

        Args:
            first: number of steps done before.
            n_steps: how many to do.
            frames: values `(1 or batch, n_steps, size)` of each input.
        """
        batch = self._batch
        steps = np.arange(first + 1, first + n_steps + 1)[None, :, None]
        sources = [
            source(first, n_steps, batch) for source in self.program.timed_inputs
        ]
        inputs = [steps, steps * self._model.dt, *frames, *sources]
        inputs = [np.broadcast_to(v, (batch, *v.shape[1:])) for v in inputs]
        with precision(self._dtype):
            arrays, state = self._guarded(inputs, first)
        # Only now, so that an interruption leaves the last block's end.
        self._state, self._steps = state, steps[0, :, 0]
        self._outputs = dict(zip(self.program.outputs, arrays, strict=True))
        for key, bits in zip(self._outputs, self._spiking, strict=True):
            if bits:
                height = height_of_spikes(key, self._model.dt, self._dtype)
                size = self.program.outputs[key].size
                self._outputs[key] = SpikeRows(self._outputs[key], height, size)

    def _guarded(self, inputs: list[np.ndarray], first: int):
        """What is shown, and the next state; of errors, those that Python raised."""
        try:
            if self._driven:
                return self._driven(self._tensors, self._state, inputs, first)
            n_steps = inputs[0].shape[1]
            room = self._room(n_steps)
            inputs = [_with_room(v, room, self._dtype) for v in inputs]
            inputs = [ops.convert_to_tensor(v) for v in inputs]
            count = ops.convert_to_tensor(n_steps, dtype="int32")
            outputs, state = self._run(self._tensors, self._state, inputs, count)
            # Within, as errors of callbacks arrive late.
            whole = room <= 2 * n_steps  # else the rest of it would stay with them
            return [_rows_of(y, n_steps, whole) for y in outputs], state
        except BaseException:
            for _, call in self.program.python_operators:
                if call.error is not None:
                    error, call.error = call.error, None
                    raise error from None
            raise

    def collected(self) -> tuple[int, dict[nengo.Probe, Any]]:
        """How many steps were done since the last call, and what probes showed."""
        shown = {}
        for key, values in self._outputs.items():
            if not isinstance(key, nengo.Probe):
                self._last[key] = values[0, -1]
                continue
            due = sampled(self._steps, key.sample_every, self._model.dt)
            shape = self._model.sig[key]["in"].shape
            values = values if due.all() else values[:, due]
            if values.shape[2:] != shape:
                values = values.reshape((*values.shape[:2], *shape))
            shown[key] = values
        done, self._outputs, self._steps = len(self._steps), {}, self._steps[:0]
        return done, shown

    def watched(self) -> dict[Any, np.ndarray]:
        """Last values of the signals that are kept without a probe."""
        return self._last

    # --- memory -----------------------------------------------------------------

    @property
    def form(self) -> str:
        """Equal for programs that can go on from each other's memory."""
        return repr(engine.likeness(self.program, strict=False))

    def memory(self) -> tuple[list, list]:
        """The state, and what Python remembers."""
        operators = [call for _, call in self.program.python_operators]
        for call in operators:
            call.items(self._batch)
        calls = [call.memory() for call in operators]
        return [ops.convert_to_numpy(value) for value in self._state], calls

    def restore(self, memory: tuple[list, list], n_drawn: int = 0) -> None:
        """Go on from what `memory` returned.

        Args:
            memory: of a program of the same `form`.
            n_drawn: number of steps, of which random processes draw the numbers first.
        """
        state, remembered = memory
        for timed in self.program.timed_inputs:
            if isinstance(timed.operator.op, SimProcess):
                for first in range(0, n_drawn, _LONGEST):
                    timed(first, min(_LONGEST, n_drawn - first), self._batch)
        with precision(self._dtype):
            self._state = [ops.convert_to_tensor(value) for value in state]
        calls = (call for _, call in self.program.python_operators)
        for call, values in zip(calls, remembered, strict=True):
            call.restore(values)


def _part_of(width: int) -> int:
    """How many steps of so many numbers stay in the cache: 25, 5 or 1."""
    return next((n for n in (_CACHED, 5) if n * width <= _CACHED_NUMBERS), 1)


def _rows_of(y, n_steps: int, whole: bool) -> np.ndarray:
    rows = array_of(y)[:, :n_steps]
    return rows if whole else rows.copy()


def _with_room(values: np.ndarray, steps: int, dtype: str) -> np.ndarray:
    """Values with zeros after them, for so many steps in all."""
    if values.shape[1] == steps:
        return values.astype(dtype)
    room = np.zeros((len(values), steps, values.shape[2]), dtype)
    room[:, : values.shape[1]] = values
    return room
