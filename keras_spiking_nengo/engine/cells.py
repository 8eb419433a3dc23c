"""Nodes with a memory: populations of neurons, and linear synapses."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import nengo
import numpy as np
from keras import ops

from keras_spiking_nengo.dynamics import synapses
from keras_spiking_nengo.dynamics.folding import foldable, folded, unfold
from keras_spiking_nengo.dynamics.modes import constants_of_mode, step_of_mode
from keras_spiking_nengo.dynamics.neurons import SMOOTHING, from_rates, neuron
from keras_spiking_nengo.dynamics.surrogates import SoftLIF
from keras_spiking_nengo.dynamics.synapses import LinearSystem
from keras_spiking_nengo.engine.nodes import Mode, Node

__all__ = ["Filter", "Neurons", "dynamics_of", "shown_state"]


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
class Neurons(Node):
    """Populations of one class of neuron types.

    Outputs are the activity and, after it, the states named in `shown`.

    Attributes:
        populations: neuron type and number of neurons of each.
        generator: whether these are second halves: spikes of given rates.
        shown: names of states that are read by others.
        compact: whether the first two states, a voltage and a refractory clock, are
            kept in one array.
    """

    populations: tuple[tuple[nengo.neurons.NeuronType, int], ...] = ()
    generator: bool = False
    shown: tuple[str, ...] = ()
    compact: bool = False

    @property
    def dynamics(self):
        return dynamics_of(self.populations[0][0], self.generator)

    def key(self, looped):
        first = self.populations[0][0]
        base = type(getattr(first, "base_type", None))
        kind = type(first), base, self.dynamics.variant
        return type(self), kind, self.generator, self.shown

    def joined(self, nodes, reads, outs, initial):
        return replace(
            self,
            label=f"{self.label} and {len(nodes) - 1} more",
            reads=reads,
            outs=outs,
            initial=initial,
            populations=tuple(p for node in nodes for p in node.populations),
        )

    def compacted(self) -> "Neurons":
        """The same in less memory, where that loses nothing."""
        # What is left of a clock that stops within a step is not kept.
        hidden = "refractory" not in self.shown
        if not (hidden and foldable(self.dynamics, self._each(), self.initial)):
            return self
        voltage, clock, *rest = self.initial
        initial = (np.where(clock > 1, -clock, voltage), *rest)
        return replace(self, initial=initial, compact=True)

    def _each(self) -> list[dict[str, Any]]:
        """Parameters of each population."""
        return [
            dynamics_of(kind, self.generator).parameters for kind, _ in self.populations
        ]

    def _parameters(self) -> dict[str, Any]:
        found, counts = self._each(), tuple(n for _, n in self.populations)
        return {
            name: _side_by_side([p[name] for p in found], counts) for name in found[0]
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
        dynamics = folded(self.dynamics) if self.compact else self.dynamics
        return step_of_mode(dynamics, self._mode(mode), spike, width)

    def pack(self, values, dt, mode):
        parameters = self._parameters()
        kind = self._mode(mode)
        constants = constants_of_mode(self.dynamics, kind, parameters, dt)
        shown = {f"shown_{k}": v for k, v in parameters.items() if self.shown}
        return constants | shown

    def compute(self, p, x, state, mode, like):
        constants = {k: v for k, v in p.items() if not k.startswith("shown_")}
        y, state = self._step(mode)(constants, x[0], state)
        first = unfold(state[0]) if self.compact else state[:1]
        values = [*first, *state[1:]]
        names = dict(zip(self.dynamics.states, values, strict=True))
        given = {k[6:]: v for k, v in p.items() if k.startswith("shown_")}
        return [y, *(shown_state(n, given, names[n]) for n in self.shown)], list(state)


@dataclass(frozen=True, eq=False)
class Filter(Node):
    """Linear systems, each over a number of features.

    The state is `(order, features)`.

    Attributes:
        systems: system and number of features of each.
        lag: whether the output comes before the input has moved the state.
    """

    systems: tuple[tuple[LinearSystem, int], ...] = ()
    lag: bool = True

    @property
    def lagged(self) -> bool:  # type: ignore[override]
        return self.lag

    @property
    def order(self) -> int:
        return self.systems[0][0].order

    def key(self, looped):
        system = self.systems[0][0]
        if looped and self.order <= 2:
            return type(self), self.order, self.lag, bool(system.D)
        numbers = [np.ravel(m).tolist() for m in (system.A, system.B, system.C)]
        return type(self), self.lag, str(numbers), system.D

    def joined(self, nodes, reads, outs, initial):
        return replace(
            self,
            label=f"{self.label} and {len(nodes) - 1} more",
            reads=reads,
            outs=outs,
            initial=initial,
            systems=tuple(s for node in nodes for s in node.systems),
        )

    @property
    def system(self) -> LinearSystem | None:
        """The one system of all features, if they share it."""
        first = self.systems[0][0]
        alike = all(
            s is first
            or all(
                np.array_equal(getattr(s, name), getattr(first, name))
                for name in "ABCD"
            )
            for s, _ in self.systems
        )
        return first if alike else None

    def pack(self, values, dt, mode):
        if self.system is not None:
            return {}
        counts = [count for _, count in self.systems]
        packed = {}
        for name in "ABCD":
            entries = np.stack([np.asarray(getattr(s, name)) for s, _ in self.systems])
            for where in np.ndindex(entries.shape[1:]):
                column = entries[(slice(None), *where)]
                key = "_".join([name, *map(str, where)])
                alike = np.all(column == column[0])
                packed[key] = float(column[0]) if alike else np.repeat(column, counts)
        return packed

    def _packed_system(self, p) -> LinearSystem:
        if self.system is not None:
            return self.system
        n = range(self.order)
        return LinearSystem(
            [[p[f"A_{i}_{j}"] for j in n] for i in n],
            [p[f"B_{i}"] for i in n],
            [p[f"C_{i}"] for i in n],
            p["D"],
        )

    def compute(self, p, x, state, mode, like):
        y, new = synapses.step(self._packed_system(p), x[0], state[0])
        return [y], [new]

    def output(self, p, state):
        return [synapses.output(self._packed_system(p), state[0])]

    def sequence(self, u, state):
        """Outputs and state for `(batch, time, features)`, many steps at once."""
        assert self.system is not None  # merged so by its key
        y, x = synapses.sequence(self.system, u, state[0])
        return [y], [x]
