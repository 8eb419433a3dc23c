"""What clients send: JSON, checked before any of it reaches the model.

    POST /predict   {"images": [[[0.0, 0.5, ...], ...], ...]}
    a session       {"image": [[...], ...], "steps": 10}

Pixels are finite numbers in [0, 1]. Anything else is refused with a status of HTTP and
a sentence; nothing is converted, cut or filled in.
"""

import json
from typing import Any

import numpy as np

__all__ = ["Refused", "images_of", "step_of"]


class Refused(Exception):
    """A client's mistake, with the status that says so."""

    def __init__(self, status: int, text: str):
        super().__init__(text)
        self.status = status


def images_of(body: bytes, shape: tuple[int, ...], most: int) -> np.ndarray:
    """The images of a request, `(n, *shape)`."""
    images = _numbers("images", _fields(body, {"images"})["images"])
    if images.ndim != 1 + len(shape) or images.shape[1:] != shape:
        wanted = ", ".join(map(str, ("n", *shape)))
        raise Refused(422, f"images has the shape ({wanted}); received {images.shape}.")
    if len(images) > most:
        raise Refused(413, f"At most {most} images; received {len(images)}. Send less.")
    return _pixels("images", images)


def step_of(body: bytes, shape: tuple[int, ...], most: int) -> tuple[np.ndarray, int]:
    """The image of a message, `shape`, and for how many steps it is shown."""
    fields = _fields(body, {"image", "steps"})
    image, steps = _numbers("image", fields["image"]), fields["steps"]
    if image.shape != shape:
        raise Refused(422, f"image has the shape {shape}; received {image.shape}.")
    if type(steps) is not int or not 1 <= steps <= most:
        raise Refused(422, f"steps is an integer from 1 to {most}; received {steps!r}.")
    return _pixels("image", image), steps


def _fields(body: bytes, names: set[str]) -> dict[str, Any]:
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Refused(400, f"The body is not JSON: {error}.") from error
    if not isinstance(fields, dict) or set(fields) != names:
        found = sorted(fields) if isinstance(fields, dict) else type(fields).__name__
        text = f"An object with the fields {sorted(names)}; received {found}."
        raise Refused(422, text[:300])
    return fields


def _numbers(name: str, value) -> np.ndarray:
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise Refused(422, f"{name} is ragged: rows differ in length.") from error
    if array.dtype.kind not in "iuf" or array.size == 0:
        text = f"{name} is a list of numbers; received {array.dtype} {array.shape}."
        raise Refused(422, text)
    # Among numbers, NumPy takes a truth for one of them.
    if any(type(number) is bool for number in np.ravel(np.asarray(value, object))):
        raise Refused(422, f"{name} is a list of numbers; received true or false.")
    return array


def _pixels(name: str, array: np.ndarray) -> np.ndarray:
    # A comparison with NaN is false, so this refuses it.
    if not np.all((array >= 0) & (array <= 1)):
        text = f"{name} has numbers outside [0, 1], or that are not finite."
        raise Refused(422, text + " Divide pixels of 0..255 by 255.")
    return array.astype("float32")
