"""The hidden part of a Legendre memory unit: layers and cells, step by step.

Layers that act on every step alike, cells of Keras and cells of this package are
stages, with one interface: the sizes of their states, a pure `step` in which the
weights are parameters, and a form for all steps at once.
"""

import inspect
from abc import ABC, abstractmethod
from typing import Any

import keras
from keras import ops

from keras_spiking_nengo.dynamics.loops import StepFunction, scan
from keras_spiking_nengo.layers.base import Cell

__all__ = [
    "Stage",
    "check_repeatable",
    "checked_layer",
    "configuration",
    "shows_state",
    "stage",
]

# Their first state is their output.
_SHOWING = (keras.layers.SimpleRNNCell, keras.layers.GRUCell, keras.layers.LSTMCell)


class Stage(ABC):
    """A layer or cell of the hidden part.

    Attributes:
        layer: the layer or cell.
        n_states: number of its states.
        shapes, dtypes: of the states, once built; None for the dtype of the memory.
    """

    def __init__(self, layer: Any, n_states: int = 0):
        self.layer = layer
        self.n_states = n_states
        self.shapes: list[tuple[int, ...]] = []
        self.dtypes: list[str | None] = []

    def build(self, size: int) -> int:
        """Builds it for vectors of `size`; the size of what it makes of them."""
        if not self.layer.built:
            self.layer.build((None, size))
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
    def program(self, training) -> tuple[StepFunction, dict[str, Any]]:
        """The `step` and `parameters` for `dynamics.kernels.scan`."""

    @abstractmethod
    def sequence(self, z, state: list, training) -> tuple[Any, list]:
        """All steps of `(batch, time, size)`: outputs and final states."""


class _Feedforward(Stage):
    """A layer that acts on every step alike."""

    def _describe(self, size):
        return self.layer.compute_output_shape((None, size))[1:]

    def initial_state(self, batch_size):
        return []

    def program(self, training):
        def call(x, state):
            return _called(self.layer, training, x), []

        return _program(self.layer, call)

    def sequence(self, z, state, training):
        # What the layer would see in one step: vectors.
        y = _called(self.layer, training, ops.reshape(z, (-1, z.shape[-1])))
        return ops.reshape(y, (-1, z.shape[1], y.shape[-1])), []


class _KerasCell(Stage):
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

        return _program(self.layer, call)

    def sequence(self, z, state, training):
        step, values = self.program(training)
        return scan(step, values, [z], state, bool(training))


class _OwnCell(Stage):
    """A cell of this package, which brings its own forms."""

    def __init__(self, cell: Cell):
        super().__init__(cell, len(cell.state_names))

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


def stage(layer) -> Stage:
    """The stage of a layer or cell."""
    if isinstance(layer, Cell):
        return _OwnCell(layer)
    return _KerasCell(layer) if _is_cell(layer) else _Feedforward(layer)


def shows_state(layer) -> bool:
    """Whether the output of a cell is its first state, too."""
    return type(layer) in _SHOWING


def _is_cell(layer) -> bool:
    return hasattr(layer, "state_size")


def _called(layer, training, *arguments):
    """`layer` called, with `training` if it takes it."""
    if "training" in inspect.signature(layer.call).parameters:
        return layer(*arguments, training=bool(training))
    return layer(*arguments)


def _program(layer, call) -> tuple[StepFunction, dict[str, Any]]:
    """`call(x, state)`, in which the weights of `layer` are parameters."""
    variables = [v for v in layer.variables if "float" in v.dtype]
    names = [str(i) for i in range(len(variables))]

    def step(p, x, state):
        given = [(v, p[name]) for v, name in zip(variables, names, strict=True)]
        with keras.StatelessScope(state_mapping=given):
            return call(x[0], state)

    values = map(ops.convert_to_tensor, variables)
    return step, dict(zip(names, values, strict=True))


# --- arguments ------------------------------------------------------------------


def checked_layer(value) -> keras.Layer:
    """A layer or cell for the hidden part, made from a configuration if it is one.

    Raises:
        ValueError: if it is none, or cannot be taken step by step.
    """
    layer = value
    if isinstance(value, dict):
        layer = keras.saving.deserialize_keras_object(value)
    if not isinstance(layer, keras.Layer):
        raise ValueError(
            "hidden_cell is an RNN cell such as keras.layers.SimpleRNNCell(units) or"
            " ksn.layers.NeuronsCell(), a layer such as keras.layers.Dense(units), a"
            f" list of them, or None; received {value!r}."
        )
    if isinstance(layer, keras.layers.RNN | keras.layers.Wrapper):
        raise ValueError(
            f"hidden_cell is one step of time, and {type(layer).__name__} runs over"
            " all of them. Give a cell, such as keras.layers.SimpleRNNCell(units)."
        )
    for part in _parts(layer):
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
    config = keras.saving.serialize_keras_object(layer)
    # It is built with the LMU.
    return {k: v for k, v in config.items() if k != "build_config"}


def check_repeatable(layers, training) -> None:
    """Refuses what would draw, or change, something in each step of training."""
    for part in (part for layer in layers for part in _parts(layer)):
        normalizes = isinstance(part, keras.layers.BatchNormalization)
        if training and (normalizes or getattr(part, "rate", 0)):
            raise ValueError(
                f"hidden_cell has {part.name!r} ({type(part).__name__}), which cannot"
                " be trained step by step, as with hidden_to_memory, memory_to_memory,"
                " unroll, a mask, or an unknown number of steps. Put it before or"
                " after the LMU."
            )


def _parts(layer) -> list[keras.Layer]:
    """A layer, and those that it is made of."""
    inner = [*getattr(layer, "cells", ()), *getattr(layer, "layers", ())]
    return [layer, *(part for child in inner for part in _parts(child))]


def _dropout(layer) -> float:
    return getattr(layer, "dropout", 0) or getattr(layer, "recurrent_dropout", 0) or 0
