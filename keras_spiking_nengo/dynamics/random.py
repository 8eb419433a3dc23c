"""Random numbers whose generator is part of the state.

A stream is a key and the number of draws made so far. The n-th draw is a hash of
both, so it is the same on every backend, compiled or not, and can be exported;
nothing is assigned. The hash applies two rounds of the integer mixing function
`x ^= x >> 16; x *= a; x ^= x >> 15; x *= b; x ^= x >> 16` in wrapping 32-bit
arithmetic.

Reference:
    Salmon et al. (2011), *Parallel random numbers: as easy as 1, 2, 3*, SC'11
    (counter-based generators); Wellons (2018), *Prospecting for hash functions*
    (the mixing constants).
"""

import math

from keras import ops

from keras_spiking_nengo.dynamics.loops import precise

__all__ = [
    "LARGE_MEAN",
    "MAX_KEY",
    "STATES",
    "expansion",
    "hashed",
    "new_key",
    "poisson",
    "uniform",
]

STATES = ("seed", "draws")
# Keys stay exact where a plain keras.layers.RNN casts its states to float32.
MAX_KEY = 2**24

# Above this mean the inversion would need more steps than the expansion is wrong.
LARGE_MEAN = 64.0


def _signed(x: int) -> int:
    return x - 2**32 if x >= 2**31 else x


def _shift(x, bits: int, m):
    # Integers are signed: the copies of the sign bit are masked away.
    return m.bitwise_and(m.right_shift(x, bits), 2 ** (32 - bits) - 1)


def _mix(x, m):
    x = m.bitwise_xor(x, _shift(x, 16, m)) * 0x7FEB352D
    x = m.bitwise_xor(x, _shift(x, 15, m)) * _signed(0x846CA68B)
    return m.bitwise_xor(x, _shift(x, 16, m))


def _hash(key, data, m):
    return _mix(_mix(key, m) + data * _signed(0x9E3779B1), m)


def new_key(key, data, m=ops):
    """A new key from a key and an integer, both int32 tensors that broadcast.

    Args:
        key, data: tensors; arrays where `m` is NumPy.
        m: what computes.
    """
    return m.bitwise_and(_hash(key, data, m), MAX_KEY - 1)


def hashed(key, count, m=ops, dtype: str = "float64"):
    """Numbers in (0, 1) of keys and numbers of draws; otherwise as `new_key`."""
    bits = _shift(_hash(key, count, m), 9, m)
    bits = bits.astype(dtype) if m is not ops else ops.cast(bits, dtype)
    return (bits + 0.5) * 2.0**-23


def uniform(state: list, dtype: str):
    """One number in (0, 1) per stream.

    Args:
        state: `[seed, draws]`, tensors of one shape and any one numeric dtype.
        dtype: of the numbers returned.

    Returns:
        The numbers, in the state's shape, and the next state.
    """
    seed, draws = state
    key, count = ops.cast(seed, "int32"), ops.cast(draws, "int32")
    return hashed(key, count, dtype=dtype), [seed, draws + 1]


def expansion(mean, inverse, m=ops):
    """Quantiles of large means, given `erfinv(2 u - 1)`."""
    z = math.sqrt(2.0) * inverse
    return mean + m.sqrt(mean) * z + (z * z - 1) / 6


def poisson(mean, state: list):
    """Poisson numbers for the means `mean >= 0`, and the next state.

    Means up to 64 are drawn by inversion of the distribution function, larger
    ones by its Cornish-Fisher expansion, whose quantiles are wrong by less than
    0.01 there.
    """
    u, state = uniform(state, mean.dtype)
    small = ops.minimum(mean, LARGE_MEAN)

    def unfinished(k, count, term, total):
        return ops.logical_and(k < 2 * LARGE_MEAN, ops.any(u > total))

    def term_after(k, count, term, total):
        count = count + ops.cast(u > total, count.dtype)
        term = term * small / (k + 1)
        return k + 1, count, term, total + term

    start = ops.exp(-small)
    k = ops.zeros((), mean.dtype)
    loop = (k, ops.zeros_like(mean), start, start)
    _, count, _, _ = ops.while_loop(unfinished, term_after, loop)
    expanded = expansion(mean, ops.erfinv(2 * u - 1))
    large = precise("floor", ops.maximum(expanded, 0) + 0.5)
    return ops.where(mean > LARGE_MEAN, large, count), state
