"""Weights that Keras keeps in a few bits, as the numbers that they stand for.

Keras rounds the inputs of such a layer, too, anew in each call: to 127 parts of the
largest of them. Zeros and ones are exact then, and so are the weights that the layer
shows of them.
"""

from typing import Any

import keras
import numpy as np

from keras_spiking_nengo.convert.layer_rules import array

__all__ = ["dense_kernel", "product_of", "quantized_objection", "rounds_inputs"]

_MODES = ("int8", "int4")


def quantized_objection(layer: keras.Layer) -> str:
    """Why the weights of a layer are not to be had as numbers, or ""."""
    mode = getattr(layer, "quantization_mode", None)
    if mode in (None, *_MODES):
        return ""
    return f"it is quantized to {mode}; {' and '.join(_MODES)} are known"


def rounds_inputs(layer: keras.Layer) -> bool:
    """Whether a layer also rounds what it is given."""
    mode = getattr(layer, "quantization_mode", None)
    return mode is not None and getattr(layer, "inputs_quantizer", None) is not None


def dense_kernel(layer: keras.layers.Dense) -> np.ndarray:
    """The kernel of a `Dense` layer, `(inputs, units)`."""
    if layer.quantization_mode is None:
        return array(layer.kernel)
    return product_of(layer, np.eye(layer.input_spec.axes[-1]))


def product_of(layer: Any, x: np.ndarray) -> np.ndarray:
    """What a quantized layer makes of zeros and ones, without bias and activation."""
    # Not the user's own layer: no other thread is to see it without its activation.
    twin = object.__new__(type(layer))
    vars(twin).update(vars(layer))
    object.__setattr__(twin, "activation", None)
    x = np.asarray(x, "float32")
    both = array(twin.quantized_call(keras.ops.convert_to_tensor(np.stack([x, 0 * x]))))
    return both[0] - both[1]
