"""A model cut into one step of time, with all of its states outside.

`y[t], s[t+1] = step(x[t], s[t])`. Every layer is called on a sequence of one step,
and a layer that carries states gets them from outside and hands them back. Nothing is
written into the model, its layers or the step itself, which threads may share.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

from keras_spiking_nengo.checks import checked_count
from keras_spiking_nengo.layers.base import SequenceLayer
from keras_spiking_nengo.models.calls import Call, Calls, Symbol, calls
from keras_spiking_nengo.models.replay import called, replay
from keras_spiking_nengo.models.time import acting, is_causal, presents
from keras_spiking_nengo.serving.kinds import Kind, is_recurrent, kinds_of, starts
from keras_spiking_nengo.serving.tensors import (
    NamedTensor,
    dtype_of,
    identifier,
    model_tensors,
    without_time,
)

__all__ = ["Step"]

Begin = Callable[[Any], Any]
# Outputs and new states of a call, for its arguments and states.
Advance = Callable[[Call, tuple, dict, Any], tuple[Any, Any]]


@dataclass(frozen=True, eq=False)
class _Carrying:
    """What one call carries from step to step.

    Attributes:
        begin: gives its states, a structure, for a size of batch.
        advance: makes a step.
        structure: of the states.
        ports: of the states, flat.
    """

    begin: Begin
    advance: Advance
    structure: Any
    ports: list[NamedTensor]


class Step:
    """One step of a functional or Sequential model.

    Where a static value is presented (`Repeat`, `RepeatVector`, an encoder with
    `n_steps`) the stream starts: what lies before is computed anew in each step, of a
    value that comes with each step, and the number of steps is forgotten.

    Args:
        model: `keras.Model`.

    Attributes:
        model: the same.
        inputs, outputs: `NamedTensor`s, in Keras's order.
        frames: whether each input is a value that comes with each step, and in the
            model has no axis of time.
        steps: number of steps that the model was made for, or None if that is open.
        states: tensors whose names begin with `state_`, in the order in which Keras
            calls the layers.

    Raises:
        TypeError: if `model` is no functional or Sequential model.
        NotImplementedError: for a layer that has no step, by name and with what to do.

    Example:
        >>> import keras_spiking_nengo as ksn
        >>> layer = ksn.layers.Synapse(0.01, return_sequences=True, name="slow")
        >>> step = Step(keras.Sequential([keras.Input((None, 2)), layer]))
        >>> [port.name for port in step.states]
        ['state_slow_filter']
        >>> y, states = step([keras.ops.ones((3, 2))], step.initial_state(3))
        >>> y[0].shape == (3, 2)
        True
    """

    def __init__(self, model: keras.Model):
        inputs, names = model_tensors(model)
        self.model = model
        self._calls = calls(model)
        self.frames = _frames(self._calls)
        self.inputs = [
            NamedTensor(port.name, without_time(port.shape, frame), port.dtype)
            for port, frame in zip(inputs, self.frames, strict=True)
        ]
        self.steps = _n_steps(self._calls, self.frames)
        kinds = kinds_of(self._calls, self.frames)
        symbols = self._calls.outputs.values()
        self._ends = [kinds[id(symbol)] for symbol in symbols]
        self.outputs = list(map(_output_port, names, symbols, self._ends))
        taken = {port.name for port in (*self.inputs, *self.outputs)}
        self._carrying = dict(_carrying(self._calls, kinds, taken))
        self.states = [
            p for carrying in self._carrying.values() for p in carrying.ports
        ]
        # Runs once: some layers say only then why they have no step.
        zeros = [ops.zeros((1, *port.shape[1:]), port.dtype) for port in self.inputs]
        self(zeros, self.initial_state(1))

    def initial_state(self, batch_size: Any) -> list:
        """One tensor for each of `states`, for a number of items that run together."""
        # Else it is a tensor, or an open size of JAX's.
        if type(batch_size).__module__ in ("builtins", "numpy"):
            batch_size = checked_count("batch_size", batch_size)
        begun = [carrying.begin(batch_size) for carrying in self._carrying.values()]
        return [
            ops.cast(ops.convert_to_tensor(value), port.dtype)
            for value, port in zip(keras.tree.flatten(begun), self.states, strict=True)
        ]

    def __call__(self, inputs: list, states: list) -> tuple[list, list]:
        """Outputs of a step and the states after it; all are flat lists."""
        before, after = self._by_call(states), {}

        def advance(call, args, kwargs):
            if call.name not in before:
                return _stateless(call, args, kwargs)
            advance = self._carrying[call.name].advance
            outputs, after[call.name] = advance(call, args, kwargs, before[call.name])
            return outputs

        outputs = replay(self._calls, self._sequences(inputs), advance)
        return (
            [
                y[:, 0] if kind is Kind.TIME else y
                for y, kind in zip(outputs, self._ends, strict=True)
            ],
            keras.tree.flatten([after[name] for name in before]),
        )

    def _by_call(self, states: list) -> dict[str, Any]:
        """States by the names of the calls that they are of, as these carry them."""
        tensors = dict(zip(self.states, states, strict=True))
        return {
            name: keras.tree.pack_sequence_as(
                carrying.structure, [tensors[port] for port in carrying.ports]
            )
            for name, carrying in self._carrying.items()
        }

    def _sequences(self, inputs: list) -> list:
        """Inputs of a step as the model takes them: sequences have one step."""
        ends = zip(inputs, self.inputs, self.frames, strict=True)
        tensors = [(ops.convert_to_tensor(x, port.dtype), f) for x, port, f in ends]
        return [x if frame else ops.expand_dims(x, 1) for x, frame in tensors]


# --- what goes in and out -----------------------------------------------------------


def _frames(calls: Calls) -> list[bool]:
    """Whether each input is a value that is presented, and no sequence."""
    presented = any(map(starts, calls))
    frames = []
    for name, x in calls.inputs.items():
        open_time = len(x.shape) > 1 and x.shape[1] is None
        if len(x.shape) < 3 and not open_time and not presented:
            raise NotImplementedError(
                f"Input {name!r} of {calls.model.name!r} has the shape"
                f" {tuple(x.shape)}, without an axis of time. Give keras.Input"
                " (None, *features), or present it with ksn.layers.Repeat."
            )
        frames.append(presented and not open_time)
    return frames


def _n_steps(calls: Calls, frames: list[bool]) -> int | None:
    """Number of steps of a model's sequences, if it is known."""
    inputs = zip(calls.inputs.values(), frames, strict=True)
    lengths = [x.shape[1] for x, frame in inputs if not frame]
    presenting = [call.operation for call in calls if starts(call)]
    lengths += [
        layer.n if hasattr(layer, "n") else layer.n_steps for layer in presenting
    ]
    return next((n for n in lengths if n is not None), None)


def _output_port(name: str, symbol: Symbol, kind: Kind) -> NamedTensor:
    features = symbol.shape[2 if kind is Kind.TIME else 1 :]
    return NamedTensor(name, (None, *features), dtype_of(symbol), kind is Kind.LAST)


# --- states -------------------------------------------------------------------------


def _carrying(
    calls: Calls, kinds: dict[int, Kind], taken: set[str]
) -> Iterator[tuple[str, _Carrying]]:
    """By the name of a call, what it carries; for those that carry anything.

    Args:
        kinds: of the symbols.
        taken: names of tensors, to which those of the states are added.
    """
    for call in sorted(calls, key=lambda call: call.turn):
        if is_recurrent(call):
            begin, advance = call.operation.get_initial_state, _advance_cell
        elif _looks_back(call, kinds):
            begin, advance = _past(call), _advance_convolution
        else:
            continue
        structure = begin(1)
        labels = _state_labels(call.operation)
        ports = []
        for i, state in enumerate(keras.tree.flatten(structure)):
            label = labels[i] if i < len(labels) else str(i)
            name = identifier(f"state_{call.operation.name}_{label}", taken)
            ports.append(NamedTensor(name, (None, *state.shape[1:]), dtype_of(state)))
        yield call.name, _Carrying(begin, advance, structure, ports)


def _looks_back(call: Call, kinds: dict[int, Kind]) -> bool:
    """Whether a call is a convolution along the time of the stream."""
    along_time = any(kinds[id(x)] is Kind.TIME for x in call.inputs)
    return is_causal(call.operation) and along_time and not call.per_step


def _past(call: Call) -> Begin:
    """Makes the steps before the first, which a convolution takes for zeros."""
    layer, (x, *_) = acting(call.operation), call.inputs
    n_steps = (layer.kernel_size[0] - 1) * layer.dilation_rate[0]
    return lambda batch_size: [ops.zeros((batch_size, n_steps, x.shape[2]), x.dtype)]


def _state_labels(layer: Any) -> tuple[str, ...]:
    cell = getattr(layer, "cell", None)
    of_keras = {keras.layers.LSTMCell: ("h", "c"), keras.layers.GRUCell: ("h",)}
    labels = getattr(cell, "state_names", None) or of_keras.get(type(cell), ())
    return tuple(labels) or (("past",) if cell is None else ())


# --- one call in a step -------------------------------------------------------------


def _stateless(call: Call, args: tuple, kwargs: dict) -> Any:
    return ops.expand_dims(args[0], 1) if starts(call) else called(call, args, kwargs)


def _advance_cell(call: Call, args: tuple, kwargs: dict, states) -> tuple[Any, Any]:
    layer, (x, *_) = call.operation, args
    if not presents(layer):
        x = keras.tree.map_structure(lambda x: x[:, 0], x)
    if isinstance(layer, SequenceLayer):
        y, states = layer.step(x, states)
    else:
        y, states = layer.cell(x, states, training=False)
    if layer.return_sequences:
        y = keras.tree.map_structure(lambda y: ops.expand_dims(y, 1), y)
    outputs = keras.tree.flatten([y, states] if layer.return_state else y)
    return keras.tree.pack_sequence_as(call.outputs, outputs), states


def _advance_convolution(call: Call, args: tuple, kwargs: dict, states):
    (before,) = states
    seen = ops.concatenate([before, ops.cast(args[0], before.dtype)], axis=1)
    return call.operation(seen)[:, -1:], [seen[:, 1:]]
