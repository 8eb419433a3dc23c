"""One step of every Nengo neuron type, and their rate curves.

A `Neuron` is the dynamics of one neuron type: `step(constants, J, state, spike)`
with `J` the input current and `spike` a surrogate, and `rates(parameters, J)`.
What depends only on parameters and `dt` is computed once, by `constants`.

The leaky integrate-and-fire membrane, `tau_rc dv/dt = J - v`, is stepped exactly
and without transcendental functions. Instead of the refractory time it carries
`q = exp(refractory_time / tau_rc)`; with `d = exp(-dt / tau_rc)` and
`K = exp((tau_ref + dt) / tau_rc)`:

    q = max(q d, 1);  e = min(q d, 1);  v = J + (v - J) e
    where v > 1:  q = K ((J - v) / (J - 1)),  v = 0,  and a spike is sent

A ratio of currents is near 1 however large they are. Where `K` itself is too large
for a number, and where the refractory time is looked at, it is carried as it is
(`dynamics.neurons.clocks`).

In the backward pass a reset to a fixed voltage and the refractory clock count as
given, so the membrane's memory ends at a spike; a reset by subtraction does not
(docs/decisions/0002-gradients-through-reset.md).

Reference:
    Eliasmith and Anderson (2003), *Neural Engineering*, MIT Press; Izhikevich
    (2003), *Simple model of spiking neurons*, IEEE Trans. Neural Networks 14(6);
    Voelker, Rasmussen and Eliasmith (2020), *A spike in performance*,
    arXiv:2002.03553 (spikes from rates).
"""

from keras_spiking_nengo.dynamics.neurons import (  # noqa: F401 - their rules
    heterogeneous,
    membranes,
    resonators,
    second_order,
    upstrokes,
)
from keras_spiking_nengo.dynamics.neurons.clocks import (
    has_clock,
    longest_start,
    suited_clock,
    timed,
)
from keras_spiking_nengo.dynamics.neurons.generators import RATES_TO_SPIKES, from_rates
from keras_spiking_nengo.dynamics.neurons.membranes import adapted
from keras_spiking_nengo.dynamics.neurons.neuron import (
    NEURONS,
    Neuron,
    declared_low,
    drawn_state,
    neuron,
    on_last_axes,
    refractory_clock,
)
from keras_spiking_nengo.dynamics.neurons.own import neuron_rule
from keras_spiking_nengo.dynamics.neurons.rates import SMOOTHING

__all__ = [
    "NEURONS",
    "RATES_TO_SPIKES",
    "SMOOTHING",
    "Neuron",
    "adapted",
    "declared_low",
    "drawn_state",
    "from_rates",
    "has_clock",
    "longest_start",
    "neuron",
    "neuron_rule",
    "on_last_axes",
    "refractory_clock",
    "suited_clock",
    "timed",
]
