"""Operations with a memory: populations of neurons, and linear synapses."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import nengo
import numpy as np
from keras import ops

from keras_spiking_nengo.dynamics.folding import foldable, folded, unfold
from keras_spiking_nengo.dynamics.modes import constants_of_mode, step_of_mode
from keras_spiking_nengo.dynamics.neurons import SMOOTHING, from_rates, neuron
from keras_spiking_nengo.dynamics.surrogates import SoftLIF
from keras_spiking_nengo.engine.operation import Mode, Operation

__all__ = ["Population", "dynamics_of", "shown_state"]


def dynamics_of(neuron_type, generator: bool = False):
    """The dynamics of a neuron type, or of its second half alone."""
    return from_rates(neuron_type) if generator else neuron(neuron_type)


def shown_state(name: str, constants: Mapping[str, Any], value):
    """A state as nengo shows it."""
    return constants["tau_rc"] * ops.log(value) if name == "refractory" else value


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
        generator: whether these are second halves: spikes of constants_shown rates.
        shown: names of states that are read by others.
        packed_state: whether the first two states, a voltage and a refractory clock,
            are kept in one array.
    """

    populations: tuple[tuple[nengo.neurons.NeuronType, int], ...] = ()
    generator: bool = False
    shown: tuple[str, ...] = ()
    packed_state: bool = False

    # Saved files hold it.
    state_name = "neurons"
    stacked = ("populations",)

    @property
    def dynamics(self):
        return dynamics_of(self.populations[0][0], self.generator)

    def key(self, looped):
        first = self.populations[0][0]
        base = type(getattr(first, "base_type", None))
        kind = type(first), base, self.dynamics.variant
        return type(self), kind, self.generator, self.shown

    @property
    def updates(self):
        return self.outs[0].size if self.initial else 0

    def packed(self) -> "Population":
        """The same in less memory, where that loses nothing."""
        # What is left of a clock that stops within a step is not kept.
        hidden = "refractory" not in self.shown
        if not (hidden and foldable(self.dynamics, self._each(), self.initial)):
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
        constants = constants_of_mode(self.dynamics, self._mode(mode), parameters, dt)
        shown = {f"shown_{k}": v for k, v in parameters.items() if self.shown}
        return constants | shown

    def compute(self, p, x, state, mode, steps):
        constants = {k: v for k, v in p.items() if not k.startswith("shown_")}
        y, state = self._step(mode)(constants, x[0], state)
        first = unfold(state[0]) if self.packed_state else state[:1]
        values = [*first, *state[1:]]
        names = dict(zip(self.dynamics.states, values, strict=True))
        constants_shown = {k[6:]: v for k, v in p.items() if k.startswith("shown_")}
        shown = [shown_state(n, constants_shown, names[n]) for n in self.shown]
        return [y, *shown], list(state)
