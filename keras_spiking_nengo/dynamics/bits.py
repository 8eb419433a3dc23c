"""Eight spikes to a byte.

Element `i` of `8 n` is bit `i // n` of byte `i % n`: a byte is made of elements that
lie `n` apart, so that neighbouring bytes are made of neighbours, many at once.
"""

import numpy as np
from keras import ops

__all__ = ["BITS", "bits", "unpacked"]

BITS = 8


def bits(spikes):
    """Bytes `(..., ceil(size / 8))` of a tensor of bool `(..., size)`."""
    rest = -spikes.shape[-1] % BITS
    if rest:
        pairs = [(0, 0)] * (len(spikes.shape) - 1)
        spikes = ops.pad(spikes, [*pairs, (0, rest)])
    n = spikes.shape[-1] // BITS
    parts = [spikes[..., i * n : (i + 1) * n] for i in range(BITS)]
    return sum(
        ops.cast(part, "uint8") * np.uint8(1 << i) for i, part in enumerate(parts)
    )


def unpacked(packed: np.ndarray, size: int) -> np.ndarray:
    """The spikes again, bool `(..., size)`, of bytes from `bits`."""
    weights = np.left_shift(1, np.arange(BITS)).astype("uint8")
    spikes = packed[..., None, :] & weights[:, None] != 0
    return spikes.reshape(*packed.shape[:-1], -1)[..., :size]
