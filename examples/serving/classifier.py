"""The exported model, with NumPy in and NumPy out; it keeps no state of its own.

Rows of a product may be summed in another order when a batch has another size, and a
rounding can move a spike. Here every batch is filled up to `ROWS`, so that an image has
the same answer whatever else is asked at the same time.
"""

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["Classifier"]

ROWS = 16
State = dict[str, Any]


def _stream_class():
    """`ksn.serving.Stream` from its file alone, so that Keras is not imported."""
    if "keras_spiking_nengo" in sys.modules:
        return sys.modules["keras_spiking_nengo"].serving.Stream
    _file_of_package("start_up").start_quietly("tensorflow")
    return _file_of_package("serving/stream").Stream


def _file_of_package(name: str):
    """One of its modules that import none of the others."""
    package = importlib.util.find_spec("keras_spiking_nengo")
    file = Path(package.submodule_search_locations[0], f"{name}.py")
    spec = importlib.util.spec_from_file_location(file.stem, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Classifier:
    """What `model.write` wrote.

    Args:
        folder: with `stream/` and `model.json`.

    Attributes:
        shape: of one image.
        notes: `model.json`.
        n_neurons: in the raster.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: if a file was changed or truncated, or the model is another.
    """

    def __init__(self, folder: str | Path):
        folder = Path(folder)
        self._stream = _stream_class()(folder / "stream")
        if len(self._stream.inputs) != 1 or {*self._stream.outputs} != {
            "evidence",
            "spikes",
        }:
            raise ValueError(
                f"{folder} takes {self._stream.inputs} and gives"
                f" {self._stream.outputs}; a model that is served here takes one image"
                " and gives evidence and spikes. Make one with"
                " examples/serving/model.py."
            )
        ((self.shape, _),) = self._stream.inputs.values()
        (self.n_neurons,), _ = self._stream.outputs["spikes"]
        (self.n_classes,), _ = self._stream.outputs["evidence"]
        self.notes = _notes(folder / "model.json", self.n_classes)

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Evidence `(n, classes)` of `(n, *shape)` after `n_steps` from the start."""
        n_steps = self.notes["n_steps"]
        parts = []
        for i in range(0, len(images), ROWS):
            rows = images[i : i + ROWS]
            filled = np.zeros((ROWS, n_steps, *self.shape), "float32")
            filled[: len(rows)] = rows[:, None]
            y, _ = self._stream.sequence(filled, self._stream.initial_state(ROWS))
            parts.append(y["evidence"][: len(rows), -1])
        return np.concatenate(parts)

    def begin(self) -> State:
        """The state of a new session."""
        return self._stream.initial_state(1)

    def advance(self, image, steps: int, state: State):
        """Evidence `(steps, classes)`, spikes `(steps, neurons)` and the next state."""
        x = np.broadcast_to(image, (1, steps, *self.shape))
        y, state = self._stream.sequence(x, state)
        return y["evidence"][0], y["spikes"][0] > 0, state


def _notes(file: Path, n_classes: int) -> dict[str, Any]:
    try:
        notes = json.loads(file.read_text())
        if len(notes["classes"]) != n_classes or int(notes["n_steps"]) < 1:
            raise ValueError(f"{n_classes} classes and a number of steps were expected")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{file} cannot be used: {error!r}. Make it anew with"
            " examples/serving/model.py."
        ) from error
    return notes
