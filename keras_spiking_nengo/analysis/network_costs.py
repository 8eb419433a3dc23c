"""What a whole Nengo network does, counted operation by operation of its program.

The network is run once more, as a program whose outputs are what its products read:
each is a connection's input, with its zeros and spikes. A product itself says what it
makes of ones and zeros in the place of its weights and its input.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import nengo
import numpy as np
from keras import ops
from nengo.builder.neurons import SimNeurons

from keras_spiking_nengo.analysis.operation_counts import (
    LayerSignal,
    Work,
    activity,
    as_numpy,
    linear,
)
from keras_spiking_nengo.engine import ALWAYS, PASSES, Mode, Program, compile_model
from keras_spiking_nengo.engine.filters import Filter
from keras_spiking_nengo.engine.keras_layers import LayerCall
from keras_spiking_nengo.engine.operation import Operation
from keras_spiking_nengo.engine.plasticity import (
    Learn,
    RecursiveLeastSquares,
    SpikeTiming,
)
from keras_spiking_nengo.engine.populations import Population
from keras_spiking_nengo.engine.products import Convolve, Multiply, Product, Sparse
from keras_spiking_nengo.engine.python_operators import PythonCall
from keras_spiking_nengo.engine.signals import (
    Gather,
    Value,
    Weight,
    pick,
    whole_slice,
)
from keras_spiking_nengo.engine.translation import ONE_STEP

__all__ = ["network_kernels", "network_work"]


def network_work(layer, inputs, outputs) -> Work:
    """The operations of a `ksn.layers.Network`, for the sequences it is values.

    Raises:
        NotImplementedError: if it learns online, so that weights change, or has a
            Keras layer in a node.
    """
    program = _unchanged_program(layer.cell)
    _check_countable(program, layer.name)
    products = _products(program)
    neurons = [op for op in program.operations if _neuron_type(op) is not None]
    watched = {product: product.reads[0] for product in products}
    watched |= {op: Gather([whole_slice(op.outs[0])]) for op in neurons}
    # Sums of one term give way to what they are of: spikes are told by their source.
    watching = PASSES["simplify"](replace(program, outputs=watched))
    heights = _heights(program)
    values = _values_seen(watching, layer, inputs)
    weights = {**program.parameters, **layer.cell.values()}
    steps = math.prod(inputs[0].value.shape[:2])
    work = Work(updates=float(steps * sum(map(_updates, program.operations))))
    for product in products:
        read = watching.outputs[product]
        parts = [np.full(s.size, heights.get(s.value, 0.0)) for s in read.slices]
        flat = values[product].reshape(-1, read.size)
        signal = LayerSignal(flat, np.concatenate(parts))
        work = work + _operation_work(product, weights, signal)
    rates = _rates(watching)
    for op in neurons:
        if op.outs[0] not in rates:
            height = heights.get(op.outs[0])
            spike = None if height is None else np.asarray(height)
            work = work + activity(values[op], spike)
    return work


def network_kernels(layer) -> list:
    """Connection weights, encoders and gains, as arrays."""
    program = _unchanged_program(layer.cell)
    values = {**program.parameters, **layer.cell.values()}
    return [
        np.asarray(pick(values, list(map(_once, product.used_weights()))))
        for product in _products(program)
    ]


# --- reading ------------------------------------------------------------------


def _unchanged_program(cell) -> Program:
    """The network with an operation for each of Nengo's, and nothing shared."""
    return compile_model(cell.model, cell.ports.nodes, {}, ())


def _check_countable(program: Program, name: str) -> None:
    for op in program.operations:
        if isinstance(op, Learn | RecursiveLeastSquares | SpikeTiming):
            rule = op.label.partition(" ")[0]
            raise NotImplementedError(
                f"{name} learns online ({rule}), and the cost of"
                " that is not known. Take the learning rule off, as layer.network() may"
                " help with, or count the layer as nothing with"
                " ksn.analysis.energy(model, x, strict=False)."
            )
        if isinstance(op, LayerCall):
            raise NotImplementedError(
                f"{name} has a Keras layer in it ({op.label}), whose operations are not"
                " counted there. Make it a layer of the model, beside the network, or"
                " count the network as nothing with"
                " ksn.analysis.energy(model, x, strict=False)."
            )


def _products(program: Program) -> list[Operation]:
    """Operations that multiply what they read by weights."""
    kinds = (Convolve, Multiply, Product, Sparse)
    return [
        op for op in program.operations if isinstance(op, kinds) and op.used_weights()
    ]


def _once(weight: Weight) -> Weight:
    """The weight with each of its elements once."""
    index = None if weight.index is None else np.unique(weight.index)
    return replace(weight, index=index)


def _operation_work(product, values: Mapping, signal: LayerSignal) -> Work:
    keys = [weight.key for weight in product.used_weights()]
    mode = Mode("float32")

    def function(kernels, x):
        packed = product.pack(dict(zip(keys, kernels, strict=True)), 0.0, mode)
        tensors = {
            name: ops.convert_to_tensor(value, dtype=mode.dtype)
            for name, value in packed.items()
        }
        x = ops.convert_to_tensor(x, dtype=mode.dtype)
        return product.compute(tensors, [x], [], mode, None)[0][0]

    return linear(function, [values[key] for key in keys], signal)


# --- neurons and synapses -----------------------------------------------------


def _neuron_type(op: Operation) -> nengo.neurons.NeuronType | None:
    """That of neurons, also of those that Python computes."""
    if isinstance(op, Population):
        return op.populations[0][0]
    if isinstance(op, PythonCall) and isinstance(op.operator.op, SimNeurons):
        return op.operator.op.neurons
    return None


def _heights(program: Program) -> dict[Value | None, float]:
    """Of spikes, by the value that has them."""
    kinds = {op.outs[0]: _neuron_type(op) for op in program.operations if op.outs}
    return {
        value: getattr(kind, "amplitude", 1.0) / program.dt
        for value, kind in kinds.items()
        if kind is not None and kind.spiking
    }


def _rates(program: Program) -> set[Value]:
    """What is not sent, but the rate that spikes are made of."""
    return {
        value
        for op in program.operations
        if isinstance(_neuron_type(op), nengo.neurons.RatesToSpikesNeuronType)
        for value in op.values_read
    }


def _updates(op: Operation) -> int:
    """States that a step updates: one of each neuron, and of each order of a filter."""
    if isinstance(op, Filter):
        return 0 if op.system is ONE_STEP else op.order * op.outs[0].size
    if isinstance(op, PythonCall):
        has_state = _neuron_type(op) is not None and bool(op.operator.op.state)
    else:  # numbers, and not those that draw random numbers
        has_state = isinstance(op, Population) and any(
            value.dtype.kind == "f" for value in op.initial
        )
    return op.outs[0].size if has_state else 0


# --- running ------------------------------------------------------------------


def _values_seen(program: Program, layer, inputs) -> dict[Any, np.ndarray]:
    """Arrays `(batch, time, size)` of the outputs of a program, by their keys."""
    cell = layer.cell
    for name in ALWAYS:
        program = program if name == "simplify" else PASSES[name](program)
    rng = np.random.RandomState(cell.seed or 0)
    for _, operator in program.python_operators:
        operator.reset(rng)
    mode = Mode(cell.state_dtype, forward=cell.training_mode)
    weights = {k: ops.convert_to_tensor(v) for k, v in cell.values().items()}
    tensors = [ops.cast(s.value, mode.dtype) for s in _by_port(cell.ports, inputs)]
    if layer.go_backwards:
        tensors = [ops.flip(tensor, axis=1) for tensor in tensors]
    batch, length = tensors[0].shape[:2]
    steps = ops.cumsum(ops.ones((batch, length, 1), dtype=mode.dtype), axis=1)
    step, time, *nodes = program.inputs
    # Without nodes, the one input only counts steps.
    values = dict(zip(nodes, tensors, strict=False))
    values |= {step: steps, time: steps * program.dt}
    for timed in program.timed_inputs:
        table = ops.convert_to_tensor(timed(0, length), dtype=mode.dtype)
        values[timed.value] = ops.broadcast_to(table, (batch, length, timed.value.size))
    state = program.initial_state(batch, mode)
    outputs, _ = program.sequence(program.pack(weights, mode), state, values, mode)
    return {key: as_numpy(value) for key, value in outputs.items()}


def _by_port(ports, inputs) -> list:
    """Inputs in the order of the ports; Keras sorts those of a dict."""
    if isinstance(ports.inputs, dict):
        by_name = dict(zip(sorted(ports.inputs), inputs, strict=True))
        return [by_name[name] for name in ports.inputs]
    return list(inputs)
