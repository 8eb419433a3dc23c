"""Linear synapses: `s[t] = A s[t-1] + B u[t]`, `y[t] = C s[t] + D u[t]`."""

from dataclasses import dataclass

import numpy as np

from keras_spiking_nengo.dynamics import synapses
from keras_spiking_nengo.dynamics.synapses import LinearSystem
from keras_spiking_nengo.engine.operation import Operation

__all__ = ["Filter"]


@dataclass(frozen=True, eq=False)
class Filter(Operation):
    """Linear systems, each over a number of features.

    The state is `(order, features)`.

    Attributes:
        systems: system and number of features of each.
        lag: whether the output comes before the input has moved the state.
    """

    systems: tuple[tuple[LinearSystem, int], ...] = ()
    lag: bool = True
    stacked = ("systems",)

    @property
    def lagged(self) -> bool:  # type: ignore[override]
        return self.lag

    @property
    def order(self) -> int:
        return self.systems[0][0].order

    @property
    def updates(self):
        return self.order * self.outs[0].size

    def key(self, looped):
        system = self.systems[0][0]
        if looped and self.order <= 2:
            return type(self), self.order, self.lag, bool(system.D)
        numbers = [np.ravel(m).tolist() for m in (system.A, system.B, system.C)]
        return type(self), self.lag, str(numbers), system.D

    @property
    def system(self) -> LinearSystem | None:
        """The one system of all features, if they share it."""
        first = self.systems[0][0]
        return first if all(_alike(s, first) for s, _ in self.systems) else None

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

    def compute(self, p, x, state, mode, steps):
        y, new = synapses.step(self._packed_system(p), x[0], state[0])
        return [y], [new]

    def output(self, p, state):
        return [synapses.output(self._packed_system(p), state[0])]

    def sequence(self, u, state, count=None):
        """Outputs and state for `(batch, time, features)`, many steps at once.

        With `count`, an integer tensor, only so many are taken.
        """
        assert self.system is not None  # merged so by its key
        y, x = synapses.sequence(self.system, u, state[0], count=count)
        return [y], [x]


def _alike(one: LinearSystem, other: LinearSystem) -> bool:
    pairs = ((getattr(one, name), getattr(other, name)) for name in "ABCD")
    return one is other or all(np.array_equal(a, b) for a, b in pairs)
