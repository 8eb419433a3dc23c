"""Recurrent populations: Nengo is the referee, and a loop of NumPy's."""

import keras
import nengo
import numpy as np
import pytest
from keras import ops

import keras_spiking_nengo as ksn
from tests.arrays import numpy
from tests.catalogue.dynamics import NEURONS
from tests.conftest import BACKEND
from tests.gradients import gradient
from tests.marks import TAKES_TURNS, quick, slow_on_jax

KINDS = ("LIF", "AdaptiveLIF", "Izhikevich", "RectifiedLinear")

pytestmark = [*TAKES_TURNS, pytest.mark.usefixtures("float64")]

N, TIME = 6, 60
SYNAPSES = {
    "none": None,
    "lowpass": nengo.Lowpass(0.005),
    "alpha": nengo.Alpha(0.003),
    "triangle": nengo.Triangle(0.004),
    "filter": nengo.LinearFilter([1.0], [0.003, 1.0], method="euler"),
}


def currents(batch=2, time=TIME, features=(N,), seed=0):
    rng = np.random.RandomState(seed)
    return rng.uniform(0, 6, size=(batch, time, *features))


def recurrent(kind="lif", scale=4.0, **arguments):
    options = {"return_sequences": True, "seed": 0, **arguments}
    layer = ksn.layers.RecurrentNeurons(kind, **options)
    layer.build((None, None, N))
    kernel = np.random.RandomState(1).normal(size=(N, N), scale=scale)
    layer.cell.recurrent_kernel.assign(kernel)
    return layer


def simulated(layer, x):
    """What Nengo's own simulator makes of one item."""
    cell = layer.cell
    kernel = numpy(cell.kernel()).T * numpy(cell.spikes_per_output())
    state = cell.initial_values()
    with nengo.Network() as net:
        stimulus = nengo.Node(nengo.processes.PresentInput(x, cell.dt))
        kind = cell.neuron_type
        known = {k: v for k, v in state.items() if k in kind.state and k != "rates"}
        kind = ksn.serialization.altered(kind, initial_state=known)
        ens = nengo.Ensemble(N, 1, neuron_type=kind, gain=np.ones(N), bias=np.zeros(N))
        nengo.Connection(stimulus, ens.neurons, synapse=None)
        synapse = cell.recurrent_synapse or nengo.Lowpass(0)
        nengo.Connection(ens.neurons, ens.neurons, transform=kernel, synapse=synapse)
        probe = nengo.Probe(ens.neurons)
    with nengo.Simulator(net, dt=cell.dt, progress_bar=False) as sim:
        sim.run_steps(len(x))
    return sim.data[probe]


@pytest.mark.parametrize("synapse", quick(SYNAPSES, {"none", "alpha"}))
@pytest.mark.parametrize(
    "kind",
    quick(
        ["LIF", "AdaptiveLIF", "Izhikevich", "RectifiedLinear"], {"LIF", "Izhikevich"}
    ),
)
def test_nengo_fires_as_it_does(kind, synapse):
    neuron_type = NEURONS[kind]
    x = currents() * (10 if kind == "Izhikevich" else 1)
    scale = 0.1 if kind == "RectifiedLinear" else 4.0
    layer = recurrent(neuron_type, scale=scale, recurrent_synapse=SYNAPSES[synapse])
    y = numpy(layer(x))
    assert np.any(y)
    for item, found in zip(x, y, strict=True):
        np.testing.assert_allclose(found, simulated(layer, item), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("tau", [None, 0.01])
@pytest.mark.parametrize(("dt", "amplitude"), [(0.001, 1.0), (0.002, 0.01)])
def test_the_kernel_acts_on_spikes_whatever_their_height(dt, amplitude, tau):
    x = currents()
    kind = ksn.types.IntegrateAndFire(tau_mem=0.02, amplitude=amplitude)
    layer = recurrent(kind, dt=dt, recurrent_synapse=tau)
    kernel = numpy(layer.cell.recurrent_kernel)
    trace = np.zeros((2, N))
    y = numpy(layer(x)) * dt / amplitude
    plain = ksn.layers.Neurons(kind, dt=dt, return_sequences=True)
    a = 0.0 if tau is None else np.exp(-dt / tau)
    fed = np.zeros_like(x)
    for t in range(TIME):
        fed[:, t] = x[:, t] + trace @ kernel
        trace = a * trace + (1 - a) * y[:, t]
    again = numpy(plain(fed)) * dt / amplitude
    np.testing.assert_array_equal(np.rint(again), np.rint(y))
    assert 0.02 < y.mean() < 0.98


def loss_by_hand(layer, x, training):
    """The same network, step by step, differentiated by the backend alone."""
    cell, state, outputs = layer.cell, layer.cell.initial_state(x.shape[0]), []
    for t in range(x.shape[1]):
        y, state = cell(x[:, t], state, training=training)
        outputs.append(y)
    return ops.stack(outputs, axis=1)


@pytest.mark.skipif(BACKEND == "torch", reason="gradients are torch's own there")
@pytest.mark.parametrize("forward", ["spikes", "spike_aware", "rate"])
@pytest.mark.parametrize("synapse", quick(["none", "alpha"], {"alpha"}))
@pytest.mark.parametrize("through", quick([True, False], {True}))
def test_gradients_are_those_of_its_steps(forward, synapse, through):
    x = ops.convert_to_tensor(currents(time=12))
    layer = recurrent(
        forward=forward,
        recurrent_synapse=SYNAPSES[synapse],
        use_recurrent_gradient=through,
        trainable_parameters={"tau_rc": "unit"},
        scale=1.0,
    )
    weights = np.random.RandomState(2).normal(size=(2, 12, N))

    def whole(x):
        return ops.sum(layer(x, training=True) * weights)

    def stepped(x):
        return ops.sum(loss_by_hand(layer, x, True) * weights)

    pairs = zip(slopes(whole, layer, x), slopes(stepped, layer, x), strict=True)
    for found, expected in pairs:
        assert np.any(expected)
        np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-8)


def slopes(loss, layer, x):
    """Gradients of all trained weights and of the input."""
    if BACKEND == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(x)
            value = loss(x)
        weights = [w.value for w in layer.trainable_weights]
        return numpy(tape.gradient(value, [*weights, x]))
    import jax

    def of(values, x):
        pairs = zip(layer.trainable_weights, values, strict=True)
        with keras.StatelessScope(state_mapping=list(pairs)):
            return loss(x)

    values = [w.value for w in layer.trainable_weights]
    by_weights, by_input = jax.grad(of, (0, 1))(values, x)
    return numpy([*by_weights, by_input])


def test_neurons_may_be_left_unconnected_to_themselves():
    layer = recurrent(self_connections=False)
    kernel = layer.cell.recurrent_kernel
    expected = numpy(layer(currents()))
    kernel.assign(numpy(kernel) * (1 - np.eye(N)))
    np.testing.assert_array_equal(numpy(layer(currents())), expected)
    np.testing.assert_array_equal(np.diag(numpy(layer.cell.kernel())), 0)


def test_without_a_kernel_it_is_a_population():
    layer = recurrent(recurrent_initializer="zeros", scale=0.0)
    plain = ksn.layers.Neurons("lif", seed=0, return_sequences=True)
    np.testing.assert_array_equal(numpy(layer(currents())), numpy(plain(currents())))


def test_it_starts_at_sensible_rates():
    for dt, amplitude in (0.001, 1.0), (0.001, 0.01), (0.004, 1.0):
        layer = ksn.layers.RecurrentNeurons(
            nengo.LIF(amplitude=amplitude), dt=dt, return_sequences=True, seed=0
        )
        rates = numpy(layer(currents(features=(64,)))) / amplitude
        assert 20 < rates.mean() < 200


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"recurrent_synapse": "a"}, "recurrent_synapse is a Nengo synapse"),
        ({"recurrent_initializer": "nothing"}, "recurrent_initializer"),
        ({"self_connections": 3}, "self_connections"),
        ({"use_recurrent_gradient": "yes"}, "use_recurrent_gradient"),
    ],
)
def test_what_is_wrong_is_said(wrong, message):
    with pytest.raises((ValueError, TypeError), match=message):
        ksn.layers.RecurrentNeurons("lif", **wrong)


def test_a_synapse_of_another_order_needs_another_layer():
    layer = recurrent(recurrent_synapse=nengo.Triangle(0.004))
    with pytest.raises(ValueError, match="dt of its layer cannot be changed"):
        layer.cell.dt = 0.002


# --- delays -----------------------------------------------------------------------


DELAYS = np.array([0.001, 0.003, 0.002, 0.005, 0.003, 0.001])


def looped(layer, x):
    """Neurons of rates, connected to themselves by filters of the last steps."""
    cell = layer.cell
    kernel = numpy(cell.kernel()) * numpy(cell.spikes_per_output())
    taps = np.asarray(numpy(cell.recurrent_delay.taps(cell.features, cell.delays)))
    past, y = np.zeros((len(taps), len(x), N)), []
    for t in range(x.shape[1]):
        fed = np.einsum("kj,kbj->bj", taps, past) @ kernel
        y.append(np.maximum(x[:, t] + fed, 0.0))
        past = np.concatenate([past[1:], y[-1][None]])
    return np.stack(y, axis=1)


@pytest.mark.parametrize("trained", [False, True])
def test_delays_are_those_of_a_loop_in_numpy(trained):
    layer = recurrent(
        *(nengo.RectifiedLinear(), 0.1),
        recurrent_delay=DELAYS,
        max_recurrent_delay=0.006 if trained else None,
    )
    np.testing.assert_allclose(layer.delays(), DELAYS)
    x = currents()
    np.testing.assert_allclose(numpy(layer(x)), looped(layer, x), rtol=1e-9)
    layer.round_delays()
    fixed = recurrent(nengo.RectifiedLinear(), 0.1, recurrent_delay=DELAYS)
    np.testing.assert_allclose(numpy(layer(x)), numpy(fixed(x)), rtol=1e-9)


@pytest.mark.parametrize("delay", [0.001, 0.004, DELAYS])
def test_nengo_fires_as_it_does_with_delays(delay):
    layer = recurrent("lif", recurrent_delay=delay)
    model = keras.Sequential([keras.Input((None, N)), layer])
    x = currents()
    y = numpy(layer(x))
    assert np.any(y)
    np.testing.assert_array_equal(ksn.to_nengo(model).run(x), y)


@slow_on_jax
@pytest.mark.parametrize("synapse", [None, 0.004])
def test_gradients_through_delays_are_those_of_steps_written_out(synapse):
    slopes = []
    for unroll in (False, True):
        layer = recurrent(
            "lif",
            recurrent_synapse=synapse,
            recurrent_delay=DELAYS,
            max_recurrent_delay=0.006,
        )
        layer.unroll = unroll
        values = [numpy(w) for w in layer.trainable_variables]
        fixed = [ops.convert_to_tensor(w) for w in layer.non_trainable_variables]

        def run(*values, layer=layer, fixed=fixed):
            x = ops.convert_to_tensor(currents(time=20))
            return layer.stateless_call(values, fixed, x, training=True)[0]

        slopes.append(gradient(run, *values)[1])
    assert len(slopes[0]) == 2
    for ours, theirs in zip(*slopes, strict=True):
        assert np.any(ours)
        np.testing.assert_allclose(ours, theirs, rtol=1e-8, atol=1e-8)


def test_a_delay_and_a_synapse_are_refused_for_nengo():
    layer = recurrent(recurrent_synapse=0.004, recurrent_delay=0.002)
    model = keras.Sequential([keras.Input((None, N)), layer])
    with pytest.raises(NotImplementedError, match="Leave one out"):
        ksn.to_nengo(model)


@pytest.mark.parametrize("delay", [0.0, 0.0005, -0.001, np.nan, "long"])
def test_refuses_what_is_no_recurrent_delay(delay):
    with pytest.raises(ValueError, match=r"recurrent_delay is .* received"):
        recurrent(recurrent_delay=delay)


def test_refuses_delays_that_are_longer_than_the_longest():
    with pytest.raises(ValueError, match="max_recurrent_delay is at least two steps"):
        recurrent(recurrent_delay=0.004, max_recurrent_delay=0.003)
