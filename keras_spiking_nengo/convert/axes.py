"""Which tensors of a Keras model have an axis of time.

A tensor is temporal, `(batch, time, *features)`, or static, `(batch, *features)`.
Some layers say which; the others pass it on, forwards and backwards. What nothing
says is static.
"""

from collections.abc import Iterator

import keras

from keras_spiking_nengo.convert.calls import Call, Calls
from keras_spiking_nengo.convert.layer_rules import Time

__all__ = ["n_steps", "temporal"]


_STARTING = (Time.STARTS, Time.PRESENTS)


def temporal(calls: Calls) -> dict[str, bool]:
    """Whether the output of each call is temporal, by name.

    Raises:
        NotImplementedError: if a layer takes or gives time where it cannot.
    """
    known: dict[str, bool] = {}
    for call in calls:
        for name, value in _said(call):
            _set(known, call, name, value)
    _spread(known, calls)
    # Only now: a layer that mixes is named where it meets time, not what runs.
    for call in calls:
        if call.time is Time.MIXES and not call.per_step:
            for name in (*call.sources, call.name):
                _set(known, call, name, False)
    _spread(known, calls)
    known = {call.name: known.get(call.name, False) for call in calls}
    _check_starts(known, calls)
    return known


def _said(call: Call) -> Iterator[tuple[str, bool]]:
    """What one call says by itself, of its inputs and of its output."""
    time = call.time
    if call.per_step:
        if time in (Time.RUNS, *_STARTING):
            raise call.refusal(
                "it is within a TimeDistributed, and there is one axis of time only"
            )
        yield from ((name, True) for name in (*call.sources, call.name))
    elif time is Time.RUNS:
        yield from ((name, True) for name in call.sources)
        # What goes into a layer with calls for its outputs is a sequence.
        yield call.name, call.enters or call.layer.return_sequences
    elif time in (*_STARTING, Time.REPEATS):
        yield from ((name, False) for name in call.sources)
        if time in _STARTING:
            yield (
                call.name,
                call.enters or getattr(call.layer, "return_sequences", True),
            )
    elif isinstance(call.layer, keras.layers.InputLayer):
        if len(call.shape) < 3:
            yield call.name, False
        elif call.shape[1] is None:
            yield call.name, True


def _spread(known: dict[str, bool], calls: Calls) -> None:
    """Carries over layers that keep time what is known, until nothing is new."""
    count = -1
    while count < len(known):
        count = len(known)
        for call in calls:
            if call.time is Time.KEEPS and not call.per_step:
                names = (*call.sources, call.name)
                for value in {known[name] for name in names if name in known}:
                    for name in names:
                        _set(known, call, name, value)


def _set(known, call: Call, name: str, value: bool) -> None:
    if known.setdefault(name, value) != value:
        raise call.refusal(_conflict(call, name))


def _conflict(call: Call, name: str) -> str:
    time = call.time
    if call.per_step:
        return (
            f"it is in a TimeDistributed and takes {name!r}, which has no axis of time."
            " Present it with ksn.layers.Repeat, or leave TimeDistributed out"
        )
    if time is Time.RUNS:
        return (
            f"it runs over time, and {name!r} has no axis of time. Present it with"
            " ksn.layers.Repeat, or give the layer before return_sequences=True"
        )
    if time is Time.MIXES:
        return (
            f"{name!r} has an axis of time, whose steps it would mix. Wrap it in"
            " keras.layers.TimeDistributed"
        )
    if time in (*_STARTING, Time.REPEATS):
        return f"it repeats {name!r}, which has an axis of time already. Leave it out"
    return (
        f"it joins tensors with and without an axis of time, such as {name!r}. Present"
        " the static ones with ksn.layers.Repeat"
    )


def _check_starts(known: dict[str, bool], calls: Calls) -> None:
    """Refuses to repeat the last step of a sequence: in Nengo it runs on."""
    varies: dict[str, bool] = {}
    for call in calls:
        varies[call.name] = known[call.name] or any(varies[s] for s in call.sources)
        time = call.time
        starts = time in _STARTING or (time is Time.REPEATS and known[call.name])
        if starts and not call.per_step and varies[call.sources[0]]:
            raise call.refusal(
                f"it repeats {call.sources[0]!r}, the last step of a sequence, which"
                " is known only when the sequence is over. Export the parts before"
                " and after as two models"
            )


def n_steps(calls: Calls, known: dict[str, bool]) -> int | None:
    """Number of steps, if the model says; 1 if nothing is temporal.

    Raises:
        NotImplementedError: if parts of the model differ.
    """
    steps = None
    for call in calls:
        length = call.shape[1] if known[call.name] else None
        if call.time is Time.PRESENTS:
            length = call.layer.n_steps
        if length is not None and steps not in (None, length):
            raise call.refusal(
                f"it has {length} steps of time, and another layer has {steps}. A"
                " Nengo network runs for one number of steps"
            )
        steps = steps if length is None else length
    return 1 if steps is None and not any(known.values()) else steps
