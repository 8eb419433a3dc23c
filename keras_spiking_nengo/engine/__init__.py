"""Any built nengo model as one pure program."""

import gc
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import nengo
import numpy as np
from nengo.builder import Model

from keras_spiking_nengo.engine.alike import likeness
from keras_spiking_nengo.engine.assembly import assemble, shown
from keras_spiking_nengo.engine.operation import Mode
from keras_spiking_nengo.engine.operators import OPERATORS, translate
from keras_spiking_nengo.engine.order import ordered
from keras_spiking_nengo.engine.passes import ALWAYS, PASSES
from keras_spiking_nengo.engine.program import Program, Stage
from keras_spiking_nengo.engine.signals import Gather, Value

__all__ = [
    "ALWAYS",
    "OPERATORS",
    "PASSES",
    "Mode",
    "Program",
    "compile_model",
    "likeness",
    "without_collection",
]


@contextmanager
def without_collection() -> Iterator[None]:
    """Without garbage collection, which looks at millions of new objects in vain."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@without_collection()
def compile_model(
    model: Model,
    inputs: Iterable[nengo.Node] = (),
    outputs: Mapping[Any, Any] | Iterable[nengo.Probe] | None = None,
    passes: Iterable[str] = ALWAYS,
    present: Mapping[Any, np.ndarray] | None = None,
) -> Program:
    """A built nengo model as a program.

    Args:
        model: nengo's, built; it is not changed.
        inputs: nodes whose output is given from outside, in order.
        outputs: probes, or signals by any key. Defaults to all probes.
        passes: names from `PASSES`, in order; `"simplify"` and `"condense"` come
            before the others. Defaults to `ALWAYS`.
        present: values of base signals after some steps of Nengo's, to go on
            from. Defaults to the initial ones.

    Returns:
        A `Program` whose `inputs` are the number of the step, the time, the given
        nodes, and the timed inputs.

    Raises:
        BuildError: for a loop within one step, or operators that contradict each
            other.
        NotImplementedError: for neurons or processes without a rule that cannot
            be run as nengo's own Python either.

    Example:
        >>> import nengo
        >>> with nengo.Network(seed=0) as net:
        ...     probe = nengo.Probe(nengo.Ensemble(10, 1))
        >>> model = nengo.builder.Model()
        >>> model.build(net)
        >>> len(compile_model(model).outputs)
        1
    """
    outside = {model.step: Value("step", 1), model.time: Value("time", 1)}
    for node in inputs:
        signal = model.sig[node]["out"]
        outside[signal.base] = Value(str(node), signal.size)
    translation = translate(model, outside, present)
    if outputs is None or not isinstance(outputs, Mapping):
        probes = model.probes if outputs is None else outputs
        outputs = {probe: model.sig[probe]["in"] for probe in probes}
    gathers = {key: _probed(translation, signal) for key, signal in outputs.items()}
    assemble(translation)
    program = Program(
        stages=(Stage("loop", tuple(ordered(translation.operations))),),
        inputs=(*outside.values(), *(t.value for t in translation.timed_inputs)),
        outputs=gathers,
        parameters=translation.parameters,
        dt=model.dt,
        timed_inputs=tuple(translation.timed_inputs),
        python_operators=tuple(translation.python_operators.items()),
    )
    for name in passes:
        program = PASSES[name](program)
    return program


def _probed(translation, signal) -> Gather:
    if signal.sparse:
        raise nengo.exceptions.BuildError(f"{signal} is sparse and cannot be probed.")
    return shown(translation, signal)
