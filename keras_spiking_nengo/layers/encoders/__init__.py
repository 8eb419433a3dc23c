"""Spike encoders: values to spikes, as layers over time.

With `x` the value, `dt` the step and `n` its number (the first is 1), the number of
spikes that a feature sends in a step is

    Poisson      drawn from Poisson(r dt), with r = max_rate max(x, 0)
    Bernoulli    1 with probability min(max(x, 0), 1), else 0
    latency      1 in the first step with n dt >= t(x), else 0, where
                 t = tau (1 - x)  or  t = tau ln(x / (x - theta))
    delta        trunc((x - level) / theta); level grows by theta for each spike

and the output is that number divided by `dt`, as with Nengo's neurons. While training,
in the backward pass, a drawn number counts as its mean, a spike at time `t` as spread
linearly over the two steps next to it, and `trunc` as the identity.

Reference:
    Dayan and Abbott (2001), *Theoretical Neuroscience*, MIT Press (Poisson spikes);
    Hopfield (1995), *Pattern recognition computation using action potential timing*,
    Nature 376 (a membrane's latency is logarithmic); Miskowicz (2006), *Send-on-delta
    concept: an event-based data reporting strategy*, Sensors 6(1).
"""
