"""What arguments may be, and what messages say of the rest."""

import math

import numpy as np
import pytest

from keras_spiking_nengo.checks import checked_number, one_of, positive
from tests.marks import TAKES_TURNS

pytestmark = TAKES_TURNS

NOT_NUMBERS = ["1", None, True, math.nan, math.inf, -math.inf, [1.0], 1j]


@pytest.mark.parametrize("value", [*NOT_NUMBERS, 0, -1e-9])
def test_what_is_not_above_0_is_refused_by_name(value):
    with pytest.raises(ValueError, match="tau is above 0 s, and finite; received"):
        positive("tau", value, "s")


@pytest.mark.parametrize("value", [1, 1e-12, np.float32(2), np.int64(3)])
def test_numbers_become_floats(value):
    assert type(positive("tau", value)) is float
    assert positive("tau", value) == float(value)


@pytest.mark.parametrize(
    ("low", "high", "possible"),
    [
        (0, 1, "from 0 to 1"),
        (-2, math.inf, "at least -2, and finite"),
        (-math.inf, math.inf, "a finite number"),
    ],
)
@pytest.mark.parametrize("value", NOT_NUMBERS)
def test_ranges_are_said(low, high, possible, value):
    with pytest.raises(ValueError, match=f"share is {possible}; received .* Think."):
        checked_number("share", value, low, high, advice="Think.")


@pytest.mark.parametrize("value", [-0.01, 1.01])
def test_what_is_out_of_range_is_refused(value):
    assert checked_number("share", 1, 0, 1) == 1.0
    with pytest.raises(ValueError, match="from 0 to 1"):
        checked_number("share", value, 0, 1)


@pytest.mark.parametrize("value", ["c", None, 1, ["a"], np.array(["a", "b"])])
def test_choices_are_listed(value):
    assert one_of("mode", "a", ("a", "b")) == "a"
    with pytest.raises(ValueError, match=r"mode is one of \('a', 'b'\); received"):
        one_of("mode", value, ("a", "b"))
