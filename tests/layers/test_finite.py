"""No slope is lost, whatever the current.

pytest -m slow tests/layers/test_finite.py
"""

import numpy as np
import pytest
from keras import ops

import keras_spiking_nengo as ksn
from keras_spiking_nengo.dynamics.modes import FORWARDS
from keras_spiking_nengo.dynamics.neurons import neuron
from tests.cases import NEURONS
from tests.gradients import gradient

SURROGATES = {
    "arctan": ksn.surrogates.Arctan(),
    "fast_sigmoid": ksn.surrogates.FastSigmoid(),
    "triangle": ksn.surrogates.Triangle(),
    "soft_lif": ksn.surrogates.SoftLIF(),
    "straight_through": ksn.surrogates.StraightThrough(),
}

pytestmark = pytest.mark.slow


def variants(kind):
    """Arguments of `Neurons` for each mode and surrogate that a type has."""
    dynamics = neuron(kind)
    if not dynamics.spiking:
        return [{}]
    spikes = [{"surrogate": surrogate} for surrogate in SURROGATES.values()]
    curves = FORWARDS[1:] if dynamics.rates is not None else ()
    return [*spikes, *({"forward": forward} for forward in curves)]


@pytest.mark.parametrize("name", NEURONS)
def test_slopes_of_extreme_currents_are_finite(name):
    """Of numbers of each size that single precision has, in each mode."""
    x = np.float32([0, -0.0, 1, 1 + 1e-7, -1, 1e-38, 1e-45, 1e10, -1e10, 1e18, -1e18])
    x = np.tile(x, (1, 3, 1))
    for arguments in variants(NEURONS[name]):
        layer = ksn.layers.Neurons(
            NEURONS[name], return_sequences=True, seed=0, **arguments
        )
        y, slope = gradient(lambda x, layer=layer: layer(x, training=True), x)
        assert np.all(np.isfinite(ops.convert_to_numpy(y))), arguments
        assert np.all(np.isfinite(slope)), arguments
