"""Operators that run as nengo wrote them: Python, on NumPy arrays.

A `Call` runs one nengo operator by its own `make_step`, on signals of its own, for
every item of a batch and every step in order. It is a `Source` of the program where
it needs nothing but the time, and is then evaluated ahead; else it is a `Host`, a
node that calls back.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from nengo.builder.node import SimPyFunc
from nengo.builder.signal import SignalDict
from nengo.exceptions import SimulationError
from nengo.utils.functions import function_name

from keras_spiking_nengo.dynamics.loops import call_host
from keras_spiking_nengo.engine.nodes import Node
from keras_spiking_nengo.engine.signals import Value

__all__ = ["Call", "Host", "Source"]


class Call:
    """One operator, and its private signals for each item of a batch.

    Args:
        op: nengo operator.
        dt: float, seconds.
        reads: signals that are given before each step.
        writes: signals that are returned after it.
        label: of the nengo object.

    Attributes:
        error: what the operator raised last, as a compiled program hides it.
    """

    def __init__(self, op, dt: float, reads: Sequence, writes: Sequence, label: str):
        self.op = op
        self.dt = dt
        self.reads = tuple(reads)
        self.writes = tuple(writes)
        self.label = label
        self.independent = False
        self.error: BaseException | None = None
        self.reset(np.random.RandomState(0))

    @property
    def size(self) -> int:
        return sum(signal.size for signal in self.writes)

    def reset(self, rng: np.random.RandomState) -> None:
        """Begin anew, drawing from `rng` what nengo would."""
        self.error = None
        self._drawn = rng.get_state()
        self._items = [self._item(rng)]

    def memory(self) -> list[dict]:
        """The values of each item's signals."""
        return [
            {key: np.array(value) for key, value in signals.items() if not key.readonly}
            for signals, _ in self._items
        ]

    def restore(self, memory: list[dict]) -> None:
        """Set the signals to what `memory` returned."""
        for (signals, _), values in zip(
            self._of_batch(len(memory)), memory, strict=True
        ):
            for key, value in values.items():
                signals[key][...] = value

    def _item(self, rng):
        signals = SignalDict()
        self.op.init_signals(signals)
        return signals, self.op.make_step(signals, self.dt, rng)

    def _of_batch(self, size: int):
        while len(self._items) < size:
            rng = np.random.RandomState()
            rng.set_state(self._drawn)
            if self.independent:
                rng = np.random.RandomState(rng.randint(2**31) ^ len(self._items))
            self._items.append(self._item(rng))
        return self._items[:size]

    def __call__(self, like: np.ndarray, *inputs: np.ndarray) -> np.ndarray:
        """Outputs `(batch, [time,] size)` for inputs `(batch, [time,] *)`.

        `like` has the leading axes, also where the operator reads nothing.
        """
        try:
            return self._call(like, inputs)
        except BaseException as error:  # an interruption by the user, too
            self.error = error
            raise

    def _call(self, like, inputs):
        lead = like.shape[:-1]
        timed = [np.reshape(x, (lead[0], -1, x.shape[-1])) for x in inputs]
        n_steps = int(np.prod(lead[1:]))
        outputs = np.empty((lead[0], n_steps, max(self.size, 1)))
        outputs[...] = 0.0
        items = self._of_batch(lead[0])
        for t in range(n_steps):
            for b, (signals, step) in enumerate(items):
                given = [x[b, t] for x in timed]
                outputs[b, t, : self.size] = self._one(signals, step, given)
        return outputs.reshape((*lead, -1))

    def _one(self, signals, step, given):
        for signal, value in zip(self.reads, given, strict=True):
            signals[signal][...] = value.reshape(signal.shape)
        for signal in self.op.incs:
            signals[signal][...] = 0
        with np.errstate(invalid="raise", divide="ignore"):
            step()
        return np.concatenate(
            [np.zeros(0), *(np.ravel(signals[signal]) for signal in self.writes)]
        )


@dataclass(frozen=True, eq=False)
class Host(Node):
    """A node that runs a `Call`."""

    call: Any = None

    host = True

    def compute(self, p, x, state, mode, like):
        size = max(self.call.size, 1)
        y = call_host(self.call, [like, *x], size, mode.dtype, self.label)
        if not self.outs:
            return [], []
        bounds = np.cumsum([out.size for out in self.outs])
        return [
            y[..., int(stop) - out.size : int(stop)]
            for out, stop in zip(self.outs, bounds, strict=True)
        ], []


class Source:
    """A value that depends on nothing but the time.

    Args:
        call: what computes it; its reads are among the signals of time.
        value: what it is in the program.
        node: `nengo.Node`, or None.
    """

    def __init__(self, call: Call, value: Value, n_time: int):
        self.call = call
        self.value = value
        self._n_time = n_time

    @property
    def label(self) -> str:
        return self.call.label

    def __call__(self, first: int, n_steps: int, batch: int = 1) -> np.ndarray:
        """Values `(batch or 1, n_steps, size)` of the steps after the `first` ones.

        Items have values of their own only if the call is `independent`.
        """
        n_items = batch if self.call.independent else 1
        steps = np.arange(first + 1, first + n_steps + 1)
        times = steps * self.call.dt
        quick = self._function()
        if quick is not None:
            return _evaluated(quick, times, self.value.size, self.call.op.fn)[None]
        return np.stack(
            [self._item(item, steps, times) for item in self.call._of_batch(n_items)]
        )

    def _function(self):
        op = self.call.op
        return op.fn if isinstance(op, SimPyFunc) and op.t_passed else None

    def _item(self, item, steps, times):
        signals, step = item
        given = [
            times if self._is_time(signal) else steps for signal in self.call.reads
        ]
        outputs = np.empty((len(steps), self.value.size))
        for i in range(len(steps)):
            outputs[i] = self.call._one(signals, step, [g[i : i + 1] for g in given])
        return outputs

    def _is_time(self, signal) -> bool:
        return signal.dtype.kind == "f"


def _evaluated(function, times, size, fn) -> np.ndarray:
    values = [function(t) for t in times.tolist()]
    try:
        array = np.array(values, dtype=float)
        if array.size != len(times) * size:
            array = np.empty((len(times), size))
            for row, value in zip(array, values, strict=True):
                row[...] = value
    except (TypeError, ValueError) as error:
        bad = next((v for v in values if v is None), values[0])
        if any(v is None for v in values):
            raise SimulationError(
                f"Function '{function_name(fn)}' returned non-finite value"
            ) from error
        raise SimulationError(
            f"Function '{function_name(fn)}' returned a value {bad!r} of invalid type"
            f" {type(bad)!r}"
        ) from error
    if not np.all(np.isfinite(array)):
        raise SimulationError(
            f"Function '{function_name(fn)}' returned non-finite value"
        )
    return array.reshape(len(times), size)
