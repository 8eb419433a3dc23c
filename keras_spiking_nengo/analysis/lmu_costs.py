"""What a Legendre memory unit does, counted from the equations of one step.

Of each item and step, with `q = order` polynomials for each of `d = memory_d` channels:

    u = Wx x + Wh h + Wm m     those of the three that there are
    m = A m + B u              (q + 1) q products for each channel
    h = hidden part of [m, x]  by the rules of its layers and cells

with `m` and `h` on the right from the step before, 0 at first. A layer without feedback
computes all steps at once, by products that depend on their number; what is counted is
what the equations ask for, also then. `u` and `m` are real-valued. `A` and `B` are
connections with fixed weights: they count among the weights, and take no memory, as
`order` and `theta` tell them.
"""

from collections.abc import Iterator

import keras
import numpy as np
from keras import ops

from keras_spiking_nengo.analysis.cells_over_time import (
    all_steps,
    presented,
    spike_height,
)
from keras_spiking_nengo.analysis.layer_costs import CELL_COSTS, Cost, cost_of, no_cost
from keras_spiking_nengo.analysis.operation_counts import (
    LayerSignal,
    Work,
    as_numpy,
    before,
    linear,
    product_work,
)
from keras_spiking_nengo.dynamics.loops import scan
from keras_spiking_nengo.layers import LMUCell
from keras_spiking_nengo.models.time import moves

__all__ = ["lmu_kernels", "lmu_signal", "lmu_work"]


def lmu_work(layer, inputs, outputs) -> Work:
    """The operations of a `ksn.layers.LMU`, for the sequences it is given.

    Raises:
        NotImplementedError: for a layer in its hidden part that has no rule.
    """
    cell = layer.cell
    x = LayerSignal(presented(layer, inputs), inputs[0].height)
    memory, hidden = _states(cell, ops.cast(x.value, cell.state_dtype))
    remembered = LayerSignal(before(memory), np.zeros(1))
    fed_back = LayerSignal(before(hidden), _output_height(cell))
    work = Work()
    terms = {"kernel": x, "hidden_kernel": fed_back, "recurrent_kernel": remembered}
    for name, signal in terms.items():
        if name in cell.kernels:
            work = work + product_work(cell.kernels[name], signal)
    work = work + _memory_work(
        cell, memory, _memory_input(cell, x, fed_back, remembered)
    )
    shown = _beside_input(memory, x) if cell.input_to_hidden else _real(memory)
    return work + _hidden_work(layer.name, cell, shown)


def lmu_signal(layer, inputs, value) -> LayerSignal:
    """The output of the hidden part, or the memory."""
    return LayerSignal(value, _output_height(layer.cell))


def lmu_kernels(layer) -> list:
    """Kernels of the memory, `A` and `B`, and those of the hidden part."""
    cell = layer.cell
    kernels = [kernel for name, kernel in cell.kernels.items() if name != "bias"]
    kernels += [as_numpy(matrix) for matrix in cell.matrices()]
    for part in _hidden_parts(cell):
        cost, stand_in = _part_cost(layer.name, part)
        kernels += cost.kernels(stand_in)
    return kernels


def _states(cell, x) -> tuple:
    """Memory and output at all steps, `(batch, time, size)` each."""
    step, parameters = cell.program(False)

    def both(p, x, state):
        output, state = step(p, x, state)
        return ops.concatenate([state[0], output], axis=-1), state

    start = cell.initial_state(x.shape[0])
    values, _ = scan(both, parameters, [x], start, save=False)
    values, size = as_numpy(values), cell.memory_d * cell.order
    return values[..., :size], values[..., size:]


# --- memory -------------------------------------------------------------------


def _memory_input(cell, x, fed_back, remembered) -> LayerSignal:
    """What goes to the memory; spikes, if that is the input as it is."""
    kernels = {name: as_numpy(kernel) for name, kernel in cell.kernels.items()}
    if not (kernels or cell.hidden_to_memory):
        return x
    u = as_numpy(x.value)
    u = u @ kernels["kernel"] if "kernel" in kernels else u
    if cell.hidden_to_memory:
        y = as_numpy(fed_back.value)
        u = u + (y @ kernels["hidden_kernel"] if "hidden_kernel" in kernels else y)
    if "recurrent_kernel" in kernels:
        u = u + as_numpy(remembered.value) @ kernels["recurrent_kernel"]
    return _real(u + kernels.get("bias", 0.0))


def _memory_work(cell, memory: np.ndarray, u: LayerSignal) -> Work:
    """`A m + B u`, of each channel."""
    a, b = map(as_numpy, cell.matrices())
    channels = before(memory).reshape(*memory.shape[:2], cell.memory_d, cell.order)
    work = product_work(a.T, _real(channels))
    return work + linear(lambda kernels, u: u[..., None] * kernels[0], [b], u)


def _real(value) -> LayerSignal:
    return LayerSignal(value, np.zeros(1))


def _beside_input(memory: np.ndarray, x: LayerSignal) -> LayerSignal:
    """Memory and input side by side, with the heights of spikes in the input."""
    value = as_numpy(x.value)
    heights = np.broadcast_to(x.heights(), value.shape)
    return LayerSignal(
        np.concatenate([memory, value], axis=-1),
        np.concatenate([np.zeros_like(memory), heights], axis=-1),
    )


# --- hidden part --------------------------------------------------------------


def _hidden_parts(cell: LMUCell) -> Iterator[keras.Layer]:
    """Layers and cells one after the other, those of a Sequential among them."""
    for layer in cell.hidden_layers:
        yield from layer.layers if isinstance(layer, keras.Sequential) else [layer]


def _part_cost(name: str, part) -> tuple[Cost, keras.Layer]:
    """How a layer or cell is counted, and as which layer."""
    if hasattr(part, "state_size") and part in CELL_COSTS:
        return CELL_COSTS[part], keras.layers.RNN(part, return_sequences=True)
    cost = cost_of(part)
    if cost is None or hasattr(part, "state_size"):
        raise no_cost(f"{name}/{part.name}", part)
    return cost, part


def _hidden_work(name: str, cell: LMUCell, signal: LayerSignal) -> Work:
    work = Work()
    lead = tuple(signal.value.shape[:2])
    for part in _hidden_parts(cell):
        cost, stand_in = _part_cost(name, part)
        over_time = stand_in is not part
        # A layer sees the vector of each step by itself.
        seen = signal if over_time else signal.folded(1)
        seen = LayerSignal(ops.convert_to_tensor(seen.value), seen.height, seen.linear)
        output = all_steps(stand_in, [seen], []) if over_time else part(seen.value)
        work = work + cost.work(stand_in, [seen], [output])
        sent = cost.signal(stand_in, [seen], output)
        signal = sent if over_time else sent.unfolded(lead)
    return work


def _output_height(cell: LMUCell) -> np.ndarray | None:
    """Of the spikes that the hidden part sends, if its last cell spikes."""
    for part in reversed(list(_hidden_parts(cell))):
        if not moves(part):
            return spike_height(part) if hasattr(part, "state_size") else None
    return None
