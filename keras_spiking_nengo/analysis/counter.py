"""Running the calls of a model, and counting what each does."""

import math
import re
import warnings
from dataclasses import asdict

import keras
import numpy as np
from keras import layers, ops

from keras_spiking_nengo.analysis.calls import run, submodel
from keras_spiking_nengo.analysis.operation_counts import Signal, Work, array
from keras_spiking_nengo.analysis.operations import PER_STEP, RULES, Rule, refusal
from keras_spiking_nengo.analysis.recurrent import CELLS
from keras_spiking_nengo.analysis.report import LayerEnergy
from keras_spiking_nengo.layers.base import Cell

__all__ = ["Call", "Counter"]


class Call:
    """One call of a layer, over all batches."""

    def __init__(self, name: str, layer, rule: Rule):
        self.name, self.layer, self.rule = name, layer, rule
        self.work = Work()

    def report(self, factor: float) -> LayerEnergy:
        work = self.work * factor
        kernels = list(map(array, self.rule.kernels(self.layer)))
        variables = getattr(self.layer, "weights", [])
        return LayerEnergy(
            name=self.name,
            kind=type(self.layer).__name__,
            **asdict(work),
            weights=sum(kernel.size for kernel in kernels),
            zero_weights=sum(int(np.sum(kernel == 0)) for kernel in kernels),
            weight_bytes=sum(_bytes(v.shape, v.dtype) for v in variables),
            state_bytes=_state_bytes(self.layer),
        )


class Counter:
    """Runs the calls of a model, and counts their work.

    Args:
        strict: whether to refuse what has no rule.

    Attributes:
        calls: in order.
        position: of the next call.
    """

    def __init__(self, strict: bool):
        self.strict = strict
        self.calls: list[Call] = []
        self.position = 0
        self.uncounted: dict[str, str] = {}

    def __call__(self, name: str, operation, args, kwargs):
        if type(operation) in PER_STEP:
            return self._per_step(name, operation, args)
        inputs = keras.tree.flatten(args)
        rule = self._rule(name, operation, inputs, kwargs)
        values = _values((args, kwargs))
        outputs = operation(*values[0], **values[1])
        flat = keras.tree.flatten(outputs)
        call = self._call(name, operation, rule)
        try:
            call.work = call.work + rule.work(operation, inputs, flat)
        except NotImplementedError as error:
            if self.strict:
                raise
            self._uncounted(name, str(error))
        first, *rest = flat
        signals = [rule.signal(operation, inputs, first), *map(Signal, rest)]
        return keras.tree.pack_sequence_as(outputs, signals)

    def _rule(self, name, operation, inputs, kwargs) -> Rule:
        given = [key for key, value in kwargs.items() if _is_given(value)]
        known = _known(operation) and inputs
        if known and not given and all(isinstance(s, Signal) for s in inputs):
            return RULES[operation]
        error = refusal(name, operation)
        if known:
            error = NotImplementedError(
                f"{name} ({type(operation).__name__}) is called with"
                f" {', '.join(given) or 'what is no tensor'}. It can be counted with"
                " the tensors that it acts on only."
            )
        if self.strict:
            raise error
        self._uncounted(name, str(error))
        return Rule()

    def _uncounted(self, name: str, reason: str) -> None:
        if name not in self.uncounted:
            self.uncounted[name] = reason
            warnings.warn(f"{name} counts as nothing. {reason}", stacklevel=2)

    def _call(self, name, operation, rule) -> Call:
        if self.position == len(self.calls):
            self.calls.append(Call(name, operation, rule))
        self.position += 1
        return self.calls[self.position - 1]

    def _per_step(self, name: str, wrapper, args):
        """Steps are further items of the batch."""
        inputs = keras.tree.flatten(args)
        lead = tuple(inputs[0].value.shape[:2])
        folded = keras.tree.map_structure(_folded, args)
        inner = wrapper.layer
        if submodel(inner):
            made = run(inner, keras.tree.flatten(folded), self, f"{name}/")
        else:
            made = self(name, inner, folded, {})
        return keras.tree.map_structure(lambda s: _unfolded(s, lead), made)

    def unique(self) -> tuple[int, ...]:
        """Positions of the first call of each layer."""
        first = {id(call.layer): i for i, call in reversed(list(enumerate(self.calls)))}
        return tuple(sorted(first.values()))

    def notes(self) -> list[str]:
        return [f"{name} counts as nothing." for name in self.uncounted]


def _known(operation) -> bool:
    if operation not in RULES:
        return False
    if isinstance(operation, layers.Bidirectional):
        return _known(operation.forward_layer) and _known(operation.backward_layer)
    return not isinstance(operation, layers.RNN) or operation.cell in CELLS


def _is_given(value) -> bool:
    return not (value is None or value is False)


def _values(structure):
    return keras.tree.map_structure(
        lambda leaf: leaf.value if isinstance(leaf, Signal) else leaf, structure
    )


def _folded(signal: Signal) -> Signal:
    height, shape = signal.height, tuple(signal.value.shape)
    if height is not None:
        height = height.reshape((1,) * (len(shape) - height.ndim) + height.shape)
        alike = height.shape[:2] == (1, 1)
        height = height[:, 0] if alike else np.broadcast_to(height, shape)
        height = height if alike else height.reshape(-1, *shape[2:])
    value = ops.reshape(signal.value, (-1, *shape[2:]))
    return Signal(value, height, signal.linear)


def _unfolded(signal: Signal, lead: tuple[int, int]) -> Signal:
    height, shape = signal.height, tuple(signal.value.shape)
    if height is not None and height.ndim == len(shape):
        first = lead if len(height) > 1 else (1, 1)
        height = height.reshape(*first, *height.shape[1:])
    value = ops.reshape(signal.value, (*lead, *shape[1:]))
    return Signal(value, height, signal.linear)


# --- memory ------------------------------------------------------------------


def _bytes(shape, dtype) -> int:
    width = re.search(r"\d+", keras.backend.standardize_dtype(dtype))
    bits = int(width[0]) if width else 8  # bool
    return math.ceil(math.prod(shape) * bits / 8)


def _state_bytes(layer) -> int:
    """Of one item."""
    if isinstance(layer, layers.Bidirectional):
        return sum(map(_state_bytes, (layer.forward_layer, layer.backward_layer)))
    if not isinstance(layer, layers.RNN):
        return 0
    cell = layer.cell
    if isinstance(cell, Cell):
        pairs = zip(cell.state_shapes(), cell.state_dtypes(), strict=True)
        return sum(_bytes(shape, dtype) for shape, dtype in pairs)
    sizes = keras.tree.flatten(cell.state_size)
    return sum(_bytes((size,), layer.compute_dtype) for size in sizes)
