"""A whole Nengo network as one Keras layer."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import keras
import nengo
import numpy as np
from keras import ops
from nengo.builder import Model

from keras_spiking_nengo.checks import checked_dt, checked_seed
from keras_spiking_nengo.dynamics import surrogates
from keras_spiking_nengo.dynamics.loops import call_host, not_exported, static_length
from keras_spiking_nengo.dynamics.modes import FORWARDS
from keras_spiking_nengo.engine import Mode, compile_model
from keras_spiking_nengo.engine.frozen import (
    freeze,
    network_from_config,
    network_to_config,
)
from keras_spiking_nengo.engine.signals import sampled
from keras_spiking_nengo.engine.trainable import weights_of
from keras_spiking_nengo.layers.base import Cell, SequenceLayer
from keras_spiking_nengo.layers.parameters import checked_surrogate
from keras_spiking_nengo.layers.ports import Ports, mapped
from keras_spiking_nengo.layers.sizes import check_batch, check_steps
from keras_spiking_nengo.saving import registered

__all__ = ["Network", "NetworkCell"]


@registered()
class NetworkCell(Cell):
    """One step of a Nengo network.

    Args:
        **kwargs: the arguments of `Network` that are not those of an RNN layer, and
            those of `keras.layers.Layer`.

    Call arguments:
        inputs: `(batch, size)`: the input nodes' values, one after the other.
        states: one tensor per name in `state_names`.
        training: bool.

    Output shape:
        `(batch, size)`: the probes' values, one after the other.

    Raises:
        ValueError, BuildError: for arguments that `Network` refuses.

    Example:
        >>> import keras, nengo
        >>> with nengo.Network(seed=0) as net:
        ...     stimulus = nengo.Node([0.0])
        ...     ens = nengo.Ensemble(20, 1)
        ...     c = nengo.Connection(stimulus, ens)
        ...     probe = nengo.Probe(ens, synapse=0.01)
        >>> layer = keras.layers.RNN(NetworkCell(net), return_sequences=True)
        >>> layer(keras.ops.ones((1, 10, 1))).shape == (1, 10, 1)
        True

    Reference:
        Bekolay et al. (2014), *Nengo: a Python tool for building large-scale
        functional brain models*, Front. Neuroinform. 7.
    """

    def __init__(
        self,
        net: nengo.Network | dict,
        inputs: Any = None,
        outputs: Any = None,
        dt: float = 0.001,
        surrogate: str | surrogates.Surrogate | dict | None = None,
        forward: str = "spikes",
        seed: int | None = None,
        trained: Sequence[str] | None = None,
        model: Model | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if isinstance(net, dict):
            net = network_from_config(net)
        if not isinstance(net, nengo.Network):
            raise TypeError(f"net is a nengo.Network; received {net!r}.")
        if forward not in FORWARDS:
            raise ValueError(f"forward is one of {FORWARDS}; received {forward!r}.")
        self.dt = checked_dt(dt)
        self.surrogate = checked_surrogate(surrogate)
        self.training_mode = forward
        self.seed = checked_seed(seed)
        self.ports = Ports(net, inputs, outputs)
        self._take(net, model)
        self.trained = None if trained is None else tuple(trained)
        # Whether the layer goes on from where it was; then sources do, too.
        self.continued = False

    def _take(self, net: nengo.Network, model: Model | None) -> None:
        model = model or _built(net, self.dt)
        # Keras would wrap these, as it does with anything that could hold layers.
        object.__setattr__(self, "net", net)
        object.__setattr__(self, "model", model)
        program = compile_model(model, self.ports.nodes, self.ports.probes)
        object.__setattr__(self, "engine", program)
        object.__setattr__(self, "_kept", {})
        object.__setattr__(self, "_asked", set())
        rng = np.random.RandomState(self.seed or 0)
        for _, call in program.calls:
            call.reset(rng)
        self._clocked = bool(program.sources) or bool(
            program.used_inputs & set(program.inputs[:2])
        )
        clock = ("step",) if self._clocked else ()
        self.state_names = (*clock, *program.state_names)

    # --- weights ----------------------------------------------------------------

    def build(self, input_shape):
        super().build(input_shape)
        expected = self.ports.input_size
        if self.features != (max(expected, 1),):
            raise ValueError(
                f"{self.name} takes {expected} values per step, for its input nodes"
                f" {self.ports.describe()}; received {self.features}."
                + (
                    ""
                    if expected
                    else " Without input nodes give it any (batch, time,"
                    " 1): it tells the number of steps."
                )
            )
        used = set(self.engine.used_parameters())
        weights = weights_of(self.net, self.model)
        names = [weight.name for weight in weights]
        unknown = sorted(set(self.trained or ()) - set(names))
        if unknown:
            raise ValueError(
                f"{self.name} has no weights {unknown}; trained names some of {names}."
            )
        weights = [weight for weight in weights if weight.signal in used]
        # A tuple: TensorFlow exports no dict whose keys are not strings.
        self._signals = tuple(weight.signal for weight in weights)
        self._variables = []
        on_torch = keras.backend.backend() == "torch"
        for weight in weights:
            value = self.engine.parameters[weight.signal]
            variable = self.add_weight(
                # Torch takes no dots in the names of its parameters.
                name=weight.name.replace(".", ":") if on_torch else weight.name,
                shape=np.shape(value),
                dtype=self.state_dtype,
                initializer=lambda shape, dtype, value=value: ops.cast(
                    np.asarray(value), dtype
                ),
                trainable=weight.trainable
                if self.trained is None
                else weight.name in self.trained,
                autocast=False,
            )
            self._variables.append(variable)

    def values(self) -> dict[Any, np.ndarray]:
        """Present values of the weights, by nengo's signals."""
        arrays = map(ops.convert_to_numpy, self._variables)
        return dict(zip(self._signals, arrays, strict=True))

    def assign(self, values: Mapping[Any, np.ndarray]) -> None:
        """Set weights to values by nengo's signals, as `values` returns them."""
        for signal, variable in zip(self._signals, self._variables, strict=True):
            if signal in values:
                variable.assign(values[signal])

    # --- state ------------------------------------------------------------------

    @property
    def output_size(self):
        return self.ports.output_size(self.model)

    def state_shapes(self):
        shapes = [value.shape for value in self.engine.initial]
        return [(1,), *shapes] if self._clocked else shapes

    def state_dtypes(self):
        dtypes = self.engine.state_dtypes(self._mode(False))
        return [self.state_dtype, *dtypes] if self._clocked else dtypes

    def initial_state(self, batch_size):
        state = self.engine.initial_state(batch_size, self._mode(False))
        step = ops.zeros((batch_size, 1), dtype=self.state_dtype)
        return [step, *state] if self._clocked else state

    # --- running ----------------------------------------------------------------

    def _mode(self, training) -> Mode:
        own: dict[str, Any] = {}
        if self.surrogate is not None:
            own["surrogate"] = self.surrogate
        return Mode(self.state_dtype, bool(training), self.training_mode, **own)

    def _packed(self, mode: Mode):
        tensors = map(ops.convert_to_tensor, self._variables)
        return self.engine.pack(dict(zip(self._signals, tensors, strict=True)), mode)

    def program(self, training=False):
        mode = self._mode(training)
        packed = self._packed(mode)
        flat = {f"{i}.{k}": v for i, p in enumerate(packed) for k, v in p.items()}

        def step(p, x, state):
            own: list[dict] = [{} for _ in packed]
            for key, value in p.items():
                i, _, name = key.partition(".")
                own[int(i)][name] = value
            state = list(state)
            count = state.pop(0) + 1 if self._clocked else ops.ones_like(x[0][..., :1])
            inputs = self._inputs(x[0], count)
            for source in self.engine.sources:
                inputs[source.value] = self._by_python(source, count)
            outputs, state = self.engine.step(own, state, inputs, mode)
            new = [count, *state] if self._clocked else state
            return self._joined(outputs), new

        return step, flat

    def sequence(self, inputs, state, training, unroll):
        mode = self._mode(training)
        state = list(state)
        first = state.pop(0) if self._clocked else ops.zeros_like(inputs[:, 0, :1])
        ones = ops.ones_like(inputs[..., :1])
        steps = first[:, None] + ops.cumsum(ones, axis=1)
        given = self._inputs(inputs, steps)
        for source in self.engine.sources:
            given[source.value] = self._ahead(source, steps)
        outputs, state = self.engine.sequence(
            self._packed(mode), state, given, mode, bool(training), unroll
        )
        new = [steps[:, -1], *state] if self._clocked else state
        return self._joined(outputs), new

    def _inputs(self, x, steps) -> dict:
        step, time, *values = self.engine.inputs
        found, start = {step: steps, time: steps * self.dt}, 0
        for value in values[: len(self.ports.nodes)]:
            found[value] = x[..., start : start + value.size]
            start += value.size
        return found

    def _ahead(self, source, steps):
        """A source's values for all steps."""
        length = static_length(steps)
        if self.continued or length is None:
            return self._by_python(source, steps)
        self._asked.discard(source)
        values = self._values(source, np.arange(1, length + 1))[None]
        values = ops.convert_to_tensor(values, dtype=self.state_dtype)
        shape = (ops.shape(steps)[0], length, source.value.size)
        return ops.broadcast_to(values, shape)

    def _by_python(self, source, steps):
        """A source's values, computed by Python when the program runs."""

        def values(steps):
            return self._values(source, np.round(steps[..., 0]).astype(int))

        self._asked.add(source)
        size, label = source.value.size, source.label
        return call_host(values, [steps], size, self.state_dtype, label)

    def _values(self, source, numbers: np.ndarray) -> np.ndarray:
        """A source's values at steps; it runs once, in order, as a process must."""
        kept = self._kept.get(source, np.zeros((0, source.value.size)))
        missing = np.max(numbers, initial=0) - len(kept)
        if missing > 0:
            kept = np.concatenate([kept, source(len(kept), missing)[0]])
            self._kept[source] = kept
        return kept[numbers - 1]

    def _joined(self, outputs: Mapping):
        return ops.concatenate([outputs[p] for p in self.ports.probes], axis=-1)

    def python(self) -> list[str]:
        """Labels of what calls Python when the program runs as it last did."""
        sources = [source for source in self.engine.sources if source in self._asked]
        return [item.label for item in (*self.engine.hosts, *sources)]

    def network(self) -> nengo.Network:
        """A Nengo network with the present weights."""
        return freeze(self.net, self.model, self.values())[0]

    # --- configuration ----------------------------------------------------------

    def get_config(self):
        frozen, new = freeze(self.net, self.model)
        ports = self.ports.moved(new)
        weights = weights_of(self.net, self.model)
        trained = [weight.name for weight in weights if weight.trainable]
        trained = trained if self.trained is None else list(self.trained)
        return {
            **super().get_config(),
            "net": network_to_config(frozen, frozenset(ports.nodes)),
            **ports.to_config(frozen),
            "dt": self.dt,
            "surrogate": keras.saving.serialize_keras_object(self.surrogate),
            "forward": self.training_mode,
            "seed": self.seed,
            "trained": trained,
        }


def _built(net: nengo.Network, dt: float) -> Model:
    model = Model(dt=dt, label=str(net))
    model.build(net)
    return model


@registered()
class Network(SequenceLayer):
    """A whole Nengo network over time, as one layer.

    What is on no cycle runs for all steps at once, and only recurrences loop. In
    float64 the layer matches `nengo.Simulator`, spike for spike.

    Weights are the network's connection weights, encoders and biases, named by
    their nengo labels; `ksn.configure` says which of them are trained. Weights that
    an online rule changes are states: every sequence begins with what was built,
    or goes on with what was learned if the layer is `stateful`.

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
        seed: int. Seeds random processes of the network that have no seed.
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
        mask: `(batch, time)` booleans.
        training: bool.

    Output shape:
        `(batch, time, *size)` per probe with `return_sequences=True`, else
        `(batch, *size)`, the last step. With `return_state=True`, the states
        follow.

    Raises:
        BuildError: for a loop without synapses, and for what nengo refuses.
        ValueError, TypeError: for inputs and outputs that are not in the network.

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

    def _trackable_children(self, save_type="checkpoint", **kwargs):
        # TensorFlow asks for these when it exports, after it has traced a graph that
        # could not be run elsewhere.
        if save_type == "savedmodel":
            for label in self.cell.python():
                raise NotImplementedError(not_exported(label))
        return super()._trackable_children(save_type, **kwargs)

    # --- structures -------------------------------------------------------------

    def build(self, sequences_shape, initial_state_shape=None):
        super().build(self._joined_shape(sequences_shape))
        if isinstance(self.cell.ports.inputs, list | dict):
            self.input_spec = None

    def _joined_shape(self, shapes):
        structure = self.cell.ports.inputs
        if not isinstance(structure, list | dict) or not structure:
            return shapes
        self._check_structure(shapes)
        named = isinstance(structure, dict)
        flat = [shapes[name] for name in structure] if named else list(shapes)
        for shape, node in zip(flat, self.cell.ports.nodes, strict=True):
            if len(shape) != 3 or shape[2] != node.size_out:
                raise ValueError(
                    f"{self.name} takes (batch, time, {node.size_out}) for {node};"
                    f" received {tuple(shape)}."
                )
        return (*flat[0][:2], sum(shape[2] for shape in flat))

    def _check_structure(self, given) -> None:
        structure = self.cell.ports.inputs
        if isinstance(structure, dict):
            fits = isinstance(given, dict) and set(given) == set(structure)
            wanted = f"a dict with the keys {sorted(structure)}"
        else:
            fits = isinstance(given, list | tuple) and len(given) == len(structure)
            wanted = f"a list of {len(structure)}"
        if not fits:
            keys = sorted(given) if isinstance(given, dict) else type(given).__name__
            raise ValueError(
                f"{self.name} takes {wanted}, for {self.cell.ports.describe()};"
                f" received {keys}."
            )

    def _joined(self, sequences):
        structure = self.cell.ports.inputs
        if not isinstance(structure, list | dict) or not structure:
            return sequences
        self._check_structure(sequences)
        named = isinstance(structure, dict)
        flat = [sequences[name] for name in structure] if named else list(sequences)
        shapes = [tuple(x.shape) for x in flat]
        self._joined_shape(
            dict(zip(structure, shapes, strict=True)) if named else shapes
        )
        dtype = self.cell.state_dtype
        return ops.concatenate([ops.cast(x, dtype) for x in flat], axis=-1)

    def step(self, inputs, states):
        for label in self.python():
            raise NotImplementedError(not_exported(label))
        rare = [str(p) for p in self.cell.ports.probes if p.sample_every is not None]
        if rare and self.return_sequences:
            raise NotImplementedError(
                f"{', '.join(rare)} has a sample_every, and a step has one output each"
                " time. Probe every step, and leave out steps where they are read."
            )
        sequences = keras.tree.map_structure(lambda x: ops.expand_dims(x, 1), inputs)
        output, states = super().step(self._joined(sequences)[:, 0], states)
        return self._split(output, steps=False), states

    def python(self) -> list[str]:
        """Labels of what would call Python when the layer runs step by step."""
        engine = self.cell.engine
        return [item.label for item in (*engine.hosts, *engine.sources)]

    def call(self, sequences, initial_state=None, mask=None, training=False):
        if initial_state is not None and self.cell.engine.sources:
            names = ", ".join(s.label for s in self.cell.engine.sources)
            raise NotImplementedError(
                f"{self.name} is given a state, but {names} would begin anew: give"
                " their values as inputs, or use stateful=True."
            )
        if isinstance(mask, list | tuple | dict):
            masks = mask.values() if isinstance(mask, dict) else mask
            mask = next((m for m in masks if m is not None), None)
        joined = self._joined(sequences)
        result = super().call(joined, initial_state, mask, training)
        output, *state = result if self.return_state else (result,)
        parts = self._split(output, self.return_sequences)
        return (parts, *state) if self.return_state else parts

    def _split(self, output, steps: bool):
        ports, model = self.cell.ports, self.cell.model
        parts, start = {}, 0
        for probe in ports.probes:
            signal = model.sig[probe]["in"]
            part = output[..., start : start + signal.size]
            start += signal.size
            if steps and probe.sample_every is not None:
                part = self._sampled(part, probe)
            if signal.ndim != 1:
                part = ops.reshape(part, (*ops.shape(part)[:-1], *signal.shape))
            parts[probe] = part
        return mapped(parts.__getitem__, ports.outputs)

    def _sampled(self, part, probe):
        period = probe.sample_every / self.cell.dt
        length = static_length(part)
        if length is not None:
            steps = np.arange(1, length + 1)
            kept = sampled(steps, probe.sample_every, self.cell.dt)
            return ops.take(part, np.flatnonzero(kept), axis=1)
        if abs(period - round(period)) > 1e-9:
            raise ValueError(
                f"{probe} samples every {period:g} steps, which needs a number of steps"
                " that is known: give the time dimension in keras.Input."
            )
        return part[:, round(period) - 1 :: round(period)]

    # --- shapes -----------------------------------------------------------------

    def compute_output_shape(self, sequences_shape, initial_state_shape=None):
        shape = self._joined_shape(sequences_shape)
        flat = super().compute_output_shape(shape)
        flat, *states = flat if self.return_state else (flat,)
        parts = {
            probe: self._probe_shape(probe, flat[:-1])
            for probe in self.cell.ports.probes
        }
        output = mapped(parts.__getitem__, self.cell.ports.outputs)
        return (output, *states) if self.return_state else output

    def _probe_shape(self, probe, lead):
        if self.return_sequences and probe.sample_every and lead[1] is not None:
            steps = np.arange(1, lead[1] + 1)
            kept = sampled(steps, probe.sample_every, self.cell.dt)
            lead = (lead[0], int(np.sum(kept)))
        return (*lead, *self.cell.model.sig[probe]["in"].shape)

    def compute_output_spec(self, sequences, *args, **kwargs):
        structure = self.cell.ports.inputs
        shapes = (
            {k: v.shape for k, v in sequences.items()}
            if isinstance(sequences, dict)
            else [x.shape for x in sequences]
            if isinstance(structure, list) and structure
            else sequences.shape
        )
        joined = self._joined_shape(shapes)
        check_steps(self, joined)
        check_batch(self, joined, self._expected_batch_size)
        shapes = self.compute_output_shape(shapes)
        output, *states = shapes if self.return_state else (shapes,)
        dtypes = self.cell.state_dtypes()
        output = mapped(
            lambda shape: keras.KerasTensor(shape, dtype=self.compute_dtype), output
        )
        if not self.return_state:
            return output
        return (output, *map(keras.KerasTensor, states, dtypes))

    def compute_mask(self, _, mask=None):
        if isinstance(mask, list | tuple | dict):
            masks = mask.values() if isinstance(mask, dict) else mask
            mask = next((m for m in masks if m is not None), None)
        masks = mapped(
            lambda probe: (
                mask if self.return_sequences and not probe.sample_every else None
            ),
            self.cell.ports.outputs,
        )
        if not self.return_state:
            return masks
        return [masks, *[None] * len(self.cell.state_names)]
