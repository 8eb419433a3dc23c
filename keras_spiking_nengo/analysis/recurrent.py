"""What recurrent layers do, counted: one rule for each kind of cell.

The rule is that of the cell, so `keras.layers.RNN(cell)` counts as the layer does.
"""

from collections.abc import Callable

import keras
import numpy as np
from keras import layers, ops

from keras_spiking_nengo import layers as ours
from keras_spiking_nengo.analysis.networks import network_kernels, network_work
from keras_spiking_nengo.analysis.operation_counts import (
    Signal,
    Work,
    activity,
    array,
    linear,
)
from keras_spiking_nengo.analysis.operations import RULES, InputSignals, Rule
from keras_spiking_nengo.layers.base import Cell, SequenceLayer
from keras_spiking_nengo.registry import Registry

__all__ = ["CELLS", "spike_height"]

CELLS: Registry = Registry("energy of a cell", governing=("call", "program"))


def presented(layer, inputs: InputSignals):
    """The sequence that a layer runs over."""
    x = inputs[0].value
    steps = getattr(layer, "n_steps", None)
    x = x if steps is None else ours.Repeat(steps)(x)
    return ops.flip(x, axis=1) if layer.go_backwards else x


def whole(layer, inputs: InputSignals, outputs: list):
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
        return np.asarray(array(amplitude) / cell.dt)
    return np.asarray(cell.height) if hasattr(cell, "height") else None


def _spikes(layer, inputs: InputSignals, value) -> Signal:
    height = spike_height(layer.cell)
    return Signal(value, None if height is None else height[None])


# --- spiking ------------------------------------------------------------------


def _neurons_work(layer, inputs, outputs) -> Work:
    value = whole(layer, inputs, outputs)
    found = activity(value, spike_height(layer.cell))
    updates = found.units if layer.cell.state_names else 0.0
    return found + Work(updates=updates)


def _encoder_work(layer, inputs, outputs) -> Work:
    found = activity(whole(layer, inputs, outputs), spike_height(layer.cell))
    # Not neurons: what they send comes from outside.
    return Work(spikes=found.spikes)


def _synapse_work(layer, inputs, outputs) -> Work:
    x = inputs[0].value
    return Work(updates=float(layer.cell.system.order * np.prod(x.shape)))


def _delay_work(layer, inputs, outputs) -> Work:
    return Work()


def _delay_signal(layer, inputs: InputSignals, value) -> Signal:
    # What comes in goes out later.
    return Signal(value, inputs[0].height if layer.return_sequences else None)


def _synapse_signal(layer, inputs: InputSignals, value) -> Signal:
    # Without a memory and with a gain of 1, what comes in goes out.
    system = layer.cell.system
    same = not system.order and system.D == 1 and layer.return_sequences
    return Signal(value, inputs[0].height if same else None)


CELLS.add(Rule(_neurons_work, _spikes), ours.NeuronsCell)
CELLS.add(Rule(_synapse_work, _synapse_signal), ours.SynapseCell)
CELLS.add(Rule(_delay_work, _delay_signal), ours.DelayCell)
CELLS.add(
    Rule(_encoder_work, _spikes),
    ours.BernoulliEncoderCell,
    ours.DeltaEncoderCell,
    ours.LatencyEncoderCell,
    ours.PoissonEncoderCell,
)
CELLS.add(Rule(network_work, kernels=network_kernels), ours.NetworkCell)


# --- Keras's ------------------------------------------------------------------


def _product(kernels, x):
    return ops.matmul(ops.convert_to_tensor(x), ops.convert_to_tensor(kernels[0]))


def _gated(products: int) -> Rule:
    """Two kernels, and so many elementwise products in a step."""

    def work(layer, inputs, outputs):
        cell = layer.cell
        x = Signal(presented(layer, inputs), inputs[0].height)
        hidden = array(whole(layer, inputs, outputs))
        before = np.concatenate([np.zeros_like(hidden[:, :1]), hidden[:, :-1]], axis=1)
        found = linear(_product, [cell.kernel], x)
        # Of dense operations, the first step's product with zeros is one.
        found = found + linear(_product, [cell.recurrent_kernel], Signal(before))
        elementwise = float(products * hidden.size)
        return found + Work(dense=elementwise, macs=elementwise) + activity(hidden)

    return Rule(
        work, kernels=lambda layer: [layer.cell.kernel, layer.cell.recurrent_kernel]
    )


CELLS.add(_gated(0), layers.SimpleRNNCell)
# Cell with forget gate, candidate with input gate, and what is shown.
CELLS.add(_gated(3), layers.LSTMCell)
# Reset, and both sides of the update gate.
CELLS.add(_gated(3), layers.GRUCell)


# --- layers -------------------------------------------------------------------


def _of_cell(name: str) -> Callable:
    return lambda layer, *rest: getattr(CELLS[layer.cell], name)(layer, *rest)


RULES.add(
    Rule(_of_cell("work"), _of_cell("signal"), _of_cell("kernels")),
    keras.layers.RNN,
    keras.layers.GRU,
    keras.layers.LSTM,
    keras.layers.SimpleRNN,
    SequenceLayer,
    ours.BernoulliEncoder,
    ours.LatencyEncoder,
    ours.Network,
    ours.PoissonEncoder,
)
