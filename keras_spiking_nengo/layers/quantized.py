"""Layers whose weights are rounded to a few bits, and trained as they are rounded."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_spiking_nengo.budgets import build_held
from keras_spiking_nengo.checks import (
    brief,
    check_kind,
    check_policy,
    checked_switch,
    is_whole,
)
from keras_spiking_nengo.dynamics.quantization import (
    integers_of,
    scales_of,
    straight_through,
)
from keras_spiking_nengo.layers.wrapping import Wrapping
from keras_spiking_nengo.registry import Registry
from keras_spiking_nengo.saving import registered

__all__ = ["Quantized"]

_BITS = (2, 16)

# From a layer to the axes of its kernel along which the weights of a channel lie.
CHANNELS: Registry[Callable[[Any], tuple[int, ...]]] = Registry("channel", ("call",))
CHANNELS.add(lambda layer: (0,), keras.layers.Dense)
CHANNELS.add(
    lambda layer: tuple(range(layer.rank + 1)),
    *(keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D),
)
CHANNELS.add(
    lambda layer: tuple(range(layer.rank)),
    *(keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D),
)


def _summed_axes(layer: keras.layers.EinsumDense) -> tuple[int, ...]:
    terms, output = layer.equation.split("->")
    labels = terms.split(",")[1]
    return tuple(i for i, label in enumerate(labels) if label not in output)


CHANNELS.add(_summed_axes, keras.layers.EinsumDense)


@registered()
class Quantized(Wrapping, keras.layers.Wrapper):
    """A layer that computes with weights rounded to a few bits.

    What a chip of integers will compute with is so known while the layer is trained:
    its kernel is rounded in each call, and the gradient goes straight through to the
    kernel of full precision, which is what is trained, regularised, constrained and
    saved. With `w` a channel of the kernel,

        s = max|w| / (2^(bits - 1) - 1)     q = s round(w / s)     dL/dw = dL/dq

    with halves rounded to even. The bias stays as it is. `ksn.to_nengo`, `ksn.to_nir`
    and exported files have the numbers `q`; `quantized_weights()` gives integers and
    scales. Neurons come after it, as layers of their own.

    Args:
        layer: `keras.layers.Dense`, `EinsumDense`, `Conv1D`, `Conv2D`, `Conv3D`,
            `DepthwiseConv1D` or `DepthwiseConv2D`. Its dtype is that of this layer: in
            mixed precision, kernels are rounded to the dtype of computing before and
            after.
        bits: int from 2 to 16. Of an integer, with its sign. Defaults to 8.
        per_channel: bool. A scale for each channel of the output; else one for the
            kernel. Defaults to True.
        **kwargs: those of `keras.layers.Layer`. An `activity_regularizer` belongs here,
            not to `layer`.

    Call arguments:
        inputs: `(batch, ...)`, as for `layer`.

    Output shape:
        `(batch, ...)`, as of `layer`.

    Raises:
        TypeError: if `layer` is of another class, or has a call of its own.
        ValueError: for other `bits`, a `dtype` that is not the layer's, and a layer
            with an `activity_regularizer`, with LoRA, or quantized by Keras.

    Example:
        >>> import keras, numpy as np
        >>> layer = Quantized(keras.layers.Dense(2, use_bias=False), bits=3)
        >>> layer.build((None, 2))
        >>> layer.set_weights([np.array([[0.7, -0.1], [0.26, 0.3]])])
        >>> integers, scales = layer.quantized_weights()
        >>> integers.tolist()
        [[3, -1], [1, 3]]
        >>> y = keras.ops.convert_to_numpy(layer(np.eye(2)))
        >>> np.allclose(y, integers * scales)
        True

    Reference:
        Bengio, Léonard and Courville (2013), *Estimating or propagating gradients
        through stochastic neurons for conditional computation*, arXiv:1308.3432; Jacob
        et al. (2018), *Quantization and training of neural networks for efficient
        integer-arithmetic-only inference*, CVPR, arXiv:1712.05877.
    """

    def __init__(
        self,
        layer: keras.Layer,
        bits: int = 8,
        per_channel: bool = True,
        dtype: Any = None,
        **kwargs: Any,
    ):
        _check_layer(layer)
        _check_dtype(dtype, layer)
        super().__init__(layer, dtype=layer.dtype_policy, **kwargs)
        low, high = _BITS
        if not is_whole(bits) or not low <= bits <= high:
            raise ValueError(
                f"bits is an integer from {low} to {high}, the bits of a weight with"
                f" its sign; received {brief(bits)}."
            )
        self.bits = int(bits)
        self.per_channel = checked_switch("per_channel", per_channel)
        self.supports_masking = layer.supports_masking

    @property
    def activation(self):
        """That of the layer."""
        return self.layer.activation

    def build(self, input_shape):
        build_held(self.layer, tuple(input_shape))
        self.built = True

    def compute_output_shape(self, input_shape):
        return self.layer.compute_output_shape(tuple(input_shape))

    def call(self, inputs):
        _check_kernel(self.layer)
        kernel = self.layer.kernel
        # All of them: this scope hides the one in which JAX has their values.
        values = [
            (
                v,
                straight_through(*self._weights())
                if v is kernel
                else ops.convert_to_tensor(v),
            )
            for v in self.layer.variables
        ]
        with keras.StatelessScope(state_mapping=values):
            return self.layer(inputs)

    def _weights(self) -> tuple[Any, int, tuple[int, ...] | None]:
        """The kernel as it is to be rounded, bits and axes."""
        layer = self.layer
        wide = "float64" if layer.variable_dtype == "float64" else "float32"
        kernel = ops.cast(ops.convert_to_tensor(layer.kernel), layer.compute_dtype)
        axes = CHANNELS[layer](layer) if self.per_channel else None
        return ops.cast(kernel, wide), self.bits, axes

    # --- for chips --------------------------------------------------------------

    def quantized_weights(self) -> tuple[np.ndarray, np.ndarray]:
        """The kernel as integers and scales, whose product it is.

        Returns:
            Integers of the shape of the kernel, int8 up to 8 bits, else int16; and
            scales of the same rank, with a size of 1 along axes that share one.

        Raises:
            ValueError: if the layer is not built, or a weight is infinite or NaN.
        """
        w, bits, axes = self._checked_weights()
        if not np.all(np.isfinite(ops.convert_to_numpy(w))):
            raise ValueError(
                f"{self.name}: its kernel has weights that are infinite or NaN, for"
                " which there are no integers. Train with a lower learning rate."
            )
        s = scales_of(w, bits, axes)
        integers = ops.convert_to_numpy(integers_of(w, s))
        kind = "int8" if bits <= 8 else "int16"
        return integers.astype(kind), np.array(ops.convert_to_numpy(s))

    def plain(self) -> keras.Layer:
        """A layer of the class that is wrapped, with the numbers this computes with.

        Returns:
            A `keras.Layer` of this one's name, which trains weights of full precision.

        Raises:
            ValueError: if the layer is not built.
        """
        weights, layer = self._checked_weights(), self.layer
        twin = _bare(layer, self.name)
        twin.build_from_config(layer.get_build_config())
        twin.set_weights(layer.get_weights())
        twin.kernel.assign(ops.cast(straight_through(*weights), layer.compute_dtype))
        return twin

    def _checked_weights(self):
        if not self.layer.built:
            raise ValueError(
                f"{self.name} has no weights yet. Call it, or build a model with it."
            )
        _check_kernel(self.layer)
        return self._weights()

    def get_config(self):
        own = {"bits": self.bits, "per_channel": self.per_channel}
        return {**super().get_config(), **own}


def _bare(layer: keras.Layer, name: str) -> keras.Layer:
    """A layer as another one, before it is built."""
    config = layer.get_config()
    # Objects of these, which may be a user's own functions, are not written down.
    plainly: dict[str, str | None] = {"regularizer": None, "constraint": None}
    plainly |= {"activation": "linear", "initializer": "zeros"}
    objects = {key: key.rpartition("_")[2] for key in config}
    objects = {key: kind for key, kind in objects.items() if kind in plainly}
    config |= {key: plainly[kind] for key, kind in objects.items()}
    twin = type(layer).from_config(config | {"name": name})
    for key in objects:
        setattr(twin, key, getattr(layer, key))
    return twin


def _check_layer(layer: Any) -> None:
    names = ", ".join(sorted(kind.__name__ for kind in CHANNELS))
    possible = f"a layer of Keras with a kernel: {names}"
    check_kind("layer", layer, keras.Layer, possible)
    if layer not in CHANNELS:
        raise TypeError(
            f"layer is {possible}; received {type(layer).__name__} {layer.name!r}."
            " Wrap the layers of a model one by one, and put neurons after them."
        )
    if layer.activity_regularizer is not None:
        raise ValueError(
            f"layer {layer.name!r} has an activity_regularizer, which would see nothing"
            " within another layer. Give it to ksn.layers.Quantized instead."
        )
    _check_kernel(layer)


def _check_kernel(layer: Any) -> None:
    """Refuses a layer whose kernel is not the one that is trained."""
    mode = layer.quantization_mode
    if mode is not None:
        raise ValueError(
            f"layer {layer.name!r} is quantized to {mode} by Keras. Take one of the"
            " two: ksn.to_nengo knows the numbers of either."
        )
    if getattr(layer, "lora_rank", None) or getattr(layer, "lora_enabled", False):
        raise ValueError(
            f"layer {layer.name!r} has LoRA, whose kernel is a sum. Merge it into the"
            " kernel first, with layer.kernel in a layer without lora_rank."
        )


def _check_dtype(dtype: Any, layer: keras.Layer) -> None:
    if dtype is None:
        return
    check_policy(dtype)
    policy = keras.dtype_policies.get(dtype)
    if policy.name != layer.dtype_policy.name:
        raise ValueError(
            f"dtype is that of the layer, {layer.dtype_policy.name!r}, or None;"
            f" received {policy.name!r}. Give it to {layer.name!r}."
        )
