"""What the calls of a model do, counted while they are made once more."""

import warnings
from dataclasses import asdict
from typing import Any

import keras
import numpy as np
from keras import layers

from keras_spiking_nengo.analysis.cell_costs import CELL_COSTS
from keras_spiking_nengo.analysis.energy_report import LayerEnergy
from keras_spiking_nengo.analysis.layer_costs import Cost, cost_of, no_cost
from keras_spiking_nengo.analysis.operation_counts import (
    LayerSignal,
    Work,
    as_numpy,
    bytes_of,
)
from keras_spiking_nengo.layers.base import Cell
from keras_spiking_nengo.models.calls import Call, Calls, symbols_in

__all__ = ["CallCount", "Counter"]


class CallCount:
    """One call of a layer, over all batches."""

    def __init__(self, name: str, layer, cost: Cost):
        self.name, self.layer, self.cost = name, layer, cost
        self.work = Work()

    def report(self, factor: float) -> LayerEnergy:
        work = self.work * factor
        kernels = list(map(as_numpy, self.cost.kernels(self.layer)))
        return LayerEnergy(
            name=self.name,
            kind=type(self.layer).__name__,
            **asdict(work),
            weights=sum(kernel.size for kernel in kernels),
            zero_weights=sum(int(np.sum(kernel == 0)) for kernel in kernels),
            weight_bytes=self.cost.weight_bytes(self.layer),
            state_bytes=_state_bytes(self.layer),
        )


class Counter:
    """Counts the work of a model's calls, as what `models.replay` applies to each.

    Args:
        layer_calls: of the model.
        strict: whether to refuse what has no rule.

    Attributes:
        counts: by the names of the calls, in order.
        uncounted: by name, why a call counts as nothing.
    """

    def __init__(self, layer_calls: Calls, strict: bool):
        self.strict = strict
        self.counts: dict[str, CallCount] = {}
        self.uncounted: dict[str, str] = {}
        self._mask_makers = _mask_makers(layer_calls)

    def __call__(self, call: Call, args: tuple, kwargs: dict) -> Any:
        """Outputs of a call, as signals; steps of wrappers are items of the batch."""
        n_axes = len(call.wrappers)
        if n_axes > call.n_folded:
            kwargs = {}  # a mask of the steps that the wrapper takes
        if not n_axes:
            return self._called(call, args, kwargs)
        signals = [s for s in keras.tree.flatten((args, kwargs)) if _is_signal(s)]
        lead = tuple(signals[0].value.shape[: 1 + n_axes])
        args, kwargs = keras.tree.map_structure(
            lambda leaf: leaf.folded(n_axes) if _is_signal(leaf) else leaf,
            (args, kwargs),
        )
        outputs = self._called(call, args, kwargs)
        return keras.tree.map_structure(lambda signal: signal.unfolded(lead), outputs)

    def _called(self, call: Call, args: tuple, kwargs: dict) -> Any:
        operation, inputs = call.operation, keras.tree.flatten(args)
        values, named = keras.tree.map_structure(
            lambda leaf: leaf.value if _is_signal(leaf) else leaf, (args, kwargs)
        )
        if call.name in self._mask_makers:
            outputs = operation(*values, **named)
            return keras.tree.map_structure(LayerSignal, outputs)
        cost = self._cost(call, inputs, kwargs)
        outputs = operation(*values, **named)
        first, *rest = tensors = keras.tree.flatten(outputs)
        count = self.counts.setdefault(call.name, CallCount(call.name, operation, cost))
        try:
            count.work = count.work + cost.work(operation, inputs, tensors)
        except NotImplementedError as error:
            if self.strict:
                raise
            self._leave_out(call.name, str(error))
        signals = [cost.signal(operation, inputs, first), *map(LayerSignal, rest)]
        return keras.tree.pack_sequence_as(outputs, signals)

    def _cost(self, call: Call, inputs: list, kwargs: dict) -> Cost:
        further = [k for k, v in kwargs.items() if k != "mask" and _says_something(v)]
        cost = cost_of(call.operation) if _has_known_cells(call.operation) else None
        if cost and inputs and not further and all(map(_is_signal, inputs)):
            return cost
        error = no_cost(call.name, call.operation)
        if cost and inputs:
            error = NotImplementedError(
                f"{call.name} ({type(call.operation).__name__}) is called with"
                f" {', '.join(further) or 'what is no tensor'}. It can be counted with"
                " the tensors that it acts on only."
            )
        if self.strict:
            raise error
        self._leave_out(call.name, str(error))
        return Cost()

    def _leave_out(self, name: str, reason: str) -> None:
        if name not in self.uncounted:
            self.uncounted[name] = reason
            warnings.warn(f"{name} counts as nothing. {reason}", stacklevel=2)

    def unique(self) -> tuple[int, ...]:
        """Positions of the first call of each layer."""
        counts = reversed(list(enumerate(self.counts.values())))
        return tuple(sorted({id(count.layer): i for i, count in counts}.values()))

    def notes(self) -> list[str]:
        return [f"{name} counts as nothing." for name in self.uncounted]


def _mask_makers(layer_calls: Calls) -> set[str]:
    """Names of the operations that make nothing but masks.

    They compare, which is not counted, and Keras writes them down beside the layers.
    """
    data = set(map(id, layer_calls.outputs.values()))
    makers = set()
    for call in reversed(layer_calls.calls):
        is_layer = isinstance(call.operation, keras.Layer)
        if is_layer or any(id(symbol) in data for symbol in call.symbols):
            named = {k: v for k, v in call.kwargs.items() if k != "mask"}
            data |= set(map(id, symbols_in((call.args, named))))
        else:
            makers.add(call.name)
    return makers


def _is_signal(leaf) -> bool:
    return isinstance(leaf, LayerSignal)


def _has_known_cells(operation) -> bool:
    if isinstance(operation, layers.Bidirectional):
        ways = (operation.forward_layer, operation.backward_layer)
        return all(cost_of(way) and _has_known_cells(way) for way in ways)
    return not isinstance(operation, layers.RNN) or operation.cell in CELL_COSTS


def _says_something(value) -> bool:
    return not (value is None or value is False)


# --- memory ------------------------------------------------------------------


def _state_bytes(layer) -> int:
    """Of one item."""
    if isinstance(layer, layers.Bidirectional):
        return sum(map(_state_bytes, (layer.forward_layer, layer.backward_layer)))
    if not isinstance(layer, layers.RNN):
        return 0
    cell = layer.cell
    if isinstance(cell, Cell):
        pairs = zip(cell.state_shapes(), cell.state_dtypes(), strict=True)
        return sum(bytes_of(shape, dtype) for shape, dtype in pairs)
    sizes = keras.tree.flatten(cell.state_size)
    return sum(bytes_of((size,), layer.compute_dtype) for size in sizes)
