"""Neuron types, synapses and transforms, with parameters that are not the defaults."""

import nengo
import numpy as np
import scipy.sparse

from keras_spiking_nengo.types import (
    AdaptiveExponentialLIF,
    AlphaLIF,
    BalancedResonateAndFire,
    BoundedReLU,
    Elementwise,
    IntegrateAndFire,
    LeakyIntegrator,
    LeakyReLU,
    QuadraticIntegrateAndFire,
    SoftLIFRate,
    SpikingLeakyReLU,
    SynapticLIF,
    Threshold,
)

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
    "BoundedReLU": BoundedReLU(2.0, negative_slope=0.2, threshold=0.5, amplitude=2),
    "LeakyIntegrator": LeakyIntegrator(None, 0.01, r=20, w_in=2, amplitude=2),
    "IntegrateAndFire": IntegrateAndFire(
        0.01, 0.004, v_leak=0.3, v_threshold=0.8, v_reset=-0.2, amplitude=2
    ),
    "IntegrateAndFire(euler)": IntegrateAndFire(
        0.01, w_in=1.5, reset="subtract", discretization="euler"
    ),
    "Threshold": Threshold(0.5, amplitude=0.5),
    "QuadraticIntegrateAndFire": QuadraticIntegrateAndFire(
        0.01, v_rest=0.1, v_critical=0.8, v_peak=4.0, v_reset=-0.5, amplitude=2
    ),
    "AdaptiveExponentialLIF": AdaptiveExponentialLIF(
        *(0.015, 0.1, 0.2, 0.3, 0.12),
        v_reset=0.2,
        v_peak=4.0,
        amplitude=2,
    ),
    "BalancedResonateAndFire": BalancedResonateAndFire(
        omega=40.0, damping=5.0, v_threshold=0.1, tau_q=0.05, amplitude=2
    ),
    "SynapticLIF": SynapticLIF(0.01, 0.004, v_threshold=15.0, amplitude=2),
    "SynapticLIF(zero)": SynapticLIF(
        0.01, 0.004, v_threshold=15.0, reset="zero", amplitude=2
    ),
    "AlphaLIF": AlphaLIF(0.01, 0.004, v_threshold=4.0, amplitude=2),
    "Elementwise(elu)": Elementwise("elu", alpha=0.5),
    "Elementwise(gelu)": Elementwise("gelu"),
    "RegularSpiking(Elementwise)": nengo.RegularSpiking(
        Elementwise("softplus"), amplitude=50.0
    ),
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


def _kernel(*shape):
    return np.random.RandomState(0).uniform(-0.01, 0.01, size=shape)


CONVOLUTIONS = {
    "1d": nengo.Convolution(
        3, (8, 2), kernel_size=(3,), strides=(1,), init=_kernel(3, 2, 3)
    ),
    "1d, same, strided": nengo.Convolution(
        2, (9, 2), kernel_size=(4,), strides=(2,), padding="same", init=_kernel(4, 2, 2)
    ),
    "1d, channels first": nengo.Convolution(
        3,
        (2, 8),
        kernel_size=(3,),
        strides=(3,),
        channels_last=False,
        init=_kernel(3, 2, 3),
    ),
    "2d": nengo.Convolution(2, (5, 6, 3), init=_kernel(3, 3, 3, 2)),
    "2d, same, strided": nengo.Convolution(
        2,
        (6, 5, 2),
        kernel_size=(3, 2),
        strides=(2, 3),
        padding="same",
        init=_kernel(3, 2, 2, 2),
    ),
    "2d, channels first": nengo.Convolution(
        4,
        (2, 6, 5),
        padding="same",
        channels_last=False,
        init=_kernel(3, 3, 2, 4),
    ),
    "2d, groups": nengo.Convolution(4, (5, 5, 4), groups=2, init=_kernel(3, 3, 2, 4)),
    "1d transposed": nengo.ConvolutionTranspose(
        3, (5, 2), kernel_size=(3,), strides=(2,), init=_kernel(3, 2, 3)
    ),
    "2d transposed": nengo.ConvolutionTranspose(
        2, (4, 3, 3), strides=(2, 2), init=_kernel(3, 3, 3, 2)
    ),
    "2d transposed, same": nengo.ConvolutionTranspose(
        2,
        (4, 3, 3),
        kernel_size=(3, 4),
        strides=(2, 1),
        padding="same",
        init=_kernel(3, 4, 3, 2),
    ),
    "2d transposed, kernel below strides": nengo.ConvolutionTranspose(
        2, (4, 3, 3), kernel_size=(1, 2), strides=(3, 3), init=_kernel(1, 2, 3, 2)
    ),
    "2d transposed, same, kernel below strides": nengo.ConvolutionTranspose(
        2,
        (4, 3, 3),
        kernel_size=(1, 2),
        strides=(3, 3),
        padding="same",
        init=_kernel(1, 2, 3, 2),
    ),
    "2d transposed, channels first": nengo.ConvolutionTranspose(
        4,
        (3, 4, 3),
        strides=(1, 2),
        channels_last=False,
        init=_kernel(3, 3, 3, 4),
    ),
}

_RNG = np.random.RandomState(0)
_SPARSE = scipy.sparse.random(5, 6, density=0.4, random_state=0)
TRANSFORMS = {
    "dense": nengo.Dense((4, 6), init=_RNG.randn(4, 6)),
    "number": nengo.Dense((6, 6), init=2.5),
    "diagonal": nengo.Dense((6, 6), init=_RNG.randn(6)),
    "drawn": nengo.Dense((4, 6), init=nengo.dists.Gaussian(0, 1)),
    "sparse": nengo.Sparse((5, 6), init=_SPARSE),
    "sparse, drawn": nengo.Sparse(
        (5, 6), indices=[[0, 1], [4, 5], [2, 2]], init=nengo.dists.Uniform(1, 2)
    ),
    "convolution": nengo.Convolution(3, (8, 7, 2), strides=(2, 1), padding="same"),
    "grouped": nengo.Convolution(4, (6, 6, 2), groups=2),
    "channels first": nengo.Convolution(3, (2, 8, 7), channels_last=False),
    "transposed": nengo.ConvolutionTranspose(2, (4, 4, 3), strides=(2, 2)),
    "none": nengo.transforms.NoTransform(6),
    **CONVOLUTIONS,
}
