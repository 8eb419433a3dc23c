"""What a layer over time runs over, and what its cell sends."""

from collections.abc import Sequence

import numpy as np
from keras import layers, ops

from keras_spiking_nengo import layers as ours
from keras_spiking_nengo.analysis.operation_counts import LayerSignal, as_numpy
from keras_spiking_nengo.layers.base import Cell

__all__ = ["all_steps", "presented", "spike_height"]


def presented(layer, inputs: Sequence[LayerSignal]):
    """The sequence that a layer runs over."""
    x = inputs[0].value
    steps = getattr(layer, "n_steps", None)
    x = x if steps is None else ours.Repeat(steps)(x)
    return ops.flip(x, axis=1) if layer.go_backwards else x


def all_steps(layer, inputs: Sequence[LayerSignal], outputs: list):
    """What a layer's cell returns at all steps, also if the layer does not."""
    if outputs and layer.return_sequences:
        return outputs[0]
    x = presented(layer, inputs)
    if isinstance(layer.cell, Cell):
        x = ops.cast(x, layer.cell.state_dtype)
        state = layer.cell.initial_state(x.shape[0])
        return layer.cell.sequence(x, state, False, False)[0]
    return layers.RNN(layer.cell, return_sequences=True)(x)


def spike_height(cell) -> np.ndarray | None:
    """Of a cell's spikes, an array that broadcasts to its features, or None."""
    if isinstance(cell, ours.NeuronsCell):
        if not cell.dynamics.spiking:
            return None
        amplitude = cell.parameters().get("amplitude", 1.0)
        return np.asarray(as_numpy(amplitude) / cell.dt)
    return np.asarray(cell.height) if hasattr(cell, "height") else None
