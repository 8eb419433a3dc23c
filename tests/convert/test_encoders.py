"""Spike encoders in Nengo: random ones in distribution, the others exactly."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_spiking_nengo as ksn
from tests.builders import static, temporal
from tests.marks import some_on_jax

STEPS = 4000
VALUES = np.array([[0.0, 0.1, 0.5, 1.2], [0.3, -1.0, 0.9, 0.2]])


def presented(encoder, **kwargs):
    return static(encoder(seed=0, n_steps=STEPS, **kwargs), shape=(4,))


RANDOM = {
    "Poisson": (
        lambda **kwargs: presented(ksn.layers.PoissonEncoder, max_rate=300, **kwargs),
        300 * np.maximum(VALUES, 0),
    ),
    "Bernoulli": (
        lambda **kwargs: presented(ksn.layers.BernoulliEncoder, **kwargs),
        1000 * np.clip(VALUES, 0, 1),
    ),
}


@pytest.mark.parametrize("name", some_on_jax(RANDOM, ["Poisson"]))
def test_random_spikes_have_the_same_mean_and_variance(name):
    make_model, rates = RANDOM[name]
    model = make_model(return_sequences=True)
    export = ksn.to_nengo(model, seed=1)
    counts = [x * 0.001 for x in (export.run(VALUES), model.predict(VALUES, verbose=0))]
    for count in counts:
        assert count.shape == (2, STEPS, 4)
        np.testing.assert_allclose(count, np.rint(count), atol=1e-5)
        error = np.sqrt(np.maximum(rates, 1) * 0.001 / STEPS)
        assert np.all(np.abs(count.mean(1) - rates * 0.001) <= 5 * error)
    np.testing.assert_allclose(*(count.var(1) for count in counts), atol=0.03)
    # They are other draws, which nothing is compared with.
    assert not np.array_equal(*counts)
    report = export.verify(VALUES)
    assert report.ok and "random" in str(report)


@pytest.mark.parametrize("name", RANDOM)
def test_the_last_step_of_random_spikes(name):
    export = ksn.to_nengo(RANDOM[name][0]())
    assert export.graph.n_steps == STEPS
    assert export.run(VALUES, n_steps=STEPS).shape == (2, 4)


def test_sequences_of_rates():
    encoder = ksn.layers.PoissonEncoder(seed=0, return_sequences=True)
    export = ksn.to_nengo(temporal(encoder, layers.Dense(3), shape=(4,)))
    assert export.run(np.ones((1, 20, 4))).shape == (1, 20, 3)


CODED = {
    "latency": lambda: static(
        ksn.layers.LatencyEncoder(n_steps=12, return_sequences=True),
        layers.Dense(3),
        shape=(4,),
    ),
    "latency, last step": lambda: static(
        ksn.layers.LatencyEncoder(n_steps=5), layers.Dense(2), shape=(4,)
    ),
    "delta": lambda: static(
        ksn.layers.Repeat(5),
        ksn.layers.Synapse(0.005, return_sequences=True),
        ksn.layers.DeltaEncoder(0.2, split=True, return_sequences=True),
        shape=(4,),
    ),
}


@pytest.mark.parametrize("name", CODED)
def test_codes_run_in_a_node(name, float64):
    model = CODED[name]()
    with pytest.raises(NotImplementedError, match=r"strict=False.*Python node"):
        ksn.to_nengo(model)
    with pytest.warns(UserWarning, match="Keras runs it"):
        export = ksn.to_nengo(model, strict=False)
    assert export.verify(VALUES).ok
    assert np.any(export.run(VALUES))


def test_no_encoder_of_a_last_step():
    x = keras.Input((None, 4))
    last = ksn.layers.Synapse(0.005)(x)
    model = keras.Model(x, ksn.layers.PoissonEncoder(n_steps=5)(last))
    with pytest.raises(NotImplementedError, match="the last step of a sequence"):
        ksn.to_nengo(model)
