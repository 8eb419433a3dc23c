"""Functions of one point, computed for many at once, give what they give one by one."""

import itertools
import math

import numpy as np
import pytest

from keras_spiking_nengo.engine.points import at_once
from tests.marks import TAKES_TURNS

pytestmark = TAKES_TURNS

POINTS = np.random.RandomState(0).uniform(-1, 1, (60, 3))
ROW, MATRIX = np.array([0.3, -2.0, 1.7]), np.arange(6.0).reshape(2, 3)

AT_ONCE = {
    "product": lambda x: x[0] * x[1],
    "square": np.square,
    "powers": lambda x: [x[0] ** 2, x[1] ** 3, abs(x[2]) ** 0.5, 2 ** x[0]],
    "powers of arrays": lambda x: x**2,
    "list": lambda x: [-x[1], x[0]],
    "tuple with a number": lambda x: (x[0], 1, 0.5),
    "slice": lambda x: 2 * x[1:],
    "slice and item": lambda x: x[:2] * x[2],
    "last": lambda x: x[-1],
    "unpacked": lambda x: [a + 1 for a in x],
    "array of constants": lambda x: ROW * x - x / ROW,
    "number and array": lambda x: x[0] * ROW,
    "comparison": lambda x: (x[0] > 0.2) * x[1],
    "curves": lambda x: [np.sin(x[0]), np.tanh(x[1]), np.exp(x[2]), np.log(abs(x[0]))],
    "two arguments": lambda x: np.maximum(x[0], 0) + np.arctan2(x[1], x[2]),
    "rest": lambda x: [x[0] % 0.3, x[1] // 0.3, divmod(3, 2)[0]],
    "length": lambda x: x[0] / len(x),
}

ONE_BY_ONE = {
    "branch": lambda x: x[0] if x[0] > 0 else -x[0],
    "max": lambda x: max(x[0], 0),
    "sum": lambda x: np.sum(x),
    "method": lambda x: x.mean(),
    "product of matrices": lambda x: MATRIX @ x,
    "dot": lambda x: np.dot(x, ROW),
    "math": lambda x: math.sin(x[0]),
    "asarray": lambda x: np.asarray(x)[0],
    "float": lambda x: float(x[0]),
    "index by array": lambda x: x[np.array([0, 1])],
    "where": lambda x: np.where(x > 0, x, 0),
    "constant": lambda x: 0.5,
    "power by name": lambda x: np.power(x[0], 2),
    "reduction": lambda x: np.add.reduce(x),
    "matrix of a point": lambda x: x * np.eye(3),
    "type": lambda x: x[0] if isinstance(x, np.ndarray) else 2 * x[0],
    "string": lambda x: x["0"],
}


def each(function):
    return np.array([np.hstack([function(x)]) for x in POINTS], float)


@pytest.mark.parametrize("name", AT_ONCE)
def test_to_the_last_bit(name):
    expected = each(AT_ONCE[name])
    found = at_once(AT_ONCE[name], POINTS, expected.shape[1])
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", ONE_BY_ONE)
def test_others_are_left_to_turns(name):
    assert at_once(ONE_BY_ONE[name], POINTS, 1) is None


def test_sizes_differ():
    assert at_once(lambda x: x, POINTS, 2) is None


def test_points_are_not_changed():
    points = POINTS.copy()

    def function(x):
        x += 1
        return x

    assert at_once(function, points, 3) is None
    np.testing.assert_array_equal(points, POINTS)


def test_what_remembers_is_not_called_at_once():
    count = itertools.count()
    assert at_once(lambda x: x[0] + next(count), POINTS, 1) is None
    draw = np.random.default_rng(0).random
    assert at_once(lambda x: [x[0], draw()], POINTS, 2) is None
