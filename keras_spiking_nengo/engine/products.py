"""Products of what is read with weights, or with each other."""

import math
from dataclasses import dataclass, replace
from typing import Any

import nengo
import numpy as np
from keras import ops

from keras_spiking_nengo.dynamics import transforms
from keras_spiking_nengo.engine.operation import Operation
from keras_spiking_nengo.engine.signals import Weight, pick

__all__ = ["Convolve", "Multiply", "Product", "Sparse"]


@dataclass(frozen=True, eq=False)
class Multiply(Operation):
    """Elementwise product of what it reads, and of parameters if it has some.

    Attributes:
        weights: parameters, one after the other, in the size of the output.
        factor: a number.
    """

    weights: tuple[Weight, ...] = ()
    factor: float = 1.0
    stacked = ("weights",)

    @property
    def multiplications(self):
        factors = len(self.reads) + bool(self.weights) + (self.factor != 1)
        return (factors - 1) * self.outs[0].size

    def key(self, looped):
        return type(self), len(self.reads), bool(self.weights), self.factor

    def used_weights(self):
        return self.weights

    def pack(self, values, dt, mode):
        return {"weights": pick(values, self.weights)} if self.weights else {}

    def compute(self, p, x, state, mode, steps):
        total = math.prod(x[1:], start=x[0])
        total = total if self.factor == 1 else total * self.factor
        return [total * p["weights"] if "weights" in p else total], []


# A matrix with so many elements is large.
_LARGE = 2**12
# For many items, up to so many large products are faster one by one than as one.
_APART = 128


@dataclass(frozen=True, eq=False)
class Product(Operation):
    """Products of matrices `(rows, columns)` with vectors.

    The matrices are parameters or, if there are none, the second thing read.

    Attributes:
        rows, columns: shape of each matrix.
        weights: parameters, row by row, one matrix after the other.
    """

    rows: int = 1
    columns: int = 1
    weights: tuple[Weight, ...] = ()
    stacked = ("weights",)

    @property
    def count(self) -> int:
        return self.outs[0].size // self.rows

    def key(self, looped):
        if self.count > 1:
            return None
        return type(self), self.rows, self.columns, bool(self.weights)

    @property
    def multiplications(self):
        return self.columns * self.outs[0].size

    @property
    def large(self) -> bool:
        """Whether more time goes into it than into what is around it."""
        return bool(self.weights) and self.rows * self.columns >= _LARGE

    def joined(self, operations, reads, outs, initial):
        product = super().joined(operations, reads, outs, initial)
        vectors = {operation.reads[0].key for operation in operations}
        if len(vectors) > 1 or not self.weights:
            return product
        # Of one vector, the matrices are one.
        return replace(product, reads=self.reads, rows=len(operations) * self.rows)

    def used_weights(self):
        return self.weights

    def pack(self, values, dt, mode):
        if not self.weights:
            return {}
        shape: tuple[int, ...] = (self.count, self.rows, self.columns)
        shape = shape[1:] if self.count == 1 else shape
        weights = pick(values, self.weights)
        reshape = ops.reshape if ops.is_tensor(weights) else np.reshape
        matrices = reshape(weights, shape)
        columns = ops.transpose if ops.is_tensor(weights) else np.transpose
        if mode.many and self.large and 1 < self.count <= _APART:
            return {f"weights_{i}": columns(matrices[i]) for i in range(self.count)}
        if self.count == 1 and self.rows > self.columns:
            # What is long is last: a product of few items takes a fraction of the time.
            return {"columns": columns(matrices)}
        return {"weights": matrices}

    def compute(self, p, x, state, mode, steps):
        lead = ops.shape(x[0])[:-1]
        if "weights_0" in p:
            n = self.columns
            parts = [
                ops.matmul(x[0][..., i * n : (i + 1) * n], p[f"weights_{i}"])
                for i in range(self.count)
            ]
            return [ops.concatenate(parts, axis=-1)], []
        if "columns" in p:
            return [ops.matmul(x[0], p["columns"])], []
        if "weights" not in p:
            shape = (*lead, self.count, self.rows, self.columns)
            matrices = ops.reshape(x[1], shape)
            vectors = ops.reshape(x[0], (*lead, self.count, self.columns))
            y = transforms.matrix_product(matrices, vectors)
        elif len(p["weights"].shape) == 2:
            return [transforms.matrix_product(p["weights"], x[0])], []
        else:
            vectors = ops.reshape(x[0], (*lead, self.count, self.columns))
            y = transforms.products(p["weights"], vectors)
        return [ops.reshape(y, (*lead, self.count * self.rows))], []


# Up to this many elements a sparse matrix is multiplied as a full one.
_SMALL = 2**20


@dataclass(frozen=True, eq=False)
class Sparse(Operation):
    """Product of a sparse matrix with a vector.

    Attributes:
        data: the nonzero entries.
        rows, columns: where each of them is.
    """

    data: tuple[Weight, ...] = ()
    rows: Any = None
    columns: Any = None

    def used_weights(self):
        return self.data

    @property
    def multiplications(self):
        return len(self.rows)

    @property
    def _full(self) -> bool:
        return self.outs[0].size * self.reads[0].size <= _SMALL

    def pack(self, values, dt, mode):
        data = pick(values, self.data)
        if not self._full:
            return {"data": data}
        shape = (self.outs[0].size, self.reads[0].size)
        if ops.is_tensor(data):
            where = np.stack([self.rows, self.columns], axis=1)
            return {"matrix": ops.scatter(where, data, shape)}
        matrix = np.zeros(shape)
        np.add.at(matrix, (self.rows, self.columns), data)
        return {"matrix": matrix}

    def compute(self, p, x, state, mode, steps):
        if "matrix" in p:
            return [transforms.matrix_product(p["matrix"], x[0])], []
        size = self.outs[0].size
        return [transforms.sparse(p["data"], self.rows, self.columns, size, x[0])], []


@dataclass(frozen=True, eq=False)
class Convolve(Operation):
    """A convolution, or a transposed one.

    Attributes:
        transform: nengo's.
        kernel: its weights.
    """

    transform: Any = None
    kernel: tuple[Weight, ...] = ()

    def used_weights(self):
        return self.kernel

    @property
    def multiplications(self):
        # A kernel at each position; those of zeros around the input count, too.
        transposed = isinstance(self.transform, nengo.transforms.ConvolutionTranspose)
        ends = self.transform.input_shape, self.transform.output_shape
        positions = (ends[0] if transposed else ends[1]).spatial_shape
        return math.prod((*positions, *self.transform.kernel_shape))

    def pack(self, values, dt, mode):
        kernel = pick(values, self.kernel)
        reshape = ops.reshape if ops.is_tensor(kernel) else np.reshape
        return {"kernel": reshape(kernel, self.transform.kernel_shape)}

    def compute(self, p, x, state, mode, steps):
        return [transforms.convolve(self.transform, p["kernel"], x[0])], []
