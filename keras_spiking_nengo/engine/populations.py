"""Operations with a memory: populations of neurons."""

from dataclasses import dataclass, replace
from typing import Any

import nengo
import numpy as np

from keras_spiking_nengo.dynamics.folding import foldable, folded, unfold
from keras_spiking_nengo.dynamics.modes import constants_of_mode, step_of_mode
from keras_spiking_nengo.dynamics.neurons import (
    SMOOTHING,
    from_rates,
    has_clock,
    neuron,
    refractory_clock,
    suited_clock,
    timed,
)
from keras_spiking_nengo.dynamics.surrogates import SoftLIF
from keras_spiking_nengo.engine.operation import Mode, Operation

__all__ = ["Population", "dynamics_of"]


def dynamics_of(neuron_type, generator: bool = False):
    """The dynamics of a neuron type, or of its second half alone, in nengo's states."""
    return from_rates(neuron_type) if generator else timed(neuron(neuron_type))


def _side_by_side(values: list, counts: tuple[int, ...]):
    """A number where all populations agree, else a value per neuron."""
    if all(np.ndim(v) == 0 and v == values[0] for v in values):
        return values[0]
    pairs = zip(values, counts, strict=True)
    return np.concatenate([np.broadcast_to(v, count) for v, count in pairs])


@dataclass(frozen=True, eq=False)
class Population(Operation):
    """Populations of one class of neuron types.

    Outputs are the activity and, after it, the states named in `shown`.

    Attributes:
        populations: neuron type and number of neurons of each.
        generator: whether these are second halves: spikes of given rates.
        shown: names of states that are read by others.
        clocked: whether a refractory time is carried as its exponential.
        packed_state: whether the first two states, a voltage and a refractory clock,
            are kept in one array.
    """

    populations: tuple[tuple[nengo.neurons.NeuronType, int], ...] = ()
    generator: bool = False
    shown: tuple[str, ...] = ()
    clocked: bool = False
    packed_state: bool = False

    # Saved files hold it.
    state_name = "neurons"
    stacked = ("populations",)

    @property
    def dynamics(self):
        first = self.populations[0][0]
        return neuron(first) if self.clocked else dynamics_of(first, self.generator)

    def key(self, looped):
        first = self.populations[0][0]
        base = type(getattr(first, "base_type", None))
        kind = type(first), base, self.dynamics.variant
        return type(self), kind, self.generator, self.clocked, self.shown

    @property
    def updates(self):
        return self.outs[0].size if self.initial else 0

    def with_clock(self, dt: float) -> "Population":
        """The same with a refractory time that is cheap to step, where none sees it."""
        name = "refractory_time"
        if name not in self.dynamics.states or name in self.shown:
            return self
        voltage, time, *rest = self.initial
        # Nengo takes a step off it first: what is less then is none.
        time = np.where(time <= dt, 0.0, time)
        start = np.max(time, initial=0.0)
        kinds = [neuron(kind) for kind, _ in self.populations]
        if not all(has_clock(suited_clock(kind, dt, start)) for kind in kinds):
            return self
        clock = refractory_clock(time, self._parameters()["tau_rc"])
        return replace(self, initial=(voltage, clock, *rest), clocked=True)

    def packed(self, dt: float) -> "Population":
        """The same in less memory, where that loses nothing."""
        if not foldable(self.dynamics, self._each(), self.initial, dt):
            return self
        voltage, clock, *rest = self.initial
        initial = (np.where(clock > 1, -clock, voltage), *rest)
        return replace(self, initial=initial, packed_state=True)

    def _each(self) -> list[dict[str, Any]]:
        """Parameters of each population."""
        return [
            dynamics_of(kind, self.generator).parameters for kind, _ in self.populations
        ]

    def _parameters(self) -> dict[str, Any]:
        each, counts = self._each(), tuple(n for _, n in self.populations)
        return {
            name: _side_by_side([p[name] for p in each], counts) for name in each[0]
        }

    def _mode(self, mode: Mode) -> str:
        dynamics = self.dynamics
        drilled = mode.training and dynamics.spiking and dynamics.rates is not None
        return mode.forward if drilled else "spikes"

    def _step(self, mode: Mode):
        surrogate = mode.surrogate
        width = surrogate.width if isinstance(surrogate, SoftLIF) else SMOOTHING
        spike = surrogate if mode.training else surrogate.inline()
        spike = spike if mode.differentiable else surrogate.plain()
        dynamics = folded(self.dynamics) if self.packed_state else self.dynamics
        return step_of_mode(dynamics, self._mode(mode), spike, width)

    def pack(self, values, dt, mode):
        parameters = self._parameters()
        return constants_of_mode(self.dynamics, self._mode(mode), parameters, dt)

    def compute(self, p, x, state, mode, steps):
        y, state = self._step(mode)(p, x[0], state)
        first = unfold(state[0]) if self.packed_state else state[:1]
        values = [*first, *state[1:]]
        names = dict(zip(self.dynamics.states, values, strict=True))
        return [y, *(names[name] for name in self.shown)], list(state)
