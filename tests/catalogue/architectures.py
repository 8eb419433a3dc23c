"""Whole models of known architectures, small, for `to_nengo`."""

import keras
from keras import layers, ops

from tests.builders import (
    LINEAR,
    functional,
    neurons,
    per_step,
    presented,
    static,
    synapse,
    temporal,
)

PICTURE = (8, 8, 2)


def chain(x, *stack):
    for layer in stack:
        x = layer(x)
    return x


def normalised(x, layer, activation="relu"):
    return chain(x, layer, layers.BatchNormalization(), layers.Activation(activation))


def _diamond(x):
    h = layers.Dense(6, "relu")(x)
    both = layers.Add()([layers.Dense(5)(h), layers.Dense(5, "tanh")(h), x])
    return layers.ReLU()(both)


def _shared_layer():
    dense = layers.Dense(5, "elu")
    return functional(lambda x: layers.Add()([dense(dense(x)), dense(x)]), (5,))


def _siamese():
    encoder = static(layers.Dense(6, "relu"), layers.Dense(3), shape=(4,))
    return functional(
        lambda x, y: layers.Dense(2)(layers.Subtract()([encoder(x), encoder(y)])),
        (4,),
        (4,),
    )


def _reordered():
    x, y = keras.Input((3,), name="a"), keras.Input((4,), name="b")
    first, second = layers.Dense(2)(x), layers.Dense(3, "relu")(y)
    return keras.Model([y, x], [second, first, x])


def batch_norm_net(**options):
    axis = 1 if options else -1
    stack = []
    for filters in (3, 4):
        stack += [
            layers.Conv2D(filters, 3, padding="same", use_bias=False, **options),
            layers.BatchNormalization(axis=axis),
            layers.ReLU(),
            layers.AveragePooling2D(2, **options),
        ]
    shape = (2, 8, 8) if options else PICTURE
    head = [layers.Flatten(**options), layers.Dense(5)]
    return static(*stack, *head, shape=shape)


def _mobile(x):
    h = normalised(x, layers.Conv2D(6, 1, use_bias=False), "relu6")
    h = normalised(h, layers.DepthwiseConv2D(3, padding="same"), "relu6")
    h = layers.BatchNormalization()(layers.Conv2D(2, 1)(h))
    h = layers.Add()([x, h])
    h = normalised(h, layers.SeparableConv2D(4, 3, 2, "same"), "relu6")
    return layers.Dense(3)(layers.GlobalAveragePooling2D()(h))


def _u_net(x):
    same = {"padding": "same", "activation": "relu"}
    top = layers.Conv2D(3, 3, **same)(x)
    down = layers.Conv2D(4, 3, **same)(layers.AveragePooling2D(2)(top))
    bottom = layers.Conv2D(4, 3, **same)(layers.AveragePooling2D(2)(down))
    up = layers.UpSampling2D(interpolation="bilinear")(bottom)
    up = layers.Conv2D(3, 3, **same)(layers.Concatenate()([up, down]))
    up = layers.Conv2DTranspose(3, 3, 2, "same", activation="relu")(up)
    return layers.Conv2D(1, 1, activation="sigmoid")(layers.Concatenate()([up, top]))


def _several(x, y):
    h = layers.Concatenate()([layers.Dense(4, "relu")(x), y])
    z = layers.Average()([layers.Dense(7)(x), h])
    return [layers.Dense(2)(h), z, layers.Dense(1, "sigmoid")(z)]


def _nested():
    inner = static(layers.Dense(4, "selu"), layers.Dropout(0.5), shape=(5,))
    middle = static(inner, layers.BatchNormalization(), shape=(5,))
    return static(middle, layers.Dense(3, "softplus"), shape=(5,))


def spiking_images():
    images = static(
        layers.ZeroPadding2D(1),
        layers.Conv2D(3, 3, use_bias=False),
        layers.BatchNormalization(),
        layers.LeakyReLU(0.1),
        layers.MaxPooling2D(2),
        layers.Flatten(),
        shape=PICTURE,
    )
    return presented(
        per_step(images), layers.Dense(6), neurons(LINEAR), synapse(0.01), shape=PICTURE
    )


def _arithmetic(x, y):
    h = 2 * layers.Dense(4)(x) - y / 3 + 1
    return ops.concatenate([ops.relu(-h), ops.mean(h, axis=-1, keepdims=True)], -1)


def _dense_net(x):
    for _ in range(2):
        h = layers.ReLU()(layers.BatchNormalization()(x))
        x = layers.Concatenate()([x, layers.Conv2D(2, 3, padding="same")(h)])
    return layers.GlobalAveragePooling2D()(layers.AveragePooling2D(2)(x))


def _pre_activated(x):
    h = chain(x, layers.BatchNormalization(), layers.ReLU())
    h = normalised(h, layers.Conv2D(2, 3, padding="same"))
    h = layers.Conv2D(2, 3, padding="same")(layers.Dropout(0.2)(h))
    return layers.Add()([x, h])


def _inception(x):
    return layers.Concatenate()(
        [
            layers.Conv2D(2, 1, activation="relu")(x),
            chain(x, layers.Conv2D(2, 1), layers.Conv2D(3, 3, padding="same")),
            chain(x, layers.AveragePooling2D(3, 1, "same"), layers.Conv2D(2, 1)),
        ]
    )


def _wave_net(x):
    skips = []
    for dilation in (1, 2, 4):
        h = layers.Conv1D(3, 2, padding="causal", dilation_rate=dilation)(x)
        h = layers.Activation("tanh")(h)
        skips.append(layers.Conv1D(4, 1)(h))
        x = x + layers.Conv1D(3, 1)(h)
    return layers.Conv1D(2, 1)(layers.ReLU()(layers.Add()(skips)))


def _preprocessed():
    means = layers.Normalization(mean=[1.0, -1.0], variance=[4.0, 0.25])
    return static(
        layers.Rescaling(1 / 127.5, -1),
        layers.RandomFlip(),
        layers.RandomRotation(0.1),
        means,
        layers.Conv2D(3, 3, activation="gelu"),
        layers.GlobalAveragePooling2D(),
        shape=PICTURE,
    )


def _keyed():
    inputs = {name: keras.Input((4,), name=name) for name in ("left", "right")}
    both = layers.Concatenate()([inputs["right"], inputs["left"]])
    outputs = {"z": layers.Dense(2)(both), "a": layers.PReLU()(both)}
    return keras.Model(inputs, outputs)


def _pixel_shuffle(x):
    h = layers.Reshape((8, 8, 2, 2, 1))(layers.Conv2D(4, 3, padding="same")(x))
    h = layers.Permute((1, 3, 2, 4, 5))(h)
    return layers.Cropping2D(1)(layers.Reshape((16, 16, 1))(h))


def _excited(x):
    h = layers.Dense(2, "relu")(layers.GlobalAveragePooling2D()(x))
    return layers.Multiply()([x, layers.Dense(2, "sigmoid")(h)[:, None, None]])


def _dead():
    """The second layer's currents are all below zero."""
    never = layers.Dense(4, "relu", kernel_initializer="ones", use_bias=False)
    return static(layers.ReLU(), layers.Rescaling(-1.0), never, layers.Dense(2))


def _over_time(x):
    fast, slow = synapse(0.005)(x), synapse(0.02)(x)
    return neurons(LINEAR)(4 * (fast - slow) + 0.5 * x)


ARCHITECTURES = {
    "residual diamond": lambda: functional(_diamond, (5,)),
    "shared layer": _shared_layer,
    "shared submodel": _siamese,
    "reordered outputs": _reordered,
    "unused input": lambda: functional(lambda x, y: layers.Dense(3)(x), (4,), (2,)),
    "single unit": lambda: static(layers.Dense(1, "relu"), layers.Dense(1), shape=(1,)),
    "nothing fires": _dead,
    "identity": lambda: static(layers.Dropout(0.5), shape=(3,)),
    "batch norm net": batch_norm_net,
    "mobile net": lambda: functional(_mobile, PICTURE),
    "u-net": lambda: functional(_u_net, PICTURE),
    "several inputs and outputs": lambda: functional(_several, (4,), (3,)),
    "nested": _nested,
    "operations": lambda: functional(_arithmetic, (4,), (4,)),
    "operations over time": lambda: functional(_over_time, (None, 4)),
    "dense net": lambda: functional(_dense_net, PICTURE),
    "residual net v2": lambda: functional(_pre_activated, PICTURE),
    "inception": lambda: functional(_inception, PICTURE),
    "wave net": lambda: functional(_wave_net, (9, 3)),
    "preprocessed": _preprocessed,
    "dicts": _keyed,
    "pixel shuffle": lambda: functional(_pixel_shuffle, PICTURE),
    "volumes": lambda: static(
        layers.Conv3D(3, 2, activation="relu"),
        layers.UpSampling3D(2),
        layers.GlobalAveragePooling3D(),
        shape=(3, 4, 3, 1),
    ),
    "sequences": lambda: temporal(
        layers.SimpleRNN(5, return_sequences=True),
        layers.Dense(4, "relu"),
        layers.SimpleRNN(3, "relu"),
        layers.Dense(2),
        time=6,
        shape=(3,),
    ),
    "decoder": lambda: static(
        layers.Dense(3, "relu"),
        layers.RepeatVector(4),
        layers.SimpleRNN(5, return_sequences=True),
        per_step(layers.Dense(2)),
    ),
    "autoencoder": lambda: static(
        layers.Dense(8, "elu"),
        layers.Dense(2),
        layers.Dense(8, "softsign"),
        layers.Dense(5, "hard_sigmoid"),
    ),
    "squeeze and excite": lambda: functional(_excited, PICTURE),
}


# With nodes that run Python.
HOSTED_ARCHITECTURES = {
    "classifier": lambda: static(
        layers.Conv2D(3, 3, activation="relu"),
        layers.MaxPooling2D(),
        layers.Flatten(),
        layers.LayerNormalization(),
        layers.Dense(4, "softmax"),
        shape=PICTURE,
    ),
    "attention": lambda: functional(
        lambda x: layers.MultiHeadAttention(2, 3)(x, x) + x, (4, 5)
    ),
}
