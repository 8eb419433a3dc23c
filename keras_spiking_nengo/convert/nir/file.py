"""NIR files, which are HDF5: read with bounds, and never executed."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from keras_spiking_nengo.budgets import bounded, spend
from keras_spiking_nengo.convert.nir.table import PRIMITIVES

__all__ = ["file_node", "read_file"]

# How deep groups may be in others.
_DEPTH = 32
# What fields of a node may lead to.
_NO_NODE = (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError)


def read_file(path: Path) -> dict[str, Any]:
    """The root node of a file as nested dicts of arrays, numbers and strings.

    Args:
        path: of the file.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no NIR file, or its arrays take more memory than
            `ksn.serialization.budget` allows; the message names the entry.
    """
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {str(path)!r}.")
    try:
        with h5py.File(path, "r") as file, bounded():
            if not isinstance(file.get("node"), h5py.Group):
                raise ValueError(
                    f"{str(path)!r} is no NIR file: it has no group 'node', only"
                    f" {sorted(file)}. Write one with nir.write(path, graph)."
                )
            return _Bounded(str(path)).group(file["node"], "node", 0)
    except (OSError, RuntimeError, KeyError) as error:
        raise ValueError(
            f"{str(path)!r} is no HDF5 file that can be read: {error}. It may be"
            " truncated, or of another kind."
        ) from error


class _Bounded:
    """Reads groups, and takes what they need from the account."""

    def __init__(self, path: str):
        self.path = path

    def refused(self, name: str, reason: str) -> ValueError:
        return ValueError(f"{self.path!r}, entry {name!r}: {reason}")

    def group(self, group, name: str, depth: int) -> dict[str, Any]:
        if depth > _DEPTH:
            raise self.refused(name, f"it is nested more than {_DEPTH} times.")
        entries: dict[str, Any] = {}
        for key in group:
            inner = f"{name}/{key}"
            if not isinstance(group.get(key, getlink=True), h5py.HardLink):
                raise self.refused(inner, "it is a link to elsewhere.")
            if isinstance(group[key], h5py.Group):
                entries[key] = self.group(group[key], inner, depth + 1)
            else:
                entries[key] = self.value(group[key], inner)
        return entries

    def value(self, dataset, name: str):
        text = h5py.check_string_dtype(dataset.dtype) is not None
        if not text and dataset.dtype.kind not in "biuf":
            reason = f"its values are {dataset.dtype}, no numbers and strings."
            raise self.refused(name, reason)
        count = int(np.prod(dataset.shape, dtype=object))
        what = f"{self.path!r}, entry {name!r}, of shape {dataset.shape},"
        spend(count * max(dataset.dtype.itemsize, 8), what)
        value = dataset.asstr()[()] if text else dataset[()]
        return value.item() if isinstance(value, np.generic) else value


def file_node(nir, fields: Any, name: str, path: str):
    """A node of a file, or a graph of them.

    Args:
        nir: the package.
        fields: of the node, by name.
        name: of the node, for messages.
        path: of the file, for messages.

    Raises:
        ValueError: for a kind that is not known, and fields that do not make one.
    """
    possible = (*PRIMITIVES, "NIRGraph")
    kind = fields.get("type") if isinstance(fields, dict) else None
    if kind not in possible or not hasattr(nir, str(kind)):
        raise ValueError(
            f"{path!r}, node {name!r}: its type is {kind!r}; known are"
            f" {', '.join(sorted(possible))}."
        )
    fields = dict(fields)
    metadata = fields.pop("metadata", {})
    try:
        if kind == "NIRGraph":
            nodes = {
                key: file_node(nir, inner, f"{name}/{key}", path)
                for key, inner in dict(fields["nodes"]).items()
            }
            edges = [(_text(a), _text(b)) for a, b in fields["edges"]]
            return nir.NIRGraph(nodes, edges, metadata, type_check=False)
        node = nir.dict2NIRNode(fields)
    except _NO_NODE as error:
        raise ValueError(
            f"{path!r}, node {name!r} ({kind}): its fields {sorted(fields)} do not make"
            f" one: {error}."
        ) from error
    node.metadata = metadata
    return node


def _text(value) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
