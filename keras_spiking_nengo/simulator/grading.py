"""Losses, metrics and weights of a model with several outputs, by their names.

Keras applies one loss to all outputs, but not one list of metrics, and wants targets
for all as soon as one has a metric or weights.
"""

import inspect
from collections.abc import Collection, Mapping
from typing import Any

import keras
import numpy as np
from nengo.exceptions import ValidationError

from keras_spiking_nengo.checks import checked_number, from_keras, is_number

__all__ = [
    "agree",
    "by_output",
    "check_grades",
    "check_target",
    "check_weight",
    "class_weighted",
    "graded_outputs",
    "losses_by_output",
    "of_all_steps",
    "shape_of",
    "split_off",
    "without_target",
]

# Words for which Keras looks at targets.
BY_TARGET = ("accuracy", "acc", "crossentropy", "ce")
_READERS = {
    "loss": keras.losses.get,
    "metrics": keras.metrics.get,
    "weighted_metrics": keras.metrics.get,
}


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
    for kind in ("metrics", "weighted_metrics"):
        value = options.get(kind)
        if value and not isinstance(value, list | tuple | Mapping):
            options[kind] = [value]
    if is_number(options.get("loss_weights")):
        options["loss_weights"] = float(options["loss_weights"])
    if len(names) == 1:
        return options
    if options.get("loss") is not None:
        options["loss"] = _spread(options["loss"], names, names)
    graded = graded_outputs({"loss": options.get("loss")}, names)
    for kind in ("metrics", "weighted_metrics"):
        if options.get(kind):
            with_loss = [name for name in names if name in graded] or names
            options[kind] = _metrics_by_output(options[kind], names, with_loss)
    weights = options.get("loss_weights")
    if isinstance(weights, float):
        options["loss_weights"] = dict.fromkeys(options["loss"] or (), weights)
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


def _metrics_by_output(value, names: list[str], with_loss: list[str]) -> dict[str, Any]:
    """Metrics of each output; a plain list is for those with a loss."""
    if isinstance(value, Mapping) or len(with_loss) == len(names):
        return _spread(value, names, names)
    if any(grade is None or isinstance(grade, list | tuple) for grade in value):
        one_each = with_loss if len(value) == len(with_loss) else names
        return _spread(value, one_each, with_loss)
    return dict.fromkeys(with_loss, value)


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


def losses_by_output(loss: Any, names: Collection[str]) -> dict[str, Any]:
    """The loss, or losses, of each output.

    Args:
        loss: argument of `keras.Model.compile`, as `by_output` returns it.
        names: of all outputs.
    """
    return dict(loss) if isinstance(loss, Mapping) else dict.fromkeys(names, loss)


def without_target(names: Collection[str], targets: Mapping[str, Any]) -> dict:
    """Something for outputs whose targets nobody reads: Keras looks for all of them.

    Args:
        names: of these outputs.
        targets: of others, for the number of items.
    """
    if not targets or not names:
        return {}
    target = next(iter(targets.values()))
    return dict.fromkeys(names, target[..., :1] if len(target.shape) > 1 else target)


def of_all_steps(weights):
    """Weights of items for a loss of each step, too: Keras does not spread them.

    Example:
        >>> of_all_steps(np.ones(3)).shape
        (3, 1)
    """
    return weights[:, None] if len(shape_of(weights)) == 1 else weights


# --- what fits an output --------------------------------------------------------------


def shape_of(value: Any) -> tuple:
    """The shape of an array or symbol; None stands for what is not known."""
    shape = getattr(value, "shape", None)
    if shape is None:
        return np.shape(value)
    return () if getattr(shape, "rank", 0) is None else tuple(shape)


def agree(shape: tuple, other: tuple) -> bool:
    """Whether two shapes are the same as far as they are known.

    Example:
        >>> agree((None, 3), (2, 3)), agree((2, 1), (2, 3))
        (True, False)
    """
    pairs = zip(shape, other, strict=False)
    return len(shape) == len(other) and all(a == b or None in (a, b) for a, b in pairs)


def check_target(name: str, target: Any, loss: Any, shape: tuple) -> None:
    """Refuses a target of other items, steps or sizes than its loss compares.

    Keras would repeat what is 1 somewhere, in silence.

    Args:
        name: of the output.
        target: its array.
        loss: as `compile` takes it; None for none.
        shape: of the output, `(items, steps, *features)`.
    """
    actual = shape_of(target)
    if not actual or not agree(actual[:1], shape[:1]):
        raise ValidationError(
            f"{name} takes targets for {shape[0]} items, as many as x has; received the"
            f" shape {actual}.",
            attr="y",
        )
    kinds = {_compares(each) for each in keras.tree.flatten(loss) if each is not None}
    possible: list[tuple] = []
    if kinds == {"values"}:
        possible = [shape, shape[:-1]] if shape[2:] == (1,) else [shape]
    elif kinds == {"classes"}:
        possible = [(*shape[:-1], 1), shape[:-1]]
    if possible and not any(agree(actual, wanted) for wanted in possible):
        raise ValidationError(
            f"{name} takes targets of shape {' or '.join(map(str, possible))}, (items,"
            f" steps, size), for its loss; received {actual}.",
            attr="y",
        )


def _compares(loss: Any) -> str | None:
    """What a loss of Keras wants: `"values"`, `"classes"`; None for other losses."""
    word = isinstance(loss, str) and loss.lower() in BY_TARGET
    loss = None if word else keras.losses.get(loss)
    kind = loss if inspect.isfunction(loss) else type(loss)
    name = getattr(kind, "__name__", "")
    if getattr(keras.losses, name, None) is not kind:
        return None
    name = name.replace("_", "").lower()
    if name.startswith("sparse"):
        return "classes"
    special = ("ctc", "circle", "categoricalgeneralizedcrossentropy")
    return None if name.startswith(special) else "values"


def check_weight(name: str, weight: Any, target: Any) -> None:
    """Refuses weights of other items or steps than the target of their output."""
    actual, shape = shape_of(weight), shape_of(target)
    possible = [shape[:1], (*shape[:1], 1), shape[:2], (*shape[:2], 1)]
    if not any(agree(actual, wanted) for wanted in possible):
        raise ValidationError(
            f"{name} takes weights of shape {shape[:1]} or {shape[:2]}, (items,) or"
            f" (items, steps), as its targets have; received {actual}.",
            attr="sample_weight",
        )


def check_grades(options: Mapping[str, Any]) -> None:
    """Refuses losses, metrics and their weights that Keras does not know.

    Args:
        options: arguments of `keras.Model.compile`.
    """
    for argument, get in _READERS.items():
        for grade in keras.tree.flatten(options.get(argument)):
            word = isinstance(grade, str) and grade.lower() in BY_TARGET
            if grade is not None and not word:
                from_keras(argument, get, grade)
    for weight in keras.tree.flatten(options.get("loss_weights")):
        if weight is not None:
            checked_number("loss_weights", weight)


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
