"""The hidden part of a Legendre memory unit: layers and cells, step by step.

Layers that act on every step alike, cells of Keras and cells of this package are
links of a chain, with one interface: the sizes of their states, a pure `step` in which
the weights are parameters, and a form for all steps at once.
"""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import partial
from typing import Any

import keras
from keras import ops

from keras_spiking_nengo.budgets import build_held, remembered, weighed
from keras_spiking_nengo.dynamics.loops import scan
from keras_spiking_nengo.dynamics.loops.recurrence import StepFunction
from keras_spiking_nengo.layers.base import Cell
from keras_spiking_nengo.layers.quantized import Quantized
from keras_spiking_nengo.saving import unbuilt

__all__ = ["HiddenPart", "check_repeatable", "checked_layer", "configuration"]

# Their first state is their output.
_SHOWING = (keras.layers.SimpleRNNCell, keras.layers.GRUCell, keras.layers.LSTMCell)


class _Link(ABC):
    """A layer or cell of the hidden part.

    Attributes:
        layer: the layer or cell.
        n_states: number of its states.
        streams: positions of those that are seeds of `dynamics.random`.
        shapes, dtypes: of the states, once built; None for the dtype of the memory.
    """

    def __init__(self, layer: Any, n_states: int = 0):
        self.layer = layer
        self.n_states = n_states
        self.streams: tuple[int, ...] = ()
        self.shapes: list[tuple[int, ...]] = []
        self.dtypes: list[str | None] = []

    def build(self, size: int) -> int:
        """Builds it for vectors of `size`; the size of what it makes of them."""
        build_held(self.layer, (None, size))
        shape = self._describe(size)
        sizes = tuple(shape) if isinstance(shape, list | tuple) else (shape,)
        if len(sizes) != 1 or not isinstance(sizes[0], int):
            raise ValueError(
                f"hidden_cell {self.layer.name!r} makes {sizes} of each step; the"
                " hidden part of an LMU makes vectors, (size,)."
            )
        return sizes[0]

    @abstractmethod
    def _describe(self, size: int) -> Any:
        """Size or shape of the output of a step; sets `shapes` and `dtypes`."""

    @abstractmethod
    def initial_state(self, batch_size) -> list:
        """States before the first step."""

    @abstractmethod
    def program(self, training) -> tuple[StepFunction, Any]:
        """The `step` and `parameters` for `dynamics.loops.scan`."""

    @abstractmethod
    def sequence(self, z, state: list, training) -> tuple[Any, list]:
        """All steps of `(batch, time, size)`: outputs and final states."""


class _Feedforward(_Link):
    """A layer that acts on every step alike."""

    def _describe(self, size):
        return self.layer.compute_output_shape((None, size))[1:]

    def initial_state(self, batch_size):
        return []

    def program(self, training):
        def call(x, state):
            return _called(self.layer, training, x), []

        return _with_weights(self.layer, call)

    def sequence(self, z, state, training):
        # What the layer would see in one step: vectors.
        y = _called(self.layer, training, ops.reshape(z, (-1, z.shape[-1])))
        return ops.reshape(y, (-1, z.shape[1], y.shape[-1])), []


class _KerasCell(_Link):
    """A cell as `keras.layers.RNN` takes it."""

    def __init__(self, cell):
        super().__init__(cell, len(keras.tree.flatten(cell.state_size)))

    def _describe(self, size):
        states = self.initial_state(1)
        self.shapes = [tuple(s.shape[1:]) for s in states]
        kinds = [keras.backend.standardize_dtype(s.dtype) for s in states]
        # Floats are kept in the precision of the memory.
        self.dtypes = [None if "float" in kind else kind for kind in kinds]
        output = getattr(self.layer, "output_size", None)
        return self.shapes[0] if output is None else output

    def initial_state(self, batch_size):
        return keras.tree.flatten(self._started(batch_size))

    def _started(self, batch_size):
        if hasattr(self.layer, "get_initial_state"):
            return self.layer.get_initial_state(batch_size=batch_size)
        sizes = self.layer.state_size
        return keras.tree.map_structure(lambda n: ops.zeros((batch_size, n)), sizes)

    def program(self, training):
        structure = self._started(1)

        def call(x, state):
            state = keras.tree.pack_sequence_as(structure, state)
            y, new = _called(self.layer, training, x, state)
            return y, keras.tree.flatten(new)

        return _with_weights(self.layer, call)

    def sequence(self, z, state, training):
        step, values = self.program(training)
        return scan(step, values, [z], state, bool(training))


class _OwnCell(_Link):
    """A cell of this package, which brings its own forms."""

    def __init__(self, cell: Cell):
        super().__init__(cell, len(cell.state_names))
        self.streams = cell.streams

    def _describe(self, size):
        self.shapes = list(self.layer.state_shapes())
        self.dtypes = list(self.layer.state_dtypes())
        return self.layer.output_size

    def initial_state(self, batch_size):
        return self.layer.initial_state(batch_size)

    def program(self, training):
        step, values = self.layer.program(training)
        dtype = self.layer.state_dtype
        return lambda p, x, s: step(p, [ops.cast(x[0], dtype)], s), values

    def sequence(self, z, state, training):
        z = ops.cast(z, self.layer.state_dtype)
        return self.layer.sequence(z, state, training, False)


class HiddenPart:
    """A chain of layers and cells, of which each reads what the one before it makes.

    Args:
        layers: of them.
        dtype: of the memory: that of all outputs, and of states that are floats.

    Attributes:
        n_states: number of states of all.
        streams: positions of those that are seeds of `dynamics.random`.
        shows: position of the state that is the output, too, or None.
    """

    def __init__(self, layers: Sequence[keras.Layer], dtype: str):
        self._links = tuple(map(_link, layers))
        self._dtype = dtype
        counts = [link.n_states for link in self._links]
        self.n_states = sum(counts)
        firsts = [sum(counts[:i]) for i in range(len(counts))]
        pairs = zip(firsts, self._links, strict=True)
        self.streams = tuple(n + at for n, link in pairs for at in link.streams)
        shown = any(type(layer) in _SHOWING for layer in layers[-1:])
        self.shows = sum(counts[:-1]) if shown else None

    def build(self, size: int) -> int:
        """Builds it for vectors of `size`; the size of what it makes of them."""
        for link in self._links:
            size = link.build(size)
        return size

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """Of the states, once built."""
        return [shape for link in self._links for shape in link.shapes]

    @property
    def dtypes(self) -> list[str]:
        """Of the states, once built."""
        return [dtype or self._dtype for link in self._links for dtype in link.dtypes]

    def initial_state(self, batch_size) -> list:
        """States before the first step."""
        return self._cast([s for k in self._links for s in k.initial_state(batch_size)])

    def program(self, training) -> tuple[StepFunction, list]:
        """The `step` and `parameters` for `dynamics.loops.scan`."""
        programs = [link.program(training) for link in self._links]

        def step(p, x, state):
            runs = [
                lambda z, state, step=step, values=values: step(values, [z], state)
                for (step, _), values in zip(programs, p, strict=True)
            ]
            return self._chained(runs, x[0], state)

        return step, [values for _, values in programs]

    def sequence(self, z, state: list, training) -> tuple[Any, list]:
        """All steps of `(batch, time, size)`: outputs and final states."""
        runs = [partial(link.sequence, training=training) for link in self._links]
        return self._chained(runs, z, state)

    def _chained(self, runs, z, state: list) -> tuple[Any, list]:
        new: list = []
        for link, run in zip(self._links, runs, strict=True):
            z, states = run(z, state[len(new) : len(new) + link.n_states])
            z = ops.cast(z, self._dtype)
            new += states
        return z, self._cast(new)

    def _cast(self, states: list) -> list:
        return [
            ops.cast(s, dtype) for s, dtype in zip(states, self.dtypes, strict=True)
        ]


def _link(layer) -> _Link:
    if isinstance(layer, Cell):
        return _OwnCell(layer)
    return _KerasCell(layer) if _is_cell(layer) else _Feedforward(layer)


def _is_cell(layer) -> bool:
    return hasattr(layer, "state_size")


def _called(layer, training, *arguments):
    """`layer` called, with `training` if it takes it."""
    if "training" in inspect.signature(layer.call).parameters:
        return layer(*arguments, training=bool(training))
    return layer(*arguments)


def _with_weights(layer, call) -> tuple[StepFunction, list]:
    """`call(x, state)`, in which the weights of `layer` are parameters."""
    variables = [v for v in layer.variables if "float" in v.dtype]

    def step(p, x, state):
        mapping = list(zip(variables, p, strict=True))
        with keras.StatelessScope(state_mapping=mapping):
            return call(x[0], state)

    return step, list(map(ops.convert_to_tensor, variables))


# --- arguments ------------------------------------------------------------------


def checked_layer(value) -> keras.Layer:
    """A layer or cell for the hidden part, made from a configuration if it is one.

    Raises:
        ValueError: if it is none, or cannot be taken step by step.
    """
    layer = value
    if isinstance(value, dict):
        with weighed():
            layer = remembered(keras.saving.deserialize_keras_object(unbuilt(value)))
    if not isinstance(layer, keras.Layer):
        raise ValueError(
            "hidden_cell is an RNN cell such as keras.layers.SimpleRNNCell(units) or"
            " ksn.layers.NeuronsCell(), a layer such as keras.layers.Dense(units), a"
            f" list of them, or None; received {value!r}."
        )
    wraps = isinstance(layer, keras.layers.Wrapper) and not isinstance(layer, Quantized)
    if wraps or isinstance(layer, keras.layers.RNN):
        raise ValueError(
            f"hidden_cell is one step of time, and {type(layer).__name__} runs over"
            " all of them. Give a cell, such as keras.layers.SimpleRNNCell(units)."
        )
    for part in _inner_layers(layer):
        if getattr(part, "activity_regularizer", None) is not None:
            raise ValueError(
                f"hidden_cell {part.name!r} has an activity_regularizer, which single"
                " steps cannot have. Give it to the LMU."
            )
        if _is_cell(part) and _dropout(part):
            raise ValueError(
                f"hidden_cell {part.name!r} has a dropout of {_dropout(part):g}, which"
                " a cell within a cell cannot draw. Put keras.layers.Dropout before"
                " or after the LMU."
            )
    return layer


def configuration(layer) -> dict:
    """What `checked_layer` makes the layer from again."""
    return unbuilt(keras.saving.serialize_keras_object(layer))


def check_repeatable(layers, training) -> None:
    """Refuses what would draw, or change, something in each step of training."""
    for part in (part for layer in layers for part in _inner_layers(layer)):
        normalizes = isinstance(part, keras.layers.BatchNormalization)
        if training and (normalizes or getattr(part, "rate", 0)):
            raise ValueError(
                f"hidden_cell has {part.name!r} ({type(part).__name__}), which cannot"
                " be trained step by step, as with hidden_to_memory, memory_to_memory,"
                " unroll, a mask, or an unknown number of steps. Put it before or"
                " after the LMU."
            )


def _inner_layers(layer) -> list[keras.Layer]:
    """A layer, and those that it is made of."""
    inner = [*getattr(layer, "cells", ()), *getattr(layer, "layers", ())]
    return [layer, *(part for child in inner for part in _inner_layers(child))]


def _dropout(layer) -> float:
    return getattr(layer, "dropout", 0) or getattr(layer, "recurrent_dropout", 0) or 0
