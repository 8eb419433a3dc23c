"""Spike encoders: values to spikes, as layers over time.

With `x` the value, `dt` the step and `n` its number (the first is 1), the number of
spikes that a feature sends in a step is

    Poisson      drawn from Poisson(r dt), with r = max_rate max(x, 0)
    Bernoulli    1 with probability min(max(x, 0), 1), else 0
    latency      1 in the first step with n dt >= t(x), else 0, where
                 t = tau (1 - x)  or  t = tau ln(x / (x - theta))
    delta        trunc((x - level) / theta); level grows by theta for each spike

and the output is that number divided by `dt`, as with Nengo's neurons. While training,
in the backward pass, a drawn number counts as its mean, a spike at time `t` as spread
linearly over the two steps next to it, and `trunc` as the identity.

Reference:
    Dayan and Abbott (2001), *Theoretical Neuroscience*, MIT Press (Poisson spikes);
    Hopfield (1995), *Pattern recognition computation using action potential timing*,
    Nature 376 (a membrane's latency is logarithmic); Miskowicz (2006), *Send-on-delta
    concept: an event-based data reporting strategy*, Sensors 6(1).
"""

import inspect
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_spiking_nengo.dynamics import random
from keras_spiking_nengo.dynamics.kernels import precise
from keras_spiking_nengo.layers.base import Cell, SequenceLayer
from keras_spiking_nengo.layers.parameters import checked_dt, checked_seed, is_number
from keras_spiking_nengo.layers.repeat import Repeat

__all__ = [
    "BernoulliEncoder",
    "BernoulliEncoderCell",
    "DeltaEncoder",
    "DeltaEncoderCell",
    "LatencyEncoder",
    "LatencyEncoderCell",
    "PoissonEncoder",
    "PoissonEncoderCell",
]

_register = keras.saving.register_keras_serializable("keras_spiking_nengo")

CODES = ("linear", "logarithmic")
# Part of a step, or of a threshold, that may be missing to a whole one: rounding noise,
# which differs between backends, and between compiled and not.
_SLACK = 1e-3


def _with_slope(value, smooth, training):
    """`value`, while training with the gradient of `smooth`."""
    value, given = ops.stop_gradient(value), ops.stop_gradient(smooth)
    # Both terms are 0, or NaN if the input is: the difference but for a rounding, where
    # XLA fuses a product into it.
    return value + (smooth - given if training else 0 * given)


def _positive(name: str, value, unit: str) -> float:
    if not is_number(value) or not 0 < value < float("inf"):
        raise ValueError(f"{name} is a positive number{unit}; received {value!r}.")
    return float(value)


class _EncoderCell(Cell):
    """What the cells have in common: a step of time, and where the state starts."""

    def __init__(self, dt: float, **kwargs: Any):
        super().__init__(**kwargs)
        self.dt = checked_dt(dt)

    @property
    def height(self) -> float:
        """Of a spike, which lasts one step."""
        return 1 / self.dt

    def get_config(self):
        return {**super().get_config(), "dt": self.dt}


# --- random encoders ----------------------------------------------------------


class _RandomCell(_EncoderCell):
    """Spikes that are drawn: their number in a step depends on nothing before."""

    state_names = random.STATES

    def __init__(self, dt: float, seed: int | None, **kwargs: Any):
        super().__init__(dt, **kwargs)
        self.seed = checked_seed(seed)

    def build(self, input_shape):
        super().build(input_shape)
        rng = np.random if self.seed is None else np.random.RandomState(self.seed)
        keys = rng.randint(random.MAX_KEY, size=self.features)
        self._keys = self.add_weight(
            name="initial_seed",
            shape=self.features,
            dtype="int32",
            initializer=lambda shape, dtype: ops.cast(keys, dtype),
            trainable=False,
            autocast=False,
        )

    def state_dtypes(self):
        return ["int32", "int32"]

    def initial_state(self, batch_size):
        # Items of a batch draw from different streams.
        ones = ops.ones((batch_size, *(1 for _ in self.features)), dtype="int32")
        keys = ops.convert_to_tensor(self._keys)
        keys = random.fold(keys, ops.cumsum(ones, axis=0))
        return [keys, ops.zeros_like(keys)]

    def mean(self, x):
        """Expected number of spikes in a step, differentiable in `x`."""
        raise NotImplementedError

    def drawn(self, mean, state):
        """Numbers of spikes for means, and the next state."""
        raise NotImplementedError

    def _spikes(self, x, state, training):
        mean = self.mean(x)
        count, state = self.drawn(ops.stop_gradient(mean), state)
        return _with_slope(count, mean, training) * self.height, state

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

    def get_config(self):
        return {**super().get_config(), "seed": self.seed}


@_register
class PoissonEncoderCell(_RandomCell):
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

    def __init__(
        self,
        max_rate: float = 1.0,
        dt: float = 0.001,
        seed: int | None = None,
        **kwargs: Any,
    ):
        super().__init__(dt, seed, **kwargs)
        self.max_rate = _positive("max_rate", max_rate, ", the rate in Hz of a value 1")

    def mean(self, x):
        return self.max_rate * self.dt * ops.relu(x)

    def drawn(self, mean, state):
        return random.poisson(mean, state)

    def get_config(self):
        return {**super().get_config(), "max_rate": self.max_rate}


@_register
class BernoulliEncoderCell(_RandomCell):
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


# --- latency -------------------------------------------------------------------


@_register
class LatencyEncoderCell(_EncoderCell):
    """One step of a code in which the time of the only spike tells the value.

    Args:
        **kwargs: the arguments of `LatencyEncoder` that are not those of an RNN layer,
            and those of `keras.layers.Layer`.

    Call arguments:
        inputs: `(batch, *features)`. Values, usually from 0 to 1.
        states: list of one `(batch, *features)` tensor: the number of steps that a
            feature has waited, or -1 once it has fired.

    Output shape:
        `(batch, *features)`: `1 / dt` at the spike, 0 elsewhere.

    Raises:
        ValueError: for arguments that `LatencyEncoder` refuses.

    Example:
        >>> import keras
        >>> cell = LatencyEncoderCell(0.005)
        >>> layer = keras.layers.RNN(cell, return_sequences=True)
        >>> layer(0.4 * keras.ops.ones((1, 4, 1)))[0, :, 0].shape == (4,)
        True

    Reference:
        Hopfield (1995), *Pattern recognition computation using action potential timing
        for stimulus representation*, Nature 376.
    """

    state_names = ("waited",)

    def __init__(
        self,
        tau: float = 0.01,
        threshold: float = 0.01,
        code: str = "linear",
        dt: float = 0.001,
        **kwargs: Any,
    ):
        super().__init__(dt, **kwargs)
        self.tau = _positive("tau", tau, " of seconds")
        if not is_number(threshold) or not 0 < threshold < 1:
            raise ValueError(
                "threshold is a value between 0 and 1 that never fires, nor does any"
                f" below it; received {threshold!r}."
            )
        if code not in CODES:
            raise ValueError(f"code is one of {CODES}; received {code!r}.")
        self.threshold = float(threshold)
        self.code = code

    def latency(self, x):
        """Time in seconds from the start to the spike of a value `x`.

        A value that never fires, at the threshold or below, has that of a value just
        above it.
        """
        x = ops.maximum(x, self.threshold * (1 + 1e-6))
        if self.code == "linear":
            return self.tau * (1 - ops.minimum(x, 1.0))
        return -self.tau * precise("log1p", -self.threshold / x)

    def initial_state(self, batch_size):
        return [ops.zeros((batch_size, *self.features), dtype=self.state_dtype)]

    def _due(self, x, step):
        """Whether the latency is over at a step, and a smooth form of being just so."""
        steps = ops.maximum(self.latency(x) * self.height, 1.0)
        fires = ops.cast(x > self.threshold, x.dtype)
        smooth = fires * ops.relu(1 - ops.abs(steps - step))
        return ops.logical_and(step >= steps - _SLACK, fires > 0), smooth

    def program(self, training=False):
        def step(p, x, state):
            (waited,) = state
            due, smooth = self._due(x[0], ops.stop_gradient(waited) + 1)
            waiting = waited >= 0
            spikes = ops.cast(ops.logical_and(due, waiting), waited.dtype)
            kept = ops.logical_and(waiting, ops.logical_not(due))
            smooth = smooth * ops.cast(waiting, smooth.dtype)
            y = _with_slope(spikes, smooth, training) * self.height
            return y, [ops.where(kept, waited + 1, -1.0)]

        return step, {}

    def sequence(self, inputs, state, training, unroll):
        (waited,) = state
        start = ops.stop_gradient(waited)[:, None]
        steps = start + ops.cumsum(ops.ones_like(inputs), axis=1)
        waiting = ops.cast(start >= 0, inputs.dtype)
        due, smooth = self._due(inputs, steps)
        due = ops.cast(due, inputs.dtype) * waiting
        # How often it has been due before tells whether it still waits.
        before = ops.cumsum(due, axis=1) - due
        waiting = waiting * ops.cast(before == 0, inputs.dtype)
        y = _with_slope(due * waiting, smooth * waiting, training) * self.height
        kept = waiting[:, -1] * (1 - due[:, -1]) > 0
        return y, [ops.where(kept, steps[:, -1], -1.0)]

    def get_config(self):
        return {
            **super().get_config(),
            "tau": self.tau,
            "threshold": self.threshold,
            "code": self.code,
        }


# --- delta ----------------------------------------------------------------------


@_register
class DeltaEncoderCell(_EncoderCell):
    """One step of send-on-delta.

    Args:
        **kwargs: the arguments of `DeltaEncoder` that are not those of an RNN layer,
            and those of `keras.layers.Layer`.

    Call arguments:
        inputs: `(batch, *features)`. The signal.
        states: list of one `(batch, *features)` tensor: the level that the spikes sent
            so far add up to.

    Output shape:
        `(batch, *features)`: a whole number of spikes, divided by `dt`, negative where
        the signal falls. With `split=True` the last axis is twice as long.

    Raises:
        ValueError: for arguments that `DeltaEncoder` refuses.

    Example:
        >>> import keras
        >>> layer = keras.layers.RNN(DeltaEncoderCell(0.25))
        >>> float(layer(keras.ops.ones((1, 1, 1)))[0, 0])
        4000.0

    Reference:
        Miskowicz (2006), *Send-on-delta concept: an event-based data reporting
        strategy*, Sensors 6(1).
    """

    state_names = ("level",)

    def __init__(
        self,
        threshold: float = 0.1,
        initial_level: float = 0.0,
        split: bool = False,
        dt: float = 0.001,
        **kwargs: Any,
    ):
        super().__init__(dt, **kwargs)
        self.threshold = _positive("threshold", threshold, ", the change of one spike")
        if not is_number(initial_level) or not np.isfinite(initial_level):
            raise ValueError(
                "initial_level is the finite number at which the level starts;"
                f" received {initial_level!r}."
            )
        self.initial_level = float(initial_level)
        self.split = bool(split)

    @property
    def output_size(self):
        if self._features is None:
            return None
        *lead, last = self.features
        size = (*lead, 2 * last if self.split else last)
        return size[0] if len(size) == 1 else size

    def initial_state(self, batch_size):
        shape = (batch_size, *self.features)
        return [ops.full(shape, self.initial_level, dtype=self.state_dtype)]

    def program(self, training=False):
        def step(p, x, state):
            (level,) = state
            change = (x[0] - level) / self.threshold
            whole = ops.trunc(change + _SLACK * ops.sign(change))
            count = _with_slope(whole, change, training)
            sent = count
            if self.split:
                # Of the change, whose slope is there without a spike as well; where
                # nothing changes, each has a half of it.
                size = ops.abs(change)
                ways = ops.concatenate([size + change, size - change], axis=-1) / 2
                sent = _with_slope(ops.trunc(ways + _SLACK), ways, training)
            return sent * self.height, [level + self.threshold * count]

        return step, {}

    def get_config(self):
        return {
            **super().get_config(),
            "threshold": self.threshold,
            "initial_level": self.initial_level,
            "split": self.split,
        }


# --- layers ---------------------------------------------------------------------


class _Signature:
    """The signature of a `SequenceLayer`, with `n_steps`."""

    def __get__(self, instance, owner) -> inspect.Signature:
        if instance is not None:
            # The signature of calling the layer is that of __call__.
            raise AttributeError("__signature__")
        known = super(_Encoder, owner).__signature__  # type: ignore[misc]
        *named, rest = known.parameters.values()
        keyword = inspect.Parameter.KEYWORD_ONLY
        extra = inspect.Parameter("n_steps", keyword, default=None)
        return inspect.Signature([*named, extra, rest])


class _Encoder(SequenceLayer):
    """An encoder of sequences or, with `n_steps`, of static values."""

    __signature__ = _Signature()

    def __init__(self, *args, n_steps: int | None = None, **kwargs):
        super().__init__(*args, **kwargs)
        present = None if n_steps is None else Repeat(n_steps)
        # Not an attribute that Keras would track: it has nothing to save.
        object.__setattr__(self, "_present", present)
        self.n_steps = None if present is None else present.n_steps

    def _sequence_shape(self, shape):
        return shape if self._present is None else (shape[0], self.n_steps, *shape[1:])

    def build(self, sequences_shape, initial_state_shape=None):
        if self._present is not None and len(sequences_shape) < 2:
            raise ValueError(
                f"{self.name} presents static values for {self.n_steps} steps, and"
                " needs inputs of shape (batch, *features); received"
                f" {tuple(sequences_shape)}. Add an axis with keras.layers.Reshape."
            )
        super().build(self._sequence_shape(sequences_shape), initial_state_shape)
        if self._present is not None:
            self.input_spec = keras.InputSpec(shape=(None, *self.cell.features))

    def compute_output_shape(self, sequences_shape, initial_state_shape=None):
        return super().compute_output_shape(self._sequence_shape(sequences_shape))

    def compute_output_spec(self, sequences, *args, **kwargs):
        self._check_mask(kwargs.get("mask"))
        shape = self._sequence_shape(tuple(sequences.shape))
        sequences = keras.KerasTensor(shape, dtype=sequences.dtype)
        return super().compute_output_spec(sequences, *args, **kwargs)

    def compute_mask(self, sequences, mask=None):
        return super().compute_mask(sequences, mask if self.n_steps is None else None)

    def call(self, sequences, initial_state=None, mask=None, training=False):
        self._check_mask(mask)
        if self._present is not None:
            sequences = self._present(sequences)
        return super().call(sequences, initial_state, mask, training)

    def _check_mask(self, mask):
        if self._present is not None and mask is not None:
            raise ValueError(
                f"{self.name} presents static values for {self.n_steps} steps, so a"
                " mask has no time axis to act on. Leave the mask out, or give the"
                " encoder a sequence and n_steps=None."
            )

    def get_config(self):
        return {**super().get_config(), "n_steps": self.n_steps}


@_register
class PoissonEncoder(_Encoder):
    """Poisson spikes of given rates: independent in every step and feature.

    The number of spikes in a step has mean and variance `max_rate * x * dt`, and may
    be more than 1. Its generator is part of the state, so that a seed gives the same
    spikes on every backend, compiled or not. In training the gradient is that of the
    mean.

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


@_register
class BernoulliEncoder(_Encoder):
    """Spikes with given probabilities: at most one in a step, independent of others.

    Its generator is part of the state, so that a seed gives the same spikes on every
    backend, compiled or not. In training the gradient is that of the probability.

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


@_register
class LatencyEncoder(_Encoder):
    """One spike per feature, the earlier the larger the value.

    A value `x` fires in the first step `n` with `n * dt >= t(x)`, where

    - `code="linear"`: `t = tau * (1 - x)`, and 0 for values above 1;
    - `code="logarithmic"`: `t = tau * ln(x / (x - threshold))`, the time in which a
      membrane with time constant `tau`, driven by `x`, reaches `threshold`. It has no
      bound: of values just above the threshold the spike may come too late to be seen.

    Values up to `threshold` do not fire. In a sequence the present value counts: a
    feature fires once, at the first step that has its latency behind it. In training a
    spike counts as spread linearly over the two steps next to its time.

    Args:
        tau: float > 0, seconds. As in the formulas. Defaults to 0.01.
        threshold: float between 0 and 1. Defaults to 0.01.
        code: `"linear"` (default) or `"logarithmic"`.
        dt: float, seconds. Length of one step. Defaults to 0.001.
        n_steps: int. Number of steps for which static values are presented, as by
            `Repeat`. Defaults to None: the input is a sequence.
        return_sequences, return_state, go_backwards, stateful, unroll,
        zero_output_for_mask: as in `keras.layers.LSTM`; all default to False. A
            `stateful` layer that has fired does so again after `reset_state()` only.
        save_state: bool. Store the current state of a stateful layer with the
            weights. Defaults to False.

    Call arguments:
        sequences: `(batch, time, *features)`, or `(batch, *features)` with `n_steps`.
            Values, usually from 0 to 1.
        initial_state: list of states, as returned with `return_state=True`.
        mask: `(batch, time)` booleans.
        training: bool.

    Output shape:
        `(batch, time, *features)` with `return_sequences=True`, else
        `(batch, *features)`, the last step. With `return_state=True`, the
        states follow.

    Raises:
        ValueError: for a `tau` or `dt` that is not positive, a `threshold` outside
            (0, 1), another code or number of steps, inputs without a time axis, or a
            mask together with `n_steps`.

    Example:
        >>> import keras
        >>> layer = LatencyEncoder(0.004, n_steps=4, return_sequences=True)
        >>> spikes = layer(keras.ops.convert_to_tensor([[1.0, 0.5, 0.25]]))
        >>> keras.ops.convert_to_numpy(keras.ops.argmax(spikes, axis=1)).tolist()
        [[0, 1, 2]]

    Reference:
        Hopfield (1995), *Pattern recognition computation using action potential timing
        for stimulus representation*, Nature 376; Gerstner and Kistler (2002), *Spiking
        Neuron Models*, Cambridge University Press, section 4.1 (the time to reach the
        threshold).
    """

    cell_class = LatencyEncoderCell


@_register
class DeltaEncoder(SequenceLayer):
    """Spikes that say how a signal has changed: send-on-delta.

    A spike is sent for each whole `threshold` by which the signal has moved from the
    level of the last spike, negative where it falls, and moves the level by as much. So
    the level, which `decode` finds from the spikes alone, stays within `threshold` of
    the signal. A fast signal makes several spikes in a step. A change that rounding has
    left up to a thousandth short of a threshold counts as whole.

    In training `trunc` counts as the identity, and spikes as differences of the signal:
    those of a rise as spikes up, and those of a fall as spikes down.

    Args:
        threshold: float > 0. Change of the signal that one spike stands for.
            Defaults to 0.1.
        initial_level: float. Where the level starts. Defaults to 0.
        split: bool. Give spikes up and spikes down as features of their own, both
            positive: the last axis has those up first, and then those down. Defaults
            to False.
        dt: float, seconds. Length of one step. Defaults to 0.001.
        return_sequences, return_state, go_backwards, stateful, unroll,
        zero_output_for_mask: as in `keras.layers.LSTM`; all default to False.
        save_state: bool. Store the current state of a stateful layer with the
            weights. Defaults to False.

    Call arguments:
        sequences: `(batch, time, *features)`. The signal.
        initial_state: list of one tensor, the level, as returned with
            `return_state=True`.
        mask: `(batch, time)` booleans.
        training: bool.

    Output shape:
        `(batch, time, *features)` with `return_sequences=True`, else
        `(batch, *features)`, the last step; the last axis is twice as long with
        `split=True`. With `return_state=True`, the level follows.

    Raises:
        ValueError: for a `threshold` or `dt` that is not positive, a level that is not
            a number, or inputs without a time axis.

    Example:
        >>> import keras
        >>> layer = DeltaEncoder(0.5, return_sequences=True)
        >>> signal = keras.ops.convert_to_tensor([[[0.6], [0.9], [1.7], [0.0]]])
        >>> spikes = layer(signal)
        >>> keras.ops.convert_to_numpy(spikes[0, :, 0]).tolist()
        [1000.0, 0.0, 2000.0, -3000.0]
        >>> keras.ops.convert_to_numpy(layer.decode(spikes)[0, :, 0]).round(3).tolist()
        [0.5, 0.5, 1.5, 0.0]

    Reference:
        Miskowicz (2006), *Send-on-delta concept: an event-based data reporting
        strategy*, Sensors 6(1); Lichtsteiner, Posch and Delbruck (2008), *A 128x128 120
        dB 15 us latency asynchronous temporal contrast vision sensor*, IEEE J.
        Solid-State Circuits 43(2) (the same in a pixel, which `split` follows).
    """

    cell_class = DeltaEncoderCell

    def decode(self, spikes):
        """The level after each step, from the spikes since the start.

        Args:
            spikes: `(batch, time, *features)`, what the layer returns with
                `return_sequences=True`.

        Returns:
            `(batch, time, *features)`, within `threshold` of the signal, in the dtype
            of the level.
        """
        cell = self.cell
        # In half precision the sum of many spikes overflows, or has too few digits.
        count = ops.cast(spikes, cell.state_dtype) / cell.height
        count = _with_slope(ops.round(count), count, training=True)
        if cell.split:
            up, down = ops.split(count, 2, axis=-1)
            count = up - down
        return cell.initial_level + cell.threshold * ops.cumsum(count, axis=1)
