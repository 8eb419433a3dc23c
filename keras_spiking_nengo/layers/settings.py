"""What of a layer is set in Python: whatever else than numbers a program depends on.

All attributes of a layer and of its parts are compared with those that it had. Lists,
dicts and arrays that are changed in place are not seen.
"""

from collections.abc import Iterator
from operator import is_
from typing import Any

import keras

from keras_spiking_nengo.dynamics.surrogates import Surrogate

__all__ = ["Settable", "Settings"]


class _LastChange:
    """When an attribute of any `Settable` was set last: an object for each time."""

    mark = object()


class Settable:
    """Mixin of a layer: tells `Settings` that an attribute was set."""

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        _LastChange.mark = object()


class Settings:
    """All attributes of a layer and of its parts, as they are now.

    Attributes:
        plain: whether Keras adds nothing to what the layer computes.

    Args:
        layer: a `Settable` layer.
    """

    def __init__(self, layer: keras.Layer):
        self.plain = (
            layer.activity_regularizer is None
            and layer.compute_dtype == layer.variable_dtype
            and getattr(layer, "_remat_mode", None) is None
        )
        self._mark = _LastChange.mark
        parts = _parts(layer)
        self._all = [_Attributes(part) for part in parts]
        pairs = zip(parts, self._all, strict=True)
        self._silent = [a for part, a in pairs if not isinstance(part, Settable)]

    def hold(self) -> bool:
        """Whether they are what they were."""
        mark = _LastChange.mark
        if self._mark is mark:
            return not self._silent or all(a.hold() for a in self._silent)
        if not all(a.hold() for a in self._all):
            return False
        self._mark = mark
        return True


class _Attributes:
    """The attributes of one object."""

    def __init__(self, part):
        self._now = vars(part)
        self._values = list(self._now.values())

    def hold(self) -> bool:
        now, values = self._now, self._values
        return len(now) == len(values) and all(map(is_, now.values(), values))


def _parts(layer: keras.Layer) -> list:
    """A layer, and the layers and surrogates that it is made of."""
    parts: list = [layer]
    for part in parts:
        for other in _direct_parts(part):
            if not any(other is known for known in parts):
                parts.append(other)
    return parts


def _direct_parts(part) -> Iterator[Any]:
    for value in vars(part).values():
        for item in value if isinstance(value, list | tuple) else (value,):
            if isinstance(item, keras.Layer | Surrogate):
                yield item
