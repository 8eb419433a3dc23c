"""Which tensors of a model have an axis of time, `(batch, time, *features)`.

Some layers say which, by the table of `models.time`; the others pass it on, forwards
and backwards. What nothing says is static, `(batch, *features)`.
"""

from collections.abc import Callable, Iterator

import keras

from keras_spiking_nengo.models.calls import Call, Calls, Symbol, symbols_in
from keras_spiking_nengo.models.time import (
    NOTHING_SAID,
    Time,
    stepwise_objection,
    time_of,
)

__all__ = ["ON_STEPS", "Temporal", "temporal"]

Refuse = Callable[[str, str, str], Exception]
TimeOf = Callable[[Call], Time]

_STARTING = (Time.STARTS, Time.PRESENTS)


def _time_of_operation(call: Call) -> Time:
    return time_of(call.operation, call.args)


def _time_refusal(path: str, kind: str, reason: str) -> NotImplementedError:
    return NotImplementedError(f"Layer {path!r} ({kind}): {reason}.")


def temporal(
    calls: Calls, time: TimeOf = _time_of_operation, refuse: Refuse = _time_refusal
) -> "Temporal":
    """Whether each tensor of a model is temporal.

    Args:
        calls: of the model.
        time: `call -> Time`, where it is not that of the layer.
        refuse: `(path, kind, reason) -> error` to raise, of a layer.

    Raises:
        NotImplementedError: or what `refuse` makes, if a layer takes or gives time
            where it cannot.

    Example:
        >>> import keras
        >>> from keras_spiking_nengo.models.calls import calls
        >>> model = keras.Sequential([keras.Input((None, 3)), keras.layers.GRU(2)])
        >>> found = temporal(calls(model))
        >>> [found[x] for x in found.calls.inputs.values()]
        [True]
        >>> [found[y] for y in found.calls.outputs.values()]
        [False]
    """
    found = Temporal(calls, time, refuse)
    found.find()
    return found


class Temporal:
    """The tensors of a model, and whether each has an axis of time.

    Args:
        calls, time, refuse: as for `temporal`.
    """

    def __init__(self, calls: Calls, time: TimeOf, refuse: Refuse):
        self.calls = calls
        self._time = {call.name: time(call) for call in calls}
        self._refuse = refuse
        self._is: dict[int, bool] = {}
        self._names = {id(symbol): name for name, symbol in calls.inputs.items()}
        self._names |= {key: call.name for key, call in calls.makers.items()}

    def __getitem__(self, symbol: Symbol) -> bool:
        return self._is.get(id(symbol), False)

    def __bool__(self) -> bool:
        """Whether anything is temporal."""
        return any(self._is.values())

    def of(self, call: Call) -> bool:
        """Whether the first output of a call is temporal."""
        return self[call.symbols[0]]

    def _error(self, call: Call | str, reason: str) -> Exception:
        """The error for a call, or for an input by its name."""
        if isinstance(call, str):
            return self._refuse(call, "InputLayer", reason)
        return self._refuse(call.path, type(call.operation).__name__, reason)

    def find(self) -> None:
        """Asks every call, and carries on what is said, until nothing is new."""
        for symbol in self.calls.inputs.values():
            if len(symbol.shape) < 3:
                self._is[id(symbol)] = False
            elif symbol.shape[1] is None:
                self._is[id(symbol)] = True
        for call in self.calls:
            for symbol, value in self._said(call):
                self._set(call, symbol, value)
        self._spread()
        # Only now: a layer that mixes is named where it meets time, not what runs.
        for call in self.calls:
            if self._time[call.name] is Time.MIXES and not call.per_step:
                for symbol in (*call.inputs, *call.symbols):
                    self._set(call, symbol, False)
        self._spread()
        self._check_starts()

    def n_steps(self) -> int | None:
        """Number of steps, if the model says; 1 if nothing is temporal."""
        steps = None
        for symbol, call in self._ends():
            length = symbol.shape[1] if self[symbol] else None
            if call is not None and self._time[call.name] is Time.PRESENTS:
                length = call.operation.n_steps
            if length is not None and steps not in (None, length):
                raise self._error(
                    call or self._names[id(symbol)],
                    f"it has {length} steps of time, and another layer has {steps}. A"
                    " Nengo network runs for one number of steps",
                )
            steps = steps if length is None else length
        return 1 if steps is None and not self else steps

    def _ends(self) -> Iterator[tuple[Symbol, Call | None]]:
        yield from ((symbol, None) for symbol in self.calls.inputs.values())
        for call in self.calls:
            yield from ((symbol, call) for symbol in call.symbols)

    def _said(self, call: Call) -> Iterator[tuple[Symbol, bool]]:
        """What one call says by itself, of its inputs and outputs."""
        time = self._time[call.name]
        if call.per_step:
            if len(call.wrappers) > 1 or time in (Time.RUNS, *_STARTING):
                raise self._error(
                    call,
                    "it is within a TimeDistributed, and there is one axis of time"
                    " only",
                )
            yield from ((symbol, True) for symbol in (*call.inputs, *call.symbols))
        elif time in (Time.ENDS, Time.READS):
            yield from ((symbol, False) for symbol in call.symbols)
        elif time in (Time.RUNS, *_STARTING, Time.REPEATS):
            runs = time is Time.RUNS
            yield from ((symbol, runs) for symbol in symbols_in(call.args[:1]))
            if time is not Time.REPEATS:
                over_time = getattr(call.operation, "return_sequences", True)
                outputs, states = _outputs_and_states(call)
                yield from ((symbol, over_time) for symbol in outputs)
                yield from ((symbol, False) for symbol in states)

    def _spread(self) -> None:
        """Carries over layers that keep time what is known, until nothing is new."""
        count = -1
        while count < len(self._is):
            count = len(self._is)
            for call in self.calls:
                if self._time[call.name] is Time.KEEPS and not call.per_step:
                    ends = (*call.inputs, *call.symbols)
                    values = {self._is[id(x)] for x in ends if id(x) in self._is}
                    for value in values:
                        for symbol in ends:
                            self._set(call, symbol, value)

    def _set(self, call: Call, symbol: Symbol, value: bool) -> None:
        if self._is.setdefault(id(symbol), value) != value:
            raise self._error(call, self._conflict(call, symbol))

    def _conflict(self, call: Call, symbol: Symbol) -> str:
        name, time = self._names[id(symbol)], self._time[call.name]
        if call.per_step:
            return (
                f"it is in a TimeDistributed and takes {name!r}, which has no axis of"
                " time. Present it with ksn.layers.Repeat, or leave TimeDistributed out"
            )
        if time is Time.RUNS:
            return (
                f"it runs over time, and {name!r} has no axis of time. Present it with"
                " ksn.layers.Repeat, or give the layer before return_sequences=True"
            )
        if time is Time.MIXES and len(symbol.shape) > len(call.inputs[0].shape):
            return (
                f"it would mix features into the axis of time of {name!r}. Give"
                " keras.Input the shape (None, *features) where time comes from data,"
                " or present a static value with ksn.layers.Repeat"
            )
        if time is Time.MIXES:
            return (
                f"{name!r} has an axis of time, whose steps it would mix."
                f" {_instead_of_mixing(call)}"
            )
        if time in (*_STARTING, Time.REPEATS):
            return (
                f"it repeats {name!r}, which has an axis of time already. Leave it out"
            )
        return (
            f"it joins tensors with and without an axis of time, such as {name!r}."
            " Present the static ones with ksn.layers.Repeat"
        )

    def _check_starts(self) -> None:
        """Refuses to repeat the last step of a sequence: in Nengo it runs on."""
        varies = {id(x): self[x] for x in self.calls.inputs.values()}
        for call in self.calls:
            varying = any(varies[id(symbol)] for symbol in call.inputs)
            varies |= {id(y): self[y] or varying for y in call.symbols}
            time = self._time[call.name]
            starts = time in _STARTING or (time is Time.REPEATS and self.of(call))
            if starts and not call.per_step and varies[id(call.inputs[0])]:
                name = self._names[id(call.inputs[0])]
                raise self._error(
                    call,
                    f"it repeats {name!r}, the last step of a sequence, which is known"
                    " only when the sequence is over. Export the parts before and after"
                    " as two models",
                )


_ALONG_TIME = (
    "It acts along time, of which there is one step after the other: filter with a"
    " ksn.layers.Synapse, or use another layer that carries states from step to step"
)
# What to do instead of an operation on a sequence.
ON_STEPS = (
    "x[:, -1] is the last step, and an average over time is taken where outputs are"
    " read. What is done to each step, do in a layer, and that in ksn.layers.PerStep"
)


def _instead_of_mixing(call: Call) -> str:
    """What to do where a call would mix steps."""
    operation, shape = call.operation, tuple(call.inputs[0].shape)
    if not isinstance(operation, keras.Layer):
        return ON_STEPS
    spec = getattr(operation, "input_spec", None)
    needed = getattr(spec, "ndim", None) or getattr(spec, "min_ndim", None) or 0
    reason = stepwise_objection(operation, shape)
    says = bool(reason) and reason != NOTHING_SAID
    if needed < len(shape) and not says:
        return "Wrap it in keras.layers.TimeDistributed"
    # Of one step, the layer could make nothing.
    return reason[:1].upper() + reason[1:].rstrip(".") if says else _ALONG_TIME


def _outputs_and_states(call: Call) -> tuple[list[Symbol], list[Symbol]]:
    """Outputs of a layer over time, and its states if it gives them."""
    if getattr(call.operation, "return_state", False):
        output, *states = call.outputs
        return symbols_in(output), symbols_in(states)
    return call.symbols, []
