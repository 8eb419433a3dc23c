"""One step of a Nengo network, as a cell."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import keras
import nengo
import numpy as np
from keras import ops
from nengo.builder import Model

from keras_spiking_nengo.checks import (
    brief,
    check_kind,
    checked_dt,
    checked_items,
    checked_seed,
    one_of,
)
from keras_spiking_nengo.dynamics import surrogates
from keras_spiking_nengo.dynamics.loops import (
    call_host,
    static_length,
    weight_name,
)
from keras_spiking_nengo.dynamics.modes import FORWARDS
from keras_spiking_nengo.engine import Mode, Program, compile_model
from keras_spiking_nengo.engine.frozen import freeze
from keras_spiking_nengo.engine.keras_layers import KerasWeight, LayerCall
from keras_spiking_nengo.engine.program import streams_of
from keras_spiking_nengo.engine.quick_builder import QuickBuilder
from keras_spiking_nengo.engine.signals import sliced
from keras_spiking_nengo.engine.stored import network_from_config, network_to_config
from keras_spiking_nengo.engine.trainable import NamedWeight, weights_of
from keras_spiking_nengo.graphs import unused
from keras_spiking_nengo.layers.base import Cell
from keras_spiking_nengo.layers.parameters import checked_surrogate, weight_from
from keras_spiking_nengo.layers.ports import Ports
from keras_spiking_nengo.layers.timed_tables import NetworkTables
from keras_spiking_nengo.saving import registered

__all__ = ["NetworkCell", "settled"]


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

    tables: NetworkTables

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
        self.dt = checked_dt(dt)
        if isinstance(net, dict):
            net = network_from_config(net, self.dt)
        if not isinstance(net, nengo.Network):
            raise TypeError(f"net is a nengo.Network; received {brief(net)}.")
        self.surrogate = checked_surrogate(surrogate)
        self.training_mode = one_of("forward", forward, FORWARDS)
        self.seed = checked_seed(seed)
        self.ports = Ports(net, inputs, outputs)
        check_kind("model", model, (Model, type(None)), "a nengo.builder.Model")
        model = _built(net, self.dt) if model is None else model
        program = _compiled(model, self.ports, self.seed or 0)
        # Keras would wrap these, as it does with anything that could hold layers.
        for name, value in (("net", net), ("model", model), ("engine", program)):
            object.__setattr__(self, name, value)
        self.tables = NetworkTables(self)
        # Whether anything depends on the number of the step, which is a state then.
        self.clocked = _is_clocked(program)
        clock = ("step",) if self.clocked else ()
        self.state_names = (*clock, *program.state_names)
        self.streams = tuple(at + self.clocked for at in streams_of(program))
        self.trained = None if trained is None else _checked_names(trained)
        # Whether the layer goes on from where it was; then timed inputs do, too.
        self.continued = False

    # --- weights ----------------------------------------------------------------

    def build(self, input_shape):
        super().build(input_shape)
        _check_features(self)
        weights = _used_weights(self)
        # A tuple: TensorFlow exports no dict whose keys are not strings.
        self._signals = tuple(weight.signal for weight in weights)
        values, dtype = self.engine.parameters, self.state_dtype
        self._variables = [
            weight_from(
                self, name, values[w.signal], dtype, w.trainable, **_options(w.signal)
            )
            for w, name in zip(weights, _keras_names(weights), strict=True)
        ]
        pairs = zip(self._variables, weights, strict=True)
        # What Keras calls those that Nengo has drawn or solved.
        self.built_paths = tuple(v.path for v, weight in pairs if weight.built)

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
        return [(1,), *shapes] if self.clocked else shapes

    def state_dtypes(self):
        dtypes = self.engine.state_dtypes(self._mode(False))
        return [self.state_dtype, *dtypes] if self.clocked else dtypes

    def initial_state(self, batch_size):
        state = self.engine.initial_state(batch_size, self._mode(False))
        step = ops.zeros((batch_size, 1), dtype=self.state_dtype)
        return [step, *state] if self.clocked else state

    # --- running ----------------------------------------------------------------

    def _mode(self, training) -> Mode:
        mode = Mode(self.state_dtype, bool(training), self.training_mode)
        if self.surrogate is None:
            return mode
        return replace(mode, surrogate=self.surrogate)

    def _packed(self, mode: Mode):
        tensors = map(ops.convert_to_tensor, self._variables)
        return self.engine.pack(dict(zip(self._signals, tensors, strict=True)), mode)

    def program(self, training=False):
        """A step of the network.

        Behind its features, an input may have whether the step is taken, 1 or 0, and
        the values of the timed inputs.
        """
        mode = self._mode(training)
        widths = [timed.value.size for timed in self.engine.timed_inputs]
        # What follows the inputs of a step: whether it is taken, and timed values.
        sizes = dict(enumerate((1, *widths)))

        def step(p, x, state):
            (x,), state = x, list(state)
            clocked = self.clocked
            count = state.pop(0) + 1 if clocked else ops.ones_like(x[..., :1])
            (width,) = self.features
            if x.shape[-1] > width:
                taken, *timed = sliced(x[..., width:], sizes).values()
                count = count * taken
            else:
                timed = self.timed(count)
            inputs = _inputs(self, x, timed, count)
            outputs, state = self.engine.step(p["operations"], state, inputs, mode)
            new = [count, *state] if clocked else state
            return self.ports.side_by_side(outputs), new

        return step, {"operations": self._packed(mode)}

    def sequence(self, inputs, state, training, unroll):
        mode = self._mode(training)
        clocked, state = self.clocked, list(state)
        first = state.pop(0) if clocked else ops.zeros_like(inputs[:, 0, :1])
        steps = first[:, None] + ops.cumsum(ops.ones_like(inputs[..., :1]), axis=1)
        values = _inputs(self, inputs, self.timed(steps, training), steps)
        outputs, state = self.engine.sequence(
            self._packed(mode), state, values, mode, bool(training), unroll
        )
        new = [steps[:, -1], *state] if clocked else state
        return self.ports.side_by_side(outputs), new

    def timed(self, steps, training=False, masked: bool = False) -> list:
        """Values `(batch, [time,] size)` of each timed input.

        They are computed now where the length of a sequence is known and it begins
        at the first step; else by Python, when the program runs. So are those that are
        drawn, in training: other ones in every call.

        Args:
            steps: `(batch, [time,] 1)`, numbers of the steps.
            training: whether it is.
            masked: whether a number may stand for several steps.
        """
        length = static_length(steps) if len(steps.shape) == 3 else None
        values = []
        for place, timed in enumerate(self.engine.timed_inputs):
            size, dtype = timed.value.size, self.state_dtype
            table = self.tables.of(place, length, training)
            if table is None:
                at = partial(timed.at, draw=bool(training))
                values.append(call_host(at, [steps], size, dtype, timed.label))
                continue
            table = ops.convert_to_tensor(table, dtype=dtype)
            if masked:
                places = ops.cast(steps[..., 0], "int32") - 1
                values.append(ops.take(table[0], places, axis=0))
            else:
                shape = (ops.shape(steps)[0], length, size)
                values.append(ops.broadcast_to(table, shape))
        return values

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


def settled(cell: NetworkCell, state: Sequence) -> list:
    """The state after training, once weights took what Keras's layers made of them."""
    state, first = list(state), int(cell.clocked)
    weights = dict(zip(cell._signals, cell._variables, strict=True))
    for operation in cell.engine.operations:
        if isinstance(operation, LayerCall):
            for at, key in operation.changed_weights():
                change = ops.mean(state[first + at], axis=0)
                weights[key].assign(weights[key] + change)
                state[first + at] = ops.zeros_like(state[first + at])
        first += len(operation.initial)
    return state


def _checked_names(trained) -> tuple[str, ...]:
    possible = "names of weights, such as ['ensemble.bias'], or None"
    names = checked_items("trained", trained, possible)
    for name in names:
        check_kind(f"Each of trained={names}", name, str, "the name of a weight")
    return names


def _built(net: nengo.Network, dt: float) -> Model:
    model = Model(dt=dt, label=str(net), builder=QuickBuilder())
    model.build(net)
    return model


def _compiled(model: Model, ports: Ports, seed: int) -> Program:
    program = compile_model(model, ports.nodes, ports.probes)
    rng = np.random.RandomState(seed)
    for _, operator in program.python_operators:
        operator.reset(rng)
    return program


def _check_features(cell: NetworkCell) -> None:
    """Raise if a cell is given features that its nodes do not take."""
    expected = cell.ports.input_size
    advice = (
        " Without input nodes give it any (batch, time, 1): it tells the number of"
        " steps."
    )
    if cell.features != (max(expected, 1),):
        raise ValueError(
            f"{cell.name} takes {expected} values per step, for its input nodes"
            f" {cell.ports.describe()}; received {cell.features}."
            f"{'' if expected else advice}"
        )


def _inputs(cell: NetworkCell, x, timed: Iterable, steps) -> dict:
    """What a program is given, by its inputs."""
    step, time, *others = cell.engine.inputs
    parts = sliced(x, {node: node.size_out for node in cell.ports.nodes})
    values = dict(zip(others, [*parts.values(), *timed], strict=True))
    return {step: steps, time: steps * cell.dt, **values}


def _options(signal) -> dict[str, Any]:
    """What a layer of Keras says of its weight."""
    if not isinstance(signal, KerasWeight):
        return {}
    variable = signal.variable
    names = ("regularizer", "constraint")
    return {name: getattr(variable, name, None) for name in names}


def _keras_names(weights: Iterable[NamedWeight]) -> list[str]:
    """What Keras calls the weights: labels may differ where these do not."""
    names: dict[str, None] = {}
    for weight in weights:
        names[unused(weight_name(weight.name), names)] = None
    return list(names)


def _is_clocked(program: Program) -> bool:
    clock = program.used_inputs & set(program.inputs[:2])
    return bool(clock or program.python())


def _used_weights(cell: NetworkCell) -> list[NamedWeight]:
    """The weights that a program uses, and whether its cell trains them."""
    weights, trained = weights_of(cell.net, cell.model), cell.trained
    names = [weight.name for weight in weights]
    unknown = sorted(set(trained or ()) - set(names))
    if unknown:
        raise ValueError(
            f"{cell.name} has no weights {unknown}; trained names some of {names}."
        )
    if trained is not None:
        weights = [replace(w, trainable=w.name in trained) for w in weights]
    used = set(cell.engine.used_parameters())
    return [weight for weight in weights if weight.signal in used]
