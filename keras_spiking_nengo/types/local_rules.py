"""Learning rules that depend on the times of spikes, and on nothing far away.

A synapse from neuron i to neuron j sees the spikes of both, as traces that each spike
adds 1 to and that decay in between, exactly, whatever the length of a step. Two spikes
in one step have no order, and make no pair.
"""

from collections.abc import Mapping

import nengo
from nengo.exceptions import ValidationError
from nengo.params import EnumParam

from keras_spiking_nengo.types.declared import FiniteNumber

__all__ = ["RewardModulatedSTDP", "STDP", "TripletSTDP"]


class _SpikeTimingRule(nengo.learning_rules.LearningRuleType):
    """What all of them have: amplitudes, two time constants, and bounds."""

    modifies = "weights"

    learning_rate = FiniteNumber("learning_rate", low=0)
    tau_plus = FiniteNumber("tau_plus", low=0, low_open=True)
    tau_minus = FiniteNumber("tau_minus", low=0, low_open=True)
    a_plus = FiniteNumber("a_plus")
    a_minus = FiniteNumber("a_minus")
    interactions = EnumParam("interactions", values=("all", "nearest"))
    min_weight = FiniteNumber("min_weight", optional=True)
    max_weight = FiniteNumber("max_weight", optional=True)
    bounds = EnumParam("bounds", values=("hard", "soft"))

    def __init__(
        self,
        learning_rate,
        tau_plus,
        tau_minus,
        a_plus,
        a_minus,
        interactions,
        min_weight,
        max_weight,
        bounds,
        **options,
    ):
        super().__init__(learning_rate, **options)
        self.tau_plus, self.tau_minus = tau_plus, tau_minus
        self.a_plus, self.a_minus = a_plus, a_minus
        self.interactions = interactions
        self.min_weight, self.max_weight = min_weight, max_weight
        self.bounds = bounds
        self._check_bounds()

    def _check_bounds(self) -> None:
        both = self.min_weight is not None and self.max_weight is not None
        if both and not self.min_weight < self.max_weight:
            raise ValidationError(
                f"Must be above min_weight, which is {self.min_weight!r}; got"
                f" {self.max_weight!r}",
                attr="max_weight",
                obj=self,
            )
        if self.bounds == "soft" and not both:
            raise ValidationError(
                "'soft' bounds need both min_weight and max_weight, as changes are"
                f" scaled by the room up to them; got {self.min_weight!r} and"
                f" {self.max_weight!r}. Give both, or bounds='hard'",
                attr="bounds",
                obj=self,
            )

    @property
    def time_constants(self) -> Mapping[str, float]:
        """Time constants in seconds, by the names of the traces that they belong to."""
        return {"pre_trace": self.tau_plus, "post_trace": self.tau_minus}


class STDP(_SpikeTimingRule):
    """Spike-timing-dependent plasticity of pairs of spikes.

    With the traces `x` of presynaptic spikes and `y` of postsynaptic ones, the weight
    from neuron i to neuron j changes

        at a spike of j by   learning_rate  a_plus   x_i
        at a spike of i by  -learning_rate  a_minus  y_j

    so that a postsynaptic spike a time `s` after a presynaptic one adds
    `learning_rate a_plus exp(-s / tau_plus)`, and one before it takes away
    `learning_rate a_minus exp(-s / tau_minus)`.

    It is for connections between neurons that spike: from `Neurons` to `Neurons` with a
    full matrix, and from an ensemble whose solver has `weights=True`. Spikes count when
    their neurons send them, before any synapse of the connection, and a change made in
    one step acts in the next.

    With n presynaptic and m postsynaptic neurons, probes of the rule show `pre_trace`
    `(n,)`, `post_trace` `(m,)` and `delta`, the change `(m, n)`.

    Args:
        learning_rate: float >= 0. Factor on both amplitudes, in units of the weight. A
            spike is `1 / dt` high in Nengo: through a synapse of time constant `tau` it
            adds `weight / tau` to the current at first.
        tau_plus: float > 0, seconds. Time constant of presynaptic traces.
        tau_minus: float > 0, seconds. Time constant of postsynaptic traces.
        a_plus: float. Amplitude for postsynaptic spikes that come after presynaptic
            ones.
        a_minus: float. Amplitude for those that come before, which is taken away. With
            both negative the rule is anti-Hebbian.
        interactions: `"all"` pairs of spikes count, or each spike and the `"nearest"`
            one before it at the other end: traces are set to 1 then, not added to.
        min_weight: float or None. No change leads below it; a weight that is below may
            go up.
        max_weight: float or None. The same from above.
        bounds: `"hard"`, or `"soft"`: changes are multiplied by the room that is left,
            up to `max_weight` or down to `min_weight`, as a part of the whole range.

    Raises:
        nengo.exceptions.ValidationError: a ValueError, for a number out of its range;
            from `nengo.Connection` or the simulator, for a connection that it is not
            for.

    Example:
        >>> import nengo, keras_spiking_nengo as ksn
        >>> with nengo.Network(seed=0) as net:
        ...     pre, post = nengo.Ensemble(10, 1), nengo.Ensemble(5, 1)
        ...     conn = nengo.Connection(
        ...         pre.neurons,
        ...         post.neurons,
        ...         transform=nengo.Dense((5, 10), nengo.dists.Uniform(0, 2e-3)),
        ...         learning_rule_type=ksn.types.STDP(1e-5, max_weight=2e-3),
        ...     )
        ...     probe = nengo.Probe(conn, "weights")
        >>> with nengo.Simulator(net, progress_bar=False) as sim:
        ...     sim.run(0.1)
        >>> bool(sim.data[probe][-1].min() < sim.data[probe][0].min())
        True

    Reference:
        Song, Miller and Abbott (2000), *Competitive Hebbian learning through
        spike-timing-dependent synaptic plasticity*, Nature Neuroscience 3; Morrison,
        Diesmann and Gerstner (2008), *Phenomenological models of synaptic plasticity
        based on spike timing*, Biological Cybernetics 98 (traces, nearest spikes);
        Guetig, Aharonov, Rotter and Sompolinsky (2003), *Learning input correlations
        through nonlinear temporally asymmetric Hebbian plasticity*, J. Neurosci. 23
        (soft bounds).
    """

    probeable = ("pre_trace", "post_trace", "delta")

    def __init__(
        self,
        learning_rate=1e-5,
        tau_plus=0.02,
        tau_minus=0.02,
        a_plus=1.0,
        a_minus=1.05,
        interactions="all",
        min_weight=None,
        max_weight=None,
        bounds="hard",
    ):
        super().__init__(
            *(learning_rate, tau_plus, tau_minus, a_plus, a_minus),
            *(interactions, min_weight, max_weight, bounds),
        )


class TripletSTDP(_SpikeTimingRule):
    """Spike-timing-dependent plasticity of pairs and triplets of spikes.

    With the traces `x` of presynaptic spikes and `y` of postsynaptic ones, and slow
    ones, `x2` and `y2`, of time constants `tau_x` and `tau_y`, the weight from neuron i
    to neuron j changes

        at a spike of j by   learning_rate  x_i (a_plus + a3_plus y2_j)
        at a spike of i by  -learning_rate  y_j (a_minus + a3_minus x2_i)

    where traces are as they were before the spike. Unlike pairs, triplets reproduce
    that an order of spikes strengthens a synapse the more, the higher the rate. The
    defaults are the paper's minimal model for visual cortex, all spikes interacting,
    with the `tau_x` of its full one.

    Connections and probes are as for `STDP`; there are `slow_pre_trace` `(n,)` and
    `slow_post_trace` `(m,)`, too.

    Args:
        learning_rate: float >= 0. Factor on all amplitudes: the weight that they are
            parts of.
        tau_plus: float > 0, seconds. Time constant of presynaptic traces.
        tau_minus: float > 0, seconds. Time constant of postsynaptic traces.
        tau_x: float > 0, seconds. Time constant of slow presynaptic traces.
        tau_y: float > 0, seconds. Time constant of slow postsynaptic traces.
        a_plus: float. Amplitude of pairs, for postsynaptic spikes that come second.
        a_minus: float. Amplitude of pairs, for presynaptic spikes that come second.
        a3_plus: float. Amplitude of triplets: two postsynaptic spikes and one between.
        a3_minus: float. Amplitude of triplets: two presynaptic spikes and one between.
        interactions, min_weight, max_weight, bounds: as for `STDP`.

    Raises:
        nengo.exceptions.ValidationError: as for `STDP`.

    Example:
        >>> rule = TripletSTDP(learning_rate=1e-3, min_weight=0)
        >>> rule.modifies, rule.tau_y
        ('weights', 0.114)

    Reference:
        Pfister and Gerstner (2006), *Triplets of spikes in a model of spike
        timing-dependent plasticity*, J. Neurosci. 26(38).
    """

    probeable = (
        *("pre_trace", "post_trace", "slow_pre_trace", "slow_post_trace"),
        "delta",
    )

    tau_x = FiniteNumber("tau_x", low=0, low_open=True)
    tau_y = FiniteNumber("tau_y", low=0, low_open=True)
    a3_plus = FiniteNumber("a3_plus")
    a3_minus = FiniteNumber("a3_minus")

    def __init__(
        self,
        learning_rate=1e-3,
        tau_plus=0.0168,
        tau_minus=0.0337,
        tau_x=0.101,
        tau_y=0.114,
        a_plus=0.0,
        a_minus=7.1e-3,
        a3_plus=6.5e-3,
        a3_minus=0.0,
        interactions="all",
        min_weight=None,
        max_weight=None,
        bounds="hard",
    ):
        super().__init__(
            *(learning_rate, tau_plus, tau_minus, a_plus, a_minus),
            *(interactions, min_weight, max_weight, bounds),
        )
        self.tau_x, self.tau_y = tau_x, tau_y
        self.a3_plus, self.a3_minus = a3_plus, a3_minus

    @property
    def time_constants(self) -> Mapping[str, float]:
        """As in `STDP`, and those of slow traces."""
        slow = {"slow_pre_trace": self.tau_x, "slow_post_trace": self.tau_y}
        return {**super().time_constants, **slow}


class RewardModulatedSTDP(_SpikeTimingRule):
    """Pairs of spikes leave a trace in the synapse, and reward makes it a change.

    What `STDP` would add to a weight is added to its eligibility `e`, which decays. A
    reward `r`, which may be negative, makes a change of what is there, also of spikes
    that came some time before it:

        tau_eligibility  de_ji/dt = -e_ji + tau_eligibility (pairs of spikes)
                         dw_ji/dt = learning_rate  r  e_ji

    The reward is what is connected to `conn.learning_rule`, which has one dimension.
    Without a connection it is 0, and nothing is learned. A synapse on that connection
    spreads reward over time, as `synapse=0.2` does for dopamine in the paper. The
    integral over a step, of a constant reward, is exact.

    Connections and probes are as for `STDP`; there are `eligibility` `(m, n)` and
    `reward` `(1,)`, too.

    Args:
        learning_rate: float >= 0. Change per second and unit of reward and eligibility.
        tau_plus, tau_minus, a_plus, a_minus, interactions: as for `STDP`; of what is
            added to eligibilities.
        tau_eligibility: float > 0, seconds. Time constant of eligibilities.
        min_weight, max_weight, bounds: as for `STDP`.

    Raises:
        nengo.exceptions.ValidationError: as for `STDP`.

    Example:
        >>> import nengo, keras_spiking_nengo as ksn
        >>> rule = ksn.types.RewardModulatedSTDP(1e-4, tau_eligibility=0.5)
        >>> with nengo.Network(seed=0) as net:
        ...     pre, post = nengo.Ensemble(10, 1), nengo.Ensemble(5, 1)
        ...     conn = nengo.Connection(
        ...         pre.neurons,
        ...         post.neurons,
        ...         transform=nengo.Dense((5, 10), nengo.dists.Uniform(0, 2e-3)),
        ...         learning_rule_type=rule,
        ...     )
        ...     reward = nengo.Node(lambda t: float(t > 0.05))
        ...     told = nengo.Connection(reward, conn.learning_rule)
        ...     probe = nengo.Probe(conn.learning_rule, "eligibility")
        >>> with nengo.Simulator(net, progress_bar=False) as sim:
        ...     sim.run(0.1)
        >>> sim.data[probe].shape
        (100, 5, 10)

    Reference:
        Izhikevich (2007), *Solving the distal reward problem through linkage of STDP
        and dopamine signaling*, Cerebral Cortex 17(10); Florian (2007), *Reinforcement
        learning through modulation of spike-timing-dependent synaptic plasticity*,
        Neural Computation 19(6).
    """

    probeable = ("pre_trace", "post_trace", "eligibility", "reward", "delta")

    tau_eligibility = FiniteNumber("tau_eligibility", low=0, low_open=True)

    def __init__(
        self,
        learning_rate=1e-5,
        tau_plus=0.02,
        tau_minus=0.02,
        tau_eligibility=1.0,
        a_plus=1.0,
        a_minus=1.05,
        interactions="all",
        min_weight=None,
        max_weight=None,
        bounds="hard",
    ):
        super().__init__(
            *(learning_rate, tau_plus, tau_minus, a_plus, a_minus),
            *(interactions, min_weight, max_weight, bounds),
            size_in=1,
        )
        self.tau_eligibility = tau_eligibility

    @property
    def time_constants(self) -> Mapping[str, float]:
        """As in `STDP`, and that of eligibilities."""
        return {**super().time_constants, "eligibility": self.tau_eligibility}


for _rule in (STDP, TripletSTDP, RewardModulatedSTDP):
    _rule.__module__ = "keras_spiking_nengo.types"  # as saved files name them
