"""Products of transforms are what the two do one after the other."""

import nengo
import numpy as np
import pytest
import scipy.sparse

from keras_spiking_nengo.convert.composition import NoProductError, composed, image_of
from tests.convert.test_windows import apply
from tests.marks import TAKES_TURNS

pytestmark = TAKES_TURNS

RNG = np.random.RandomState(0)
MATRIX = RNG.normal(size=(12, 12)) * (RNG.uniform(size=(12, 12)) < 0.4)
PLACES = np.stack([RNG.permutation(12), RNG.permutation(12)], axis=1)


def convolution(channels_last=True, groups=1, **options):
    shape = (3, 2, 2) if channels_last else (2, 3, 2)
    return nengo.Convolution(
        2,
        shape,
        kernel_size=(2, 2),
        channels_last=channels_last,
        groups=groups,
        init=RNG.normal(size=(2, 2, 2 // groups, 2)),
        padding="same",
        **options,
    )


TRANSFORMS = {
    "matrix": nengo.Dense((12, 12), init=MATRIX),
    "number": nengo.Dense((12, 12), init=0.5),
    "diagonal": nengo.Dense((12, 12), init=RNG.normal(size=12)),
    "nothing": nengo.transforms.NoTransform(12),
    "indices": nengo.Sparse((12, 12), indices=PLACES, init=RNG.normal(size=12)),
    "number at indices": nengo.Sparse((12, 12), indices=PLACES, init=2.0),
    "scipy": nengo.Sparse((12, 12), init=scipy.sparse.csr_matrix(MATRIX)),
    "convolution": convolution(),
    "channels first": convolution(channels_last=False),
    "groups": convolution(groups=2),
}
# One number for each channel, on the elements of an image.
LAST, FIRST = np.tile([2.0, -3.0], 6), np.repeat([2.0, -3.0], 6)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_applied(name):
    x = RNG.normal(size=12)
    expected = apply(TRANSFORMS[name], x)
    np.testing.assert_allclose(image_of(TRANSFORMS[name], x), expected, atol=1e-12)


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("name", TRANSFORMS)
def test_product_with_a_diagonal(name, before):
    d = nengo.Dense((12, 12), init=FIRST if "first" in name else LAST)
    one, other = (d, TRANSFORMS[name]) if before else (TRANSFORMS[name], d)
    x = RNG.normal(size=12)
    expected = image_of(other, image_of(one, x))
    found = composed(other, one)
    np.testing.assert_allclose(apply(found, x), expected, atol=1e-12)
    kinds = {type(TRANSFORMS[name]), type(found)}
    assert len(kinds) == 1 or kinds == {nengo.transforms.NoTransform, nengo.Dense}


def test_identity():
    matrix = TRANSFORMS["matrix"]
    assert composed(matrix, None) is matrix and composed(None, matrix) is matrix
    assert composed(None, None) is None


@pytest.mark.parametrize(
    "first, second",
    [
        ("matrix", "matrix"),
        ("convolution", "matrix"),
        # Elements of one channel differ.
        ("convolution", "diagonal"),
        ("diagonal", "convolution"),
    ],
)
def test_no_product(first, second):
    with pytest.raises(NoProductError):
        composed(TRANSFORMS[second], TRANSFORMS[first])


def test_what_is_not_known():
    drawn = nengo.Dense((12, 12), init=nengo.dists.Gaussian(0, 1))
    back = nengo.ConvolutionTranspose(2, (3, 2, 2), kernel_size=(2, 2))
    for transform in (drawn, back):
        with pytest.raises(NoProductError):
            image_of(transform, np.ones(12))
        with pytest.raises(NoProductError):
            composed(transform, TRANSFORMS["diagonal"])
