"""What random neurons draw where Nengo's operators step them: numbers of a program.

Nengo's neurons ask a generator for numbers. One that answers with those of
`dynamics.random` lets a program go on where Nengo's steps ended, and the same spikes
come whichever of the two a simulator chooses.
"""

import numpy as np
from scipy.special import erfinv

from keras_spiking_nengo.dynamics import random

__all__ = ["SteppedStream"]

# Numbers of so many steps are drawn at once, as calls of NumPy are what takes time.
_AT_ONCE = 64


class SteppedStream:
    """Numbers for each of some neurons, in place of a `RandomState`.

    Args:
        seeds: `(size,)`, of the first item of a minibatch.
        done: array of one number, how many steps were done.
        ahead: whether that counts the present step when neurons draw.
    """

    def __init__(self, seeds: np.ndarray, done: np.ndarray, ahead: bool):
        self._seeds = random.new_key(seeds, np.int32(1), np)
        self._done, self._ahead = done, int(ahead)
        self._first, self._drawn = 0, np.zeros((0, len(seeds)))

    def random_sample(self, size) -> np.ndarray:
        """Uniform numbers, as `RandomState` has them."""
        n = self._done.item() - self._ahead
        if not 0 <= n - self._first < len(self._drawn):
            draws = np.arange(n, n + _AT_ONCE).astype("int32")[:, None]
            self._first, self._drawn = n, random.hashed(self._seeds, draws, np)
        return self._drawn[n - self._first].reshape(size)

    def poisson(self, mean, size) -> np.ndarray:
        """Poisson numbers, as `RandomState` has them."""
        u = self.random_sample(size)
        is_large = mean.max(initial=0.0) > random.LARGE_MEAN
        small = np.minimum(mean, random.LARGE_MEAN) if is_large else mean
        counts, k = np.zeros(u.shape), 0
        term = np.exp(-small)
        total = term
        while k < 2 * random.LARGE_MEAN and (above := u > total).any():
            counts += above
            k += 1
            term = term * small / k
            total = total + term
        if not is_large:
            return counts
        expanded = random.expansion(mean, erfinv(2 * u - 1), np)
        large = np.floor(np.maximum(expanded, 0) + 0.5)
        return np.where(mean > random.LARGE_MEAN, large, counts)
