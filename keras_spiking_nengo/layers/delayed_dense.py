"""Weights whose signals take their time, which is trained as well.

With `W` the kernel and `w_ij` the taps of a synapse's delay (`dynamics/delays.py`),

    y_j[t] = b_j + sum_i W_ij sum_k w_ij[k] x_i[t - k]

A delay for each axon has `w_i` in their place, one for each dendrite `w_j`.
"""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_spiking_nengo.budgets import spend
from keras_spiking_nengo.checks import (
    checked_count,
    checked_dt,
    checked_switch,
    from_keras,
    one_of,
    positive,
)
from keras_spiking_nengo.dynamics.delays import correlate, correlate_all
from keras_spiking_nengo.layers.base import Cell, SequenceLayer
from keras_spiking_nengo.layers.parameters import warn_of_seconds
from keras_spiking_nengo.layers.sizes import vector_size
from keras_spiking_nengo.layers.trained_delays import TrainedDelays, checked_longest
from keras_spiking_nengo.saving import registered

__all__ = ["DelayedDense", "DelayedDenseCell"]

_PLACES = ("synapse", "axon", "dendrite")
_MODULES = {
    "initializer": keras.initializers,
    "regularizer": keras.regularizers,
    "constraint": keras.constraints,
}


@registered()
class DelayedDenseCell(Cell):
    """One step of weights with delays.

    Args:
        **kwargs: the arguments of `DelayedDense` that are not those of an RNN layer,
            and those of `keras.layers.Layer`.

    Call arguments:
        inputs: `(batch, size)`.
        states: list of one `(batch, steps, size)` tensor, the last inputs, with the
            oldest first; with a delay for each dendrite, `(batch, steps, units)`, their
            products with the kernel.

    Output shape:
        `(batch, units)`.

    Raises:
        ValueError: for arguments that `DelayedDense` refuses.

    Example:
        >>> import keras
        >>> cell = DelayedDenseCell(4, max_delay=0.01)
        >>> layer = keras.layers.RNN(cell, return_sequences=True)
        >>> layer(keras.ops.ones((1, 50, 3))).shape == (1, 50, 4)
        True

    Reference:
        Hammouamri, Khalfaoui-Hassani and Masquelier (2024), *Learning delays in spiking
        neural networks using dilated convolutions with learnable spacings*, ICLR.
    """

    state_names = ("past",)

    def __init__(
        self,
        units: int,
        max_delay: float,
        dt: float = 0.001,
        per: str = "synapse",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        delay_initializer: Any = None,
        bias_initializer: Any = "zeros",
        sigma: float | None = None,
        kernel_regularizer: Any = None,
        delay_regularizer: Any = None,
        bias_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.units = checked_count("units", units, "It counts outputs.")
        self.dt = checked_dt(dt)
        self.longest = checked_longest("max_delay", max_delay, self.dt)
        self.max_delay = float(max_delay)
        spend(8 * self.longest, f"A delay of {self.longest} steps")
        self.per = one_of("per", per, _PLACES)
        self.use_bias = checked_switch("use_bias", use_bias)
        self.sigma = None if sigma is None else positive("sigma", sigma, "s")
        warn_of_seconds(self.dt, max_delay=self.max_delay, sigma=self.sigma)
        self._of_keras = {
            "kernel_initializer": kernel_initializer,
            "delay_initializer": delay_initializer,
            "bias_initializer": bias_initializer,
            "kernel_regularizer": kernel_regularizer,
            "delay_regularizer": delay_regularizer,
            "bias_regularizer": bias_regularizer,
            "kernel_constraint": kernel_constraint,
            "bias_constraint": bias_constraint,
        }
        for name, value in self._of_keras.items():
            get = _MODULES[name.rpartition("_")[2]].get
            self._of_keras[name] = from_keras(name, get, value)

    # --- weights ----------------------------------------------------------------

    def build(self, input_shape):
        super().build(input_shape)
        size = vector_size(self.name, self.features)
        shapes = {
            "synapse": (size, self.units),
            "axon": (size,),
            "dendrite": (self.units,),
        }
        shape = shapes[self.per]
        spend(8 * (self.longest + 2) * size * self.units, "A kernel with delays")
        self.kernel = self._added("kernel", (size, self.units))
        self.delays = TrainedDelays(
            *(self, "delay", shape, self.longest, self._of_keras["delay_initializer"]),
            sigma=self.max_delay / 2 if self.sigma is None else self.sigma,
            regularizer=self._of_keras["delay_regularizer"],
        )
        self.bias = self._added("bias", (self.units,)) if self.use_bias else None

    def _added(self, name: str, shape: tuple[int, ...]):
        return self.add_weight(
            name=name,
            shape=shape,
            dtype=self.state_dtype,
            initializer=self._of_keras[f"{name}_initializer"],
            regularizer=self._of_keras[f"{name}_regularizer"],
            constraint=self._of_keras[f"{name}_constraint"],
            autocast=False,
        )

    def round_delays(self) -> None:
        """Makes the delays whole steps, which are not trained any more."""
        self.delays.round()

    # --- state ------------------------------------------------------------------

    @property
    def output_size(self):
        return self.units

    def state_shapes(self):
        size = self.units if self.per == "dendrite" else self.features[0]
        return [(self.longest, size)]

    def initial_state(self, batch_size):
        return [
            ops.zeros((batch_size, *shape), dtype=self.state_dtype)
            for shape in self.state_shapes()
        ]

    # --- running ----------------------------------------------------------------

    def parameters(self) -> dict[str, Any]:
        """What a step computes with, by name."""
        taps, kernel = self.delays.taps(), ops.convert_to_tensor(self.kernel)
        bias = 0.0 if self.bias is None else ops.convert_to_tensor(self.bias)
        if self.per == "synapse":
            return {"filters": taps * kernel, "bias": bias}
        return {"filters": taps, "kernel": kernel, "bias": bias}

    def program(self, training=False):
        def step(p, x, state):
            entering = _product(p, x[0]) if self.per == "dendrite" else x[0]
            past = ops.concatenate([state[0], entering[:, None]], axis=1)
            if self.per == "synapse":
                rows = (self.longest + 1) * self.features[0]
                filters = ops.reshape(p["filters"], (rows, self.units))
                y = ops.matmul(ops.reshape(past, (-1, rows)), filters)
            else:
                y = ops.sum(past * p["filters"], axis=1)
            y = _product(p, y) if self.per == "axon" else y
            return y + p["bias"], [past[:, 1:]]

        return step, self.parameters()

    def sequence(self, inputs, state, training, unroll, whole=True):
        if unroll:
            return super().sequence(inputs, state, training, unroll)
        p = self.parameters()
        entering = _product(p, inputs) if self.per == "dendrite" else inputs
        past = ops.concatenate([state[0], entering], axis=1)
        end = past[:, -self.longest :]
        past = past if whole else past[:, -self.longest - 1 :]
        through = correlate_all if self.per == "synapse" else correlate
        y = through(past, p["filters"])
        y = _product(p, y) if self.per == "axon" else y
        return y + p["bias"], [end]

    def last(self, inputs, state, training, unroll):
        return self.sequence(inputs, state, training, unroll, whole=False)

    def get_config(self):
        names = ("units", "max_delay", "dt", "per", "use_bias", "sigma")
        return {
            **super().get_config(),
            **{name: getattr(self, name) for name in names},
            **{
                name: _MODULES[name.rpartition("_")[2]].serialize(value)
                for name, value in self._of_keras.items()
            },
        }


def _product(p: dict[str, Any], x):
    return ops.matmul(x, p["kernel"])


@registered()
class DelayedDense(SequenceLayer):
    """A `keras.layers.Dense` whose signals take their time, which is trained as well.

    While delays are trained, each is a Gaussian over the steps around it, so that its
    error has a gradient. `ksn.callbacks.NarrowDelays` makes it narrow, and
    `round_delays()` makes it a whole number of steps. A sequence is one convolution;
    `step`, masks and states do the same step by step.

    Args:
        units: int. Size of the output.
        max_delay: float, seconds. The longest delay, in whole steps.
        dt: float, seconds. Length of one step. Defaults to 0.001.
        per: what has a delay of its own: `"synapse"`, each weight; `"axon"`, each
            input; `"dendrite"`, each output. Defaults to `"synapse"`.
        use_bias: bool. Add a vector, without delay. Defaults to True.
        kernel_initializer, bias_initializer: as in `keras.layers.Dense`.
        delay_initializer: of delays in seconds, which are clipped to the range from 0
            to `max_delay`. Defaults to None, a uniform draw from it.
        sigma: float, seconds. Standard deviation of the Gaussians to start from.
            Defaults to None, half of `max_delay`.
        kernel_regularizer, bias_regularizer, kernel_constraint, bias_constraint: as in
            `keras.layers.Dense`.
        delay_regularizer: of the delays as shares of `max_delay`.
        return_sequences, return_state, go_backwards, stateful, unroll,
        zero_output_for_mask: as in `keras.layers.LSTM`; all default to False.
        save_state: bool. Store the current state of a stateful layer with the
            weights. Defaults to False.

    Call arguments:
        sequences: `(batch, time, size)`.
        initial_state: list of one tensor, the last inputs, as returned with
            `return_state=True`.
        mask: `(batch, time)` booleans.

    Output shape:
        `(batch, time, units)` with `return_sequences=True`, else `(batch, units)`, the
        last step. With `return_state=True`, the last inputs follow,
        `(batch, steps, size)`, or for dendrites their products with the kernel,
        `(batch, steps, units)`.

    Raises:
        ValueError: for a `max_delay` that is not positive or no whole number of steps,
            another `per`, or features that are no vectors.

    Example:
        >>> import keras
        >>> layer = DelayedDense(4, max_delay=0.02, return_sequences=True)
        >>> layer(keras.ops.ones((1, 50, 3))).shape == (1, 50, 4)
        True
        >>> layer.round_delays()
        >>> layer.delays().shape
        (3, 4)

    Reference:
        Hammouamri, Khalfaoui-Hassani and Masquelier (2024), *Learning delays in spiking
        neural networks using dilated convolutions with learnable spacings*, ICLR.
    """

    cell_class = DelayedDenseCell

    def delays(self) -> np.ndarray:
        """Present delays in seconds: of each synapse, input or output."""
        return self.cell.delays.steps() * self.cell.dt

    def round_delays(self) -> None:
        """Makes the delays whole steps, which are not trained any more.

        The weights stay trainable. What a model predicts changes a little, and may be
        trained on.
        """
        self.cell.round_delays()
