"""NIR files, which are HDF5: read with bounds, and never executed."""

from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["read_file"]

# How deep groups may be in others.
_DEPTH = 32


def read_file(path: Path, max_bytes: int) -> dict[str, Any]:
    """The root node of a file as nested dicts of arrays, numbers and strings.

    Args:
        path: of the file.
        max_bytes: int. Most that all arrays may take in memory.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no NIR file, or too large; the message names the entry.
    """
    import h5py

    if not path.is_file():
        raise FileNotFoundError(f"There is no file {str(path)!r}.")
    try:
        with h5py.File(path, "r") as file:
            if not isinstance(file.get("node"), h5py.Group):
                raise ValueError(
                    f"{str(path)!r} is no NIR file: it has no group 'node', only"
                    f" {sorted(file)}. Write one with nir.write(path, graph)."
                )
            return _Bounded(str(path), max_bytes).group(file["node"], "node", 0)
    except (OSError, RuntimeError, KeyError) as error:
        raise ValueError(
            f"{str(path)!r} is no HDF5 file that can be read: {error}. It may be"
            " truncated, or of another kind."
        ) from error


class _Bounded:
    """Reads groups, and counts what they take."""

    def __init__(self, path: str, max_bytes: int):
        self.path = path
        self.left = max_bytes
        self.max_bytes = max_bytes

    def refused(self, name: str, reason: str) -> ValueError:
        return ValueError(f"{self.path!r}, entry {name!r}: {reason}")

    def group(self, group, name: str, depth: int) -> dict[str, Any]:
        import h5py

        if depth > _DEPTH:
            raise self.refused(name, f"it is nested more than {_DEPTH} times.")
        found: dict[str, Any] = {}
        for key in group:
            inner = f"{name}/{key}"
            if not isinstance(group.get(key, getlink=True), h5py.HardLink):
                raise self.refused(
                    inner, "it is a link to elsewhere, which is refused."
                )
            item = group[key]
            found[key] = (
                self.group(item, inner, depth + 1)
                if isinstance(item, h5py.Group)
                else self.value(item, inner)
            )
        return found

    def value(self, dataset, name: str):
        import h5py

        text = h5py.check_string_dtype(dataset.dtype) is not None
        if not text and dataset.dtype.kind not in "biuf":
            raise self.refused(
                name,
                f"its values are {dataset.dtype}; possible are numbers and strings.",
            )
        size = int(np.prod(dataset.shape, dtype=object)) * max(
            dataset.dtype.itemsize, 8
        )
        self.left -= size
        if self.left < 0:
            raise self.refused(
                name,
                f"its shape {dataset.shape} makes more than max_bytes="
                f"{self.max_bytes:,} with what comes before it. Raise max_bytes if you"
                " trust the file.",
            )
        value = dataset.asstr()[()] if text else dataset[()]
        return value.item() if isinstance(value, np.generic) else value
