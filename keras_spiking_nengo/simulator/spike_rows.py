"""What probes of many spiking neurons show, a byte or a bit for each number.

Spikes of an ensemble of LIF neurons are 0 or `amplitude / dt`. As bytes they take a
fourth of the memory that single precision takes, until somebody reads them, as bits an
eighth of that; and new memory is what recording many of them costs most.
"""

import nengo
import numpy as np

from keras_spiking_nengo.dynamics.bits import unpacked

__all__ = ["SpikeRows", "height_of_spikes", "shows_spikes"]

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


def height_of_spikes(probe: nengo.Probe, dt: float, dtype) -> np.ndarray:
    """What such a probe shows of a neuron that spikes."""
    amplitude = probe.obj.ensemble.neuron_type.amplitude
    return np.dtype(dtype).type(amplitude / dt)


class SpikeRows:
    """Spikes of one height, which `numpy.asarray` makes numbers of.

    Args:
        spikes: array of bool, or of bytes from `dynamics.bits`.
        height: of a spike; its dtype is that of the numbers.
        size: of bytes, how many spikes a row has.
    """

    def __init__(self, spikes: np.ndarray, height: np.ndarray, size: int | None = None):
        self._spikes, self._height, self._size = spikes, height, size

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the numbers."""
        shape = self._spikes.shape
        return shape if self._size is None else (*shape[:-1], self._size)

    def __getitem__(self, key) -> "SpikeRows":
        """Some of the rows."""
        return SpikeRows(self._spikes[key], self._height, self._size)

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        if copy is False:
            raise ValueError("spikes that are kept as bits have no array to share")
        spikes = self._spikes
        if self._size is not None:
            spikes = unpacked(spikes, self._size)
        numbers = np.multiply(spikes, self._height, dtype=self._height.dtype)
        return numbers if dtype is None else numbers.astype(dtype, copy=False)
