"""Keras layers as nodes of a Nengo network.

`keras_node` makes a node of a layer or a model. In Nengo's own simulators it is a
process that calls Keras in each step. Here it is part of the program: its weights are
weights of the network, and are trained, saved and handed back as those of ensembles
are. The layer that was given is never changed.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import nengo
import numpy as np
from keras import ops
from nengo.params import Parameter

from keras_spiking_nengo import serialization
from keras_spiking_nengo.budgets import spend, weighed
from keras_spiking_nengo.checks import brief, check_kind, is_count
from keras_spiking_nengo.dynamics import random
from keras_spiking_nengo.engine.operation import Mode, Operation
from keras_spiking_nengo.engine.signals import Weight, sliced

__all__ = ["KerasLayer", "KerasWeight", "LayerCall", "keras_node"]

StepShapes = Sequence[tuple[int, ...]]


@dataclass(frozen=True, eq=False)
class KerasWeight:
    """A weight of a Keras layer in a network, as a signal that nothing writes.

    Attributes:
        layer: whose it is.
        index: its place among the layer's `weights`.
    """

    layer: keras.layers.Layer
    index: int

    is_view = sparse = False

    def __eq__(self, other) -> bool:
        return isinstance(other, KerasWeight) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    @property
    def _key(self) -> tuple[int, int]:
        return id(self.layer), self.index

    @property
    def base(self) -> "KerasWeight":
        return self

    @property
    def variable(self) -> keras.Variable:
        return self.layer.weights[self.index]

    @property
    def name(self) -> str:
        """As the layer calls it, such as `"dense.kernel"`."""
        path = self.variable.path.split("/")
        return ".".join(path[1:] if path[0] == self.layer.name else path)

    @property
    def size(self) -> int:
        return math.prod(self.variable.shape)

    @property
    def initial_value(self) -> np.ndarray:
        """What it is in the layer."""
        return np.asarray(ops.convert_to_numpy(self.variable.value), dtype=float)


@serialization.register
class KerasLayer(nengo.Process):
    """A Keras layer, one call per step; one with a cell is stepped by its cell.

    A cell's states are those of the process. Where nothing else is said, a layer is
    called as in `predict`.

    Args:
        layer: `keras.Layer`; it is built here, if it is not yet.
        inputs: shapes of its inputs in one step, which come one after the other.
        leading: number of axes of size 1 before them that the layer takes.

    Attributes:
        shape: of its output in one step.
        initial: first values of the cell's states, of one item.
        changing: places of those weights that a call in training changes, such as the
            means of `keras.layers.BatchNormalization`.
    """

    layer = Parameter("layer")

    def __init__(self, layer: keras.layers.Layer, inputs: StepShapes, leading: int = 1):
        self.layer = layer
        self.inputs = tuple(tuple(map(int, shape)) for shape in inputs)
        self.leading = leading
        size_in = sum(map(math.prod, self.inputs))
        spend(16 * size_in, f"A layer of Keras with inputs of {self.inputs}")
        with weighed():
            x, states = np.zeros((2, size_in)), self._started(2)
            y, _ = self.call(x, states)
        self.shape = tuple(y.shape[1:])
        self.initial = [ops.convert_to_numpy(s)[0] for s in self._started(1)]
        self.changing = _weights_changed(self, x, states)
        super().__init__(
            default_size_in=size_in, default_size_out=math.prod(self.shape)
        )

    def make_step(self, shape_in, shape_out, dt, rng, state):
        """What nengo calls in each step; every simulator starts anew."""
        states = self._started(1)

        def step(t, x):
            nonlocal states
            y, states = self.call(x[None], states)
            return np.ravel(ops.convert_to_numpy(y)).astype(float)

        return step

    def call(self, x, states: list, training: bool = False) -> tuple[Any, list]:
        """The layer's output for `(items, size)`, and the next states of its cell."""
        x = ops.convert_to_tensor(x, dtype=self.layer.variable_dtype)
        lead = (-1, *(1,) * (self.leading - 1))
        sizes = dict(enumerate(map(math.prod, self.inputs)))
        tensors: Any = [
            ops.reshape(part, (*lead, *shape))
            for part, shape in zip(sliced(x, sizes).values(), self.inputs, strict=True)
        ]
        tensors = tensors[0] if len(tensors) == 1 else tensors
        if self.cell is None:
            return self.layer(tensors, training=training), []
        given = keras.tree.pack_sequence_as(self._structure, states)
        y, after = self.cell(tensors, given, training=training)
        return y, keras.tree.flatten(after)

    @property
    def cell(self):
        """What has states of a step: the cell of an RNN, or the layer itself."""
        if hasattr(self.layer, "cell"):
            return self.layer.cell
        return self.layer if hasattr(self.layer, "state_size") else None

    def _started(self, items: int) -> list:
        """States before the first step."""
        if self.cell is None:
            return []
        if not self.cell.built:
            (shape,) = self.inputs
            self.cell.build((None, *shape))
        states = self.cell.get_initial_state(batch_size=items)
        self._structure = keras.tree.map_structure(lambda _: 0, states)
        return keras.tree.flatten(states)

    @property
    def is_compiled(self) -> bool:
        """Whether it can be a part of a program: states of numbers alone."""
        return all(state.dtype.kind == "f" for state in self.initial)

    # --- weights ----------------------------------------------------------------

    @property
    def weights(self) -> list[KerasWeight]:
        """All of the layer's, which no step changes while nothing is trained."""
        return [KerasWeight(self.layer, i) for i in range(len(self.layer.weights))]

    @property
    def generators(self) -> list[keras.Variable]:
        """States of what the layer draws from in training: seed and count."""
        weights = set(map(id, self.layer.weights))
        return [
            v
            for v in self.layer.variables
            if id(v) not in weights and "int" in v.dtype and tuple(v.shape) == (2,)
        ]

    def taking(self, values: Mapping, copies: dict) -> "KerasLayer":
        """The process with a copy of the layer that has other weights.

        Args:
            values: arrays by `KerasWeight`; the layer's own for what is not there.
            copies: made before, by layer: what shares a layer goes on sharing it.
        """
        copy = copies.get(self.layer)
        if copy is None:
            stored = keras.saving.serialize_keras_object(self.layer)
            copy = copies[self.layer] = keras.saving.deserialize_keras_object(stored)
        process = KerasLayer(copy, self.inputs, self.leading)
        for weight, variable in zip(self.weights, copy.weights, strict=True):
            variable.assign(values.get(weight, weight.variable))
        return process


def _weights_changed(process: KerasLayer, x, states: list) -> tuple[int, ...]:
    """Which weights a call in training changes.

    Raises:
        NotImplementedError: if any other call changes something.
    """
    layer = process.layer

    def changed(training: bool) -> set[int]:
        """Identities of variables, also of those that Keras does not count as such."""
        with keras.StatelessScope([(v, v.value) for v in layer.variables]) as scope:
            given = dict(scope.state_mapping)
            process.call(x, states, training)
        after = scope.state_mapping.items()
        return {key for key, value in after if value is not given.get(key)}

    if changed(training=False):
        raise NotImplementedError(
            f"{layer.name} keeps a state from one call to the next, and a node would"
            " share it among the items of a batch. Make the node of a cell, such as"
            " keras.layers.LSTMCell, whose state each item has for itself."
        )
    found = changed(training=True)
    return tuple(i for i, v in enumerate(layer.weights) if id(v) in found)


@dataclass(frozen=True, eq=False)
class LayerCall(Operation):
    """A call of a Keras layer, for each step and item of a batch.

    Its states are the cell's; then, of each weight that training changes, by how much
    it did; then a random stream, if the layer draws.

    Attributes:
        process: what calls the layer.
        weights: of the layer, in order.
    """

    process: Any = None
    weights: tuple[Weight, ...] = ()

    @classmethod
    def of(cls, label: str, reads, outs, process: KerasLayer, seed: int) -> "LayerCall":
        """The operation of a process; `seed` tells its random numbers from others'."""
        weights = process.weights
        changes = [np.zeros(process.layer.weights[i].shape) for i in process.changing]
        stream = [np.array([seed], "int32"), np.zeros(1, "int32")]
        initial = [*process.initial, *changes, *(stream * bool(process.generators))]
        taken = tuple(Weight(weight, None, weight.size) for weight in weights)
        return cls(label, reads, outs, tuple(initial), process, taken)

    def used_weights(self):
        return self.weights

    def pack(self, values, dt, mode):
        return {"weights": [values[weight.key] for weight in self.weights]}

    def changed_weights(self) -> Iterator[tuple[int, KerasWeight]]:
        """Which of its states are changes, and of which weight."""
        for at, place in self._changes():
            yield at, self.weights[place].key

    def _changes(self) -> Iterator[tuple[int, int]]:
        """The same by the places of the weights."""
        return enumerate(self.process.changing, len(self.process.initial))

    def compute(self, p, x, state, mode: Mode, steps):
        process, layer = self.process, self.process.layer
        first = len(process.initial)
        values = list(p["weights"])
        if mode.training:
            for at, place in self._changes():
                values[place] = values[place] + state[at][0]
        mapping = list(zip(layer.weights, values, strict=True))
        if process.generators and mode.training:
            seed, draws = (ops.cast(s[0, 0], "int32") for s in state[-2:])
            for i, variable in enumerate(process.generators):
                own = ops.stack([random.new_key(seed, i), draws])
                mapping.append((variable, ops.cast(own, variable.dtype)))
        flat = ops.reshape(x[0], (-1, x[0].shape[-1]))
        given = [
            ops.cast(now, start.dtype.name)
            for now, start in zip(state[:first], process.initial, strict=True)
        ]
        with keras.StatelessScope(mapping) as scope:
            y, after = process.call(flat, given, mode.training)
        new = [ops.cast(s, mode.dtype) for s in after]
        for at, place in self._changes():
            new.append(state[at])
            if mode.training:
                now = ops.cast(
                    scope.get_current_value(layer.weights[place]), mode.dtype
                )
                new[-1] = ops.zeros_like(state[at]) + (now - p["weights"][place])
        if process.generators:
            new += [state[-2], state[-1] + int(mode.training)]
        shape = (*ops.shape(steps)[:-1], self.outs[0].size)
        return [ops.reshape(ops.cast(y, mode.dtype), shape)], new


def keras_node(
    layer: keras.layers.Layer,
    shape_in: int | Sequence[int] | None = None,
    label: str | None = None,
) -> nengo.Node:
    """A Nengo node of a Keras layer or model, within a `nengo.Network`.

    In `ksn.Simulator` and `ksn.layers.Network` it is compiled in. Its weights are
    weights of the network, under the names that they have in the layer: `fit` trains
    them, `model.save` saves them, `network()` has them; `ksn.configure` says which are
    trained. The layer itself stays as it is. In other simulators the node calls Keras
    in each step.

    A cell, such as `keras.layers.LSTMCell`, has its state for each item of a batch,
    from step to step; an RNN layer is stepped by its cell. While training,
    `keras.layers.BatchNormalization` normalises the items of one step.

    Args:
        layer: `keras.layers.Layer` or `keras.Model` of one input and one output. It is
            built here, if it is not yet.
        shape_in: shape of what it is called with, without the batch; the node takes its
            values one after the other. Defaults to the shape that it was built for.
        label: of the node, and first part of its weights' names. Defaults to the
            layer's name.

    Returns:
        `nengo.Node`, which takes `prod(shape_in)` values and gives as many as the
        layer does.

    Raises:
        TypeError: for what is no Keras layer.
        ValueError: for a shape that is not known, or several inputs or outputs.
        NotImplementedError: for a layer that changes its weights in `predict`.

    Example:
        >>> import keras, nengo
        >>> with nengo.Network() as net:
        ...     images = nengo.Node([0.0] * 64)
        ...     conv = keras_node(keras.layers.Conv2D(4, 3), shape_in=(8, 8, 1))
        ...     c = nengo.Connection(images, conv, synapse=None)
        >>> conv.size_in, conv.size_out
        (64, 144)

    Reference:
        Rasmussen (2019), *NengoDL: combining deep learning and neuromorphic modelling
        methods*, Neuroinformatics 17 (layers of deep networks as nodes).
    """
    check_kind("layer", layer, keras.layers.Layer, "a layer or model of Keras")
    shape = _checked_shape(layer, shape_in)
    process = KerasLayer(layer, [shape])
    return nengo.Node(
        process,
        size_in=process.default_size_in,
        label=layer.name if label is None else label,
    )


def _checked_shape(layer, shape_in) -> tuple[int, ...]:
    """The shape of a call's input, without the batch."""
    if shape_in is None:
        shape_in = _built_shape(layer)
    shape = (shape_in,) if is_count(shape_in) else shape_in
    if not (isinstance(shape, list | tuple) and shape and all(map(is_count, shape))):
        raise ValueError(
            f"shape_in of {layer.name} is the shape of what it is called with in one"
            f" step, such as (28, 28, 1), or a number; received {brief(shape_in)}."
        )
    outputs = getattr(layer, "outputs", [None])
    if isinstance(outputs, list | tuple) and len(outputs) != 1:
        raise ValueError(
            f"{layer.name} has {len(outputs)} outputs, and a node has one: join them in"
            " the model, as keras.layers.Concatenate does."
        )
    return tuple(map(int, shape))


def _built_shape(layer) -> Any:
    inputs = getattr(layer, "inputs", None)
    if isinstance(inputs, list | tuple):
        if len(inputs) != 1:
            raise ValueError(
                f"{layer.name} has {len(inputs)} inputs, and a node has one: take it"
                " apart in the model, as x[:, :3] and x[:, 3:] do."
            )
        return tuple(inputs[0].shape[1:])
    built = (layer.get_build_config() or {}) if layer.built else {}
    shape = built.get("input_shape") or built.get("shapes_dict", {}).get("input_shape")
    if shape is None:
        raise ValueError(
            f"{layer.name} is not built, so that shape_in is not known: give the shape"
            " of what it is called with in one step, such as shape_in=(28, 28, 1)."
        )
    return tuple(shape[1:])
