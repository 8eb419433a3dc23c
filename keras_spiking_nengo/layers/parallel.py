"""Spiking neurons without a recurrence: what they sum over time is trained.

A membrane without a reset is a linear map of its inputs over time, and so is computed
for all steps at once. With `x` the inputs, `W` the kernel and `B` the threshold,

    h[t] = sum_s W[t, s] x[s];   a spike where h[t] > B[t]

`ParallelSpikingNeurons` has a number for each pair of steps, or for those that are less
than `order` steps apart. `SlidingParallelSpikingNeurons` has one for each of the last
`order` steps, the same at all times:

    h[t] = sum_k W[k] x[t - order + 1 + k];   a spike where h[t] > B
"""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_spiking_nengo.budgets import Bounded, spend
from keras_spiking_nengo.checks import (
    check_float,
    check_policy,
    checked_count,
    checked_dt,
    checked_number,
    from_keras,
    positive,
)
from keras_spiking_nengo.layers.base import Cell, SequenceLayer, check_trainable
from keras_spiking_nengo.layers.neurons import spike_of
from keras_spiking_nengo.layers.parameters import checked_surrogate
from keras_spiking_nengo.layers.sizes import check_mask, static_features
from keras_spiking_nengo.saving import registered

__all__ = [
    "ParallelSpikingNeurons",
    "SlidingParallelSpikingNeurons",
    "SlidingParallelSpikingNeuronsCell",
    "over_time",
    "slid",
]

# Steps up to which a sum is written out; a convolution of more is faster.
_WRITTEN_OUT = 32


def over_time(kernel, x):
    """`kernel`, `(steps, steps)`, times the steps of `x`, `(batch, steps, *features)`.

    Example:
        >>> over_time(ops.ones((2, 2)), ops.ones((1, 2, 3))).shape == (1, 2, 3)
        True
    """
    flat = ops.reshape(x, (-1, x.shape[1], int(np.prod(x.shape[2:]))))
    return ops.reshape(ops.matmul(kernel, flat), (-1, *x.shape[1:]))


def slid(kernel, past):
    """`kernel`, `(order,)`, over the steps of `past`.

    Args:
        kernel: the oldest step first.
        past: `(batch, order - 1 + time, *features)`, earlier inputs first.

    Returns:
        `(batch, time, *features)`.

    Example:
        >>> slid(ops.ones((2,)), ops.ones((1, 5, 3))).shape == (1, 4, 3)
        True
    """
    order = kernel.shape[0]
    if order <= _WRITTEN_OUT:
        ends = [k + 1 - order or None for k in range(order)]
        return sum(kernel[k] * past[:, k:end] for k, end in enumerate(ends))
    features = past.shape[2:]
    flat = ops.reshape(past, (*ops.shape(past)[:2], int(np.prod(features))))
    filters = kernel[:, None, None] * ops.ones((1, flat.shape[-1], 1), kernel.dtype)
    y = ops.depthwise_conv(flat, filters, 1, "valid", "channels_last")
    return ops.reshape(y, (*ops.shape(y)[:2], *features))


# --- what the layers have in common -------------------------------------------

_FROM_KERAS = {
    "initializer": keras.initializers,
    "regularizer": keras.regularizers,
    "constraint": keras.constraints,
}


def _module_of(name: str):
    return _FROM_KERAS[name.rpartition("_")[2]]


class Weighted:
    """Mixin of a Keras layer with a kernel over time, a threshold, and spikes."""

    def _take(self, dt, surrogate, amplitude, **options: Any) -> None:
        """Checks and keeps arguments."""
        self.dt = checked_dt(dt)
        self.surrogate = checked_surrogate(surrogate)
        self.amplitude = positive("amplitude", amplitude)
        self._weight_options = {
            name: from_keras(name, _module_of(name).get, value)
            for name, value in options.items()
        }

    @property
    def height(self) -> float:
        """Of a spike, which lasts one step."""
        return self.amplitude / self.dt

    def _added(self, name: str, shape: tuple[int, ...], default=None):
        options = self._weight_options
        return self.add_weight(  # type: ignore[attr-defined]
            name=name,
            shape=shape,
            dtype=self.state_dtype,  # type: ignore[attr-defined]
            initializer=options[f"{name}_initializer"] or default,
            regularizer=options.get(f"{name}_regularizer"),
            constraint=options.get(f"{name}_constraint"),
            autocast=False,
        )

    def _spikes(self, h, threshold, training):
        """What is sent where `h` is above the threshold."""
        return spike_of(self, training).spike(h - threshold) * self.height

    def _kept(self) -> dict[str, Any]:
        """Arguments for the configuration."""
        return {
            "dt": self.dt,
            "surrogate": keras.saving.serialize_keras_object(self.surrogate),
            "amplitude": self.amplitude,
            **{
                name: _module_of(name).serialize(value)
                for name, value in self._weight_options.items()
            },
        }


# --- a number for each pair of steps ------------------------------------------


@registered()
class ParallelSpikingNeurons(Bounded, Weighted, keras.layers.Layer):
    """Spiking neurons that see all steps at once: PSN, masked or not.

    `h = W x` over time, with trained weights between all steps, and a spike in each
    step where `h` is above its trained threshold. All neurons of the layer share them.
    There is no reset, and nothing is computed step by step. Without an `order` a step
    sees later ones; the layer is for sequences of one length.
    `SlidingParallelSpikingNeurons` runs over any number of steps, and in streams.

    Args:
        order: int. A step sees itself and the `order - 1` steps before it, and no
            others. Defaults to None: all steps see all.
        dt: float, seconds. Length of one step. Defaults to 0.001.
        surrogate: stands in for the derivative of the spike: a
            `ksn.surrogates.Surrogate`, or a name such as `"arctan"`. Defaults to
            `ksn.surrogates.Arctan()`.
        amplitude: float > 0. A spike is `amplitude / dt` high. Defaults to 1.
        masking: float from 0 to 1. How much of the weights between other steps is
            taken away, with an `order`. It is a weight, `layer.masking`, that training
            may start with at 0 and assign 1 in the end. Defaults to 1.
        kernel_initializer: Defaults to None, uniform draws up to the inverse root of
            the number of steps.
        threshold_initializer: Defaults to `"ones"`.
        kernel_regularizer, kernel_constraint: as in `keras.layers.Dense`.

    Call arguments:
        inputs: `(batch, time, *features)`, always with as many steps.
        mask: `(batch, time)` booleans. A step that is False is seen by no other, and
            sends no spike.
        training: bool.

    Output shape:
        `(batch, time, *features)`: `amplitude / dt` at a spike, 0 elsewhere.

    Raises:
        ValueError: for an `order` that is not positive, a `masking` beyond its range,
            or without an order, and inputs with an unknown number of steps.

    Example:
        >>> import keras
        >>> layer = ParallelSpikingNeurons(kernel_initializer="identity")
        >>> y = layer(keras.ops.array([[[0.5], [2.0]]]))
        >>> keras.ops.convert_to_numpy(y).tolist()
        [[[0.0], [1000.0]]]

    Reference:
        Fang et al. (2023), *Parallel spiking neurons with high efficiency and ability
        to learn long-term dependencies*, NeurIPS.
    """

    def __init__(
        self,
        order: int | None = None,
        dt: float = 0.001,
        surrogate: Any = None,
        amplitude: float = 1.0,
        masking: float = 1.0,
        kernel_initializer: Any = None,
        threshold_initializer: Any = "ones",
        kernel_regularizer: Any = None,
        kernel_constraint: Any = None,
        **kwargs: Any,
    ):
        check_policy(kwargs.get("dtype"))
        check_trainable(kwargs.get("trainable", True))
        # Inputs are cast here, to the dtype of the weights.
        super().__init__(autocast=False, **kwargs)
        self.supports_masking = True
        self.order = None if order is None else checked_count("order", order)
        self.initial_masking = checked_number("masking", masking, 0, 1)
        if order is None and self.initial_masking != 1:
            raise ValueError(
                "masking is for weights between steps that are `order` or more apart;"
                f" received masking={masking!r} without an order."
            )
        self._take(
            *(dt, surrogate, amplitude),
            kernel_initializer=kernel_initializer,
            threshold_initializer=threshold_initializer,
            kernel_regularizer=kernel_regularizer,
            kernel_constraint=kernel_constraint,
        )

    @property
    def state_dtype(self) -> str:
        """float64 under a float64 policy, else float32, or spikes are lost."""
        return "float64" if self.variable_dtype == "float64" else "float32"

    def build(self, input_shape):
        if len(input_shape) < 3 or not isinstance(input_shape[1], int):
            raise ValueError(
                f"{self.name} needs inputs of shape (batch, time, *features) with a"
                f" known number of steps; received {tuple(input_shape)}. Give"
                " keras.Input a time dimension, or use SlidingParallelSpikingNeurons."
            )
        static_features(self.name, input_shape[2:])
        steps = input_shape[1]
        spend(16 * steps**2, f"A weight for each pair of {steps} steps")
        limit = keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform")
        self.kernel = self._added("kernel", (steps, steps), limit)
        self.threshold = self._added("threshold", (steps,), "ones")
        self.masking = None
        if self.order is not None:
            self.masking = self.add_weight(
                name="masking",
                shape=(),
                dtype=self.state_dtype,
                initializer=keras.initializers.Constant(self.initial_masking),
                trainable=False,
                autocast=False,
            )
        self.input_spec = keras.InputSpec(shape=(None, *input_shape[1:]))
        self.built = True

    def weights_over_time(self):
        """The kernel, `(time, time)`, without what is masked."""
        kernel = ops.convert_to_tensor(self.kernel)
        if self.order is None:
            return kernel
        later = np.subtract.outer(*[np.arange(kernel.shape[0])] * 2)
        seen = ((later >= 0) & (later < self.order)).astype(self.state_dtype)
        share, seen = ops.convert_to_tensor(self.masking), ops.convert_to_tensor(seen)
        return kernel * (share * seen + (1 - share))

    def call(self, inputs, mask=None, training=False):
        check_float("inputs", inputs.dtype, "Give the parts as features.")
        check_mask(self.name, mask, inputs.shape)
        x = ops.cast(inputs, self.state_dtype)
        axes = (1,) * (len(x.shape) - 2)
        shown = None
        if mask is not None:
            shape = (-1, x.shape[1], *axes)
            shown = ops.reshape(ops.cast(mask, "bool"), shape)
            x = ops.where(shown, x, 0.0)
        threshold = ops.reshape(self.threshold, (x.shape[1], *axes))
        h = over_time(self.weights_over_time(), x)
        y = self._spikes(h, threshold, training)
        y = y if shown is None else ops.where(shown, y, 0.0)
        return ops.cast(y, self.compute_dtype)

    def compute_output_shape(self, input_shape):
        return tuple(input_shape)

    def get_config(self):
        masking = {"order": self.order, "masking": self.initial_masking}
        return {**super().get_config(), **masking, **self._kept()}


# --- a number for each of the last steps ---------------------------------------


def _halves(shape, dtype=None):
    """1 for the present step, and half of it for each step before."""
    return ops.cast(0.5 ** np.arange(shape[0] - 1, -1.0, -1.0), dtype)


@registered()
class SlidingParallelSpikingNeuronsCell(Weighted, Cell):
    """One step of neurons that sum their last inputs.

    Args:
        **kwargs: the arguments of `SlidingParallelSpikingNeurons` that are not those of
            an RNN layer, and those of `keras.layers.Layer`.

    Call arguments:
        inputs: `(batch, *features)`.
        states: list of one `(batch, order - 1, *features)` tensor, the last inputs,
            with the oldest first; empty with an `order` of 1.

    Output shape:
        `(batch, *features)`: `amplitude / dt` at a spike, 0 elsewhere.

    Raises:
        ValueError: for arguments that `SlidingParallelSpikingNeurons` refuses.

    Example:
        >>> import keras
        >>> cell = SlidingParallelSpikingNeuronsCell(order=3)
        >>> layer = keras.layers.RNN(cell, return_sequences=True)
        >>> layer(keras.ops.ones((1, 50, 3))).shape == (1, 50, 3)
        True

    Reference:
        Fang et al. (2023), *Parallel spiking neurons with high efficiency and ability
        to learn long-term dependencies*, NeurIPS.
    """

    sends_spikes = True

    def __init__(
        self,
        order: int = 4,
        dt: float = 0.001,
        surrogate: Any = None,
        amplitude: float = 1.0,
        kernel_initializer: Any = None,
        threshold_initializer: Any = "ones",
        kernel_regularizer: Any = None,
        kernel_constraint: Any = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.order = checked_count("order", order)
        spend(16 * self.order, f"The last {self.order} inputs")
        self.state_names = ("past",) if self.order > 1 else ()
        self._take(
            *(dt, surrogate, amplitude),
            kernel_initializer=kernel_initializer,
            threshold_initializer=threshold_initializer,
            kernel_regularizer=kernel_regularizer,
            kernel_constraint=kernel_constraint,
        )

    def build(self, input_shape):
        super().build(input_shape)
        self.kernel = self._added("kernel", (self.order,), _halves)
        self.threshold = self._added("threshold", (), "ones")

    def state_shapes(self):
        return [(self.order - 1, *self.features)] * len(self.state_names)

    def initial_state(self, batch_size):
        return [
            ops.zeros((batch_size, *shape), dtype=self.state_dtype)
            for shape in self.state_shapes()
        ]

    def program(self, training=False):
        parameters = {
            "kernel": ops.convert_to_tensor(self.kernel),
            "threshold": ops.convert_to_tensor(self.threshold),
        }

        def step(p, x, state):
            past = ops.concatenate([*state, x[0][:, None]], axis=1)
            h = slid(p["kernel"], past)[:, 0]
            state = [past[:, 1:]] * len(state)
            return self._spikes(h, p["threshold"], training), state

        return step, parameters

    def sequence(self, inputs, state, training, unroll, whole=True):
        if unroll:
            return super().sequence(inputs, state, training, unroll)
        past = ops.concatenate([*state, inputs], axis=1)
        end = [past[:, 1 - self.order :]] * len(state)
        past = past if whole else past[:, -self.order :]
        h = slid(ops.convert_to_tensor(self.kernel), past)
        threshold = ops.convert_to_tensor(self.threshold)
        return self._spikes(h, threshold, training), end

    def last(self, inputs, state, training, unroll):
        return self.sequence(inputs, state, training, unroll, whole=False)

    def get_config(self):
        return {**super().get_config(), "order": self.order, **self._kept()}


@registered()
class SlidingParallelSpikingNeurons(SequenceLayer):
    """Spiking neurons that sum their last inputs, for any number of steps: sliding PSN.

    A spike is sent where the sum of the last `order` inputs, with a trained weight for
    each, is above a trained threshold. All neurons of the layer share them. There is no
    reset: a sequence is computed for all steps at once, and `step`, masks and states do
    the same step by step.

    Args:
        order: int. Number of inputs, the present one and those before it. Defaults
            to 4.
        dt: float, seconds. Length of one step. Defaults to 0.001.
        surrogate: stands in for the derivative of the spike: a
            `ksn.surrogates.Surrogate`, or a name such as `"arctan"`. Defaults to
            `ksn.surrogates.Arctan()`.
        amplitude: float > 0. A spike is `amplitude / dt` high. Defaults to 1.
        kernel_initializer: of `(order,)` weights, the oldest step first. Defaults to
            None: 1 for the present step, and half of it for each step before.
        threshold_initializer: Defaults to `"ones"`.
        kernel_regularizer, kernel_constraint: as in `keras.layers.Dense`.
        return_sequences, return_state, go_backwards, stateful, unroll,
        zero_output_for_mask: as in `keras.layers.LSTM`; all default to False.
        save_state: bool. Store the current state of a stateful layer with the
            weights. Defaults to False.

    Call arguments:
        sequences: `(batch, time, *features)`.
        initial_state: list of one tensor, the last inputs, as returned with
            `return_state=True`.
        mask: `(batch, time)` booleans. A step that is False leaves the last inputs as
            they are, and sends no spike.
        training: bool.

    Output shape:
        `(batch, time, *features)` with `return_sequences=True`, else
        `(batch, *features)`, the last step: `amplitude / dt` at a spike, 0 elsewhere.
        With `return_state=True`, the last inputs follow,
        `(batch, order - 1, *features)`.

    Raises:
        ValueError: for an `order`, `dt` or `amplitude` that is not positive.

    Example:
        >>> import keras
        >>> layer = SlidingParallelSpikingNeurons(order=2, return_sequences=True)
        >>> y = layer(keras.ops.array([[[0.6], [0.8], [0.5]]]))
        >>> keras.ops.convert_to_numpy(y).tolist()
        [[[0.0], [1000.0], [0.0]]]

    Reference:
        Fang et al. (2023), *Parallel spiking neurons with high efficiency and ability
        to learn long-term dependencies*, NeurIPS.
    """

    cell_class = SlidingParallelSpikingNeuronsCell
