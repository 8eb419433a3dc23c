"""Steps in single precision, for large networks of simulators that compute in it.

Nengo's operators work in either precision. In single precision they go over half as
many bytes, and LIF neurons carry what is left of a refractory period as a compiled
program does (`dynamics.neurons.clocks`), here in parts of the longest one:
`q = exp(refractory_time / tau_rc) / K`, with `K = exp((tau_ref + dt) / tau_rc)`. Of

    q = max(q d, 1 / K),  e = min(q K d, 1),  v = J - (J - v) e

with `d = exp(-dt / tau_rc)` and, where `v > 1`, `q = (J - v) / (J - 1)`, nothing is an
exponential or a logarithm. What the user's Python is given, and what it remembers,
stays in double precision.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping

import nengo
import numpy as np
from nengo.builder.neurons import SimNeurons
from nengo.builder.operator import DotInc, Operator
from nengo.builder.signal import Signal, SignalDict
from scipy.linalg.blas import sgemv

from keras_spiking_nengo.dynamics.neurons.neuron import LONGEST_CLOCK
from keras_spiking_nengo.simulator.merging import (
    OURS_AND_NENGOS,
    is_python,
    steps_own_type,
)

__all__ = ["Clocks", "SingleSignals", "runs_python", "single_step", "step_in_double"]

# Less than by how much the current of a neuron that spikes is above 1.
_TINY = 1e-8


class SingleSignals(SignalDict):
    """Arrays by signal, of which views have the precision of what they look at."""

    def __getitem__(self, key):
        if key in self or not key.is_view:
            return super().__getitem__(key)
        base = super().__getitem__(key.base)
        scale = key.dtype.itemsize // base.dtype.itemsize
        strides = tuple(stride // scale for stride in key.strides)
        offset = key.offset // scale
        view = np.ndarray(key.shape, base.dtype, base, offset, strides)
        dict.__setitem__(self, key, view)
        return view

    def round(self, operators: Iterable[Operator], times: Iterable[Signal]) -> None:
        """Rounds what is in double precision, before anything looks at it.

        Args:
            operators: in the order of a step. Signals that one with Python of the
                user's has for itself are not rounded: what it remembers is there.
            times: signals that are not rounded either.
        """
        operators = list(operators)
        count = _count_of_bases(operators)
        kept = {signal.base for signal in times}
        for op in filter(runs_python, operators):
            kept |= {s.base for s in op.all_signals if count[s.base] == 1}
        viewed = {signal.base for signal in self if signal.is_view}
        for signal in list(self):
            if signal.is_view:
                del self[signal]
            elif signal not in kept and self[signal].dtype == np.float64:
                value = self[signal].astype(np.float32)
                if signal.readonly and signal not in viewed and _is_tall(value):
                    value = np.asfortranarray(value)  # what is long is read in one go
                dict.__setitem__(self, signal, value)


class Clocks:
    """Refractory times of LIF neurons that are carried as their exponentials.

    Args:
        operators: in the order of a step.
        probed: signals that probes look at.
        present: the signal that stands for each of a model's, where another does.
        dt: float, seconds.
    """

    def __init__(
        self,
        operators: Iterable[Operator],
        probed: Iterable[Signal],
        present: Mapping[Signal, Signal],
        dt: float,
    ):
        operators, self._present = list(operators), present
        seen = _count_of_bases(operators)
        seen.update(present.get(signal, signal).base for signal in probed)
        # The time constant, and the longest time, by signal.
        self._times: dict[Signal, tuple[float, float]] = {}
        for op in operators:
            if isinstance(op, SimNeurons) and type(op.neurons) is nengo.LIF:
                lif, base = op.neurons, op.state["refractory_time"].base
                longest = max(lif.tau_ref + dt, base.initial_value.max(initial=0))
                fits = dt <= lif.tau_ref and longest <= LONGEST_CLOCK * lif.tau_rc
                if fits and seen[base] == 1:
                    self._times[base] = lif.tau_rc, lif.tau_ref + dt

    def __contains__(self, signal: Signal) -> bool:
        return self._of(signal) is not None

    def _of(self, signal: Signal) -> tuple[float, float] | None:
        return self._times.get(self._present.get(signal, signal).base)

    def seconds(self, signal: Signal, carried: np.ndarray) -> np.ndarray:
        """What Nengo's signal is, of what is carried."""
        times = self._of(signal)
        if times is None:
            return np.array(carried)
        tau_rc, longest = times
        return np.maximum(tau_rc * np.log(carried.astype(np.float64)) + longest, 0)

    def carried(self, signal: Signal, seconds: np.ndarray) -> np.ndarray:
        """What is carried, of a value of Nengo's signal."""
        times = self._of(signal)
        if times is None:
            return seconds
        tau_rc, longest = times
        return np.exp((np.maximum(seconds, 0) - longest) / tau_rc)

    def start(self, signals: SignalDict) -> None:
        """Carry the times that are in arrays."""
        for signal in self._times:
            signals[signal] = self.carried(signal, signals[signal])


def single_step(
    op: Operator, signals: SignalDict, clocks: Clocks, dt: float
) -> Callable[[], None] | None:
    """A quick step of an operator in single precision; None where it has none."""
    if isinstance(op, SimNeurons) and op.state.get("refractory_time", op.J) in clocks:
        state = [signals[op.state[name]] for name in ("voltage", "refractory_time")]
        return _step_of_carried_lif(
            op.neurons, signals[op.J], signals[op.output], state, dt
        )
    if type(op) is DotInc and not op.reshape:
        return _product_in_place(*(signals[s] for s in (op.A, op.X, op.Y)))
    return None


def step_in_double(
    op: Operator, signals: SignalDict, dt: float, rng
) -> Callable[[], None]:
    """A step of an operator that gets, and returns, double precision."""
    arrays = {signal: signals[signal] for signal in op.all_signals}
    pairs = {
        signal: (array.astype(np.float64), array)
        for signal, array in arrays.items()
        if array.dtype == np.float32
    }
    given = [pairs[s] for s in (*op.reads, *op.incs, *op.updates) if s in pairs]
    taken = [pairs[s] for s in (*op.sets, *op.incs, *op.updates) if s in pairs]
    doubles = {signal: double for signal, (double, _) in pairs.items()}
    own = op.make_step(arrays | doubles, dt, rng)

    def step() -> None:
        for double, single in given:
            double[...] = single
        own()
        for double, single in taken:
            single[...] = double

    return step


def runs_python(op: Operator) -> bool:
    """Whether a step runs Python of the user's, in whatever kind of operator."""
    known = type(op).__module__.startswith(OURS_AND_NENGOS)
    return is_python(op) or steps_own_type(op) or not known


def _count_of_bases(operators: Iterable[Operator]) -> Counter:
    """How many operators touch each base signal."""
    return Counter(
        base for op in operators for base in {signal.base for signal in op.all_signals}
    )


def _is_tall(value) -> bool:
    return (
        isinstance(value, np.ndarray)
        and value.ndim == 2
        and len(value) > value.shape[1]
    )


def _product_in_place(A: np.ndarray, x: np.ndarray, y: np.ndarray):
    """A step `y += A x` that needs no room; None where arrays are not laid out so."""
    columns = A.ndim == 2 and A.dtype == np.float32 and A.flags.f_contiguous
    vectors = all(v.ndim == 1 and v.flags.c_contiguous for v in (x, y))
    if not columns or not vectors or not A.dtype == x.dtype == y.dtype:
        return None

    def step() -> None:
        sgemv(1, A, x, beta=1, y=y, overwrite_y=1)

    return step


def _step_of_carried_lif(
    lif: nengo.LIF, J, output, state, dt: float
) -> Callable[[], None]:
    v, q = state
    single = v.dtype.type
    d, height = single(np.exp(-dt / lif.tau_rc)), single(lif.amplitude / dt)
    K = np.exp((lif.tau_ref + dt) / lif.tau_rc)
    Kd = single(K * d)
    # Arrays, as NumPy takes four times as long for a maximum of an array and a number.
    one, least = np.ones_like(v), np.full_like(v, lif.min_voltage)
    tiny, over = np.full_like(v, _TINY), np.full_like(v, 1 / K)
    a, b, mask = np.empty_like(v), np.empty_like(v), np.empty(v.shape, bool)
    subtract, multiply, divide = np.subtract, np.multiply, np.divide
    maximum, minimum, greater, copyto = np.maximum, np.minimum, np.greater, np.copyto

    def step() -> None:
        multiply(q, d, q)
        maximum(q, over, out=q)
        multiply(q, Kd, a)
        minimum(a, one, out=a)
        subtract(J, v, v)
        multiply(v, a, v)

        # For all neurons, though it counts where v > 1, and so J > 1, alone. So many
        # spike that finding them takes longer. A new refractory time is the longer one.
        subtract(J, one, b)
        maximum(b, tiny, out=b)
        divide(v, b, a)
        subtract(J, v, v)
        copyto(b, greater(v, 1, mask))
        multiply(a, b, a)
        maximum(q, a, out=q)
        multiply(b, height, output)
        multiply(v, b, a)
        subtract(v, a, v)
        maximum(v, least, out=v)

    return step
