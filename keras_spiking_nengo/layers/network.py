"""A whole Nengo network as one Keras layer."""

from collections.abc import Callable
from typing import ClassVar

import keras
import nengo
from keras import ops

from keras_spiking_nengo.dynamics.loops import not_exported
from keras_spiking_nengo.layers.base import SequenceLayer
from keras_spiking_nengo.layers.network_cell import NetworkCell, settled
from keras_spiking_nengo.layers.ports import common_mask, mapped
from keras_spiking_nengo.layers.sizes import check_batch, check_mask, check_steps
from keras_spiking_nengo.saving import registered

__all__ = ["Network"]


@registered()
class Network(SequenceLayer):
    """A whole Nengo network over time, as one layer.

    What is on no cycle runs for all steps at once, and only recurrences loop. In
    float64 the layer matches `nengo.Simulator`, spike for spike.

    Weights are the network's connection weights, encoders and biases, named by
    their nengo labels; `ksn.configure` says which of them are trained. Weights that
    an online rule changes are states: every sequence begins with what was built,
    or goes on with what was learned if the layer is `stateful`. So does what Python in
    the network remembers: processes, and neuron types of your own. A node's function is
    called for one item of a batch after the other, and what it remembers itself, in an
    attribute or a closure, is shared by all items and calls.

    Decoders are a thousand times smaller than a step of Adam at its default rate: train
    with `ksn.optimizers.in_own_units`.

    Random neuron types, and processes without a seed of their own, draw the same
    numbers in every call, and new ones in each with `training=True`. Processes, whose
    numbers all items share, are then called while the model runs; where that is not
    possible (TensorFlow's `jit_compile=True`, JAX on several devices) they repeat.

    Args:
        net: `nengo.Network`.
        inputs: source node whose output the data replaces, a list of them, or a
            dict from names; labels do, too. The call takes the same structure.
            Defaults to all source nodes.
        outputs: probe, list or dict of probes; the call returns the same structure.
            Defaults to all probes. A probe's `sample_every` holds with
            `return_sequences=True`.
        dt: float, seconds. Length of one step. Defaults to 0.001.
        surrogate: stands in for the derivative of the spike, as in `Neurons`.
        forward: what spiking neurons do while training, as in `Neurons`:
            `"spikes"`, `"spike_aware"` or `"rate"`.
        seed: int. Seeds random processes of the network that have no seed, and what
            training draws.
        trained: names of the weights to train. Defaults to what the network's
            config says.
        model: `nengo.builder.Model` that `net` was built into. Defaults to a new one.
        return_sequences, return_state, go_backwards, stateful, unroll,
        zero_output_for_mask: as in `keras.layers.LSTM`; all default to False.
        save_state: bool. Store the current state of a stateful layer with the
            weights. Defaults to False.

    Call arguments:
        sequences: `(batch, time, size)`, one for each input, in the structure of
            `inputs`. A network without inputs takes any `(batch, time, 1)`.
        initial_state: list of states, as returned with `return_state=True`.
        mask: `(batch, time)` booleans, one for all inputs.
        training: bool.

    Output shape:
        `(batch, time, *size)` per probe with `return_sequences=True`, else
        `(batch, *size)`, the last step. With `return_state=True`, the states
        follow.

    Raises:
        BuildError: for a loop without synapses, and for what nengo refuses.
        ValueError, TypeError: for inputs and outputs that are not in the network.
        ValueError: for inputs whose masks differ.

    Example:
        >>> import keras, nengo
        >>> with nengo.Network(seed=0) as net:
        ...     stimulus = nengo.Node([0.0, 0.0])
        ...     ens = nengo.Ensemble(100, 2)
        ...     c = nengo.Connection(stimulus, ens)
        ...     r = nengo.Connection(ens, ens, synapse=0.1)
        ...     probe = nengo.Probe(ens, synapse=0.01)
        >>> layer = Network(net, inputs=stimulus, outputs=probe, return_sequences=True)
        >>> layer(keras.ops.ones((4, 30, 2))).shape == (4, 30, 2)
        True

    Reference:
        Bekolay et al. (2014), *Nengo: a Python tool for building large-scale
        functional brain models*, Front. Neuroinform. 7; Rasmussen (2019),
        *NengoDL: combining deep learning and neuromorphic modelling methods*,
        Neuroinformatics 17 (training a Nengo network by gradient descent).
    """

    cell_class: ClassVar[Callable[..., NetworkCell]] = NetworkCell

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.cell.continued = self.stateful

    def network(self) -> nengo.Network:
        """A Nengo network with the present weights: for any Nengo backend.

        Decoders are given by `nengo.solvers.NoSolver`, encoders, gains and biases
        as arrays; nothing is solved or drawn again.
        """
        return self.cell.network()

    # --- Python -----------------------------------------------------------------

    def python(self) -> list[str]:
        """Labels of what would call Python when the layer runs step by step."""
        return self.cell.engine.python()

    def _trackable_children(self, save_type="checkpoint", **kwargs):
        # TensorFlow asks for these when it exports, after it has traced a graph that
        # could not be run elsewhere.
        if save_type == "savedmodel":
            engine = self.cell.engine
            ahead = not self.stateful and self._knows_length()
            calls = [operation.label for operation in engine.python_calls]
            for label in calls if ahead else engine.python():
                raise NotImplementedError(not_exported(label))
        return super()._trackable_children(save_type, **kwargs)

    def _knows_length(self) -> bool:
        """Whether all sequences of a model have one length, told by its inputs."""
        try:
            shapes = [x.shape for x in keras.tree.flatten(self.input)]
        except (AttributeError, ValueError):  # part of no functional model
            shapes = [self._built_shape]
        return all(shape[1] is not None for shape in shapes)

    # --- shapes -----------------------------------------------------------------

    def build(self, sequences_shape, initial_state_shape=None):
        shape = self._joined_shape(sequences_shape)
        super().build(shape)
        self._built_shape = tuple(shape)
        if self.cell.ports.several:
            self.input_spec = None

    def _joined_shape(self, shapes):
        ports = self.cell.ports
        return ports.joined_shape(ports.in_order(shapes, self.name), self.name)

    def compute_output_shape(self, sequences_shape, initial_state_shape=None):
        shape = self._joined_shape(sequences_shape)
        flat = super().compute_output_shape(shape)
        (*lead, _), *states = flat if self.return_state else (flat,)
        output = self.cell.ports.split_shape(
            tuple(lead), self.cell.model, self.return_sequences
        )
        return (output, *states) if self.return_state else output

    def compute_output_spec(self, sequences, *args, **kwargs):
        shapes = keras.tree.map_structure(lambda x: x.shape, sequences)
        joined = self._joined_shape(shapes)
        check_steps(self, joined)
        check_batch(self, joined, self._expected_batch_size)
        check_mask(self.name, common_mask(kwargs.get("mask"), self.name), joined)
        shapes = self.compute_output_shape(shapes)
        output, *states = shapes if self.return_state else (shapes,)
        output = mapped(
            lambda shape: keras.KerasTensor(shape, dtype=self.compute_dtype), output
        )
        if not self.return_state:
            return output
        return (output, *map(keras.KerasTensor, states, self.cell.state_dtypes()))

    def compute_mask(self, _, mask=None):
        mask = common_mask(mask, self.name) if self.return_sequences else None
        masks = mapped(
            lambda probe: None if probe.sample_every else mask, self.cell.ports.outputs
        )
        if not self.return_state:
            return masks
        return [masks, *[None] * len(self.cell.state_names)]

    # --- running ----------------------------------------------------------------

    def call(self, sequences, initial_state=None, mask=None, training=False):
        if initial_state is not None and self.cell.engine.timed_inputs:
            names = ", ".join(timed.label for timed in self.cell.engine.timed_inputs)
            raise NotImplementedError(
                f"{self.name} is given a state, but {names} would begin anew: give"
                " their values as inputs, or use stateful=True."
            )
        # Masks are compared by what is in them.
        mask = common_mask(mask, self.name)
        return super().call(sequences, initial_state, mask, training)

    def computed(self, sequences, initial_state, mask, training):
        joined = self.cell.ports.joined(sequences, self.cell.state_dtype, self.name)
        result = super().computed(joined, initial_state, mask, training)
        output, *state = result if self.return_state else (result,)
        parts = self._split(output, self.return_sequences)
        return (parts, *state) if self.return_state else parts

    def _split(self, output, sampling: bool):
        return self.cell.ports.split(output, self.cell.model, sampling)

    def _run(self, inputs, state, mask, training):
        if mask is not None and self.cell.engine.python():
            # A step that is left out is none to Python.
            if state is None:
                state = self.cell.initial_state(ops.shape(inputs)[0])
            taken = ops.cast(mask, inputs.dtype)[..., None]
            steps = state[0][:, None] + 1 + ops.cumsum(taken, axis=1) - taken
            timed = self.cell.timed(steps, training, masked=True)
            inputs = ops.concatenate([inputs, taken, *timed], axis=-1)
        outputs, state = super()._run(inputs, state, mask, training)
        return outputs, settled(self.cell, state) if training else state

    def step(self, inputs, states):
        for label in self.python():
            raise NotImplementedError(not_exported(label))
        ports = self.cell.ports
        rare = [str(p) for p in ports.probes if p.sample_every is not None]
        if rare and self.return_sequences:
            raise NotImplementedError(
                f"{', '.join(rare)} has a sample_every, and a step has one output each"
                " time. Probe every step, and leave out steps where they are read."
            )
        frames = keras.tree.map_structure(lambda x: ops.expand_dims(x, 1), inputs)
        joined = ports.joined(frames, self.cell.state_dtype, self.name)
        output, states = super().step(joined[:, 0], states)
        return self._split(output, sampling=False), states
