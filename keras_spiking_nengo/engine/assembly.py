"""The signals of a translated model, put together from what is written to them."""

from typing import Any

import numpy as np

from keras_spiking_nengo.engine.operation import Operation
from keras_spiking_nengo.engine.signals import Gather, Slice, Value, elements
from keras_spiking_nengo.engine.sums import Accumulate, Sum
from keras_spiking_nengo.engine.translation import Translation

__all__ = ["assemble", "shown"]


def shown(translation: Translation, signal) -> Gather:
    """What a probe shows of a signal: its elements after the step's updates."""
    base = signal.base
    updates = translation.updates.get(base, [])
    where = elements(signal)
    updated = np.full(base.size, -1)
    for i, (_, index) in enumerate(updates):
        updated[index] = i
    if np.all(updated[where] < 0):
        return translation.gather(signal)
    parts = []
    for i, (after, index) in enumerate(updates):
        value, chosen = after(), updated[index] == i
        parts.append((Slice(value, np.flatnonzero(chosen)), index[chosen]))
    rest = np.flatnonzero(updated < 0)
    parts.append((Slice(translation.value(signal), rest), rest))
    out = Value(f"{base.name} after", base.size, base.shape)
    translation.operations.append(Sum.of(base.name, out, parts, ()))
    return Gather([Slice(out, where)])


def assemble(translation: Translation) -> None:
    """Make a sum of what is written to each signal."""
    for base in _bases(translation):
        if base in translation.outside:
            continue
        if base in translation.written:
            translation.operations.append(_signal_sum(translation, base))
        elif base in translation.read_bases:
            parts = [(translation.weight(base), np.arange(base.size))]
            out = translation.value(base)
            translation.operations.append(Sum.of(base.name, out, (), parts))


def _bases(translation: Translation) -> list:
    """All base signals that are written or read as values, in order."""
    model = translation.model
    signals = (signal for op in model.operators for signal in op.all_signals)
    bases = (signal.base for signal in signals if not signal.sparse)
    unique = dict.fromkeys((*bases, *translation.read_bases))
    return [base for base in unique if base not in (model.step, model.time)]


def _signal_sum(translation: Translation, base) -> Operation:
    out, parts = translation.value(base), translation.terms[base]
    constants = list(translation.constants[base])
    carried = ~translation.overwritten.get(base, np.zeros(base.size, bool))
    grows = np.zeros(base.size, bool)
    for _, where in (*parts, *constants):
        grows[where] = True
    grows &= carried
    initial = translation.first_value(base).ravel()
    still = np.flatnonzero(carried & ~grows & (initial != 0))
    if still.size:
        constants.append((translation.weight(base, still), still))
    if not grows.any():
        return Sum.of(base.name, out, parts, constants)
    state = np.where(grows, initial, 0.0)
    memory: dict[str, Any] = {"initial": (state,), "carried": (grows.astype(float),)}
    return Accumulate.of(base.name, out, parts, constants, **memory)
