"""Which layers a stream can run: what they do to a step of time, and why not.

A tensor of a model is of one kind. `FRAME` is `(batch, *features)` and comes with each
step; `TIME` is `(batch, time, *features)`; `LAST` is what a layer gives of the last
step, with `return_sequences=False`. Only layers that treat the steps of a `TIME` alike
and apart, and layers that carry states, can be cut into steps.
"""

import math
from collections.abc import Callable
from enum import Enum
from typing import Any

import keras

from keras_spiking_nengo import layers as ours
from keras_spiking_nengo.dynamics.loops import not_exported
from keras_spiking_nengo.registry import Registry

__all__ = ["Kind", "check_apart", "check_run", "is_causal", "presents", "runs"]

Shape = tuple[int | None, ...]
Objection = Callable[[Any, Shape], str]


class Kind(Enum):
    """How a tensor of a model stands to time."""

    FRAME = "a value of each step"
    TIME = "a sequence"
    LAST = "the last step of a sequence"


def runs(operation: Any) -> bool:
    """Whether it is a layer over time that carries states from step to step."""
    return isinstance(operation, keras.layers.RNN)


def presents(operation: Any) -> bool:
    """Whether it makes a sequence of a static value: there the stream starts."""
    if isinstance(operation, ours.Repeat | keras.layers.RepeatVector):
        return True
    return runs(operation) and getattr(operation, "n_steps", None) is not None


def is_causal(operation: Any) -> bool:
    """Whether it is a convolution over time that looks back only, step by step."""
    return (
        type(operation) is keras.layers.Conv1D
        and operation.padding == "causal"
        and operation.strides == (1,)
        and operation.data_format == "channels_last"
    )


def refusal(operation: Any, reason: str) -> NotImplementedError:
    """The error of a layer or operation that has no step."""
    kind = type(operation).__name__
    return NotImplementedError(
        f"{kind} {operation.name!r} cannot be streamed: {reason}"
    )


def check_run(operation, args, kwargs, kinds) -> None:
    """Refuses a layer over time that a stream cannot run as it is called."""
    given = [name for name, value in kwargs.items() if value is not None]
    if len(args) > 1 or {"initial_state", "mask"} & {*given}:
        raise refusal(
            operation,
            "it is called with an initial_state or a mask of the model's own. Let its"
            " states come from outside, and leave out steps instead of masking them.",
        )
    if getattr(operation, "go_backwards", False):
        raise refusal(
            operation,
            "go_backwards=True begins at the end, and a stream has none. Set it to"
            " False.",
        )
    wanted = Kind.FRAME if presents(operation) else Kind.TIME
    if {*kinds} <= {wanted}:
        _check_python(operation)
        return
    found = ", ".join(sorted({kind.value for kind in kinds}))
    raise refusal(
        operation,
        f"it takes {wanted.value}; here it is given {found}. A stream has one axis of"
        " time, and starts once. Give keras.Input the shape (None, *features) where"
        " time comes from data, and return_sequences=True to layers whose output goes"
        " on in time.",
    )


def _check_python(operation) -> None:
    cell = getattr(operation, "cell", None)
    engine = cell.engine if isinstance(cell, ours.NetworkCell) else None
    for label in engine.python() if engine else ():
        raise refusal(operation, not_exported(label))


def check_apart(operation, shape: Shape, kinds) -> None:
    """Refuses what does not treat steps alike and apart."""
    if {*kinds} != {Kind.TIME}:
        raise refusal(
            operation,
            "it joins a sequence and a value without time. Present the value with"
            " ksn.layers.Repeat, or give the layer before return_sequences=True.",
        )
    reason = "" if is_causal(operation) else objection(operation, shape)
    if reason:
        raise refusal(operation, reason)


def objection(operation: Any, before: Shape) -> str:
    """Why a layer cannot be applied to each step by itself, or "".

    Args:
        operation: a layer without states, or a Keras operation such as `a + b`.
        before: shape of its first input, `(batch, 1, *features)`.
    """
    if not isinstance(operation, keras.Layer):
        if type(operation).__name__ in _ELEMENTWISE:
            return ""
        return (
            "this operation may mix steps. Put it into a layer, and that into a"
            " ksn.layers.PerStep."
        )
    if operation not in _RULES:
        return _UNKNOWN
    return _RULES[operation](operation, before)


_UNKNOWN = (
    "nothing says that it treats each step by itself. Wrap it in"
    " ksn.layers.PerStep(layer), which applies it to every step; a layer with states"
    " must be a keras.layers.RNN."
)
_WHOLE = "it needs the whole sequence, and a stream has no end."
_RULES: Registry[Objection] = Registry("step of a stream", governing=("call",))


def _never(*classes: type, advice: str) -> None:
    _RULES.add(lambda layer, before: f"{_WHOLE} {advice}", *classes)


def _apart(layer: Any, before: Shape) -> str:
    return ""


def _not_along_time(layer: Any, before: Shape) -> str:
    axis = layer.axis
    axes = axis if isinstance(axis, list | tuple) else (axis,)
    if None in axes or any(a % len(before) == 1 for a in axes):
        return f"its axis={axis} is that of time. Choose an axis of the features."
    return ""


def _reshaped(layer: Any, before: Shape) -> str:
    first, *features = layer.target_shape
    size = math.prod(n or 0 for n in before[2:])
    if first == -1 and math.prod(features) == size:
        return ""
    return (
        f"target_shape={layer.target_shape} would mix steps. Wrap it in"
        " ksn.layers.PerStep, with the shape of one step."
    )


def _embedded(layer: Any, before: Shape) -> str:
    if layer.mask_zero:
        return "a stream has no masks: leave out steps instead. Set mask_zero=False."
    return ""


def _shared(layer: Any, before: Shape) -> str:
    if 1 in (layer.shared_axes or ()):
        return ""
    return "it has weights for each step. Give it shared_axes=[1]."


def _convolved(layer: Any, before: Shape) -> str:
    if layer.kernel_size == (1,) and layer.strides == (1,):
        return ""
    return (
        f"with padding={layer.padding!r} and strides={layer.strides} it looks ahead or"
        " skips steps. Use padding='causal' and strides=1, or wrap it in"
        " ksn.layers.PerStep if time is not the axis that it runs along."
    )


_L = keras.layers
_RULES.add(
    _apart,
    *(_L.Activation, _L.ActivityRegularization, _L.Add, _L.AlphaDropout, _L.Average),
    *(_L.Dense, _L.Dropout, _L.ELU, _L.GaussianDropout, _L.GaussianNoise, _L.Identity),
    *(_L.LeakyReLU, _L.Maximum, _L.Minimum, _L.Multiply, _L.ReLU, _L.Rescaling),
    *(_L.SpatialDropout1D, _L.Subtract, _L.TimeDistributed, ours.PerStep),
    ours.Transform,
)
_RULES.add(
    _not_along_time,
    *(_L.BatchNormalization, _L.Concatenate, _L.LayerNormalization, _L.Normalization),
    *(_L.RMSNormalization, _L.Softmax, _L.UnitNormalization),
)
_RULES.add(_reshaped, _L.Reshape)
_RULES.add(_embedded, _L.Embedding)
_RULES.add(_shared, _L.PReLU)
_RULES.add(_convolved, _L.Conv1D)
_never(
    _L.Bidirectional,
    advice="Use the layer that it wraps, which runs forwards.",
)
_never(
    *(_L.GlobalAveragePooling1D, _L.GlobalMaxPooling1D),
    advice="Average, or take the maximum of, the outputs where they are read, or"
    " filter with a ksn.layers.Synapse.",
)
_never(
    *(_L.AveragePooling1D, _L.MaxPooling1D, _L.UpSampling1D, _L.ZeroPadding1D),
    _L.Cropping1D,
    advice="Wrap it in ksn.layers.PerStep if time is not the axis that it runs along.",
)
_never(_L.Flatten, advice="Wrap it in ksn.layers.PerStep to flatten each step.")
_never(
    *(_L.Attention, _L.AdditiveAttention, _L.MultiHeadAttention),
    advice="Export the whole model with format='savedmodel'.",
)
_RULES.add(
    lambda layer, before: (
        "a stream has no masks: leave out steps instead, and remove the layer."
    ),
    _L.Masking,
)

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
# fmt: on
