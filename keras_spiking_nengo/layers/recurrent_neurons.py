"""Populations of Nengo neurons that are connected to themselves, as Keras layers.

With `s[t]` the spikes that are sent in step t, 1 for each, `h` a synapse and `U` the
recurrent kernel, the neurons get the currents

    J[t] = x[t] + U' (h * s)[t - 1]

A rate counts as the spikes of a step that are to be expected.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import nengo
import numpy as np
from keras import ops

from keras_spiking_nengo import serialization
from keras_spiking_nengo.budgets import spend
from keras_spiking_nengo.checks import checked_dt, checked_switch, from_keras
from keras_spiking_nengo.dynamics import modes, synapses
from keras_spiking_nengo.dynamics.loops import scan
from keras_spiking_nengo.dynamics.loops.recurrence import StepFunction
from keras_spiking_nengo.dynamics.loops.structures import product
from keras_spiking_nengo.dynamics.neurons import Neuron
from keras_spiking_nengo.dynamics.surrogates import Surrogate
from keras_spiking_nengo.layers.base import SequenceLayer
from keras_spiking_nengo.layers.credit import check_one_leak, is_local, memory_of
from keras_spiking_nengo.layers.neurons import (
    NeuronsCell,
    mode_of,
    spike_of,
    step_of,
    without_gradient,
)
from keras_spiking_nengo.layers.parameters import checked_synapse, warn_of_seconds
from keras_spiking_nengo.layers.recurrent_delay import RecurrentDelay
from keras_spiking_nengo.layers.synapse import check_same_order, stepped_system
from keras_spiking_nengo.saving import registered

__all__ = ["RecurrentNeurons", "RecurrentNeuronsCell"]


@registered()
class RecurrentNeuronsCell(NeuronsCell):
    """One step of a population of neurons that is connected to itself.

    Args:
        **kwargs: the arguments of `RecurrentNeurons` that are not those of an RNN
            layer, and those of `keras.layers.Layer`.

    Call arguments:
        inputs: `(batch, *features)`. Input current, dimensionless.
        states: those of `NeuronsCell`, and then what is remembered for the recurrent
            kernel, `(batch, order, *features)`: the spikes of the last steps, as many
            as the longest delay has, or the state of the synapse, or both.
        training: bool.

    Output shape:
        `(batch, *features)`: `amplitude / dt` at a spike and 0 elsewhere, or the
        rate in Hz.

    Raises:
        NotImplementedError: if `neuron_type` or `recurrent_synapse` has no rule.
        ValueError: for arguments that `NeuronsCell` refuses, or a synapse that is not
            one.

    Example:
        >>> import keras
        >>> cell = RecurrentNeuronsCell("lif", recurrent_synapse=0.005)
        >>> layer = keras.layers.RNN(cell, return_sequences=True)
        >>> layer(2 * keras.ops.ones((1, 100, 3))).shape == (1, 100, 3)
        True

    Reference:
        Bellec et al. (2018), *Long short-term memory and learning-to-learn in networks
        of spiking neurons*, NeurIPS.
    """

    def __init__(
        self,
        neuron_type: str | nengo.neurons.NeuronType | dict = "lif",
        dt: float = 0.001,
        recurrent_initializer: Any = "orthogonal",
        recurrent_regularizer: Any = None,
        recurrent_constraint: Any = None,
        recurrent_synapse: nengo.synapses.Synapse | float | dict | None = None,
        recurrent_delay: Any = None,
        max_recurrent_delay: float | None = None,
        self_connections: bool = True,
        use_recurrent_gradient: bool = True,
        surrogate: str | Surrogate | dict | None = None,
        forward: str = "spikes",
        trainable_parameters: Sequence[str] | Mapping[str, str] = (),
        seed: int | None = None,
        initial_parameters: Mapping[str, Any] | None = None,
        checkpoint: bool | int | None = None,
        gradient: str = "bptt",
        **kwargs: Any,
    ):
        if isinstance(recurrent_synapse, dict):
            recurrent_synapse = serialization.from_config(recurrent_synapse)
        synapse = checked_synapse("recurrent_synapse", recurrent_synapse)
        self.recurrent_synapse = synapse
        self._times = recurrent_delay, max_recurrent_delay
        super().__init__(
            *(neuron_type, dt, surrogate, forward, trainable_parameters, seed),
            initial_parameters=initial_parameters,
            checkpoint=checkpoint,
            gradient=gradient,
            **kwargs,
        )
        if gradient == "ottt":
            kinds = self.trainable_parameters.items()
            varied = {name for name, kind in kinds if kind != "shared"}
            varied |= {*self.initial_parameters}
            check_one_leak(self.dynamics, repr(self.neuron_type), self.dt, varied)
        self.recurrent_initializer = from_keras(
            "recurrent_initializer", keras.initializers.get, recurrent_initializer
        )
        self.recurrent_regularizer = from_keras(
            "recurrent_regularizer", keras.regularizers.get, recurrent_regularizer
        )
        self.recurrent_constraint = from_keras(
            "recurrent_constraint", keras.constraints.get, recurrent_constraint
        )
        self.self_connections = checked_switch("self_connections", self_connections)
        self.use_recurrent_gradient = checked_switch(
            "use_recurrent_gradient", use_recurrent_gradient
        )
        self.state_names = (*self.dynamics.states, "recurrent")
        warn_of_seconds(self.dt, recurrent_synapse=getattr(synapse, "tau", None))

    def _set_dt(self, dt):
        # Of a connection, what sends one step later and remembers no more.
        synapse = self.recurrent_synapse or nengo.Lowpass(0)
        system = stepped_system(synapse, dt, delay=1)
        check_same_order(self, synapse, system, dt)
        delay = RecurrentDelay(*self._times, checked_dt(dt))
        if self.built and delay.lasts and dt != self.dt:
            raise ValueError(
                f"{self.name} has a recurrent_delay of {delay.longest} steps, which"
                " are kept: the dt of its layer cannot be changed. Make it with the"
                " dt that is to hold."
            )
        super()._set_dt(dt)
        self.system, self.recurrent_delay = system, delay

    @property
    def order(self) -> int:
        """How many numbers of each neuron are remembered: spikes, and a filter's."""
        if not self.recurrent_delay.lasts:
            return self.system.order
        filtered = self.recurrent_synapse is not None
        return self.recurrent_delay.longest + filtered * self.system.order

    def state_shapes(self):
        own = [self.features] * len(self.dynamics.states)
        return [*own, (self.order, *self.features)]

    def build(self, input_shape):
        super().build(input_shape)
        size = math.prod(self.features)
        spend(8 * size**2, f"A recurrent kernel of {size} neurons")
        self.recurrent_kernel = self.add_weight(
            name="recurrent_kernel",
            shape=(size, size),
            dtype=self.state_dtype,
            initializer=self.recurrent_initializer,
            regularizer=self.recurrent_regularizer,
            constraint=self.recurrent_constraint,
            autocast=False,
        )
        self.delays = self.recurrent_delay.build(self)

    def initial_state(self, batch_size):
        shape = (batch_size, self.order, *self.features)
        trace = ops.zeros(shape, dtype=self.state_dtype)
        return [*super().initial_state(batch_size), trace]

    def kernel(self):
        """What the spikes of a step are multiplied by from the right, a tensor."""
        kernel = ops.convert_to_tensor(self.recurrent_kernel)
        if self.self_connections:
            return kernel
        return kernel * ops.cast(1 - np.eye(kernel.shape[0]), kernel.dtype)

    def spikes_per_output(self):
        """What outputs are multiplied by to count spikes: 1 over a spike's height."""
        return self.dt / self.parameters().get("amplitude", 1.0)

    def program(self, training=False):
        step, constants = super().program(training)

        def recurrent(p, x, state):
            *state, trace = state
            fed = product(self._shown(p, trace), p["kernel"])
            y, state = step(p["neurons"], [x[0] + fed], state)
            return y, [*state, self._sent(p, y, trace)[1]]

        parameters = {**self._fed(constants), "kernel": self.kernel()}
        leak = self.dynamics.leak
        if leak is None or not is_local(self, training):
            return recurrent, parameters

        def traced(p, x, state):
            *state, trace, came_in = state
            sent = synapses.output(self.system, trace)
            # What came in before is as if it came in now, as far as it is remembered.
            came_in = without_gradient(leak(p["neurons"])) * came_in + sent
            fed = modes.differentiated_as(
                product(sent, p["kernel"]), product(came_in, p["kernel"])
            )
            y, state = step(p["neurons"], [x[0] + fed], state)
            return y, [*state, self._sent(p, y, trace)[1], came_in]

        return traced, parameters

    def carried_in_training(self, batch_size) -> list:
        """What `program` carries besides the states where gradients are local."""
        return [ops.zeros((batch_size, *self.features), dtype=self.state_dtype)]

    def _fed(self, constants) -> dict[str, Any]:
        values = {"neurons": constants, "spikes_per_output": self.spikes_per_output()}
        if self.recurrent_delay.lasts:
            taps = self.recurrent_delay.taps(self.features, self.delays)
            values["taps"] = ops.cast(taps, self.state_dtype)
        return values

    def _shown(self, p, trace):
        """What comes of what is remembered, in the next step."""
        if self.recurrent_delay.lasts and self.recurrent_synapse is None:
            return ops.sum(p["taps"] * trace, axis=1)
        return synapses.output(self.system, trace[:, -self.system.order :])

    def _sent(self, p, y, trace):
        """What the synapse sends in the next step, and what it remembers then."""
        spikes = y * p["spikes_per_output"]
        if not self.use_recurrent_gradient or self.gradient == "eprop":
            spikes = ops.stop_gradient(spikes)
        if self.recurrent_delay.lasts:
            longest = self.recurrent_delay.longest
            spikes = ops.expand_dims(spikes, axis=1)
            past = ops.concatenate([trace[:, 1:longest], spikes], axis=1)
            spikes = ops.sum(p["taps"] * past, axis=1)
            if self.recurrent_synapse is None:
                return spikes, past
            _, kept = synapses.step(self.system, spikes, trace[:, longest:])
            trace = ops.concatenate([past, kept], axis=1)
            return synapses.output(self.system, kept), trace
        if self.recurrent_synapse is None:
            return spikes, ops.expand_dims(spikes, axis=1)
        _, trace = synapses.step(self.system, spikes, trace)
        return synapses.output(self.system, trace), trace

    def _run(self, dynamics: Neuron, inputs, state, training, unroll):
        if is_local(self, training):
            step, parameters = self.program(training)
            more = self.carried_in_training(ops.shape(inputs)[0])
            outputs, state = scan(
                *(step, parameters, [inputs], [*state, *more], True, unroll),
                local=True,
            )
            return outputs, state[:-1]
        *state, trace = state
        mode, spike = mode_of(self, training), spike_of(self, training)
        constants = modes.constants_of_mode(dynamics, mode, self.parameters(), self.dt)
        parameters, kernel = self._fed(constants), self.kernel()
        fed = product(self._shown(parameters, trace), kernel)
        # What is sent without a synapse or delay is all that is remembered.
        remembers = self.recurrent_synapse is not None or self.recurrent_delay.lasts
        kept = (trace,) if remembers else ()

        def looped(step: StepFunction) -> StepFunction:
            def recurrent(p, x, state):
                *state, kept, fed = state
                y, state = step(p["neurons"], [x[0] + fed], state)
                sent, trace = self._sent(p, y, *(kept or (None,)))
                return y, [*state, (trace,) if kept else (), sent]

            return recurrent

        step = step_of(self, dynamics, mode, spike)
        plain = (
            None if mode == "rate" else step_of(self, dynamics, "spikes", spike.plain())
        )
        outputs, (*state, kept, _) = scan(
            looped(step),
            *(parameters, [inputs], [*state, kept, fed], bool(training), unroll),
            forward=plain and looped(plain),
            kernel=kernel,
            **memory_of(self, training),
        )
        (trace,) = kept or self._sent(parameters, outputs[:, -1], None)[1:]
        return outputs, [*state, trace]

    def get_config(self):
        times = self.recurrent_delay.times
        return {
            **super().get_config(),
            "recurrent_initializer": keras.initializers.serialize(
                self.recurrent_initializer
            ),
            "recurrent_regularizer": keras.regularizers.serialize(
                self.recurrent_regularizer
            ),
            "recurrent_constraint": keras.constraints.serialize(
                self.recurrent_constraint
            ),
            "recurrent_synapse": serialization.to_config(self.recurrent_synapse),
            "recurrent_delay": None if times is None else times.tolist(),
            "max_recurrent_delay": self._times[1],
            "self_connections": self.self_connections,
            "use_recurrent_gradient": self.use_recurrent_gradient,
        }


@registered()
class RecurrentNeurons(SequenceLayer):
    """A population of Nengo neurons that is connected to itself, over time.

    `Neurons` with trained weights from each neuron to each: what they send in one step
    arrives in the next, through a synapse if there is one. Put a `keras.layers.Dense`
    before it to connect its input.

    The recurrent kernel acts on spikes as such, 1 for each, whatever their height
    `amplitude / dt` is, so that a network starts and is trained alike for every
    `amplitude` and `dt`: with a kernel of 1, a spike adds a current of 1 in one step
    (or, spread by the synapse, in several). Its gradient is computed in one product
    after the reverse pass.

    Args:
        neuron_type, dt: as in `Neurons`.
        recurrent_initializer, recurrent_regularizer, recurrent_constraint: of the
            recurrent kernel `(neurons, neurons)`, from the first axis to the second.
            The initializer defaults to `"orthogonal"`.
        recurrent_synapse: a linear `nengo.synapses.Synapse`, or the time constant of a
            `nengo.Lowpass` in seconds. Defaults to None, no filter.
        recurrent_delay: seconds from a spike to what it adds, a number or an array with
            one for each neuron that sends; whole steps. Defaults to None, one step.
        max_recurrent_delay: seconds. With it, there is a trained delay for each neuron
            that sends, from one step to this, as in `DelayedDense`: it starts from
            `recurrent_delay`, or without one from a uniform draw. Defaults to None,
            delays that stay.
        self_connections: bool. Whether neurons are connected to themselves; without,
            the diagonal of the kernel has no effect. Defaults to True.
        use_recurrent_gradient: bool. Whether the gradient goes through the recurrent
            kernel to earlier steps. Without, the kernel is trained by what it adds in
            each step alone. Defaults to True.
        surrogate, forward, trainable_parameters, seed, initial_parameters: as in
            `Neurons`; in the mode
            `"rate"`, a rate counts as the spikes of a step that are to be expected.
        checkpoint: as in `Neurons`.
        gradient: how earlier steps get their gradient in training. `"bptt"`: by the
            whole recurrence. `"eprop"`: along each neuron's own state, and not through
            the recurrent kernel to other neurons, nor to itself; states are kept as
            with `checkpoint=True`. `"ottt"`: within a step, where the recurrent kernel
            has the trace of what came in before; no state is kept, whatever the number
            of steps. Only for types that forget by one number in each step (LIF,
            AdaptiveLIF, IntegrateAndFire and their like).
        return_sequences, return_state, go_backwards, stateful, unroll,
        zero_output_for_mask: as in `keras.layers.LSTM`; all default to False.
        save_state: bool. Store the current state of a stateful layer with the
            weights. Defaults to False.

    Call arguments:
        sequences: `(batch, time, *features)`. Input currents.
        initial_state: list of states, as returned with `return_state=True`: those of
            `Neurons`, and what the synapse remembers, `(batch, order, *features)`.
        mask: `(batch, time)` booleans, as in `Neurons`.
        training: bool.

    Output shape:
        `(batch, time, *features)` with `return_sequences=True`, else
        `(batch, *features)`, the last step. With `return_state=True`, the
        states follow.

    Raises:
        NotImplementedError: if `neuron_type` or `recurrent_synapse` has no rule.
        ValueError: for arguments that `RecurrentNeuronsCell` refuses, inputs without a
            time axis, or features of unknown size.

    Example:
        >>> import keras, nengo
        >>> layer = RecurrentNeurons(
        ...     nengo.LIF(tau_rc=0.05), recurrent_synapse=0.005, return_sequences=True
        ... )
        >>> layer(2 * keras.ops.ones((1, 100, 3))).shape == (1, 100, 3)
        True

    Reference:
        Bellec et al. (2018), *Long short-term memory and learning-to-learn in networks
        of spiking neurons*, NeurIPS; Eshraghian et al. (2023), *Training spiking neural
        networks using lessons from deep learning*, Proceedings of the IEEE 111(9);
        Bellec et al. (2020), *A solution to the learning dilemma for recurrent networks
        of spiking neurons*, Nature Communications 11 (e-prop); Xiao et al. (2022),
        *Online training through time for spiking neural networks*, NeurIPS (OTTT).
    """

    cell_class = RecurrentNeuronsCell

    def delays(self) -> np.ndarray:
        """Present delays of what the neurons send, in seconds."""
        cell = self.cell
        steps = cell.recurrent_delay.steps(cell.features, cell.delays)
        return steps * cell.dt

    def round_delays(self) -> None:
        """Makes trained delays whole steps, which are not trained any more."""
        if self.cell.delays is not None:
            self.cell.delays.round()
