"""A transform is what Nengo's connection does, with weights that train."""

import keras
import nengo
import numpy as np
import pytest
from keras import ops

import keras_spiking_nengo as ksn
from tests.cases import TRANSFORMS
from tests.marks import quick


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


@pytest.mark.parametrize("name", TRANSFORMS)
def test_equals_nengo(name):
    transform = TRANSFORMS[name]
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
    transform = TRANSFORMS[name]
    layer = ksn.layers.Transform(transform)
    shape = tuple(transform.input_shape.shape)
    x = np.random.RandomState(1).randn(2, 3, *shape).astype("float32")
    y = ops.convert_to_numpy(layer(x))
    flat = ops.convert_to_numpy(layer(x.reshape(2, 3, -1)))
    assert y.shape == layer.compute_output_shape(x.shape)
    assert y.shape == (2, 3, *transform.output_shape.shape)
    np.testing.assert_allclose(y.reshape(flat.shape), flat)


@pytest.mark.parametrize(
    "name", quick(["drawn", "sparse", "channels first", "none"], ["drawn"])
)
def test_saved_and_trained(name, tmp_path):
    transform = TRANSFORMS[name]
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
        ksn.layers.Transform(TRANSFORMS["dense"])(np.ones((2, 5)))
    with pytest.raises(ValueError, match=r"or images \(\.\.\., 8, 7, 2\)"):
        ksn.layers.Transform(TRANSFORMS["convolution"])(np.ones((2, 8, 7, 3)))
    with pytest.raises(ValueError, match="received the shape"):
        ksn.layers.Transform(TRANSFORMS["dense"])(np.ones(6))
