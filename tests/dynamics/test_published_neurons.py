"""Neuron types beside the equations of their papers, each in a form of its own."""

import math

import nengo
import numpy as np
import pytest
from scipy.integrate import solve_ivp

import keras_spiking_nengo as ksn
from keras_spiking_nengo.types import (
    AdaptiveExponentialLIF,
    AlphaLIF,
    BalancedResonateAndFire,
    Heterogeneous,
    IntegrateAndFire,
    LeakyIntegrator,
    QuadraticIntegrateAndFire,
    SynapticLIF,
)
from tests.arrays import run
from tests.conftest import BACKEND
from tests.gradients import gradient
from tests.simulated import row_by_row

N, STEPS = 6, 300


def at_rest(kind):
    """A type whose states all start from 0."""
    states = dict.fromkeys(kind.state, nengo.dists.Choice([0]))
    return ksn.serialization.altered(kind, initial_state=states)


def stepped(kind, J, dt=0.001):
    """What Nengo's own step sends, from 0."""
    states = {name: np.zeros(J.shape[1]) for name in kind.state}
    outputs = np.zeros_like(J)
    for now, output in zip(J, outputs, strict=True):
        kind.step(dt, now, output, **states)
    return outputs


# --- the papers' equations, neuron by neuron --------------------------------------


def adaptive_exponential(kind, J, dt):
    """Brette and Gerstner's, with their units: pF, nS, mV, pA and ms."""
    C, g_L, E_L, V_T, Delta_T, V_cut = 281.0, 30.0, -70.6, -50.4, 2.0, 20.0
    tau_w, a, b = 144.0, 4.0, 80.5
    step = 1000 * dt
    fires = []
    V, w = E_L, 0.0
    for now in J:
        drive = g_L * Delta_T * math.exp((V - V_T) / Delta_T) - w + now
        # The rests that both leaks tend to, if nothing else changes in the step.
        V_rest, w_rest = E_L + drive / g_L, a * (V - E_L)
        V = V_rest + (V - V_rest) * math.exp(-step * g_L / C)
        w = w_rest + (w - w_rest) * math.exp(-step / tau_w)
        fires.append(V_cut < V)
        if fires[-1]:
            V, w = E_L, w + b
    return fires


# Its numbers, as `AdaptiveExponentialLIF` takes them.
UNIT = 30.0 * 20.2
PUBLISHED = AdaptiveExponentialLIF(
    tau_mem=0.281 / 30,
    tau_w=0.144,
    coupling=4 / 30,
    inc_w=80.5 / UNIT,
    slope_factor=2 / 20.2,
    v_reset=0,
    v_peak=90.6 / 20.2,
)


def quadratic(kind, J, dt):
    """Turns of an angle for currents above threshold: `x = root tan(angle)`."""
    middle = (kind.v_rest + kind.v_critical) / 2
    start = ((kind.v_critical - kind.v_rest) / 2) ** 2
    fires, v = [], 0.0
    for now in J:
        root = math.sqrt(now - start)
        turn = math.atan(root * dt / kind.tau_mem)
        angle = math.atan((v - middle) / root) + turn
        v = middle + root * math.tan(angle)
        fires.append(angle >= math.pi / 2 or v > kind.v_peak)
        v = kind.v_reset if fires[-1] else v
    return fires


def resonator(kind, J, dt):
    """Higuchi et al.'s, with complex numbers."""
    p = (-1 + math.sqrt(1 - (dt * kind.omega) ** 2)) / dt
    z, q, fires = 0j, 0.0, []
    for now in J:
        z = z + dt * ((p - kind.damping - q + 1j * kind.omega) * z + now)
        fires.append(z.real > kind.v_threshold + q)
        q = math.exp(-dt / kind.tau_q) * q + fires[-1]
    return fires


def synaptic(kind, J, dt):
    """A sum over all inputs and spikes so far, each with its kernel."""
    alpha, beta = math.exp(-dt / kind.tau_syn), math.exp(-dt / kind.tau_mem)
    lags = np.arange(len(J))
    kernel = (alpha ** (lags + 1) - beta ** (lags + 1)) / (alpha - beta)
    fires = []
    for t in range(len(J)):
        v = np.dot(J[: t + 1][::-1], kernel[: t + 1])
        before = t - 1 - np.flatnonzero(fires)
        fires.append(v - kind.v_threshold * np.sum(beta**before) > kind.v_threshold)
    return fires


def synaptic_to_zero(kind, J, dt):
    """The same; what the membrane has is from inputs after the last reset."""
    alpha, beta = math.exp(-dt / kind.tau_syn), math.exp(-dt / kind.tau_mem)
    fires, current, since = [], [], 0
    for t in range(len(J)):
        current.append(np.dot(J[: t + 1][::-1], alpha ** np.arange(t + 1)))
        since = t + 1 if t and fires[-1] else since
        lags = np.arange(t + 1 - since)
        fires.append(np.dot(current[since:][::-1], beta**lags) > kind.v_threshold)
    return fires


def two_currents(kind, J, dt):
    """Eshraghian et al.'s: an excitatory and an inhibitory current, and their sum."""
    alpha, beta = math.exp(-dt / kind.tau_mem), math.exp(-dt / kind.tau_syn)
    scale = math.log(alpha) / (math.log(beta) - math.log(alpha)) + 1
    up, down, fires = 0.0, 0.0, [False]
    for now in J:
        kept = 0 if fires[-1] else 1
        up, down = kept * (alpha * up + now), kept * (beta * down - now)
        fires.append(scale * (up + down) > kind.v_threshold)
    return fires[1:]


def _noisy(low, high):
    return np.random.RandomState(0).uniform(low, high, (STEPS, N))


CASES = {
    "AdaptiveExponentialLIF": (
        *(PUBLISHED, lambda kind, J, dt: adaptive_exponential(kind, UNIT * J, dt)),
        *(_noisy(0, 3), 0.001),
    ),
    "QuadraticIntegrateAndFire": (
        *(QuadraticIntegrateAndFire(0.01), quadratic, _noisy(0.3, 8), 0.001),
    ),
    "BalancedResonateAndFire": (
        BalancedResonateAndFire(12.0, tau_q=-0.01 / math.log(0.9)),
        *(resonator, _noisy(-80, 100), 0.01),
    ),
    "SynapticLIF": (SynapticLIF(0.01, 0.004), synaptic, _noisy(-0.5, 0.6), 0.001),
    "SynapticLIF(zero)": (
        SynapticLIF(0.01, 0.004, reset="zero"),
        *(synaptic_to_zero, _noisy(-0.5, 0.6), 0.001),
    ),
    "AlphaLIF": (AlphaLIF(0.01, 0.004), two_currents, _noisy(-0.5, 1), 0.001),
}


@pytest.mark.torch
@pytest.mark.parametrize("name", CASES)
def test_spike_for_spike_as_published(name, float64):
    kind, published, J, dt = CASES[name]
    kind = at_rest(kind)
    spikes = np.stack([published(kind, now, dt) for now in J.T], axis=1) / dt
    assert 50 < np.count_nonzero(spikes) < 0.9 * spikes.size
    np.testing.assert_array_equal(stepped(kind, J, dt), spikes)
    layer = ksn.layers.Neurons(kind, dt, return_sequences=True)
    np.testing.assert_allclose(run(layer, J[None])[0], spikes, rtol=1e-12)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.skipif(BACKEND == "torch", reason="the engine is not for torch")
def test_both_simulators_send_the_same(name):
    kind, _, J, dt = CASES[name]
    with nengo.Network(seed=0) as net:
        node = nengo.Node(row_by_row(J, dt))
        ens = nengo.Ensemble(
            N, 1, neuron_type=at_rest(kind), gain=np.ones(N), bias=np.zeros(N)
        )
        nengo.Connection(node, ens.neurons, synapse=None)
        probe = nengo.Probe(ens.neurons)
    options = {"dt": dt, "progress_bar": False}
    with nengo.Simulator(net, **options) as sim:
        sim.run_steps(STEPS)
    with ksn.Simulator(net, dtype="float64", **options) as ours:
        ours.run_steps(STEPS)
    assert np.any(sim.data[probe])
    np.testing.assert_allclose(ours.data[probe], sim.data[probe], rtol=1e-9)
    np.testing.assert_array_equal(sim.data[probe], stepped(at_rest(kind), J, dt))


# --- what the equations say in steps of no length ---------------------------------


def test_adaptive_exponential_fires_when_its_equation_says():
    kind, J, dt, end = at_rest(AdaptiveExponentialLIF(inc_w=0.4)), 1.8, 2e-5, 0.12

    def slope(t, state):
        v, w = state
        upstroke = kind.slope_factor * math.exp((v - 1) / kind.slope_factor)
        return [
            (-v + upstroke - w + J) / kind.tau_mem,
            (kind.coupling * v - w) / kind.tau_w,
        ]

    def peak(t, state):
        return state[0] - kind.v_peak

    peak.terminal = True
    expected, t, state = [], 0.0, [0.0, 0.0]
    while t < end:
        solved = solve_ivp(slope, (t, end), state, events=peak, rtol=1e-9, atol=1e-9)
        t, (_, w) = solved.t[-1], solved.y[:, -1]
        state = [kind.v_reset, w + kind.inc_w]
        expected.append(t)
    spikes = stepped(kind, np.full((round(end / dt), 1), J), dt)
    times = dt * (1 + np.flatnonzero(spikes))
    assert len(times) == len(expected) - 1 > 3
    np.testing.assert_allclose(times, expected[:-1], atol=20 * dt)
    assert np.all(np.diff(times, 2) > 0)  # it adapts


def test_quadratic_neurons_fire_at_their_rate_and_rest_below():
    kind = QuadraticIntegrateAndFire(0.02, 0.2, 1.0, v_peak=6.0, v_reset=-0.5)
    J, dt = np.array([0.05, 0.15, 0.17, 0.3, 1.0, 10.0]), 1e-4
    spikes = stepped(at_rest(kind), np.tile(J, (20000, 1)), dt)
    expected = kind.rates(J, np.ones(1), np.zeros(1))[:, 0]
    assert np.all(expected[:2] == 0) and np.all(expected[2:] > 1)
    np.testing.assert_allclose(spikes.mean(0), expected, rtol=0.02, atol=0.6)
    # In steps of five time constants, too, it comes to the rest of the equation.
    v, output = np.array([-0.5, 0.5, -100.0]), np.zeros(3)
    for _ in range(200):
        kind.step(0.1, np.full(3, -20.0), output, voltage=v)
    np.testing.assert_allclose(v, 0.6 - math.sqrt(20.16), rtol=1e-6)


def test_an_undamped_resonator_neither_grows_nor_fades():
    kind = BalancedResonateAndFire(omega=200.0, damping=0, v_threshold=1e3)
    state = {"voltage": np.ones(1), "imaginary": np.zeros(1)}
    for _ in range(5000):
        kind.step(0.001, 0.0, np.zeros(1), **state, refractoriness=np.zeros(1))
    np.testing.assert_allclose(np.hypot(*state.values()), 1, rtol=1e-9)


@pytest.mark.parametrize("tau_syn", [0.02, 0.004, 0.05])
def test_an_alpha_neuron_answers_with_an_alpha_function(tau_syn):
    tau, dt = 0.02, 0.001
    kind = AlphaLIF(tau, tau_syn, v_threshold=100.0)
    t = dt * np.arange(100)
    if tau == tau_syn:
        expected = t / tau * np.exp(-t / tau)
    else:
        decays = np.exp(-t / tau) - np.exp(-t / tau_syn)
        expected = tau / (tau - tau_syn) * decays
    state = {"current": np.zeros(1), "voltage": np.zeros(1)}
    voltages = []
    for now in np.eye(1, 100)[0]:
        kind.step(dt, np.full(1, now), np.zeros(1), **state)
        voltages.append(float(state["voltage"][0]))
    np.testing.assert_allclose(voltages, expected, rtol=1e-9, atol=1e-12)


def test_synaptic_neurons_have_the_equation_of_integrate_and_fire():
    """Whose inputs last a step: currents are then the share that a step adds."""
    tau_mem, tau_syn, dt = 0.05, 0.02, 1e-4
    J = 2 + np.sin(np.arange(2000) / 100)[:, None]
    same = LeakyIntegrator(tau_mem, tau_syn)
    state = {"current": np.zeros(1), "voltage": np.zeros(1)}
    shared = -np.expm1(-dt / tau_syn) * -np.expm1(-dt / tau_mem)
    kind = SynapticLIF(tau_mem, tau_syn, v_threshold=1e3)
    for now in J:
        kind.step(dt, shared * now, np.zeros(1), **state)
    np.testing.assert_allclose(state["voltage"], stepped(same, J, dt)[-1], rtol=2e-3)
    firing = [
        stepped(SynapticLIF(tau_mem, tau_syn), shared * J, dt),
        stepped(IntegrateAndFire(tau_mem, tau_syn, reset="subtract"), J, dt),
    ]
    counts = [np.count_nonzero(spikes) for spikes in firing]
    assert counts[0] > 3 and abs(counts[0] - counts[1]) <= 1


# --- training ---------------------------------------------------------------------


def test_a_quadratic_neuron_is_trained_on_its_rate_curve(float64):
    kind = QuadraticIntegrateAndFire(amplitude=2.0)
    x = np.random.RandomState(0).uniform(0.5, 5, (1, 5, 4))
    layer = ksn.layers.Neurons(kind, forward="rate", return_sequences=True)
    layer.build(x.shape)
    y, slope = gradient(lambda x: layer(x, training=True), x)
    rates = [
        kind.rates(np.ravel(x) + d, np.ones(1), np.zeros(1)) for d in (0, 1e-6, -1e-6)
    ]
    np.testing.assert_allclose(np.ravel(y), rates[0][:, 0], rtol=1e-6)
    expected = (rates[1] - rates[2])[:, 0] / 2e-6
    np.testing.assert_allclose(np.ravel(slope), expected, rtol=1e-5)
    # At its kink, where the curve itself is vertical, the slope is finite.
    at = np.array([[[0.25, 0.25 - 1e-9, 0.25 + 1e-9, -50.0]]])
    assert np.all(np.isfinite(gradient(lambda x: layer(x, training=True), at)[1]))


@pytest.mark.parametrize("name", [n for n in CASES if "Quadratic" not in n])
def test_what_has_no_rate_curve_says_so(name):
    with pytest.raises(ValueError, match="needs a rate curve, and .* has none"):
        ksn.layers.Neurons(CASES[name][0], forward="rate")


@pytest.mark.parametrize(
    ("kind", "varied"),
    [
        (AdaptiveExponentialLIF(), {"tau_w": [0.05, 0.1, 0.3], "inc_w": [0, 0.2, 1]}),
        (QuadraticIntegrateAndFire(), {"v_reset": [-2, -1, 0]}),
        (BalancedResonateAndFire(v_threshold=0.02), {"omega": [5, 50, 500]}),
        (SynapticLIF(), {"tau_syn": [0.002, 0.01, 0.1]}),
        (AlphaLIF(), {"tau_syn": [0.002, 0.02, 0.1], "v_threshold": [1, 2, 3]}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_parameters_differ_from_neuron_to_neuron(kind, varied, float64):
    J = np.random.RandomState(0).uniform(0, 4, (200, 3))
    kind = at_rest(kind)
    several = Heterogeneous(kind, varied)
    spikes = stepped(several, J)
    for i in range(3):
        one = {name: values[i] for name, values in varied.items()}
        alone = stepped(ksn.serialization.altered(kind, **one), J[:, i : i + 1])
        np.testing.assert_array_equal(spikes[:, i : i + 1], alone)
    assert np.any(spikes)
    for layer in (
        ksn.layers.Neurons(several, return_sequences=True),
        ksn.layers.Neurons(kind, return_sequences=True, initial_parameters=varied),
    ):
        np.testing.assert_array_equal(run(layer, J[None])[0], spikes)


# --- what cannot be ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: AdaptiveExponentialLIF(v_reset=5),
            "v_reset is below v_peak; received",
        ),
        (lambda: AdaptiveExponentialLIF(tau_w=0), "tau_w"),
        (lambda: QuadraticIntegrateAndFire(v_peak=1), "v_critical is below v_peak"),
        (lambda: QuadraticIntegrateAndFire(v_reset=0.5), "v_reset is at most v_rest"),
        (lambda: QuadraticIntegrateAndFire(v_rest=2, v_reset=0), "at most v_critical"),
        (lambda: SynapticLIF(reset="value"), "reset"),
        (lambda: AlphaLIF(tau_syn=0), "tau_syn"),
        (lambda: BalancedResonateAndFire(damping=-1), "damping"),
    ],
)
def test_what_cannot_be_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_resonator_too_fast_for_its_steps_is_refused():
    kind, message = BalancedResonateAndFire(omega=2000.0), "at most 1/dt.*received"
    with pytest.raises(ValueError, match=message):
        kind.step(0.001, *(np.zeros(1) for _ in range(5)))
    with pytest.raises(ValueError, match=message):
        ksn.layers.Neurons(kind)(np.ones((1, 2, 3), "float32"))


def test_names_make_them():
    assert ksn.types.neuron_type("alpha_lif") == AlphaLIF()
    assert ksn.types.neuron_type("adaptive_exponential_lif") == AdaptiveExponentialLIF()
