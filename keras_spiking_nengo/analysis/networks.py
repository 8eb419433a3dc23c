"""What a whole Nengo network does, counted operator by operator.

The network is run once more, as a program whose outputs are all signals that a product
reads: each is a connection's input, with its zeros and spikes.
"""

import math
from collections.abc import Iterator

import nengo
import numpy as np
from keras import ops
from nengo.builder import operator as operators
from nengo.builder.learning_rules import SimBCM, SimOja, SimPES, SimRLS, SimVoja
from nengo.builder.neurons import SimNeurons
from nengo.builder.processes import SimProcess
from nengo.builder.transforms import ConvInc, ConvTransposeInc

from keras_spiking_nengo.analysis.operation_counts import (
    Signal,
    Work,
    activity,
    array,
    linear,
)
from keras_spiking_nengo.dynamics import transforms
from keras_spiking_nengo.dynamics.synapses import SYNAPSES, linear_system
from keras_spiking_nengo.engine import Mode, compile_model
from keras_spiking_nengo.engine.signals import elements

__all__ = ["network_kernels", "network_work"]

_PRODUCTS = (operators.DotInc, operators.ElementwiseInc)
_CONVOLUTIONS = (ConvInc, ConvTransposeInc)
_LEARNING = (SimBCM, SimOja, SimPES, SimRLS, SimVoja)


def network_work(layer, inputs, outputs) -> Work:
    """The operations of a `ksn.layers.Network`, for the sequences it is given.

    Raises:
        NotImplementedError: if it learns online, so that weights change.
    """
    model = layer.cell.model
    for op in model.operators:
        if isinstance(op, _LEARNING):
            raise NotImplementedError(
                f"{layer.name} learns online ({type(op).__name__}), and the cost of"
                " that is not known. Take the learning rule off, as layer.network() may"
                " help with, or count the layer as nothing with"
                " ksn.analysis.energy(model, x, strict=False)."
            )
    found = _run(layer.cell, _in_order(layer.cell.ports, inputs), layer.go_backwards)
    heights = _heights(model)
    lead = math.prod(inputs[0].value.shape[:2])
    work = Work(updates=float(lead * _updates(model)))
    for op, base in _connections(model):
        kernel, x = _constant(layer.cell, op, base), _factor(op, base)
        height = heights.get(x.base)
        real = np.zeros(1) if height is None else np.asarray(height)
        flat = found[x].reshape(-1, *x.shape)
        work = work + linear(_function(op, base), [kernel], Signal(flat, real))
    for op in _last(model):
        work = work + activity(found[op.output], heights.get(op.output.base))
    return work


def network_kernels(layer) -> list:
    """Connection weights, encoders and gains, as arrays."""
    cell = layer.cell
    found = _connections(cell.model)
    return [_constant(cell, op, weights) for op, weights in found]


# --- reading ------------------------------------------------------------------


def _written(model) -> set:
    changes = ((*op.sets, *op.incs, *op.updates) for op in model.operators)
    return {signal.base for signals in changes for signal in signals}


def _weights(op):
    """The two factors of a product."""
    if isinstance(op, _CONVOLUTIONS):
        return op.W, op.X
    return op.A, op.X


def _connections(model) -> Iterator[tuple]:
    """Operators that multiply by a constant, and that constant."""
    changing = _written(model) | _given(model)
    kinds = (*_PRODUCTS, operators.SparseDotInc, *_CONVOLUTIONS)
    for op in model.operators:
        if isinstance(op, kinds):
            for factor in _weights(op):
                if factor.base not in changing:
                    yield op, factor
                    break


def _given(model) -> set:
    """Signals of nodes, which data may replace."""
    signals = (model.sig[o].get("out") for o in model.sig if isinstance(o, nengo.Node))
    return {signal.base for signal in signals if signal is not None}


def _factor(op, weights):
    """What a product multiplies its weights by."""
    return next(signal for signal in _weights(op) if signal is not weights)


def _constant(cell, op, signal) -> np.ndarray:
    """Present value of a constant signal."""
    value = cell.values().get(signal.base)
    if isinstance(op, operators.SparseDotInc):
        matrix = signal.initial_value
        matrix = matrix.tocoo() if hasattr(matrix, "tocoo") else matrix
        return np.asarray(matrix.data if value is None else value)
    value = signal.base.initial_value if value is None else value
    return np.ravel(value)[elements(signal)].reshape(signal.shape)


def _function(op, weights):
    """`(kernels, x) -> y` of a product, with `x` `(items, *shape)`."""
    if isinstance(op, _CONVOLUTIONS):
        return lambda kernels, x: transforms.convolve(op.conv, kernels[0], _flat(x))
    if isinstance(op, operators.SparseDotInc):
        rows, columns = _places(op.A.initial_value)
        return lambda kernels, x: transforms.sparse(
            kernels[0], rows, columns, op.Y.size, _flat(x)
        )
    dot = isinstance(op, operators.DotInc) and op.A.ndim and op.X.ndim
    if not dot or op.A.size == 1:
        return lambda kernels, x: kernels[0] * x
    if weights is op.A:
        return lambda kernels, x: np.moveaxis(np.dot(kernels[0], x[..., None]), -1, 0)
    return lambda kernels, x: np.dot(x, kernels[0])


def _flat(x):
    return ops.convert_to_tensor(x.reshape(len(x), -1))


def _places(matrix):
    if hasattr(matrix, "tocoo"):
        matrix = matrix.tocoo()
        return np.asarray(matrix.row), np.asarray(matrix.col)
    return matrix.indices.T


# --- neurons and synapses -----------------------------------------------------


def _heights(model) -> dict:
    """Of spikes, by base signal."""
    return {
        op.output.base: getattr(op.neurons, "amplitude", 1.0) / model.dt
        for op in model.operators
        if isinstance(op, SimNeurons) and op.neurons.spiking
    }


def _last(model) -> list:
    """Neurons whose output is not the rate that spikes are made of."""
    found = [op for op in model.operators if isinstance(op, SimNeurons)]
    rates = {op.J.base for op in found}
    return [op for op in found if op.output.base not in rates]


def _updates(model) -> int:
    """States of neurons and synapses, counted once for each neuron or filter order."""
    number = 0
    for op in model.operators:
        if isinstance(op, SimNeurons) and op.state:
            number += op.output.size
        if isinstance(op, SimProcess) and op.process in SYNAPSES:
            delay = int(op.mode == "update")
            number += linear_system(op.process, model.dt, delay).order * op.output.size
    return number


# --- running ------------------------------------------------------------------


def _in_order(ports, inputs) -> list:
    """Inputs in the order of the ports; Keras sorts those of a dict."""
    if isinstance(ports.inputs, dict):
        by_name = dict(zip(sorted(ports.inputs), inputs, strict=True))
        return [by_name[name] for name in ports.inputs]
    return list(inputs)


def _run(cell, inputs, backwards: bool) -> dict:
    """Arrays `(batch, time, size)` of the signals that are counted."""
    model = cell.model
    watched = {_factor(op, weights) for op, weights in _connections(model)}
    watched |= {op.output for op in _last(model)}
    program = compile_model(model, cell.ports.nodes, {s: s for s in watched})
    for _, call in program.python_operators:
        call.reset(np.random.RandomState(cell.seed or 0))
    mode = Mode(cell.state_dtype, forward=cell.training_mode)
    tensors = {k: ops.convert_to_tensor(v) for k, v in cell.values().items()}
    x = [ops.cast(signal.value, mode.dtype) for signal in inputs]
    x = [ops.flip(values, axis=1) for values in x] if backwards else x
    batch, length = x[0].shape[:2]
    steps = ops.cumsum(ops.ones((batch, length, 1), dtype=mode.dtype), axis=1)
    step, time, *nodes = program.inputs
    given = {step: steps, time: steps * model.dt}
    given |= dict(zip(nodes, x, strict=False))  # none, if the input only counts steps
    for source in program.timed_inputs:
        values = ops.convert_to_tensor(source(0, length), dtype=mode.dtype)
        shape = (batch, length, source.value.size)
        given[source.value] = ops.broadcast_to(values, shape)
    state = program.initial_state(batch, mode)
    outputs, _ = program.sequence(program.pack(tensors, mode), state, given, mode)
    updated = {s.base for op in model.operators for s in op.updates}
    return {
        signal: _as_read(array(values), signal, signal.base in updated)
        for signal, values in outputs.items()
    }


def _as_read(values: np.ndarray, signal, updated: bool) -> np.ndarray:
    """What a step reads: of an updated signal what the step before has left."""
    if not updated:
        return values
    first = np.broadcast_to(np.ravel(signal.initial_value), values[:, :1].shape)
    return np.concatenate([first, values[:, :-1]], axis=1)
