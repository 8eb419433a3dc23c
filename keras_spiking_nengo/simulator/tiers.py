"""What does a simulator's steps: Nengo's operators first, a program where it pays.

A run that is over before a program would be compiled is stepped by Nengo's operators.
Before a run for which compiling pays, or once stepping has cost as much as compiling
would, a program is made that goes on from the present values of Nengo's signals. What
is chosen depends on the model and on the lengths of the runs alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import nengo
import numpy as np
from nengo.builder import Model
from nengo.builder.operator import Operator
from nengo.builder.processes import SimProcess

from keras_spiking_nengo.dynamics.synapses import is_followed
from keras_spiking_nengo.engine.keras_layers import KerasLayer
from keras_spiking_nengo.simulator.compiled import Compiled
from keras_spiking_nengo.simulator.estimates import Estimate, calls_python
from keras_spiking_nengo.simulator.interpreted import Interpreted, is_random

__all__ = ["Plan", "Tiers"]

Tier: TypeAlias = Compiled | Interpreted


@dataclass(frozen=True)
class Plan:
    """How the steps of a simulator are done.

    Attributes:
        compiled: whether by a compiled program; else by Nengo's own operators.
        why: in words.
        stepped_us: what a step of Nengo's operators is thought to take, in
            microseconds; None where that is out of the question.
        compiled_us: the same for a compiled program.
        compiling_us: what making and compiling it is thought to take.
    """

    compiled: bool
    why: str
    stepped_us: float | None = None
    compiled_us: float | None = None
    compiling_us: float | None = None


class Tiers:
    """A built model that is stepped, or runs as a compiled program.

    Args:
        model: nengo's, built; it is not changed.
        inputs: source nodes whose values are given with each step.
        dtype: of what the probes show.
        batch: number of items.
        optimize: whether operations are merged.
        independent: whether each item has random processes of its own.
        wanted: True for a program, False for Nengo's operators, or `"auto"`.
    """

    def __init__(
        self,
        model: Model,
        inputs: Sequence[nengo.Node],
        dtype: str,
        batch: int,
        optimize: bool,
        independent: bool,
        wanted: bool | str,
    ):
        self._arguments: dict[str, Any] = {
            **{"model": model, "inputs": inputs, "dtype": dtype, "batch": batch},
            **{"optimize": optimize, "independent": independent},
        }
        self._values: Mapping[Any, np.ndarray] = {}
        self._drawing = np.random.RandomState(0).get_state()
        self._steps_done = 0
        self._stepped: Interpreted | None = None
        # A program that can begin anew; none that went on from somewhere.
        self._program: Compiled | None = None
        if wanted is not True and batch == 1:
            self._stepped = Interpreted(model, inputs, dtype, optimize)
        self.why, self._fixed = self._chosen(wanted)
        self._running: Tier
        if self.why.compiled:
            self._program = self._running = Compiled(**self._arguments)
            self._stepped = None
        else:
            assert self._stepped is not None
            self._running = self._stepped

    def _chosen(self, wanted: bool | str) -> tuple[Plan, bool]:
        """The plan at the start, and whether it holds for ever."""
        if wanted != "auto":
            return Plan(bool(wanted), f"compile={wanted}"), True
        if self._stepped is None:
            return Plan(True, "a minibatch is stepped at once"), True
        operators = self._arguments["model"].operators
        times = self._times
        if all(map(_can_move, operators)):
            return Plan(False, "runs were shorter than compiling is", *times), False
        if not any(map(calls_python, operators)):
            return Plan(True, "no Python is called while it runs", *times), True
        if self._estimate.stepped <= self._estimate.compiled:
            return Plan(False, "Python is in the loop of a small network", *times), True
        why = "the network is large beside its calls of Python"
        return Plan(True, why, *times), True

    @cached_property
    def _estimate(self) -> Estimate:
        assert self._stepped is not None
        return Estimate.of(self._arguments["model"].operators, len(self._stepped))

    @property
    def _times(self) -> tuple[float, float, float]:
        estimate = self._estimate
        return estimate.stepped, estimate.compiled, estimate.making

    def plan(self, n_steps: int | None = None) -> Plan:
        """How steps are done now, or would be in a run of so many more."""
        if self._fixed or self._running is not self._stepped:
            return self.why
        if n_steps is None or not self._pays(n_steps):
            return self.why
        return self._plan_of_program

    @property
    def _plan_of_program(self) -> Plan:
        return Plan(True, "compiling pays for runs as long as this", *self._times)

    def _pays(self, n_steps: int) -> bool:
        """Whether to compile before a run: for what is saved, or has been spent."""
        estimate = self._estimate
        saved = estimate.saving(n_steps)
        if self._program is not None and self._steps_done == 0:
            return saved > 0
        spent = self._steps_done * estimate.stepped
        return saved > 0 and saved + spent > estimate.making

    def expect(self, n_steps: int) -> None:
        """Choose, before a run of so many steps, how they are done."""
        if self._fixed or self._running is not self._stepped:
            return
        if self._pays(n_steps):
            self._compile()

    def _compile(self) -> None:
        """Go on as a program, from where the steps are."""
        if self._steps_done:
            self._running = Compiled(**self._arguments, stepped=self._stepped)
        else:
            if self._program is None:
                self._program = Compiled(**self._arguments)
            generator = np.random.RandomState()
            generator.set_state(self._drawing)
            self._program.reset(generator)
            self._running = self._program
        if self._values:
            self._running.take(self._values)
        self.why = self._plan_of_program

    # --- what both tiers do -------------------------------------------------------

    @property
    def longest(self) -> int:
        """The most steps of a block."""
        return self._running.longest

    @property
    def lengths(self) -> set[int]:
        """Of the blocks that there are programs for."""
        return self._running.lengths

    def reset(self, rng: np.random.RandomState) -> None:
        """Go back to the start, drawing from `rng` what nengo would."""
        self._drawing = rng.get_state()
        self._steps_done = 0
        if not self._fixed:
            assert self._stepped is not None
            self._running = self._stepped
            self.why, _ = self._chosen("auto")
        self._running.reset(rng)

    def take(self, values: Mapping[Any, np.ndarray]) -> None:
        """Take other values of parameters, such as trained ones."""
        self._values = values
        try:
            self._running.take(values)
        except NotImplementedError:  # of Nengo's operators
            if self._fixed:
                raise
            self._compile()

    def advance(self, first: int, n_steps: int, frames: Sequence[np.ndarray]) -> None:
        """Do steps, after the `first` ones; `frames` are values of each input."""
        self._running.advance(first, n_steps, frames)

    def collected(self) -> tuple[int, dict[nengo.Probe, np.ndarray]]:
        """How many steps were done since the last call, and what probes showed."""
        done, shown = self._running.collected()
        self._steps_done += done
        return done, shown

    def watched(self) -> dict[Any, np.ndarray]:
        """Values of the signals that are kept without a probe."""
        return self._running.watched()

    def close(self) -> None:
        """Free what is held."""
        for tier in (self._stepped, self._program, self._running):
            if tier is not None:
                tier.close()

    def memory(self) -> tuple[bool, Any]:
        """Whether a program runs, and what it or Nengo's operators remember."""
        return self._running is not self._stepped, self._running.memory()

    def restore(self, memory: tuple[bool, Any]) -> None:
        """Go on from what `memory` returned."""
        compiled, remembered = memory
        if compiled and self._running is self._stepped:
            self._compile()
        self._running.restore(remembered)


def _can_move(op: Operator) -> bool:
    """Whether a program can go on from what an operator remembers."""
    if is_random(op):
        return False
    if not isinstance(op, SimProcess):
        return True
    # Nengo steps unknown processes, and hands them over; Keras's cells it does not.
    return not isinstance(op.process, KerasLayer) and (
        not isinstance(op.process, nengo.synapses.Synapse) or is_followed(op.process)
    )
