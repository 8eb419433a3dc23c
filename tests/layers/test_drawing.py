"""Layers that draw: anew in training, and the same numbers without."""

import keras
import nengo
import numpy as np
import pytest

import keras_spiking_nengo as ksn
from tests.arrays import numpy
from tests.marks import TAKES_TURNS, slow_on_jax

pytestmark = TAKES_TURNS

L = ksn.layers
POISSON = nengo.PoissonSpiking(nengo.RectifiedLinear())
STOCHASTIC = nengo.StochasticSpiking(nengo.RectifiedLinear())


def noisy_network(process):
    with nengo.Network(seed=0) as net:
        stimulus = nengo.Node([0.0], label="stimulus")
        noise = nengo.Node(process, label="noise")
        summed = nengo.Node(size_in=1)
        nengo.Connection(stimulus, summed, synapse=None)
        nengo.Connection(noise, summed, synapse=None)
        probe = nengo.Probe(summed)
    return {"net": net, "inputs": stimulus, "outputs": probe, "seed": 1}


class Jitter(nengo.Process):
    """Noise around a signal: a process with an input, which Python runs."""

    def __init__(self):
        super().__init__(default_size_in=1, default_size_out=1)

    def make_step(self, shape_in, shape_out, dt, rng, state):
        return lambda t, x: x + rng.normal(size=shape_out)


def jittered():
    with nengo.Network(seed=0) as net:
        stimulus = nengo.Node([0.0])
        node = nengo.Node(Jitter(), size_in=1)
        nengo.Connection(stimulus, node, synapse=None)
        probe = nengo.Probe(node)
    return {"net": net, "inputs": stimulus, "outputs": probe, "seed": 1}


RANDOM = {
    "poisson encoder": lambda **flags: L.PoissonEncoder(300, seed=0, **flags),
    "bernoulli encoder": lambda **flags: L.BernoulliEncoder(seed=0, **flags),
    "poisson neurons": lambda **flags: L.Neurons(POISSON, 0.5, seed=0, **flags),
    "stochastic neurons": lambda **flags: L.Neurons(STOCHASTIC, 0.5, seed=0, **flags),
    "ensemble": lambda **flags: L.Ensemble(9, 1, POISSON, seed=0, **flags),
    "recurrent ensemble": lambda **flags: L.Ensemble(
        9, 1, STOCHASTIC, recurrent=True, seed=0, **flags
    ),
    "memory": lambda **flags: L.LMU(
        1,
        4,
        5.0,
        [keras.layers.Dense(3, "relu"), L.NeuronsCell(POISSON, 0.5, seed=2)],
        kernel_initializer="ones",
        **flags,
    ),
    "white noise": lambda **flags: L.Network(
        **noisy_network(nengo.processes.WhiteNoise()), **flags
    ),
    "a process with an input": lambda **flags: L.Network(**jittered(), **flags),
}
PYTHON = ("white noise", "a process with an input")
X = np.random.RandomState(0).uniform(0.2, 1, (3, 20, 1)).astype("float32")


@slow_on_jax
@pytest.mark.parametrize("name", RANDOM)
def test_draws_anew_in_training_and_repeats_without(name):
    layer = RANDOM[name](return_sequences=True)
    plain = numpy(layer(X))
    drawn = [numpy(layer(X, training=True)) for _ in range(3)]
    for i, y in enumerate([plain, *drawn]):
        assert not any(np.array_equal(y, other) for other in drawn[i:])
    if name not in PYTHON:  # processes are one for all items
        assert not np.array_equal(
            *numpy(layer(np.full_like(X[:2], 0.5), training=True))
        )
    np.testing.assert_array_equal(numpy(layer(X)), plain)
    again = RANDOM[name](return_sequences=True)
    again.build(X.shape)
    again.set_weights(layer.get_weights())
    np.testing.assert_array_equal(numpy(again(X)), plain)
    # What is drawn in training follows the seed as well.
    np.testing.assert_array_equal(numpy(again(X, training=True)), drawn[0])


@pytest.mark.parametrize(
    ("name", "jit_compile"), [("poisson encoder", True), ("white noise", False)]
)
def test_every_epoch_of_fit_has_draws_of_its_own(name, jit_compile):
    layer = RANDOM[name]()
    model = keras.Sequential([keras.Input(X.shape[1:]), layer])
    before = model.predict(X, verbose=0)
    model.compile(keras.optimizers.SGD(0.0), "mse", jit_compile=jit_compile)
    history = model.fit(X, np.zeros((3, 1)), epochs=3, verbose=0, shuffle=False)
    assert len(set(history.history["loss"])) > 1
    np.testing.assert_array_equal(model.predict(X, verbose=0), before)


def test_the_reverse_pass_draws_what_the_forward_pass_drew():
    """The sum of outputs is decoders times spikes, and their gradient is the spikes."""
    layer = L.Ensemble(9, 1, POISSON, synapse=0.1, trained=["decoders.weights"], seed=0)
    # A mask makes it a loop, whose reverse pass computes the steps again.
    inputs = keras.Input(X.shape[1:])
    model = keras.Model(inputs, layer(keras.layers.Masking()(inputs)))
    model.compile(keras.optimizers.SGD(1.0), lambda y, decoded: decoded)
    (decoders,) = layer.trainable_weights
    for _ in range(2):
        before = numpy(decoders)
        loss = model.train_on_batch(X, np.zeros((3, 1)))
        slope = before - numpy(decoders)
        np.testing.assert_allclose(np.sum(before * slope), loss, rtol=1e-5)
        assert np.any(slope)


def test_a_state_that_is_given_again_is_not_drawn_from_again():
    layer = L.PoissonEncoder(300, return_state=True, return_sequences=True, seed=0)
    _, *state = layer(X)
    y = [numpy(layer(X, initial_state=state, training=True)[0]) for _ in range(2)]
    assert not np.array_equal(*y)


def test_a_stateful_layer_begins_as_before_once_reset():
    layer = L.PoissonEncoder(300, return_sequences=True, stateful=True, seed=0)
    first = numpy(layer(X))
    layer(X, training=True)
    assert not np.array_equal(numpy(layer(X)), first)
    layer.reset_state()
    np.testing.assert_array_equal(numpy(layer(X)), first)


def test_a_process_with_a_seed_of_its_own_keeps_to_it():
    process = nengo.processes.WhiteNoise(seed=3)
    layer = L.Network(**noisy_network(process), return_sequences=True)
    np.testing.assert_array_equal(numpy(layer(X, training=True)), numpy(layer(X)))


def test_seeds_are_no_weights_and_other_layers_have_none():
    layer = RANDOM["poisson neurons"]()
    layer.build(X.shape)
    assert [w.name for w in layer.weights] == ["initial_seed", "initial_draws"]
    assert len(layer.non_trainable_variables) == 3
    plain = L.Neurons(seed=0)
    plain.build(X.shape)
    assert len(plain.variables) == len(plain.weights)
