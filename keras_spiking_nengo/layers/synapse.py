"""Nengo synapses, linear filters over time, as Keras layers."""

from collections.abc import Mapping, Sequence
from typing import Any

import nengo
import numpy as np
from keras import ops

from keras_spiking_nengo import checks, serialization
from keras_spiking_nengo.dynamics import synapses
from keras_spiking_nengo.layers.base import Cell, SequenceLayer
from keras_spiking_nengo.layers.parameters import (
    Trained,
    checked_synapse,
    checked_trainable,
    warn_of_seconds,
)
from keras_spiking_nengo.saving import registered

__all__ = ["Synapse", "SynapseCell", "check_same_order", "stepped_system"]


@registered()
class SynapseCell(Cell):
    """One step of a linear synapse, the same for every feature.

    The filter is that of `synapse`, discretised as Nengo does it.

    Args:
        **kwargs: the arguments of `Synapse` that are not those of an RNN layer, and
            those of `keras.layers.Layer`.

    Call arguments:
        inputs: `(batch, *features)`.
        states: list of one `(batch, order, *features)` tensor; empty for a synapse
            without memory.

    Output shape:
        `(batch, *features)`.

    Raises:
        NotImplementedError: if `synapse` is not a linear synapse that Nengo has.
        ValueError: if it is not causal, for a `dt` that is not positive, a delay
            other than 0 or 1, an initial level of a synapse that does not settle,
            or a parameter that cannot be trained.

    Example:
        >>> import keras
        >>> layer = keras.layers.RNN(SynapseCell(0.01), return_sequences=True)
        >>> layer(keras.ops.ones((1, 50, 3))).shape == (1, 50, 3)
        True

    Reference:
        Voelker and Eliasmith (2018), *Improving spiking dynamical networks*,
        Neural Computation 30(3).
    """

    _dt: float
    system: synapses.LinearSystem

    def __init__(
        self,
        synapse: nengo.synapses.Synapse | float | dict | None = 0.005,
        dt: float = 0.001,
        delay: int = 1,
        initial_level: Any = 0.0,
        trainable_parameters: Sequence[str] | Mapping[str, str] = (),
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if isinstance(synapse, dict):
            synapse = serialization.from_config(synapse)
        if not (checks.is_number(delay) and delay in (0, 1)):
            raise ValueError(
                "delay is 1 (Nengo's order of events) or 0 (no lag); received"
                f" {delay!r}. For a longer delay use ksn.layers.Delay."
            )
        self.synapse = checked_synapse("synapse", synapse)
        self.delay = int(delay)
        self.initial_level = checks.checked_array(
            "initial_level", initial_level, advice="It has the shape of the features."
        )
        self.dt = dt
        warn_of_seconds(self.dt, synapse=getattr(self.synapse, "tau", None))
        self.state_names = ("filter",) if self.system.order else ()
        possible = ("tau",) * synapses.is_tunable(self.synapse) + ("initial_level",)
        self.trainable_parameters = checked_trainable(
            trainable_parameters, possible, repr(self.synapse)
        )
        self._starts = np.any(self.initial_level) or (
            "initial_level" in self.trainable_parameters
        )
        if self._starts:
            if not self.state_names:
                raise ValueError(
                    f"{synapse!r} has no memory that could hold an initial_level;"
                    f" received {initial_level!r}. Leave it at 0."
                )
            # Refuses a synapse that has no steady state.
            self.system.steady_state()

    @property
    def dt(self) -> float:
        """Length of one step, in seconds. What is compiled keeps the one it had."""
        return self._dt

    @dt.setter
    def dt(self, dt: float) -> None:
        dt = checks.checked_dt(dt)
        system = stepped_system(self.synapse, dt, self.delay)
        check_same_order(self, self.synapse, system, dt)
        self._dt, self.system = dt, system

    def build(self, input_shape):
        super().build(input_shape)
        checks.check_fits("initial_level", self.initial_level, self.features)
        starts: dict[str, Any] = {"tau": getattr(self.synapse, "tau", None)}
        starts["initial_level"] = self.initial_level
        self._trained = {}
        for name, kind in self.trainable_parameters.items():
            size = self.features if kind == "unit" else np.shape(starts[name])
            self._trained[name] = Trained(
                self, name, starts[name], size, positive=name == "tau"
            )

    def parameters(self) -> dict[str, Any]:
        """Present values of the trained parameters, tensors by name."""
        return {name: trained.value() for name, trained in self._trained.items()}

    def state_shapes(self):
        return [(self.system.order, *self.features)] * len(self.state_names)

    def initial_state(self, batch_size):
        if not self.state_names:
            return []
        shape = (batch_size, self.system.order, *self.features)
        state = ops.zeros(shape, dtype=self.state_dtype)
        if self._starts:
            level = self.parameters().get("initial_level", self.initial_level)
            level = ops.cast(level, self.state_dtype)
            level = ops.broadcast_to(level, self.features)
            steady = self.system.steady_state()
            ratio = np.reshape(steady, (-1, *(1 for _ in self.features)))
            state = state + ops.cast(ratio, self.state_dtype) * level
        return [state]

    def program(self, training=False):
        if "tau" not in self._trained:
            return lambda p, x, state: _filtered_step(self.system, x, state), {}

        def tuned(p, x, state):
            system = synapses.tuned_system(self.synapse, p["tau"], self.dt, self.delay)
            return _filtered_step(system, x, state)

        return tuned, {"tau": self.parameters()["tau"]}

    def sequence(self, inputs, state, training, unroll):
        if "tau" in self._trained or unroll:
            return super().sequence(inputs, state, training, unroll)
        y, x = synapses.sequence(self.system, inputs, state[0] if state else None)
        return y, [x] if state else []

    def get_config(self):
        return {
            **super().get_config(),
            "synapse": serialization.to_config(self.synapse),
            "dt": self.dt,
            "delay": self.delay,
            "initial_level": self.initial_level.tolist(),
            "trainable_parameters": dict(self.trainable_parameters),
        }


def stepped_system(synapse, dt: float, delay: int) -> synapses.LinearSystem:
    """`synapses.linear_system`, which says of which synapse it has none."""
    try:
        return synapses.linear_system(synapse, dt, delay)
    except ValueError as error:
        causal = "A causal filter has no more zeros than poles: num no longer than den."
        improper = isinstance(synapse, nengo.LinearFilter)
        reason = f"{str(error).rstrip('.')}. {causal if improper else ''}"
        raise ValueError(f"{synapse!r} cannot be stepped: {reason}") from error


def check_same_order(cell: Cell, synapse, system, dt: float) -> None:
    """Refuses a new `dt` with which the state of a built cell has another size.

    Args:
        cell: has `dt` and the `system` that goes with it.
        synapse: of the cell.
        system: what the synapse is with `dt`.
    """
    if cell.built and system.order != cell.system.order:
        raise ValueError(
            f"{synapse!r} has a state of {cell.system.order} values with"
            f" dt={cell.dt:g} s, and of {system.order} with dt={dt:g} s: the dt of"
            " its layer cannot be changed. Make it with the dt that is to hold."
        )


def _filtered_step(system, x, state):
    y, *state = synapses.step(system, x[0], *(state or [None]))
    return y, state if system.order else []


@registered()
class Synapse(SequenceLayer):
    """A Nengo synapse over time: a linear filter of every feature.

    Where neither masks nor a trainable time constant ask for single steps, blocks
    of steps are filtered at once, as matrix products.

    Args:
        synapse: a linear `nengo.synapses.Synapse`; a float for
            `nengo.Lowpass(tau)`, in seconds; or None for no filter. Defaults to
            `nengo.Lowpass(0.005)`.
        dt: float, seconds. Length of one step. Defaults to 0.001.
        delay: 1 for Nengo's own order of events, in which the output lags one
            step behind; 0 for a filter without lag. A synapse of None never lags.
            Defaults to 1.
        initial_level: float, or array with the shape of the features. Output to
            start from, as if it had been there for long. Defaults to 0.
        trainable_parameters: names of what to train: `"tau"` (of a `Lowpass` or
            `Alpha`) and `"initial_level"`. One value for the layer, or with a dict
            such as `{"tau": "unit"}` one per feature. `tau` is trained as its
            logarithm.
        return_sequences, return_state, go_backwards, stateful, unroll,
        zero_output_for_mask: as in `keras.layers.LSTM`; all default to False.
        save_state: bool. Store the current state of a stateful layer with the
            weights. Defaults to False.

    Call arguments:
        sequences: `(batch, time, *features)`.
        initial_state: list of states, as returned with `return_state=True`.
        mask: `(batch, time)` booleans.

    Output shape:
        `(batch, time, *features)` with `return_sequences=True`, else
        `(batch, *features)`, the last step. With `return_state=True`, the
        states follow.

    Raises:
        NotImplementedError: if `synapse` is not a linear synapse that Nengo has.
        ValueError: for arguments that `SynapseCell` refuses, inputs without a
            time axis, or features of unknown size.

    Example:
        >>> import keras, nengo
        >>> layer = Synapse(nengo.Alpha(0.01), return_sequences=True)
        >>> layer(keras.ops.ones((1, 50, 3))).shape == (1, 50, 3)
        True

    Reference:
        Voelker and Eliasmith (2018), *Improving spiking dynamical networks*,
        Neural Computation 30(3).
    """

    cell_class = SynapseCell
