"""Legendre memory units as Keras layers."""

from typing import Any

import keras
from keras import ops

from keras_spiking_nengo.checks import checked_count, one_of, positive
from keras_spiking_nengo.dynamics import legendre
from keras_spiking_nengo.dynamics.loops import StepFunction, scan, static_length
from keras_spiking_nengo.layers.base import Cell, SequenceLayer
from keras_spiking_nengo.layers.hidden import (
    check_repeatable,
    checked_layer,
    configuration,
    shows_state,
    stage,
)
from keras_spiking_nengo.layers.parameters import Trained
from keras_spiking_nengo.saving import registered

__all__ = ["LMU", "LMUCell"]


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
        self.discretizer = one_of("discretizer", discretizer, legendre.DISCRETIZERS)
        self.theta = _checked_theta(theta, self.order, discretizer)
        self.trainable_theta = _checked_switch("trainable_theta", trainable_theta)
        self.hidden_to_memory = bool(hidden_to_memory)
        self.memory_to_memory = bool(memory_to_memory)
        self.input_to_hidden = bool(input_to_hidden)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.recurrent_initializer = keras.initializers.get(recurrent_initializer)
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        self.recurrent_regularizer = keras.regularizers.get(recurrent_regularizer)
        self.use_bias = bool(use_bias)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.bias_regularizer = keras.regularizers.get(bias_regularizer)
        self._several = isinstance(hidden_cell, list | tuple)
        several = hidden_cell if self._several else [hidden_cell]
        self.hidden_layers = [checked_layer(h) for h in several if h is not None]
        self._stages = tuple(map(stage, self.hidden_layers))
        if self.hidden_to_memory and not self._stages:
            raise ValueError(
                "hidden_to_memory=True feeds the output of the hidden part back;"
                " received hidden_cell=None. Give a hidden_cell, or use"
                " memory_to_memory=True."
            )
        counts = [part.n_states for part in self._stages]
        shown = any(map(shows_state, self.hidden_layers[-1:]))
        self._keeps_output = self.hidden_to_memory and not shown
        # Of the states after the memory, the one that is fed back.
        self._fed_back = sum(counts[:-1]) if shown else 0
        hidden = [f"hidden_{i}" for i in range(sum(counts))]
        self.state_names = ("memory", *["output"] * self._keeps_output, *hidden)
        # Or only the last step of the output is asked for.
        self.shows_all = True

    @property
    def hidden_cell(self):
        """The hidden layer or cell, a tuple if several were given, or None."""
        if self._several:
            return tuple(self.hidden_layers)
        return self.hidden_layers[0] if self.hidden_layers else None

    # --- weights ----------------------------------------------------------------

    def build(self, input_shape):
        super().build(input_shape)
        if len(self.features) != 1:
            raise ValueError(
                f"{self.name} needs vectors, (batch, time, size); received features"
                f" {self.features}. Flatten them with"
                " keras.layers.Reshape((time, size))."
            )
        (n_in,) = self.features
        size = self.memory_d * self.order + self.input_to_hidden * n_in
        for part in self._stages:
            size = part.build(size)
        self._size = size
        self.kernels = self._made_weights(n_in, size)
        self._theta = None
        if self.trainable_theta:
            self._theta = Trained(self, "theta", self.theta, (), positive=True)

    def _made_weights(self, n_in: int, n_hidden: int) -> dict[str, Any]:
        """Encoders of the input, the hidden output and the memory, and a bias."""
        sizes = {"kernel": n_in}
        if self.hidden_to_memory:
            sizes["hidden_kernel"] = n_hidden
        found = {}
        for name, size in sizes.items():
            if self.kernel_initializer is not None:
                found[name] = self._weight(name, size, "kernel")
            elif size != self.memory_d:
                what = "input" if name == "kernel" else "hidden output"
                raise ValueError(
                    f"{self.name} has kernel_initializer=None, so that its {what} goes"
                    f" to the memory as it is, and needs as many channels,"
                    f" memory_d={self.memory_d}; received {size}. Give a"
                    " kernel_initializer, or change memory_d."
                )
        if self.memory_to_memory:
            size = self.memory_d * self.order
            found["recurrent_kernel"] = self._weight(
                "recurrent_kernel", size, "recurrent"
            )
        if self.use_bias:
            found["bias"] = self._weight("bias", None, "bias")
        return found

    def _weight(self, name: str, size: int | None, kind: str):
        return self.add_weight(
            name=name,
            shape=(self.memory_d,) if size is None else (size, self.memory_d),
            initializer=getattr(self, f"{kind}_initializer"),
            regularizer=getattr(self, f"{kind}_regularizer"),
            dtype=self.state_dtype,
            autocast=False,
        )

    def parameters(self) -> dict[str, Any]:
        """Present values of what is trained besides the kernels, tensors by name."""
        return {} if self._theta is None else {"theta": self._theta.value()}

    def matrices(self) -> tuple:
        """`A'` and `B'` of a step of the memory: arrays, or tensors if trained."""
        theta = self.parameters().get("theta", self.theta)
        return legendre.discretized(self.order, theta, self.discretizer)

    # --- state ------------------------------------------------------------------

    @property
    def output_size(self):
        return self._size if self.built else None

    def state_shapes(self):
        own = [(self.memory_d * self.order,), *[(self._size,)] * self._keeps_output]
        return own + [shape for part in self._stages for shape in part.shapes]

    def state_dtypes(self):
        own = [self.state_dtype] * (1 + self._keeps_output)
        kept = [dtype for part in self._stages for dtype in part.dtypes]
        return own + [dtype or self.state_dtype for dtype in kept]

    def initial_state(self, batch_size):
        n_own = 1 + self._keeps_output
        own = [
            ops.zeros((batch_size, *shape), dtype=self.state_dtype)
            for shape in self.state_shapes()[:n_own]
        ]
        hidden = [s for part in self._stages for s in part.initial_state(batch_size)]
        dtypes = self.state_dtypes()[n_own:]
        return own + [ops.cast(s, d) for s, d in zip(hidden, dtypes, strict=True)]

    # --- one step ---------------------------------------------------------------

    def program(self, training=False):
        check_repeatable(self.hidden_layers, training)
        steps, values = self._program(training)

        def step(p, x, state):
            return self._advanced(steps, p, self._encoded(p, x[0]), x[0], state)

        return step, values

    def _program(self, training) -> tuple[list[StepFunction], dict[str, Any]]:
        """The steps of the hidden stages, and all tensors that a step uses."""
        values = {k: ops.convert_to_tensor(w) for k, w in self.kernels.items()}
        values["A"], values["B"] = self.matrices()
        steps = []
        for i, part in enumerate(self._stages):
            step, own = part.program(training)
            steps.append(step)
            values |= {f"{i}/{name}": value for name, value in own.items()}
        return steps, values

    def _encoded(self, p, x):
        """What the input adds to the memory's input."""
        u = ops.matmul(x, p["kernel"]) if "kernel" in p else x
        return u + p["bias"] if "bias" in p else u

    def _advanced(self, steps, p, u, x, state):
        """Output and states after a step, from the encoded input and the input."""
        memory, *hidden = state
        if self.hidden_to_memory:
            y = hidden[self._fed_back]
            u = u + (ops.matmul(y, p["hidden_kernel"]) if "hidden_kernel" in p else y)
        if self.memory_to_memory:
            u = u + ops.matmul(memory, p["recurrent_kernel"])
        channels = ops.reshape(memory, (-1, self.memory_d, self.order))
        channels = legendre.step(p["A"], p["B"], u, channels)
        memory = ops.reshape(channels, (-1, self.memory_d * self.order))

        def run(i, z, state):
            return steps[i](_own(p, f"{i}/"), [z], state)

        y, hidden = self._hidden(run, memory, x, hidden[self._keeps_output :])
        return y, [memory, *[y] * self._keeps_output, *hidden]

    def _hidden(self, run, memory, x, state) -> tuple[Any, list]:
        """Output of the hidden part, and its states."""
        z = memory
        new: list = []
        if self.input_to_hidden:
            z = ops.concatenate([memory, x], axis=-1)
        for i, part in enumerate(self._stages):
            own = state[len(new) : len(new) + part.n_states]
            z, own = run(i, z, own)
            z = ops.cast(z, self.state_dtype)
            new += own
        dtypes = self.state_dtypes()[1 + self._keeps_output :]
        return z, [ops.cast(s, d) for s, d in zip(new, dtypes, strict=True)]

    # --- all steps --------------------------------------------------------------

    def sequence(self, inputs, state, training, unroll):
        fed_back = self.hidden_to_memory or self.memory_to_memory
        if unroll or fed_back or static_length(inputs) is None:
            return self.looped(inputs, state, training, unroll)
        values = {k: ops.convert_to_tensor(w) for k, w in self.kernels.items()}
        u, (memory, *hidden) = self._encoded(values, inputs), state
        memory = ops.reshape(memory, (-1, self.memory_d, self.order))
        a, b = self.matrices()
        if self.shows_all or hidden:
            memory = legendre.sequence(a, b, u, memory)
        else:
            memory = legendre.last(a, b, u, memory)[:, None]
            inputs = inputs[:, -1:]
        memory = ops.reshape(memory, (-1, memory.shape[1], self.memory_d * self.order))

        def run(i, z, state):
            return self._stages[i].sequence(z, state, training)

        y, hidden = self._hidden(run, memory, inputs, hidden)
        return y, [memory[:, -1], *hidden]

    def looped(self, inputs, state, training, unroll):
        """One step after the other, of inputs that are encoded all at once."""
        check_repeatable(self.hidden_layers, training)
        steps, values = self._program(training)
        u = self._encoded(values, inputs)
        values = {k: v for k, v in values.items() if k not in ("kernel", "bias")}

        def step(p, x, state):
            return self._advanced(steps, p, x[0], x[-1], state)

        given = [u, inputs] if self.input_to_hidden else [u]
        shape = (self._size,)
        return scan(step, values, given, state, bool(training), unroll, shape)

    def get_config(self):
        hidden = list(map(configuration, self.hidden_layers))
        single = hidden[0] if hidden else None
        return {
            **super().get_config(),
            "memory_d": self.memory_d,
            "order": self.order,
            "theta": self.theta,
            "hidden_cell": hidden if self._several else single,
            "trainable_theta": self.trainable_theta,
            "hidden_to_memory": self.hidden_to_memory,
            "memory_to_memory": self.memory_to_memory,
            "input_to_hidden": self.input_to_hidden,
            "discretizer": self.discretizer,
            "use_bias": self.use_bias,
            **{
                f"{kind}_{what}": getattr(keras, f"{what}s").serialize(
                    getattr(self, f"{kind}_{what}")
                )
                for kind in ("kernel", "recurrent", "bias")
                for what in ("initializer", "regularizer")
            },
        }


def _own(values: dict[str, Any], prefix: str) -> dict[str, Any]:
    """The values whose names have the prefix, by their names without it."""
    names = [name for name in values if name.startswith(prefix)]
    return {name.removeprefix(prefix): values[name] for name in names}


# --- arguments ------------------------------------------------------------------


def _checked_switch(name: str, value) -> bool:
    if not isinstance(value, bool):
        raise ValueError(
            f"{name} is True, for one trained value for the layer, or False; received"
            f" {value!r}."
        )
    return value


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

    def call(self, sequences, initial_state=None, mask=None, training=False):
        self.cell.shows_all = self.return_sequences
        return super().call(sequences, initial_state, mask, training)
