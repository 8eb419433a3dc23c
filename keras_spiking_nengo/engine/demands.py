"""What building Nengo's objects asks for, told before it is done.

Of each object, the numbers that do not stand in its description: what is drawn,
solved or laid out in a size that is a mere number there.
"""

from collections.abc import Callable, Iterator
from typing import Any

import nengo
import numpy as np
from nengo.utils.builder import default_n_eval_points

from keras_spiking_nengo.budgets import spend

__all__ = ["spend_on"]

# Signals are kept by Nengo, by the program and by the backend, in several forms.
_FORMS = 8


def spend_on(obj: Any, dt: float) -> None:
    """Takes from the open account what building an object asks for.

    Args:
        obj: ensemble, node, connection or probe of Nengo.
        dt: float, seconds. Length of a step.

    Raises:
        ValueError: if that is more than is left.
    """
    kind = next(kind for kind in _NUMBERS if isinstance(obj, kind))
    spend(8 * sum(_NUMBERS[kind](obj, dt)), str(obj)[:200])


def _ensemble_numbers(ens, dt: float) -> Iterator[float]:
    n, d = ens.n_neurons, ens.dimensions
    yield _FORMS * d
    yield _process_numbers(ens.noise, n, dt)
    yield _unless_array(ens.eval_points, _n_points(ens, ens.eval_points) * d)
    if isinstance(ens.neuron_type, nengo.Direct):
        yield d * d
        return
    yield _unless_array(ens.encoders, n * d)
    yield from (_unless_array(value, _FORMS * n) for value in (ens.gain, ens.bias))


def _node_numbers(node, dt: float) -> Iterator[float]:
    yield _FORMS * (node.size_in + node.size_out)
    yield _process_numbers(node.output, node.size_out, dt)


def _connection_numbers(conn, dt: float) -> Iterator[float]:
    if _has_decoders(conn.pre_obj):
        yield from _solver_numbers(conn)
    n = getattr(conn.pre_obj, "n_neurons", conn.size_in)
    rules = conn.learning_rule_type
    rules = rules.values() if isinstance(rules, dict) else np.atleast_1d(rules)
    if any(isinstance(rule, nengo.RLS) for rule in rules):
        yield n * n
    yield _synapse_numbers(conn.synapse, conn.size_out, dt)


def _probe_numbers(probe, dt: float) -> Iterator[float]:
    yield _synapse_numbers(probe.synapse, probe.size_in, dt)
    solved = not isinstance(probe.solver, nengo.solvers.NoSolver)
    if solved and _has_decoders(probe.obj):
        n = probe.obj.n_neurons
        yield n * (n + _n_points(probe.obj, None))


_NUMBERS: dict[type, Callable[[Any, float], Iterator[float]]] = {
    nengo.Ensemble: _ensemble_numbers,
    nengo.Node: _node_numbers,
    nengo.Connection: _connection_numbers,
    nengo.Probe: _probe_numbers,
}


def _solver_numbers(conn) -> Iterator[float]:
    n, solver = conn.pre_obj.n_neurons, conn.solver
    if isinstance(solver, nengo.solvers.NoSolver):
        yield _unless_array(solver.values, n * conn.size_mid)
        return
    points = _n_points(conn.pre_obj, conn.eval_points)
    yield n * (n + points) + points * conn.pre_obj.dimensions
    if solver.weights:
        yield n * getattr(conn.post_obj, "n_neurons", conn.size_out)


def _process_numbers(process, size: int, dt: float) -> float:
    """Of the output of a node, or the noise of an ensemble."""
    if isinstance(process, nengo.processes.WhiteSignal):
        return 6 * size * process.period / dt
    if isinstance(process, nengo.processes.FilteredNoise):
        return _synapse_numbers(process.synapse, size, dt)
    if isinstance(process, nengo.synapses.Synapse):
        return _synapse_numbers(process, size, dt)
    return 0


def _synapse_numbers(synapse, size: int, dt: float) -> float:
    if isinstance(synapse, nengo.Triangle):
        return size * synapse.t / dt
    if isinstance(synapse, nengo.LinearFilter):
        return size * len(synapse.den)
    return 0


def _has_decoders(obj) -> bool:
    neural = isinstance(obj, nengo.Ensemble)
    return neural and not isinstance(obj.neuron_type, nengo.Direct)


def _n_points(ens, eval_points) -> int:
    """How many points a connection from an ensemble, or itself, is solved for."""
    points = ens.eval_points if eval_points is None else eval_points
    if isinstance(points, np.ndarray):
        return len(points)
    return ens.n_eval_points or default_n_eval_points(ens.n_neurons, ens.dimensions)


def _unless_array(value, numbers: float) -> float:
    return 0 if isinstance(value, np.ndarray) else numbers
