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

__all__ = ["MAX_KEY", "STATES", "new_key", "poisson", "uniform"]

STATES = ("seed", "draws")
# Keys stay exact where a plain keras.layers.RNN casts its states to float32.
MAX_KEY = 2**24

# Above this mean the inversion would need more steps than the expansion is wrong.
_LARGE_MEAN = 64.0


def _signed(x: int) -> int:
    return x - 2**32 if x >= 2**31 else x


def _shift(x, bits: int):
    # Integers are signed: the copies of the sign bit are masked away.
    return ops.bitwise_and(ops.right_shift(x, bits), 2 ** (32 - bits) - 1)


def _mix(x):
    x = ops.bitwise_xor(x, _shift(x, 16)) * 0x7FEB352D
    x = ops.bitwise_xor(x, _shift(x, 15)) * _signed(0x846CA68B)
    return ops.bitwise_xor(x, _shift(x, 16))


def new_key(key, data):
    """A new key from a key and an integer, both int32 tensors that broadcast."""
    return ops.bitwise_and(_mix(_mix(key) + data * _signed(0x9E3779B1)), MAX_KEY - 1)


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
    bits = _shift(_mix(_mix(key) + count * _signed(0x9E3779B1)), 9)
    return (ops.cast(bits, dtype) + 0.5) * 2.0**-23, [seed, draws + 1]


def poisson(mean, state: list):
    """Poisson numbers for the means `mean >= 0`, and the next state.

    Means up to 64 are drawn by inversion of the distribution function, larger
    ones by its Cornish-Fisher expansion, whose quantiles are wrong by less than
    0.01 there.
    """
    u, state = uniform(state, mean.dtype)
    small = ops.minimum(mean, _LARGE_MEAN)

    def unfinished(k, count, term, total):
        return ops.logical_and(k < 2 * _LARGE_MEAN, ops.any(u > total))

    def term_after(k, count, term, total):
        count = count + ops.cast(u > total, count.dtype)
        term = term * small / (k + 1)
        return k + 1, count, term, total + term

    start = ops.exp(-small)
    k = ops.zeros((), mean.dtype)
    loop = (k, ops.zeros_like(mean), start, start)
    _, count, _, _ = ops.while_loop(unfinished, term_after, loop)
    z = math.sqrt(2.0) * ops.erfinv(2 * u - 1)
    expansion = mean + ops.sqrt(mean) * z + (z * z - 1) / 6
    large = precise("floor", ops.maximum(expansion, 0) + 0.5)
    return ops.where(mean > _LARGE_MEAN, large, count), state
