"""A transform is what Nengo's connection does, with weights that train."""

import keras
import nengo
import numpy as np
import pytest
import scipy.sparse
from keras import ops

import keras_spiking_nengo as ksn

RNG = np.random.RandomState(0)
SPARSE = scipy.sparse.random(5, 6, density=0.4, random_state=0)
CASES = {
    "dense": nengo.Dense((4, 6), init=RNG.randn(4, 6)),
    "number": nengo.Dense((6, 6), init=2.5),
    "diagonal": nengo.Dense((6, 6), init=RNG.randn(6)),
    "drawn": nengo.Dense((4, 6), init=nengo.dists.Gaussian(0, 1)),
    "sparse": nengo.Sparse((5, 6), init=SPARSE),
    "sparse, drawn": nengo.Sparse(
        (5, 6), indices=[[0, 1], [4, 5], [2, 2]], init=nengo.dists.Uniform(1, 2)
    ),
    "convolution": nengo.Convolution(3, (8, 7, 2), strides=(2, 1), padding="same"),
    "grouped": nengo.Convolution(4, (6, 6, 2), groups=2),
    "channels first": nengo.Convolution(3, (2, 8, 7), channels_last=False),
    "transposed": nengo.ConvolutionTranspose(2, (4, 4, 3), strides=(2, 2)),
    "none": nengo.transforms.NoTransform(6),
}


def by_nengo(transform, x):
    """What nengo's own operators make of each row."""
    with nengo.Network() as net:
        node = nengo.Node(lambda t: x[round(t * 1000) - 1])
        out = nengo.Node(size_in=transform.size_out)
        nengo.Connection(node, out, transform=transform, synapse=None, seed=4)
        probe = nengo.Probe(out)
    with nengo.Simulator(net, progress_bar=False) as sim:
        sim.run_steps(len(x))
    return sim.data[probe]


@pytest.mark.parametrize("name", CASES)
def test_equals_nengo(name):
    transform = CASES[name]
    layer = ksn.layers.Transform(transform, seed=4)
    x = np.random.RandomState(1).randn(5, transform.size_in)
    y = ops.convert_to_numpy(layer(x.astype("float32")))
    np.testing.assert_allclose(y, by_nengo(transform, x), rtol=1e-4, atol=1e-4)
    assert layer.compute_output_shape(x.shape) == y.shape
    # Over time too, where there is an axis more.
    steps = ops.convert_to_numpy(layer(x[None].astype("float32")))
    np.testing.assert_allclose(steps[0], y, rtol=1e-5, atol=1e-5)
    # What training made of it is a transform of nengo's again.
    np.testing.assert_allclose(by_nengo(layer.trained(), x), y, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["convolution", "channels first", "transposed"])
def test_convolutions_take_images(name):
    transform = CASES[name]
    layer = ksn.layers.Transform(transform)
    shape = tuple(transform.input_shape.shape)
    x = np.random.RandomState(1).randn(2, 3, *shape).astype("float32")
    y = ops.convert_to_numpy(layer(x))
    flat = ops.convert_to_numpy(layer(x.reshape(2, 3, -1)))
    assert y.shape == layer.compute_output_shape(x.shape)
    assert y.shape == (2, 3, *transform.output_shape.shape)
    np.testing.assert_allclose(y.reshape(flat.shape), flat)


@pytest.mark.parametrize("name", ["drawn", "sparse", "channels first", "none"])
def test_saved_and_trained(name, tmp_path):
    transform = CASES[name]
    model = keras.Sequential(
        [keras.Input((None, transform.size_in)), ksn.layers.Transform(transform)]
    )
    x = np.random.RandomState(2).randn(4, 3, transform.size_in).astype("float32")
    if name != "none":
        before = model.get_weights()
        model.compile("sgd", "mse")
        model.fit(x, np.ones_like(model.predict(x, verbose=0)), verbose=0)
        assert not np.array_equal(before[0], model.get_weights()[0])
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(
        loaded.predict(x, verbose=0), model.predict(x, verbose=0)
    )


def test_wrong_arguments_are_refused():
    with pytest.raises(TypeError, match="Dense, Sparse, Convolution"):
        ksn.layers.Transform(np.eye(3))
    with pytest.raises(ValueError, match=r"takes \(\.\.\., 6\); received the shape"):
        ksn.layers.Transform(CASES["dense"])(np.ones((2, 5)))
    with pytest.raises(ValueError, match=r"or images \(\.\.\., 8, 7, 2\)"):
        ksn.layers.Transform(CASES["convolution"])(np.ones((2, 8, 7, 3)))
    with pytest.raises(ValueError, match="received the shape"):
        ksn.layers.Transform(CASES["dense"])(np.ones(6))
