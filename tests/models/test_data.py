"""Data meet the inputs of a model, or one message says why not."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_spiking_nengo.models.calls import calls
from keras_spiking_nengo.models.data import arrays_of, matched, matched_arrays
from tests.marks import TAKES_TURNS
from tests.models.nets import by_name, chain, several

pytestmark = TAKES_TURNS

A, B = np.ones((4, 3)), np.zeros((4, 2))
ONE = calls(chain(layers.ReLU(), name="one"))
TWO = calls(by_name())
SEQUENCE = calls(chain(layers.ReLU(), shape=(None, 3), name="time"))

GOOD = {
    "array": (ONE, A, [A]),
    "list of numbers": (ONE, A.tolist(), [A]),
    "tuple of one array": (ONE, (A,), [A]),
    "dict": (TWO, {"b": B, "a": A}, [A, B]),
    "list": (TWO, [A, B], [A, B]),
    "tuple": (TWO, (A, B), [A, B]),
    "lists of numbers by name": (TWO, {"a": A.tolist(), "b": B.tolist()}, [A, B]),
    "a sequence of any length": (SEQUENCE, np.ones((2, 7, 3)), [np.ones((2, 7, 3))]),
}


@pytest.mark.parametrize("name", GOOD)
def test_data_that_fit(name):
    found, x, expected = GOOD[name]
    arrays = arrays_of(found, x)
    assert len(arrays) == len(expected)
    for array, wanted in zip(arrays, expected, strict=True):
        np.testing.assert_array_equal(array, wanted)


def test_tensors_are_data():
    x = keras.ops.convert_to_tensor(A)
    (array,) = arrays_of(ONE, x)
    assert isinstance(array, np.ndarray)
    np.testing.assert_array_equal(array, A)


# The inputs, what is given for them, and what the message says was received.
BAD = {
    "nothing": (ONE, None, "received None"),
    "two arrays for one": (ONE, [A, A], "received 2 arrays"),
    "one array for two": (TWO, A, "received 1 arrays"),
    "three arrays for two": (TWO, [A, B, B], "received 3 arrays"),
    "a key too few": (TWO, {"a": A}, r"received the keys \['a'\]"),
    "a key too many": (TWO, {"a": A, "b": B, "c": B}, r"keys \['a', 'b', 'c'\]"),
    "another key": (TWO, {"a": A, 2: B}, r"keys \['2', 'a'\]"),
    "no keys": (TWO, {}, r"keys \[\]"),
    "features": (ONE, np.ones((4, 5)), r"received the shapes \(4, 5\)"),
    "axes": (ONE, np.ones((4, 1, 3)), r"shapes \(4, 1, 3\)"),
    "one item without its axis": (ONE, np.ones(3), r"shapes \(3,\)"),
    "a number": (ONE, 1.0, r"shapes \(\)"),
    "in another order": (TWO, [B, A], r"shapes \(4, 2\), \(4, 3\)"),
    "no items": (ONE, np.ones((0, 3)), r"shapes \(0, 3\)"),
    "unequal items": (TWO, [A, B[:3]], r"shapes \(4, 3\), \(3, 2\)"),
    "no time": (SEQUENCE, A, r"shapes \(4, 3\)"),
}


@pytest.mark.parametrize("name", BAD)
def test_data_that_do_not_fit(name):
    found, x, received = BAD[name]
    shape = {ONE: "any, 3", TWO: "any, 2", SEQUENCE: "any, any, 3"}[found]
    with pytest.raises(ValueError, match=f"samples does not fit.*{shape}.*{received}"):
        arrays_of(found, x, argument="samples")


def test_the_message_says_what_is_possible():
    with pytest.raises(ValueError) as caught:
        arrays_of(TWO, A)
    assert str(caught.value) == (
        f"x does not fit the inputs of {TWO.model.name!r}: 'a' (any, 3), 'b' (any, 2)."
        " Give a dict by name, or a list in this order, with the same number of items"
        " for all, at least one; received 1 arrays."
    )
    with pytest.raises(ValueError, match=r"'one': .*Give an array, with"):
        arrays_of(ONE, None)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite(value):
    bad = B.copy()
    bad[2, 1] = value
    arrays_of(TWO, [A, bad])
    with pytest.raises(ValueError, match="not finite, for 'b' of.*Replace"):
        arrays_of(TWO, [A, bad], finite=True)


def test_names_are_those_of_the_inputs_also_of_a_list():
    found = calls(several())
    x = {"b": A, "a": 2 * A}
    np.testing.assert_array_equal(arrays_of(found, x), [2 * A, A])


def test_a_model_without_inputs_takes_none():
    assert matched_arrays(None, {}, "a network") == []
    assert matched({}, {}, "a network") == []
    with pytest.raises(ValueError, match="a network: none"):
        matched_arrays(A, {}, "a network")


def test_what_is_matched_stays_as_it_is():
    function = len
    shapes = {"a": (None, 3), "b": (None, 2)}
    assert matched({"b": function, "a": 3}, shapes, "a network") == [3, function]
