"""A model cut into one step of time, with all of its states outside.

`y[t], s[t+1] = step(x[t], s[t])`. Every layer is called on a sequence of one step,
and a layer that carries states gets them from outside and hands them back. Nothing is
written into the model, and its layers keep no trace of it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import keras
from keras import ops

from keras_spiking_nengo.layers.base import SequenceLayer
from keras_spiking_nengo.serving.tensors import (
    NamedTensor,
    check_model,
    dtype_of,
    identifier,
    model_tensors,
    without_time,
)
from keras_spiking_nengo.serving.time_rules import (
    Kind,
    check_apart,
    check_run,
    is_causal,
    presents,
    runs,
)

__all__ = ["Step", "layers_of"]

flatten, mapped = keras.tree.flatten, keras.tree.map_structure


@dataclass
class _Carried:
    """States of one call of one layer."""

    operation: Any
    begin: Callable[[Any], list]
    structure: Any
    ports: list[NamedTensor] = field(default_factory=list)


class Step:
    """One step of a functional or Sequential model.

    Where a static value is presented (`Repeat`, `RepeatVector`, an encoder with
    `n_steps`) the stream starts: what lies before is computed anew in each step, of a
    value that comes with each step, and the number of steps is forgotten.

    Args:
        model: `keras.Model`.

    Attributes:
        inputs, outputs: `NamedTensor`s, in Keras's order.
        frames: whether each input is a value that comes with each step, and in the
            model has no axis of time.
        steps: number of steps that the model was made for, or None if that is open.
        states: `NamedTensor`s whose names begin with `state_`, layer by layer.

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
        inputs, outputs = model_tensors(model)
        self.model = model
        self._kinds: dict[int, Kind] = {}
        self._kept: list = []  # an id is that of what lives
        self._carried: dict[tuple[int, int], _Carried] = {}
        self.frames = self._static(model)
        self.inputs = [
            NamedTensor(port.name, without_time(port.shape, frame), port.dtype)
            for port, frame in zip(inputs, self.frames, strict=True)
        ]
        self.steps = _steps(model, self.frames)
        kinds = [Kind.FRAME if frame else Kind.TIME for frame in self.frames]
        self._refused: Exception | None = None
        try:
            self._clone = self._cut(model, kinds)
        except Exception:
            if self._refused is None:
                raise
            # Without what Keras adds to it, which is about what stands for the layer.
            raise self._refused from None
        self._ends = [self._kinds[id(y)] for y in self._clone.outputs]
        self.outputs = self._output_ports(outputs)
        self._run: _Run | None = _Run(self, None)
        self._begin()
        self._run = None

    # --- running ------------------------------------------------------------------

    @property
    def states(self) -> list[NamedTensor]:
        return [port for found in self._carried.values() for port in found.ports]

    def initial_state(self, batch_size: Any) -> list:
        """One tensor for each of `states`, for a number of items that run together."""
        begun = [found.begin(batch_size) for found in self._carried.values()]
        return [
            ops.cast(ops.convert_to_tensor(value), port.dtype)
            for value, port in zip(flatten(begun), self.states, strict=True)
        ]

    def __call__(self, inputs: list, states: list) -> tuple[list, list]:
        """Outputs of a step and the states after it; all are flat lists."""
        self._run = run = _Run(self, states)
        try:
            outputs = self._outputs(inputs)
            return outputs, run.new_states()
        finally:
            self._run = None

    def _outputs(self, inputs: list) -> list:
        tensors = map(ops.convert_to_tensor, inputs)
        given = [
            x if frame else ops.expand_dims(x, 1)
            for x, frame in zip(tensors, self.frames, strict=True)
        ]
        found = flatten(
            self._clone(keras.tree.pack_sequence_as(self._clone.input, given))
        )
        return [
            y[:, 0] if kind is Kind.TIME else y
            for y, kind in zip(found, self._ends, strict=True)
        ]

    def _begin(self) -> None:
        """Runs once, to learn which states there are."""
        zeros = [ops.zeros((1, *p.shape[1:]), p.dtype) for p in self.inputs]
        self._outputs(zeros)
        taken: set[str] = {port.name for port in (*self.inputs, *self.outputs)}
        for found in self._carried.values():
            labels = _state_names(found.operation)
            for i, state in enumerate(flatten(found.begin(1))):
                label = labels[i] if i < len(labels) else str(i)
                name = identifier(f"state_{found.operation.name}_{label}", taken)
                shape = (None, *state.shape[1:])
                found.ports.append(NamedTensor(name, shape, dtype_of(state)))

    # --- cutting ------------------------------------------------------------------

    def _static(self, model) -> list[bool]:
        """Whether each input is a value that is presented, and no sequence."""
        presented = any(map(presents, layers_of(model)))
        found = []
        for x in model.inputs:
            open_time = len(x.shape) > 1 and x.shape[1] is None
            if len(x.shape) < 3 and not open_time and not presented:
                raise NotImplementedError(
                    f"Input {x.name!r} of {model.name!r} has the shape"
                    f" {tuple(x.shape)}, without an axis of time. Give keras.Input"
                    " (None, *features), or present it with ksn.layers.Repeat."
                )
            found.append(presented and not open_time)
        return found

    def _cut(self, model, kinds: list[Kind], shapes=None):
        """A model of the same graph whose sequences have one step."""
        tensors: list = []
        for x, kind in zip(model.inputs, kinds, strict=True):
            shape = x.shape if shapes is None else shapes[len(tensors)]
            rest = shape[1:] if kind is not Kind.TIME else (1, *shape[2:])
            tensor = keras.Input(rest, dtype=x.dtype, name=x.name)
            self._kinds[id(tensor)] = kind
            tensors.append(tensor)
        if isinstance(model, keras.Sequential):
            return self._chained(model, tensors[0])
        return keras.models.clone_model(
            model,
            input_tensors=keras.tree.pack_sequence_as(model.input, tensors),
            clone_function=lambda operation: _Part(operation, self),
        )

    def _chained(self, model, x):
        y = x
        for layer in model.layers:
            y = _Part(layer, self)(y)
        return keras.Model(x, y)

    def _output_ports(self, names: list[str]) -> list[NamedTensor]:
        ports = []
        for name, y, kind in zip(names, self._clone.outputs, self._ends, strict=True):
            shape = (None, *y.shape[2 if kind is Kind.TIME else 1 :])
            ports.append(NamedTensor(name, shape, dtype_of(y), kind is Kind.LAST))
        return ports

    # --- one layer ------------------------------------------------------------------

    def spec(self, part: "_Part", args, kwargs):
        """Symbolic outputs of a layer, or the reason why it has no step."""
        operation = part.operation
        tensors = _tensors(args, kwargs)
        kinds = [self._kinds[id(x)] for x in tensors]
        try:
            if isinstance(operation, keras.Model):
                return self._nested(part, tensors, kinds)
            if presents(operation) or runs(operation):
                return self._run_spec(part, args, kwargs, kinds)
            return self._plain_spec(part, args, kwargs, tensors, kinds)
        except (NotImplementedError, TypeError) as error:
            self._refused = self._refused or error
            raise

    def _nested(self, part, tensors, kinds):
        check_model(part.operation)
        shapes = [tuple(x.shape) for x in tensors]
        part.keep(self._cut(part.operation, kinds, shapes))
        found = [
            self._as(self._kinds[id(y)], keras.KerasTensor(y.shape, y.dtype))
            for y in part.inner.outputs
        ]
        return keras.tree.pack_sequence_as(part.inner.output, found)

    def _run_spec(self, part, args, kwargs, kinds):
        operation = part.operation
        check_run(operation, args, kwargs, kinds)
        x = args[0]
        if not runs(operation):
            shape = (x.shape[0], 1, *x.shape[1:])
            return self._as(Kind.TIME, keras.KerasTensor(shape, x.dtype))
        found = operation.compute_output_spec(x)
        y, *states = found if operation.return_state else (found,)
        kind = Kind.TIME if operation.return_sequences else Kind.LAST
        y = mapped(lambda y: self._one_step(kind, y), y)
        states = [self._as(Kind.LAST, s) for s in flatten(states)]
        return (y, *states) if operation.return_state else y

    def _one_step(self, kind: Kind, y):
        shape = (y.shape[0], 1, *y.shape[2:]) if kind is Kind.TIME else y.shape
        return self._as(kind, keras.KerasTensor(shape, y.dtype))

    def _plain_spec(self, part, args, kwargs, tensors, kinds):
        kind = Kind.LAST if Kind.LAST in kinds else Kind.FRAME
        if Kind.TIME in kinds:
            kind = Kind.TIME
            check_apart(part.operation, tensors[0].shape, kinds)
            part.buffered = is_causal(part.operation)
        found = part.operation.compute_output_spec(*args, **kwargs)
        return mapped(lambda y: self._as(kind, y), found)

    def _as(self, kind: Kind, tensor):
        self._kinds[id(tensor)] = kind
        self._kept.append(tensor)
        return tensor

    def run(self, part: "_Part", args, kwargs):
        """Outputs of a layer in a step."""
        operation = part.operation
        if part.inner is not None:
            (given,) = args
            given = keras.tree.pack_sequence_as(part.inner.input, flatten(given))
            return part.inner(given)
        if runs(operation):
            return self._run_step(operation, args[0])
        if presents(operation):
            return ops.expand_dims(args[0], 1)
        if part.buffered:
            return self._convolve(operation, args[0])
        return operation(*args, **kwargs)

    def _run_step(self, layer, x):
        assert self._run is not None
        if getattr(layer, "n_steps", None) is None:
            x = mapped(lambda x: x[:, 0], x)
        states = self._run.take(layer, layer.get_initial_state)
        if isinstance(layer, SequenceLayer):
            y, new = layer.step(x, states)
        else:
            y, new = layer.cell(x, states, training=False)
        self._run.put(new)
        if layer.return_sequences:
            y = mapped(lambda y: ops.expand_dims(y, 1), y)
        return (y, *new) if layer.return_state else y

    def _convolve(self, layer, x):
        assert self._run is not None
        past = (layer.kernel_size[0] - 1) * layer.dilation_rate[0]

        def begin(batch_size):
            return [ops.zeros((batch_size, past, x.shape[2]), x.dtype)]

        (before,) = self._run.take(layer, begin)
        seen = ops.concatenate([before, x], axis=1)
        self._run.put([seen[:, 1:]])
        return layer(seen)[:, -1:]


class _Run:
    """States on their way through one step.

    Args:
        step: whose states they are.
        states: a flat list, or None to begin and to note which there are.
    """

    def __init__(self, step: Step, states: list | None):
        self._carried = step._carried
        self._given = None
        if states is not None:
            left = list(states)
            self._given = {
                key: [left.pop(0) for _ in found.ports]
                for key, found in self._carried.items()
            }
        self._new: dict[tuple[int, int], list] = {}
        self._calls: dict[int, int] = {}

    def take(self, operation, begin) -> list:
        number = self._calls.get(id(operation), 0)
        self._calls[id(operation)] = number + 1
        self._key = (id(operation), number)
        if self._given is None:
            structure = begin(1)
            self._carried[self._key] = _Carried(operation, begin, structure)
            return structure
        structure = self._carried[self._key].structure
        return keras.tree.pack_sequence_as(structure, self._given[self._key])

    def put(self, states) -> None:
        self._new[self._key] = states

    def new_states(self) -> list:
        return flatten([self._new[key] for key in self._carried])


class _Part(keras.layers.Layer):
    """Stands for a layer or operation of the model in what is cut.

    Args:
        operation: what it stands for; it is not tracked.
        step: that knows how it runs.
    """

    def __init__(self, operation, step: Step):
        super().__init__(name=f"step_of_{operation.name}", autocast=False)
        object.__setattr__(self, "operation", operation)
        object.__setattr__(self, "_step", step)
        object.__setattr__(self, "inner", None)
        self.buffered = False

    def keep(self, inner: keras.Model) -> None:
        object.__setattr__(self, "inner", inner)

    def build(self, *shapes, **named):
        self.built = True

    def compute_output_spec(self, *args, **kwargs):
        return self._step.spec(self, args, kwargs)

    def call(self, *args, **kwargs):
        return self._step.run(self, args, kwargs)


# --- names ------------------------------------------------------------------------


def layers_of(model) -> list:
    """All layers of a model, with those of models in it."""
    found = []
    for layer in model.layers:
        found += layers_of(layer) if isinstance(layer, keras.Model) else [layer]
    return found


def _steps(model, frames) -> int | None:
    """Number of steps of a model's sequences, if it is known."""
    found = [x.shape[1] for x, f in zip(model.inputs, frames, strict=True) if not f]
    for layer in filter(presents, layers_of(model)):
        found.append(layer.n if hasattr(layer, "n") else layer.n_steps)
    return next((n for n in found if n is not None), None)


def _state_names(operation) -> tuple[str, ...]:
    cell = getattr(operation, "cell", None)
    known = {keras.layers.LSTMCell: ("h", "c"), keras.layers.GRUCell: ("h",)}
    names = getattr(cell, "state_names", None) or known.get(type(cell), ())
    return tuple(names) or (("past",) if cell is None else ())


def _tensors(args, kwargs) -> list:
    return [x for x in flatten((args, kwargs)) if keras.backend.is_keras_tensor(x)]
