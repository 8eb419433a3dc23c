"""What probes of many spiking neurons show, a byte for each number.

Spikes of an ensemble of LIF neurons are 0 or `amplitude / dt`. As bytes they take a
fourth of the memory that single precision takes, until somebody reads them; and new
memory is what recording many of them costs most.
"""

import nengo
import numpy as np

__all__ = ["SpikeRows", "shows_spikes"]

# Of fewer numbers in a step, looking at each would cost more than it saves.
_MANY_SPIKES = 1_000


def shows_spikes(probe: nengo.Probe, batch: int = 1) -> bool:
    """Whether all that a probe shows are many spikes of one height."""
    neurons = probe.obj
    return (
        isinstance(neurons, nengo.ensemble.Neurons)
        and probe.attr == "output"
        and probe.synapse is None
        and type(neurons.ensemble.neuron_type) in (nengo.LIF, nengo.AdaptiveLIF)
        and probe.size_in * batch >= _MANY_SPIKES
    )


class SpikeRows:
    """Spikes of one height, which `numpy.asarray` makes numbers of.

    Args:
        spikes: array of bool or of small integers, 0 or 1.
        height: of a spike; its dtype is that of the numbers.
    """

    def __init__(self, spikes: np.ndarray, height: np.ndarray):
        self._spikes, self._height = spikes, height

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the numbers."""
        return self._spikes.shape

    def __getitem__(self, key) -> "SpikeRows":
        return SpikeRows(self._spikes[key], self._height)

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        if copy is False:
            raise ValueError("spikes that are kept as bytes have no array to share")
        numbers = np.multiply(self._spikes, self._height, dtype=self._height.dtype)
        return numbers if dtype is None else numbers.astype(dtype, copy=False)
