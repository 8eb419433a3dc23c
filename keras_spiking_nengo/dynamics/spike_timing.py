"""Plasticity that depends on the times of spikes: one step of a rule.

With `s_i` spikes of presynaptic neuron i in a step, `z_j` of postsynaptic neuron j, and
traces that decay by `d = exp(-dt / tau)` from step to step:

    x <- d x,  y <- d y                             (and x2, y2, e: each with its own d)
    c_ji = z_j (a+ + a3+ y2_j) x_i - s_i (a- + a3- x2_i) y_j
    x_i <- x_i + s_i,  y_j <- y_j + z_j             (and x2, y2)

`c` is the change of the weight; with an eligibility it is added to that first:

    e_ji <- e_ji + c_ji,  change = r e_ji tau_e (1 - exp(-dt / tau_e))

All arrays have any number of leading axes, the same for all. `m` is the module of the
functions: `keras.ops`, or `numpy` in the operator that Nengo's simulator steps.

Reference:
    Morrison, Diesmann and Gerstner (2008), *Phenomenological models of synaptic
    plasticity based on spike timing*, Biological Cybernetics 98; Pfister and Gerstner
    (2006), *Triplets of spikes in a model of spike timing-dependent plasticity*, J.
    Neurosci. 26(38); Izhikevich (2007), *Solving the distal reward problem through
    linkage of STDP and dopamine signaling*, Cerebral Cortex 17(10).
"""

import math
from collections.abc import Mapping
from typing import Any

from keras_spiking_nengo.dynamics.learning import outer

__all__ = ["change_of_pairs", "constants", "step_of_rule", "step_of_traces"]


def constants(rule, dt: float, heights: tuple[Any, Any]) -> dict[str, Any]:
    """The numbers of a step.

    Args:
        rule: one of the rules in `types`.
        dt: float, seconds.
        heights: of spikes times `dt`, pre- and postsynaptic; arrays where neurons
            differ.
    """
    taus = rule.time_constants
    p: dict[str, Any] = {name: math.exp(-dt / tau) for name, tau in taus.items()}
    rate = rule.learning_rate
    if "eligibility" in taus:
        tau = taus["eligibility"]
        p["gain"] = -rate * tau * math.expm1(-dt / tau)
        rate = 1.0
    for name in ("a_plus", "a_minus", "a3_plus", "a3_minus"):
        if hasattr(rule, name):
            p[name] = rate * getattr(rule, name)
    p["pre"], p["post"] = (dt / height for height in heights)
    for name in ("min_weight", "max_weight"):
        if getattr(rule, name) is not None:
            p[name] = float(getattr(rule, name))
    return p


def step_of_rule(
    m, rule, p: Mapping, pre, post, weights, state: Mapping, reward=None
) -> tuple[Any, dict[str, Any]]:
    """Change of weights, and next traces.

    Args:
        m: module of the functions.
        rule: one of the rules in `types`.
        p: what `constants` returned.
        pre, post: activities `(..., n)` and `(..., m)`.
        weights: `(..., m, n)`.
        state: traces by name, of the shapes that the rule tells.
        reward: `(..., 1)`, if the rule has an eligibility.
    """
    factors, after = step_of_traces(m, rule, p, pre, post, state)
    if "eligibility" not in state:
        return change_of_pairs(m, rule, p, factors, weights), after
    rise, fall = _rise_and_fall(factors)
    eligibility = p["eligibility"] * state["eligibility"] + (rise + fall)
    change = (p["gain"] * reward)[..., None] * eligibility
    after["eligibility"] = eligibility
    return _within_bounds(m, rule, p, [change], weights), after


def step_of_traces(m, rule, p: Mapping, pre, post, state: Mapping):
    """The factors of the change by pairs, and next traces of neurons.

    Returns:
        `(up, down, x, y)`, whose change is `up_j x_i - y_j down_i`, and the traces.
    """
    s, z = p["pre"] * pre, p["post"] * post
    traces = {name: p[name] * state[name] for name in state if "trace" in name}
    up, down = p["a_plus"] * z, p["a_minus"] * s
    if "slow_pre_trace" in traces:
        up = up + p["a3_plus"] * z * traces["slow_post_trace"]
        down = down + p["a3_minus"] * s * traces["slow_pre_trace"]
    nearest = rule.interactions == "nearest"
    after = {
        name: _with_spikes(m, nearest, trace, z if "post" in name else s)
        for name, trace in traces.items()
    }
    return (up, down, traces["pre_trace"], traces["post_trace"]), after


def change_of_pairs(m, rule, p: Mapping, factors, weights):
    """The change of weights, or of a block of them, by pairs of spikes."""
    return _within_bounds(m, rule, p, _rise_and_fall(factors), weights)


def _rise_and_fall(factors) -> list:
    up, down, x, y = factors
    return [outer(up, x), outer(y, -down)]


def _within_bounds(m, rule, p, terms: list, weights):
    if rule.bounds == "soft":
        terms = [_softened(m, p, term, weights) for term in terms]
    return _stopped(m, p, sum(terms[1:], terms[0]), weights)


def _with_spikes(m, nearest: bool, trace, spikes):
    return m.where(spikes == 0, trace, spikes) if nearest else trace + spikes


def _softened(m, p, change, weights):
    """A change times the room that is left on its side, as a part of the range."""
    low, high = p["min_weight"], p["max_weight"]
    room = m.where(change > 0, high - weights, weights - low)
    return change * (m.maximum(room, 0.0) / (high - low))


def _stopped(m, p, change, weights):
    """A change that does not lead out of the bounds, nor farther out."""
    if "max_weight" in p:
        change = m.minimum(change, m.maximum(p["max_weight"] - weights, 0.0))
    if "min_weight" in p:
        change = m.maximum(change, m.minimum(p["min_weight"] - weights, 0.0))
    return change
