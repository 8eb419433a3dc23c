"""The LIF layers of SpikingJelly, snnTorch and Norse, on torch.

`python torch_layers.py <workload> <peer>`, in an environment that has the peer.
Their neurons are the same leaky integrator (tau_rc, threshold 1, reset to 0),
without the refractory time and the exact spike times of Nengo's: less work per
step than ours.

The time axis is taken apart with `unbind`. One row of snnTorch uses `currents[t]`
instead, as is often written: the gradient of an index is a zero array as long as
the whole sequence, once per step, which makes training cost the square of the
number of steps. `norse.torch.LIF` does so inside; the loop over `LIFBoxCell` does
not.
"""

import math
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np
import torch
from workload import Workload, cores, main


@dataclass(frozen=True)
class Variant:
    """One way to write the layer.

    `lif` maps currents, `(time, batch, units)` or their rows, to spikes; `gain`
    is the factor on currents that its equation wants. `linear_inside` puts the
    Linear layer into the loop over time, as the peer's tutorials do. `fastest` says
    which one stands for its peer in brief.
    """

    label: str
    lif: Callable[[torch.Tensor | Iterable[torch.Tensor]], torch.Tensor]
    gain: float = 1.0
    linear_inside: bool = False
    fastest: bool = False


def loop(step, initial=None):
    """`step(x, state) -> (spike, state)` over the rows of the currents."""

    def run(currents):
        state, spikes = initial() if initial else None, []
        for x in currents:
            spike, state = step(x, state)
            spikes.append(spike)
        return torch.stack(spikes)

    return run


def spikingjelly(work: Workload) -> list[Variant]:
    from spikingjelly.activation_based import functional, neuron

    node = neuron.LIFNode(tau=work.tau_rc / work.dt, step_mode="m")

    def run(currents):
        functional.reset_net(node)
        return node(currents)

    return [Variant("SpikingJelly LIFNode", run, fastest=True)]


def snntorch(work: Workload) -> list[Variant]:
    import snntorch

    beta = math.exp(-work.dt / work.tau_rc)
    leaky = snntorch.Leaky(beta=beta, reset_mechanism="zero")
    run = loop(leaky, leaky.reset_mem)

    def indexed(currents):
        return run(currents[t] for t in range(len(currents)))

    return [
        Variant("snnTorch, Linear in the loop", run, 1 - beta, True),
        Variant("snnTorch, Linear before it", run, 1 - beta, fastest=True),
        Variant("snnTorch, before it, indexed", indexed, 1 - beta),
    ]


def norse(work: Workload) -> list[Variant]:
    from norse.torch import LIF, LIFBoxCell, LIFBoxParameters, LIFParameters

    tau_mem_inv = torch.tensor(1 / work.tau_rc)
    # With this synaptic rate the current is gone after the step it came in.
    parameters = LIFParameters(
        tau_mem_inv=tau_mem_inv, tau_syn_inv=torch.tensor(1 / work.dt)
    )
    sequence = LIF(parameters, dt=work.dt)
    cell = LIFBoxCell(LIFBoxParameters(tau_mem_inv=tau_mem_inv), dt=work.dt)
    return [
        Variant("Norse LIF", lambda x: sequence(x)[0]),
        Variant("Norse LIFBoxCell", loop(cell), fastest=True),
        Variant("Norse LIFBoxCell, torch.compile", loop(torch.compile(cell))),
    ]


PEERS = {"spikingjelly": spikingjelly, "snntorch": snntorch, "norse": norse}


def forward_call(work: Workload, variant: Variant):
    currents = np.ascontiguousarray(work.currents().swapaxes(0, 1)) * variant.gain
    currents = torch.from_numpy(currents.astype(np.float32))

    @torch.no_grad()
    def call():
        return variant.lif(currents)

    return call


def train_call(work: Workload, variant: Variant):
    """Forward, backward and Adam."""
    linear = torch.nn.Linear(work.features, work.units)
    with torch.no_grad():
        linear.weight.copy_(torch.from_numpy(work.weights().T * variant.gain))
        linear.bias.fill_(variant.gain)
    optimizer = torch.optim.Adam(linear.parameters(), lr=work.learning_rate)
    inputs = np.ascontiguousarray(work.inputs().swapaxes(0, 1))
    inputs = torch.from_numpy(inputs)

    def call():
        optimizer.zero_grad()
        rows = variant.linear_inside
        currents = map(linear, inputs) if rows else linear(inputs)
        variant.lif(currents).square().mean().backward()
        optimizer.step()

    return call


def timed(work: Workload, call: Callable[[], object], label: str) -> list[dict]:
    """Times with one thread, and with all cores as torch itself would.

    Many small products on several threads wait for each other, and on a machine
    with other work that wait can be ten times the work.
    """
    rows = []
    for threads in sorted({cores()} if work.brief else {1, cores()}):
        torch.set_num_threads(threads)
        name = f"{label}, {threads} thread{'s' * (threads > 1)}"
        rows.append({"name": name, "threads": threads, "seconds": work.measure(call)})
    return rows


def run(work: Workload) -> dict:
    peer = sys.argv[2]
    cases, activity = [], {}
    for variant in PEERS[peer](work):
        if work.brief and not variant.fastest:
            continue
        calls = {"train": train_call(work, variant)}
        forward = forward_call(work, variant)
        if not (variant.linear_inside or work.brief):
            calls["forward"] = forward
        activity[variant.label] = float(forward().mean())
        if activity[variant.label] == 0:
            raise RuntimeError(f"{variant.label} is silent: nothing to time")
        cases += [
            {"case": case, **row}
            for case, call in calls.items()
            for row in timed(work, call, variant.label)
        ]
    return {
        "versions": {name: version(name) for name in (peer, "torch", "numpy")},
        "checks": [],
        "cases": cases,
        "activity": activity,
    }


if __name__ == "__main__":
    main(run)
