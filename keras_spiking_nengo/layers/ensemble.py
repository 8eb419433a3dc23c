"""Nengo's ensembles as Keras layers: encode, fire, decode."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import nengo
import numpy as np
from nengo.learning_rules import LearningRuleType

from keras_spiking_nengo import serialization
from keras_spiking_nengo.checks import checked_seed
from keras_spiking_nengo.layers.network import Network
from keras_spiking_nengo.layers.network_cell import NetworkCell
from keras_spiking_nengo.types import neuron_type as to_neuron_type

__all__ = ["Ensemble", "EnsembleCell"]

_register = keras.saving.register_keras_serializable("keras_spiking_nengo")

Function = Callable | np.ndarray | None

_OUTPUTS = ("decoded", "neurons")
_TEACHERS = ("error", "target")
# Arguments of `nengo.Ensemble` that are passed on where they are given.
_NENGOS = (
    "encoders",
    "max_rates",
    "intercepts",
    "gain",
    "bias",
    "eval_points",
    "n_eval_points",
    "noise",
)
# What a configuration stores of an ensemble; its functions are in its decoders.
_STORED = (
    "neuron_type",
    "radius",
    *_NENGOS,
    "normalize_encoders",
    "solver",
    "output",
    "recurrent_synapse",
    "recurrent_transform",
    "recurrent_solver",
    "synapse",
    "transform",
    "learning_rule",
    "teacher",
)


@_register
class EnsembleCell(NetworkCell):
    """One step of an ensemble.

    Args:
        **kwargs: the arguments of `Ensemble` that are not those of an RNN layer, and
            those of `keras.layers.Layer`.

    Call arguments:
        inputs: `(batch, dimensions)`; with a learning rule that is taught, what
            teaches it follows.
        states: one tensor per name in `state_names`.
        training: bool.

    Output shape:
        `(batch, size)`: the values of the functions, one after the other, or the
        activity of the neurons.

    Raises:
        ValueError, TypeError: for arguments that `Ensemble` refuses.

    Example:
        >>> import keras
        >>> layer = keras.layers.RNN(EnsembleCell(50, 2, seed=0), return_sequences=True)
        >>> layer(keras.ops.ones((1, 10, 2))).shape == (1, 10, 2)
        True

    Reference:
        Eliasmith and Anderson (2003), *Neural Engineering*, MIT Press.
    """

    def __init__(
        self,
        n_neurons: int,
        dimensions: int,
        neuron_type: str | nengo.neurons.NeuronType | dict = "lif",
        encoders: Any = None,
        max_rates: Any = None,
        intercepts: Any = None,
        gain: Any = None,
        bias: Any = None,
        radius: float = 1.0,
        eval_points: Any = None,
        n_eval_points: int | None = None,
        noise: Any = None,
        normalize_encoders: bool = True,
        function: Function | Mapping[str, Function] = None,
        solver: nengo.solvers.Solver | dict | None = None,
        output: str = "decoded",
        recurrent: Function | bool = None,
        recurrent_synapse: Any = 0.1,
        recurrent_transform: Any = None,
        recurrent_solver: nengo.solvers.Solver | dict | None = None,
        synapse: Any = None,
        transform: Any = None,
        learning_rule: Any = None,
        teacher: str = "error",
        dt: float = 0.001,
        surrogate: Any = None,
        forward: str = "spikes",
        trained: Sequence[str] | None = None,
        seed: int | None = None,
        built: dict | None = None,
        **kwargs: Any,
    ):
        given = locals()
        arguments = {name: given[name] for name in _STORED}
        if built is not None:  # by a configuration
            arguments = {k: serialization.from_config(v) for k, v in arguments.items()}
        arguments["neuron_type"] = to_neuron_type(arguments["neuron_type"])
        seed = checked_seed(seed)
        if seed is None:
            # Of NumPy's global generator, which Keras's set_random_seed seeds.
            seed = int(np.random.randint(2**31))  # noqa: NPY002
        if built is None:
            built = _network(
                n_neurons, dimensions, function, recurrent, seed, **arguments
            )
        super().__init__(
            **built,
            dt=dt,
            surrogate=surrogate,
            forward=forward,
            seed=seed,
            trained=trained,
            **kwargs,
        )
        self.n_neurons = n_neurons
        self.dimensions = dimensions
        # Keras would wrap the lists and dicts among them.
        object.__setattr__(self, "arguments", arguments)

    @property
    def ensemble(self) -> nengo.Ensemble:
        """Nengo's ensemble, in `net`."""
        return self.net.ensembles[0]

    def get_config(self):
        config = super().get_config()
        built = {name: config.pop(name) for name in ("net", "inputs", "outputs")}
        return {
            **config,
            "n_neurons": int(self.n_neurons),
            "dimensions": int(self.dimensions),
            **{
                name: serialization.to_config(value)
                for name, value in self.arguments.items()
            },
            "recurrent": any(c.label == "recurrent" for c in self.net.connections),
            "built": built,
        }


def _network(
    n_neurons, dimensions, function, recurrent, seed, **arguments
) -> dict[str, Any]:
    """The network of one ensemble, and its inputs and outputs for a `NetworkCell`."""
    _check(arguments, function, recurrent)
    given = {name: arguments[name] for name in _NENGOS if arguments[name] is not None}
    functions = function if isinstance(function, Mapping) else {"": function}
    rules = _rules(arguments["learning_rule"], functions, recurrent)
    with nengo.Network(label="ensemble", seed=seed) as net:
        source = nengo.Node(np.zeros(_size_in(arguments, dimensions)), label="input")
        ensemble = nengo.Ensemble(
            n_neurons,
            dimensions,
            neuron_type=arguments["neuron_type"],
            radius=arguments["radius"],
            normalize_encoders=arguments["normalize_encoders"],
            seed=seed,
            label="ensemble",
            **given,
        )
        inputs: dict[str, nengo.Node] = {"input": source}
        nengo.Connection(
            source,
            ensemble,
            synapse=arguments["synapse"],
            label="input",
            **_transform(arguments["transform"]),
            **_rule(rules.get("input")),
        )
        if recurrent is not None and recurrent is not False:
            _recur(ensemble, recurrent, arguments, rules.get("recurrent"))
        if arguments["output"] == "neurons":
            return {
                "net": net,
                "inputs": source,
                "outputs": nengo.Probe(ensemble.neurons, label="neurons"),
            }
        probes = {}
        for name, image in functions.items():
            label = name or "decoded"
            node = nengo.Node(size_in=_size(image, dimensions), label=label)
            connection = nengo.Connection(
                ensemble,
                node,
                synapse=None,
                label=name or "decoders",
                **_function(image, arguments["eval_points"]),
                **_solver(arguments["solver"]),
                **_rule(rules.get(name)),
            )
            probes[name] = nengo.Probe(node, label=label)
            if name in rules:
                key = arguments["teacher"] + (f"_{name}" if name else "")
                inputs[key] = _teach(connection, node, arguments["teacher"], key)
    return {
        "net": net,
        "inputs": inputs if len(inputs) > 1 else source,
        "outputs": probes if isinstance(function, Mapping) else probes[""],
    }


def _recur(ensemble, recurrent, arguments, rule) -> None:
    image = None if recurrent is True else recurrent
    solver = arguments["recurrent_solver"] or arguments["solver"]
    nengo.Connection(
        ensemble,
        ensemble,
        synapse=arguments["recurrent_synapse"],
        label="recurrent",
        **_function(image, arguments["eval_points"]),
        **_transform(arguments["recurrent_transform"]),
        **_solver(solver),
        **_rule(rule),
    )


def _teach(connection, node, teacher: str, key: str) -> nengo.Node:
    """The node whose values teach a connection."""
    given = nengo.Node(np.zeros(node.size_in), label=key)
    if teacher == "error":
        nengo.Connection(given, connection.learning_rule, synapse=None, label="error")
        return given
    error = nengo.Node(size_in=node.size_in, label=f"error of {node.label}")
    nengo.Connection(node, error, synapse=None, label="actual")
    nengo.Connection(given, error, transform=-1, synapse=None, label="target")
    nengo.Connection(error, connection.learning_rule, synapse=None, label="error")
    return given


# --- arguments ------------------------------------------------------------------


def _transform(transform) -> dict:
    return {} if transform is None else {"transform": transform}


def _solver(solver) -> dict:
    return {} if solver is None else {"solver": solver}


def _rule(rule) -> dict:
    return {} if rule is None else {"learning_rule_type": rule}


def _function(image, eval_points) -> dict:
    if image is None:
        return {}
    if isinstance(image, np.ndarray):
        return {"function": image, "eval_points": eval_points}
    return {"function": image}


def _size(image, dimensions: int) -> int:
    """Number of values of a function."""
    if image is None:
        return dimensions
    if isinstance(image, np.ndarray):
        return image.shape[1]
    return np.size(image(np.zeros(dimensions)))


def _size_in(arguments, dimensions: int) -> int:
    transform = arguments["transform"]
    if isinstance(transform, nengo.transforms.Transform):
        return transform.size_in
    return np.shape(transform)[1] if np.ndim(transform) == 2 else dimensions


def _rules(rule, functions: Mapping, recurrent) -> dict[str, Any]:
    """Learning rules, by "input", "recurrent" or the name of a function."""
    if rule is None:
        return {}
    if isinstance(rule, Mapping):
        unknown = sorted(set(rule) - set(functions))
        if unknown:
            raise ValueError(
                f"learning_rule names {unknown}; the functions are {sorted(functions)}."
            )
        return {name: r for name, r in rule.items() if r is not None}
    found: dict[str, Any] = {}
    for one in rule if isinstance(rule, list | tuple) else [rule]:
        if not isinstance(one, LearningRuleType):
            raise TypeError(
                "learning_rule is a nengo learning rule such as nengo.PES(), a list of"
                f" them, or a dict from names of functions; received {one!r}."
            )
        if one.modifies == "encoders":
            found["input"] = one
        elif one.modifies == "decoders":
            found |= dict.fromkeys(functions, one)
        elif recurrent is None or recurrent is False:
            raise ValueError(
                f"{one} changes the weights between neurons, and the ensemble has no"
                " recurrent connection. Give it recurrent=True, and"
                " recurrent_solver=nengo.solvers.LstsqL2(weights=True)."
            )
        else:
            found["recurrent"] = one
    return found


def _check(arguments, function, recurrent) -> None:
    output, teacher = arguments["output"], arguments["teacher"]
    if output not in _OUTPUTS:
        raise ValueError(f"output is one of {_OUTPUTS}; received {output!r}.")
    if teacher not in _TEACHERS:
        raise ValueError(f"teacher is one of {_TEACHERS}; received {teacher!r}.")
    if output == "neurons" and function is not None:
        raise ValueError(
            "output='neurons' gives the activity of the neurons, and no function of"
            f" what they represent; received function={function!r}. Leave one of them"
            " out."
        )
    if isinstance(function, Mapping) and not function:
        raise ValueError("function is an empty dict, so there would be no output.")
    for name, image in {
        **(function if isinstance(function, Mapping) else {"function": function}),
        "recurrent": None if isinstance(recurrent, bool) else recurrent,
    }.items():
        if image is not None and not callable(image) and not _is_array(image):
            raise TypeError(
                f"{name} is a function of a vector, an array of its values at"
                f" eval_points, or None for the identity; received {image!r}."
            )
        if _is_array(image) and arguments["eval_points"] is None:
            raise ValueError(
                f"{name} is an array of values: give eval_points, the points that they"
                " belong to, too."
            )


def _is_array(image) -> bool:
    return isinstance(image, np.ndarray) and image.ndim == 2


@_register
class Ensemble(Network):
    """A population that represents a vector, over time: encode, fire, decode.

    Encoders, gains, biases and decoders are those that Nengo builds for a
    `nengo.Ensemble` of the same seed, and are then weights: `"ensemble.encoders"`,
    `"ensemble.bias"`, `"decoders.weights"` (of several functions, `"<name>.weights"`),
    `"recurrent.weights"` and, with a transform, `"input.weights"`.

    Functions are solved for decoders when the layer is made. A saved layer holds the
    decoders, and needs no function to be loaded.

    Args:
        n_neurons: int. Number of neurons.
        dimensions: int. Size of the vector.
        neuron_type: `nengo.neurons.NeuronType` or a name such as `"lif"`. Defaults to
            `nengo.LIF()`.
        encoders, max_rates, intercepts, gain, bias, eval_points, n_eval_points, noise:
            as in `nengo.Ensemble`; None for Nengo's defaults.
        radius: float. Length of the vectors that are represented well. Defaults to 1.
        normalize_encoders: bool. Defaults to True.
        function: function of a vector, or array of its values at `eval_points`, that
            is decoded; None for the identity. A dict from names decodes several, and
            the output is a dict.
        solver: `nengo.solvers.Solver` of the decoders. Defaults to `LstsqL2()`.
        output: `"decoded"`, or `"neurons"` for the activity of the neurons.
        recurrent: True or a function, fed back through `recurrent_synapse`. Defaults
            to None, no recurrence.
        recurrent_synapse: `nengo.synapses.Synapse`, or time constant of a `Lowpass`,
            in seconds. Defaults to 0.1.
        recurrent_transform: matrix, number or `nengo.transforms.Transform` of what is
            fed back.
        recurrent_solver: of the recurrent connection. Defaults to `solver`.
        synapse, transform: of the input; None for none.
        learning_rule: nengo learning rule or a list of rules. `PES` and `RLS` change
            the decoders, `Voja` the encoders, `BCM` and `Oja` recurrent weights
            (which need a weight solver). A dict from names of functions gives some
            of them a rule. What is learned is state: see `Network`.
        teacher: what teaches `PES` and `RLS`: `"error"`, given as data, or
            `"target"`, whose difference from the output is the error.
        dt: float, seconds. Length of one step. Defaults to 0.001.
        surrogate, forward: as in `Neurons`.
        trained: names of the weights to train. Defaults to all that no learning rule
            changes.
        seed: int. Defaults to None, a draw from NumPy's global generator.
        built: what `get_config` stores of the built network.
        return_sequences, return_state, go_backwards, stateful, unroll,
        zero_output_for_mask: as in `keras.layers.LSTM`; all default to False.
        save_state: bool. Store the current state of a stateful layer with the
            weights. Defaults to False.

    Call arguments:
        sequences: `(batch, time, dimensions)`. With a taught rule, a dict of
            `"input"` and `"error"` (or `"target"`), `(batch, time, size)`; for
            several functions, `"error_<name>"`.
        initial_state: list of states, as returned with `return_state=True`.
        mask: `(batch, time)` booleans.
        training: bool.

    Output shape:
        `(batch, time, size)`, or a dict of them, with `return_sequences=True`, else
        `(batch, size)`, the last step. With `return_state=True`, the states follow.

    Raises:
        ValueError, TypeError: for an impossible argument.
        nengo.exceptions.NengoException: for what Nengo refuses.

    Example:
        An integrator, whose input and feedback share a time constant:

        >>> import keras
        >>> layer = Ensemble(
        ...     200, 1, recurrent=True, recurrent_synapse=0.1, synapse=0.1,
        ...     transform=0.1, seed=0, return_sequences=True,
        ... )
        >>> layer(keras.ops.ones((1, 100, 1))).shape == (1, 100, 1)
        True

    Reference:
        Eliasmith and Anderson (2003), *Neural Engineering*, MIT Press; Bekolay,
        Kolbeck and Eliasmith (2013), *Simultaneous unsupervised and supervised
        learning of cognitive functions in biologically plausible spiking neural
        networks*, CogSci (learning rules).
    """

    cell_class = EnsembleCell
