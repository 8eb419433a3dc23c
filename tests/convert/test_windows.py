"""Convolutions and means as Nengo transforms, against Keras."""

import itertools

import keras
import nengo
import numpy as np
import pytest
from scipy import sparse

from keras_spiking_nengo.convert import windows

RNG = np.random.RandomState(0)


def apply(transform, x):
    """`transform` of `x`, flattened, as Nengo computes it."""
    with nengo.Network() as net:
        source, target = nengo.Node(x.ravel()), nengo.Node(size_in=transform.size_out)
        nengo.Connection(source, target, transform=transform, synapse=None)
        probe = nengo.Probe(target)
    with nengo.Simulator(net, progress_bar=False) as sim:
        sim.step()
    return sim.data[probe][0]


SHAPES = [((7,), (3,)), ((8,), (2,)), ((5, 6), (3, 2)), ((6, 4), (1, 4))]
PADDINGS = ["valid", "same"]


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("space, kernel", SHAPES)
def test_convolution(space, kernel, padding, float64):
    for stride, dilation, groups in itertools.product([1, 2, 3], [1, 2], [1, 2]):
        reach = max(dilation * (n - 1) + 1 for n in kernel)
        if (stride > 1 and dilation > 1) or reach > min(space):
            continue
        x = RNG.normal(size=(*space, 4))
        weights = RNG.normal(size=(*kernel, 4 // groups, 6))
        expected = keras.ops.conv(
            x[None], weights, stride, padding, "channels_last", dilation
        )
        one = (1,) * len(space)
        transform = windows.convolution(
            weights,
            x.shape,
            tuple(stride * n for n in one),
            padding,
            tuple(dilation * n for n in one),
            groups,
        )
        expected = keras.ops.convert_to_numpy(expected)
        np.testing.assert_allclose(apply(transform, x), expected.ravel(), atol=1e-12)
        assert isinstance(transform, nengo.Convolution) == (dilation == 1)


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("space, size", SHAPES)
def test_average(space, size, padding, float64):
    for stride in (1, 2, 3):
        x = RNG.normal(size=(*space, 3))
        expected = keras.ops.average_pool(
            x[None], size, stride, padding, "channels_last"
        )
        strides = (stride,) * len(space)
        transform = windows.average(x.shape, size, strides, padding)
        expected = keras.ops.convert_to_numpy(expected)
        np.testing.assert_allclose(apply(transform, x), expected.ravel(), atol=1e-12)


def test_blocks():
    matrix = RNG.normal(size=(2, 3))
    dense, blocks = windows.blocks(matrix, 1), windows.blocks(matrix, 4)
    assert isinstance(dense, nengo.Dense) and isinstance(blocks, nengo.Sparse)
    expected = sparse.block_diag([matrix] * 4).toarray()
    np.testing.assert_array_equal(blocks.init.toarray(), expected)
