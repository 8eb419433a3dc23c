"""A network as a layer in training: what is trained, and its gradients."""

import keras
import nengo
import numpy as np
import pytest
from keras import ops

import keras_spiking_nengo as ksn
from keras_spiking_nengo.layers import Network
from tests.arrays import frames, numpy
from tests.conftest import BACKEND
from tests.gradients import gradient
from tests.layers.nets import STEPS, built, layer_of, small, spiking
from tests.marks import TAKES_TURNS, slow_on_jax

pytestmark = TAKES_TURNS

# --- what is trained ---------------------------------------------------------------


def names(layer, trainable=True):
    layer = layer if layer.built else built(layer)
    weights = layer.trainable_weights if trainable else layer.weights
    return {w.name for w in weights}


def test_all_but_probes_are_trained_by_default():
    layer = layer_of(small())
    assert names(layer) == {"ens.encoders", "ens.bias", "into.weights", "loop.weights"}
    assert names(layer, trainable=False) - names(layer) == {"p.weights"}


def nested():
    with nengo.Network(seed=3) as net:
        u = nengo.Node([0.0], label="u")
        a = nengo.Ensemble(10, 1, label="a")
        with nengo.Network() as sub:
            b = nengo.Ensemble(10, 1, label="b")
        first = nengo.Connection(u, a, transform=[[1.0]])
        nengo.Connection(a, b)
        probe = nengo.Probe(b, label="p")
    return net, sub, a, b, first, probe


@slow_on_jax
def test_configured_by_class_and_object():
    net, _, a, b, first, probe = nested()
    ksn.configure(net, trainable=False)
    assert names(layer_of(net)) == set()
    ksn.configure(net, a, probe, trainable=True)
    assert names(layer_of(net)) == {"a.encoders", "a.bias", "p.weights"}
    ksn.configure(net, a, trainable=None)
    ksn.configure(net, nengo.Connection, trainable=True)
    assert names(layer_of(net)) == {"u_to_a.weights", "a_to_b.weights", "p.weights"}


def test_subnetworks_are_configured_by_themselves():
    net, sub, *_ = nested()
    ksn.configure(net, trainable=False)
    ksn.configure(sub, nengo.Ensemble, trainable=True)
    assert names(layer_of(net)) == {"b.encoders", "b.bias"}


def test_configuration_is_kept_in_a_file():
    net, sub, a, *_ = nested()
    ksn.configure(net, nengo.Ensemble, trainable=False)
    layer = layer_of(net)
    again = Network.from_config(layer.get_config())
    assert names(again) == names(layer) == {"u_to_a.weights", "a_to_b.weights"}


def test_trained_names_say_which_and_unknown_ones_are_refused():
    assert names(layer_of(small(), trained=["ens.bias"])) == {"ens.bias"}
    with pytest.raises(ValueError, match=r"ens\.bais.*ens\.bias"):
        built(layer_of(small(), trained=["ens.bais"]))


@slow_on_jax
def test_names_are_made_unique():
    with nengo.Network(seed=3) as net:
        u = nengo.Node([0.0])
        for label in ("x", "x", "x_1", "x_2", None, "y/z"):
            nengo.Connection(u, nengo.Ensemble(5, 1, label=label))
        probe = nengo.Probe(net.ensembles[0])
        for ens in net.ensembles[1:]:
            nengo.Connection(ens, net.ensembles[0])
    layer = built(layer_of(net, outputs=probe))
    weights = [w.name for w in layer.weights]
    assert len(weights) == len(set(weights))
    assert not any("/" in name for name in weights)


# --- gradients ---------------------------------------------------------------------


def smooth():
    gain, bias = np.linspace(0.5, 1.5, 10), np.linspace(-1, 1, 10)
    return small(nengo.Sigmoid(tau_ref=1), gain=gain, bias=bias)


def test_gradients_equal_finite_differences(float64):
    net = smooth()
    layer = built(layer_of(net, return_sequences=False))
    x, at = frames(2, 8, 2), frames(2, 2, seed=4)
    y, slope = gradient(layer, x, weights=at)
    assert np.all(np.isfinite(slope))
    assert np.any(slope[:, 0])  # through the loop: the first step is long past
    direction, h = frames(2, 8, 2, seed=5), 1e-6
    plus, minus = (np.sum(at * numpy(layer(x + s * h * direction))) for s in (1, -1))
    np.testing.assert_allclose(
        np.sum(slope * direction), (plus - minus) / (2 * h), rtol=1e-6
    )


def test_gradients_of_weights_equal_finite_differences(float64):
    net = smooth()
    x, at = frames(2, 8, 2), frames(2, 2, seed=4)
    rate = 1e-3
    layer = layer_of(net, return_sequences=False)
    inputs = keras.Input((8, 2))
    model = keras.Model(inputs, layer(inputs))
    model.compile(keras.optimizers.SGD(rate), loss=lambda t, y: ops.sum(t * y, axis=-1))
    before = [numpy(w).copy() for w in layer.trainable_weights]
    model.fit(x, at, batch_size=2, verbose=0)
    slopes = [
        (old - numpy(w)) / rate * 2  # the loss is a mean over two items
        for old, w in zip(before, layer.trainable_weights, strict=True)
    ]
    for i, weight in enumerate(layer.trainable_weights):
        weight.assign(before[i])
    for i, weight in enumerate(layer.trainable_weights):
        direction = frames(*weight.shape, seed=i)
        values = []
        for sign in (1, -1):
            weight.assign(before[i] + sign * 1e-6 * direction)
            values.append(np.sum(at * numpy(layer(x))))
        weight.assign(before[i])
        expected = (values[0] - values[1]) / 2e-6
        assert abs(expected) > 1e-8, weight.path
        actual = np.sum(slopes[i] * direction)
        np.testing.assert_allclose(actual, expected, rtol=1e-5, err_msg=weight.path)


@pytest.mark.parametrize("forward", ["spikes", "spike_aware", "rate"])
@pytest.mark.parametrize("name", ["LIF", "AdaptiveLIF"])
def test_gradients_are_finite_in_every_mode(name, forward):
    net = small(getattr(nengo, name)())
    layer = built(layer_of(net, forward=forward))
    x = frames(2, STEPS, 2).astype("float32")
    y, slope = gradient(lambda x: layer(x, training=True), x)
    assert np.all(np.isfinite(slope))
    assert np.any(slope)


def test_modes_of_training():
    # Without synapses in the way, spikes are seen as such.
    with nengo.Network(seed=3) as net:
        u = nengo.Node([0.0])
        ens = nengo.Ensemble(10, 1, label="ens")
        nengo.Connection(u, ens, synapse=None)
        nengo.Probe(ens.neurons)
    x = frames(1, STEPS, 1)
    with nengo.Simulator(net, progress_bar=False) as sim:
        built = sim.data[net.ensembles[0]]
    for forward in ("spikes", "spike_aware", "rate"):
        layer = layer_of(net, forward=forward)
        training, running = (numpy(layer(x, training=t))[0] for t in (True, False))
        assert set(np.unique(running)) <= {0.0, 1000.0}
        if forward == "spikes":
            np.testing.assert_array_equal(training, running)
        elif forward == "rate":
            current = x[0] @ (built.gain * built.encoders[:, 0])[None] + built.bias
            j = np.maximum(current - 1, 1e-30)
            lif = np.where(current > 1, 1 / (0.002 + 0.02 * np.log1p(1 / j)), 0)
            np.testing.assert_allclose(training, lif, rtol=1e-3, atol=1e-3)
        else:
            assert np.any(training != 0)


def test_compiled_by_xla_in_training():
    net = spiking()
    inputs = {
        "a": keras.Input((STEPS, 1), name="a"),
        "b": keras.Input((STEPS, 2), name="b"),
    }
    layer = layer_of(
        net, inputs={"a": "a", "b": "b"}, outputs={"y": "decoded"}, forward="rate"
    )
    model = keras.Model(inputs, layer(inputs))
    model.compile(keras.optimizers.Adam(1e-4), {"y": "mse"}, jit_compile=True)
    x = {"a": frames(4, STEPS, 1), "b": frames(4, STEPS, 2)}
    y = {"y": np.zeros((4, STEPS, 2))}
    losses = model.fit(x, y, epochs=3, verbose=0).history["loss"]
    assert np.all(np.isfinite(losses))
    assert losses[-1] < losses[0]


@pytest.mark.skipif(BACKEND != "jax", reason="modes are JAX's")
def test_steps_written_out_are_differentiated_forward():
    import jax

    with nengo.Network(seed=0) as net:
        u = nengo.Node([0.0])
        ens = nengo.Ensemble(5, 1, neuron_type=nengo.LIFRate())
        nengo.Connection(u, ens, synapse=None)
        nengo.Connection(ens, ens, synapse=0.1)
        nengo.Probe(ens, synapse=0.01)
    x, v, w = np.random.RandomState(0).normal(size=(3, 1, 4, 1)).astype("float32")
    looped, unrolled = (
        ksn.layers.Network(net, return_sequences=True, unroll=unroll)
        for unroll in (False, True)
    )
    _, slope = jax.jvp(unrolled, (x,), (v,))
    (pulled,) = jax.vjp(looped, x)[1](w)
    assert np.any(slope)
    np.testing.assert_allclose(np.vdot(w, slope), np.vdot(pulled, v), rtol=1e-4)
