"""What does a simulator's steps: Nengo's operators first, a program where it pays.

A run that is over before a program would be compiled is stepped by Nengo's operators.
Before a run for which compiling pays, or once stepping has cost as much as compiling
would, a program is made that goes on from the present values of Nengo's signals. What
is chosen depends on the model and on the lengths of the runs alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import nengo
import numpy as np
from nengo.builder import Model
from nengo.builder.operator import Operator
from nengo.builder.processes import SimProcess

from keras_spiking_nengo.dynamics.synapses import is_followed
from keras_spiking_nengo.engine.keras_layers import KerasLayer
from keras_spiking_nengo.simulator.compiled import Compiled
from keras_spiking_nengo.simulator.estimates import (
    Estimate,
    calls_python,
    mergeable,
    pays_in_single,
)
from keras_spiking_nengo.simulator.interpreted import Interpreted, has_stream, is_random

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
        wanted: True for a program, False for Nengo's operators, or `"auto"`.
        **arguments: the others of `Compiled`.
    """

    def __init__(self, model: Model, wanted: bool | str, **arguments: Any):
        self._arguments = {"model": model, **arguments}
        self._values: Mapping[Any, np.ndarray] = {}
        self._drawing = np.random.RandomState(0).get_state()
        self._steps_done = 0
        self._stepped: Interpreted | None = None
        # A program that can begin anew; none that went on from somewhere.
        self._program: Compiled | None = None
        many = wanted == "auto" and not mergeable(model.operators)
        single = wanted == "auto" and arguments["dtype"] == "float32"
        single = single and pays_in_single(model.operators)
        if wanted is not True and arguments["batch"] == 1 and not many:
            try:
                self._stepped = Interpreted(
                    model,
                    arguments["inputs"],
                    arguments["dtype"],
                    merged=arguments["optimize"],
                    as_program=wanted == "auto",
                    single=single,
                )
            except ValueError:  # of a circle, which the program tells by name
                Compiled(**self._arguments)
                raise
        # None where what is chosen holds for ever.
        self._estimate: Estimate | None = None
        self._at_start = self._now = Plan(wanted is not False, f"compile={wanted}")
        if wanted == "auto":
            self._at_start, self._estimate = _choice(
                model.operators, self._stepped, single
            )
            self._now = self._at_start
        self._running: Tier
        if self._now.compiled:
            self._program = self._running = Compiled(**self._arguments)
            self._stepped = None
        else:
            assert self._stepped is not None
            self._running = self._stepped

    def plan(self, n_steps: int | None = None) -> Plan:
        """How steps are done now, or would be in a run of so many more."""
        pays = n_steps is not None and self._pays(n_steps)
        return _plan_of(self._estimate) if pays else self._now

    def _pays(self, n_steps: int) -> bool:
        """Whether to compile before a run: for what is saved, or has been spent."""
        estimate = self._estimate
        if estimate is None or self._running is not self._stepped:
            return False
        saved, spent = estimate.saving(n_steps), self._steps_done * estimate.stepped
        made = self._program is not None and not self._steps_done
        return saved > 0 and (made or saved + spent > estimate.making)

    def expect(self, n_steps: int) -> None:
        """Choose, before a run of so many steps, how they are done."""
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
        self._now = _plan_of(self._estimate)

    # --- what both tiers do -------------------------------------------------------

    @property
    def longest(self) -> int:
        """The most steps of a block."""
        return self._running.longest

    def reset(self, rng: np.random.RandomState) -> None:
        """Go back to the start, drawing from `rng` what nengo would."""
        self._drawing = rng.get_state()
        self._steps_done = 0
        if self._estimate is not None:
            assert self._stepped is not None
            self._running, self._now = self._stepped, self._at_start
        self._running.reset(rng)

    def take(self, values: Mapping[Any, np.ndarray]) -> None:
        """Take other values of parameters, such as trained ones."""
        self._values = values
        try:
            self._running.take(values)
        except NotImplementedError:  # of Nengo's operators
            if self._estimate is None:
                raise
            self._compile()

    def advance(self, first: int, n_steps: int, frames: Sequence[np.ndarray]) -> None:
        """Do steps, after the `first` ones; `frames` are values of each input."""
        self._running.advance(first, n_steps, frames)

    def collected(self) -> tuple[int, dict[nengo.Probe, Any]]:
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

    def restore(
        self, memory: tuple[bool, Any], n_steps: int, replay: bool = False
    ) -> None:
        """Go on from what `memory` returned.

        Args:
            memory: of a simulator that was like this one.
            n_steps: that it had done.
            replay: draw from random processes what these have drawn.
        """
        compiled, remembered = memory
        self.begin(compiled)
        self._running.restore(remembered, n_steps * replay)
        self._steps_done = n_steps

    def begin(self, compiled: bool) -> str:
        """At the start, see to it that steps are those of a program, or of Nengo.

        Returns:
            Their `form`.

        Raises:
            ValueError: if only the others are to be had.
        """
        if compiled and self._running is self._stepped:
            self._compile()
        if not compiled and self._running is not self._stepped:
            raise ValueError(
                "The state is that of steps in NumPy, and this simulator compiles them:"
                ' make it with compile="auto" or False, as the one that saved it.'
            )
        return self._running.form


def _choice(
    operators: Sequence[Operator], stepped: Interpreted | None, single: bool
) -> tuple[Plan, Estimate | None]:
    """The plan at the start, and what it may be changed by.

    Args:
        operators: of Nengo's builder.
        stepped: what steps them; None for a minibatch, or very many operators.
        single: whether that is in single precision.
    """
    if not mergeable(operators):
        estimate = Estimate.of(operators, len(operators))
        return Plan(True, "the network is large", *estimate.times), None
    if stepped is None:
        return Plan(True, "a minibatch is stepped at once"), None
    estimate = Estimate.of(operators, len(stepped), single)
    if all(map(_can_move, operators)):
        why = "runs were shorter than compiling is"
        return Plan(False, why, *estimate.times), estimate
    if not any(map(calls_python, operators)):
        return Plan(True, "no Python is called while it runs", *estimate.times), None
    if estimate.stepped <= estimate.compiled:
        return Plan(False, "Python is in the loop", *estimate.times), None
    why = "the network is large beside its calls of Python"
    return Plan(True, why, *estimate.times), None


def _plan_of(estimate: Estimate | None) -> Plan:
    """That of a program which was made when it paid."""
    times = () if estimate is None else estimate.times
    return Plan(True, "compiling pays for runs as long as these", *times)


def _can_move(op: Operator) -> bool:
    """Whether a program can go on from what an operator remembers."""
    if is_random(op):
        return has_stream(op)
    if not isinstance(op, SimProcess):
        return True
    # Nengo steps unknown processes, and hands them over; Keras's cells it does not.
    return not isinstance(op.process, KerasLayer) and (
        not isinstance(op.process, nengo.synapses.Synapse) or is_followed(op.process)
    )
