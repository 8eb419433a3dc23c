"""Nengo's linear transforms as a Keras layer."""

from typing import Any

import keras
import nengo
import numpy as np
import scipy.sparse
from keras import ops

from keras_spiking_nengo import serialization
from keras_spiking_nengo.budgets import Bounded
from keras_spiking_nengo.checks import check_policy, checked_seed, checked_switch
from keras_spiking_nengo.dynamics import transforms
from keras_spiking_nengo.saving import registered

__all__ = ["Transform"]

_KINDS = (
    nengo.Dense,
    nengo.Sparse,
    nengo.Convolution,
    nengo.ConvolutionTranspose,
    nengo.transforms.NoTransform,
)
_Convolution = nengo.Convolution | nengo.ConvolutionTranspose


@registered()
class Transform(Bounded, keras.layers.Layer):
    """What the transform of a `nengo.Connection` does, with its weights trainable.

    Acts on the last axis, or on the last axes of images, and on every step of a
    sequence alike.

    Args:
        transform: `nengo.Dense`, `nengo.Sparse`, `nengo.Convolution`,
            `nengo.ConvolutionTranspose` or `NoTransform`. Where its weights are a
            distribution, the layer draws from it when it is built.
        use_bias: bool. Add trained numbers, which start at 0. Defaults to False.
        seed: int. Of that draw. Defaults to None, NumPy's global generator.

    Call arguments:
        inputs: `(..., size_in)`, as Nengo has it. A convolution also takes images,
            `(..., *transform.input_shape.shape)`.

    Output shape:
        `(..., size_out)`, or `(..., *transform.output_shape.shape)` of images.

    Raises:
        TypeError: if `transform` is of another kind.
        ValueError: for inputs of another size.

    Example:
        >>> import keras, nengo
        >>> layer = Transform(nengo.Dense((2, 3), init=[[1, 0, 0], [0, 1, 1]]))
        >>> keras.ops.convert_to_numpy(layer(keras.ops.ones((1, 3)))).tolist()
        [[1.0, 2.0]]

    Reference:
        Bekolay et al. (2014), *Nengo: a Python tool for building large-scale
        functional brain models*, Front. Neuroinform. 7.
    """

    def __init__(
        self,
        transform: nengo.transforms.Transform | dict,
        use_bias: bool = False,
        seed: int | None = None,
        **kwargs: Any,
    ):
        check_policy(kwargs.get("dtype"))
        super().__init__(**kwargs)
        if isinstance(transform, dict):
            transform = serialization.from_config(transform)
        if not isinstance(transform, _KINDS):
            raise TypeError(
                f"transform is one of {', '.join(kind.__name__ for kind in _KINDS)};"
                f" received {transform!r}."
            )
        self.transform = transform
        self.use_bias = checked_switch("use_bias", use_bias)
        self.seed = checked_seed(seed)

    # --- shapes -----------------------------------------------------------------

    def _images(self, shape) -> bool:
        """Whether inputs of a shape are images, and not flat vectors.

        Raises:
            ValueError: if they are neither.
        """
        transform, shape = self.transform, tuple(shape)
        if isinstance(transform, _Convolution):
            images = tuple(transform.input_shape.shape)
            if len(shape) > len(images) and shape[-len(images) :] == images:
                return True
        if len(shape) < 2 or shape[-1] != transform.size_in:
            flat = f"(..., {transform.size_in})"
            other = (
                f" or images (..., {', '.join(map(str, transform.input_shape.shape))})"
                if isinstance(transform, _Convolution)
                else ""
            )
            raise ValueError(
                f"{self.name} takes {flat}{other}; received the shape {shape}."
            )
        return False

    def compute_output_shape(self, input_shape):
        if self._images(input_shape):
            lead = len(input_shape) - len(self.transform.input_shape.shape)
            return (*input_shape[:lead], *self.transform.output_shape.shape)
        return (*input_shape[:-1], self.transform.size_out)

    # --- weights ----------------------------------------------------------------

    def build(self, input_shape):
        self._images(input_shape)
        value = self._drawn()
        self.kernel = None
        if value is not None:
            self.kernel = self.add_weight(
                name="kernel",
                shape=value.shape,
                initializer=lambda shape, dtype: ops.cast(value, dtype),
            )
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(
                name="bias", shape=(self.transform.size_out,), initializer="zeros"
            )
        self.built = True

    def _drawn(self) -> np.ndarray | None:
        """Nengo's weights; of a sparse matrix, its entries."""
        if isinstance(self.transform, nengo.transforms.NoTransform):
            return None
        rng = np.random if self.seed is None else np.random.RandomState(self.seed)
        value = self.transform.sample(rng=rng)
        if isinstance(self.transform, nengo.Sparse):
            self.rows, self.columns, value = _entries(value)
        return np.asarray(value, dtype=float)

    # --- running ----------------------------------------------------------------

    def call(self, inputs):
        if not self._images(inputs.shape):
            return self._shifted(inputs)
        axes = len(self.transform.input_shape.shape)
        lead = ops.shape(inputs)[:-axes]
        flat = ops.reshape(inputs, (*lead, self.transform.size_in))
        return ops.reshape(
            self._shifted(flat), (*lead, *self.transform.output_shape.shape)
        )

    def _shifted(self, x):
        y = self._flat(x)
        return y if self.bias is None else y + ops.cast(self.bias, y.dtype)

    def _flat(self, x):
        transform = self.transform
        if self.kernel is None:
            return x
        kernel = ops.cast(self.kernel, x.dtype)
        if isinstance(transform, _Convolution):
            return transforms.convolve(transform, kernel, x)
        if isinstance(transform, nengo.Sparse):
            size = transform.size_out
            return transforms.sparse(kernel, self.rows, self.columns, size, x)
        if len(kernel.shape) < 2:
            # Nengo's short form of a multiple of the identity, or of a diagonal.
            return kernel * x
        return transforms.matrix_product(kernel, x)

    def get_config(self):
        return {
            **super().get_config(),
            "transform": serialization.to_config(self.transform),
            "use_bias": self.use_bias,
            "seed": self.seed,
        }

    def trained(self) -> nengo.transforms.Transform:
        """Nengo's transform with the present weights."""
        transform = self.transform
        if self.kernel is None:
            return transform
        value = np.asarray(ops.convert_to_numpy(self.kernel), dtype=float)
        if isinstance(transform, nengo.Dense):
            return nengo.Dense(transform.shape, init=value)
        if isinstance(transform, nengo.Sparse):
            places = np.stack([self.rows, self.columns], axis=1)
            return nengo.Sparse(transform.shape, indices=places, init=value)
        return serialization.altered(transform, init=value)


def _entries(matrix) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, columns and values of a sparse matrix of scipy's or of nengo's.

    Row by row, as formats keep orders of their own and weights are saved in one.
    """
    if scipy.sparse.issparse(matrix):
        coo = matrix.tocoo()
        rows, columns, values = np.asarray(coo.row), np.asarray(coo.col), coo.data
    else:
        (rows, columns), values = matrix.indices.T, np.ravel(matrix.data)
    order = np.lexsort((columns, rows))
    return rows[order], columns[order], values[order]
