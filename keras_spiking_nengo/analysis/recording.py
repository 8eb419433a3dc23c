"""What the spiking layers of a model send while it runs."""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from keras_spiking_nengo.analysis import spikes
from keras_spiking_nengo.analysis.cell_costs import CELL_COSTS
from keras_spiking_nengo.analysis.cells_over_time import all_steps, spike_height
from keras_spiking_nengo.analysis.operation_counts import LayerSignal, as_numpy
from keras_spiking_nengo.layers import NeuronsCell
from keras_spiking_nengo.models.calls import Call, calls
from keras_spiking_nengo.models.data import arrays_of
from keras_spiking_nengo.models.replay import called, replay
from keras_spiking_nengo.models.states import states_restored

__all__ = ["Recording", "record"]


@dataclass(frozen=True, eq=False)
class Recording:
    """The spikes of one call of a layer.

    Attributes:
        name: path of the layer.
        counts: `(batch, time, units)` numbers of spikes.
        dt: float, seconds. Length of a step.
        neurons: whether they are of neurons, and not of an encoder.
    """

    name: str
    counts: np.ndarray
    dt: float
    neurons: bool

    @property
    def rates(self) -> np.ndarray:
        """Firing rates in Hz, `(units,)`, over all items and steps."""
        return np.mean(self.counts, axis=(0, 1)) / self.dt


def record(model: keras.Model, x: Any) -> tuple[list[Recording], list[np.ndarray]]:
    """The spikes of a model's layers in order, and its outputs.

    Args:
        model: functional or `keras.Sequential`.
        x: data, as for `energy`.
    """
    layer_calls = calls(model)
    recordings: list[Recording] = []

    def apply(call, args, kwargs):
        outputs = called(call, args, kwargs)
        layer = call.operation
        height = spike_height(layer.cell) if _runs_alone(call) else None
        if height is not None:
            inputs = [LayerSignal(value) for value in keras.tree.flatten(args)]
            tensors = keras.tree.flatten(outputs)
            values = as_numpy(all_steps(layer, inputs, tensors))
            counts = spikes.count(values, height)
            counts = counts.reshape(*counts.shape[:2], -1)
            neurons = isinstance(layer.cell, NeuronsCell)
            recordings.append(Recording(call.name, counts, layer.cell.dt, neurons))
        return outputs

    pairs = zip(arrays_of(layer_calls, x), model.inputs, strict=True)
    tensors = [ops.convert_to_tensor(v, dtype=symbol.dtype) for v, symbol in pairs]
    with states_restored(model):
        outputs = replay(layer_calls, tensors, apply)
    return recordings, list(map(as_numpy, outputs))


def _runs_alone(call: Call) -> bool:
    """Whether it is a call of a layer over time, whose cell is known, by itself."""
    layer = call.operation
    over_time = isinstance(layer, layers.RNN) and layer.cell in CELL_COSTS
    return over_time and not call.wrappers
