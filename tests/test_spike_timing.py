"""Learning rules of spike times are what their papers say, and the same everywhere.

The reference is a loop over all pairs and triplets of spikes; then, Nengo's simulator.
"""

import itertools

import keras
import nengo
import numpy as np
import pytest
from nengo.exceptions import ValidationError

import keras_spiking_nengo as ksn
from keras_spiking_nengo.types import STDP, RewardModulatedSTDP, TripletSTDP
from tests.arrays import difference, frames, numpy
from tests.marks import TAKES_TURNS, slow_on_jax
from tests.simulated import by_nengo

pytestmark = TAKES_TURNS

OPTIONS = {"dtype": "float64", "progress_bar": False}
BOUNDS = {"min_weight": -2e-4, "max_weight": 4e-4}
TRIPLET = {"a_plus": 2e-3, "a3_minus": 3e-3, "tau_x": 0.05}
RULES = {
    "pair": STDP(1e-6),
    "nearest": STDP(1e-6, 0.01, 0.03, 0.7, 0.4, interactions="nearest"),
    "anti-hebbian": STDP(1e-6, a_plus=-1, a_minus=-0.5),
    "triplet": TripletSTDP(1e-5, **TRIPLET),
    "nearest triplet": TripletSTDP(1e-5, **TRIPLET, interactions="nearest"),
    "reward": RewardModulatedSTDP(1e-3, tau_eligibility=0.05),
}


# --- the rules, spike by spike --------------------------------------------------------


def given(rule, pre, post, reward=None, dt=0.001, init=0.0, amplitude=1.0):
    """A network whose neurons spike as told, `(steps, neurons)` times 0 or 1."""
    with nengo.Network(seed=0) as net:
        ends = []
        for spikes in (pre, post):
            # The weights are too small to make a neuron spike.
            kind = ksn.types.Threshold(0.5, amplitude=amplitude)
            n = spikes.shape[1]
            ens = nengo.Ensemble(n, 1, neuron_type=kind, gain=[1] * n, bias=[0] * n)
            row = nengo.processes.PresentInput(spikes, dt)
            nengo.Connection(nengo.Node(row), ens.neurons, synapse=None)
            ends.append(ens.neurons)
        net.conn = nengo.Connection(
            *ends,
            transform=np.full((post.shape[1], pre.shape[1]), init),
            learning_rule_type=rule,
        )
        if reward is not None:
            row = nengo.processes.PresentInput(reward[:, None], dt)
            nengo.Connection(nengo.Node(row), net.conn.learning_rule, synapse=None)
        net.weights = nengo.Probe(net.conn, "weights")
    return net


def learned(rule, pre, post, reward=None, dt=0.001, init=0.0, **options):
    """Change of each weight after the last step but one."""
    net = given(rule, pre, post, reward, dt, init, **options)
    with nengo.Simulator(net, dt=dt, progress_bar=False) as sim:
        sim.run_steps(len(pre))
    return sim.data[net.weights][-1] - init


def drawn(rate, steps=150, n=3, seed=0):
    """Spikes, none of them in the last step, whose changes no step shows."""
    spikes = np.random.RandomState(seed).uniform(size=(steps, n)) < rate
    spikes[-1] = 0
    return spikes.astype(float)


def kernel(t, earlier, tau, nearest, dt):
    """Sum over earlier spikes of how much is left of each, or of the nearest one."""
    before = [s for s in earlier if s < t]
    return sum(
        np.exp(-dt * (t - s) / tau) for s in (before[-1:] if nearest else before)
    )


def changes(rule, first, second, dt):
    """What each step adds to one weight, from the times of all spikes of both ends."""
    nearest = rule.interactions == "nearest"
    added: dict[int, float] = {}
    for t in second:
        slow = 0.0
        if isinstance(rule, TripletSTDP):
            slow = rule.a3_plus * kernel(t, second, rule.tau_y, nearest, dt)
        pairs = kernel(t, first, rule.tau_plus, nearest, dt)
        added[t] = added.get(t, 0.0) + (rule.a_plus + slow) * pairs
    for t in first:
        slow = 0.0
        if isinstance(rule, TripletSTDP):
            slow = rule.a3_minus * kernel(t, first, rule.tau_x, nearest, dt)
        pairs = kernel(t, second, rule.tau_minus, nearest, dt)
        added[t] = added.get(t, 0.0) - (rule.a_minus + slow) * pairs
    return added


def by_hand(rule, pre, post, reward=None, dt=0.001):
    weights = np.zeros((post.shape[1], pre.shape[1]))
    for j, i in np.ndindex(weights.shape):
        ends = [np.flatnonzero(spikes) for spikes in (pre[:, i], post[:, j])]
        for t, added in changes(rule, *ends, dt).items():
            if reward is not None:  # the integral of what is left of it, times reward
                tau = rule.tau_eligibility
                edges = np.exp(-dt * np.arange(len(pre) - t) / tau)
                parts = (edges[:-1] - edges[1:]) * tau
                added *= np.sum(parts * reward[t : t + len(parts)])
            weights[j, i] += rule.learning_rate * added
    return weights


@pytest.mark.parametrize("rate", [0.02, 0.4])
@pytest.mark.parametrize("name", RULES)
def test_every_pair_and_triplet_counts(name, rate):
    """Few spikes and many, of which a step in NumPy takes other ways."""
    rule, pre, post = RULES[name], drawn(rate, seed=0), drawn(rate, n=4, seed=1)
    reward = frames(len(pre)) if name == "reward" else None
    expected = by_hand(rule, pre, post, reward)
    assert np.any(pre * post[:, :3]) or rate < 0.1  # some in one step
    assert np.all(expected)
    found = learned(rule, pre, post, reward)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-18)


@pytest.mark.parametrize("dt", [0.0005, 0.001, 0.002])
def test_the_window_is_that_of_the_paper(dt):
    """One postsynaptic spike, and some before and after it, at any length of steps."""
    lags = np.arange(-40, 41, 2)  # ms, from the presynaptic spike on
    scale = round(0.001 / dt * 2) / 2
    pre, post = np.zeros((int(120 * scale), len(lags))), np.zeros((int(120 * scale), 1))
    middle = int(60 * scale)
    post[middle] = 1
    pre[(middle - lags * scale).astype(int), np.arange(len(lags))] = 1
    rule = STDP(1e-6, tau_plus=0.017, tau_minus=0.034, a_plus=1.0, a_minus=0.5)
    with np.errstate(over="ignore"):
        rise, fall = np.exp(-lags / 17), -0.5 * np.exp(lags / 34)
    expected = np.where(lags > 0, rise, np.where(lags < 0, fall, 0.0)) * 1e-6
    found = learned(rule, pre, post, dt=dt)[0]
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-18)


def paired(rule, frequency, lag):
    """What 30 pairs add, presynaptic spikes coming `lag` steps before the others."""
    times = 20 + np.arange(30) * 1000 // frequency
    pre, post = np.zeros((2, times[-1] + 20, 1))
    pre[times], post[times + lag] = 1, 1
    return learned(rule, pre, post).item()


def test_triplets_make_of_rates_what_the_paper_does():
    """More frequent pairs strengthen more, and in the wrong order, too, at last."""
    rule = TripletSTDP(1e-5)
    right = [paired(rule, frequency, 10) for frequency in (20, 40)]
    wrong = [paired(rule, frequency, -10) for frequency in (20, 40)]
    assert 0 < right[0] < right[1]
    assert wrong[0] < 0 < wrong[1]
    pairs = [paired(RULES["pair"], frequency, 10) for frequency in (20, 40)]
    assert pairs[0] > pairs[1] > 0


def test_reward_comes_later_than_spikes():
    rule = RewardModulatedSTDP(1e-3, tau_eligibility=0.1)
    pre, post, reward = np.zeros((200, 1)), np.zeros((200, 1)), np.zeros(200)
    pre[10], post[15], reward[100] = 1, 1, 2.0
    once = learned(rule, pre, post, reward)
    expected = 1e-3 * np.exp(-5 / 20) * np.exp(-85 / 100) * 2 * 0.1 * -np.expm1(-0.01)
    np.testing.assert_allclose(once, expected, rtol=1e-9)
    np.testing.assert_allclose(learned(rule, pre, post, -reward), -once, rtol=1e-12)
    assert learned(rule, pre, post) == 0  # nothing is connected


def test_spikes_are_counted_whatever_their_height():
    rule, pre, post = RULES["triplet"], drawn(0.1), drawn(0.1, seed=1)
    expected = learned(rule, pre, post)
    found = learned(rule, pre, post, amplitude=0.25)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("name", ["pair", "triplet", "reward"])
def test_weights_stop_at_bounds(name):
    """Hard ones are reached; soft ones are not; neither is crossed."""
    pre, post = drawn(0.2), drawn(0.2, n=4, seed=1)
    reward = 20 * frames(len(pre)) if name == "reward" else None
    reached = {}
    for bounds in ("hard", "soft"):
        kind = type(RULES[name])
        rule = kind(1e-4 if name == "pair" else 1e-1, **BOUNDS, bounds=bounds)
        found = learned(rule, pre, post, reward)
        assert found.min() >= -2e-4 - 1e-18 and found.max() <= 4e-4 + 1e-18
        reached[bounds] = np.isclose(found, -2e-4) | np.isclose(found, 4e-4)
        assert np.any(np.abs(found) > 1e-5)
    assert reached["hard"].any()
    # From out of bounds weights come back, and go no farther.
    for bounds, init in itertools.product(("hard", "soft"), (1e-3, -1e-3)):
        rule = kind(1e-5 if name == "pair" else 1e-2, **BOUNDS, bounds=bounds)
        towards = -np.sign(init) * learned(rule, pre, post, reward, init=init)
        assert np.all(towards >= 0) and np.any(towards > 0)


def test_soft_bounds_scale_by_the_room_that_is_left():
    pre, post = np.zeros((2, 20, 1))
    pre[5], post[10] = 1, 1
    rule = STDP(1e-6, a_minus=1, min_weight=0, max_weight=4e-4, bounds="soft")
    pair = 1e-6 * np.exp(-5 / 20)
    for first, second, part in ((pre, post, 0.75), (post, pre, -0.25)):
        found = learned(rule, first, second, init=1e-4)
        np.testing.assert_allclose(found, part * pair, rtol=1e-9)


# --- the same in all simulators -------------------------------------------------------


def plastic(*names, seed=3):
    """A network in which what is learned changes who spikes."""
    with nengo.Network(seed=seed) as net:
        net.source = nengo.Node([0.0], label="source")
        pre, post = (nengo.Ensemble(n, 1, label=f"of {n}") for n in (8, 7))
        nengo.Connection(net.source, pre, label="in")
        weights = np.random.RandomState(0).uniform(0, 1e-3, size=(7, 8))
        rates = {"pair": 1e-4, "triplet": 1e-1, "reward": 5e-3}
        rules = {n: type(RULES[n])(rates[n], min_weight=-5e-4) for n in names}
        net.conn = nengo.Connection(
            *(pre.neurons, post.neurons),
            transform=weights,
            synapse=0.005,
            learning_rule_type=rules,
            label="learned",
        )
        if "reward" in names:
            rule = net.conn.learning_rule["reward"]
            nengo.Connection(net.source, rule, synapse=0.01, label="reward")
        nengo.Probe(post.neurons, label="spikes")
        nengo.Probe(net.conn, "weights", label="weights")
        nengo.Probe(net.conn.learning_rule[names[0]], "post_trace", label="trace")
    return net


def assert_as_nengo(found, expected):
    """Spike for spike, and weights to 1e-12."""
    for probe, values in expected.items():
        assert np.any(values)
        assert difference(np.asarray(found[probe]), values) <= 1e-12, probe
        if probe.label == "spikes":
            np.testing.assert_array_equal(found[probe] != 0, values != 0)


@slow_on_jax
def test_each_item_of_a_batch_learns_by_itself(float64):
    net, x = plastic("triplet", "reward"), frames(2, 80, 1)
    with ksn.Simulator(net, minibatch_size=2, seed=7, **OPTIONS) as sim:
        for half in np.split(x, 2, axis=1):
            sim.run_steps(40, data={net.source: half})
    for item in range(2):
        expected = by_nengo(net, {net.source: x[item]}, steps=80)
        assert_as_nengo({p: sim.data[p][item] for p in expected}, expected)


def test_single_steps_compiled_and_in_single_precision():
    net = plastic("pair")
    net.source.output = [0.7]
    expected = by_nengo(net, steps=20)
    options = {"seed": 7, "progress_bar": False}
    for compile_, dtype in ((False, "float64"), (True, "float32")):
        with ksn.Simulator(net, compile=compile_, dtype=dtype, **options) as sim:
            for _ in range(20):
                sim.step()
        for probe, values in expected.items():
            bound = 1e-12 if dtype == "float64" else 1e-4
            assert difference(sim.data[probe], values) <= bound, probe


@pytest.mark.parametrize("name", ["pair", "reward"])
def test_a_layer_learns_in_predict(name, float64):
    net, x = plastic(name), frames(2, 40, 1)
    layer = ksn.layers.Network(net, return_sequences=True, seed=7)
    model = keras.Sequential([keras.Input((40, 1)), layer])
    y = model.predict(x, verbose=0)
    for item in range(2):
        expected = by_nengo(net, {net.source: x[item]}, steps=40)
        found = dict(zip(net.all_probes, y, strict=True))
        shapes = {p: values.shape for p, values in expected.items()}
        assert_as_nengo({p: found[p][item].reshape(shapes[p]) for p in found}, expected)


@pytest.mark.slow  # to differentiate, on TensorFlow
def test_a_layer_learns_in_fit_and_is_saved(tmp_path):
    """Training changes what feeds the neurons; the rule, the weights between them."""
    net, x = plastic("reward"), frames(2, 20, 1)
    layer = ksn.layers.Network(net, return_sequences=True, outputs="spikes")
    model = keras.Sequential([keras.Input((20, 1)), layer])
    model.compile(keras.optimizers.SGD(1e-7), "mse")
    y = model.predict(x, verbose=0)
    assert np.any(y)
    assert not any("learned" in weight.path for weight in layer.trainable_weights)
    before = [numpy(weight) for weight in layer.trainable_weights]
    loss = model.fit(x, np.zeros((2, 20, 7)), verbose=0).history["loss"]
    np.testing.assert_allclose(loss, np.mean(y**2), rtol=1e-5)
    after = [numpy(weight) for weight in layer.trainable_weights]
    assert all(np.all(np.isfinite(values)) for values in after)
    assert any(np.any(a != b) for a, b in zip(after, before, strict=True))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    connections = loaded.layers[-1].network().all_connections
    rules = [c.learning_rule_type for c in connections if c.learning_rule_type]
    assert rules == [net.conn.learning_rule_type]
    for one, other in zip(loaded.weights, model.weights, strict=True):
        np.testing.assert_array_equal(numpy(one), numpy(other))


def test_an_ensemble_learns_its_recurrence(float64):
    options = {
        "recurrent": True,
        "recurrent_solver": nengo.solvers.LstsqL2(weights=True),
        "return_sequences": True,
        "output": "neurons",
        "seed": 0,
    }
    x = np.ones((1, 30, 1))
    rules = (None, STDP(1e-1))
    spikes = [
        numpy(ksn.layers.Ensemble(8, 1, learning_rule=rule, **options)(x))
        for rule in rules
    ]
    assert not np.array_equal(*spikes)
    with pytest.raises(ValueError, match="taught by a reward"):
        ksn.layers.Ensemble(8, 1, learning_rule=RewardModulatedSTDP(), **options)


# --- what is not possible -------------------------------------------------------------

LIF, RATES = nengo.LIF(), nengo.LIFRate()
REFUSED = {
    "rates before": (RATES, LIF, np.ones((3, 3)), "'pre' must be neurons that spike"),
    "rates after": (LIF, RATES, np.ones((3, 3)), "'post' must be neurons that spike"),
    "one number": (LIF, LIF, 0.5, r"full matrix \(3, 3\).*got weights of \(\)"),
    "no weights": (LIF, LIF, None, "does not have weights"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_connections_that_it_is_not_for(case):
    *kinds, transform, message = REFUSED[case]
    with nengo.Network() as net:
        ends = [nengo.Ensemble(3, 1, neuron_type=kind).neurons for kind in kinds]
        if transform is None:
            with pytest.raises(ValidationError, match=message):
                nengo.Connection(*ends, transform=None, learning_rule_type=STDP())
            return
        nengo.Connection(*ends, transform=transform, learning_rule_type=STDP())
    for simulator in (nengo.Simulator, ksn.Simulator):
        with pytest.raises(ValidationError, match=message):
            simulator(net, progress_bar=False)


def test_ends_that_it_is_not_for():
    with nengo.Network():
        ens, node = nengo.Ensemble(3, 1), nengo.Node(size_in=3)
        for post in (ens, node):
            with pytest.raises(ValidationError, match="connections to neurons"):
                nengo.Connection(ens, post[:1], learning_rule_type=STDP())


def test_bounds_that_are_none():
    with pytest.raises(ValidationError, match=r"STDP\.max_weight: Must be above"):
        STDP(min_weight=1, max_weight=1)
    with pytest.raises(ValidationError, match=r"bounds: 'soft' bounds need both"):
        TripletSTDP(max_weight=1, bounds="soft")
    with pytest.raises(ValidationError, match=r"\['all', 'nearest'\]"):
        RewardModulatedSTDP(interactions="some")


def test_its_cost_is_not_counted():
    layer = ksn.layers.Network(plastic("pair"), outputs="spikes")
    model = keras.Sequential([keras.Input((None, 1)), layer])
    with pytest.raises(NotImplementedError, match=r"learns online \(SimSTDP\)"):
        ksn.analysis.energy(model, frames(1, 3, 1))
