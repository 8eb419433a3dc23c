"""What each kind of layer does, counted: one rule for each.

Biases, activation functions and comparisons in them are not counted, as in NeuroBench.
Pooling counts as additions, one for each value in a window; a sum of layers as one
addition for each further operand that is not 0.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from keras_spiking_nengo.analysis.operation_counts import (
    LayerSignal,
    Work,
    activity,
    as_numpy,
    bytes_of,
    linear,
    nonzero,
    total,
)
from keras_spiking_nengo.layers.quantized import Quantized
from keras_spiking_nengo.layers.transform import Transform
from keras_spiking_nengo.models.time import TIMES, moves
from keras_spiking_nengo.registry import Registry

__all__ = ["CELL_COSTS", "LAYER_COSTS", "Cost", "cost_of", "no_cost"]

LayerSignals = Sequence[LayerSignal]


def _as_it_is(layer, inputs: LayerSignals, value) -> LayerSignal:
    return LayerSignal(value)


def _as_stored(layer) -> int:
    return sum(bytes_of(v.shape, v.dtype) for v in getattr(layer, "weights", []))


def _nothing(layer, inputs: LayerSignals, outputs) -> Work:
    return Work()


@dataclass(frozen=True)
class Cost:
    """How a kind of layer is counted.

    Attributes:
        work: `(layer, inputs, outputs) -> Work` of a call, with the signals it takes
            and the tensors it returns.
        signal: `(layer, inputs, output) -> LayerSignal` of the first output.
        kernels: `layer -> arrays` of connection weights.
        weight_bytes: `layer -> number` of bytes that its weights take.
    """

    work: Callable[[Any, LayerSignals, list], Work] = _nothing
    signal: Callable[[Any, LayerSignals, Any], LayerSignal] = _as_it_is
    kernels: Callable[[Any], list] = lambda layer: []
    weight_bytes: Callable[[Any], int] = _as_stored


LAYER_COSTS: Registry[Cost] = Registry("energy", governing=("call",))
# Of a layer over time with such a cell.
CELL_COSTS: Registry[Cost] = Registry("energy of a cell", ("call", "program"))


def cost_of(layer) -> Cost | None:
    """How a layer or its class is counted, or None if nobody knows."""
    if layer in LAYER_COSTS:
        return LAYER_COSTS[layer]
    return _MOVING if moves(layer) else None


def no_cost(name: str, operation) -> NotImplementedError:
    """The error for what has no rule."""
    kind = type(operation).__name__
    if not isinstance(operation, keras.Layer):
        return NotImplementedError(
            f"{name} ({kind}) is an operation, whose cost is not known. Write it as a"
            " layer, such as keras.layers.Add()([a, b]) for a + b, or count it as"
            " nothing with ksn.analysis.energy(model, x, strict=False)."
        )
    classes = {*LAYER_COSTS, *filter(moves, TIMES)}
    names = ", ".join(sorted({klass.__name__ for klass in classes}))
    return NotImplementedError(
        f"{name} ({kind}) has no rule that tells its cost. Known: {names}. Count it as"
        " nothing with ksn.analysis.energy(model, x, strict=False)."
    )


# --- connections --------------------------------------------------------------


def _twin(layer, shape, *kernels: str) -> Callable:
    """`(kernels, x) -> y`, a layer without bias and activation."""
    config = {**layer.get_config(), "dtype": "float32"}
    twin = type(layer).from_config({k: _plainly(k, v) for k, v in config.items()})
    twin.build(shape)

    def function(values, x):
        for name, value in zip(kernels, values, strict=True):
            getattr(twin, name).assign(value)
        return twin(x)

    return function


def _plainly(name: str, value):
    """An argument of a layer's twin, which is given its weights and no more."""
    plain = {"activation": "linear", "use_bias": False, "bias_axes": None}
    plain |= {"lora_rank": None, "lora_alpha": None}  # the kernel has it added already
    if name.endswith("_initializer"):
        return "zeros"
    dropped = name.endswith(("_regularizer", "_constraint"))
    return None if dropped else plain.get(name, value)


def _has_curve(layer) -> bool:
    return getattr(layer, "activation", None) not in (None, keras.activations.linear)


def _connection_cost(*kernels: str) -> Cost:
    def work(layer, inputs, outputs):
        (signal,) = inputs
        function = _twin(layer, tuple(signal.value.shape), *kernels)
        counted = linear(function, [getattr(layer, k) for k in kernels], signal)
        return counted + activity(outputs[0]) if _has_curve(layer) else counted

    def signal(layer, inputs, value):
        return LayerSignal(value, linear=not _has_curve(layer))

    return Cost(work, signal, lambda layer: [getattr(layer, k) for k in kernels])


LAYER_COSTS.add(
    _connection_cost("kernel"),
    layers.Dense,
    layers.EinsumDense,
    layers.Conv1D,
    layers.Conv2D,
    layers.Conv3D,
    layers.Conv1DTranspose,
    layers.Conv2DTranspose,
    layers.Conv3DTranspose,
    layers.DepthwiseConv1D,
    layers.DepthwiseConv2D,
)


def _quantized_work(layer: Quantized, inputs, outputs) -> Work:
    plain = layer.plain()
    return LAYER_COSTS[plain].work(plain, inputs, outputs)


def _quantized_signal(layer: Quantized, inputs, value) -> LayerSignal:
    return LAYER_COSTS[layer.layer].signal(layer.layer, inputs, value)


def _quantized_bytes(layer: Quantized) -> int:
    """Of integers of so many bits, their scales, and the rest as it is."""
    integers, scales = layer.quantized_weights()
    rest = [v for v in layer.weights if v is not layer.layer.kernel]
    stored = sum(bytes_of(v.shape, v.dtype) for v in rest) + scales.nbytes
    return stored + math.ceil(integers.size * layer.bits / 8)


LAYER_COSTS.add(
    Cost(
        _quantized_work,
        _quantized_signal,
        lambda layer: [layer.quantized_weights()[0]],
        _quantized_bytes,
    ),
    Quantized,
)


def _separable_cost(depthwise: type, pointwise: type) -> Cost:
    """Two connections, with real values between them."""
    same = ("data_format", "dilation_rate", "kernel_size", "padding", "strides")

    def work(layer, inputs, outputs):
        (signal,) = inputs
        shared = {name: getattr(layer, name) for name in same}
        first = depthwise(**shared, depth_multiplier=layer.depth_multiplier)
        shape = tuple(signal.value.shape)
        function = _twin(first, shape, "kernel")
        counted = linear(function, [layer.depthwise_kernel], signal)
        between = function([layer.depthwise_kernel], signal.value)
        last = pointwise(layer.filters, 1, data_format=layer.data_format)
        function = _twin(last, tuple(between.shape), "kernel")
        real = LayerSignal(between, np.zeros(1))
        counted = counted + linear(function, [layer.pointwise_kernel], real)
        return counted + activity(outputs[0]) if _has_curve(layer) else counted

    def signal(layer, inputs, value):
        return LayerSignal(value, linear=not _has_curve(layer))

    return Cost(
        work, signal, lambda layer: [layer.depthwise_kernel, layer.pointwise_kernel]
    )


LAYER_COSTS.add(
    _separable_cost(layers.DepthwiseConv1D, layers.Conv1D), layers.SeparableConv1D
)
LAYER_COSTS.add(
    _separable_cost(layers.DepthwiseConv2D, layers.Conv2D), layers.SeparableConv2D
)


def _transform_work(layer: Transform, inputs, outputs) -> Work:
    (signal,) = inputs

    def function(kernels, x):
        # All other weights, the bias, are put to 0.
        values = {id(layer.kernel): kernels[0]} if kernels else {}

        def assigned(variables):
            return [values.get(id(v), np.zeros(v.shape, "float32")) for v in variables]

        trained, fixed = layer.trainable_variables, layer.non_trainable_variables
        return layer.stateless_call(assigned(trained), assigned(fixed), x)[0]

    if layer.kernel is None:
        return Work()
    return linear(function, [layer.kernel], signal)


def _transform_signal(layer: Transform, inputs, value) -> LayerSignal:
    height = inputs[0].height if layer.kernel is None else None
    return LayerSignal(value, height, linear=True)


LAYER_COSTS.add(
    Cost(
        _transform_work,
        _transform_signal,
        lambda layer: [] if layer.kernel is None else [layer.kernel],
    ),
    Transform,
)


# --- pooling and sums ---------------------------------------------------------


def _channels_last(layer, x):
    return x if layer.data_format == "channels_last" else np.moveaxis(x, 1, -1)


def _window_sums(layer, x: np.ndarray):
    """For each place, the sum over the window there."""
    x = np.moveaxis(_channels_last(layer, x), -1, 1)
    flat = ops.convert_to_tensor(x.reshape(-1, *x.shape[2:], 1))
    kernel = np.ones((*layer.pool_size, 1, 1), "float32")
    return ops.conv(
        flat,
        kernel,
        strides=layer.strides,
        padding=layer.padding,
        data_format="channels_last",
    )


def _pool_work(layer, inputs, outputs) -> Work:
    active = nonzero(inputs[0].value)
    dense = len(active) * total(_window_sums(layer, np.ones_like(active[:1])))
    return Work(dense=dense, acs=total(_window_sums(layer, active)))


def _global_work(layer, inputs, outputs) -> Work:
    active = nonzero(inputs[0].value)
    return Work(dense=float(active.size), acs=float(np.sum(active)))


def _shaped(layer, inputs: LayerSignals, value) -> LayerSignal:
    """Of a layer that only moves values about: it moves heights likewise."""
    if not any(s.height is not None and np.any(s.height) for s in inputs):
        return LayerSignal(value)
    before = [signal.heights() for signal in inputs]
    shapes = [tuple(signal.value.shape) for signal in inputs]
    # Mostly heights are those of every item of a batch.
    of_each_item = any(
        h.ndim == len(s) and len(h) > 1 for h, s in zip(before, shapes, strict=True)
    )
    heights = [
        np.broadcast_to(h, (s[0] if of_each_item else 1, *s[1:])).astype("float32")
        for h, s in zip(before, shapes, strict=True)
    ]
    return LayerSignal(
        value, as_numpy(layer(heights if len(heights) > 1 else heights[0]))
    )


_MOVING = Cost(signal=_shaped)

LAYER_COSTS.add(
    Cost(_pool_work),
    layers.AveragePooling1D,
    layers.AveragePooling2D,
    layers.AveragePooling3D,
)
LAYER_COSTS.add(
    Cost(_pool_work, _shaped),
    layers.MaxPooling1D,
    layers.MaxPooling2D,
    layers.MaxPooling3D,
)
LAYER_COSTS.add(
    Cost(_global_work),
    layers.GlobalAveragePooling1D,
    layers.GlobalAveragePooling2D,
    layers.GlobalAveragePooling3D,
)
LAYER_COSTS.add(
    Cost(_global_work, _shaped),
    layers.GlobalMaxPooling1D,
    layers.GlobalMaxPooling2D,
    layers.GlobalMaxPooling3D,
)


def _operands(inputs: LayerSignals) -> np.ndarray:
    """Where operands are not 0, on a first axis."""
    values = np.broadcast_arrays(*(as_numpy(signal.value) for signal in inputs))
    return np.stack([value != 0 for value in values])


def _sum_work(layer, inputs, outputs) -> Work:
    active = _operands(inputs)
    further = np.maximum(np.sum(active, axis=0) - 1, 0)
    dense = float(active[0].size * (len(active) - 1))
    return Work(dense=dense, acs=float(np.sum(further)))


def _product_work(layer, inputs, outputs) -> Work:
    active = _operands(inputs)
    products = len(active) - 1
    macs = float(np.sum(np.all(active, axis=0)) * products)
    return Work(dense=float(active[0].size * products), macs=macs)


def _sum_signal(layer, inputs: LayerSignals, value) -> LayerSignal:
    """Spikes of one height add up to several."""
    heights = [0.0 if s.height is None else s.height for s in inputs]
    first = np.asarray(heights[0])
    alike = all(np.array_equal(first, other) for other in heights)
    return LayerSignal(value, first if alike and np.any(first) else None)


LAYER_COSTS.add(Cost(_sum_work, _sum_signal), layers.Add, layers.Subtract)
LAYER_COSTS.add(Cost(_sum_work), layers.Average, layers.Maximum, layers.Minimum)
LAYER_COSTS.add(Cost(_product_work), layers.Multiply)


# --- elementwise --------------------------------------------------------------


def _curve_work(layer, inputs, outputs) -> Work:
    return activity(outputs[0])


def _scale_work(layer, inputs, outputs) -> Work:
    size = float(math.prod(outputs[0].shape))
    return Work(dense=size, macs=size)


def _normalisation_work(layer, inputs, outputs) -> Work:
    # Behind a linear layer it is folded into that layer's weights and bias.
    return Work() if inputs[0].linear else _scale_work(layer, inputs, outputs)


def _still_linear(layer, inputs: LayerSignals, value) -> LayerSignal:
    return LayerSignal(value, linear=inputs[0].linear)


LAYER_COSTS.add(
    Cost(_curve_work),
    layers.Activation,
    layers.ReLU,
    layers.LeakyReLU,
    layers.PReLU,
    layers.ELU,
    layers.Softmax,
)
LAYER_COSTS.add(Cost(_scale_work), layers.Rescaling, layers.Normalization)
LAYER_COSTS.add(Cost(_normalisation_work, _still_linear), layers.BatchNormalization)
# A look-up is no operation; a mask is made by comparisons, and upsampling may blend.
LAYER_COSTS.add(Cost(), layers.Embedding, layers.Masking, layers.UpSampling2D)


# --- wrappers -----------------------------------------------------------------


def _both_ways_work(layer, inputs, outputs) -> Work:
    ways = (layer.forward_layer, layer.backward_layer)
    return sum((LAYER_COSTS[way].work(way, inputs, []) for way in ways), Work())


def _both_kernels(layer) -> list:
    ways = (layer.forward_layer, layer.backward_layer)
    return [kernel for way in ways for kernel in LAYER_COSTS[way].kernels(way)]


LAYER_COSTS.add(Cost(_both_ways_work, _as_it_is, _both_kernels), layers.Bidirectional)
