"""The problem that every worker solves, and how a call is timed.

Currents are `J = inputs @ weights + 1`, so forward and training see the same
neurons: about half of them fire. Spikes have height 1 everywhere, and the loss
is the mean of their squares. The learning rate is so small that the activity
while we time stays that of the first step: what silent neurons cost is not
what neurons cost.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Workload:
    """Sizes, constants (in seconds) and how often a call is repeated.

    `brief` asks for training alone, by the fastest way of each peer.
    """

    batch: int = 16
    steps: int = 500
    units: int = 512
    features: int = 512
    dt: float = 0.001
    tau_rc: float = 0.02
    tau_ref: float = 0.002
    learning_rate: float = 1e-6
    seed: int = 0
    repeats: int = 9
    most: int = 100
    enough: float = 2.0
    too_long: float = 20.0
    brief: bool = False

    @property
    def neuron_steps(self) -> int:
        return self.batch * self.steps * self.units

    def inputs(self) -> np.ndarray:
        """`(batch, steps, features)`, uniform in [0, 1)."""
        rng = np.random.default_rng(self.seed)
        return rng.random((self.batch, self.steps, self.features), dtype=np.float32)

    def weights(self) -> np.ndarray:
        """`(features, units)`, normal; the currents' deviation is about 1.2."""
        rng = np.random.default_rng(self.seed + 1)
        weights = rng.standard_normal((self.features, self.units), dtype=np.float32)
        return weights * np.float32(2 / self.features**0.5)

    def currents(self) -> np.ndarray:
        """`(batch, steps, units)`."""
        return self.inputs() @ self.weights() + 1

    def measure(self, call: Callable[[], object]) -> list[float]:
        """Seconds of each call of `call`, after two that warm up.

        At least `repeats` calls, and up to `most` in `enough` seconds; slow calls
        stop after `too_long` seconds, but never before the third. In brief, one warms
        up.
        """
        return self.measure_together({"": call})[""]

    def measure_together(self, calls: dict[str, Callable]) -> dict[str, list[float]]:
        """`measure` of calls that take turns, so that they see the same machine.

        A turn is two calls, the second of which is timed, with its own data in cache.
        """
        for call in calls.values():
            call()
            if not self.brief:
                call()
        times: dict[str, list[float]] = {name: [] for name in calls}
        while not all(self._is_enough(len(t), sum(t)) for t in times.values()):
            for name, call in calls.items():
                if len(calls) > 1 and not self.brief:
                    call()
                start = time.perf_counter()
                call()
                times[name].append(round(time.perf_counter() - start, 7))
        return times

    def _is_enough(self, calls: int, seconds: float) -> bool:
        if calls < self.repeats:
            return calls >= 3 and seconds >= self.too_long
        return calls >= self.most or seconds >= self.enough


def main(worker: Callable[[Workload], dict]) -> None:
    """Run `worker` on the workload in `argv[1]`; its report is the last line."""
    report = worker(Workload(**json.loads(sys.argv[1])))
    print(json.dumps(report), flush=True)


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0))
