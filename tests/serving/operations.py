"""What streams are made of: TensorFlow's operations and XLA's custom calls.

Run `python -m tests.serving.operations`, on TensorFlow and on JAX, to see them.
"""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import keras
from keras import layers

import keras_spiking_nengo as ksn
from keras_spiking_nengo.serving import stream
from tests.cases import NEURONS, SYNAPSES
from tests.serving import matrix

KINDS = ("operations", "texts", "custom calls")
PICTURES = (6, 6, 2)
VOLUMES = (4, 4, 4, 2)
# What people put between our layers, applied to each step by itself.
STEPWISE: dict[str, tuple[Callable, tuple[int, ...]]] = {
    "AlphaDropout": (lambda: layers.AlphaDropout(0.1), (4,)),
    "AveragePooling1D": (lambda: layers.AveragePooling1D(2), (6, 2)),
    "AveragePooling2D": (lambda: layers.AveragePooling2D(2), PICTURES),
    "AveragePooling3D": (lambda: layers.AveragePooling3D(2), VOLUMES),
    "BatchNormalization": (layers.BatchNormalization, (4,)),
    "Bidirectional": (
        lambda: layers.Bidirectional(layers.GRU(2, return_sequences=True)),
        (5, 3),
    ),
    "CategoryEncoding": (lambda: layers.CategoryEncoding(4, "one_hot"), (1,)),
    "Conv1D": (lambda: layers.Conv1D(2, 3, padding="causal"), (6, 2)),
    "Conv1DTranspose": (lambda: layers.Conv1DTranspose(2, 3, strides=2), (6, 2)),
    "Conv2D": (lambda: layers.Conv2D(2, 3, dilation_rate=2), PICTURES),
    "Conv2DTranspose": (lambda: layers.Conv2DTranspose(2, 3), PICTURES),
    "Conv3D": (lambda: layers.Conv3D(2, 2), VOLUMES),
    "Conv3DTranspose": (lambda: layers.Conv3DTranspose(2, 2), VOLUMES),
    "Cropping2D": (lambda: layers.Cropping2D(1), PICTURES),
    "Dense": (lambda: layers.Dense(3), (2, 4)),
    "DepthwiseConv1D": (lambda: layers.DepthwiseConv1D(3), (6, 2)),
    "DepthwiseConv2D": (lambda: layers.DepthwiseConv2D(3), PICTURES),
    "Discretization": (lambda: layers.Discretization([0.0, 1.0]), (4,)),
    "EinsumDense": (lambda: layers.EinsumDense("abc,cd->abd", (2, 3)), (2, 4)),
    "Flatten": (layers.Flatten, PICTURES),
    "GlobalAveragePooling1D": (layers.GlobalAveragePooling1D, (6, 2)),
    "GlobalAveragePooling2D": (layers.GlobalAveragePooling2D, PICTURES),
    "GlobalMaxPooling2D": (layers.GlobalMaxPooling2D, PICTURES),
    "GroupNormalization": (lambda: layers.GroupNormalization(2), PICTURES),
    "LSTM": (lambda: layers.LSTM(2), (5, 3)),
    "LayerNormalization": (layers.LayerNormalization, (4,)),
    "MaxPooling1D": (lambda: layers.MaxPooling1D(2), (6, 2)),
    "MaxPooling2D": (lambda: layers.MaxPooling2D(2), PICTURES),
    "MaxPooling3D": (lambda: layers.MaxPooling3D(2), VOLUMES),
    "Normalization": (lambda: layers.Normalization(mean=1.0, variance=2.0), (4,)),
    "PReLU": (layers.PReLU, (4,)),
    "Permute": (lambda: layers.Permute((2, 1)), (2, 3)),
    "RMSNormalization": (layers.RMSNormalization, (4,)),
    "RepeatVector": (lambda: layers.RepeatVector(2), (3,)),
    "Rescaling": (lambda: layers.Rescaling(2.0, 1.0), (4,)),
    "Reshape": (lambda: layers.Reshape((3, 2)), (2, 3)),
    "SeparableConv1D": (lambda: layers.SeparableConv1D(2, 3), (6, 2)),
    "SeparableConv2D": (lambda: layers.SeparableConv2D(2, 3), PICTURES),
    "SimpleRNN": (lambda: layers.SimpleRNN(2), (5, 3)),
    "Softmax": (layers.Softmax, (4,)),
    "UnitNormalization": (layers.UnitNormalization, (4,)),
    "UpSampling2D": (lambda: layers.UpSampling2D(2), PICTURES),
    "UpSampling2D(bilinear)": (
        lambda: layers.UpSampling2D(2, interpolation="bilinear"),
        PICTURES,
    ),
    "ZeroPadding2D": (lambda: layers.ZeroPadding2D(1), PICTURES),
}
MERGING = ("Add", "Average", "Concatenate", "Maximum", "Minimum", "Multiply")
FUNCTIONS = (
    *("abs", "arctan", "ceil", "cos", "erf", "exp", "expm1", "floor", "log", "log1p"),
    *("negative", "reciprocal", "round", "rsqrt", "sign", "sin", "sqrt", "square"),
    *("tan", "tanh", "stop_gradient"),
)


def models() -> Iterator[tuple[str, keras.Model]]:
    """The rows of the matrix, and all layers and functions that streams take."""
    for row in matrix.ROWS:
        yield row, matrix.made(row)
    for name, neuron_type in NEURONS.items():
        layer = ksn.layers.Neurons(neuron_type, seed=0, return_sequences=True)
        yield f"Neurons({name})", _alone(layer, (4,))
    for name, synapse in SYNAPSES.items():
        layer = ksn.layers.Synapse(synapse, return_sequences=True)
        yield f"Synapse({name})", _alone(layer, (4,))
    for name, (layer, features) in STEPWISE.items():
        yield name, _alone(ksn.layers.PerStep(layer()), features)
    yield "Embedding", _alone(ksn.layers.PerStep(layers.Embedding(5, 2)), (), "int32")
    for name in _activations():
        yield name, _alone(layers.Activation(name), (4,))
    for name in MERGING:
        inputs = [keras.Input((None, 4)), keras.Input((None, 4))]
        yield name, keras.Model(inputs, getattr(layers, name)()(inputs))
    for name in FUNCTIONS:
        x = keras.Input((None, 4))
        yield name, keras.Model(x, getattr(keras.ops, name)(x))
    for name, function in _BINARY.items():
        x, y = keras.Input((None, 4)), keras.Input((None, 4))
        yield name, keras.Model([x, y], function(x, y))


_BINARY = {
    "arithmetic": lambda x, y: (x + y) * (x - y) / (x * y),
    "powers": lambda x, y: keras.ops.power(x, y) % y,
    "bounds": lambda x, y: keras.ops.minimum(keras.ops.maximum(x, y), y),
}


def _activations() -> list[str]:
    """Names of Keras's activations; `glu` and `threshold` are none for `Activation`."""
    odd = {"get", "serialize", "deserialize", "glu", "threshold"}
    return sorted(
        name
        for name, value in vars(keras.activations).items()
        if callable(value) and name not in odd
    )


def _alone(layer, features, dtype="float32") -> keras.Model:
    inputs = keras.Input((None, *features), dtype=dtype)
    return keras.Model(inputs, layer(inputs))


def found() -> Iterator[tuple[str, dict[str, set[str]]]]:
    """Names of models, with the `contents` of their streams."""
    for name, model in models():
        keras.backend.clear_session(free_memory=False)
        with tempfile.TemporaryDirectory() as folder:
            try:
                path = ksn.export_streaming(model, Path(folder) / "m", verify=False)
            except NotImplementedError as error:
                print(f"{name}: {error}")
                continue
            yield name, dict(zip(KINDS, stream.contents(path), strict=True))


if __name__ == "__main__":
    totals: dict[str, set[str]] = {kind: set() for kind in KINDS}
    for name, parts in found():
        for kind, part in parts.items():
            if new := sorted(part - totals[kind]):
                print(f"{name}: {kind} {new}", flush=True)
            totals[kind] |= part
    for kind, total in totals.items():
        print(kind, *sorted(total))
