"""A built model that runs as one compiled program, block by block.

The sources are evaluated ahead, one compiled call does all steps of a block, and the
state is carried. A block is as long as memory allows.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import nengo
import numpy as np
from keras import ops
from nengo.builder import Model
from nengo.utils.graphs import toposort
from nengo.utils.numpy import maxint
from nengo.utils.simulator import operator_dependency_graph

from keras_spiking_nengo import engine
from keras_spiking_nengo.dynamics.loops import compiled, precision
from keras_spiking_nengo.engine.program import in_blocks
from keras_spiking_nengo.engine.signals import sampled
from keras_spiking_nengo.simulator.blocks import cached_steps
from keras_spiking_nengo.simulator.interpreted import Interpreted, draws
from keras_spiking_nengo.simulator.records import written_signals

__all__ = ["Compiled"]

# Bytes that the values of a block may take, and the most steps of a block.
_BUDGET = 2**27
_LONGEST = 2000


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
        present = stepped.present() if stepped else None
        self.program = engine.compile_model(
            model, inputs, shown, passes if optimize else [], present
        )
        for _, call in self.program.python_operators:
            call.independent = independent
        self._mode = engine.Mode(dtype=dtype, differentiable=False, many=many)
        self.lengths: set[int] = set()
        self.take({})
        self._run = compiled(self._function, host=bool(self.program.python_calls))
        self._state: list = []
        self._outputs: dict[Any, np.ndarray] = {}
        self._steps = np.zeros(0, int)
        self._last: dict[Any, np.ndarray] = {}
        if stepped:
            self._start()
            for op, call in self.program.python_operators:
                call.go_on(*stepped.handed_on(op))

    @property
    def longest(self) -> int:
        """The most steps of a block."""
        itemsize = np.dtype(self._dtype).itemsize * self._batch
        fitting = _BUDGET // max(1, itemsize * self.program.width)
        return int(np.clip(fitting, 1, _LONGEST))

    def take(self, values: Mapping) -> None:
        """Take parameters: numbers are compiled in, arrays are passed."""
        with precision(self._dtype):
            packed = self.program.pack(values, self._mode)
        self._numbers = [
            {k: v for k, v in p.items() if isinstance(v, int | float)} for p in packed
        ]
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

    def _function(self, tensors, state, inputs):
        packed = [n | t for n, t in zip(self._numbers, tensors, strict=True)]
        program = self.program
        values = dict(zip(program.inputs, inputs, strict=True))
        arguments = packed, state, values, self._mode
        steps = inputs[0].shape[1]
        parted = program.outputs and not program.python_calls
        length = cached_steps(steps) if parted else steps
        if length < steps:
            outputs, state = in_blocks(program, *arguments, length)
        else:
            outputs, state = program.sequence(*arguments)
        return [outputs[probe] for probe in program.outputs], state

    def advance(self, first: int, n_steps: int, frames: Sequence[np.ndarray]) -> None:
        """Do all steps of a block.

        Args:
            first: number of steps done before.
            n_steps: how many to do.
            frames: values `(1 or batch, n_steps, size)` of each input.
        """
        self.lengths.add(n_steps)
        batch = self._batch
        steps = np.arange(first + 1, first + n_steps + 1)[None, :, None]
        sources = [
            source(first, n_steps, batch) for source in self.program.timed_inputs
        ]
        inputs = [steps, steps * self._model.dt, *frames, *sources]
        inputs = [np.broadcast_to(v, (batch, *v.shape[1:])) for v in inputs]
        with precision(self._dtype):
            inputs = [ops.convert_to_tensor(v, dtype=self._dtype) for v in inputs]
            outputs, state = self._guarded(inputs)
            arrays = [ops.convert_to_numpy(y) for y in outputs]
        # Only now, so that an interruption leaves the last block's end.
        self._state, self._steps = state, steps[0, :, 0]
        self._outputs = dict(zip(self.program.outputs, arrays, strict=True))

    def _guarded(self, inputs):
        calls = [call for _, call in self.program.python_operators]
        try:
            outputs, state = self._run(self._tensors, self._state, inputs)
            if self.program.python_calls:  # errors of callbacks arrive late
                arrays = map(ops.convert_to_numpy, outputs)
                outputs = list(map(ops.convert_to_tensor, arrays))
            return outputs, state
        except BaseException:
            for call in calls:
                if call.error is not None:
                    error, call.error = call.error, None
                    raise error from None
            raise

    def collected(self) -> tuple[int, dict[nengo.Probe, np.ndarray]]:
        """How many steps were done since the last call, and what probes showed."""
        shown = {}
        for key, values in self._outputs.items():
            if not isinstance(key, nengo.Probe):
                self._last[key] = values[0, -1]
                continue
            due = sampled(self._steps, key.sample_every, self._model.dt)
            shape = self._model.sig[key]["in"].shape
            values = values if due.all() else values[:, due]
            shown[key] = values.reshape((*values.shape[:2], *shape))
        done, self._outputs, self._steps = len(self._steps), {}, self._steps[:0]
        return done, shown

    def watched(self) -> dict[Any, np.ndarray]:
        """Last values of the signals that are kept without a probe."""
        return self._last

    # --- memory -----------------------------------------------------------------

    def memory(self) -> tuple[list, list]:
        """The state, and what Python remembers."""
        calls = [call.memory() for _, call in self.program.python_operators]
        return [ops.convert_to_numpy(value) for value in self._state], calls

    def restore(self, memory: tuple[list, list]) -> None:
        """Go on from what `memory` returned."""
        state, remembered = memory
        with precision(self._dtype):
            self._state = [ops.convert_to_tensor(value) for value in state]
        calls = (call for _, call in self.program.python_operators)
        for call, values in zip(calls, remembered, strict=True):
            call.restore(values)
