"""How each tensor of a model stands to time, where the model runs step by step.

A tensor is of one kind. `FRAME` is `(batch, *features)` and comes with each step;
`TIME` is `(batch, time, *features)`; `LAST` is what a layer gives of the last step,
with `return_sequences=False`. Only layers that treat the steps of a `TIME` alike and
apart, and layers that carry states, can be cut into steps.
"""

from collections.abc import Sequence
from enum import Enum
from typing import Any

import keras

from keras_spiking_nengo.dynamics.loops import not_exported
from keras_spiking_nengo.layers import NetworkCell
from keras_spiking_nengo.models.calls import Call, Calls
from keras_spiking_nengo.models.time import (
    Time,
    presents,
    runs,
    stepwise_objection,
    time_of,
)

__all__ = ["Kind", "is_recurrent", "kinds_of", "starts"]


class Kind(Enum):
    """How a tensor of a model stands to time."""

    FRAME = "a value of each step"
    TIME = "a sequence"
    LAST = "the last step of a sequence"


def starts(call: Call) -> bool:
    """Whether a stream starts at a call, which presents a static value."""
    return presents(call.operation) and not call.per_step


def is_recurrent(call: Call) -> bool:
    """Whether a call runs over the time of the stream, and carries states along it."""
    return runs(call.operation) and not call.per_step


def kinds_of(calls: Calls, frames: Sequence[bool]) -> dict[int, Kind]:
    """Kinds of all symbols of a model, by their `id`.

    Args:
        calls: of the model.
        frames: whether each input is a value that comes with each step.

    Raises:
        NotImplementedError: for a layer that has no step, by name and with what to do.

    Example:
        >>> import keras
        >>> from keras_spiking_nengo.models.calls import calls
        >>> model = keras.Sequential([keras.Input((None, 3)), keras.layers.GRU(2)])
        >>> [kind.name for kind in kinds_of(calls(model), [False]).values()]
        ['TIME', 'LAST']
    """
    inputs = zip(calls.inputs.values(), frames, strict=True)
    kinds = {id(x): Kind.FRAME if frame else Kind.TIME for x, frame in inputs}
    for call in calls:
        kinds |= _kinds_given(call, _taken(call, kinds))
    # Keras makes a mask with operations, which stand before the layer that has it.
    for call in sorted(calls, key=_makes_mask, reverse=True):
        _check_call(call, _taken(call, kinds))
    return kinds


def _taken(call: Call, kinds: dict[int, Kind]) -> set[Kind]:
    return {kinds[id(symbol)] for symbol in call.inputs}


def _kinds_given(call: Call, taken: set[Kind]) -> dict[int, Kind]:
    """Kinds of what a call gives, for the kinds of what it takes."""
    if not starts(call) and not is_recurrent(call):
        # What is made of a frame and of a last step is of the last step.
        kind = next((k for k in (Kind.TIME, Kind.LAST) if k in taken), Kind.FRAME)
        if kind is Kind.TIME and _ends(call):
            kind = Kind.LAST
        return dict.fromkeys(map(id, call.symbols), kind)
    kinds = dict.fromkeys(map(id, call.symbols), Kind.LAST)
    if getattr(call.operation, "return_sequences", True):
        with_states = getattr(call.operation, "return_state", False)
        output = call.outputs[0] if with_states else call.outputs
        kinds |= dict.fromkeys(map(id, keras.tree.flatten(output)), Kind.TIME)
    return kinds


def _ends(call: Call) -> bool:
    """Whether it takes the last step, which is the last so far."""
    return time_of(call.operation, call.args) is Time.ENDS and not call.per_step


def _makes_mask(call: Call) -> bool:
    operation = call.operation
    is_masking = isinstance(operation, keras.layers.Masking)
    return is_masking or getattr(operation, "mask_zero", False)


def _check_call(call: Call, taken: set[Kind]) -> None:
    if starts(call) or is_recurrent(call):
        _check_over_time(call, taken)
    elif Kind.TIME in taken and not _ends(call):
        _check_stepwise(call, taken)


def _no_step(operation: Any, reason: str) -> NotImplementedError:
    """The error of a layer or operation that has no step."""
    name = f"{type(operation).__name__} {operation.name!r}"
    return NotImplementedError(f"{name} cannot be streamed: {reason}")


def _check_over_time(call: Call, taken: set[Kind]) -> None:
    """Refuses a layer over time that a stream cannot run as it is called."""
    operation = call.operation
    named = {name for name, value in call.kwargs.items() if value is not None}
    if len(call.args) > 1 or {"initial_state", "mask"} & named:
        raise _no_step(
            operation,
            "it is called with an initial_state or a mask of the model's own. Let its"
            " states come from outside, and leave out steps instead of masking them.",
        )
    if getattr(operation, "go_backwards", False):
        raise _no_step(
            operation,
            "go_backwards=True begins at the end, and a stream has none. Set it to"
            " False.",
        )
    wanted = Kind.FRAME if starts(call) else Kind.TIME
    if taken <= {wanted}:
        _check_python(operation)
        return
    received = ", ".join(sorted(kind.value for kind in taken))
    raise _no_step(
        operation,
        f"it takes {wanted.value}; here it is given {received}. A stream has one axis"
        " of time, and starts once. Give keras.Input the shape (None, *features) where"
        " time comes from data, and return_sequences=True to layers whose output goes"
        " on in time.",
    )


def _check_python(operation: Any) -> None:
    cell = getattr(operation, "cell", None)
    engine = cell.engine if isinstance(cell, NetworkCell) else None
    for label in engine.python() if engine else ():
        raise _no_step(operation, not_exported(label))


def _check_stepwise(call: Call, taken: set[Kind]) -> None:
    """Refuses what does not treat steps alike and apart."""
    if taken != {Kind.TIME}:
        raise _no_step(
            call.operation,
            "it joins a sequence and a value without time. Present the value with"
            " ksn.layers.Repeat, or give the layer before return_sequences=True.",
        )
    if call.per_step:
        return
    reason = stepwise_objection(call.operation, tuple(call.inputs[0].shape))
    if reason:
        raise _no_step(call.operation, reason)
