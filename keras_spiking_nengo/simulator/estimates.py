"""What a run is thought to take, stepped and compiled, from what is in its model.

Apart from what the user's Python takes, with `o` operators of Nengo of which `k` call
Python, `N` neurons, `F` orders of filtered values, `M` products of two numbers, and `E`
eligibilities, all of which change in each step:

    a step of Nengo's operators     a o + b N + c F + d M + j E
    a step of a program             a'o + b'N + c'F + d'M + j'E (+ e + f k where k > 0)
    a call of a program             g
    making and compiling it         h + i min(o, 100) + l o

The numbers were measured on one core, and lie between those of TensorFlow and of JAX.
In double precision, a program that is driven from Python
(docs/decisions/0023-driven.md) and Nengo's operators were measured to be alike at
20,000 to 50,000 LIF neurons on JAX (pendulum: 444 against 455 us at 20,000, 1,500 to
1,770 against 2,300 to 2,500 at 100,000) and between 50,000 and 100,000 on TensorFlow
(1,562 against 1,253 at 50,000, 1,765 to 2,170 against 2,330 to 2,380 at 100,000);
before that, at 90 and 40 ensembles that differ in size so that nothing is merged, and
at 3,000 neurons with connections between all of them. In single precision
(`single_steps`) they are quicker than a program: four ensembles in a circle took 170
against 507 us at 20,000 neurons, 704 against 1,037 at 100,000 (JAX).
They need not be exact: a small network is several times as fast in one way, a large one
in the other. They are the same on every machine, so that what is chosen is, too.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nengo.builder.neurons import SimNeurons
from nengo.builder.node import SimPyFunc
from nengo.builder.operator import Operator
from nengo.builder.processes import SimProcess

from keras_spiking_nengo.dynamics.neurons import NEURONS, RATES_TO_SPIKES
from keras_spiking_nengo.dynamics.synapses import SYNAPSES
from keras_spiking_nengo.engine.functions import is_tensor_function
from keras_spiking_nengo.engine.keras_layers import KerasLayer
from keras_spiking_nengo.engine.sim_stdp import SimSTDP

__all__ = ["Estimate", "calls_python", "mergeable", "pays_in_single"]


@dataclass(frozen=True)
class _Prices:
    """Microseconds for one of each."""

    operator: float
    neuron: float
    filtered: float
    product: float
    eligibility: float


# Microseconds.
_STEPPED = _Prices(2.0, 0.021, 0.002, 0.00055, 0.013)
_SINGLE = _Prices(2.0, 0.004, 0.001, 0.0002, 0.006)
_COMPILED = _Prices(0.05, 0.0025, 0.002, 0.0005, 0.003)
_CALLING_PYTHON = _Prices(2.5, 0.0085, 0.0055, 0.0005, 0.003)
_AROUND_PYTHON, _PYTHON = 250.0, 150.0
_CALL, _LAYER = 800.0, 1000.0
_MAKING, _MAKING_OPERATOR, _MAKING_MANY = 6e5, 3e4, 500.0
# Of more, the rest is merged, or computed in one loop (`passes.gather_levels`).
_COMPILED_APART = 100
# Nengo's pass goes over pairs: a second for 1,600 operators. Of more than so many, it
# takes as long as compiling; where Python is called, no program is as fast as what is
# merged, and nengo merges, too.
_MERGED, _MERGED_CALLED = 3_000, 10_000
# Of fewer neurons a step in single precision is not much shorter.
_IN_SINGLE = 1_000


@dataclass(frozen=True)
class Estimate:
    """Microseconds that steps of a model are thought to take.

    Attributes:
        stepped: a step of Nengo's operators.
        compiled: a step of a program, within a call of many.
        call: a call of a program.
        making: making and compiling one.
    """

    stepped: float
    compiled: float
    call: float
    making: float

    @classmethod
    def of(
        cls, operators: Iterable[Operator], n_stepped: int, single: bool = False
    ) -> "Estimate":
        """That of a model.

        Args:
            operators: of Nengo's builder.
            n_stepped: how many are left where those are merged that can be.
            single: whether steps are in single precision.
        """
        operators = list(operators)
        neurons = sum(op.output.size for op in operators if isinstance(op, SimNeurons))
        filtered = sum(
            signal.size
            for op in operators
            if isinstance(op, SimProcess)
            for signal in op.state.values()
        )
        products = sum(
            max((signal.size for signal in op.all_signals), default=0)
            for op in operators
        )
        eligible = sum(
            op.updates[0].size
            for op in operators
            if isinstance(op, SimSTDP) and op.rule.size_in
        )
        calls = sum(map(calls_python, operators))
        layers = sum(map(_is_layer, operators))

        def step(prices: _Prices, n_operators: int) -> float:
            return (
                prices.operator * n_operators
                + prices.neuron * neurons
                + prices.filtered * filtered
                + prices.product * products
                + prices.eligibility * eligible
            )

        compiled = step(_CALLING_PYTHON if calls else _COMPILED, len(operators))
        if calls:
            compiled += _AROUND_PYTHON + _PYTHON * calls
        return cls(
            stepped=step(_SINGLE if single else _STEPPED, n_stepped) + _LAYER * layers,
            compiled=compiled,
            call=_CALL,
            making=_making(len(operators)),
        )

    @property
    def times(self) -> tuple[float, float, float]:
        """Of a step, of a step compiled, and of compiling."""
        return self.stepped, self.compiled, self.making

    def saving(self, n_steps: int) -> float:
        """What a call of a program for so many steps is shorter than Nengo's steps."""
        return n_steps * (self.stepped - self.compiled) - self.call


def mergeable(operators: Sequence[Operator]) -> bool:
    """Whether it is no waste to merge operators, so as to step them."""
    count = len(operators)
    if count <= _MERGED:
        return True
    return count <= _MERGED_CALLED and any(map(calls_python, operators))


def pays_in_single(operators: Iterable[Operator]) -> bool:
    """Whether steps in single precision are quicker by more than what they round."""
    neurons = (op.output.size for op in operators if isinstance(op, SimNeurons))
    return sum(neurons) >= _IN_SINGLE


def _making(n_operators: int) -> float:
    apart = min(n_operators, _COMPILED_APART)
    return _MAKING + _MAKING_OPERATOR * apart + _MAKING_MANY * n_operators


def _is_layer(op: Operator) -> bool:
    return isinstance(op, SimProcess) and isinstance(op.process, KerasLayer)


def calls_python(op: Operator) -> bool:
    """Whether a program calls an operator of Nengo's while it runs."""
    if isinstance(op, SimPyFunc):
        return not is_tensor_function(op.fn) and (op.output is None or op.x_passed)
    if isinstance(op, SimProcess):
        known = op.process in SYNAPSES or _is_layer(op)
        return op.input is not None and not known
    if isinstance(op, SimNeurons):
        return op.neurons not in NEURONS and op.neurons not in RATES_TO_SPIKES
    return False
