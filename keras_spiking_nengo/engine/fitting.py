"""Whether a network can fit into this machine's memory, said before it is built.

What is counted are arrays that cannot be done without: those that Nengo's builder makes
of ensembles and connections, in double precision, the largest of those that it needs
for the decoders of one connection at a time, and the states of a minibatch. What is
counted is less than what is needed; what does not fit even so is refused.
"""

import os
from collections import Counter
from pathlib import Path

import nengo
import numpy as np
from nengo.solvers import NoSolver
from nengo.utils.builder import default_n_eval_points
from rich.filesize import decimal

__all__ = ["check_memory"]

_DOUBLE, _SINGLE = 8, 4
# Bytes that a container may take, where there is one: of both versions of its groups.
_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
_WAYS = {
    "evaluation points and rates": "fewer n_eval_points, several smaller ensembles, or"
    " solver=nengo.solvers.NoSolver(...) where decoders are learned or known",
    "weights": "nengo.Sparse or nengo.Convolution transforms, or decoded connections"
    " instead of those between neurons and of solvers with weights=True",
    "encoders": "fewer dimensions for each ensemble (nengo.networks.EnsembleArray)",
    "states": "a smaller minibatch_size",
}


def check_memory(network: nengo.Network, batch: int = 1) -> None:
    """Refuse a network that this machine's memory is too small for.

    Args:
        network: that is to be built.
        batch: number of copies.

    Raises:
        MemoryError: with the bytes by kind, and what would make it fit.
    """
    there_is = _machine_bytes()
    needed = _needed(network, batch)
    total = sum(needed.values())
    if there_is is None or total <= there_is:
        return
    order = [kind for kind, size in needed.most_common() if size]
    kinds = ", ".join(f"{decimal(needed[kind])} for {kind}" for kind in order)
    raise MemoryError(
        f"{network} takes at least {decimal(total)}, and this machine has"
        f" {decimal(there_is)}: {kinds}. What makes it smaller: {_WAYS[order[0]]}."
    )


def _needed(network: nengo.Network, batch: int) -> Counter[str]:
    """Bytes by kind."""
    needed = Counter(dict.fromkeys(_WAYS, 0))
    for ens in network.all_ensembles:
        n, size = ens.n_neurons, ens.dimensions
        needed["encoders"] += 2 * n * size * _DOUBLE  # as given, and scaled
        needed["states"] += 3 * n * batch * _SINGLE
        points = _count_of_points(ens, ens.eval_points)
        needed["evaluation points and rates"] += points * size * _DOUBLE
    solving = [0]
    for conn in network.all_connections:
        weights, rates = _weights_and_rates(conn)
        needed["weights"] += weights * _DOUBLE
        solving.append(rates * _DOUBLE)
    needed["evaluation points and rates"] += max(solving)
    return needed


def _weights_and_rates(conn: nengo.Connection) -> tuple[int, int]:
    """How many weights it has, and how many rates its decoders are solved from."""
    pre, solver = conn.pre_obj, conn.solver
    dense = isinstance(conn.transform, nengo.Dense)
    if not isinstance(pre, nengo.Ensemble) or isinstance(pre.neuron_type, nengo.Direct):
        return (int(np.prod(conn.transform.shape)) if dense else 0), 0
    full = solver.weights and isinstance(conn.post_obj, nengo.Ensemble)
    size = conn.post_obj.n_neurons if full else conn.size_out
    if isinstance(solver, NoSolver):
        return pre.n_neurons * size, 0
    points = conn.eval_points if conn.eval_points is not None else pre.eval_points
    # Currents and rates, both of which there are for a moment.
    return pre.n_neurons * size, 2 * pre.n_neurons * _count_of_points(pre, points)


def _count_of_points(ens: nengo.Ensemble, points) -> int:
    if isinstance(points, np.ndarray):
        return len(points)
    return ens.n_eval_points or default_n_eval_points(ens.n_neurons, ens.dimensions)


def _machine_bytes() -> int | None:
    """Bytes of this machine, or of its container; None where nobody says."""
    limits = []
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        limits.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for file in _LIMITS:
        if file.is_file() and (text := file.read_text().strip()).isdigit():
            limits.append(int(text))
    return min(limits, default=None)
