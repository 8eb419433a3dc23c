"""Spikes that are drawn, with the mean or the probability that the value is."""

from abc import abstractmethod
from typing import Any

import numpy as np
from keras import ops

from keras_spiking_nengo.checks import checked_seed, positive
from keras_spiking_nengo.dynamics import random
from keras_spiking_nengo.layers.encoders.encoder import Encoder, EncoderCell, counted_as
from keras_spiking_nengo.layers.parameters import weight_from
from keras_spiking_nengo.saving import registered

__all__ = [
    "BernoulliEncoder",
    "BernoulliEncoderCell",
    "PoissonEncoder",
    "PoissonEncoderCell",
]


class RandomCell(EncoderCell):
    """Spikes that are drawn: their number in a step depends on nothing before."""

    state_names = random.STATES
    streams = (0,)
    plain_arguments: tuple[str, ...] = ("dt", "seed")

    def __init__(self, dt: float, seed: int | None, **kwargs: Any):
        super().__init__(dt, **kwargs)
        self.seed = checked_seed(seed)

    def build(self, input_shape):
        super().build(input_shape)
        rng = np.random if self.seed is None else np.random.RandomState(self.seed)
        keys = rng.randint(random.MAX_KEY, size=self.features)
        self._keys = weight_from(self, "initial_seed", keys, "int32")

    def state_dtypes(self):
        return ["int32", "int32"]

    def initial_state(self, batch_size):
        # Items of a batch draw from different streams.
        ones = ops.ones((batch_size, *(1 for _ in self.features)), dtype="int32")
        keys = ops.convert_to_tensor(self._keys)
        keys = random.new_key(keys, ops.cumsum(ones, axis=0))
        return [keys, ops.zeros_like(keys)]

    @abstractmethod
    def mean(self, x):
        """Expected number of spikes in a step, differentiable in `x`."""

    @abstractmethod
    def drawn(self, mean, state):
        """Numbers of spikes for means, and the next state."""

    def _spikes(self, x, state, training):
        mean = self.mean(x)
        count, state = self.drawn(ops.stop_gradient(mean), state)
        return counted_as(count, mean, training) * self.height, state

    def program(self, training=False):
        return lambda p, x, state: self._spikes(x[0], state, training), {}

    def sequence(self, inputs, state, training, unroll):
        # The n-th number does not need the ones before it.
        seed, first = state
        ones = ops.ones_like(inputs, dtype="int32")
        draws = first[:, None] + ops.cumsum(ones, axis=1) - 1
        seeds = ops.broadcast_to(seed[:, None], ops.shape(draws))
        y, (_, draws) = self._spikes(inputs, [seeds, draws], training)
        return y, [seed, draws[:, -1]]


@registered()
class PoissonEncoderCell(RandomCell):
    """One step of Poisson spikes.

    Args:
        **kwargs: the arguments of `PoissonEncoder` that are not those of an RNN layer,
            and those of `keras.layers.Layer`.

    Call arguments:
        inputs: `(batch, *features)`. Rates.
        states: a seed and a number of draws, `(batch, *features)` each.

    Output shape:
        `(batch, *features)`: a whole number of spikes, divided by `dt`.

    Raises:
        ValueError: for arguments that `PoissonEncoder` refuses.

    Example:
        >>> import keras
        >>> cell = PoissonEncoderCell(max_rate=100, seed=0)
        >>> layer = keras.layers.RNN(cell, return_sequences=True)
        >>> layer(keras.ops.ones((1, 20, 3))).shape == (1, 20, 3)
        True

    Reference:
        Dayan and Abbott (2001), *Theoretical Neuroscience*, MIT Press.
    """

    plain_arguments = ("max_rate", "dt", "seed")

    def __init__(
        self,
        max_rate: float = 1.0,
        dt: float = 0.001,
        seed: int | None = None,
        **kwargs: Any,
    ):
        super().__init__(dt, seed, **kwargs)
        self.max_rate = positive(
            "max_rate", max_rate, advice="It is the rate in Hz of a value of 1."
        )

    def mean(self, x):
        return self.max_rate * self.dt * ops.relu(x)

    def drawn(self, mean, state):
        return random.poisson(mean, state)


@registered()
class PoissonEncoder(Encoder):
    """Poisson spikes of given rates: independent in every step and feature.

    The number of spikes in a step has mean and variance `max_rate * x * dt`, and may
    be more than 1. Its generator is part of the state, so that a seed gives the same
    spikes on every backend, compiled or not: those, in every call. With
    `training=True` each call draws other ones, and the gradient is that of the mean.

    Args:
        max_rate: float > 0, Hz. Rate of a value of 1. Defaults to 1, for inputs that
            are rates in Hz themselves.
        dt: float, seconds. Length of one step. Defaults to 0.001.
        seed: int. Defaults to None, a draw from NumPy's global generator
            (`keras.utils.set_random_seed` fixes it).
        n_steps: int. Number of steps for which static values are presented, as by
            `Repeat`. Defaults to None: the input is a sequence.
        return_sequences, return_state, go_backwards, stateful, unroll,
        zero_output_for_mask: as in `keras.layers.LSTM`; all default to False.
        save_state: bool. Store the current state of a stateful layer with the
            weights. Defaults to False.

    Call arguments:
        sequences: `(batch, time, *features)`, or `(batch, *features)` with `n_steps`.
            Rates in units of `max_rate`; below 0 they count as 0.
        initial_state: list of states, as returned with `return_state=True`.
        mask: `(batch, time)` booleans.
        training: bool.

    Output shape:
        `(batch, time, *features)` with `return_sequences=True`, else
        `(batch, *features)`, the last step. With `return_state=True`, the
        states follow.

    Raises:
        ValueError: for a `max_rate` or `dt` that is not positive, another number of
            steps, inputs without a time axis, or a mask together with `n_steps`.

    Example:
        >>> import keras
        >>> layer = PoissonEncoder(50, n_steps=100, seed=0, return_sequences=True)
        >>> layer(keras.Input((28, 28))).shape
        (None, 100, 28, 28)

    Reference:
        Dayan and Abbott (2001), *Theoretical Neuroscience*, MIT Press.
    """

    cell_class = PoissonEncoderCell


@registered()
class BernoulliEncoderCell(RandomCell):
    """One step of Bernoulli spikes.

    Args:
        **kwargs: the arguments of `BernoulliEncoder` that are not those of an RNN
            layer, and those of `keras.layers.Layer`.

    Call arguments:
        inputs: `(batch, *features)`. Probabilities.
        states: a seed and a number of draws, `(batch, *features)` each.

    Output shape:
        `(batch, *features)`: `1 / dt` at a spike, 0 elsewhere.

    Raises:
        ValueError: for arguments that `BernoulliEncoder` refuses.

    Example:
        >>> import keras
        >>> layer = keras.layers.RNN(BernoulliEncoderCell(seed=0))
        >>> float(layer(keras.ops.ones((1, 20, 1)))[0, 0])
        1000.0

    Reference:
        Dayan and Abbott (2001), *Theoretical Neuroscience*, MIT Press.
    """

    def __init__(self, dt: float = 0.001, seed: int | None = None, **kwargs: Any):
        super().__init__(dt, seed, **kwargs)

    def mean(self, x):
        return ops.clip(x, 0, 1)

    def drawn(self, mean, state):
        uniform, state = random.uniform(state, mean.dtype)
        return ops.cast(uniform < mean, mean.dtype), state


@registered()
class BernoulliEncoder(Encoder):
    """Spikes with given probabilities: at most one in a step, independent of others.

    Its generator is part of the state, so that a seed gives the same spikes on every
    backend, compiled or not: those, in every call. With `training=True` each call draws
    other ones, and the gradient is that of the probability.

    Args:
        dt: float, seconds. Length of one step, which a spike is `1 / dt` high for.
            Defaults to 0.001.
        seed: int. Defaults to None, a draw from NumPy's global generator
            (`keras.utils.set_random_seed` fixes it).
        n_steps: int. Number of steps for which static values are presented, as by
            `Repeat`. Defaults to None: the input is a sequence.
        return_sequences, return_state, go_backwards, stateful, unroll,
        zero_output_for_mask: as in `keras.layers.LSTM`; all default to False.
        save_state: bool. Store the current state of a stateful layer with the
            weights. Defaults to False.

    Call arguments:
        sequences: `(batch, time, *features)`, or `(batch, *features)` with `n_steps`.
            Probabilities of a spike in a step, clipped to [0, 1].
        initial_state: list of states, as returned with `return_state=True`.
        mask: `(batch, time)` booleans.
        training: bool.

    Output shape:
        `(batch, time, *features)` with `return_sequences=True`, else
        `(batch, *features)`, the last step. With `return_state=True`, the
        states follow.

    Raises:
        ValueError: for a `dt` that is not positive, another number of steps, inputs
            without a time axis, or a mask together with `n_steps`.

    Example:
        >>> import keras
        >>> layer = BernoulliEncoder(n_steps=5, seed=0, return_sequences=True)
        >>> spikes = layer(keras.ops.convert_to_tensor([[0.0, 1.0]]))
        >>> keras.ops.convert_to_numpy(spikes[0, :, 1]).tolist()
        [1000.0, 1000.0, 1000.0, 1000.0, 1000.0]

    Reference:
        Dayan and Abbott (2001), *Theoretical Neuroscience*, MIT Press.
    """

    cell_class = BernoulliEncoderCell
