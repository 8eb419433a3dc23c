"""The one catalogue of what the tests run over."""

import nengo
import numpy as np

from keras_spiking_nengo.types import LeakyReLU, SoftLIFRate, SpikingLeakyReLU

# Every neuron type with parameters that are not the defaults.
NEURONS = {
    "RectifiedLinear": nengo.RectifiedLinear(amplitude=2.0),
    "SpikingRectifiedLinear": nengo.SpikingRectifiedLinear(amplitude=0.5),
    "Sigmoid": nengo.Sigmoid(tau_ref=0.01),
    "Tanh": nengo.Tanh(tau_ref=0.01),
    "Direct": nengo.Direct(),
    "LIFRate": nengo.LIFRate(tau_rc=0.03, tau_ref=0.004, amplitude=2),
    "LIF": nengo.LIF(tau_rc=0.03, tau_ref=0.0035, min_voltage=-0.5, amplitude=2),
    "AdaptiveLIFRate": nengo.AdaptiveLIFRate(tau_n=0.1, inc_n=0.02, tau_rc=0.03),
    "AdaptiveLIF": nengo.AdaptiveLIF(tau_n=0.1, inc_n=0.02, tau_rc=0.03),
    "Izhikevich": nengo.Izhikevich(tau_recovery=0.03, coupling=0.25),
    "RegularSpiking": nengo.RegularSpiking(nengo.LIFRate(tau_rc=0.03)),
    "RegularSpiking(Tanh)": nengo.RegularSpiking(nengo.Tanh(), amplitude=0.5),
    "RegularSpiking(AdaptiveLIFRate)": nengo.RegularSpiking(
        nengo.AdaptiveLIFRate(tau_n=0.1, inc_n=0.02)
    ),
    "StochasticSpiking": nengo.StochasticSpiking(nengo.Tanh(), amplitude=2),
    "PoissonSpiking": nengo.PoissonSpiking(nengo.LIFRate(tau_rc=0.03)),
    "LeakyReLU": LeakyReLU(negative_slope=0.2, amplitude=2),
    "SpikingLeakyReLU": SpikingLeakyReLU(negative_slope=0.2, amplitude=2),
    "SoftLIFRate": SoftLIFRate(sigma=0.1, tau_rc=0.03),
}
RANDOM = ("StochasticSpiking", "PoissonSpiking")

SYNAPSES = {
    "Lowpass": nengo.Lowpass(0.02),
    "Lowpass(0)": nengo.Lowpass(0),
    "Lowpass(euler)": nengo.LinearFilter([1], [0.02, 1], method="euler"),
    "Alpha": nengo.Alpha(0.02),
    "LinearFilter(zoh)": nengo.LinearFilter([1, 2], [0.0004, 0.02, 1]),
    "LinearFilter(bilinear)": nengo.LinearFilter(
        [1], [0.0004, 0.02, 1], method="bilinear"
    ),
    "LinearFilter(backward_diff)": nengo.LinearFilter(
        [1], [0.0004, 0.02, 1], method="backward_diff"
    ),
    "LinearFilter(euler)": nengo.LinearFilter([1], [0.0004, 0.04, 1], method="euler"),
    "LinearFilter(discrete)": nengo.LinearFilter([0.1], [1, -0.9], analog=False),
    "LinearFilter(passthrough)": nengo.LinearFilter([1, 3], [1, 5]),
    "LinearFilter(order 6)": nengo.LinearFilter([1], np.poly([-50.0] * 6) / 50.0**6),
    "LinearFilter(gain)": nengo.LinearFilter([2.0], [1.0]),
    "Triangle": nengo.Triangle(0.01),
    "None": None,
}
