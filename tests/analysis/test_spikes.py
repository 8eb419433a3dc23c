"""Statistics of spikes."""

import numpy as np
import pytest

from keras_spiking_nengo.analysis.spikes import common_height, count, rates, sparsity


def test_spikes_are_counted_in_multiples_of_their_height():
    values = np.array([[0.0, 2.0, -4.0], [6.0, 0.0, 0.5]])
    height = np.array([1.0, 2.0, 0.0])  # the last column is no spikes
    np.testing.assert_array_equal(count(values, height), [[0, 1, 0], [6, 0, 0]])
    # Half precision rounds a height of 1/3.
    third = np.array([0.0, 1.0, 2.0], "float16") / np.float16(3)
    np.testing.assert_array_equal(count(third, 1 / 3), [0, 1, 2])


def test_what_is_no_multiple_is_refused():
    with pytest.raises(ValueError, match=r"multiples of their height, 1000; .* 1400"):
        count([0.0, 1400.0], 1000.0)
    for value in (np.nan, np.inf):  # diverged, or too many spikes for float16
        with pytest.raises(ValueError, match=f"received a value of {value}"):
            count([1000.0, value, 1000.0], 1000.0)


@pytest.mark.parametrize(
    ("values", "height"),
    [
        ([0.0, 3.0, -3.0], 3.0),
        ([2.0], 2.0),
        ([0.0, 1.0, 2.0], None),
        ([0.0, 0.0], None),
        ([np.inf, 0.0], None),
        ([], None),
    ],
)
def test_one_magnitude_is_a_height(values, height):
    assert common_height(values) == height


def test_rates_are_means_over_time():
    values = np.zeros((4, 2))
    values[1, 0] = values[3, 0] = 500.0  # amplitude 0.5, dt 0.001
    np.testing.assert_allclose(rates(values, amplitude=0.5), [500, 0])
    np.testing.assert_allclose(rates(values[None], 0.5, axis=1), [[500, 0]])


def test_sparsity_is_the_share_of_zeros():
    assert sparsity([[0, 1], [0, 0]]) == 0.75
    assert sparsity([]) == 0.0
