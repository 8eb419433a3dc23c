"""What the example's server refuses, before any of it reaches the model."""

import json

import numpy as np
import pytest

from examples.serving.messages import Refused, images_of, step_of

SHAPE = (2, 3)
IMAGE = [[0.0, 0.5, 1], [0, 0.25, 1.0]]


def test_images_come_as_they_were_sent():
    images = images_of(json.dumps({"images": [IMAGE, IMAGE]}).encode(), SHAPE, 2)
    assert images.dtype == np.float32
    np.testing.assert_array_equal(images, [IMAGE, IMAGE])


@pytest.mark.parametrize(
    ("status", "images", "says"),
    [
        (422, [IMAGE[0]], "shape"),
        (422, IMAGE, "shape"),
        (422, [], "list of numbers"),
        (422, [[["0.1"] * 3] * 2], "list of numbers"),
        (422, [[[True] * 3] * 2], "list of numbers"),
        (422, [[[0.5, False, 0.5]] * 2], "list of numbers"),
        (422, [[[10**400] * 3] * 2], "list of numbers"),
        (422, [[[0.0] * 3, [0.0]]], "ragged"),
        (422, [[[float("nan")] * 3] * 2], "not finite"),
        (422, [[[float("inf")] * 3] * 2], "not finite"),
        (422, [[[-0.1] * 3] * 2], "outside"),
        (413, [IMAGE] * 3, "At most 2"),
    ],
)
def test_other_images_are_refused_with_a_reason(status, images, says):
    with pytest.raises(Refused, match=says) as error:
        images_of(json.dumps({"images": images}).encode(), SHAPE, 2)
    assert error.value.status == status


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 100_000])
def test_what_is_no_json_is_a_bad_request(body):
    with pytest.raises(Refused, match="not JSON") as error:
        images_of(body, SHAPE, 2)
    assert error.value.status == 400


@pytest.mark.parametrize("body", [b"1", b"{}", b'{"images": [], "more": 1}'])
def test_fields_are_those_that_are_known(body):
    with pytest.raises(Refused, match=r"fields \['images'\]"):
        images_of(body, SHAPE, 2)


@pytest.mark.parametrize("steps", [0, -1, 11, 1.0, True, "1", None])
def test_steps_are_a_whole_number_within_the_limit(steps):
    body = json.dumps({"image": IMAGE, "steps": steps}).encode()
    with pytest.raises(Refused, match="integer from 1 to 10"):
        step_of(body, SHAPE, 10)


def test_a_message_is_an_image_and_steps():
    image, steps = step_of(
        json.dumps({"image": IMAGE, "steps": 10}).encode(), SHAPE, 10
    )
    assert steps == 10
    np.testing.assert_array_equal(image, np.float32(IMAGE))
