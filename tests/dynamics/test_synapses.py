"""Synapses filter as Nengo's, step by step and all at once."""

from unittest import mock

import nengo
import numpy as np
import pytest
from keras import ops

from keras_spiking_nengo.dynamics import synapses
from tests.cases import SYNAPSES
from tests.marks import quick

DT, TIME, N = 0.001, 150, 3
INPUT = np.random.RandomState(0).standard_normal((TIME, N)).cumsum(0)


def nengo_output(synapse, delay, x=INPUT):
    if synapse is None:
        return x
    state = synapse.make_state(x.shape[1:], x.shape[1:], DT, dtype=float)
    step = synapse.make_step(x.shape[1:], x.shape[1:], DT, rng=None, state=state)
    y = np.array([np.array(step(None, u)).ravel() for u in x])
    return np.concatenate([np.zeros((1, N)), y[:-1]]) if delay else y


def by_steps(system, x):
    state = ops.zeros((1, system.order, N), dtype=x.dtype)
    outputs = []
    for u in x:
        y, state = synapses.step(system, ops.convert_to_tensor(u[None]), state)
        outputs.append(ops.convert_to_numpy(y)[0])
    return np.array(outputs), ops.convert_to_numpy(state)


def at_once(system, x, length=64):
    state = ops.zeros((1, system.order, N), dtype=x.dtype)
    inputs = ops.convert_to_tensor(x[None])
    y, state = synapses.sequence(system, inputs, state, length)
    return ops.convert_to_numpy(y)[0], ops.convert_to_numpy(state)


@pytest.mark.parametrize("delay", [0, 1])
@pytest.mark.parametrize("name", SYNAPSES)
def test_as_nengo_in_float64(name, delay, float64):
    system = synapses.linear_system(SYNAPSES[name], DT, delay)
    expected = nengo_output(SYNAPSES[name], delay)
    assert np.any(expected)
    for form in (by_steps, at_once):
        actual, _ = form(system, INPUT)
        np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.torch
@pytest.mark.parametrize("delay", quick([0, 1], {1}))
@pytest.mark.parametrize("name", SYNAPSES)
def test_forms_agree_to_1e_6_in_float32(name, delay):
    system = synapses.linear_system(SYNAPSES[name], DT, delay)
    x = INPUT.astype("float32")
    y, state = by_steps(system, x)
    scale = max(1, np.max(np.abs(y)))
    for length in (7, 64, 1000):
        y_block, state_block = at_once(system, x, length)
        np.testing.assert_allclose(y_block, y, atol=2e-6 * scale)
        np.testing.assert_allclose(
            state_block, state, atol=2e-6 * max(1, np.max(np.abs(state), initial=0))
        )


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("synapse", [nengo.Lowpass(0.02), nengo.Alpha(0.02)], ids=str)
def test_what_is_chosen_for_a_device_changes_no_output(
    synapse, fast, monkeypatch, float64
):
    """A graphics card takes blocks, a processor steps, wherever this runs."""
    monkeypatch.setattr(synapses, "loops_are_fast", lambda: fast)
    looped, by_blocks = (
        mock.Mock(wraps=synapses._looped),
        mock.Mock(wraps=synapses._by_blocks),
    )
    monkeypatch.setattr(synapses, "_looped", looped)
    monkeypatch.setattr(synapses, "_by_blocks", by_blocks)
    system = synapses.linear_system(synapse, DT, 1)
    actual, _ = at_once(system, INPUT)
    assert (looped.called, by_blocks.called) == (fast, not fast)
    expected = nengo_output(synapse, 1)
    np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("delay", [0, 1])
@pytest.mark.parametrize("synapse", [nengo.Lowpass(0.02), nengo.Alpha(0.02)])
def test_tuned_system_is_the_synapse_of_that_time_constant(synapse, delay, float64):
    tau = ops.convert_to_tensor(0.03, dtype="float64")
    tuned = synapses.tuned_system(synapse, tau, DT, delay)
    expected = nengo_output(type(synapse)(0.03), delay)
    np.testing.assert_allclose(by_steps(tuned, INPUT)[0], expected, rtol=1e-9)


@pytest.mark.parametrize("name", [n for n in SYNAPSES if n != "None"])
def test_steady_state_keeps_a_level(name, float64):
    for delay in (0, 1):
        system = synapses.linear_system(SYNAPSES[name], DT, delay)
        ratio = np.reshape(system.steady_state(), (1, -1, 1)) * np.ones((1, 1, N))
        gain = nengo_output(SYNAPSES[name], 0, np.ones((4000, N)))[-1, 0]
        y, _ = synapses.step(
            system,
            ops.convert_to_tensor(np.ones((1, N)) / gain),
            ops.convert_to_tensor(ratio),
        )
        np.testing.assert_allclose(ops.convert_to_numpy(y), 1, rtol=1e-6)


def test_refusals():
    class Custom(nengo.synapses.Synapse):
        def make_step(self, *args, **kwargs):
            raise NotImplementedError

    with pytest.raises(NotImplementedError, match="Custom.*\n*.*Lowpass"):
        synapses.linear_system(Custom(), DT)
    integrator = nengo.LinearFilter([1], [1, 0])
    with pytest.raises(ValueError, match="integrates"):
        synapses.linear_system(integrator, DT).steady_state()
    differentiator = nengo.LinearFilter([1, 0], [0.1, 1])
    with pytest.raises(ValueError, match="gain of this one is 0"):
        synapses.linear_system(differentiator, DT).steady_state()
