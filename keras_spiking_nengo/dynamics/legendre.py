"""The memory of a Legendre memory unit: the last steps as Legendre coefficients.

    theta dm/dt = A m + B u;   A[i, j] = (2i + 1) (-1 if i < j else (-1)^(i - j + 1))
                               B[i] = (2i + 1) (-1)^i

From `m` the last `theta` steps of the input `u` are read with the Legendre
polynomials P: `u(t - r theta)` is about the sum of `P_i(2r - 1) m[i]`, 0 <= r <= 1.
One step is `m[t] = A' m[t-1] + B' u[t]`, where `A'` and `B'` are, for an input that is
constant within a step (zero-order hold), or by Euler's rule,

    A' = exp(A / theta),  B' = A^-1 (A' - I) B;    A' = I + A / theta,  B' = B / theta

Over a block of L steps all memories are one product with two fixed matrices, of the
block's inputs and of the memory before it,

    m = K u + S m0;   K[i, j] = A'^(i - j) B' for i >= j;   S[i] = A'^(i + 1)

and the memories before the blocks are summed up in pairs, then pairs of pairs, and so
on. The last memory alone is one product with the inputs.

Reference:
    Voelker, Kajic and Eliasmith (2019), *Legendre memory units: continuous-time
    representation in recurrent neural networks*, NeurIPS; Chilkuri and Eliasmith
    (2021), *Parallelizing Legendre memory unit training*, ICML.
"""

import math

import numpy as np
from keras import ops
from scipy import linalg

from keras_spiking_nengo.dynamics.loops import static_length
from keras_spiking_nengo.dynamics.transforms import matrix_product

__all__ = [
    "DISCRETIZERS",
    "continuous",
    "discretized",
    "last",
    "least_theta",
    "memories",
    "next_memory",
]

DISCRETIZERS = ("zoh", "euler")


def continuous(order: int) -> tuple[np.ndarray, np.ndarray]:
    """`A` of `(order, order)` and `B` of `(order,)`, for a `theta` of 1.

    Example:
        >>> A, B = continuous(2)
        >>> A.tolist(), B.tolist()
        ([[-1.0, -1.0], [3.0, -3.0]], [1.0, -3.0])
    """
    i = np.arange(order)
    row, column = i[:, None], i
    sign = np.where(row < column, -1.0, (-1.0) ** (row - column + 1))
    return (2 * row + 1) * sign, (2 * i + 1) * (-1.0) ** i


def discretized(order: int, theta, method: str = "zoh") -> tuple:
    """`A'` and `B'` of one step.

    Args:
        order: number of Legendre polynomials.
        theta: length of the window in steps: a float, for NumPy arrays in double
            precision, or a tensor, for tensors that are differentiable in it once.
        method: one of `DISCRETIZERS`.

    Example:
        >>> A, B = discretized(1, 4.0)
        >>> round(float(A[0, 0]), 4), round(float(B[0]), 4)
        (0.7788, 0.2212)
    """
    # Signals in the coefficients of orthonormal polynomials do not grow, so that
    # single precision is enough for the exponential.
    scale = np.sqrt(2 * np.arange(order) + 1.0)
    A, B = continuous(order)
    M = np.zeros((order + 1, order + 1))
    M[:order, :order] = A * scale / scale[:, None]
    M[:order, order] = B / scale
    back, forth = np.append(scale, 1.0)[:, None], 1 / np.append(scale, 1.0)
    if ops.is_tensor(theta):
        M, scales, unit = (
            ops.convert_to_tensor(x, dtype=theta.dtype)
            for x in (M, back * forth, np.eye(order + 1))
        )
        E = unit + M / theta if method == "euler" else _exponential(M, 1 / theta)
    else:
        scales = back * forth
        E = np.eye(len(M)) + M / theta if method == "euler" else linalg.expm(M / theta)
    E = E * scales
    return E[:order, :order], E[:order, order]


# Terms of the series, enough for double precision up to a norm of 1.
_TERMS = 18


def _exponential(M, s):
    """`exp(M s)` of a tensor `s`: the series for a part of it, and squares of that."""
    start = ops.stop_gradient(s)
    norm = start * ops.max(ops.sum(ops.absolute(M), axis=0))
    halvings = ops.maximum(ops.ceil(ops.log(norm) / math.log(2)), 0.0)
    X = M * (start / ops.power(ops.cast(2.0, M.dtype), halvings))
    unit = ops.eye(M.shape[0], dtype=M.dtype)
    E = unit
    for k in range(_TERMS, 0, -1):
        E = unit + ops.matmul(X, E) / k
    _, E = ops.while_loop(
        lambda left, _: left > 0.5,
        lambda left, E: (left - 1.0, ops.matmul(E, E)),
        (halvings, E),
    )
    # The loop has no derivative: it is that of the exponential.
    E = ops.stop_gradient(E)
    return E + (s - start) * ops.matmul(M, E)


def least_theta(order: int) -> float:
    """The `theta` from which on Euler's rule gives a memory that does not grow."""
    values = np.linalg.eigvals(continuous(order)[0])
    return float(np.max(np.abs(values) ** 2 / (-2 * values.real)))


def next_memory(A, B, u, m):
    """The memory `(batch, channels, order)` after one step.

    Args:
        A, B: of `discretized`.
        u: input `(batch, channels)`.
        m: memory before.
    """
    A, B = (ops.convert_to_tensor(x, dtype=m.dtype) for x in (A, B))
    # One product of two matrices, not one for each item.
    flat = ops.reshape(m, (-1, m.shape[-1]))
    moved = ops.reshape(matrix_product(A, flat), (-1, *m.shape[1:]))
    return moved + u[..., None] * B


def memories(A, B, inputs, m):
    """The memories `(batch, time, channels, order)` after all steps.

    Args:
        A, B: of `discretized`.
        inputs: `(batch, time, channels)`, with a known number of steps.
        m: `(batch, channels, order)`, memory before the first step.
    """
    time, (channels, order) = static_length(inputs), m.shape[1:]
    assert time is not None
    length = _block_length(time)
    n_blocks = -(-time // length)
    matrix, reach, power = (
        ops.convert_to_tensor(x, dtype=m.dtype) for x in _block(A, B, length)
    )
    u = ops.pad(inputs, [(0, 0), (0, n_blocks * length - time), (0, 0)])
    u = ops.reshape(u, (-1, n_blocks, length, channels))
    u = ops.transpose(u, (0, 1, 3, 2))
    before = m[:, None]
    if n_blocks > 1:
        gained = _flat_product(u[:, :-1], reach)
        before = _chained(power, ops.concatenate([before, gained], axis=1))
    y = _flat_product(ops.concatenate([u, before], axis=-1), matrix)
    y = ops.reshape(y, (-1, n_blocks, channels, length, order))
    y = ops.transpose(y, (0, 1, 3, 2, 4))
    y = ops.reshape(y, (-1, n_blocks * length, channels, order))
    return y[:, :time]


# What a reach has at most: a product with more steps would need a larger matrix.
_REACH = 1024


def last(A, B, inputs, m):
    """The memory `(batch, channels, order)` after the last step; as `memories`."""
    time = static_length(inputs)
    assert time is not None
    start = 0
    for length in [time % _REACH, *[_REACH] * (time // _REACH)]:
        if length:
            u = ops.transpose(inputs[:, start : start + length], (0, 2, 1))
            taps = ops.convert_to_tensor(_reach(A, B, length), dtype=m.dtype)
            power = ops.convert_to_tensor(_power(A, length), dtype=m.dtype)
            m = _flat_product(m, ops.transpose(power)) + _flat_product(u, taps)
            start += length
    return m


def _flat_product(x, matrix):
    """`x` of `(..., n)` times a matrix `(n, k)`, as one product of two matrices."""
    shape = ops.shape(x)
    flat = ops.matmul(ops.reshape(x, (-1, shape[-1])), matrix)
    return ops.reshape(flat, (*shape[:-1], matrix.shape[-1]))


def _block_length(time: int) -> int:
    """Steps in a block: about 32, and so that few are added to fill the last one."""
    if time <= 48:
        return time
    return min(range(20, 49), key=lambda n: (-time % n, abs(n - 32)))


def _chained(power, gained):
    """`x[k] = power x[k-1] + gained[k]` along axis 1, in pairs, pairs of pairs, ..."""
    shift = 1
    while shift < gained.shape[1]:
        moved = _flat_product(gained[:, :-shift], ops.transpose(power))
        moved = gained[:, shift:] + moved
        gained = ops.concatenate([gained[:, :shift], moved], axis=1)
        power, shift = ops.matmul(power, power), 2 * shift
    return gained


# --- matrices, of arrays and of tensors alike -----------------------------------


def _library(x):
    return ops if ops.is_tensor(x) else np


def _block(A, B, length: int) -> tuple:
    """`K` over `S` as one matrix `(length + order, length * order)`; reach; power."""
    xp, order = _library(A), B.shape[0]
    powers = A[None]
    while powers.shape[0] < length:
        more = xp.matmul(powers, powers[-1])
        powers = xp.concatenate([powers, more])[:length]
    carried = xp.reshape(xp.transpose(powers, (2, 0, 1)), (order, -1))
    reach = _reach(A, B, length)
    taps = xp.concatenate([xp.zeros_like(reach), xp.flip(reach, axis=0)])
    delay = length + np.arange(length) - np.arange(length)[:, None]
    response = xp.reshape(xp.take(taps, delay, axis=0), (length, -1))
    return xp.concatenate([response, carried]), reach, powers[length - 1]


def _reach(A, B, length: int):
    """What `length` inputs add to the memory after the last: `(length, order)`."""
    xp = _library(A)
    taps, power = B[None], A
    while taps.shape[0] < length:
        taps = xp.concatenate([taps, xp.matmul(taps, xp.transpose(power))])
        power = xp.matmul(power, power)
    return xp.flip(taps[:length], axis=0)


def _power(A, exponent: int):
    """`A^exponent`, of at least 1."""
    xp = _library(A)
    while exponent % 2 == 0:
        A, exponent = xp.matmul(A, A), exponent // 2
    return A if exponent == 1 else xp.matmul(A, _power(A, exponent - 1))
