"""Distributions and initializers are each other's."""

import keras
import nengo
import numpy as np
import pytest
from keras import ops

import keras_spiking_nengo as ksn

SPHERE = nengo.dists.UniformHypersphere(surface=True)


@pytest.mark.parametrize("shape", [(5, 7), (3, 3, 2, 7), (7,)])
def test_samples_are_nengos(shape):
    kernel = ksn.initializers.Distribution(nengo.dists.Gaussian(1, 2), seed=3)(shape)
    *inputs, units = shape
    rng = np.random.RandomState(3)
    given = (units, int(np.prod(inputs))) if inputs else (units,)
    expected = nengo.dists.Gaussian(1, 2).sample(*given, rng=rng).T.reshape(shape)
    np.testing.assert_allclose(ops.convert_to_numpy(kernel), expected, rtol=1e-6)


def test_units_have_encoders_of_length_1():
    layer = keras.layers.Dense(
        20, kernel_initializer=ksn.initializers.Distribution(SPHERE)
    )
    layer.build((None, 3))
    lengths = np.linalg.norm(ops.convert_to_numpy(layer.kernel), axis=0)
    np.testing.assert_allclose(lengths, 1, rtol=1e-6)


def test_keras_seed_decides_without_one():
    initializer = ksn.initializers.Distribution(SPHERE)
    drawn = []
    for _ in range(2):
        keras.utils.set_random_seed(5)
        drawn.append(ops.convert_to_numpy(initializer((4, 3))))
    np.testing.assert_array_equal(*drawn)
    assert not np.array_equal(drawn[0], ops.convert_to_numpy(initializer((4, 3))))


def test_saved_with_the_layer(tmp_path):
    initializer = ksn.initializers.Distribution(nengo.dists.Uniform(0.5, 0.75), seed=1)
    model = keras.Sequential(
        [keras.Input((2,)), keras.layers.Dense(3, kernel_initializer=initializer)]
    )
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    again = loaded.layers[0].kernel_initializer
    assert again.dist == initializer.dist and again.seed == 1


def test_refuses_what_is_no_distribution():
    with pytest.raises(TypeError, match=r"nengo\.dists\.Distribution"):
        ksn.initializers.Distribution(0.5)


def test_he_scales_with_the_inputs_of_a_dense_transform():
    dist = ksn.initializers.KerasDistribution("he_normal")
    weights = nengo.Dense((300, 50), init=dist).sample(rng=np.random.RandomState(0))
    assert weights.shape == (300, 50)
    assert np.std(weights) == pytest.approx(np.sqrt(2 / 50), rel=0.05)


def test_a_network_seed_decides_a_keras_distribution():
    built = []
    for seed in (1, 1, 2):
        with nengo.Network(seed=seed) as net:
            a, b = nengo.Node([1, 2]), nengo.Node(size_in=3)
            init = ksn.initializers.KerasDistribution(keras.initializers.HeUniform(0))
            connection = nengo.Connection(a, b, transform=nengo.Dense((3, 2), init))
        with nengo.Simulator(net, progress_bar=False) as sim:
            built.append(sim.data[connection].weights)
    np.testing.assert_array_equal(built[0], built[1])
    assert not np.array_equal(built[0], built[2])


def test_biases_can_be_a_keras_distribution():
    with nengo.Network(seed=0) as net:
        dist = ksn.initializers.KerasDistribution("ones")
        ens = nengo.Ensemble(4, 1, gain=dist, bias=dist)
    with nengo.Simulator(net, progress_bar=False) as sim:
        assert sim.data[ens].bias.tolist() == [1, 1, 1, 1]
