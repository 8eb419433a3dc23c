"""Whether the steps of a simulator are compiled.

What a step takes is estimated from what is in it, apart from what the user's Python
takes. `o` operators of Nengo are stepped one after the other; a program has `p`
operations, of which `k` call Python. Both have `N` neurons, `F` orders of filtered
values, and `M` products:

    stepped by Nengo's operators       a o + b N + c F + d M
    compiled                     e + f k + a'p + b'N + c'F + d'M

The numbers were chosen by hand between measurements on one core of a busy machine, on
TensorFlow, where XLA cannot compile what calls Python, and on JAX. They need not be
exact: a small network is several times as fast in one way, a large one in the other.
What was measured, as the time compiled over that stepped:

    closed loops of `benchmarks/loops.py`, 20,000 neurons    TensorFlow 1.2 to 4.6
      (on TensorFlow before `neuron_steps`)                  JAX 1.4 to 7.1
    LIF, one call of Python, 40,000 / 60,000 / 100,000       TensorFlow 1.1 / 0.9 / 0.7
                                                             JAX 0.6 / 0.5 / 0.4
    30 / 100 ensembles of different sizes, not merged        TensorFlow 1.4 / 1.1
                                                             JAX 1.4 / 0.6
    all connected to all, 1,000 / 3,000 neurons              JAX 1.7 / 0.8
    20,000 AdaptiveLIF                                       TensorFlow 0.9, JAX 0.8

The backends cross over at different sizes, and one choice for both is wrong on one of
them between. It is wrong on both for the last row, as all neurons have one price.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import nengo
from nengo.builder import Model

from keras_spiking_nengo.engine import Program
from keras_spiking_nengo.engine.populations import Population
from keras_spiking_nengo.simulator.compiled import Compiled
from keras_spiking_nengo.simulator.interpreted import Interpreted

__all__ = ["Plan", "Runner", "planned"]

Runner: TypeAlias = Compiled | Interpreted


@dataclass(frozen=True)
class _Prices:
    """Microseconds for one of each."""

    operation: float
    neuron: float
    filtered: float
    product: float


_STEPPED = _Prices(2.0, 0.021, 0.002, 0.00055)
_COMPILED = _Prices(2.5, 0.009, 0.006, 0.0005)
# What a program takes in any case, and for each call of Python.
_PROGRAM, _CALL = 250.0, 150.0


@dataclass(frozen=True)
class Plan:
    """How the steps of a simulator are done.

    Attributes:
        compiled: whether by a compiled program; else by Nengo's own operators.
        why: in words.
        stepped_us: what a step of Nengo's operators is thought to take, in
            microseconds; None where that is out of the question.
        compiled_us: the same for a compiled program.
    """

    compiled: bool
    why: str
    stepped_us: float | None = None
    compiled_us: float | None = None


def planned(
    model: Model,
    inputs: Sequence[nengo.Node],
    dtype: str,
    batch: int,
    optimize: bool,
    independent: bool,
    wanted: bool | str,
) -> tuple[Runner, Plan]:
    """What runs a model, and why.

    Args:
        model: nengo's, built.
        inputs, dtype, batch, optimize, independent: of `Compiled`.
        wanted: True or False, or `"auto"`.
    """
    if wanted is False:
        stepped = Interpreted(model, inputs, dtype, optimize)
        return stepped, Plan(False, "compile=False")
    run = Compiled(model, inputs, dtype, batch, optimize, independent)
    if wanted is True:
        return run, Plan(True, "compile=True")
    if batch > 1:
        return run, Plan(True, "a minibatch is stepped at once")
    if not run.program.python_calls:
        return run, Plan(True, "no Python is called while it runs")
    stepped = Interpreted(model, inputs, dtype, optimize)
    times = _when_stepped(run.program, len(stepped)), _when_compiled(run.program)
    if times[0] <= times[1]:
        why = "Python is in the loop of a small network"
        return stepped, Plan(False, why, *times)
    return run, Plan(True, "the network is large beside its calls of Python", *times)


def _weighed(program: Program, prices: _Prices) -> float:
    neurons = filtered = products = 0
    for operation in program.operations:
        products += operation.multiplications
        if isinstance(operation, Population):
            neurons += operation.updates
        else:
            filtered += operation.updates
    return (
        prices.neuron * neurons + prices.filtered * filtered + prices.product * products
    )


def _when_stepped(program: Program, n_operators: int) -> float:
    return _STEPPED.operation * n_operators + _weighed(program, _STEPPED)


def _when_compiled(program: Program) -> float:
    operations = _COMPILED.operation * len(program.operations)
    calls = _CALL * len(program.python_calls)
    return _PROGRAM + calls + operations + _weighed(program, _COMPILED)
