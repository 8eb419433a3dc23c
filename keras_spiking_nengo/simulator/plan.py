"""Whether the steps of a simulator are compiled.

What a step takes is estimated from what is in it: with `n` operators, `N` neurons and
filtered values, `M` products, `l` Keras layers and `k` calls of Python,

    stepped by Nengo's operators   a n + b N + c M + h l
    compiled                       d + e k + f N + g M

The numbers were measured on one core. They need not be exact: a small network is
several times as fast in one way, a large one in the other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import nengo
from nengo.builder import Model

from keras_spiking_nengo.engine import Program
from keras_spiking_nengo.engine.keras_layers import LayerCall
from keras_spiking_nengo.simulator.compiled import Compiled
from keras_spiking_nengo.simulator.interpreted import Interpreted

__all__ = ["Plan", "Runner", "planned"]

Runner: TypeAlias = Compiled | Interpreted

# Microseconds.
_OPERATOR, _CALL, _PROGRAM, _LAYER = 4.5, 150.0, 500.0, 1000.0
_STEPPED = {"updates": 0.02, "multiplications": 0.0005}
_COMPILED = {"updates": 0.004, "multiplications": 0.0005}


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


def _weighed(program: Program, prices: dict[str, float]) -> float:
    return sum(
        price * getattr(operation, name)
        for operation in program.operations
        for name, price in prices.items()
    )


def _when_stepped(program: Program, n_operators: int) -> float:
    layers = sum(isinstance(op, LayerCall) for op in program.operations)
    work = _LAYER * layers + _weighed(program, _STEPPED)
    return _OPERATOR * n_operators + work


def _when_compiled(program: Program) -> float:
    calls = _CALL * len(program.python_calls)
    return _PROGRAM + calls + _weighed(program, _COMPILED)
