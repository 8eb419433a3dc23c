"""What the spiking layers of a model send while it runs."""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from keras_spiking_nengo.analysis import spikes
from keras_spiking_nengo.analysis.calls import check, data, run
from keras_spiking_nengo.analysis.operation_counts import Signal, array, unmoved
from keras_spiking_nengo.analysis.recurrent import CELLS, spike_height, whole
from keras_spiking_nengo.layers import NeuronsCell

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
    check(model)
    found: list[Recording] = []

    def apply(name, operation, args, kwargs):
        outputs = operation(*args, **kwargs)
        if isinstance(operation, layers.RNN) and operation.cell in CELLS:
            height = spike_height(operation.cell)
            if height is not None:
                inputs = [Signal(value) for value in keras.tree.flatten(args)]
                flat = keras.tree.flatten(outputs)
                values = array(whole(operation, inputs, flat))
                counts = spikes.count(values, height)
                counts = counts.reshape(*counts.shape[:2], -1)
                neurons = isinstance(operation.cell, NeuronsCell)
                found.append(Recording(name, counts, operation.cell.dt, neurons))
        return outputs

    pairs = zip(data(model, x), model.inputs, strict=True)
    tensors = [ops.convert_to_tensor(v, dtype=symbol.dtype) for v, symbol in pairs]
    with unmoved(model):
        outputs = run(model, tensors, apply)
    return found, list(map(array, keras.tree.flatten(outputs)))
