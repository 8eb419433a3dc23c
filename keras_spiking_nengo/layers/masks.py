"""Steps that are left out: one whose mask is False keeps the state."""

from typing import Any

import keras
from keras import ops

from keras_spiking_nengo.dynamics.loops import scan
from keras_spiking_nengo.layers.credit import is_local, memory_of

__all__ = ["masked_sequence", "weighted_by_mask"]


def masked_sequence(
    cell, inputs, state: list, mask, training: bool, unroll: bool, zeros: bool
) -> tuple[Any, list]:
    """All steps of a cell, but for those whose mask is False.

    Args:
        cell: a `layers.base.Cell`.
        inputs: `(batch, time, *features)`.
        state: states before the first step.
        mask: `(batch, time)`.
        training, unroll: as in `Cell.sequence`.
        zeros: whether the output of a step that is left out is 0; else it is the one
            before it.

    Returns:
        Outputs `(batch, time, *size)` and the final state.
    """
    if is_local(cell, training):
        return _locally_masked(cell, inputs, state, mask, zeros, unroll)
    step, parameters = cell.program(training)

    def masked(parameters, x, carried):
        (x, keep), (last, state) = x, carried
        y, new = step(parameters, [x], state)
        shown = _where(keep, y, ops.zeros_like(y) if zeros else last)
        new = [_where(keep, n, s) for n, s in zip(new, state, strict=True)]
        return shown, (_where(keep, y, last), new)

    size = cell.output_size
    features = size if isinstance(size, tuple) else (size,)
    last = ops.zeros((ops.shape(inputs)[0], *features), dtype=inputs.dtype)
    mask = ops.cast(mask, "bool")
    outputs, (_, state) = scan(
        *(masked, parameters, (inputs, mask), (last, state), training, unroll),
        **memory_of(cell, training),
    )
    return outputs, state


def _locally_masked(cell, inputs, state: list, mask, zeros: bool, unroll: bool):
    """`masked_sequence` of neurons that spike, whose gradients stay within each step.

    An output that is repeated would be one of another step, so all are computed first.
    """
    step, parameters = cell.program(True)

    def masked(parameters, x, state):
        x, keep = x
        y, new = step(parameters, [x], state)
        pairs = zip(new, state, strict=True)
        return _where(keep, y, ops.zeros_like(y)), [_where(keep, *p) for p in pairs]

    mask, n_states = ops.cast(mask, "bool"), len(state)
    if hasattr(cell, "carried_in_training"):
        state = [*state, *cell.carried_in_training(ops.shape(inputs)[0])]
    outputs, state = scan(
        *(masked, parameters, (inputs, mask), state, True, unroll), local=True
    )
    if not zeros:
        # Only the last one is asked for.
        steps = ops.arange(1, ops.shape(mask)[1] + 1)
        last = ops.max(ops.where(mask, steps, 0), axis=1, keepdims=True)
        is_last = ops.reshape(
            ops.logical_and(mask, steps == last),
            (*ops.shape(mask), *(1 for _ in outputs.shape[2:])),
        )
        chosen = ops.where(is_last, outputs, ops.zeros_like(outputs))
        outputs = ops.sum(chosen, axis=1, keepdims=True)
    return outputs, state[:n_states]


def _where(keep, new, old):
    extra = (1,) * (len(new.shape) - 1)
    return ops.where(ops.reshape(keep, (-1, *extra)), new, old)


class _Mask(keras.layers.Layer):
    """Whether Keras hands on a mask with a tensor, and which."""

    def __init__(self):
        super().__init__(autocast=False, name="mask")
        self.supports_masking = True
        self.found: Any = None

    def call(self, inputs, mask=None):
        self.found = mask
        return inputs


def weighted_by_mask(weights, y, dtype: str) -> Any:
    """Weights in which those steps are 0 that the mask of a tensor leaves out.

    Args:
        weights: `(batch,)`, `(batch, time)`, or None for 1 everywhere.
        y: `(batch, time, *features)`. Keras may hand on a mask `(batch, time)` with it.
        dtype: of the result.

    Returns:
        `(batch, time)` if there is a mask; else `weights`.
    """
    reader = _Mask()
    reader(y)
    if weights is not None:
        weights = ops.cast(weights, dtype)
    if reader.found is None:
        return weights
    keep = ops.cast(reader.found, dtype)
    if weights is None:
        return keep
    return keep * (weights if len(weights.shape) == 2 else weights[:, None])
