"""Python within a network that is a layer: it begins with each sequence, as nengo's."""

import keras
import nengo
import numpy as np
import pytest
from keras import ops

import keras_spiking_nengo as ksn
from keras_spiking_nengo.layers import NetworkCell
from tests.arrays import frames, numpy
from tests.layers.nets import STEPS, assert_equal, layer_of
from tests.marks import TAKES_TURNS, slow_on_jax
from tests.simulated import by_nengo

pytestmark = TAKES_TURNS


class Count(nengo.Process):
    """The sum of what it was given, which is nowhere but in its step."""

    def make_step(self, shape_in, shape_out, dt, rng, state):
        total = np.zeros(shape_out)

        def step(t, x):
            total[...] += x
            return total

        return step


class Draw(nengo.Process):
    """Its input and a random number."""

    def make_step(self, shape_in, shape_out, dt, rng, state):
        return lambda t, x: x + rng.uniform(size=shape_out)


class OwnLIF(nengo.LIF):
    def step(self, dt, J, output, voltage, refractory_time):
        super().step(dt, J, output, voltage, refractory_time)


def counting(loop=False, process=Count):
    """A process with a memory, which an ensemble drives that it may drive itself."""
    with nengo.Network(seed=3) as net:
        u = nengo.Node(np.zeros(1), label="u")
        ens = nengo.Ensemble(10, 1, label="ens", neuron_type=nengo.LIFRate())
        count = nengo.Node(process(default_size_in=1, default_size_out=1), label="n")
        nengo.Connection(u, ens, synapse=None)
        nengo.Connection(ens, count, synapse=0.005)
        if loop:
            nengo.Connection(count, ens, synapse=0, transform=0.1)
        # Gradients pass by the process, not through it.
        out = nengo.Node(size_in=1, label="out")
        nengo.Connection(count, out, synapse=None)
        nengo.Connection(ens, out, synapse=None, label="past")
        nengo.Probe(out)
    return net


def firing():
    with nengo.Network(seed=3) as net:
        u = nengo.Node(np.zeros(1), label="u")
        ens = nengo.Ensemble(10, 1, label="ens", neuron_type=OwnLIF())
        nengo.Connection(u, ens, synapse=None)
        nengo.Connection(ens, ens, synapse=0.02)
        nengo.Probe(ens, synapse=0.01)
    return net


NETWORKS = {
    "process": counting,
    "process in a loop": lambda: counting(loop=True),
    "own neuron type": firing,
}


def expected_of(net, x):
    (probe,) = net.all_probes
    return np.stack([by_nengo(net, {net.nodes[0]: item})[probe] for item in x])


def model_of(layer, batch, steps=STEPS):
    inputs = keras.Input(batch_shape=(batch, steps, 1))
    model = keras.Model(inputs, layer(inputs))
    model.compile(keras.optimizers.SGD(0.0), "mse")
    return model


@pytest.mark.parametrize("name", NETWORKS)
def test_each_call_begins_anew(name, float64):
    net, x = NETWORKS[name](), frames(2, STEPS, 1)
    expected, layer = expected_of(net, x), layer_of(net)
    assert np.any(expected)
    for _ in range(2):
        assert_equal(numpy(layer(x)), expected)
    # One item more, and a shorter sequence in between.
    layer(frames(3, 5, 1))
    assert_equal(numpy(layer(x)), expected)


@slow_on_jax
@pytest.mark.parametrize("name", NETWORKS)
def test_each_batch_begins_anew_in_predict_and_fit(name, float64):
    net, x = NETWORKS[name](), frames(1, STEPS, 1)
    expected, layer = expected_of(net, x), layer_of(net)
    model, four = model_of(layer, None), np.tile(x, (4, 1, 1))
    y = model.predict(four, batch_size=2, verbose=0)
    assert_equal(y, np.tile(expected, (4, 1, 1)))
    loss = np.mean(expected**2)
    history = model.fit(four, 0 * four, batch_size=1, epochs=2, verbose=0)
    # Keras keeps losses in single precision on some backends.
    np.testing.assert_allclose(history.history["loss"], [loss, loss], rtol=1e-6)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_stateful_layer_goes_on(name, float64):
    net, x = NETWORKS[name](), frames(2, STEPS, 1)
    expected = expected_of(net, x)
    layer = layer_of(net, stateful=True)
    model, halves = model_of(layer, 2, STEPS // 2), np.split(x, 2, axis=1)
    both = [model.predict(half, batch_size=2, verbose=0) for half in halves]
    assert_equal(np.concatenate(both, axis=1), expected)
    layer.reset_state()
    both = [numpy(layer(half)) for half in halves]
    assert_equal(np.concatenate(both, axis=1), expected)
    layer.reset_state()
    # The reverse pass asks for steps again, and Python does not do them again.
    model.fit(halves[0], 0 * halves[0], batch_size=2, epochs=1, verbose=0)
    second = model.predict(halves[1], batch_size=2, verbose=0)
    assert_equal(second, expected[:, STEPS // 2 :])


@slow_on_jax
def test_gradients_use_what_python_said_in_each_step(float64):
    # Slopes of the rates depend on the count, which no reverse pass can redo.
    def gradients(unroll):
        layer = layer_of(counting(loop=True), unroll=unroll)
        model = model_of(layer, 1)
        former = [numpy(w) for w in model.trainable_weights]
        model.compile(keras.optimizers.SGD(1.0), "mse")
        model.fit(frames(1, STEPS, 1), np.ones((1, STEPS, 1)), verbose=0)
        return [
            before - numpy(after)
            for before, after in zip(former, model.trainable_weights, strict=True)
        ]

    for ours, theirs in zip(gradients(False), gradients(True), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-9)


def test_answers_are_not_kept_once_a_sequence_is_over():
    layer = layer_of(counting(loop=True), stateful=True)
    x = frames(1, 5, 1)
    for _ in range(4):
        layer(x, training=True)
    ((_, operator),) = layer.cell.engine.python_operators
    assert len(operator.answers) <= 5


def test_random_numbers_begin_anew():
    layer = layer_of(counting(process=Draw))
    first, second = (numpy(layer(frames(2, STEPS, 1))) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert np.any(np.diff(first[0], axis=0) != 0)


@pytest.mark.parametrize("loop", [False, True])
def test_a_masked_step_is_none_to_python(loop, float64):
    layer, x = layer_of(counting(loop)), frames(2, STEPS, 1)
    mask = np.ones((2, STEPS), bool)
    mask[1, [0, 1, 6, 7, 8, STEPS - 1]] = False
    y = numpy(layer(x, mask=ops.convert_to_tensor(mask)))
    assert_equal(y[0], numpy(layer(x))[0])
    assert_equal(y[1][mask[1]], numpy(layer(x[1:, mask[1]]))[0])


def test_models_of_networks_begin_anew(float64):
    net, x = counting(), frames(2, STEPS, 1)
    expected = expected_of(net, x)
    model = ksn.from_nengo(net, net.nodes[:1], net.probes)
    for _ in range(2):
        y = model.predict(x, verbose=0)
        assert_equal(np.reshape(y, expected.shape), expected)


@pytest.mark.parametrize("name", NETWORKS)
def test_nothing_is_written_in_a_call(name):
    layer = layer_of(NETWORKS[name]())
    x = frames(1, 5, 1)
    layer(x)
    before = [dict(vars(layer)), dict(vars(layer.cell))]
    layer(x, training=True)
    layer(frames(2, 7, 1))
    for now, then in zip((vars(layer), vars(layer.cell)), before, strict=True):
        assert now.keys() == then.keys()
        assert all(now[key] is then[key] for key in now)


# --- sources over many calls -------------------------------------------------------


class Walk(nengo.Process):
    """A random walk, which has to be done in order."""

    def make_step(self, shape_in, shape_out, dt, rng, state):
        position = np.zeros(shape_out)

        def step(t):
            position[...] += rng.normal(size=shape_out)
            return position

        return step


def walking():
    with nengo.Network(seed=3) as net:
        nengo.Node(np.zeros(1), label="u")
        nengo.Probe(nengo.Node(Walk(seed=5, default_size_out=2), label="walk"))
    return net


def test_a_stateful_source_holds_its_present_step_only(float64):
    net, n_calls, length = walking(), 200, 3
    (expected,) = by_nengo(net, steps=n_calls * length).values()
    layer = layer_of(net, inputs="u", stateful=True)
    (timed,) = layer.cell.engine.timed_inputs
    for begin in range(2):
        found, sizes = [], set()
        for _ in range(n_calls):
            found.append(numpy(layer(np.zeros((2, length, 1)))))
            sizes.add(timed._held.size)
        assert sizes == {2}, begin
        both = np.concatenate(found, axis=1)
        np.testing.assert_array_equal(both[0], expected)
        np.testing.assert_array_equal(both[1], expected)
        layer.reset_state()


@pytest.mark.parametrize("stateful", [False, True])
def test_masked_items_take_a_sources_values_in_their_own_time(stateful, float64):
    net = walking()
    (expected,) = by_nengo(net).values()
    layer = layer_of(net, inputs="u", stateful=stateful)
    mask = np.ones((2, STEPS), bool)
    mask[1, [0, 3, 4, 9]] = False
    y = numpy(layer(np.zeros((2, STEPS, 1)), mask=ops.convert_to_tensor(mask)))
    np.testing.assert_array_equal(y[0], expected)
    np.testing.assert_array_equal(y[1][mask[1]], expected[: mask[1].sum()])
    if stateful:
        (timed,) = layer.cell.engine.timed_inputs
        # Those between the item that is behind and the one ahead, both included.
        assert len(timed._held) == 5


def test_a_cell_goes_on_with_a_source_step_by_step(float64):
    net = walking()
    (expected,) = by_nengo(net).values()
    rnn = keras.layers.RNN(NetworkCell(net, inputs="u"), return_sequences=True)
    for _ in range(2):
        np.testing.assert_array_equal(numpy(rnn(np.zeros((1, STEPS, 1))))[0], expected)


# --- masks of several inputs ---------------------------------------------------------


def added():
    with nengo.Network() as net:
        u, v = (nengo.Node(np.zeros(1), label=label) for label in "uv")
        out = nengo.Node(size_in=1)
        nengo.Connection(u, out, synapse=0.1)
        nengo.Connection(v, out, synapse=0.1)
        nengo.Probe(out)
    return net


def masks():
    one = np.ones((2, STEPS), bool)
    one[1, 4:7] = False
    other = one.copy()
    other[0, 2] = False
    return ops.convert_to_tensor(one), ops.convert_to_tensor(other)


@pytest.mark.parametrize("structure", ["list", "dict"])
def test_masks_that_differ_are_refused(structure):
    (one, other), x = masks(), frames(2, STEPS, 1)
    named = structure == "dict"

    def given(u, v):
        return {"u": u, "v": v} if named else [u, v]

    layer = layer_of(added(), inputs=given("u", "v"))
    expected = numpy(layer(given(x, x), mask=one))
    alike = ops.convert_to_tensor(numpy(one))
    for same in ((one, one), (one, None), (None, one), (one, alike)):
        np.testing.assert_array_equal(
            numpy(layer(given(x, x), mask=given(*same))), expected
        )
        assert layer.compute_mask(given(x, x), given(*same)) is not None
    assert layer.compute_mask(given(x, x), given(None, None)) is None
    with pytest.raises(ValueError, match="one mask for all.*2 that differ"):
        layer(given(x, x), mask=given(one, other))
    with pytest.raises(ValueError, match="one mask for all"):
        layer.compute_mask(given(x, x), given(one, other))


def test_masks_of_two_layers_are_refused_and_of_one_taken(float64):
    u, v = keras.Input((STEPS, 1)), keras.Input((STEPS, 1))
    layer = layer_of(added(), inputs=["u", "v"])
    with pytest.raises(ValueError, match="mask=.*"):
        layer([keras.layers.Masking()(u), keras.layers.Masking()(v)])
    model = keras.Model([u, v], layer([keras.layers.Masking()(u), v]))
    x = frames(1, STEPS, 1)
    x[0, 5:8] = 0
    taken = np.any(x[0] != 0, axis=1)
    y = model.predict([x, x], verbose=0)
    plain = numpy(layer([x[:, taken], x[:, taken]]))
    assert_equal(y[0][taken], plain[0])
