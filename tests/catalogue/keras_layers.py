"""Single layers with their options, and operations, for `to_nengo`."""

from functools import partial

import keras
import numpy as np
from keras import layers, ops

from keras_spiking_nengo.layers import Quantized

IMAGE, SIGNAL = (6, 5, 2), (7, 3)
VOLUME = (4, 5, 3, 2)
RNG = np.random.RandomState(3)
MEANS = {"mean": [0.5, -1.0], "variance": [0.25, 4.0]}


def channels_first(shape):
    """The shape of the same images with their channels first."""
    return (shape[-1], *shape[:-1])


FIRST = {"data_format": "channels_first"}

# Each with the shape of its input. The quickest of all.
STATIC_LAYERS = {
    "Dense": (lambda: layers.Dense(4), (5,)),
    "Dense(no bias)": (lambda: layers.Dense(4, use_bias=False), (5,)),
    "Dense(relu)": (lambda: layers.Dense(4, "relu"), (5,)),
    "Dense(sigmoid)": (lambda: layers.Dense(4, "sigmoid"), (5,)),
    "Dense(tanh)": (lambda: layers.Dense(4, "tanh"), (5,)),
    "Dense of rank 2": (lambda: layers.Dense(4, "relu"), (3, 5)),
    "Activation(relu)": (lambda: layers.Activation("relu"), (5,)),
    "Activation(linear)": (lambda: layers.Activation("linear"), (5,)),
    "ReLU": (lambda: layers.ReLU(), (2, 3)),
    "ReLU(slope)": (lambda: layers.ReLU(negative_slope=0.125), (5,)),
    "Dropout": (lambda: layers.Dropout(0.5), (5,)),
    "GaussianNoise": (lambda: layers.GaussianNoise(0.5), (5,)),
    "GaussianDropout": (lambda: layers.GaussianDropout(0.5), (5,)),
    "Identity": (lambda: layers.Identity(), (5,)),
    "Flatten": (lambda: layers.Flatten(), (2, 3)),
    "Reshape": (lambda: layers.Reshape((3, -1)), (2, 3)),
    "Conv1D": (lambda: layers.Conv1D(4, 3), SIGNAL),
    "Conv1D(same)": (lambda: layers.Conv1D(4, 4, padding="same"), SIGNAL),
    "Conv1D(strided)": (lambda: layers.Conv1D(4, 2, 2, "same"), SIGNAL),
    "Conv1D(causal)": (lambda: layers.Conv1D(4, 3, 2, "causal"), SIGNAL),
    "Conv1D(dilated)": (lambda: layers.Conv1D(4, 3, dilation_rate=2), SIGNAL),
    "Conv2D": (lambda: layers.Conv2D(4, 3, activation="relu"), IMAGE),
    "Conv2D(same)": (lambda: layers.Conv2D(4, (2, 3), padding="same"), IMAGE),
    "Conv2D(strided)": (lambda: layers.Conv2D(4, 3, (2, 1), "valid"), IMAGE),
    "Conv2D(strided same)": (lambda: layers.Conv2D(4, 3, 2, "same"), IMAGE),
    "Conv2D(no bias)": (lambda: layers.Conv2D(4, 3, use_bias=False), IMAGE),
    "Conv2D(groups)": (lambda: layers.Conv2D(4, 3, groups=2), IMAGE),
    "Conv2D(dilated)": (
        lambda: layers.Conv2D(4, 2, padding="same", dilation_rate=(2, 1)),
        IMAGE,
    ),
    "AveragePooling1D": (lambda: layers.AveragePooling1D(2), SIGNAL),
    "AveragePooling1D(same)": (lambda: layers.AveragePooling1D(3, 2, "same"), SIGNAL),
    "AveragePooling2D": (lambda: layers.AveragePooling2D(2), IMAGE),
    "AveragePooling2D(same)": (
        lambda: layers.AveragePooling2D((2, 3), 2, "same"),
        IMAGE,
    ),
}

# Linear: equal to rounding in double precision.
LINEAR_LAYERS = {
    name: case
    for name, case in STATIC_LAYERS.items()
    if not any(word in name for word in ("relu", "ReLU", "sigmoid", "tanh"))
} | {
    # Convolutions.
    "Conv2D(multiple groups, strided)": (
        lambda: layers.Conv2D(6, 3, 2, "same", groups=2),
        IMAGE,
    ),
    "Conv3D": (lambda: layers.Conv3D(3, 2), VOLUME),
    "Conv3D(same)": (lambda: layers.Conv3D(2, (2, 3, 2), (1, 2, 1), "same"), VOLUME),
    "DepthwiseConv1D": (lambda: layers.DepthwiseConv1D(3), SIGNAL),
    "DepthwiseConv2D": (lambda: layers.DepthwiseConv2D(3, padding="same"), IMAGE),
    "DepthwiseConv2D(multiplier, strided)": (
        lambda: layers.DepthwiseConv2D(2, 2, "same", depth_multiplier=3),
        IMAGE,
    ),
    "DepthwiseConv2D(dilated)": (
        lambda: layers.DepthwiseConv2D(2, dilation_rate=2, depth_multiplier=2),
        IMAGE,
    ),
    "SeparableConv1D": (lambda: layers.SeparableConv1D(4, 3), SIGNAL),
    "SeparableConv1D(strided)": (
        lambda: layers.SeparableConv1D(4, 3, 2, "same", depth_multiplier=2),
        SIGNAL,
    ),
    "SeparableConv2D": (lambda: layers.SeparableConv2D(4, 3), IMAGE),
    "SeparableConv2D(multiplier)": (
        lambda: layers.SeparableConv2D(3, 2, 2, "same", depth_multiplier=3),
        IMAGE,
    ),
    "Conv1DTranspose": (lambda: layers.Conv1DTranspose(4, 3), SIGNAL),
    "Conv1DTranspose(same, strided)": (
        lambda: layers.Conv1DTranspose(2, 4, 3, "same"),
        SIGNAL,
    ),
    "Conv2DTranspose": (lambda: layers.Conv2DTranspose(3, 3, 2), IMAGE),
    "Conv2DTranspose(same)": (
        lambda: layers.Conv2DTranspose(3, (3, 2), (2, 1), "same"),
        IMAGE,
    ),
    "Conv2DTranspose(output padding)": (
        lambda: layers.Conv2DTranspose(3, 3, 2, "same", output_padding=(1, 0)),
        IMAGE,
    ),
    "Conv3DTranspose": (lambda: layers.Conv3DTranspose(2, 2, 2, "same"), VOLUME),
    "EinsumDense": (
        lambda: layers.EinsumDense("abc,cd->abd", (3, 4), bias_axes="d"),
        (3, 5),
    ),
    "EinsumDense(over axes)": (
        lambda: layers.EinsumDense("abc,bcde->ade", (2, 4), bias_axes="e"),
        (3, 5),
    ),
    # Of a few bits.
    "Quantized(Dense)": (lambda: Quantized(layers.Dense(4), 4), (5,)),
    "Quantized(EinsumDense)": (
        lambda: Quantized(layers.EinsumDense("abc,cd->abd", (3, 4)), 5, False),
        (3, 5),
    ),
    "Quantized(Conv1D)": (lambda: Quantized(layers.Conv1D(4, 3), 3), SIGNAL),
    "Quantized(Conv2D)": (lambda: Quantized(layers.Conv2D(4, 3), 4), IMAGE),
    "Quantized(DepthwiseConv2D)": (
        lambda: Quantized(layers.DepthwiseConv2D(2, depth_multiplier=2), 4),
        IMAGE,
    ),
    # Pooling.
    "GlobalAveragePooling1D": (lambda: layers.GlobalAveragePooling1D(), SIGNAL),
    "GlobalAveragePooling2D": (
        lambda: layers.GlobalAveragePooling2D(keepdims=True),
        IMAGE,
    ),
    "GlobalAveragePooling3D": (lambda: layers.GlobalAveragePooling3D(), VOLUME),
    "AdaptiveAveragePooling1D": (lambda: layers.AdaptiveAveragePooling1D(3), SIGNAL),
    "AdaptiveAveragePooling2D": (
        lambda: layers.AdaptiveAveragePooling2D((4, 3)),
        IMAGE,
    ),
    # Moves.
    "Permute": (lambda: layers.Permute((3, 1, 2)), IMAGE),
    "RepeatVector": (lambda: layers.RepeatVector(3), (4,)),
    "Cropping1D": (lambda: layers.Cropping1D((1, 2)), SIGNAL),
    "Cropping2D": (lambda: layers.Cropping2D(((1, 2), (0, 1))), IMAGE),
    "Cropping3D": (lambda: layers.Cropping3D(1), VOLUME),
    "ZeroPadding1D": (lambda: layers.ZeroPadding1D((2, 1)), SIGNAL),
    "ZeroPadding2D": (lambda: layers.ZeroPadding2D(((0, 1), (2, 1))), IMAGE),
    "ZeroPadding3D": (lambda: layers.ZeroPadding3D((1, 0, 2)), VOLUME),
    "UpSampling1D": (lambda: layers.UpSampling1D(3), SIGNAL),
    "UpSampling2D": (lambda: layers.UpSampling2D((2, 3)), IMAGE),
    "UpSampling3D": (lambda: layers.UpSampling3D((1, 2, 2)), VOLUME),
    "CenterCrop": (lambda: layers.CenterCrop(3, 4), IMAGE),
    "SpatialDropout1D": (lambda: layers.SpatialDropout1D(0.5), SIGNAL),
    "SpatialDropout3D": (lambda: layers.SpatialDropout3D(0.5), VOLUME),
    # Scales.
    "BatchNormalization": (lambda: layers.BatchNormalization(), IMAGE),
    "BatchNormalization(axis, no scale)": (
        lambda: layers.BatchNormalization(axis=1, scale=False, epsilon=0.1),
        IMAGE,
    ),
    "BatchNormalization(no center)": (
        lambda: layers.BatchNormalization(center=False),
        (5,),
    ),
    "Rescaling": (lambda: layers.Rescaling(0.125, -1.0), IMAGE),
    "Rescaling(lists)": (lambda: layers.Rescaling([0.5, 2.0], [1.0, 0.0]), IMAGE),
    "Normalization": (lambda: layers.Normalization(**MEANS), (2,)),
    "Normalization(inverse)": (
        lambda: layers.Normalization(invert=True, **MEANS),
        (2,),
    ),
}

# Keras computes some of these in single precision on one backend or the other.
CURVED_LAYERS = {
    name: case for name, case in STATIC_LAYERS.items() if name not in LINEAR_LAYERS
} | {
    "UpSampling2D(bilinear)": (
        lambda: layers.UpSampling2D((2, 3), interpolation="bilinear"),
        IMAGE,
    ),
    "Resizing": (lambda: layers.Resizing(4, 8), IMAGE),
    "Resizing(padded)": (
        lambda: layers.Resizing(4, 8, pad_to_aspect_ratio=True, fill_value=3.0),
        IMAGE,
    ),
    "Rescaling(of bytes)": (lambda: layers.Rescaling(1 / 255.0), IMAGE),
    "ReLU(max_value)": (lambda: layers.ReLU(max_value=1.5), (5,)),
    "ReLU(threshold)": (lambda: layers.ReLU(2.0, 0.25, threshold=0.5), (5,)),
    "LeakyReLU": (lambda: layers.LeakyReLU(0.1), (5,)),
    "ELU": (lambda: layers.ELU(0.5), (5,)),
    "PReLU": (lambda: layers.PReLU(), (2, 3)),
    "PReLU(shared axes)": (lambda: layers.PReLU(shared_axes=[1, 2]), IMAGE),
    "Dense(layer as activation)": (
        lambda: layers.Dense(4, activation=layers.LeakyReLU(0.2)),
        (5,),
    ),
    "Dense(partial)": (
        lambda: layers.Dense(
            4, activation=partial(keras.activations.gelu, approximate=True)
        ),
        (5,),
    ),
    "Conv2DTranspose(elu)": (
        lambda: layers.Conv2DTranspose(2, 3, 2, activation="elu"),
        IMAGE,
    ),
    "SeparableConv2D(relu6)": (
        lambda: layers.SeparableConv2D(4, 3, activation="relu6"),
        IMAGE,
    ),
}


def training_only():
    """Layers for images that do what they do in training only."""
    plain = [
        *(layers.ActivityRegularization, layers.AugMix, layers.CutMix, layers.MixUp),
        *(layers.RandAugment, layers.RandomColorJitter, layers.RandomElasticTransform),
        *(layers.RandomErasing, layers.RandomFlip, layers.RandomGaussianBlur),
        *(layers.RandomGrayscale, layers.RandomInvert, layers.RandomPerspective),
        *(layers.RandomShear, layers.Solarization),
    ]
    rated = [
        *(layers.AlphaDropout, layers.RandomBrightness, layers.RandomColorDegeneration),
        *(layers.RandomContrast, layers.RandomHue, layers.RandomRotation),
        *(layers.RandomSaturation, layers.RandomSharpness, layers.RandomZoom),
        layers.SpatialDropout2D,
    ]
    others = [layers.RandomPosterization(2), layers.RandomTranslation(0.5, 0.5)]
    return [layer() for layer in plain] + [layer(0.5) for layer in rated] + others


# Elementwise activations, besides those of CURVED_LAYERS.
ACTIVATIONS = (
    *("celu", "elu", "exponential", "gelu", "hard_shrink", "hard_sigmoid"),
    *("hard_silu", "hard_tanh", "leaky_relu", "linear", "log_sigmoid", "mish", "relu"),
    *("relu6", "selu", "sigmoid", "silu", "soft_shrink", "softplus", "softsign"),
    *("sparse_plus", "sparse_sigmoid", "squareplus", "tanh", "tanh_shrink"),
)

# TensorFlow has these in single precision only.
SINGLE_PRECISION = {
    "AveragePooling3D": (lambda: layers.AveragePooling3D(2, 1, "same"), VOLUME),
    "AdaptiveAveragePooling3D": (lambda: layers.AdaptiveAveragePooling3D(2), VOLUME),
}

# TensorFlow has no convolutions of this kind on a CPU.
CHANNELS_FIRST = {
    "Conv1D": (lambda: layers.Conv1D(4, 3, 2, "same", **FIRST), SIGNAL),
    "Conv2D": (lambda: layers.Conv2D(4, 3, groups=2, **FIRST), IMAGE),
    "Conv2D(dilated)": (lambda: layers.Conv2D(4, 2, dilation_rate=2, **FIRST), IMAGE),
    "Conv3D": (lambda: layers.Conv3D(3, 2, padding="same", **FIRST), VOLUME),
    "DepthwiseConv2D": (
        lambda: layers.DepthwiseConv2D(2, depth_multiplier=2, **FIRST),
        IMAGE,
    ),
    "SeparableConv2D": (lambda: layers.SeparableConv2D(4, 3, **FIRST), IMAGE),
    "Conv1DTranspose": (lambda: layers.Conv1DTranspose(4, 3, 2, **FIRST), SIGNAL),
    "Conv2DTranspose": (
        lambda: layers.Conv2DTranspose(4, 3, 2, "same", **FIRST),
        IMAGE,
    ),
    "AveragePooling2D": (lambda: layers.AveragePooling2D(2, **FIRST), IMAGE),
    "GlobalAveragePooling2D": (lambda: layers.GlobalAveragePooling2D(**FIRST), IMAGE),
    "AdaptiveAveragePooling2D": (
        lambda: layers.AdaptiveAveragePooling2D((4, 3), **FIRST),
        IMAGE,
    ),
    "Flatten": (lambda: layers.Flatten(**FIRST), IMAGE),
    "Cropping2D": (lambda: layers.Cropping2D(1, **FIRST), IMAGE),
    "ZeroPadding2D": (lambda: layers.ZeroPadding2D((1, 2), **FIRST), IMAGE),
    "UpSampling2D": (lambda: layers.UpSampling2D(2, **FIRST), IMAGE),
    "BatchNormalization": (lambda: layers.BatchNormalization(axis=1), IMAGE),
}

# What Python runs, with strict=False.
HOSTED_LAYERS = {
    "LayerNormalization": (lambda: layers.LayerNormalization(), (5,)),
    "RMSNormalization": (lambda: layers.RMSNormalization(), (5,)),
    "GroupNormalization": (lambda: layers.GroupNormalization(2), (4,)),
    "UnitNormalization": (lambda: layers.UnitNormalization(), (5,)),
    "Softmax": (lambda: layers.Softmax(), (5,)),
    "Dense(softmax)": (lambda: layers.Dense(3, "softmax"), (5,)),
    "Embedding": (lambda: layers.Embedding(5, 3), (4,)),
    "LSTM": (lambda: layers.LSTM(3), SIGNAL),
    "GRU": (lambda: layers.GRU(3, return_sequences=True), SIGNAL),
    "RNN": (
        lambda: layers.RNN(layers.GRUCell(3), return_sequences=True),
        SIGNAL,
    ),
    "Lambda": (lambda: layers.Lambda(lambda x: ops.sin(x)), (5,)),
    "Activation(softmax)": (lambda: layers.Activation("softmax"), (5,)),
    "MaxPooling1D": (lambda: layers.MaxPooling1D(2), SIGNAL),
    "MaxPooling2D": (lambda: layers.MaxPooling2D(2), IMAGE),
    "GlobalMaxPooling1D": (lambda: layers.GlobalMaxPooling1D(), SIGNAL),
    "GlobalMaxPooling2D": (lambda: layers.GlobalMaxPooling2D(), IMAGE),
    "GlobalMaxPooling3D": (lambda: layers.GlobalMaxPooling3D(), VOLUME),
    "AdaptiveMaxPooling2D": (lambda: layers.AdaptiveMaxPooling2D(2), IMAGE),
}

# Layers of maxima, with those of means and their arguments, and the input's shape.
POOLS = {
    "MaxPooling1D": (layers.MaxPooling1D, layers.AveragePooling1D, (3, 2), SIGNAL),
    "MaxPooling2D": (
        layers.MaxPooling2D,
        layers.AveragePooling2D,
        (2, 1, "same"),
        IMAGE,
    ),
    "MaxPooling3D": (layers.MaxPooling3D, layers.AveragePooling3D, (2,), VOLUME),
    "GlobalMaxPooling1D": (
        layers.GlobalMaxPooling1D,
        layers.GlobalAveragePooling1D,
        (),
        SIGNAL,
    ),
    "GlobalMaxPooling2D": (
        layers.GlobalMaxPooling2D,
        layers.GlobalAveragePooling2D,
        (None, True),
        IMAGE,
    ),
    "GlobalMaxPooling3D": (
        layers.GlobalMaxPooling3D,
        layers.GlobalAveragePooling3D,
        (),
        VOLUME,
    ),
    "AdaptiveMaxPooling1D": (
        layers.AdaptiveMaxPooling1D,
        layers.AdaptiveAveragePooling1D,
        (3,),
        SIGNAL,
    ),
    "AdaptiveMaxPooling2D": (
        layers.AdaptiveMaxPooling2D,
        layers.AdaptiveAveragePooling2D,
        ((4, 2),),
        IMAGE,
    ),
    "AdaptiveMaxPooling3D": (
        layers.AdaptiveMaxPooling3D,
        layers.AdaptiveAveragePooling3D,
        (2,),
        VOLUME,
    ),
}

# Layers of several inputs, and operations.
JOINED = {
    "Add": lambda x, y: layers.Add()([x, y]),
    "Subtract": lambda x, y: layers.Subtract()([x, y]),
    "Average": lambda x, y: layers.Average()([x, y, x]),
    "Concatenate": lambda x, y: layers.Concatenate(axis=1)([x, y]),
    "Add(broadcast)": lambda x, y: layers.Add()([x, layers.Cropping1D((0, 2))(y)]),
    "x + y": lambda x, y: x + y,
    "x - y": lambda x, y: x - y,
    "x + x": lambda x, y: x + x - y,
    "x + 1": lambda x, y: 1.5 + x + y,
    "1 - x": lambda x, y: 1.0 - x + y,
    "x + array": lambda x, y: x + np.arange(4.0) + y,
    "x * 2": lambda x, y: x * 2.0 + 3 * y,
    "x * array": lambda x, y: ops.multiply(RNG.normal(size=(3, 4)), x) + y,
    "x / 2": lambda x, y: x / 2 + y / np.array([1.0, 2.0, 4.0, 8.0]),
    "-x": lambda x, y: -x + y,
    "broadcast": lambda x, y: x + y[:, :1],
    "ops.add": lambda x, y: ops.subtract(ops.add(x, 0.5), y),
    "reshape": lambda x, y: ops.reshape(x, (-1, 4, 3)) + ops.transpose(y, (0, 2, 1)),
    "slices": lambda x, y: x[:, 1:, ::-1] + y[..., :2, :],
    "axes": lambda x, y: ops.squeeze(ops.expand_dims(x, 1), 1) + ops.flip(y, 2),
    "ops.concatenate": lambda x, y: ops.concatenate([x, y], axis=-1),
    "mean": lambda x, y: (
        ops.mean(x, axis=-1, keepdims=True) + ops.sum(y, [1, 2])[:, None, None]
    ),
    "matmul": lambda x, y: ops.matmul(x, RNG.normal(size=(4, 2))),
    "pad": lambda x, y: ops.pad(x, [[0, 0], [1, 0], [0, 2]]),
    "square": lambda x, y: x**2 + ops.square(y) + x * x,
    "relu": lambda x, y: ops.relu(x) + keras.activations.relu(y, 0.1, max_value=0.5),
    "gelu": lambda x, y: ops.gelu(x, approximate=False) + ops.elu(y, alpha=0.5),
    "functions": lambda x, y: ops.abs(x) + ops.exp(y) + ops.silu(x) + ops.tanh(y),
}

RECURRENT_LAYERS = {
    name: partial(layers.SimpleRNN, 4, **kwargs)
    for name, kwargs in {
        "tanh": {},
        "relu": {"activation": "relu", "return_sequences": True},
        "linear": {"activation": None, "return_sequences": True},
        "elu, no bias": {"activation": "elu", "use_bias": False},
        "sigmoid": {"activation": "sigmoid", "return_sequences": True, "dropout": 0.5},
    }.items()
}
