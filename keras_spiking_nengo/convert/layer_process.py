"""A Keras layer as a process of Nengo, which calls it in each step."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import nengo
import numpy as np
from keras import ops

__all__ = ["KerasLayer"]

StepShapes = Sequence[tuple[int, ...]]


class KerasLayer(nengo.Process):
    """A Keras layer, one call per step; one with a cell is stepped by its cell.

    Args:
        layer: built `keras.Layer`.
        inputs: shapes of its inputs in one step, which come one after the other.
        leading: number of axes of size 1 before them that the layer takes.
    """

    def __init__(self, layer: keras.Layer, inputs: StepShapes, leading: int):
        self.layer = layer
        self.inputs = tuple(inputs)
        self.leading = leading
        size = len(self._flat(self._call(np.zeros(self._size), self._started())[0]))
        super().__init__(default_size_in=self._size, default_size_out=size)

    def make_step(self, shape_in, shape_out, dt, rng, state):
        """What nengo calls in each step; every simulator starts anew."""
        states = self._started()

        def step(t, x):
            nonlocal states
            y, states = self._call(x, states)
            return self._flat(y)

        return step

    @property
    def _size(self) -> int:
        return sum(math.prod(shape) for shape in self.inputs)

    def _started(self):
        cell = getattr(self.layer, "cell", None)
        return None if cell is None else cell.get_initial_state(batch_size=1)

    def _call(self, x: np.ndarray, states) -> tuple[Any, Any]:
        ends = np.cumsum([math.prod(shape) for shape in self.inputs])
        pairs = zip(np.split(x, ends[:-1]), self.inputs, strict=True)
        parts = [part.reshape((1,) * self.leading + shape) for part, shape in pairs]
        dtype = self.layer.variable_dtype
        tensors: Any = [ops.convert_to_tensor(part, dtype=dtype) for part in parts]
        tensors = tensors[0] if len(tensors) == 1 else tensors
        if states is None:
            return self.layer(tensors), None
        return self.layer.cell(tensors, states)

    @staticmethod
    def _flat(y) -> np.ndarray:
        return np.ravel(ops.convert_to_numpy(y)).astype(float)
