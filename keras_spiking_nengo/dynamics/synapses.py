"""Linear synapses: one step, and a whole sequence in parallel.

Every linear synapse is brought into one discrete form,

    y[t] = C x[t] + D u[t];   x[t+1] = A x[t] + B u[t]

with `u` the input, `y` the output and `x` the state. Nengo's own order of events
is in the matrices: with `delay=1` the output lags the input by one step, as a
synapse on a Nengo connection does; with `delay=0` it does not.

Over a block of L steps the output is a product with two fixed matrices, of the
block's inputs (the impulse response) and of the state before it:

    y = T u + O x;   T[i, j] = C A^(i-j-1) B (D on the diagonal);  O[i] = C A^i

so that only one step in L is sequential; and the states before many blocks are again
one product with what the blocks add to the state.

Reference:
    Voelker and Eliasmith (2018), *Improving spiking dynamical networks:
    accurate delays, higher-order synapses, and time cells*, Neural Computation
    30(3); Oppenheim and Schafer, *Discrete-time signal processing* (state space).
"""

import functools
import math
import operator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import nengo
import numpy as np
from keras import ops
from scipy import linalg, signal

from keras_spiking_nengo.budgets import spend
from keras_spiking_nengo.dynamics.loops import loops_are_fast, scan, static_length
from keras_spiking_nengo.registry import Registry

__all__ = [
    "SYNAPSES",
    "LinearSystem",
    "is_followed",
    "is_tunable",
    "linear_system",
    "output",
    "sequence",
    "state_of_nengo",
    "step",
    "tuned_system",
]


@dataclass(frozen=True, eq=False)
class LinearSystem:
    """A discrete linear system with one input and one output.

    Attributes:
        A, B, C, D: arrays `(order, order)`, `(order,)`, `(order,)`, and a float.
    """

    A: Any
    B: Any
    C: Any
    D: Any

    @property
    def order(self) -> int:
        return len(self.B)

    def steady_state(self) -> np.ndarray:
        """State `(order,)` at which a constant output of 1 is kept.

        Raises:
            ValueError: if the system has no such state (its gain for a constant
                input is zero or infinite).
        """
        rest = np.eye(self.order) - self.A
        # A pole at 1 keeps what it has been given for ever.
        if np.any(np.abs(1 - np.linalg.eigvals(self.A)) < 1e-9):
            raise ValueError(
                "An initial level needs a synapse that settles; this one"
                " integrates its input. Leave initial_level at 0."
            )
        state = np.linalg.solve(rest, self.B) if self.order else self.B
        gain = self.C @ state + self.D
        if abs(gain) < 1e-12:
            raise ValueError(
                "An initial level needs a synapse that passes a constant input;"
                " the gain of this one is 0. Leave initial_level at 0."
            )
        return state / gain

    @functools.cache  # noqa: B019 - as long-lived as the synapse layer that holds it
    def block(self, length: int) -> tuple[np.ndarray, ...]:
        """`(T, O, S, P)` for `length` steps: `y = T u + O x`, `x' = P x + S u`."""
        powers = [np.eye(self.order)]
        for _ in range(length):
            powers.append(powers[-1] @ self.A)
        observed = np.stack([self.C @ power for power in powers[:-1]])
        impulse = np.concatenate([[self.D], (observed @ self.B)[:-1]])
        toeplitz = linalg.toeplitz(impulse, np.zeros(length))
        reach = np.stack([power @ self.B for power in powers[-2::-1]], axis=1)
        return toeplitz, observed, reach, powers[-1]

    @functools.cache  # noqa: B019 - as long-lived as the synapse layer that holds it
    def chain(self, length: int, n_blocks: int) -> tuple[np.ndarray, np.ndarray]:
        """States before each block and after the last, `x_k = N x + M g`.

        `g` is what each block of `length` steps adds to the state, one after the
        other.
        """
        n, power = self.order, self.block(length)[3]
        powers = [np.eye(n)]
        for _ in range(n_blocks):
            powers.append(powers[-1] @ power)
        carried = np.zeros((n_blocks + 1, n, n_blocks, n))
        for k in range(1, n_blocks + 1):
            for j in range(k):
                carried[k, :, j] = powers[k - 1 - j]
        shape = ((n_blocks + 1) * n, n_blocks * n)
        return np.concatenate(powers), carried.reshape(shape)


SYNAPSES: Registry = Registry("synapse", governing=("make_step", "make_state"))


def linear_system(synapse, dt: float, delay: int = 1) -> LinearSystem:
    """The discrete form of a Nengo synapse.

    Args:
        synapse: a linear `nengo.synapses.Synapse`, or None for no filter.
        dt: float, seconds. Length of a step.
        delay: 1 for Nengo's order of events on a connection, 0 without lag. A
            synapse of None never lags.

    Raises:
        NotImplementedError: if the synapse has no rule: it is not linear, or
            redefines its step.

    Example:
        >>> import nengo
        >>> system = linear_system(nengo.Lowpass(0.1), dt=0.001)
        >>> round(float(system.A[0, 0]), 3)
        0.99
    """
    if synapse is None:
        return _system_of_arrays(np.zeros((0, 0)), [], [], 1.0)
    system = _system_of_arrays(*SYNAPSES[synapse](synapse, dt))
    A, B, C, D = system.A, system.B, system.C, system.D
    if system.order and D == 0:
        # Nengo reads the output after the state has moved.
        return system if delay else _system_of_arrays(A, B, C @ A, C @ B)
    return _lagged(system) if delay else system


def state_of_nengo(
    synapse, dt: float, system: LinearSystem, states: Mapping, sent: np.ndarray
) -> np.ndarray:
    """The state of a system that does what Nengo's synapse would do from here on.

    Args:
        synapse: a linear `nengo.synapses.Synapse`, for which `is_followed` holds.
        dt: float, seconds. Length of a step.
        system: of `linear_system`, with lag or without.
        states: what the synapse remembers, by Nengo's names.
        sent: `(features,)`, its output in the last step.

    Returns:
        `(order, features)`.
    """
    if isinstance(synapse, nengo.Triangle):
        # A ring of inputs, each times the difference of neighbouring taps.
        taps, at = len(states["X"]), int(states["Xi"].item())
        newest_first = (at - np.arange(taps)) % taps
        return states["X"].reshape(taps, -1)[newest_first] * (taps * (taps + 1) / 2)
    ours = _system_of_arrays(*SYNAPSES[synapse](synapse, dt))
    theirs = _system_of_arrays(*_linear_filter(synapse, dt))
    state = np.zeros((0, sent.size))
    if ours.order:
        state = states["X"].reshape(theirs.order, -1)
        if theirs.order == 1 and theirs.D == 0:
            state = state / theirs.C  # Nengo keeps the output
        if any(
            not np.array_equal(a, b)
            for a, b in ((ours.A, theirs.A), (ours.C, theirs.C))
        ):
            state = np.linalg.solve(_observed(ours), _observed(theirs) @ state)
    return np.vstack([state, sent])[: system.order]


def is_followed(synapse) -> bool:
    """Whether `state_of_nengo` knows what a synapse remembers."""
    return synapse in SYNAPSES and SYNAPSES[synapse] in _FOLLOWED


def _observed(system: LinearSystem) -> np.ndarray:
    """Free outputs of as many steps as there are states, one row for each."""
    rows = [system.C]
    for _ in range(system.order - 1):
        rows.append(rows[-1] @ system.A)
    return np.stack(rows)


def _system_of_arrays(A, B, C, D) -> LinearSystem:
    B = np.reshape(np.asarray(B, float), -1)
    A = np.reshape(np.asarray(A, float), (B.size, B.size))
    return LinearSystem(
        A, B, np.reshape(np.asarray(C, float), -1), float(np.squeeze(D))
    )


def _lagged(system: LinearSystem) -> LinearSystem:
    """The system with its last output as one more state, which is what it sends."""
    n = system.order
    A = np.block([[system.A, np.zeros((n, 1))], [system.C[None, :], np.zeros((1, 1))]])
    return _system_of_arrays(
        A, np.append(system.B, system.D), np.append(np.zeros(n), 1.0), 0.0
    )


@SYNAPSES.register(nengo.LinearFilter)
def _linear_filter(synapse, dt):
    A, B, C, D = signal.tf2ss(synapse.num, synapse.den)
    if A.size == 0 or np.size(synapse.den) == 1:
        return np.zeros((0, 0)), [], [], D
    if synapse.analog:
        A, B, C, D, _ = signal.cont2discrete((A, B, C, D), dt, method=synapse.method)
    return A, B, C, D


# A matrix of as many rows and columns as taps, and what is made of it.
_TRIANGLE_BYTES = 32


@SYNAPSES.register(nengo.Triangle)
def _triangle(synapse, dt):
    spend(_TRIANGLE_BYTES * (synapse.t / dt) ** 2, f"{synapse!r} with dt={dt:g} s")
    taps = int(np.round(synapse.t / dt)) + 1
    impulse = np.arange(taps, 0, -1) / (taps * (taps + 1) / 2)
    return np.eye(taps, k=-1), np.eye(taps)[0], impulse, 0.0


# Synapses with one time constant: their matrices as functions of it, for floats
# and for tensors alike. The state of an Alpha synapse is that of two lowpass
# filters in a row, `tau x1' = u - x1` and `tau x2' = x1 - x2`.


def _lowpass(tau, dt):
    if not ops.is_tensor(tau) and tau == 0:
        return [], [], [], 1.0
    d = _exp(-dt / tau)
    return [[d]], [1 - d], [1.0], 0.0


def _alpha(tau, dt):
    if not ops.is_tensor(tau) and tau == 0:
        return [], [], [], 1.0
    d, r = _exp(-dt / tau), dt / tau
    return [[d, 0.0], [r * d, d]], [1 - d, 1 - d - r * d], [0.0, 1.0], 0.0


_TUNABLE = {nengo.Lowpass: _lowpass, nengo.Alpha: _alpha}


def _of_time_constant(matrices):
    def rule(synapse, dt):
        if synapse.analog and synapse.method == "zoh":
            return matrices(synapse.tau, dt)
        return _linear_filter(synapse, dt)

    return rule


for _synapse, _matrices in _TUNABLE.items():
    SYNAPSES.add(_of_time_constant(_matrices), _synapse)

# Rules of synapses whose states Nengo keeps in a form that is known.
_FOLLOWED = [
    SYNAPSES[synapse]
    for synapse in (nengo.LinearFilter([1], [1, 1]), nengo.Triangle(0.01))
]
_FOLLOWED += [SYNAPSES[synapse(0.1)] for synapse in _TUNABLE]


def is_tunable(synapse) -> bool:
    """Whether the output is differentiable in the synapse's `tau`."""
    if type(synapse) not in _TUNABLE:
        return False
    return synapse.tau > 0 and synapse.analog and synapse.method == "zoh"


def tuned_system(synapse, tau, dt: float, delay: int = 1) -> LinearSystem:
    """`linear_system` with a tensor for the synapse's `tau`.

    Args:
        tau: seconds; broadcasts against the features.
    """
    A, B, C, D = _TUNABLE[type(synapse)](tau, dt)
    if delay:
        return LinearSystem(A, B, C, D)
    n = range(len(B))
    CA = [_sum_of_products([(C[i], A[i][j]) for i in n]) for j in n]
    return LinearSystem(A, B, CA, _sum_of_products([(C[i], B[i]) for i in n]))


def _exp(x):
    return ops.exp(x) if ops.is_tensor(x) else math.exp(x)


def _is_zero(x) -> bool:
    return not ops.is_tensor(x) and not np.any(x)


def _sum_of_products(pairs):
    """Sum of products, leaving out what is zero; None where all is."""
    terms = [
        (a if ops.is_tensor(a) else float(a)) * b
        for a, b in pairs
        if not (_is_zero(a) or _is_zero(b))
    ]
    return functools.reduce(operator.add, terms) if terms else 0.0


# Beyond this order a matrix product is faster than a sum over its entries.
_WIDE = 4


def step(system: LinearSystem, u, x):
    """One step: output and next state.

    Args:
        system: with matrices of floats or, if tuned, of tensors.
        u: input `(batch, *features)`.
        x: state `(batch, order, *features)`.
    """
    n = range(system.order)
    if system.order > _WIDE:
        shape = ops.shape(x)
        flat = ops.reshape(x, (shape[0], system.order, -1))
        rows = np.vstack([system.A, system.C[None]])
        moved = ops.matmul(ops.convert_to_tensor(rows, dtype=x.dtype), flat)
        moved = ops.reshape(moved, (shape[0], system.order + 1, *shape[2:]))
        gained = [_sum_of_products([(b, u)]) for b in system.B]
        state = [moved[:, i] + gained[i] for i in n]
        return moved[:, -1] + _sum_of_products([(system.D, u)]), ops.stack(
            state, axis=1
        )
    y, state = _step_of_entries(system, u, [x[:, i] for i in n])
    return y, ops.stack(state, axis=1) if state else x


def _step_of_entries(system: LinearSystem, u, entries: list):
    """Output and next state, whose entries are arrays of their own."""
    y = _sum_of_products([*zip(system.C, entries, strict=True), (system.D, u)])
    pairs = zip(system.A, system.B, strict=True)
    return y, [
        _sum_of_products([*zip(row, entries, strict=True), (b, u)]) for row, b in pairs
    ]


def output(system: LinearSystem, x):
    """Output of a system that lags, from its state `(batch, order, *features)`."""
    if system.order > _WIDE:
        C = ops.convert_to_tensor(system.C, dtype=x.dtype)
        return ops.tensordot(C, x, axes=[[0], [1]])
    return _sum_of_products(
        zip(system.C, [x[:, i] for i in range(system.order)], strict=True)
    )


def sequence(system: LinearSystem, inputs, x, length: int = 64, count=None):
    """Outputs `(batch, time, *features)` and the final state, in blocks.

    Args:
        inputs: `(batch, time, *features)`.
        x: state `(batch, order, *features)`.
        length: steps in a block. Single steps are taken instead where their number
            is not known while the program is traced, or where that is faster.
        count: integer tensor. Take only so many steps; there is no gradient then.
    """
    time = static_length(inputs)
    if system.order == 0:
        return system.D * inputs, x
    if time is None or (system.order <= _FEW and loops_are_fast()):
        return _looped(system, inputs, x, count)
    if count is not None:
        return ops.cond(
            count == time,
            lambda: _by_blocks(system, inputs, x, time, length),
            lambda: _looped(system, inputs, x, count),
        )
    return _by_blocks(system, inputs, x, time, length)


def _by_blocks(system: LinearSystem, inputs, x, time: int, length: int):
    """`sequence`, in blocks."""
    shape = ops.shape(inputs)
    n = system.order
    u = ops.reshape(inputs, (shape[0], time, -1))
    x = ops.reshape(x, (shape[0], n, -1))
    outputs = []
    for start, n_blocks, size in _blocks(time, length):
        part = u[:, start : start + n_blocks * size]
        part = ops.reshape(part, (shape[0], n_blocks, size, -1))
        toeplitz, observed, reach, _, settled, carried = (
            ops.convert_to_tensor(m, dtype=inputs.dtype)
            for m in (*system.block(size), *system.chain(size, n_blocks))
        )
        # The state before each block, and after the last one.
        gained = ops.reshape(ops.matmul(reach, part), (shape[0], n_blocks * n, -1))
        states = ops.matmul(settled, x) + ops.matmul(carried, gained)
        before = ops.reshape(states[:, : n_blocks * n], (shape[0], n_blocks, n, -1))
        y = ops.matmul(toeplitz, part) + ops.matmul(observed, before)
        outputs.append(ops.reshape(y, (shape[0], n_blocks * size, -1)))
        x = states[:, n_blocks * n :]
    y = ops.concatenate(outputs, axis=1) if len(outputs) > 1 else outputs[0]
    return ops.reshape(y, shape), ops.reshape(x, (shape[0], n, *shape[2:]))


# Up to this order a compiled loop is faster than products over blocks: one over 64
# steps has 128 operations for each output, a lowpass needs 4.
_FEW = 2


def _looped(system: LinearSystem, inputs, x, count=None):
    """`sequence`, one step after the other."""
    if system.order > _WIDE:

        def wide(_, u, x):
            y, x = step(system, u[0], x[0])
            return y, [x]

        y, (x,) = scan(wide, {}, [inputs], [x], count=count)
        return y, x
    entries = [x[:, i] for i in range(system.order)]

    def narrow(_, u, x):
        return _step_of_entries(system, u[0], x)

    y, entries = scan(narrow, {}, [inputs], entries, count=count)
    return y, ops.stack(entries, axis=1)


# So many blocks have their states computed by one matrix product.
_CHAIN = 64


def _blocks(time: int, length: int):
    """Start, number of blocks, and their size: full blocks first, then the rest."""
    start = 0
    while time - start >= length:
        n_blocks = min((time - start) // length, _CHAIN)
        yield start, n_blocks, length
        start += n_blocks * length
    if start < time:
        yield start, 1, time - start
