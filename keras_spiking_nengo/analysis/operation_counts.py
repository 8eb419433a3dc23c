"""What is counted, and the signals between layers that it is counted on.

A synaptic operation is one connection carrying one value. With a real-valued input it
is a multiply-accumulate (MAC), with spikes an accumulate (AC) per spike; effective
operations are those with neither input nor weight 0. For a linear map `L(W, x)` all
three are sums over its outputs with other numbers put in:

    dense = sum L(1, 1)    macs = sum L(W != 0, x != 0)    acs = sum L(W != 0, spikes)

which counts strides, groups and borders exactly as the layer itself has them.

Reference:
    Yik et al. (2025), *The NeuroBench framework for benchmarking neuromorphic
    computing algorithms and systems*, Nature Communications 16, 1545.
"""

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import astuple, dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_spiking_nengo.analysis import spikes

__all__ = [
    "LayerSignal",
    "Work",
    "activity",
    "as_numpy",
    "before",
    "bytes_of",
    "linear",
    "nonzero",
    "product_work",
    "total",
]


@dataclass(frozen=True)
class Work:
    """Numbers of operations, of a batch.

    Attributes:
        dense: synaptic operations, zeros included.
        macs, acs: effective multiply-accumulates and accumulates.
        updates: of neurons with a state, and of synaptic filters.
        spikes: that are sent.
        units, zeros: values of neurons and activation functions, and those that are 0.
    """

    dense: float = 0.0
    macs: float = 0.0
    acs: float = 0.0
    updates: float = 0.0
    spikes: float = 0.0
    units: float = 0.0
    zeros: float = 0.0

    def __add__(self, other: "Work") -> "Work":
        pairs = zip(astuple(self), astuple(other), strict=True)
        return Work(*(a + b for a, b in pairs))

    def __mul__(self, factor: float) -> "Work":
        return Work(*(a * factor for a in astuple(self)))


@dataclass(frozen=True, eq=False)
class LayerSignal:
    """A tensor between layers, and what is known of it.

    Attributes:
        value: tensor `(batch, ...)`.
        height: array that broadcasts to it: of a spike, or 0 where values are real.
            None where nothing is known: then they are spikes if all that are not 0
            have one magnitude.
        linear: whether it is the output of a linear layer, into which a normalisation
            that follows can be folded.
    """

    value: Any
    height: np.ndarray | None = None
    linear: bool = False

    def heights(self) -> np.ndarray:
        """The height that is known, or that the values tell."""
        if self.height is not None:
            return self.height
        return np.asarray(spikes.common_height(as_numpy(self.value)) or 0.0)

    def parts(self) -> tuple[np.ndarray, np.ndarray]:
        """Where real values are not 0, as 0 and 1, and numbers of spikes."""
        value, height = as_numpy(self.value), self.heights()
        real = np.logical_and(value != 0, height == 0)
        number = (
            spikes.count(value, height) if np.any(height) else np.zeros(value.shape)
        )
        return real.astype("float32"), number.astype("float32")

    def folded(self, n_axes: int) -> "LayerSignal":
        """The signal, with so many axes after the batch as further items of it."""
        height, shape = self.height, tuple(self.value.shape)
        n_lead = 1 + n_axes
        if height is not None:
            height = height.reshape((1,) * (len(shape) - height.ndim) + height.shape)
            if height.shape[:n_lead] != (1,) * n_lead:
                height = np.broadcast_to(height, shape)
            height = height.reshape(-1, *height.shape[n_lead:])
        value = ops.reshape(self.value, (-1, *shape[n_lead:]))
        return LayerSignal(value, height, self.linear)

    def unfolded(self, lead: tuple[int, ...]) -> "LayerSignal":
        """The signal, with the batch and the axes folded into it apart again."""
        height, shape = self.height, tuple(self.value.shape)
        if height is not None and height.ndim == len(shape):
            axes = lead if len(height) > 1 else (1,) * len(lead)
            height = height.reshape(*axes, *height.shape[1:])
        value = ops.reshape(self.value, (*lead, *shape[1:]))
        return LayerSignal(value, height, self.linear)


def as_numpy(tensor) -> np.ndarray:
    """A tensor as a NumPy array."""
    return np.asarray(ops.convert_to_numpy(tensor))


def before(sequence) -> np.ndarray:
    """What `(batch, time, ...)` was a step before, and 0 at first."""
    values = as_numpy(sequence)
    return np.concatenate([np.zeros_like(values[:, :1]), values[:, :-1]], axis=1)


def total(tensor) -> float:
    """The sum of all elements, in double precision."""
    return float(np.sum(as_numpy(tensor), dtype=np.float64))


def nonzero(values) -> np.ndarray:
    """1 where values are not 0, and 0 elsewhere."""
    return (as_numpy(values) != 0).astype("float32")


def activity(value, height: np.ndarray | None = None) -> Work:
    """What units send: their values, and the spikes among them."""
    value = as_numpy(value)
    sent = 0.0 if height is None else float(np.sum(spikes.count(value, height)))
    zeros = float(np.sum(value == 0))
    return Work(spikes=sent, units=float(value.size), zeros=zeros)


def linear(function: Callable, kernels: Iterable[Any], signal: LayerSignal) -> Work:
    """The operations of a linear map.

    Args:
        function: `(kernels, x) -> y`, linear in both, without a bias.
        kernels: its weights.
        signal: its input.
    """
    kernels = list(map(as_numpy, kernels))
    real, number = signal.parts()
    ones = [np.ones_like(kernel, dtype="float32") for kernel in kernels]
    masks = list(map(nonzero, kernels))
    first = np.ones_like(real[:1])
    return Work(
        dense=len(real) * total(function(ones, first)),
        macs=total(function(masks, real)) if np.any(real) else 0.0,
        acs=total(function(masks, number)) if np.any(number) else 0.0,
    )


def product_work(kernel: Any, signal: LayerSignal) -> Work:
    """The operations of `x @ kernel`, on the last axis of `x`."""
    return linear(lambda kernels, x: np.matmul(x, kernels[0]), [kernel], signal)


def bytes_of(shape, dtype) -> int:
    """What an array takes in memory."""
    width = re.search(r"\d+", keras.backend.standardize_dtype(dtype))
    bits = int(width[0]) if width else 8  # bool
    return math.ceil(math.prod(shape) * bits / 8)
