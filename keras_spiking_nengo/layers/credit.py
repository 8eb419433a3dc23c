"""How a layer over time gives credit to earlier steps: its gradient, and its memory.

    "bptt"   through all that a step depends on, back to the first step
    "eprop"  through each neuron's own state, and not from neuron to neuron
    "ottt"   within a step; of what came in before, its trace is what is left

With L[t] = dE/dz[t], the learning signal, J the current, h a neuron's state and p what
arrives at the recurrent kernel U, e-prop is the sum of eligibility traces

    eps[t] = dh[t]/dh[t-1] eps[t-1] + dh[t]/dJ[t] p[t]
    e[t] = dz[t]/dh[t-1] eps[t-1] + dz[t]/dJ[t] p[t]
    dE/dU = sum_t L[t] e[t]

and OTTT, for a membrane that forgets by a factor `a` in each step,

    trace[t] = a trace[t-1] + p[t]
    dE/dU = sum_t L[t] dz[t]/dJ[t] trace[t]

In `dE/dJ`, which layers before get, e-prop has the sum over later steps along the
neuron's own state, so that a `Dense` before gets its eligibility traces, too; OTTT has
`L[t] dz[t]/dJ[t]`.

Reference:
    Bellec et al. (2020), *A solution to the learning dilemma for recurrent networks of
    spiking neurons*, Nature Communications 11; Xiao et al. (2022), *Online training
    through time for spiking neural networks*, NeurIPS.
"""

from typing import Any

import numpy as np

from keras_spiking_nengo.checks import brief, is_count, one_of
from keras_spiking_nengo.dynamics.neurons import Neuron

__all__ = [
    "GRADIENTS",
    "check_gradient",
    "check_one_leak",
    "check_own_loop",
    "checked_checkpoint",
    "is_local",
    "memory_of",
]

GRADIENTS = ("bptt", "eprop", "ottt")


def checked_checkpoint(value: Any) -> bool | int | None:
    """Every how many steps states are kept: a number, True or None.

    Raises:
        ValueError: for anything else.
    """
    if value is None or value is True or (is_count(value) and value is not False):
        return value if value is None or value is True else int(value)
    raise ValueError(
        "checkpoint is the number of steps from one kept state to the next, a whole"
        " number from 1 on, True for about the root of the number of steps, or None to"
        f" keep all; received {brief(value)}."
    )


def check_gradient(gradient: Any, dynamics: Neuron, kind: str, forward: str) -> str:
    """One of `GRADIENTS`, if a neuron type can be trained by it.

    Raises:
        ValueError: if not.
    """
    one_of("gradient", gradient, GRADIENTS)
    if gradient == "bptt":
        return gradient
    if not dynamics.spiking:
        raise ValueError(
            f"gradient={gradient!r} is for neurons that spike, and {kind} sends a rate."
            " Use gradient='bptt'."
        )
    if forward != "spikes":
        raise ValueError(
            f"gradient={gradient!r} is made of the derivative of the spike, which"
            f" forward={forward!r} does not use. Use forward='spikes', or"
            " gradient='bptt'."
        )
    return gradient


def check_one_leak(dynamics: Neuron, kind: str, dt: float, varied) -> None:
    """Refuses OTTT's trace where membranes do not all forget by one number.

    Args:
        dynamics: of the neuron type.
        kind: the type, for messages.
        dt: float, seconds.
        varied: names of parameters that differ from neuron to neuron.
    """
    advice = "Use gradient='eprop', or 'bptt'."
    if dynamics.leak is None:
        raise ValueError(
            "gradient='ottt' of a recurrent layer needs a membrane that forgets by one"
            f" factor in each step, as that of nengo.LIF; received {kind}. {advice}"
        )
    several = sorted({"tau_rc", "tau_mem"} & {*varied})
    if several or np.ndim(dynamics.leak(dynamics.constants(dynamics.parameters, dt))):
        raise ValueError(
            "gradient='ottt' of a recurrent layer has one trace for each neuron that"
            " sends, so all that receive have to forget alike; received"
            f" {several[0] if several else kind}, which differs from neuron to neuron."
            f" {advice}"
        )


def check_own_loop(cell, training) -> None:
    """Refuses to train a cell by another gradient in a loop that is not ours."""
    if training and cell.gradient != "bptt":
        raise ValueError(
            f"gradient={cell.gradient!r} is that of a layer: {cell.name} runs in"
            " keras.layers.RNN, which differentiates steps by itself. Use the layer of"
            " the same name without Cell, or gradient='bptt'."
        )


def is_local(cell, training) -> bool:
    """Whether gradients stay within each step."""
    return bool(training) and cell.gradient == "ottt"


def memory_of(cell, training) -> dict[str, Any]:
    """What `scan` keeps for the reverse pass of a cell."""
    # E-prop's own memory does not matter beside that of its inputs.
    sparing = training and cell.gradient == "eprop" and cell.checkpoint is None
    checkpoint = True if sparing else cell.checkpoint
    return {"checkpoint": checkpoint, "local": is_local(cell, training)}
