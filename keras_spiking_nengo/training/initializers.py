"""Nengo's distributions as Keras initializers, and the reverse."""

import math
from typing import Any

import keras
import nengo
import numpy as np
from keras import ops
from nengo.params import Parameter

from keras_spiking_nengo import serialization
from keras_spiking_nengo.checks import checked_seed, from_keras
from keras_spiking_nengo.saving import registered

__all__ = ["Distribution", "KerasDistribution"]


@registered()
class Distribution(keras.initializers.Initializer):
    """A Nengo distribution as a Keras initializer.

    A matrix `(inputs, units)` has one sample of the distribution, a vector of inputs,
    per unit: with `nengo.dists.UniformHypersphere(surface=True)`, units have encoders
    of length 1. A kernel of more axes is such a matrix of all its inputs.

    Args:
        dist: `nengo.dists.Distribution`.
        seed: int. Defaults to None, a draw from NumPy's global generator, which
            `keras.utils.set_random_seed` seeds. As with Keras's own initializers,
            one seed gives equal values in each call.

    Raises:
        TypeError: if `dist` is no distribution.

    Example:
        >>> import keras, nengo
        >>> initializer = Distribution(nengo.dists.Uniform(0.5, 1), seed=0)
        >>> layer = keras.layers.Dense(3, kernel_initializer=initializer)
        >>> layer.build((None, 2))
        >>> bool(keras.ops.min(layer.kernel) >= 0.5)
        True

    Reference:
        `nengo.dists`, which draws the values.
    """

    def __init__(self, dist: nengo.dists.Distribution | dict, seed: int | None = None):
        if isinstance(dist, dict):
            dist = serialization.from_config(dist)
        if not isinstance(dist, nengo.dists.Distribution):
            raise TypeError(
                f"dist is a nengo.dists.Distribution, such as nengo.dists.Uniform(-1,"
                f" 1); received {dist!r}."
            )
        self.dist = dist
        self.seed = checked_seed(seed)

    def __call__(self, shape, dtype=None):
        rng = np.random if self.seed is None else np.random.RandomState(self.seed)
        *inputs, units = shape if len(shape) else (1,)
        if inputs:
            values = self.dist.sample(units, math.prod(inputs), rng=rng).T
        else:
            values = self.dist.sample(units, rng=rng)
        return ops.convert_to_tensor(
            np.reshape(values, shape), dtype=dtype or keras.config.floatx()
        )

    def get_config(self):
        return {"dist": serialization.to_config(self.dist), "seed": self.seed}


class _InitializerParam(Parameter):
    """Holds what Keras makes an initializer of."""

    def coerce(self, instance, value):
        known = from_keras("initializer", keras.initializers.get, value)
        return super().coerce(instance, known)


class KerasDistribution(nengo.dists.Distribution):
    """A Keras initializer as a Nengo distribution, for transforms and encoders.

    `sample(n, d)` is the transpose of a Keras matrix of `d` inputs and `n` units, as a
    `nengo.Dense` of shape `(n, d)` has it: `HeNormal()` scales with `d`. Nengo's
    convolutions draw `(channels, filters)` for each place of the kernel, in which the
    inputs come first: take one that does not tell inputs from outputs, such as
    `GlorotUniform()`.

    Args:
        initializer: `keras.initializers.Initializer`, or its name.

    Raises:
        ValueError: for the name of no initializer.

    Example:
        >>> import nengo
        >>> dist = KerasDistribution("glorot_uniform")
        >>> nengo.Dense((4, 3), init=dist).sample().shape
        (4, 3)

    Reference:
        `keras.initializers`, which draw the values.
    """

    initializer = _InitializerParam("initializer")

    def __init__(self, initializer: Any = "glorot_uniform"):
        super().__init__()
        self.initializer = initializer

    def sample(self, n, d=None, rng=np.random):
        config = self.initializer.get_config()
        if "seed" in config:
            # Nengo's generator decides, so that equal seeds build equal networks.
            config["seed"] = int(rng.randint(2**31 - 1))
        initializer = type(self.initializer).from_config(config)
        shape = (n,) if d is None else (d, n)
        return ops.convert_to_numpy(initializer(shape, dtype="float32")).T.astype(float)
