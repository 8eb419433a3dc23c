"""Nengo's ensembles as Keras layers: encode, fire, decode."""

from collections.abc import Mapping, Sequence
from typing import Any

import nengo
import numpy as np

from keras_spiking_nengo.checks import brief, checked_count, checked_seed
from keras_spiking_nengo.layers.design import Design, VectorFunction, ensemble_network
from keras_spiking_nengo.layers.network import Network
from keras_spiking_nengo.layers.network_cell import NetworkCell
from keras_spiking_nengo.layers.parameters import checked_synapse, warn_of_seconds
from keras_spiking_nengo.saving import registered

__all__ = ["Ensemble", "EnsembleCell"]

# What a configuration stores of the network that was built.
_STORED = ("net", "inputs", "outputs")


@registered()
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
        function: VectorFunction | Mapping[str, VectorFunction] = None,
        solver: nengo.solvers.Solver | dict | None = None,
        output: str = "decoded",
        recurrent: VectorFunction | bool = None,
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
        design = Design(
            neuron_type=neuron_type,
            encoders=encoders,
            max_rates=max_rates,
            intercepts=intercepts,
            gain=gain,
            bias=bias,
            eval_points=eval_points,
            n_eval_points=n_eval_points,
            noise=noise,
            radius=radius,
            normalize_encoders=normalize_encoders,
            solver=solver,
            output=output,
            recurrent_synapse=recurrent_synapse,
            recurrent_transform=recurrent_transform,
            recurrent_solver=recurrent_solver,
            synapse=synapse,
            transform=transform,
            learning_rule=learning_rule,
            teacher=teacher,
            encoded=_is_stored(built),
        )
        seed = _seed_or_draw(seed)
        sizes = _checked_sizes(n_neurons, dimensions)
        if built is None:
            built = ensemble_network(design, *sizes, function, recurrent, seed, dt)
        super().__init__(
            **built,
            dt=dt,
            surrogate=surrogate,
            forward=forward,
            seed=seed,
            trained=trained,
            **kwargs,
        )
        _check_built_sizes(self, *sizes)
        _warn_of_synapses(design, self.dt)
        self.n_neurons, self.dimensions = sizes
        self.design = design

    @property
    def ensemble(self) -> nengo.Ensemble:
        """Nengo's ensemble, in `net`."""
        return self.net.ensembles[0]

    def get_config(self):
        config = super().get_config()
        built = {name: config.pop(name) for name in _STORED}
        return {
            **config,
            "n_neurons": self.n_neurons,
            "dimensions": self.dimensions,
            **self.design.to_config(),
            "recurrent": any(c.label == "recurrent" for c in self.net.connections),
            "built": built,
        }


def _checked_sizes(n_neurons, dimensions) -> tuple[int, int]:
    return (
        checked_count("n_neurons", n_neurons),
        checked_count("dimensions", dimensions),
    )


def _warn_of_synapses(design: Design, dt: float) -> None:
    for name in ("synapse", "recurrent_synapse"):
        tau = getattr(checked_synapse(name, getattr(design, name)), "tau", None)
        warn_of_seconds(dt, **{name: tau})


def _is_stored(built: Any) -> bool:
    """Whether there is what a configuration stores."""
    if built is not None and (not isinstance(built, dict) or {*built} != {*_STORED}):
        raise ValueError(
            f"built is what get_config stores, a dict of {_STORED}, or None;"
            f" received {built!r}."
        )
    return built is not None


def _check_built_sizes(cell, n_neurons: int, dimensions: int) -> None:
    """Raises unless the network of a cell is that of one ensemble of these sizes."""
    sizes = [(ens.n_neurons, ens.dimensions) for ens in cell.net.ensembles]
    if sizes != [(n_neurons, dimensions)]:
        raise ValueError(
            f"{cell.name} has n_neurons={brief(n_neurons)} and"
            f" dimensions={brief(dimensions)}; the ensembles that were built have"
            f" (n_neurons, dimensions) {brief(sizes)}. Leave out built, or make them"
            " agree."
        )


def _seed_or_draw(seed: int | None) -> int:
    seed = checked_seed(seed)
    # Of NumPy's global generator, which Keras's set_random_seed seeds.
    return int(np.random.randint(2**31)) if seed is None else seed  # noqa: NPY002


@registered()
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
