"""What each layer does with time: one table for all rooms.

A tensor of a model is temporal, `(batch, time, *features)`, or static, `(batch,
*features)`. `Time` says how a layer takes the one to the other. What can be told for a
layer only with its arguments, and for shapes, is an objection: a sentence why it does
not treat the steps of a temporal tensor each by itself, and what to do.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import keras

from keras_spiking_nengo import layers as ours
from keras_spiking_nengo.layers.sizes import Shape
from keras_spiking_nengo.registry import Registry

__all__ = [
    "NOTHING_SAID",
    "TIMES",
    "Time",
    "TimeRule",
    "acting",
    "has_row",
    "is_causal",
    "moves",
    "presents",
    "reading_of",
    "runs",
    "stepwise_objection",
    "takes_any_rank",
    "teach",
    "time_of",
]


class Time(Enum):
    """How a layer treats time, the axis after the batch of a temporal tensor."""

    KEEPS = "acts on every step alike, and on a static tensor too"
    MIXES = "would mix steps: acts on static tensors only"
    ENDS = (
        "takes the last step of a temporal tensor, or such an element of a static one"
    )
    READS = "reads all of a temporal tensor, as one static value, or takes a static one"
    RUNS = "runs over the steps of a temporal tensor"
    STARTS = "presents a static tensor for a number of steps"
    PRESENTS = "presents one, and runs over these steps"
    REPEATS = "does so where what follows runs over steps, else repeats it on an axis"


def _apart(layer: Any, shape: Shape) -> str:
    return ""


NOTHING_SAID = (
    "nothing says that it treats each step by itself. Wrap it in"
    " ksn.layers.PerStep(layer), which applies it to every step; a layer with states"
    " must be a keras.layers.RNN."
)


def _nothing_known(layer: Any, shape: Shape) -> str:
    return NOTHING_SAID


@dataclass(frozen=True)
class TimeRule:
    """What one kind of layers does with time.

    Attributes:
        time: how it treats it.
        objection: `(layer, shape) -> reason` why it cannot be applied to each step of
            a temporal tensor of that shape by itself, or "".
        any_rank: whether the same layer, once built, takes temporal and static tensors.
        moves: whether it only moves values about, and repeats or drops some.
    """

    time: Time
    objection: Callable[[Any, Shape], str] = _nothing_known
    any_rank: bool = False
    moves: bool = False


TIMES: Registry[TimeRule] = Registry("time", governing=("call",))


def teach(time: Time, *classes: type) -> None:
    """Adds classes of a user's own to the table; a row that is there stays."""
    for klass in classes:
        if klass not in set(TIMES):
            TIMES.add(TimeRule(time), klass)


# --- what is asked ----------------------------------------------------------------


def acting(operation: Any) -> Any:
    """The layer that says what an operation does with time: itself, or what it wraps.

    Example:
        >>> acting(ours.Quantized(keras.layers.Conv1D(4, 3))).kernel_size
        (3,)
    """
    return operation.layer if isinstance(operation, ours.Quantized) else operation


def time_of(operation: Any, args: Sequence[Any] = ()) -> Time:
    """How a layer or operation treats time.

    What has no row runs if it has a cell, and else keeps time.

    Args:
        operation: a layer, or a Keras operation.
        args: what it is called with, which says it of `x[:, -1]`.

    Example:
        >>> time_of(keras.layers.Flatten()).name, time_of(keras.layers.LSTM(2)).name
        ('MIXES', 'RUNS')
    """
    operation = acting(operation)
    if presents(operation) and runs(operation):
        return Time.PRESENTS
    if runs(operation) or hasattr(operation, "cell"):
        return Time.RUNS
    if _is_last_step(operation, args):
        return Time.ENDS
    if reading_of(operation):
        return Time.READS
    if not isinstance(operation, keras.Layer):
        return Time.MIXES if _kind_of(operation) in _MIXING else Time.KEEPS
    return TIMES.get(operation, _ANY).time


def reading_of(operation: Any) -> str:
    """What it makes of all steps: `"mean"`, `"max"` or `"sum"` of the axis 1, or "".

    Example:
        >>> reading_of(keras.layers.GlobalMaxPooling1D())
        'max'
    """
    operation = getattr(operation, "operation", operation)
    kind = _READINGS.get(type(operation).__name__, "")
    if isinstance(operation, keras.Layer):
        along = getattr(operation, "data_format", "") == "channels_last"
    else:
        axis = getattr(operation, "axis", None)
        along = axis in (1, (1,), [1]) and not getattr(operation, "keepdims", False)
    return kind if along else ""


def stepwise_objection(operation: Any, shape: Shape) -> str:
    """Why it cannot be applied to each step by itself, or "".

    Args:
        operation: a layer without states, or a Keras operation such as `a + b`.
        shape: of its first input, `(batch, time, *features)`.

    Example:
        >>> stepwise_objection(keras.layers.Dense(2), (None, 10, 3))
        ''
        >>> stepwise_objection(keras.layers.Softmax(axis=1), (None, 10, 3))
        'its axis=1 is that of time. Choose an axis of the features.'
    """
    operation = acting(operation)
    if isinstance(operation, keras.Layer):
        return TIMES.get(operation, _ANY).objection(operation, shape)
    if _kind_of(operation) in _ELEMENTWISE:
        return ""
    return (
        "this operation may mix steps. Put it into a layer, and that into a"
        " ksn.layers.PerStep."
    )


def takes_any_rank(layer: keras.Layer) -> bool:
    """Whether the same layer takes temporal and static tensors; not a subclass."""
    layer = acting(layer)
    return type(layer) in set(TIMES) and TIMES[layer].any_rank


def moves(layer: Any) -> bool:
    """Whether a layer only moves values about, and repeats or drops some."""
    return layer in TIMES and TIMES[layer].moves


def has_row(klass: type) -> bool:
    """Whether a class of layers is in the table."""
    return issubclass(klass, keras.layers.RNN) or klass in TIMES


def runs(operation: Any) -> bool:
    """Whether it is a layer over time that carries states from step to step."""
    return isinstance(operation, keras.layers.RNN)


def presents(operation: Any) -> bool:
    """Whether it makes a sequence of a static value: there a stream starts."""
    if isinstance(operation, ours.Repeat | keras.layers.RepeatVector):
        return True
    return runs(operation) and getattr(operation, "n_steps", None) is not None


def is_causal(operation: Any) -> bool:
    """Whether it is a convolution over time that looks back only, step by step."""
    operation = acting(operation)
    return (
        type(operation) is keras.layers.Conv1D
        and operation.padding == "causal"
        and operation.strides == (1,)
        and operation.data_format == "channels_last"
    )


def _is_last_step(operation: Any, args: Sequence[Any]) -> bool:
    """Whether a call is `x[:, -1]`, or takes elements of that."""
    key = args[1] if _kind_of(operation) == "GetItem" and len(args) > 1 else None
    return isinstance(key, list | tuple) and [*key[:2]] == [slice(None), -1]


def _kind_of(operation: Any) -> str:
    """What Keras calls an operation; also of a layer that stands for one."""
    return getattr(operation, "operation_kind", type(operation).__name__)


_ANY = TimeRule(Time.KEEPS)

# --- layers that keep time ----------------------------------------------------------


def _not_along_time(layer: Any, shape: Shape) -> str:
    axis = layer.axis
    axes = axis if isinstance(axis, list | tuple) else (axis,)
    if None in axes or any(a % len(shape) == 1 for a in axes):
        return f"its axis={axis} is that of time. Choose an axis of the features."
    return ""


def _embedded(layer: Any, shape: Shape) -> str:
    if layer.mask_zero:
        return "a stream has no masks: leave out steps instead. Set mask_zero=False."
    return ""


def _shared(layer: Any, shape: Shape) -> str:
    if 1 in (layer.shared_axes or ()):
        return ""
    return "it has weights for each step. Give it shared_axes=[1]."


def _masked(layer: Any, shape: Shape) -> str:
    return "a stream has no masks: leave out steps instead, and remove the layer."


_L = keras.layers
TIMES.add(
    TimeRule(Time.KEEPS, _apart, any_rank=True),
    *(_L.Activation, _L.Add, _L.Average, _L.Dense, _L.Maximum, _L.Minimum),
    *(_L.Multiply, _L.Subtract),
)
TIMES.add(TimeRule(Time.KEEPS, _apart, any_rank=True, moves=True), _L.Dropout)
TIMES.add(
    TimeRule(Time.KEEPS, _apart),
    *(_L.ELU, _L.LeakyReLU, _L.ReLU, _L.Rescaling, _L.TimeDistributed),
    *(ours.PerStep, ours.Transform),
)
TIMES.add(
    TimeRule(Time.KEEPS, _apart, moves=True),
    *(_L.ActivityRegularization, _L.AlphaDropout, _L.GaussianDropout),
    *(_L.GaussianNoise, _L.Identity, _L.SpatialDropout1D),
)
TIMES.add(
    TimeRule(Time.KEEPS, _not_along_time),
    *(_L.BatchNormalization, _L.LayerNormalization, _L.Normalization),
    *(_L.RMSNormalization, _L.Softmax, _L.UnitNormalization),
)
TIMES.add(TimeRule(Time.KEEPS, _not_along_time, moves=True), _L.Concatenate)
TIMES.add(TimeRule(Time.KEEPS, _embedded), _L.Embedding)
TIMES.add(TimeRule(Time.KEEPS, _shared), _L.PReLU)
TIMES.add(TimeRule(Time.KEEPS, _masked), _L.Masking)
# What it wraps says it: see `acting`.
TIMES.add(_ANY, ours.Quantized)
TIMES.add(TimeRule(Time.KEEPS, moves=True), _L.SpatialDropout2D, _L.SpatialDropout3D)
TIMES.add(
    _ANY,
    *(_L.AugMix, _L.CategoryEncoding, _L.CutMix, _L.Discretization, _L.FlaxLayer),
    *(_L.HashedCrossing, _L.Hashing, _L.InputLayer, _L.IntegerLookup, _L.JaxLayer),
    *(_L.Lambda, _L.MixUp, _L.ReversibleEmbedding, _L.SpectralNormalization),
    *(_L.StringLookup, _L.TFSMLayer, _L.TextVectorization, _L.TorchModuleWrapper),
)

# --- layers that would mix steps ------------------------------------------------------

_WHOLE = "it needs the whole sequence, and a stream has no end."


def _whole(advice: str) -> Callable[[Any, Shape], str]:
    return lambda layer, shape: f"{_WHOLE} {advice}"


def _reshaped(layer: Any, shape: Shape) -> str:
    first, *features = layer.target_shape
    size = math.prod(n or 0 for n in shape[2:])
    if first == -1 and math.prod(features) == size:
        return ""
    return (
        f"target_shape={layer.target_shape} would mix steps. Wrap it in"
        " ksn.layers.PerStep, with the shape of one step."
    )


def _looks_ahead(layer: Any, shape: Shape) -> str:
    if is_causal(layer) or (layer.kernel_size == (1,) and layer.strides == (1,)):
        return ""
    return (
        f"with padding={layer.padding!r} and strides={layer.strides} it looks ahead or"
        " skips steps. Use padding='causal' and strides=1, or wrap it in"
        " ksn.layers.PerStep if time is not the axis that it runs along."
    )


_IF_NOT_TIME = _whole(
    "Wrap it in ksn.layers.PerStep if time is not the axis that it runs along."
)
_WHERE_READ = _whole(
    "Average, or take the maximum of, the outputs where they are read, or filter with"
    " a ksn.layers.Synapse."
)
TIMES.add(TimeRule(Time.MIXES, _looks_ahead), _L.Conv1D)
TIMES.add(TimeRule(Time.MIXES, _reshaped, moves=True), _L.Reshape)
TIMES.add(
    TimeRule(
        Time.MIXES,
        _whole(
            "Wrap it in ksn.layers.PerStep, or keras.layers.TimeDistributed, to flatten"
            " each step."
        ),
        moves=True,
    ),
    _L.Flatten,
)
TIMES.add(
    TimeRule(Time.MIXES, _whole("Export the whole model with format='savedmodel'.")),
    *(_L.Attention, _L.AdditiveAttention, _L.MultiHeadAttention),
)
TIMES.add(
    TimeRule(
        Time.MIXES,
        _whole(
            "Use a ksn.layers.SlidingParallelSpikingNeurons, which sees the last steps"
            " only, or export the whole model with format='savedmodel'."
        ),
    ),
    ours.ParallelSpikingNeurons,
)
TIMES.add(
    TimeRule(Time.MIXES, _WHERE_READ), _L.GlobalAveragePooling1D, _L.GlobalMaxPooling1D
)
TIMES.add(
    TimeRule(Time.MIXES, _IF_NOT_TIME),
    *(_L.AdaptiveAveragePooling1D, _L.AdaptiveMaxPooling1D, _L.AveragePooling1D),
    *(_L.Conv1DTranspose, _L.DepthwiseConv1D, _L.MaxPooling1D, _L.SeparableConv1D),
)
TIMES.add(
    TimeRule(Time.MIXES, _IF_NOT_TIME, moves=True),
    *(_L.Cropping1D, _L.UpSampling1D, _L.ZeroPadding1D),
)
TIMES.add(
    TimeRule(Time.MIXES, moves=True),
    *(_L.Cropping2D, _L.Cropping3D, _L.Permute, _L.UpSampling3D, _L.ZeroPadding2D),
    _L.ZeroPadding3D,
)
TIMES.add(
    TimeRule(Time.MIXES),
    *(_L.AdaptiveAveragePooling2D, _L.AdaptiveAveragePooling3D),
    _L.AdaptiveMaxPooling2D,
    *(_L.AdaptiveMaxPooling3D, _L.AutoContrast, _L.AveragePooling2D),
    *(_L.AveragePooling3D, _L.CenterCrop, _L.Conv2D),
    *(_L.ContrastLimitedAdaptiveHistogramEqualization, _L.Conv2DTranspose, _L.Conv3D),
    *(_L.Conv3DTranspose, _L.DepthwiseConv2D, _L.Dot),
    *(_L.EinsumDense, _L.Equalization, _L.GlobalAveragePooling2D),
    *(_L.GlobalAveragePooling3D, _L.GlobalMaxPooling2D, _L.GlobalMaxPooling3D),
    *(_L.GroupNormalization, _L.GroupQueryAttention, _L.MaxNumBoundingBoxes),
    *(_L.MaxPooling2D, _L.MaxPooling3D, _L.MelSpectrogram, _L.Pipeline),
    *(_L.RandAugment, _L.Resizing, _L.STFTSpectrogram),
    *(_L.SeparableConv2D, _L.Solarization, _L.UpSampling2D),
    *(
        getattr(_L, name)
        for name in dir(_L)
        if name.startswith("Random")  # what distorts images, all of it
    ),
)

# --- layers that begin, or run over, time ---------------------------------------------

TIMES.add(
    TimeRule(Time.RUNS, _whole("Use the layer that it wraps, which runs forwards.")),
    _L.Bidirectional,
)
TIMES.add(TimeRule(Time.RUNS), _L.RNN)
TIMES.add(TimeRule(Time.STARTS, moves=True), ours.Repeat)
TIMES.add(TimeRule(Time.REPEATS, moves=True), _L.RepeatVector)

# --- operations -----------------------------------------------------------------------

# Of `keras.ops`, as they stand in a functional model.
# fmt: off
_ELEMENTWISE = frozenset((
    "Abs", "Absolute", "Add", "Arctan", "Cast", "Ceil", "Celu", "Clip", "Cos",
    "Divide", "Elu", "Erf", "Exp", "Expm1", "Floor", "Gelu", "Glu", "HardSigmoid",
    "HardSilu", "HardTanh", "Identity", "LeakyRelu", "Log", "Log1p", "LogSigmoid",
    "Maximum", "Minimum", "Mod", "Multiply", "Negative", "Power", "ReLU",
    "Reciprocal", "Relu", "Relu6", "Round", "Rsqrt", "Selu", "Sigmoid", "Sign",
    "Silu", "Sin", "SoftShrink", "Softplus", "Softsign", "Sqrt", "Square",
    "StopGradient", "Subtract", "Tan", "Tanh", "Threshold", "TrueDivide", "Where",
))
# By what Keras calls layers and operations.
_READINGS = {
    "GlobalAveragePooling1D": "mean",
    "GlobalMaxPooling1D": "max",
    "Max": "max",
    "Mean": "mean",
    "Sum": "sum",
}
_MIXING = frozenset((
    "ExpandDims", "Flip", "GetItem", "Matmul", "Mean", "Moveaxis", "Pad", "Repeat",
    "Reshape", "Roll", "Squeeze", "Sum", "Swapaxes", "Tile", "Transpose",
))
# fmt: on
