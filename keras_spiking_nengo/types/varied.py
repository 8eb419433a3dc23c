"""Neurons of one type whose parameters differ from neuron to neuron."""

from inspect import signature

import nengo
import numpy as np
from nengo.params import DictParam, NumberParam

__all__ = ["Heterogeneous", "numbers_of"]


class _Values(DictParam):
    """Numbers for each neuron, by the names of the parameters of another type."""

    def coerce(self, instance, value):
        items = value.items() if isinstance(value, dict) else ()
        arrays = {name: np.array(v, float) for name, v in items}
        sizes = {array.shape for array in arrays.values()}
        if len(sizes) != 1 or len(next(iter(sizes))) != 1 or (0,) in sizes:
            raise ValueError(
                "parameters are arrays with a number for each neuron, by name, such as"
                f" {{'tau_rc': [0.01, 0.02]}}; received {value!r}."
            )
        for array in arrays.values():
            array.setflags(write=False)
        return super().coerce(instance, arrays)


class Heterogeneous(nengo.neurons.NeuronType):
    """Neurons of one type whose parameters differ from neuron to neuron.

    In `nengo.Simulator`, neurons with equal parameters are stepped together, by the
    type's own step: each kind takes as long as an ensemble of its own.

    Args:
        base_type: `nengo.neurons.NeuronType`. What holds for all neurons.
        parameters: dict from names of its numbers to arrays with one for each neuron,
            such as `{"tau_rc": [0.01, 0.02]}`.
        initial_state: as in `base_type`, which it replaces.

    Raises:
        ValueError: for names that `base_type` has not, or arrays of several sizes.
        nengo.exceptions.ValidationError: a ValueError, for a number out of its range.

    Example:
        >>> import nengo
        >>> kind = Heterogeneous(nengo.LIF(), {"tau_rc": [0.01, 0.02, 0.03]})
        >>> with nengo.Network():
        ...     ens = nengo.Ensemble(3, 1, neuron_type=kind)

    Reference:
        Perez-Nieves, Leung, Dragotti and Goodman (2021), *Neural heterogeneity promotes
        robust learning*, Nature Communications 12.
    """

    base_type = nengo.neurons.NeuronTypeParam("base_type")
    parameters = _Values("parameters")

    def __init__(self, base_type, parameters, initial_state=None):
        self.base_type = base_type
        if initial_state is None:
            initial_state = self.base_type.initial_state
        super().__init__(initial_state)
        self.parameters = parameters
        if isinstance(self.base_type, nengo.neurons.RatesToSpikesNeuronType):
            raise ValueError(
                "base_type: Nengo builds both halves of neurons that make spikes from"
                f" rates. Make {type(self.base_type).__name__}(Heterogeneous(...));"
                f" received {self.base_type!r}."
            )
        unknown = {*self.parameters} - {*numbers_of(self.base_type)}
        if unknown:
            raise ValueError(
                f"parameters: {self.base_type!r} has no {sorted(unknown)}. Its numbers"
                f" are {sorted(numbers_of(self.base_type))}."
            )
        self._kinds()  # refuses numbers that it does not take

    @property
    def state(self):
        """States of the base type, and how they start."""
        return self.base_type.state

    @property
    def spiking(self):
        """Whether the base type spikes."""
        return self.base_type.spiking

    @property
    def negative(self):
        """Whether the base type's activity goes below 0."""
        return self.base_type.negative

    @property
    def amplitude(self):
        """Of each neuron's output, if the base type has one."""
        return self.parameters.get("amplitude", self.base_type.amplitude)

    @property
    def n_neurons(self) -> int:
        """Number of neurons that there are parameters for."""
        return len(next(iter(self.parameters.values())))

    def _kinds(self) -> list[tuple[np.ndarray, nengo.neurons.NeuronType]]:
        """Neurons with equal parameters, and their type."""
        kinds = self.__dict__.get("_grouped")
        if kinds is None:
            rows = np.stack(list(self.parameters.values()), axis=1)
            distinct, group = np.unique(rows, axis=0, return_inverse=True)
            kinds = [
                (np.flatnonzero(np.ravel(group) == i), self._of(row))
                for i, row in enumerate(distinct)
            ]
            self.__dict__["_grouped"] = kinds
        return kinds

    def _of(self, row) -> nengo.neurons.NeuronType:
        names = signature(type(self.base_type)).parameters
        values = {n: getattr(self.base_type, n) for n in names if n != "initial_state"}
        numbers = dict(zip(self.parameters, map(float, row), strict=True))
        return type(self.base_type)(**values | numbers)

    def __getstate__(self):
        state = super().__getstate__()
        return {k: v for k, v in state.items() if k != "_grouped"}

    def _check_size(self, size: int) -> None:
        if size != self.n_neurons:
            raise ValueError(
                f"parameters has numbers for {self.n_neurons} neurons; received"
                f" {size} neurons."
            )

    def gain_bias(self, max_rates, intercepts):
        """Gains and biases that give each neuron its rate and intercept."""
        self._check_size(len(max_rates))
        gain, bias = np.zeros(self.n_neurons), np.zeros(self.n_neurons)
        for where, kind in self._kinds():
            rates, points = np.asarray(max_rates)[where], np.asarray(intercepts)[where]
            gain[where], bias[where] = kind.gain_bias(rates, points)
        return gain, bias

    def max_rates_intercepts(self, gain, bias):
        """Rates and intercepts that gains and biases give."""
        self._check_size(len(gain))
        rates, points = np.zeros(self.n_neurons), np.zeros(self.n_neurons)
        for where, kind in self._kinds():
            of_kind = np.asarray(gain)[where], np.asarray(bias)[where]
            rates[where], points[where] = kind.max_rates_intercepts(*of_kind)
        return rates, points

    def rates(self, x, gain, bias):
        """Rates in Hz, of values or currents of each neuron."""
        J = self.current(x, gain, bias)
        rates = np.zeros_like(J)
        for where, kind in self._kinds():
            # Of values (samples, neurons) it takes those as they are.
            ones = np.ones(len(where))
            rates[:, where] = kind.rates(J[:, where], ones, 0 * ones)
        return rates

    def step(self, dt, J, output, **state):
        """Step neurons of each kind by their own type."""
        self._check_size(len(J))
        for where, kind in self._kinds():
            sent = output[where]
            part = {name: values[where] for name, values in state.items()}
            kind.step(dt, J[where], sent, **part)
            output[where] = sent
            for name, values in part.items():
                state[name][where] = values


def numbers_of(kind: nengo.neurons.NeuronType) -> dict[str, float]:
    """The numeric parameters of a neuron type, by nengo's own declaration.

    What nengo takes for a number, as False for 0, is one.
    """
    declared = [p.name for p in kind._params if isinstance(p, NumberParam)]
    values = {name: getattr(kind, name) for name in declared}
    return {name: float(v) for name, v in values.items() if v is not None}


# As saved files name it.
Heterogeneous.__module__ = "keras_spiking_nengo.types"
