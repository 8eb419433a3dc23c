"""Products and convolutions are NumPy's and Nengo's, for any leading axes."""

import itertools

import nengo
import numpy as np
import pytest
from keras import ops
from nengo.builder.signal import Signal, SignalDict
from nengo.builder.transforms import ConvInc, ConvTransposeInc

from keras_spiking_nengo.dynamics import transforms
from tests.cases import CONVOLUTIONS

RNG = np.random.RandomState(0)


def by_nengo(conv, kernel, x):
    """One run of nengo's own operator."""
    transposed = isinstance(conv, nengo.ConvolutionTranspose)
    goal = Signal(np.zeros(conv.size_out), name="goal")
    op = (ConvTransposeInc if transposed else ConvInc)(
        Signal(kernel, name="kernel"), Signal(x, name="x"), goal, conv
    )
    signals = SignalDict()
    op.init_signals(signals)
    op.make_step(signals, 0.001, None)()
    return np.array(signals[goal])


def by_us(conv, kernel, x):
    y = transforms.convolve(
        conv, ops.convert_to_tensor(kernel), ops.convert_to_tensor(x)
    )
    return ops.convert_to_numpy(y)


def assert_as_nengo(conv):
    kernel = RNG.standard_normal(conv.kernel_shape)
    x = RNG.standard_normal((2, 3, conv.size_in))
    actual = by_us(conv, kernel, x)
    assert actual.shape == (2, 3, conv.size_out)
    expected = [by_nengo(conv, kernel, row) for row in x.reshape(6, -1)]
    expected = np.reshape(expected, actual.shape)
    assert np.any(expected)
    np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions_of_the_catalogue_equal_nengos(name, float64):
    assert_as_nengo(CONVOLUTIONS[name])


@pytest.mark.parametrize("kind", [nengo.Convolution, nengo.ConvolutionTranspose])
@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("kernel, stride", itertools.product((1, 2, 3, 5), (1, 2, 3)))
def test_kernels_strides_and_sizes(kind, padding, kernel, stride, float64):
    options = {"kernel_size": (kernel,), "strides": (stride,), "padding": padding}
    convs = [kind(2, (n, 3), **options) for n in (5, 8)]
    for conv in convs:
        assert_as_nengo(conv)


def test_a_kernel_of_numpy_is_the_same_as_a_tensor(float64):
    conv = CONVOLUTIONS["2d"]
    kernel = RNG.standard_normal(conv.kernel_shape)
    x = ops.convert_to_tensor(RNG.standard_normal((1, conv.size_in)))
    ours = [
        transforms.convolve(conv, k, x) for k in (kernel, ops.convert_to_tensor(kernel))
    ]
    np.testing.assert_array_equal(*map(ops.convert_to_numpy, ours))


@pytest.mark.parametrize("lead", [(), (2,), (2, 3)])
def test_a_product_takes_any_leading_axes(lead, float64):
    matrix, x = RNG.standard_normal((4, 5)), RNG.standard_normal((*lead, 5))
    if not lead:
        x = x[None]
    y = transforms.matrix_product(
        ops.convert_to_tensor(matrix), ops.convert_to_tensor(x)
    )
    np.testing.assert_allclose(ops.convert_to_numpy(y), x @ matrix.T, rtol=1e-12)


def test_a_matrix_of_each_item_meets_its_own_vector(float64):
    matrix, x = RNG.standard_normal((2, 3, 4, 5)), RNG.standard_normal((2, 3, 5))
    y = transforms.matrix_product(
        ops.convert_to_tensor(matrix), ops.convert_to_tensor(x)
    )
    expected = np.einsum("btmn,btn->btm", matrix, x)
    np.testing.assert_allclose(ops.convert_to_numpy(y), expected, rtol=1e-12)


@pytest.mark.parametrize("columns", [1, 2, 4, 5, 9])
@pytest.mark.parametrize("rows", [1, 6])
def test_products_of_many_matrices(rows, columns, float64):
    matrices = RNG.standard_normal((7, rows, columns))
    for lead in ((2,), (2, 3)):
        x = RNG.standard_normal((*lead, 7, columns))
        y = transforms.products(
            ops.convert_to_tensor(matrices), ops.convert_to_tensor(x)
        )
        expected = np.einsum("kmn,...kn->...km", matrices, x)
        np.testing.assert_allclose(ops.convert_to_numpy(y), expected, rtol=1e-12)
