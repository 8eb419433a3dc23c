"""Inputs that were valid before they were changed at random, and how they are tried."""

import copy
import os
import resource
import signal
import time
from contextlib import contextmanager

import numpy as np
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from keras_spiking_nengo import serialization

# Seconds that each fuzzer takes.
SECONDS = float(os.environ.get("KSN_FUZZ", 600))
MAX_BYTES = 2**26
# What TensorFlow, JAX and the memory of former inputs may add to the budget.
_SLACK_KB = 2**19
_HANG_SECONDS = 60


class Hang(BaseException):
    """Takes too long; no reader that catches errors of others catches it."""


def _deep(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


NUMBERS = [0, 1, -1, 2, 3, 7, 0.5, 1e-9, -0.001, 1e9, 1e300, 10**6, 10**9, 10**30]
VALUES = [
    *(None, True, False, "", "x", "lif", "voltage", "spikes", "nengo.neurons.LIF"),
    *NUMBERS,
    *(float("nan"), float("inf"), -(10**9), 2**31, 2**63),
    *([], {}, [1], [0.5, -1], [[1, 2], [3, 4]], [None], ["x"], {"a": 1}),
    *({"float": "nan"}, {"float": "inf"}, {"tuple": []}, {"dict": [[0, 1]]}),
    *(_deep(70), _deep(300), "x" * 300),
    serialization.to_config(np.ones(3)),
    serialization.to_config(np.ones((2, 2), "<c8")),
    serialization.to_config(np.array(1)),
    {"nengo": "nengo.neurons.LIF", "state": {}},
]
EDITS = st.one_of(
    st.tuples(st.just("set"), st.sampled_from(VALUES)),
    st.tuples(st.just("set"), st.integers(-5, 70)),
    st.tuples(st.just("times"), st.sampled_from([-1, 0, 0.5, 2, 1e3, 1e9])),
    st.tuples(st.sampled_from(["drop", "twice", "rename"]), st.none()),
    st.tuples(st.just("copy"), st.integers(0, 2**16)),
    st.tuples(st.just("flip"), st.integers(0, 2**16)),
)


def changed(bases, edits=EDITS):
    """Strategy of `(name, changes)`: which base, and where it is changed to what."""
    changes = st.lists(st.tuples(st.integers(0, 2**16), edits), min_size=1, max_size=4)
    return st.tuples(st.sampled_from(sorted(bases)), changes)


def apply(base, changes):
    """A copy of nested lists and dicts, with changes in it."""
    whole = [copy.deepcopy(base)]
    for where, (kind, argument) in changes:
        places = list(_places(whole))
        holder, key = places[where % len(places)]
        _change(holder, key, kind, argument, places)
    return whole[0] if whole else None


def _places(whole):
    """All `(holder, key)`, outer ones first."""
    waiting = [(whole, 0)] if whole else [({"": None}, "")]
    while waiting:
        holder, key = waiting.pop()
        yield holder, key
        value = holder[key]
        if isinstance(value, dict):
            waiting += [(value, k) for k in value]
        elif isinstance(value, list):
            waiting += [(value, i) for i in range(len(value))]


def _change(holder, key, kind, argument, places):
    value = holder[key]
    if kind == "set":
        holder[key] = copy.deepcopy(argument)
    elif kind == "copy":
        other, place = places[argument % len(places)]
        holder[key] = copy.deepcopy(other[place])
    elif kind == "drop":
        del holder[key]
    elif kind == "twice" and isinstance(holder, list):
        holder.append(copy.deepcopy(value))
    elif kind == "rename" and isinstance(holder, dict):
        holder["x" + str(key)] = holder.pop(key)
    elif kind == "times" and isinstance(value, int | float):
        holder[key] = value * argument
    elif kind == "flip" and isinstance(value, str) and value:
        at = argument % len(value)
        holder[key] = value[:at] + chr(33 + argument % 90) + value[at + 1 :]


@contextmanager
def bounded_run():
    """Asserts that the block neither hangs nor grows beyond the budget."""

    def hangs(*_):
        raise Hang(f"no answer within {_HANG_SECONDS} s")

    before = signal.signal(signal.SIGALRM, hangs)
    limits = resource.getrlimit(resource.RLIMIT_AS)
    room = _size() + 2**32
    resource.setrlimit(resource.RLIMIT_AS, (room, limits[1]))
    signal.alarm(_HANG_SECONDS)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        with serialization.budget(MAX_BYTES):
            yield
        growth = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak
        assert growth < MAX_BYTES // 1024 + _SLACK_KB, f"grew by {growth} kB"
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
        resource.setrlimit(resource.RLIMIT_AS, limits)


def _size():
    """Bytes of virtual memory of this process."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * resource.getpagesize()


def fuzz(strategy, check):
    """Tries inputs for as long as `KSN_FUZZ` says, and tells how many."""
    count, end = 0, time.monotonic() + SECONDS

    @settings(
        max_examples=200,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
        print_blob=False,
    )
    @given(strategy)
    def run(value):
        nonlocal count
        count += 1
        with bounded_run():
            check(*value)

    while time.monotonic() < end:
        run()
    print(f"\n{count:,} inputs")
