"""Losses, metrics and weights of a model with several outputs, by their names.

Keras applies one loss to all outputs, but not one list of metrics, and wants targets
for all as soon as one has a metric or weights.
"""

from collections.abc import Collection, Mapping
from typing import Any

import keras
import numpy as np

__all__ = [
    "by_output",
    "class_weighted",
    "graded_outputs",
    "of_all_steps",
    "split_off",
    "without_target",
]


def by_output(options: Mapping[str, Any], names: list[str]) -> dict[str, Any]:
    """Arguments of `keras.Model.compile`, with a dict where one is for all outputs.

    Args:
        options: arguments; dicts are keyed by names of outputs.
        names: of the outputs, in the order of lists with an entry for each.

    Example:
        >>> by_output({"loss": {"a": "mse"}, "metrics": ["mae"]}, ["a", "b"])
        {'loss': {'a': 'mse'}, 'metrics': {'a': ['mae']}}
    """
    options = dict(options)
    if len(names) == 1:
        return options
    if options.get("loss") is not None:
        options["loss"] = _spread(options["loss"], names, names)
    graded = graded_outputs({"loss": options.get("loss")}, names)
    for kind in ("metrics", "weighted_metrics"):
        if options.get(kind):
            with_loss = [name for name in names if name in graded]
            options[kind] = _spread(options[kind], names, with_loss)
    weights = options.get("loss_weights")
    if isinstance(weights, list | tuple | Mapping) and len(weights):
        weights = _spread(weights, names, names)
        losses = options["loss"] or ()
        options["loss_weights"] = {name: weights.get(name, 1.0) for name in losses}
    return options


def _spread(value, names: list[str], chosen: list[str]) -> dict[str, Any]:
    """A dict of what is a dict, has an entry for each name, or is for the chosen."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, list | tuple) and len(value) == len(names):
        return dict(zip(names, value, strict=True))
    return dict.fromkeys(chosen, value)


def graded_outputs(options: Mapping[str, Any], names: Collection[str]) -> set[str]:
    """The outputs that need targets.

    Args:
        options: arguments of `keras.Model.compile`, as `by_output` returns them.
        names: of all outputs.

    Example:
        >>> sorted(graded_outputs({"loss": {"a": "mse", "b": None}}, ["a", "b"]))
        ['a']
    """
    graded: set[str] = set()
    for kind in ("loss", "metrics", "weighted_metrics"):
        value = options.get(kind)
        if isinstance(value, Mapping):
            graded |= {name for name, grade in value.items() if grade}
        elif value:
            graded |= set(names)
    return graded


def without_target(names: Collection[str], targets: Mapping[str, Any]) -> dict:
    """Something for outputs whose targets nobody reads: Keras looks for all of them.

    Args:
        names: of these outputs.
        targets: of others, for the number of items.
    """
    if not targets or not names:
        return {}
    items = min(len(target) for target in targets.values())
    return dict.fromkeys(names, np.zeros((items, 1)))


def of_all_steps(weights):
    """Weights of items for a loss of each step, too: Keras does not spread them.

    Example:
        >>> of_all_steps(np.ones(3)).shape
        (3, 1)
    """
    return weights[:, None] if len(np.shape(weights)) == 1 else weights


def class_weighted(
    weights: Mapping, targets: Mapping[str, Any], graded: Collection[str]
) -> dict[str, np.ndarray]:
    """Weights of items, or of their steps, by the classes that targets say.

    Args:
        weights: numbers by class, or a dict of such by output.
        targets: by output, `(items, [steps,] 1)` of numbers of classes, or one-hot.
        graded: outputs that have a loss.

    Returns:
        By output, `(items, steps)`, or `(items, 1)` where all steps have one; ones for
        outputs without weights.

    Example:
        >>> class_weighted({1: 3.0}, {"a": np.array([[0], [1]])}, {"a"})["a"].tolist()
        [1.0, 3.0]
    """
    weighted = {}
    for name, target in targets.items():
        by_class = weights.get(name, {}) if _is_nested(weights) else weights
        labels = keras.ops.convert_to_numpy(target)
        if name not in graded or not by_class:
            weighted[name] = of_all_steps(np.ones(len(labels)))
            continue
        if labels.ndim > 1:
            one_hot = labels.shape[-1] > 1
            labels = labels.argmax(-1) if one_hot else labels[..., 0]
        numbers = [by_class.get(int(label), 1.0) for label in labels.ravel()]
        weighted[name] = np.reshape(numbers, labels.shape)
    return weighted


def _is_nested(weights: Mapping) -> bool:
    return any(isinstance(value, Mapping) for value in weights.values())


def split_off(share: float, data: Mapping, targets: Mapping) -> tuple:
    """The first data and targets, and a pair of the last, for validation.

    Args:
        share: of the items, for validation.
        data, targets: arrays by name, items first.
    """
    items = len(next(iter(data.values())))
    first = int(np.floor(items * (1 - share)))
    parts = [
        ({k: v[:first] for k, v in x.items()}, {k: v[first:] for k, v in x.items()})
        for x in (data, targets)
    ]
    (data, rest), (targets, rest_of_targets) = parts
    return data, targets, (rest, rest_of_targets)
