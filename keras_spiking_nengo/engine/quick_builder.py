"""Nengo's builder, which does the same in less time.

Of what Nengo's builder does for a connection with decoders, most is not arithmetic: the
function is looked up and called for one evaluation point after the other, and rates,
their products and factors are computed anew for each connection of an ensemble. What is
found here is what Nengo finds, to the last bit; all else is left to Nengo.
"""

import time
from collections import OrderedDict

import nengo
import numpy as np
import scipy.linalg
from nengo.builder import Builder
from nengo.builder.connection import (
    build_solver,
    get_eval_points,
    get_targets,
    solve_for_decoders,
)
from nengo.solvers import LstsqL2, Solver
from nengo.utils.least_squares_solvers import Cholesky

from keras_spiking_nengo.engine.fitting import check_memory
from keras_spiking_nengo.engine.points import at_once

__all__ = ["QuickBuilder"]

# Bytes of rates that are kept for later connections of their ensembles.
_RATES_KEPT = 2**27


class QuickBuilder(Builder):
    """A builder for one `nengo.builder.Model`.

    Args:
        batch: number of copies that are to be run.
    """

    def __init__(self, batch: int = 1):
        self._batch = batch
        self._curves: OrderedDict[nengo.Ensemble, _Curves] = OrderedDict()
        self._kept = 0  # bytes

    def build(self, model, obj, *args, **kwargs):
        if isinstance(obj, Solver) and self._builds_as_nengo(obj):
            return self._decoders(model, *args, **kwargs)
        if model.toplevel is None and isinstance(obj, nengo.Network):
            check_memory(obj, self._batch)
        built = super().build(model, obj, *args, **kwargs)
        if obj is model.toplevel:
            self._curves.clear()
            self._kept = 0
        return built

    def _builds_as_nengo(self, solver: Solver) -> bool:
        known = (cls for cls in type(solver).__mro__ if cls in self.builders)
        nengos = self.builders.get(next(known, None)) is build_solver
        return nengos and (solver.compositional or not solver.weights)

    def _decoders(self, model, conn, rng):
        """Evaluation points, decoders, and what the solver says of them."""
        built = model.params[conn.pre_obj]
        points = get_eval_points(model, conn, rng)
        x = np.dot(points, built.encoders.T / conn.pre_obj.radius)
        solve = self._solve if conn.eval_points is None else solve_for_decoders
        if model.seeded[conn]:
            solve = model.decoder_cache.wrap_solver(solve)
        decoders, info = solve(
            conn, built.gain, built.bias, x, _targets(conn, points), rng=rng
        )
        return points, decoders.T, info

    def _solve(self, conn, gain, bias, x, targets, rng):
        """As Nengo's, for the evaluation points of the ensemble."""
        curves = self._curves.pop(conn.pre_obj, None)
        if curves is None:
            curves = _Curves(conn.pre_obj.neuron_type.rates(x, gain, bias))
            self._kept += curves.rates.nbytes
        if not curves.rates.any():
            return solve_for_decoders(conn, gain, bias, x, targets, rng)  # its error
        self._curves[conn.pre_obj] = curves
        while self._kept > _RATES_KEPT:
            _, oldest = self._curves.popitem(last=False)
            self._kept -= oldest.rates.nbytes
        solver = conn.solver
        if type(solver) is LstsqL2 and _is_default(solver.solver):
            return curves.decoders(solver.reg, targets)
        return solver(curves.rates.copy(), targets, rng=rng)  # it may write to them


class _Curves:
    """Rates of neurons at the evaluation points of their ensemble.

    Args:
        rates: array `(n_points, n_neurons)`.
    """

    def __init__(self, rates: np.ndarray):
        self.rates = rates
        self._factors: dict[float, tuple] = {}

    def decoders(self, reg: float, targets: np.ndarray) -> tuple[np.ndarray, dict]:
        """Those of least squares with L2 regularisation, by normal equations.

        Args:
            reg: standard deviation of the noise, as part of the highest rate.
            targets: array `(n_points, size)`.
        """
        start, rates = time.time(), self.rates
        few = len(rates) < rates.shape[1]
        if reg not in self._factors:
            gram = np.dot(rates, rates.T) if few else np.dot(rates.T, rates)
            noise = len(rates) * (reg * rates.max()) ** 2
            np.fill_diagonal(gram, gram.diagonal() + noise)
            self._factors[reg] = scipy.linalg.cho_factor(gram, overwrite_a=True)
        right = targets if few else np.dot(rates.T, targets)
        decoders = scipy.linalg.cho_solve(self._factors[reg], right)
        if few:
            decoders = np.dot(rates.T, decoders)
        errors = targets - np.dot(rates, decoders)
        info = {"rmses": np.sqrt(np.mean(errors**2, axis=0))}
        return decoders, info | {"time": time.time() - start}


def _is_default(solver) -> bool:
    return type(solver) is Cholesky and solver.transpose is None


def _targets(conn: nengo.Connection, points: np.ndarray) -> np.ndarray:
    """What is decoded at each evaluation point."""
    function, dtype = conn.function, nengo.rc.float_dtype
    if not callable(function):
        return get_targets(conn, points)
    sliced = points[:, conn.pre_slice]
    targets = at_once(function, sliced, conn.size_mid)
    if targets is not None:
        return targets.astype(dtype, copy=False)
    targets = np.zeros((len(points), conn.size_mid), dtype)
    for target, point in zip(targets, sliced, strict=True):
        value = function(point)
        if value is None:
            return get_targets(conn, points)  # Nengo's error
        target[...] = np.hstack(value) if isinstance(value, tuple | list) else value
    return targets
