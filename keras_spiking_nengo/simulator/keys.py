"""Data keyed by nengo's objects or labels, and the names that Keras has of these."""

from collections.abc import Iterable, Mapping
from itertools import count
from typing import Any

import nengo
import numpy as np
from nengo.exceptions import ValidationError

from keras_spiking_nengo.checks import brief

__all__ = ["in_order", "keyed", "named_by_label", "received"]


def named_by_label(objects: Iterable[Any]) -> dict[str, Any]:
    """Objects by label, made unique."""
    named: dict[str, Any] = {}
    for i, obj in enumerate(objects):
        kind = type(obj).__name__.lower()
        label = name = (obj.label or f"{kind}_{i}").replace("/", "_")
        numbers = count(i)
        while name in named:
            name = f"{label}_{next(numbers)}"
        named[name] = obj
    return named


def keyed(
    data: Mapping,
    objects: Mapping[str, Any],
    argument: str,
    network: nengo.Network | None = None,
) -> dict[str, Any]:
    """Data by the names of objects.

    Args:
        data: keyed by objects, their labels or names.
        objects: by name.
        argument: whose value `data` is, for messages.
        network: which tells, for a message, why a node is not among the objects.
    """
    names = {obj: name for name, obj in objects.items()}
    by_name: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(key, str):
            name = _name_by_label(key, objects, argument)
        else:
            name = names.get(key, "")
        if name not in objects:
            raise ValidationError(
                f"{key} is not among {sorted(objects)}: {_hint(network, key)}",
                attr=argument,
            )
        if name in by_name:
            raise ValidationError(f"{key} is given twice.", attr=argument)
        by_name[name] = value
    return by_name


def in_order(values: Any, *orders: list[str]) -> dict[str, Any] | None:
    """A list of arrays by the names of the first order as long; None if it is none."""
    if isinstance(values, list | tuple) and all(hasattr(v, "shape") for v in values):
        for names in orders:
            if len(names) == len(values):
                return dict(zip(names, values, strict=True))
    return None


def received(value: Any) -> str:
    """What was received, for a message that shows no array whole.

    Example:
        >>> received([np.zeros((2, 3))])
        'a list of [an array of shape (2, 3)]'
    """
    if isinstance(value, list | tuple):
        items = ", ".join(received(item) for item in value[:4])
        more = ", ..." if len(value) > 4 else ""
        return f"a {type(value).__name__} of [{items}{more}]"
    if isinstance(value, Mapping):
        return f"a dict with the keys {brief([str(key) for key in value])}"
    if hasattr(value, "shape"):
        shape = np.shape(value) if isinstance(value, np.generic) else value.shape
        return f"an array of shape {shape}"
    return f"{brief(value)} of type {type(value).__name__}"


def _name_by_label(label: str, objects: Mapping[str, Any], argument: str) -> str:
    """The name of the object with a label, or the label itself."""
    labelled = [name for name, obj in objects.items() if obj.label == label]
    if len(labelled) > 1:
        raise ValidationError(
            f"{len(labelled)} objects have the label {label!r}. Key the data by"
            " the objects themselves.",
            attr=argument,
        )
    return labelled[0] if labelled else label


def _hint(network: nengo.Network | None, key) -> str:
    nodes = [] if network is None else network.all_nodes
    outputs = [node.output for node in nodes if key in (node, node.label)]
    output = outputs[0] if outputs else None
    if callable(output) or isinstance(output, nengo.Process):
        return "its output is a function or process. Name it in compile(inputs=...)."
    return "key data by source nodes, targets by probes, or by their labels."
