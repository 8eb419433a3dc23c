"""The one RNN layer under all of ours, and what its cells have in common.

A `Cell` is a step of time for `keras.layers.RNN`. A `SequenceLayer` is an RNN
that makes its own cell from the layer's arguments, so that a new layer is a cell
and two lines. Over `keras.layers.RNN` it adds: features of any rank; states that
start at the cell's own initial values, also after `reset_state`; states that keep
their dtype under mixed precision, and survive `fit` and `predict` on every backend
when `stateful`; masks that act the same on every backend; whole-sequence forms; random
numbers that are drawn anew in every call with `training=True`, as those of
`keras.layers.Dropout`, and repeat without.
"""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import keras
from keras import ops

from keras_spiking_nengo.budgets import Bounded, bounded
from keras_spiking_nengo.checks import check_float, check_policy, checked_switch
from keras_spiking_nengo.dynamics import random
from keras_spiking_nengo.dynamics.loops import scan
from keras_spiking_nengo.dynamics.loops.recurrence import StepFunction
from keras_spiking_nengo.layers import sizes
from keras_spiking_nengo.layers.credit import check_own_loop, memory_of
from keras_spiking_nengo.layers.eager_calls import CalledEagerly, EagerCalls
from keras_spiking_nengo.layers.masks import masked_sequence
from keras_spiking_nengo.layers.sizes import Shape, check_batch, check_steps
from keras_spiking_nengo.layers.timed_tables import TimedTables

__all__ = ["Cell", "SequenceLayer", "Signature"]


class Cell(Bounded, keras.layers.Layer, ABC):
    """One step of time, with named states.

    A subclass sets `state_names`, and has `program` and `initial_state`; it may
    override `sequence`, `last` and `from_start` with something faster.
    """

    state_names: tuple[str, ...] = ()
    # Of the random numbers, if it draws any; and which states are seeds of
    # `dynamics.random`, by position.
    seed: int | None = None
    streams: tuple[int, ...] = ()
    # Whether its output is spikes, of which a step that is left out sends none.
    sends_spikes: bool = False
    # How earlier steps get their gradient, and which states are kept for it.
    gradient: str = "bptt"
    checkpoint: bool | int | None = None
    # What Python computes for its calls.
    tables: TimedTables = TimedTables()

    def __init__(self, **kwargs):
        check_policy(kwargs.get("dtype"))
        check_trainable(kwargs.get("trainable", True))
        # Inputs are cast here, to the dtype of the state, and not by Keras.
        super().__init__(autocast=False, **kwargs)
        if kwargs.get("dtype") is None:
            sizes.warn_of_two_precisions(self.name)
        self._features: tuple[int, ...] | None = None

    def build(self, input_shape: Shape) -> None:
        self._features = sizes.static_features(self.name, input_shape[1:])
        super().build(input_shape)

    @property
    def features(self) -> tuple[int, ...]:
        """Shape of the population, known once built."""
        if self._features is None:
            raise ValueError(f"{self.name} is not built: call it on data first.")
        return self._features

    @property
    def state_dtype(self) -> str:
        """float64 under a float64 policy, else float32, or spikes are lost."""
        return "float64" if self.variable_dtype == "float64" else "float32"

    def state_dtypes(self) -> list[str]:
        """Dtype of each state."""
        return [self.state_dtype] * len(self.state_names)

    def state_shapes(self) -> list[Shape]:
        """Shape of each state, without the batch; the features by default."""
        return [self.features] * len(self.state_names)

    @property
    def state_size(self) -> list:
        if not self.state_names:
            return [1]
        if self._features is None:
            return [None] * len(self.state_names)
        shapes = self.state_shapes()
        return [shape[0] if len(shape) == 1 else shape for shape in shapes]

    @property
    def output_size(self):
        features = self._features
        return features[0] if features is not None and len(features) == 1 else features

    @abstractmethod
    def program(self, training: bool = False) -> tuple[StepFunction, Any]:
        """The `step` and `parameters` for `dynamics.loops.scan`."""

    def sequence(self, inputs, state: list, training: bool, unroll: bool):
        """All steps of `(batch, time, *features)`: outputs and final state."""
        step, parameters = self.program(training)
        memory = memory_of(self, training)
        return scan(step, parameters, [inputs], state, bool(training), unroll, **memory)

    def last(self, inputs, state: list, training: bool, unroll: bool):
        """As `sequence`, where of the outputs only the last one is asked for.

        It is that of the last step returned, of which there is one at least.
        """
        return self.sequence(inputs, state, training, unroll)

    def from_start(self, inputs, training: bool, unroll: bool, whole: bool = True):
        """`sequence` from the cell's own initial state; `last` if not `whole`."""
        state = self.initial_state(ops.shape(inputs)[0])
        run = self.sequence if whole else self.last
        return run(inputs, state, training, unroll)

    @abstractmethod
    def initial_state(self, batch_size) -> list:
        """States before the first step, one `(batch_size, ...)` tensor each."""

    def get_initial_state(self, batch_size=None) -> list:
        """`initial_state` for `keras.layers.RNN`, which cannot do without a state."""
        unused = [ops.zeros((batch_size, 1), dtype=self.state_dtype)]
        return self.initial_state(batch_size) or unused

    def call(self, inputs, states, training=False):
        states = list(states) if isinstance(states, list | tuple) else [states]
        check_float("inputs", inputs.dtype)
        check_own_loop(self, training)
        sizes.check_precision(self, states)
        sizes.check_states(self.name, self, states, "states", inputs.shape[0])
        step, parameters = self.program(training)
        named = states if self.state_names else []
        output, new = step(parameters, [ops.cast(inputs, self.state_dtype)], named)
        return ops.cast(output, self.compute_dtype), list(new) or states


def check_trainable(value: Any) -> None:
    """Refuses names of parameters where Keras has a switch.

    Raises:
        TypeError: unless it is True or False.
    """
    if not isinstance(value, bool):
        raise TypeError(
            "trainable is Keras's switch for all of a layer's weights, True or False;"
            f" received {value!r}. To make time constants and other physics trainable,"
            " pass their names as trainable_parameters=(...)."
        )


_FLAGS = (
    *("return_sequences", "return_state", "go_backwards", "stateful", "unroll"),
    "zero_output_for_mask",
)
_LAYER_ARGUMENTS = ("name", "dtype", "trainable", "activity_regularizer")


class Signature:
    """Of a layer's class: the cell's arguments, then those of an RNN layer.

    Args:
        **defaults: further arguments of the layer, and their defaults.
    """

    def __init__(self, **defaults: Any):
        self.defaults: Mapping[str, Any] = (
            dict.fromkeys((*_FLAGS, "save_state"), False) | defaults
        )

    def __get__(self, instance, owner) -> inspect.Signature:
        if instance is not None:
            # The signature of calling the layer is that of __call__.
            raise AttributeError("__signature__")
        if not hasattr(owner, "cell_class"):
            raise AttributeError("__signature__")
        parameters = inspect.signature(owner.cell_class.__init__).parameters
        _, *named, rest = parameters.values()
        keyword = inspect.Parameter.KEYWORD_ONLY
        further = [
            inspect.Parameter(name, keyword, default=default)
            for name, default in self.defaults.items()
        ]
        return inspect.Signature([*named, *further, rest])


class SequenceLayer(CalledEagerly, keras.layers.RNN):
    """A `keras.layers.RNN` around a cell of class `cell_class`.

    Args:
        *args, **kwargs: the arguments of the cell, and besides them
            `return_sequences`, `return_state`, `go_backwards`, `stateful`,
            `unroll`, `zero_output_for_mask`, `name`, `dtype`, `trainable` and
            `activity_regularizer` as in `keras.layers.LSTM`, and
        save_state: bool. With `stateful=True`, store the current state with the
            layer's weights when the model is saved. Defaults to False.

    Call arguments:
        sequences: `(batch, time, *features)`.
        initial_state: list of state tensors. Defaults to the initial values of
            the cell or, if `stateful`, to where the last call ended.
        mask: `(batch, time)` booleans; a step that is False leaves the state as
            it is, and repeats the last output; where that is spikes, it sends none.
        training: bool.
    """

    cell_class: ClassVar[Callable[..., Cell]]
    __signature__ = Signature()

    def __init__(self, *args, save_state: bool = False, **kwargs):
        options = {
            name: kwargs.pop(name)
            for name in (*_FLAGS, *_LAYER_ARGUMENTS)
            if name in kwargs
        }
        for name in {*_FLAGS} & {*options}:
            options[name] = checked_switch(name, options[name])
        check_trainable(options.get("trainable", True))
        cell = type(self).cell_class(*args, dtype=options.get("dtype"), **kwargs)
        super().__init__(cell, autocast=False, **options)
        self.save_state = checked_switch("save_state", save_state)
        # None where nothing is drawn, so that no other layer gets a variable of it.
        self.seed_generator = _seed_generator(cell)
        self.eager_calls = EagerCalls(self)

    # --- shapes ---------------------------------------------------------------

    def build(self, sequences_shape: Shape, initial_state_shape=None) -> None:
        if len(sequences_shape) < 3:
            raise ValueError(
                f"{self.name} needs inputs of shape (batch, time, *features);"
                f" received {tuple(sequences_shape)}. Repeat a static input with"
                " ksn.layers.Repeat(n_steps), or add an axis with"
                " keras.layers.Reshape."
            )
        check_steps(self, sequences_shape)
        if not self.cell.built:
            self.cell.build((sequences_shape[0], *sequences_shape[2:]))
        self.state_size = self.cell.state_size
        # One feature would otherwise broadcast against many.
        self.input_spec = keras.InputSpec(shape=(None, None, *self.cell.features))
        if self.stateful and self.states is None:
            if sequences_shape[0] is None:
                raise ValueError(
                    f"{self.name} is stateful and needs a fixed batch size; received"
                    f" an input of shape {tuple(sequences_shape)}. Use"
                    " keras.Input(batch_shape=(...)), or pass states yourself with"
                    " return_state=True and initial_state."
                )
            # Keras must not count them as weights: a stateful layer has to take the
            # weights of one that is not.
            states = _state_variables(self.cell, sequences_shape[0])
            object.__setattr__(self, "states", states)
            self._expected_batch_size = sequences_shape[0]
        self.built = True

    def compute_output_shape(self, sequences_shape, initial_state_shape=None):
        batch, time = sequences_shape[:2]
        size = self.cell.output_size
        size = size if isinstance(size, tuple) else (size,)
        size = tuple(sequences_shape[2:]) if None in size else size
        output = (batch, time, *size) if self.return_sequences else (batch, *size)
        if not self.return_state:
            return output
        return output, *[(batch, *shape) for shape in self.cell.state_shapes()]

    def compute_output_spec(self, sequences, *args, **kwargs):
        check_steps(self, sequences.shape)
        check_batch(self, sequences.shape, self._expected_batch_size)
        sizes.check_mask(self.name, kwargs.get("mask"), sequences.shape)
        shapes = self.compute_output_shape(sequences.shape)
        if not self.return_state:
            return keras.KerasTensor(shapes, dtype=self.compute_dtype)
        dtypes = [self.compute_dtype, *self.cell.state_dtypes()]
        return tuple(map(keras.KerasTensor, shapes, dtypes))

    def compute_mask(self, _, mask=None):
        mask = mask[0] if isinstance(mask, list | tuple) else mask
        mask = mask if self.return_sequences else None
        return (
            [mask, *[None] * len(self.cell.state_names)] if self.return_state else mask
        )

    # --- state ----------------------------------------------------------------

    def get_initial_state(self, batch_size) -> list:
        return self.cell.initial_state(batch_size)

    @property
    def variables(self) -> list:
        """Weights and, if stateful, states: JAX carries over only what is here."""
        return [*super().variables, *(self.states or [])]

    def reset_state(self) -> None:
        """Put the states of a stateful layer back to their initial values."""
        if self.states is not None:
            values = self.get_initial_state(self._expected_batch_size)
            for variable, value in zip(self.states, values, strict=True):
                variable.assign(value)

    def save_own_variables(self, store) -> None:
        super().save_own_variables(store)
        if self.save_state:
            for variable in self.states or []:
                store[variable.name] = variable.numpy()

    def load_own_variables(self, store) -> None:
        stored = {key: store[key] for key in store.keys()}  # noqa: SIM118 - no dict
        states = {k: stored.pop(k) for k in list(stored) if k.startswith("state_")}
        super().load_own_variables(stored)
        for variable in self.states or []:
            if variable.name in states:
                variable.assign(states[variable.name])

    # --- call -----------------------------------------------------------------

    def step(self, inputs, states: list) -> tuple[Any, list]:
        """One step of time: what streams and single-step exports run.

        Args:
            inputs: `(batch, *features)`.
            states: one tensor per state, as `get_initial_state` returns them.

        Returns:
            `(batch, *features)` and the new states.
        """
        return self.cell(inputs, states, training=False)

    def computed(self, sequences, initial_state, mask, training):
        """Outputs and, if asked for, states: `call`, which may compile this."""
        cell = self.cell
        check_steps(self, sequences.shape)
        check_batch(self, sequences.shape, self._expected_batch_size)
        check_float("sequences", sequences.dtype, "Give the parts as features.")
        sizes.check_mask(self.name, mask, sequences.shape)
        if initial_state is None and self.stateful:
            initial_state = self.states
        state = initial_state
        if state is not None:
            state = sizes.checked_states(self.name, cell, state, sequences.shape[0])
        if training and self.seed_generator is not None:
            if state is None:
                state = cell.initial_state(ops.shape(sequences)[0])
            state = _with_new_streams(cell, state, self.seed_generator)
        inputs = ops.cast(sequences, cell.state_dtype)
        if self.go_backwards:
            inputs = ops.flip(inputs, axis=1)
            mask = None if mask is None else ops.flip(mask, axis=1)
        outputs, state = self._run(inputs, state, mask, training)
        if self.stateful:
            for variable, value in zip(self.states, state, strict=True):
                variable.assign(value)
        outputs = ops.cast(outputs, self.compute_dtype)
        output = outputs if self.return_sequences else outputs[:, -1]
        return (output, *state) if self.return_state else output

    def _run(self, inputs, state: list | None, mask, training):
        """Outputs, of the last step at least, and the final state."""
        cell, whole = self.cell, self.return_sequences
        if state is None and mask is None:
            return cell.from_start(inputs, training, self.unroll, whole)
        if state is None:
            state = cell.initial_state(ops.shape(inputs)[0])
        if mask is None:
            run = cell.sequence if whole else cell.last
            return run(inputs, state, training, self.unroll)
        # Of spikes, the last step alone is that of the sequence without the mask.
        zeros = self.zero_output_for_mask or (whole and cell.sends_spikes)
        return masked_sequence(cell, inputs, state, mask, training, self.unroll, zeros)

    # --- configuration --------------------------------------------------------

    def get_config(self) -> dict:
        config = super().get_config()
        del config["cell"]
        inner = self.cell.get_config()
        for name in ("name", "dtype", "trainable"):
            inner.pop(name, None)
        return {**config, **inner, "save_state": self.save_state}

    @classmethod
    def from_config(cls, config: dict, custom_objects=None):
        with bounded(config):
            return cls(**config)


def _seed_generator(cell: Cell) -> keras.random.SeedGenerator | None:
    if not cell.streams:
        return None
    # Below what Keras has room for on every backend.
    seed = None if cell.seed is None else cell.seed % 2**31
    return keras.random.SeedGenerator(seed)


def _with_new_streams(
    cell: Cell, state: list, generator: keras.random.SeedGenerator
) -> list:
    """States from which a cell draws what no call before has drawn.

    They carry it, so that a reverse pass, which computes steps again, draws the same.
    """
    seed, calls = ops.unstack(ops.cast(generator.next(), "int32"))
    state = list(state)
    for at in cell.streams:
        state[at] = random.new_key(random.new_key(state[at], seed), calls)
    return state


def _state_variables(cell: Cell, batch_size: int) -> list[keras.Variable]:
    values = cell.initial_state(batch_size)
    return [
        keras.Variable(value, trainable=False, dtype=dtype, name=f"state_{name}")
        for name, value, dtype in zip(
            cell.state_names, values, cell.state_dtypes(), strict=True
        )
    ]
