"""What recurrent layers do, counted: one rule for each kind of cell.

The rule is that of the cell, so `keras.layers.RNN(cell)` counts as the layer does.
"""

from collections.abc import Callable, Sequence

import keras
import numpy as np
from keras import layers, ops

from keras_spiking_nengo import layers as ours
from keras_spiking_nengo.analysis.cells_over_time import (
    all_steps,
    presented,
    spike_height,
)
from keras_spiking_nengo.analysis.layer_costs import CELL_COSTS, LAYER_COSTS, Cost
from keras_spiking_nengo.analysis.lmu_costs import lmu_kernels, lmu_signal, lmu_work
from keras_spiking_nengo.analysis.network_costs import network_kernels, network_work
from keras_spiking_nengo.analysis.operation_counts import (
    LayerSignal,
    Work,
    activity,
    as_numpy,
    before,
    linear,
    product_work,
)
from keras_spiking_nengo.layers.base import SequenceLayer
from keras_spiking_nengo.layers.parallel import over_time, slid

__all__ = ["CELL_COSTS"]


def _spikes_of_cell(layer, inputs: Sequence[LayerSignal], value) -> LayerSignal:
    height = spike_height(layer.cell)
    return LayerSignal(value, None if height is None else height[None])


# --- spiking ------------------------------------------------------------------


def _neurons_work(layer, inputs, outputs) -> Work:
    value = all_steps(layer, inputs, outputs)
    work = activity(value, spike_height(layer.cell))
    updates = work.units if layer.cell.state_names else 0.0
    return work + Work(updates=updates)


def _recurrent_neurons_work(layer, inputs, outputs) -> Work:
    cell, value = layer.cell, all_steps(layer, inputs, outputs)
    sent = before(as_numpy(value) * as_numpy(cell.spikes_per_output()))
    # Of dense operations, the first step's product with zeros is one.
    fed_back = LayerSignal(
        sent.reshape(*sent.shape[:2], -1), np.ones(1) if cell.sends_spikes else None
    )
    work = _neurons_work(layer, inputs, outputs) + product_work(cell.kernel(), fed_back)
    order = 0 if cell.recurrent_synapse is None else cell.system.order
    return work + Work(updates=float(order * sent.size))


def _encoder_work(layer, inputs, outputs) -> Work:
    work = activity(all_steps(layer, inputs, outputs), spike_height(layer.cell))
    # Not neurons: what they send comes from outside.
    return Work(spikes=work.spikes)


def _synapse_work(layer, inputs, outputs) -> Work:
    x = inputs[0].value
    return Work(updates=float(layer.cell.system.order * np.prod(x.shape)))


def _delay_work(layer, inputs, outputs) -> Work:
    return Work()


def _delayed_dense_work(layer, inputs, outputs) -> Work:
    # As many products as without delays: once these are rounded, each is of one step.
    x = LayerSignal(presented(layer, inputs), inputs[0].height)
    return product_work(layer.cell.kernel, x)


def _sliding_work(layer, inputs, outputs) -> Work:
    order = layer.cell.order
    value = all_steps(layer, inputs, outputs)

    def function(kernels, x):
        ahead = ((0, 0), (order - 1, 0), *((0, 0) for _ in x.shape[2:]))
        return slid(ops.convert_to_tensor(kernels[0]), ops.pad(x, ahead))

    x = LayerSignal(presented(layer, inputs), inputs[0].height)
    counted = linear(function, [layer.cell.kernel], x)
    return counted + activity(value, spike_height(layer.cell))


def _parallel_work(layer, inputs, outputs) -> Work:
    def function(kernels, x):
        return over_time(ops.convert_to_tensor(kernels[0]), ops.convert_to_tensor(x))

    counted = linear(function, [layer.weights_over_time()], inputs[0])
    return counted + activity(outputs[0], np.asarray(layer.height))


def _parallel_signal(layer, inputs: Sequence[LayerSignal], value) -> LayerSignal:
    return LayerSignal(value, np.asarray([layer.height]))


def _delay_signal(layer, inputs: Sequence[LayerSignal], value) -> LayerSignal:
    # What comes in goes out later.
    return LayerSignal(value, inputs[0].height if layer.return_sequences else None)


def _synapse_signal(layer, inputs: Sequence[LayerSignal], value) -> LayerSignal:
    # Without a memory and with a gain of 1, what comes in goes out.
    system = layer.cell.system
    same = not system.order and system.D == 1 and layer.return_sequences
    return LayerSignal(value, inputs[0].height if same else None)


CELL_COSTS.add(Cost(_neurons_work, _spikes_of_cell), ours.NeuronsCell)
CELL_COSTS.add(
    Cost(_recurrent_neurons_work, _spikes_of_cell, lambda layer: [layer.cell.kernel()]),
    ours.RecurrentNeuronsCell,
)
CELL_COSTS.add(Cost(_synapse_work, _synapse_signal), ours.SynapseCell)
CELL_COSTS.add(Cost(_delay_work, _delay_signal), ours.DelayCell)
CELL_COSTS.add(
    Cost(_delayed_dense_work, kernels=lambda layer: [layer.cell.kernel]),
    ours.DelayedDenseCell,
)
CELL_COSTS.add(
    Cost(_sliding_work, _spikes_of_cell, lambda layer: [layer.cell.kernel]),
    ours.SlidingParallelSpikingNeuronsCell,
)
LAYER_COSTS.add(
    Cost(_parallel_work, _parallel_signal, lambda layer: [layer.kernel]),
    ours.ParallelSpikingNeurons,
)
CELL_COSTS.add(
    Cost(_encoder_work, _spikes_of_cell),
    ours.BernoulliEncoderCell,
    ours.DeltaEncoderCell,
    ours.LatencyEncoderCell,
    ours.PoissonEncoderCell,
)
CELL_COSTS.add(Cost(network_work, kernels=network_kernels), ours.NetworkCell)
CELL_COSTS.add(Cost(lmu_work, lmu_signal, lmu_kernels), ours.LMUCell)


# --- Keras's ------------------------------------------------------------------


def _gated(products: int) -> Cost:
    """Two kernels, and so many elementwise products in a step."""

    def work(layer, inputs, outputs):
        cell = layer.cell
        x = LayerSignal(presented(layer, inputs), inputs[0].height)
        hidden = as_numpy(all_steps(layer, inputs, outputs))
        counted = product_work(cell.kernel, x)
        # Of dense operations, the first step's product with zeros is one.
        fed_back = LayerSignal(before(hidden))
        counted = counted + product_work(cell.recurrent_kernel, fed_back)
        elementwise = float(products * hidden.size)
        return counted + Work(dense=elementwise, macs=elementwise) + activity(hidden)

    return Cost(
        work, kernels=lambda layer: [layer.cell.kernel, layer.cell.recurrent_kernel]
    )


CELL_COSTS.add(_gated(0), layers.SimpleRNNCell)
# Cell with forget gate, candidate with input gate, and what is shown.
CELL_COSTS.add(_gated(3), layers.LSTMCell)
# Reset, and both sides of the update gate.
CELL_COSTS.add(_gated(3), layers.GRUCell)


# --- layers -------------------------------------------------------------------


def _by_cell(name: str) -> Callable:
    return lambda layer, *rest: getattr(CELL_COSTS[layer.cell], name)(layer, *rest)


LAYER_COSTS.add(
    Cost(_by_cell("work"), _by_cell("signal"), _by_cell("kernels")),
    keras.layers.RNN,
    keras.layers.GRU,
    keras.layers.LSTM,
    keras.layers.SimpleRNN,
    SequenceLayer,
    ours.BernoulliEncoder,
    ours.LMU,
    ours.LatencyEncoder,
    ours.Network,
    ours.PoissonEncoder,
)
