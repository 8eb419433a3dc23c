"""Populations of Nengo neurons as Keras layers."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import nengo
import numpy as np
from keras import ops
from nengo.dists import Distribution

from keras_spiking_nengo import serialization
from keras_spiking_nengo.checks import checked_dt, checked_seed, one_of
from keras_spiking_nengo.dynamics import modes, random, surrogates
from keras_spiking_nengo.dynamics.folding import fold, foldable, folded, unfold
from keras_spiking_nengo.dynamics.loops import scan
from keras_spiking_nengo.dynamics.loops.recurrence import StepFunction
from keras_spiking_nengo.dynamics.neurons import (
    SMOOTHING,
    Neuron,
    declared_low,
    drawn_state,
    longest_start,
    neuron,
    on_last_axes,
    suited_clock,
    timed,
)
from keras_spiking_nengo.dynamics.surrogates import SoftLIF, Surrogate
from keras_spiking_nengo.layers.base import Cell, SequenceLayer
from keras_spiking_nengo.layers.credit import (
    check_gradient,
    checked_checkpoint,
    is_local,
    memory_of,
)
from keras_spiking_nengo.layers.parameters import (
    Trained,
    checked_starts,
    checked_surrogate,
    checked_trainable,
    drawn_start,
    shape_of_kind,
    warn_of_seconds,
    weight_from,
)
from keras_spiking_nengo.saving import registered
from keras_spiking_nengo.types import neuron_type as to_neuron_type

__all__ = [
    "Neurons",
    "NeuronsCell",
    "mode_of",
    "spike_of",
    "step_of",
    "without_gradient",
]


@registered()
class NeuronsCell(Cell):
    """One step of a population of Nengo neurons.

    The dynamics are those of `neuron_type`; none of its parameters is declared
    again here. `Neurons` runs this cell over time; `keras.layers.RNN` can, too, but
    asks for the sizes of states before they are known, so that its `return_state`
    works outside functional models only; and random types draw the same in each of its
    calls, in training as well.

    Args:
        **kwargs: the arguments of `Neurons` that are not those of an RNN layer, and
            those of `keras.layers.Layer`.

    Call arguments:
        inputs: `(batch, *features)`. Input current, dimensionless; a LIF neuron
            fires for a constant current above 1.
        states: one `(batch, *features)` tensor per name in `state_names`. The
            refractory time of a LIF neuron is carried as
            `exp(refractory_time / tau_rc)`, or in seconds, as `refractory_time`,
            where that is above 80 `tau_rc`.
        training: bool.

    Output shape:
        `(batch, *features)`: `amplitude / dt` at a spike and 0 elsewhere, or the
        rate in Hz.

    Raises:
        NotImplementedError: if `neuron_type` has no rule.
        ValueError: for an unknown name, a `dt` that is not positive, a `forward`
            that the type does not allow, or a parameter that cannot be trained.

    Example:
        >>> import keras
        >>> layer = keras.layers.RNN(NeuronsCell("lif"), return_sequences=True)
        >>> layer(2 * keras.ops.ones((1, 100, 3))).shape == (1, 100, 3)
        True

    Reference:
        Eliasmith and Anderson (2003), *Neural Engineering*, MIT Press.
    """

    def __init__(
        self,
        neuron_type: str | nengo.neurons.NeuronType | dict = "lif",
        dt: float = 0.001,
        surrogate: str | Surrogate | dict | None = None,
        forward: str = "spikes",
        trainable_parameters: Sequence[str] | Mapping[str, str] = (),
        seed: int | None = None,
        initial_parameters: Mapping[str, Any] | None = None,
        checkpoint: bool | int | None = None,
        gradient: str = "bptt",
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if isinstance(neuron_type, dict):
            neuron_type = serialization.from_config(neuron_type)
        self.neuron_type = to_neuron_type(neuron_type)
        self.surrogate = checked_surrogate(surrogate)
        # Not `forward`: on torch, where a layer is a Module, that is its call.
        self.training_mode = forward
        self.seed = checked_seed(seed)
        self.dynamics = neuron(self.neuron_type)
        self.initial_parameters = checked_starts(
            initial_parameters, self.dynamics.parameters, repr(self.neuron_type)
        )
        if {"tau_rc", "tau_ref"} & {*self.initial_parameters}:
            self.dynamics = timed(self.dynamics)
        else:
            start = longest_start(self.neuron_type)
            self.dynamics = suited_clock(self.dynamics, checked_dt(dt), start)
        self.state_names = self.dynamics.states
        self.streams = (len(self.state_names) - 2,) if self.dynamics.random else ()
        self.sends_spikes = self.dynamics.spiking
        self.trainable_parameters = checked_trainable(
            trainable_parameters, self.dynamics.trainable, repr(self.neuron_type)
        )
        starts = self.dynamics.parameters | self.initial_parameters
        for name, kind in self.trainable_parameters.items():
            _check_trained_start(self.dynamics, name, kind, starts[name])
        self.checkpoint = checked_checkpoint(checkpoint)
        kind = repr(self.neuron_type)
        self.gradient = check_gradient(gradient, self.dynamics, kind, forward)
        self.dt = dt
        warn_of_seconds(
            self.dt,
            **{
                name: start
                for name, start in starts.items()
                if name[:4] == "tau_" and not isinstance(start, Distribution)
            },
        )

    @property
    def dt(self) -> float:
        """Length of one step, in seconds. What is compiled keeps the one it had."""
        return self._dt

    @dt.setter
    def dt(self, dt: float) -> None:
        self._set_dt(checked_dt(dt))

    def _set_dt(self, dt: float) -> None:
        _check_forward(self, dt)
        self._dt = dt

    def build(self, input_shape):
        super().build(input_shape)
        rng = np.random if self.seed is None else np.random.RandomState(self.seed)
        values = drawn_state(self.neuron_type, self.dynamics, self.features, rng)
        names = self.dynamics.states
        starts = zip(names, values, self.state_dtypes()[: len(names)], strict=True)
        self._initial = [
            weight_from(self, f"initial_{name}", *v) for name, *v in starts
        ]
        self._trained = {
            name: _weight_of(self, name, rng)
            for name in {**self.trainable_parameters, **self.initial_parameters}
        }
        self._folds = _may_fold(self, values)

    def load_own_variables(self, store):
        super().load_own_variables(store)
        _read_older_start(self)
        self._folds = _may_fold(self, list(self.initial_values().values()))

    def state_dtypes(self):
        names = self.state_names
        return ["int32" if n in random.STATES else self.state_dtype for n in names]

    def initial_values(self) -> dict[str, np.ndarray]:
        """The state that every item of a batch starts from, by name."""
        values = map(ops.convert_to_numpy, self._initial)
        return dict(zip(self.dynamics.states, values, strict=True))

    def parameters(self) -> dict[str, Any]:
        """Values of the neuron parameters: floats, and tensors where trained."""
        trained = {name: trained.value() for name, trained in self._trained.items()}
        numbers = self.dynamics.parameters.items()
        values = {k: _placed(v, self.features) for k, v in numbers}
        # What a tensor meets has to be one, too.
        return (
            values
            | {
                k: ops.cast(v, self.state_dtype)
                for k, v in values.items()
                if trained and isinstance(v, np.ndarray)
            }
            | trained
        )

    def initial_state(self, batch_size):
        state = [
            ops.zeros((batch_size, *self.features), dtype=weight.dtype)
            + ops.convert_to_tensor(weight)
            for weight in self._initial
        ]
        if self.dynamics.random:
            # Items of a batch draw from different streams.
            ones = ops.ones((batch_size, *(1 for _ in self.features)), dtype="int32")
            (at,) = self.streams
            state[at] = random.new_key(state[at], ops.cumsum(ones, axis=0))
        return state

    def program(self, training=False):
        mode = mode_of(self, training)
        step = step_of(self, self.dynamics, mode, spike_of(self, training))
        return step, modes.constants_of_mode(
            self.dynamics, mode, self.parameters(), self.dt
        )

    def sequence(self, inputs, state, training, unroll):
        return self._run(self.dynamics, inputs, state, training, unroll)

    def from_start(self, inputs, training, unroll, whole=True):
        state = self.initial_state(ops.shape(inputs)[0])
        # Of other states than its own, it is not known whether they can be folded.
        if not self._folds or is_local(self, training):
            return self.sequence(inputs, state, training, unroll)
        voltage, clock, *rest = state
        start, dynamics = [fold(voltage, clock), *rest], folded(self.dynamics)
        outputs, state = self._run(dynamics, inputs, start, training, unroll)
        return outputs, [*unfold(state[0]), *state[1:]]

    def _run(self, dynamics: Neuron, inputs, state, training, unroll):
        mode = mode_of(self, training)
        if mode == "rate" or not self.state_names:
            # Without a recurrence all steps are one.
            step, constants = self.program(training)
            return step(constants, [inputs], state)
        spike = spike_of(self, training)
        constants = modes.constants_of_mode(dynamics, mode, self.parameters(), self.dt)
        plain = step_of(self, dynamics, "spikes", spike.plain())
        if mode == "spike_aware":
            # Only the rate curve is differentiated, for all steps at once.
            constants = keras.tree.map_structure(without_gradient, constants)
            currents = ops.stop_gradient(inputs)
            spikes, state = scan(plain, constants, [currents], state, False, unroll)
            rates = modes.curve(dynamics, self.parameters(), inputs, _width_of(self))
            return modes.differentiated_as(spikes, rates), state
        step, save = step_of(self, dynamics, mode, spike), bool(training)
        return scan(
            *(step, constants, [inputs], state, save, unroll),
            forward=plain,
            **memory_of(self, training),
        )

    def get_config(self):
        return {
            **super().get_config(),
            "neuron_type": serialization.to_config(self.neuron_type),
            "dt": self.dt,
            "surrogate": keras.saving.serialize_keras_object(self.surrogate),
            "forward": self.training_mode,
            "trainable_parameters": dict(self.trainable_parameters),
            "seed": self.seed,
            "initial_parameters": serialization.to_config(self.initial_parameters),
            "checkpoint": self.checkpoint,
            "gradient": self.gradient,
        }


def _check_trained_start(dynamics: Neuron, name: str, kind: str, start) -> None:
    """Refuses to train a parameter from a start that cannot be trained so."""
    drawn = isinstance(start, Distribution)
    if not drawn and name in dynamics.positive and np.any(np.asarray(start) == 0):
        raise ValueError(
            f"trainable_parameters: {name} is trained as its logarithm, and that of 0"
            f" does not move; received {start!r}. Start above 0."
        )
    if kind == "shared" and (drawn or isinstance(start, np.ndarray)):
        raise ValueError(
            f"{name} has a value for each neuron, which one for the layer cannot stand"
            f" for: train it with {{{name!r}: 'unit'}}; received {start!r}."
        )


def _weight_of(cell: "NeuronsCell", name: str, rng) -> Trained:
    """The weight of a parameter that is trained, or has a start of its own."""
    kind, dynamics = cell.trainable_parameters.get(name), cell.dynamics
    shape = shape_of_kind(kind or "unit", cell.features)
    start = _placed(dynamics.parameters[name], cell.features)
    if name in cell.initial_parameters:
        start = drawn_start(name, cell.initial_parameters[name], shape, rng)
        _check_in_range(cell.neuron_type, name, start)
    return Trained(
        cell,
        name,
        start,
        shape,
        positive=kind is not None and name in dynamics.positive,
        within=dynamics.ranges(cell.dt).get(name, (-math.inf, math.inf)),
        trainable=kind is not None,
    )


def _check_in_range(neuron_type, name: str, start) -> None:
    """Refuses numbers that the neuron type itself would refuse."""
    owner, inner = neuron_type, name
    while inner.startswith("base_"):
        owner, inner = owner.base_type, inner.removeprefix("base_")
    low, low_open = declared_low(owner, inner)
    least = float(np.min(start))
    if least < low or (low_open and least == low):
        raise ValueError(
            f"initial_parameters[{name!r}] is {'above' if low_open else 'at least'}"
            f" {low:g}; received {least:g}."
        )


def _placed(value, features: tuple[int, ...]):
    """A parameter where it stands among the features, if it has several values."""
    return on_last_axes(value, features) if isinstance(value, np.ndarray) else value


def _read_older_start(cell: NeuronsCell) -> None:
    """Takes a refractory time as older versions saved it: as its exponential.

    That is never below 1. Seconds are, of a type that starts with less than one.
    """
    longest = longest_start(cell.neuron_type)
    if "refractory_time" not in cell.state_names or longest >= 1:
        return
    weight = cell._initial[cell.state_names.index("refractory_time")]
    clock = ops.convert_to_numpy(weight)
    if clock.size and np.all(clock >= 1):
        times = cell.neuron_type.tau_rc * np.log(clock)
        weight.assign(np.where(np.isfinite(clock), times, longest))


def _may_fold(cell: NeuronsCell, start: list[np.ndarray]) -> bool:
    varied = {*cell.trainable_parameters, *cell.initial_parameters}
    constant = not varied & {"tau_rc", "tau_ref", "min_voltage"}
    numbers = [cell.dynamics.parameters]
    return constant and foldable(cell.dynamics, numbers, start, cell.dt)


def mode_of(cell: NeuronsCell, training) -> str:
    """What the neurons do: one of `modes.FORWARDS`."""
    return cell.training_mode if training and cell.dynamics.spiking else "spikes"


def spike_of(cell: Any, training) -> Surrogate:
    """What stands in for the derivative of the spike of a cell with a `surrogate`."""
    # Only "spikes" differentiates the spike itself.
    spike = cell.surrogate or surrogates.Arctan()
    # What is exported has no custom gradient inside another.
    return spike if training else spike.inline()


def _width_of(cell: NeuronsCell) -> float:
    """Width over which the rate curve is smoothed."""
    surrogate = cell.surrogate
    return surrogate.width if isinstance(surrogate, SoftLIF) else SMOOTHING


def step_of(
    cell: NeuronsCell, dynamics: Neuron, mode: str, spike: Surrogate
) -> StepFunction:
    """One step of dynamics, in a mode, for `scan`."""
    step = modes.step_of_mode(dynamics, mode, spike, _width_of(cell))
    return lambda p, x, state: step(p, x[0], state)


def _check_forward(cell: NeuronsCell, dt: float) -> None:
    kind, mode = repr(cell.neuron_type), cell.training_mode
    one_of("forward", mode, modes.FORWARDS)
    if mode == "spikes" or not cell.dynamics.spiking:
        return
    if cell.dynamics.rates is None:
        raise ValueError(
            f"forward={mode!r} needs a rate curve, and {kind} has none. Use"
            " forward='spikes'."
        )
    if cell.surrogate is not None and not isinstance(cell.surrogate, SoftLIF):
        raise ValueError(
            f"forward={mode!r} takes its gradient from the rate curve and has no use"
            f" for {cell.surrogate!r}. Pass ksn.surrogates.SoftLIF(width) to smooth the"
            " curve, leave surrogate=None, or use forward='spikes'."
        )
    tau_ref = _shortest_refractory_time(cell)
    if cell.dynamics.max_spikes == 1 and tau_ref < dt:
        raise ValueError(
            f"forward={mode!r} trains on the rate curve of {kind}, which rises beyond"
            f" one spike per step (1/dt = {1 / dt:g} Hz): tau_ref={tau_ref:g} s is"
            f" shorter than dt={dt:g} s. Choose dt <= tau_ref, or"
            " forward='spikes'."
        )


def _shortest_refractory_time(cell: NeuronsCell) -> float:
    """Of a distribution, that of many that are drawn of it, always the same."""
    times = cell.dynamics.parameters.get("tau_ref", math.inf)
    times = cell.initial_parameters.get("tau_ref", times)
    if isinstance(times, Distribution):
        times = times.sample(1000, rng=np.random.RandomState(0))
    return float(np.min(times))


def without_gradient(value):
    """The same number, which counts as given."""
    return ops.stop_gradient(value) if ops.is_tensor(value) else value


@registered()
class Neurons(SequenceLayer):
    """A population of Nengo neurons over time.

    Takes input currents and gives activity, elementwise over features of any
    shape; put a `keras.layers.Dense` or `Conv2D` before it to connect it.

    Args:
        neuron_type: `nengo.neurons.NeuronType`, or a name such as `"lif"`,
            `"relu"` or `"spiking_relu"`. Defaults to `nengo.LIF()`.
        dt: float, seconds. Length of one step. Defaults to 0.001.
        surrogate: stands in for the derivative of the spike: a
            `ksn.surrogates.Surrogate`, or a name such as `"arctan"`. Defaults to
            `ksn.surrogates.Arctan()`. For `forward="spike_aware"` and `"rate"` it
            must be a `SoftLIF`, whose width smooths the LIF rate curve in the
            backward pass (0.02 by default).
        forward: what a spiking type does while training. `"spikes"`: it spikes,
            and the gradient goes through the membrane's whole recurrence.
            `"spike_aware"`: it spikes, and the gradient is that of the rate curve.
            `"rate"`: its output is the rate. Without training it always spikes.
            The curve of an adaptive type is that of its first spikes, before it
            adapts.
        trainable_parameters: names of neuron parameters to train, such as
            `("tau_rc",)`, one value for the layer; or a dict from names to
            `"shared"`, `"unit"` (a value per neuron) or `"channel"` (one for each
            element of the last axis). They start from the type's own values, or from
            those in `initial_parameters`; several values are trained with `"unit"` or
            `"channel"`.
            Parameters that have to be positive are trained as their logarithm, within
            a factor of 10,000 of their start. An optimizer holds those that are stepped
            by Euler's rule, such as `tau_n`, to where such a step does not swing ever
            more: from `dt` on.
        seed: int. Draws the initial state, and seeds random types, which draw the
            same numbers in every call, and new ones in each with `training=True`.
            Defaults to None, a draw from NumPy's global generator
            (`keras.utils.set_random_seed` fixes it).
        initial_parameters: dict from names of the type's numbers to what they are
            instead, trained or not: a number, an array of the features' shape, or a
            `nengo.dists.Distribution` from which a value for each neuron is drawn, such
            as `{"tau_rc": nengo.dists.Uniform(0.01, 0.03)}`. They are weights, so that
            a saved layer has the values that were drawn.
        checkpoint: int or True. In training, keep states at every so many-th step only,
            True for about the root of the number of steps, and compute those between
            again: the same gradients from less memory, for one more run of the steps.
            Defaults to None, which keeps all; so do `unroll=True` and Torch.
        gradient: how earlier steps get their gradient in training. `"bptt"`: by the
            whole recurrence. `"eprop"`: along each neuron's own state; neurons without
            connections among them have no other way, so this is `"bptt"` with
            `checkpoint=True`. `"ottt"`: not at all; an input gets the gradient of the
            output of its own step. No state is kept then, whatever the number of steps.
            With the last, `initial_state` gets no gradient.
        return_sequences, return_state, go_backwards, stateful, unroll,
        zero_output_for_mask: as in `keras.layers.LSTM`; all default to False.
        save_state: bool. Store the current state of a stateful layer with the
            weights. Defaults to False.

    Call arguments:
        sequences: `(batch, time, *features)`. Input currents.
        initial_state: list of `(batch, *features)` tensors, as returned with
            `return_state=True`.
        mask: `(batch, time)` booleans. A step that is False leaves the state as it is;
            spiking types send no spike then, and others repeat the last output.
        training: bool.

    Output shape:
        `(batch, time, *features)` with `return_sequences=True`, else
        `(batch, *features)`, the last step. With `return_state=True`, the
        states follow.

    Raises:
        NotImplementedError: if `neuron_type` has no rule.
        ValueError: for arguments that `NeuronsCell` refuses, inputs without a
            time axis, or features of unknown size.

    Example:
        >>> import keras, nengo
        >>> layer = Neurons(nengo.LIF(tau_rc=0.05), return_sequences=True)
        >>> spikes = layer(2 * keras.ops.ones((1, 100, 3)))
        >>> float(keras.ops.max(spikes))
        1000.0

    Reference:
        Eliasmith and Anderson (2003), *Neural Engineering*, MIT Press; Bellec et al.
        (2020), *A solution to the learning dilemma for recurrent networks of spiking
        neurons*, Nature Communications 11 (e-prop); Xiao et al. (2022), *Online
        training through time for spiking neural networks*, NeurIPS (OTTT).
    """

    cell_class = NeuronsCell
