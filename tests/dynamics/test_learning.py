"""Learning rules ask for the change that Nengo's operators ask for."""

import nengo
import numpy as np
import pytest
from keras import ops
from nengo.builder.learning_rules import SimBCM, SimOja, SimPES, SimRLS, SimVoja
from nengo.builder.signal import Signal, SignalDict

from keras_spiking_nengo.dynamics import learning

DT, PRE, POST, DIMENSIONS = 0.001, 5, 4, 3
LEAD = (2, 3)
RNG = np.random.RandomState(0)
RATE = 0.3


def drawn(*shape):
    return RNG.uniform(0.5, 2, size=(*LEAD, *shape))


def by_nengo(make, arrays, goals, n_steps=1):
    """What the operator leaves in its goals, for one item."""
    signals, names = SignalDict(), {}
    for name, array in {**arrays, **goals}.items():
        names[name] = Signal(np.array(array, float), name=name)
    op = make(names)
    for signal in names.values():
        signals.init(signal)
    step = op.make_step(signals, DT, None)
    for _ in range(n_steps):
        step()
    return [np.array(signals[names[name]]) for name in goals]


def assert_as_nengo(change, make, arrays, shape):
    expected = [
        by_nengo(
            make, {k: a[item] for k, a in arrays.items()}, {"delta": np.zeros(shape)}
        )
        for item in np.ndindex(LEAD)
    ]
    expected = np.reshape(expected, (*LEAD, *shape))
    assert np.all(np.abs(expected) > 0)
    tensors = [ops.convert_to_tensor(array) for array in arrays.values()]
    actual = ops.convert_to_numpy(change(*tensors))
    np.testing.assert_allclose(actual, expected, rtol=1e-10)


def test_pes(float64):
    def make(s):
        return SimPES(s["pre"], s["error"], s["delta"], RATE)

    def change(pre, error):
        return learning.pes(RATE * DT, pre, error)

    arrays = {"pre": drawn(PRE), "error": drawn(POST)}
    assert_as_nengo(change, make, arrays, (POST, PRE))


def test_bcm(float64):
    def make(s):
        return SimBCM(s["pre"], s["post"], s["theta"], s["delta"], RATE)

    def change(pre, post, theta):
        return learning.bcm(RATE * DT, pre, post, theta)

    arrays = {"pre": drawn(PRE), "post": drawn(POST), "theta": drawn(POST)}
    assert_as_nengo(change, make, arrays, (POST, PRE))


def test_oja(float64):
    def make(s):
        return SimOja(s["pre"], s["post"], s["weights"], s["delta"], RATE, 0.7)

    def change(pre, post, weights):
        return learning.oja(RATE * DT, 0.7, pre, post, weights)

    arrays = {"pre": drawn(PRE), "post": drawn(POST), "weights": drawn(POST, PRE)}
    assert_as_nengo(change, make, arrays, (POST, PRE))


def test_voja(float64):
    scale = RNG.uniform(0.5, 2, size=POST)

    def make(s):
        return SimVoja(
            s["decoded"],
            s["post"],
            s["encoders"],
            s["delta"],
            scale,
            s["signal"],
            RATE,
        )

    def change(decoded, post, encoders, signal):
        factor = ops.convert_to_tensor(scale)
        return learning.voja(RATE * DT, factor, decoded, post, encoders, signal)

    arrays = {
        "decoded": drawn(DIMENSIONS),
        "post": drawn(POST),
        "encoders": drawn(POST, DIMENSIONS),
        "signal": drawn(1),
    }
    assert_as_nengo(change, make, arrays, (POST, DIMENSIONS))


@pytest.mark.parametrize("n_steps", [1, 4])
def test_rls_and_its_memory(n_steps, float64):
    pre, error = drawn(PRE), drawn(POST)
    start = np.broadcast_to(np.eye(PRE) * 0.2, (*LEAD, PRE, PRE))

    def make(s):
        return SimRLS(s["pre"], s["error"], s["delta"], s["inverse"])

    inverse = ops.convert_to_tensor(start)
    for _ in range(n_steps):
        change, inverse = learning.rls(
            ops.convert_to_tensor(pre), ops.convert_to_tensor(error), inverse
        )
    change, inverse = map(ops.convert_to_numpy, (change, inverse))
    for item in np.ndindex(LEAD):
        goals = {"delta": np.zeros((POST, PRE)), "inverse": start[item]}
        given = {"pre": pre[item], "error": error[item]}
        delta, memory = by_nengo(make, given, goals, n_steps)
        np.testing.assert_allclose(change[item], delta, rtol=1e-10)
        np.testing.assert_allclose(inverse[item], memory, rtol=1e-10)
        assert not np.allclose(memory, start[item])


def test_rls_is_the_inverse_of_the_correlations(float64):
    """By the formula of Sherman and Morrison, whatever the steps between."""
    rows = RNG.standard_normal((6, 1, PRE))
    inverse = ops.convert_to_tensor(np.eye(PRE)[None])
    for pre in rows:
        error = ops.convert_to_tensor(np.ones((1, POST)))
        _, inverse = learning.rls(ops.convert_to_tensor(pre), error, inverse)
    expected = np.linalg.inv(np.eye(PRE) + rows[:, 0].T @ rows[:, 0])
    np.testing.assert_allclose(ops.convert_to_numpy(inverse)[0], expected, rtol=1e-8)


def test_every_rule_of_nengo_is_covered():
    rules = {
        cls.__name__.lower()
        for cls in nengo.learning_rules.LearningRuleType.__subclasses__()
        if cls.__module__.startswith("nengo.")
    }
    assert rules == set(learning.__all__) - {"outer"}
