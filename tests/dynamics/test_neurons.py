"""Every neuron type does what nengo's own step does."""

import keras
import nengo
import numpy as np
import pytest
from keras import ops
from scipy import linalg

import keras_spiking_nengo as ksn
from keras_spiking_nengo.dynamics.neurons import neuron
from keras_spiking_nengo.types import IntegrateAndFire, LeakyIntegrator
from tests.cases import NEURONS, RANDOM

STEPS, N, DT = 2000, 200, 0.001
DETERMINISTIC = [name for name in NEURONS if name not in (*RANDOM, "Direct")]

# A current of 1 is the threshold of the LIF types; others take larger ones.
SCALE = {"RectifiedLinear": 100, "SpikingRectifiedLinear": 100, "Izhikevich": 5}
SCALE |= {"LeakyReLU": 100, "SpikingLeakyReLU": 100, "BalancedResonateAndFire": 5}


def currents(name: str, noisy: bool) -> np.ndarray:
    constant = np.linspace(-2, 5, N) * SCALE.get(name, 1)
    noise = np.random.RandomState(1).standard_normal((STEPS, N)) if noisy else 0
    return constant + noise * np.ones((STEPS, 1))


def nengo_steps(neuron_type, currents: np.ndarray, seed: int, dt=DT) -> np.ndarray:
    rng = np.random.RandomState(seed)
    n = currents.shape[1]
    base = getattr(neuron_type, "base_type", None)
    base_state = base.make_state(n, rng=rng, dtype=float) if base is not None else {}
    state = neuron_type.make_state(n, rng=rng, dtype=float)
    outputs = np.zeros_like(currents)
    for J, output in zip(currents, outputs, strict=True):
        if base is not None:
            rate = np.zeros(n)
            base.step(dt, J, rate, **base_state)
            J = rate
        neuron_type.step(dt, J, output, **state)
    return outputs


def our_steps(neuron_type, currents: np.ndarray, seed: int, **kwargs) -> np.ndarray:
    layer = ksn.layers.Neurons(neuron_type, return_sequences=True, seed=seed, **kwargs)
    return ops.convert_to_numpy(layer(currents[None]))[0]


@pytest.mark.parametrize("noisy", [False, True], ids=["constant", "noisy"])
@pytest.mark.parametrize("name", DETERMINISTIC)
def test_spike_for_spike_as_nengo_in_float64(name, noisy, float64):
    J = currents(name, noisy)
    expected = nengo_steps(NEURONS[name], J, seed=3)
    actual = our_steps(NEURONS[name], J, seed=3)
    assert np.any(expected)
    if neuron(NEURONS[name]).spiking:
        # XLA's tanh differs from NumPy's by 2e-7, which moves a spike by a step.
        allowed = 20 if "Tanh" in name and keras.backend.backend() == "jax" else 0
        assert np.sum(actual != expected) <= allowed
    else:
        np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_in_float32_spike_counts_are_nengos(name):
    J = currents(name, noisy=True)
    expected = nengo_steps(NEURONS[name], J, seed=3)
    actual = our_steps(NEURONS[name], J.astype("float32"), seed=3)
    assert actual.dtype == np.float32
    # Rates to 1e-5; of the spikes of a neuron at most one may be missing or more.
    height = np.max(np.abs(expected)) if neuron(NEURONS[name]).spiking else 0
    np.testing.assert_allclose(
        actual.sum(0), expected.sum(0), rtol=1e-5, atol=1.01 * height + 1e-3
    )
    if neuron(NEURONS[name]).spiking and name != "Izhikevich":  # chaotic
        assert np.mean(np.abs(actual - expected) > 1e-3 * height) < 1e-3


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_rate_curve_is_nengos(name, float64):
    dynamics = neuron(NEURONS[name])
    if dynamics.rates is None:
        pytest.skip("no closed rate curve")
    J = np.linspace(-2, 5, 101) * SCALE.get(name, 1)
    expected = NEURONS[name].rates(J, np.ones(1), np.zeros(1))[:, 0]
    if hasattr(NEURONS[name], "base_type"):
        # Nengo's curve is that of the base type; its spikes have the amplitude.
        expected = expected * NEURONS[name].amplitude
    actual = dynamics.rates(dynamics.parameters, ops.convert_to_tensor(J))
    np.testing.assert_allclose(ops.convert_to_numpy(actual), expected, rtol=1e-6)


@pytest.mark.parametrize("name", RANDOM)
def test_random_spikes_have_the_mean_and_spread_of_nengos(name):
    neuron_type = NEURONS[name]
    J = np.linspace(0.5, 3, 8) * np.ones((4000, 1))
    expected = nengo_steps(neuron_type, J, seed=1)
    actual = our_steps(neuron_type, J, seed=1)
    deviation = expected.std(0) / np.sqrt(len(J)) + 1e-9
    assert np.all(np.abs(actual.mean(0) - expected.mean(0)) < 6 * deviation)
    np.testing.assert_allclose(actual.std(0), expected.std(0), rtol=0.2, atol=20)
    assert set(np.unique(actual)) <= set(np.unique(expected)) | {0.0}


def test_initial_state_given_to_the_type_is_used():
    kind = nengo.LIF(initial_state={"voltage": [0.25, 0.75], "refractory_time": [0, 1]})
    layer = ksn.layers.Neurons(kind)
    layer.build((None, None, 2))
    voltage, refractory = (
        ops.convert_to_numpy(s)[0] for s in layer.get_initial_state(1)
    )
    np.testing.assert_allclose(voltage, [0.25, 0.75])
    np.testing.assert_allclose(refractory, np.exp([0, 1 / 0.02]), rtol=1e-5)


@pytest.mark.parametrize("name", [n for n in NEURONS if n != "Direct"])
def test_nan_goes_in_and_comes_out_and_nothing_hangs(name):
    J = np.ones((1, 20, 3), "float32")
    J[0, 10:, 1] = np.nan
    layer = ksn.layers.Neurons(NEURONS[name], return_sequences=True, return_state=True)
    output, *state = (ops.convert_to_numpy(x) for x in layer(J))
    assert np.all(np.isfinite(output[..., [0, 2]]))
    bad = [output[0, 12:, 1], *(s[0, 1] for s in state if s.dtype.kind == "f")]
    assert any(np.any(np.isnan(x)) for x in bad)


@pytest.mark.parametrize(
    "taus", [(0.01, 0.004), (0.01, 0.01), (0.004, 0.01), (None, 0.01)]
)
def test_membranes_and_currents_are_solved_exactly(taus):
    tau_mem, tau_syn = taus
    r, w_in, leak, J, dt, steps = 1.3, 0.7, 0.4, 2.0, 0.001, 20
    rate = 1 / tau_mem if tau_mem else 0
    A = [[-1 / tau_syn, 0], [r * (rate or 1), -rate]]
    inputs = [w_in * J / tau_syn, leak * rate]
    M = np.zeros((3, 3))
    M[:2, :2], M[:2, 2] = A, inputs
    expected = [linalg.expm(M * dt * n)[1, 2] for n in range(1, steps + 1)]
    kind = LeakyIntegrator(tau_mem, tau_syn, r=r, w_in=w_in, v_leak=leak)
    actual = nengo_steps(kind, np.full((steps, 1), J), seed=3)
    np.testing.assert_allclose(np.ravel(actual), expected, rtol=1e-12)


def test_membranes_have_a_value_for_each_neuron(float64):
    rng = np.random.RandomState(0)
    tau_mem, tau_syn, threshold = rng.uniform(0.005, 0.02, (3, 6)) * [[1], [1], [50]]
    several = IntegrateAndFire(tau_mem, tau_syn, v_threshold=threshold)
    x = rng.uniform(0, 4, (2, 40, 2, 3))
    y = ksn.layers.Neurons(several, return_sequences=True)(x)
    flat, y = x.reshape(2, 40, 6), ops.convert_to_numpy(y).reshape(2, 40, 6)
    assert np.any(y)
    for i in range(6):
        one = IntegrateAndFire(tau_mem[i], tau_syn[i], v_threshold=threshold[i])
        z = ksn.layers.Neurons(one, return_sequences=True)(flat[..., i : i + 1])
        np.testing.assert_array_equal(y[..., i : i + 1], ops.convert_to_numpy(z))


def test_a_membrane_much_shorter_than_a_step_follows_its_current(float64):
    """Of which an exponential that grows with the ratio would know nothing."""
    kind = LeakyIntegrator(1e-7, 0.01)
    J = np.random.RandomState(0).uniform(0, 2, (30, 3))
    layer = ksn.layers.Neurons(kind, return_sequences=True)
    voltages = ops.convert_to_numpy(layer(J[None]))[0]
    decay = np.exp(-0.001 / 0.01)
    current = np.zeros(3)
    for now, voltage in zip(J, voltages, strict=True):
        current = decay * current + (1 - decay) * now
        np.testing.assert_allclose(voltage, current, rtol=1e-4)


@pytest.mark.parametrize(
    "arguments", [{"tau_mem": 0}, {"tau_syn": [0.1, -1]}, {"v_reset": 1}, {"r": np.nan}]
)
def test_membranes_refuse_what_cannot_be(arguments):
    with pytest.raises(ValueError, match=r"received"):
        IntegrateAndFire(**arguments)
