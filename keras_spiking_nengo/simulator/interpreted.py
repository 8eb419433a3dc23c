"""A built model that is stepped as Nengo steps it: operator by operator, in NumPy.

A call of Python from within a compiled program costs more than a whole step of a small
network does in NumPy. Where Python is in the loop, a small network is stepped by the
operators of Nengo's own builder. Numbers, draws, the order of calls, and what they
raise are then Nengo's by construction.
"""

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import nengo
import numpy as np
from nengo.builder import Model
from nengo.builder.neurons import SimNeurons
from nengo.builder.operator import Operator, TimeUpdate
from nengo.builder.processes import SimProcess
from nengo.builder.signal import SignalDict
from nengo.exceptions import SimulationError
from nengo.utils.graphs import toposort
from nengo.utils.numpy import maxint
from nengo.utils.simulator import operator_dependency_graph

from keras_spiking_nengo.dynamics.neurons import RATES_TO_SPIKES
from keras_spiking_nengo.engine.keras_layers import KerasLayer, KerasWeight
from keras_spiking_nengo.engine.operators import stream_seeds
from keras_spiking_nengo.engine.signals import is_replaced, sampled, written_bases
from keras_spiking_nengo.simulator.estimates import mergeable
from keras_spiking_nengo.simulator.merging import merged_operators, shared_filters
from keras_spiking_nengo.simulator.quick_steps import quick_step
from keras_spiking_nengo.simulator.single_steps import (
    Clocks,
    SingleSignals,
    runs_python,
    single_step,
    step_in_double,
)
from keras_spiking_nengo.simulator.spike_rows import (
    SpikeRows,
    height_of_spikes,
    shows_spikes,
)
from keras_spiking_nengo.simulator.stepped_streams import SteppedStream

__all__ = ["Interpreted", "draws", "has_stream", "is_random"]

# Up to so many elements are copied before a single step, so that it can be undone.
_KEPT = 100_000
# Bytes, as in what NumPy allocates.
_ALIGNED = 64


def draws(op: Operator) -> bool:
    """Whether an operator takes a number from the simulator's generator."""
    return isinstance(op, SimProcess) and op.process.seed is None


class Interpreted:
    """A model's operators, and the present values of its signals.

    Args:
        model: nengo's, built; it is not changed.
        inputs: source nodes whose values are given with each step.
        dtype: of what the probes show.
        merged: whether operators are merged where they can be.
        as_program: whether random neurons draw what those of a program draw.
        single: whether steps are computed in single precision.
    """

    longest = 1000

    def __init__(
        self,
        model: Model,
        inputs: Sequence[nengo.Node] = (),
        dtype: Any = "float64",
        merged: bool = True,
        as_program: bool = False,
        single: bool = False,
    ):
        self._model, self._dtype = model, np.dtype(dtype)
        outside = {model.sig[node]["out"].base for node in inputs}
        originals = [op for op in model.operators if not is_replaced(op, outside)]
        copied, order, self._present = _copies(model, originals, merged)
        self._layers = _own_layers(copied.values())
        self._order = [op for op in order if hasattr(op, "make_step")]
        self._copied = copied
        # Steps are made, and draw, in the order of a network that is not merged.
        graph = operator_dependency_graph(model.operators)
        self._making = [(op, copied.get(op)) for op in toposort(graph)]
        self._signals = SingleSignals() if single else SignalDict()
        for op in order:
            op.init_signals(self._signals)
        for node in inputs:
            signal = model.sig[node]["out"].base
            if signal not in self:
                self._signals.init(signal)
        if isinstance(self._signals, SingleSignals):
            self._signals.round(self._order, (model.time,))
        probed = [model.sig[probe]["in"] for probe in model.probes]
        timed = self._order if single else ()
        self._clocks = Clocks(timed, probed, self._present, model.dt)
        self._written = written_bases(originals)
        _own_constants(self._signals)
        standing = (self._present[s] for s in self._written if s in self)
        changed = dict.fromkeys(signal.base for signal in standing)
        # In few arrays, which are copied at once before a step, so as to undo it.
        self._pools = _pooled(self._signals, changed)
        self._undo = [(pool, np.empty_like(pool)) for pool in self._pools]
        self._size = sum(pool.size for pool in self._pools)
        self._frames = [self[model.sig[node]["out"]] for node in inputs]
        self._shown = {
            probe: _Shown(self[model.sig[probe]["in"]], probe, model.dt, self._dtype)
            for probe in model.probes
        }
        self._steps: list[Callable[[], None]] = []
        # Of neurons that draw random numbers.
        self._generators: list[np.random.RandomState] = []
        self._streams = _streams(self._order, self[model.step]) if as_program else {}
        # Equal for what can go on from each other's memory.
        self.form = "streams" if self._streams else ""
        self._done = 0
        self._torn: BaseException | None = None

    def __len__(self) -> int:
        """Number of operators in a step."""
        return len(self._order)

    def __getitem__(self, signal) -> np.ndarray:
        """The array of a signal of the model, which each step changes in place."""
        return self._signals[self._present.get(signal, signal)]

    def __contains__(self, signal) -> bool:
        return self._present.get(signal, signal).base in self._signals

    def take(self, values: Mapping[Any, np.ndarray]) -> None:
        """Set constant signals to other values, such as trained ones.

        Raises:
            NotImplementedError: for a sparse transform that was trained.
        """
        for signal, value in values.items():
            if isinstance(signal, KerasWeight):
                own = self._layers.get(signal.layer)
                if own is not None:
                    own.weights[signal.index].assign(value)
                continue
            if signal not in self or signal.base in self._written:
                continue
            initial = signal.initial_value
            if signal.sparse:
                if not np.array_equal(initial.tocoo().data.astype(value.dtype), value):
                    raise NotImplementedError(
                        f"{signal} is sparse and was trained, and its steps are not"
                        " compiled. Make the simulator with compile=True."
                    )
                continue
            value = np.reshape(value, initial.shape)
            # Rounded to single precision it is what it was.
            same = np.array_equal(initial.astype(value.dtype), value)
            self[signal][...] = initial if same else value

    def reset(self, rng: np.random.RandomState) -> None:
        """Go back to the start, drawing from `rng` what nengo would."""
        for signal in self._signals:
            self._signals.reset(signal)
        self._clocks.start(self._signals)
        stepped, steps = set(self._order), {}
        made_of = (self._signals, self._clocks, self._model.dt, rng)
        self._generators = []
        for op, copied in self._making:
            if copied in stepped:
                fresh = _at_start(copied, self._streams.get(copied))
                steps[copied] = _made(fresh, *made_of)
                if is_random(fresh) and copied not in self._streams:
                    self._generators += fresh.state_extra.values()
            elif copied is None and draws(op):
                rng.randint(maxint)  # as nengo's process would
        self._steps = [steps.get(op) or _made(op, *made_of) for op in self._order]
        self._torn = None
        self.collected()

    def close(self) -> None:
        """Free what is held."""
        self._steps = []

    # --- running ----------------------------------------------------------------

    def advance(self, first: int, n_steps: int, frames: Sequence[np.ndarray]) -> None:
        """Do steps, one after the other.

        Args:
            first: number of steps done before.
            n_steps: how many to do.
            frames: values `(1, n_steps, size)` of each input.

        Raises:
            SimulationError: if the last step ended in the middle.
        """
        if self._torn is not None:
            raise SimulationError(
                f"A step ended in the middle, by {self._torn!r}: call reset()."
            ) from self._torn
        kept = n_steps > 1 or self._size <= _KEPT
        if kept:
            for array, before in self._undo:
                np.copyto(before, array)
        try:
            self._step(first, n_steps, list(zip(self._frames, frames, strict=True)))
        except BaseException as error:
            for shown in self._shown.values():
                shown.forget()
            if not kept:
                self._torn = error
                raise
            for array, before in self._undo:
                np.copyto(array, before)
            raise
        self._done = n_steps

    def _step(self, first: int, n_steps: int, inputs: list) -> None:
        steps = self._steps
        looks = [shown.begin(first, n_steps) for shown in self._shown.values()]
        with np.errstate(invalid="raise", divide="ignore"):
            for i in range(n_steps):
                for array, values in inputs:
                    array[...] = values[0, i]
                for step in steps:
                    step()
                for look in looks:
                    look(i)

    def collected(self) -> tuple[int, dict[nengo.Probe, Any]]:
        """How many steps were done since the last call, and what probes showed."""
        shown = {probe: values.rows[None] for probe, values in self._shown.items()}
        for values in self._shown.values():
            values.forget()
        done, self._done = self._done, 0
        return done, shown

    def watched(self) -> dict[Any, np.ndarray]:
        """Present values of all base signals that are written."""
        written = (base for base in self._written if base in self)
        return {base: self._clocks.seconds(base, self[base]) for base in written}

    def handed_on(self, op: Operator) -> tuple[dict, Callable[[], None]]:
        """An operator's arrays, by signal, and the function that changes them.

        Args:
            op: of the model; it runs Python, and so is not merged with others.
        """
        step = self._steps[self._order.index(self._copied[op])]
        return {signal: self[signal] for signal in op.all_signals}, step

    # --- memory -----------------------------------------------------------------

    def memory(self) -> tuple[list[np.ndarray], list[tuple]]:
        """Values of what is written in a step, in order, and of random generators."""
        values = [self._clocks.seconds(s, self[s]) for s in self._remembered()]
        return values, [_state_of(generator) for generator in self._generators]

    def restore(
        self,
        memory: tuple[Sequence[np.ndarray], Sequence[tuple]],
        n_drawn: int = 0,
    ) -> None:
        """Go on from what `memory` returned.

        Args:
            memory: of the same operators.
            n_drawn: number of steps, of which random processes draw the numbers first.
        """
        values, drawn = memory
        for op, step in zip(self._order, self._steps, strict=True):
            if isinstance(op, SimProcess) and op.input is None:
                for _ in range(n_drawn):
                    step()
        for signal, value in zip(self._remembered(), values, strict=True):
            self[signal][...] = self._clocks.carried(signal, value)
        for generator, (keys, (position, has), rest) in zip(
            self._generators, drawn, strict=True
        ):
            generator.set_state(("MT19937", keys, int(position), int(has), float(rest)))

    def _remembered(self) -> Iterator[Any]:
        signals = (s for op in self._model.operators for s in op.all_signals)
        for signal in dict.fromkeys(signals):
            if signal.base in self._written and signal in self:
                yield signal


class _Shown:
    """What a probe shows in the steps of a block.

    Args:
        array: that it looks at.
        probe: which says how often.
        dt: float, seconds.
        dtype: of what it shows.
    """

    def __init__(self, array: np.ndarray, probe: nengo.Probe, dt: float, dtype):
        self._array, self._period, self._dt = array, probe.sample_every, dt
        self._none = np.empty((0, *array.shape), dtype)
        self.rows: np.ndarray | SpikeRows = self._none
        # That of spikes which are kept as bytes.
        self._height: np.ndarray | None = None
        if probe.sample_every is None and shows_spikes(probe):
            self._height = height_of_spikes(probe, dt, dtype)

    def begin(self, first: int, n_steps: int) -> Callable[[int], None]:
        """What to do at the end of each step of a block, which `first` come before."""
        array, shape, dtype = self._array, self._array.shape, self._none.dtype
        if self._height is not None and n_steps > 1:
            return self._begin_spikes(n_steps, self._height)
        if self._period is None:
            self.rows = rows = np.empty((n_steps, *shape), dtype)

            def look(i: int) -> None:
                rows[i] = array

            return look
        due = sampled(np.arange(first + 1, first + n_steps + 1), self._period, self._dt)
        row = np.cumsum(due) - 1
        self.rows = rows_due = np.empty((np.count_nonzero(due), *shape), dtype)

        def look_where_due(i: int) -> None:
            if due[i]:
                rows_due[row[i]] = array

        return look_where_due

    def _begin_spikes(self, n_steps: int, height) -> Callable[[int], None]:
        array, greater = self._array, np.greater
        spikes = np.empty((n_steps, *array.shape), bool)
        self.rows = SpikeRows(spikes, height)

        def look(i: int) -> None:
            greater(array, 0, spikes[i])

        return look

    def forget(self) -> None:
        """Show nothing until the next block."""
        self.rows = self._none


def _state_of(generator: np.random.RandomState) -> tuple:
    """The state of a random generator, as arrays."""
    _, keys, position, has, rest = generator.get_state(legacy=True)
    return keys, np.array([position, has]), np.array(rest)


def _copies(model: Model, originals: Sequence[Operator], merged: bool):
    """Operators of our own, which may be merged.

    Returns:
        The copy of each operator, what is stepped, in order, and the signal that stands
        for each of the model's.
    """
    copied = {op: copy.copy(op) for op in originals}
    signals = dict.fromkeys(s for op in originals for s in op.all_signals)
    signals |= dict.fromkeys(signal.base for signal in signals)
    merged = merged and mergeable(originals) and not any(map(is_random, originals))
    needless, instead = shared_filters(copied.values()) if merged else (set(), {})
    copied = {op: own for op, own in copied.items() if own not in needless}
    graph = operator_dependency_graph(list(copied.values()))
    if not merged:
        return copied, toposort(graph), {signal: signal for signal in signals}
    order, present = merged_operators(graph, signals)
    return copied, order, {s: present[instead.get(s, s)] for s in signals}


def _own_layers(copies: Iterable[Operator]) -> dict:
    """Gives operators Keras layers of their own, which may take other weights.

    Returns:
        The layer that stands for each of the model's.
    """
    layers: dict = {}
    for op in copies:
        if isinstance(op, SimProcess) and isinstance(op.process, KerasLayer):
            op.process = op.process.taking({}, layers)
    return layers


def _own_constants(signals: SignalDict) -> None:
    """Copies the arrays that Nengo shares with the model, as nothing writes them."""
    bases = {signal for signal in signals if signal.readonly and not signal.is_view}
    for signal in bases:
        if not signal.sparse:
            dict.__setitem__(signals, signal, np.array(signals[signal]))
    _forget_views(signals, bases)


def _pooled(signals: SignalDict, bases: Iterable) -> list[np.ndarray]:
    """Lays arrays out side by side, one array for each type of number."""
    by_type: dict[np.dtype, list] = {}
    for base in bases:
        by_type.setdefault(signals[base].dtype, []).append(base)
    pools = []
    for dtype, group in by_type.items():
        # As aligned as arrays of their own, or products might round otherwise.
        aligned = _ALIGNED // dtype.itemsize
        ends = np.cumsum([-(-signals[b].size // aligned) * aligned for b in group])
        room = np.zeros(int(ends[-1]) + aligned, dtype)
        start = -room.ctypes.data % _ALIGNED // dtype.itemsize
        pools.append(room[start : start + int(ends[-1])])
        for base, first in zip(group, [0, *ends], strict=False):
            former = signals[base]
            part = pools[-1][first : first + former.size].reshape(former.shape)
            part[...] = former
            dict.__setitem__(signals, base, part)
    _forget_views(signals, {base for group in by_type.values() for base in group})
    return pools


def _forget_views(signals: SignalDict, bases: set) -> None:
    """Drops views of arrays that gave way to others: made again when asked for."""
    for signal in list(signals):
        if signal.is_view and signal.base in bases:
            del signals[signal]


def is_random(op: Operator) -> bool:
    """Whether it steps neurons that draw random numbers of their own."""
    return isinstance(op, SimNeurons) and bool(op.state_extra)


def has_stream(op: Operator) -> bool:
    """Whether it steps random neurons whose numbers a program draws, too."""
    return is_random(op) and op.neurons in RATES_TO_SPIKES


def _streams(order: Sequence[Operator], done: np.ndarray) -> dict[Operator, Any]:
    """What neurons draw, by operator; `done` counts the steps."""
    ahead, streams = False, {}
    for op in order:
        ahead = ahead or isinstance(op, TimeUpdate)
        if has_stream(op):
            streams[op] = SteppedStream(stream_seeds(op), done, ahead)
    return streams


def _at_start(op: Operator, stream: SteppedStream | None) -> Operator:
    """The operator with random numbers of its own, which the next reset repeats."""
    if not is_random(op):
        return op
    fresh = copy.copy(op)
    fresh.state_extra = {"rng": stream} if stream else copy.deepcopy(op.state_extra)
    return fresh


def _made(
    op: Operator,
    signals: SignalDict,
    clocks: Clocks,
    dt: float,
    rng: np.random.RandomState,
) -> Callable[[], None]:
    """What does an operator's steps."""
    single = isinstance(signals, SingleSignals)
    quick = single_step(op, signals, clocks, dt) if single else None
    quick = quick or quick_step(op, signals, dt)
    if quick is None:
        double = single and runs_python(op)
        make = partial(step_in_double, op) if double else op.make_step
        return make(signals, dt, rng)
    if draws(op):
        rng.randint(maxint)
    return quick
