"""Legendre memory units as Keras layers."""

import math
from typing import Any

import keras
from keras import ops

from keras_spiking_nengo.budgets import spend
from keras_spiking_nengo.checks import (
    checked_count,
    checked_switch,
    from_keras,
    one_of,
    positive,
)
from keras_spiking_nengo.dynamics import legendre
from keras_spiking_nengo.dynamics.loops import scan, static_length
from keras_spiking_nengo.dynamics.loops.recurrence import StepFunction
from keras_spiking_nengo.layers.base import Cell, SequenceLayer
from keras_spiking_nengo.layers.hidden import (
    HiddenPart,
    check_repeatable,
    checked_layer,
    configuration,
)
from keras_spiking_nengo.layers.parameters import Trained
from keras_spiking_nengo.layers.sizes import vector_size
from keras_spiking_nengo.saving import registered

__all__ = ["LMU", "LMUCell"]


# Arguments that a file has as they are.
_PLAIN_ARGUMENTS = (
    *("memory_d", "order", "theta", "trainable_theta", "hidden_to_memory"),
    *("memory_to_memory", "input_to_hidden", "discretizer", "use_bias"),
)


@registered()
class LMUCell(Cell):
    """One step of a Legendre memory unit.

    Args:
        **kwargs: the arguments of `LMU` that are not those of an RNN layer, and those
            of `keras.layers.Layer`.

    Call arguments:
        inputs: `(batch, size)`.
        states: one tensor per name in `state_names`: `"memory"`, of `(batch, memory_d
            * order)`, all coefficients of the first channel first; `"output"`, of the
            hidden part, if it is fed back and not a state of its own; and the states
            of the hidden part, `"hidden_0"` and so on.
        training: bool.

    Output shape:
        `(batch, units)` of the hidden part, or the memory.

    Raises:
        ValueError: for arguments that `LMU` refuses.

    Example:
        >>> import keras
        >>> cell = LMUCell(1, 6, 20.0, keras.layers.SimpleRNNCell(10))
        >>> keras.layers.RNN(cell)(keras.ops.ones((1, 50, 3))).shape == (1, 10)
        True

    Reference:
        Voelker, Kajic and Eliasmith (2019), *Legendre memory units: continuous-time
        representation in recurrent neural networks*, NeurIPS.
    """

    def __init__(
        self,
        memory_d: int,
        order: int,
        theta: float,
        hidden_cell: Any = None,
        trainable_theta: bool = False,
        hidden_to_memory: bool = False,
        memory_to_memory: bool = False,
        input_to_hidden: bool = False,
        discretizer: str = "zoh",
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        use_bias: bool = False,
        bias_initializer: Any = "zeros",
        bias_regularizer: Any = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.memory_d = checked_count("memory_d", memory_d, "It counts channels.")
        self.order = checked_count("order", order, "It counts Legendre polynomials.")
        _spend_on(self.memory_d, self.order)
        self.discretizer = one_of("discretizer", discretizer, legendre.DISCRETIZERS)
        self.theta = _checked_theta(theta, self.order, discretizer)
        self.trainable_theta = checked_switch(
            "trainable_theta",
            trainable_theta,
            "True, for one trained value for the layer, or False",
        )
        self.hidden_to_memory = checked_switch("hidden_to_memory", hidden_to_memory)
        self.memory_to_memory = checked_switch("memory_to_memory", memory_to_memory)
        self.input_to_hidden = checked_switch("input_to_hidden", input_to_hidden)
        self.kernel_initializer = _initializer("kernel", kernel_initializer)
        self.recurrent_initializer = _initializer("recurrent", recurrent_initializer)
        self.kernel_regularizer = _regularizer("kernel", kernel_regularizer)
        self.recurrent_regularizer = _regularizer("recurrent", recurrent_regularizer)
        self.use_bias = checked_switch("use_bias", use_bias)
        self.bias_initializer = _initializer("bias", bias_initializer)
        self.bias_regularizer = _regularizer("bias", bias_regularizer)
        self._several = isinstance(hidden_cell, list | tuple)
        several = hidden_cell if self._several else [hidden_cell]
        self.hidden_layers = [checked_layer(h) for h in several if h is not None]
        if self.hidden_to_memory and not self.hidden_layers:
            raise ValueError(
                "hidden_to_memory=True feeds the output of the hidden part back;"
                " received hidden_cell=None. Give a hidden_cell, or use"
                " memory_to_memory=True."
            )
        self._hidden = HiddenPart(self.hidden_layers, self.state_dtype)
        shows = self._hidden.shows
        self._keeps_output = self.hidden_to_memory and shows is None
        before = 1 + self._keeps_output
        self.streams = tuple(before + at for at in self._hidden.streams)
        # Of what training draws: the first that there is.
        seeds = (getattr(layer, "seed", None) for layer in self.hidden_layers)
        self.seed = next((seed for seed in seeds if seed is not None), None)
        # Of the states after the memory, the one that is fed back.
        self._fed_back = shows or 0
        hidden = [f"hidden_{i}" for i in range(self._hidden.n_states)]
        self.state_names = ("memory", *["output"] * self._keeps_output, *hidden)

    @property
    def hidden_cell(self):
        """The hidden layer or cell, a tuple if several were given, or None."""
        if self._several:
            return tuple(self.hidden_layers)
        return self.hidden_layers[0] if self.hidden_layers else None

    # --- weights ----------------------------------------------------------------

    def build(self, input_shape):
        super().build(input_shape)
        n_in = vector_size(self.name, self.features)
        size = self.memory_d * self.order + self.input_to_hidden * n_in
        self._size = self._hidden.build(size)
        self.kernels = _added_weights(self, n_in, self._size)
        self._theta = None
        if self.trainable_theta:
            euler = self.discretizer == "euler"
            least = legendre.least_theta(self.order) if euler else 0.0
            self._theta = Trained(
                self,
                "theta",
                self.theta,
                (),
                positive=True,
                within=(least, math.inf),
            )

    def parameters(self) -> dict[str, Any]:
        """Present values of what is trained besides the kernels, tensors by name."""
        return {} if self._theta is None else {"theta": self._theta.value()}

    def matrices(self) -> tuple[Any, Any]:
        """`A'` and `B'` of a step of the memory: arrays, or tensors if trained."""
        theta = self.parameters().get("theta", self.theta)
        return legendre.discretized(self.order, theta, self.discretizer)

    # --- state ------------------------------------------------------------------

    @property
    def output_size(self):
        return self._size if self.built else None

    def state_shapes(self):
        memory = (self.memory_d * self.order,)
        output = [(self._size,)] * self._keeps_output
        return [memory, *output, *self._hidden.shapes]

    def state_dtypes(self):
        return [self.state_dtype] * (1 + self._keeps_output) + self._hidden.dtypes

    def initial_state(self, batch_size):
        memory_and_output = [
            ops.zeros((batch_size, *shape), dtype=self.state_dtype)
            for shape in self.state_shapes()[: 1 + self._keeps_output]
        ]
        return memory_and_output + self._hidden.initial_state(batch_size)

    # --- one step ---------------------------------------------------------------

    def program(self, training=False):
        check_repeatable(self.hidden_layers, training)
        hidden_step, values = self._hidden.program(training)
        a, b = self.matrices()

        def step(p, x, state):
            u = _encoded_input(p, x[0])
            return self._advanced(hidden_step, p, u, x[0], state)

        return step, _weight_tensors(self.kernels) | {"A": a, "B": b, "hidden": values}

    def _advanced(self, hidden_step: StepFunction, p, u, x, state):
        """Output and states after a step, from the encoded input and the input."""
        memory, *hidden = state
        if self.hidden_to_memory:
            y = hidden[self._fed_back]
            u = u + (ops.matmul(y, p["hidden_kernel"]) if "hidden_kernel" in p else y)
        if self.memory_to_memory:
            u = u + ops.matmul(memory, p["recurrent_kernel"])
        channels = ops.reshape(memory, (-1, self.memory_d, self.order))
        channels = legendre.next_memory(p["A"], p["B"], u, channels)
        memory = ops.reshape(channels, (-1, self.memory_d * self.order))
        z = _with_input(self, memory, x)
        y, hidden = hidden_step(p["hidden"], [z], hidden[self._keeps_output :])
        return y, [memory, *[y] * self._keeps_output, *hidden]

    # --- all steps --------------------------------------------------------------

    def sequence(self, inputs, state, training, unroll, whole=True):
        fed_back = self.hidden_to_memory or self.memory_to_memory
        if unroll or fed_back or static_length(inputs) is None:
            return self.looped(inputs, state, training, unroll)
        u = _encoded_input(_weight_tensors(self.kernels), inputs)
        memory, *hidden = state
        memory = ops.reshape(memory, (-1, self.memory_d, self.order))
        if whole or hidden:
            memory = legendre.memories(*self.matrices(), u, memory)
        else:
            memory = legendre.last(*self.matrices(), u, memory)[:, None]
            inputs = inputs[:, -1:]
        memory = ops.reshape(memory, (-1, memory.shape[1], self.memory_d * self.order))
        z = _with_input(self, memory, inputs)
        y, hidden = self._hidden.sequence(z, hidden, training)
        return y, [memory[:, -1], *hidden]

    def last(self, inputs, state, training, unroll):
        return self.sequence(inputs, state, training, unroll, whole=False)

    def looped(self, inputs, state, training, unroll):
        """One step after the other, of inputs that are encoded all at once."""
        check_repeatable(self.hidden_layers, training)
        hidden_step, hidden_values = self._hidden.program(training)
        kernels = _weight_tensors(self.kernels)
        a, b = self.matrices()
        feedback = {k: v for k, v in kernels.items() if k not in ("kernel", "bias")}
        values = feedback | {"A": a, "B": b, "hidden": hidden_values}

        def step(p, x, state):
            u, x = x
            return self._advanced(hidden_step, p, u, x, state)

        u = _encoded_input(kernels, inputs)
        sequences = u, inputs if self.input_to_hidden else None
        shapes = [(self._size,)]
        return scan(step, values, sequences, state, bool(training), unroll, shapes)

    def get_config(self):
        hidden = list(map(configuration, self.hidden_layers))
        single = hidden[0] if hidden else None
        return {
            **super().get_config(),
            **{name: getattr(self, name) for name in _PLAIN_ARGUMENTS},
            "hidden_cell": hidden if self._several else single,
            **{
                f"{kind}_{what}": getattr(keras, f"{what}s").serialize(
                    getattr(self, f"{kind}_{what}")
                )
                for kind in ("kernel", "recurrent", "bias")
                for what in ("initializer", "regularizer")
            },
        }


# --- weights --------------------------------------------------------------------


def _added_weights(cell: LMUCell, n_in: int, n_hidden: int) -> dict[str, Any]:
    """Encoders of the input, the hidden output and the memory, and a bias."""
    sizes = {"kernel": n_in}
    if cell.hidden_to_memory:
        sizes["hidden_kernel"] = n_hidden
    if cell.kernel_initializer is None:
        _check_channels(cell, sizes)
        sizes = {}
    weights = {name: _added(cell, name, "kernel", size) for name, size in sizes.items()}
    if cell.memory_to_memory:
        size = cell.memory_d * cell.order
        weights["recurrent_kernel"] = _added(
            cell, "recurrent_kernel", "recurrent", size
        )
    if cell.use_bias:
        weights["bias"] = _added(cell, "bias", "bias")
    return weights


def _check_channels(cell: LMUCell, sizes: dict[str, int]) -> None:
    for name, size in sizes.items():
        if size != cell.memory_d:
            what = "input" if name == "kernel" else "hidden output"
            raise ValueError(
                f"{cell.name} has kernel_initializer=None, so that its {what} goes"
                " to the memory as it is, and needs as many channels,"
                f" memory_d={cell.memory_d}; received {size}. Give a"
                " kernel_initializer, or change memory_d."
            )


def _added(cell: LMUCell, name: str, kind: str, *sizes: int):
    return cell.add_weight(
        name=name,
        shape=(*sizes, cell.memory_d),
        initializer=getattr(cell, f"{kind}_initializer"),
        regularizer=getattr(cell, f"{kind}_regularizer"),
        dtype=cell.state_dtype,
        autocast=False,
    )


def _weight_tensors(weights: dict[str, Any]) -> dict[str, Any]:
    return {name: ops.convert_to_tensor(weight) for name, weight in weights.items()}


def _with_input(cell: LMUCell, memory, x):
    """What the hidden part reads."""
    return ops.concatenate([memory, x], axis=-1) if cell.input_to_hidden else memory


def _encoded_input(p, x):
    """What the input adds to the memory's input."""
    u = ops.matmul(x, p["kernel"]) if "kernel" in p else x
    return u + p["bias"] if "bias" in p else u


# --- arguments ------------------------------------------------------------------


def _initializer(weight: str, value):
    return from_keras(f"{weight}_initializer", keras.initializers.get, value)


def _regularizer(weight: str, value):
    return from_keras(f"{weight}_regularizer", keras.regularizers.get, value)


def _spend_on(memory_d: int, order: int) -> None:
    # A matrix, whose exponential takes time as well; and what weighs the memory.
    n_bytes = 200 * order**2 + 32 * memory_d * order
    spend(n_bytes, f"An LMU of order {order} with {memory_d} channels")


def _checked_theta(theta, order: int, discretizer: str) -> float:
    theta = positive("theta, in steps,", theta)
    if discretizer == "euler" and theta <= legendre.least_theta(order):
        raise ValueError(
            "discretizer='euler' needs a longer window, or the memory grows without"
            f" bounds: theta above {legendre.least_theta(order):.4g} for"
            f" order={order}; received {theta!r}. Or use discretizer='zoh'."
        )
    return theta


@registered()
class LMU(SequenceLayer):
    """A Legendre memory unit over time.

    A linear memory holds the last `theta` steps of each of its channels, as
    coefficients of `order` Legendre polynomials; a hidden part reads it.

        u[t] = Wx x[t] + Wh y[t-1] + Wm m[t-1] + b      into the memory
        m[t] = A m[t-1] + B u[t]                        A and B are those of `theta`
        y[t] = hidden(m[t], x[t])

    Where nothing is fed back to the memory, all steps of it are computed at once, in
    blocks of matrix products, and without `return_sequences`, for a hidden part
    without states, only the last one. Masks, `unroll` and lengths that are not known
    take single steps.

    Args:
        memory_d: int >= 1. Number of channels of the memory.
        order: int >= 1. Number of Legendre polynomials per channel.
        theta: float > 0, in steps (not in seconds). Length of the window.
        hidden_cell: what reads the memory: an RNN cell, of Keras or of
            `ksn.layers`; a layer such as `keras.layers.Dense`, which is applied to
            each step; or a list of these, one after the other, such as
            `[keras.layers.Dense(64), ksn.layers.NeuronsCell("lif")]`. Defaults to
            None: the output is the memory.
        trainable_theta: bool. Train `theta`, as its logarithm. Defaults to False.
        hidden_to_memory: bool. Feed the last output of the hidden part back to the
            memory (`Wh`). Defaults to False.
        memory_to_memory: bool. Feed the memory back to itself by trained weights
            (`Wm`). Defaults to False.
        input_to_hidden: bool. Show the input to the hidden part, after the memory.
            Defaults to False.
        discretizer: `"zoh"`, exact for an input that is constant within a step, or
            `"euler"`, which needs a large `theta`. Defaults to `"zoh"`.
        kernel_initializer: of `Wx` and `Wh`; None for no weights, if the sizes fit.
            Defaults to `"glorot_uniform"`.
        recurrent_initializer: of `Wm`. Defaults to `"orthogonal"`.
        kernel_regularizer, recurrent_regularizer: of these. Default to None.
        use_bias: bool. Add a bias to the memory's input. Defaults to False.
        bias_initializer, bias_regularizer: of the bias. Default to `"zeros"` and None.
        return_sequences, return_state, go_backwards, stateful, unroll,
        zero_output_for_mask: as in `keras.layers.LSTM`; all default to False.
        save_state: bool. Store the current state of a stateful layer with the
            weights. Defaults to False.

    Call arguments:
        sequences: `(batch, time, size)`.
        initial_state: list of states, as returned with `return_state=True`: the
            memory `(batch, memory_d * order)` first.
        mask: `(batch, time)` booleans.
        training: bool.

    Output shape:
        `(batch, time, units)` with `return_sequences=True`, else `(batch, units)`, the
        last step; `units` is the size of the hidden part's output or, without one,
        `memory_d * order`. With `return_state=True`, the states follow.

    Raises:
        ValueError: for a size, `theta` or `discretizer` that is not possible, a
            `hidden_cell` that cannot be stepped, or inputs that are not vectors.

    Example:
        The memory after 20 steps of a window of 10:

        >>> import keras
        >>> layer = LMU(1, 4, 10.0, kernel_initializer="ones")
        >>> [round(abs(float(v)), 2) for v in layer(keras.ops.ones((1, 20, 1)))[0]]
        [1.0, 0.0, 0.0, 0.0]

    Reference:
        Voelker, Kajic and Eliasmith (2019), *Legendre memory units: continuous-time
        representation in recurrent neural networks*, NeurIPS; Chilkuri and Eliasmith
        (2021), *Parallelizing Legendre memory unit training*, ICML.
    """

    cell_class = LMUCell
