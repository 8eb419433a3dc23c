"""Models and graphs in files that are there whole, or not at all."""

from pathlib import Path
from typing import Any

import keras

from keras_spiking_nengo.checks import brief, checked_path
from keras_spiking_nengo.files import written_whole

__all__ = ["save"]


def save(model: Any, path: str | Path) -> None:
    """Saves a model, or a graph of `ksn.to_nir`, in a file that is whole or not there.

    `model.save` and `nir.write` write over the file that has the name: who is killed
    on the way, or has no room left, has neither the old file nor the new one. Here the
    file is written beside it, and renamed when all of it is there.

    Args:
        model: `keras.Model`, for a `.keras` file; or `nir.NIRGraph`, for a NIR file.
        path: of the file. Folders above it are made, too; an old file is replaced.

    Raises:
        TypeError: for what is neither.
        ValueError: for a model and a path that does not end in `.keras`.
        OSError: as the system raises it; then an old file is as it was.

    Example:
        >>> import tempfile, keras, keras_spiking_nengo as ksn
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     ksn.save(model, folder + "/model.keras")
        ...     keras.models.load_model(folder + "/model.keras").count_params()
        8
    """
    path = checked_path("path", path)
    is_model = isinstance(model, keras.Model)
    if not is_model and type(model).__name__ != "NIRGraph":
        raise TypeError(
            "model is a keras.Model or a nir.NIRGraph, as ksn.to_nir makes it; received"
            f" {brief(model)}."
        )
    if is_model and path.suffix != ".keras":
        raise ValueError(
            f"path of a model ends in .keras; received {str(path)!r}. ksn.export writes"
            " other formats."
        )
    with written_whole(path) as unfinished:
        if is_model:
            model.save(unfinished)
        else:
            import nir

            nir.write(unfinished, model)
