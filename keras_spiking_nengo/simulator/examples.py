"""Data, targets and weights as the Keras model of a network takes them.

Users key them by nengo's objects, give lists in their order or one array, in arrays or
in data sets. Keras gets dicts by the names of the model's inputs and outputs.
"""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import keras
import nengo
import numpy as np
from nengo.exceptions import ValidationError

from keras_spiking_nengo.checks import (
    check_float,
    checked_array,
    checked_count,
    checked_number,
    is_whole,
)
from keras_spiking_nengo.simulator.data_sets import is_data_set, with_elements
from keras_spiking_nengo.simulator.grading import (
    agree,
    check_target,
    check_weight,
    class_weighted,
    of_all_steps,
    shape_of,
    without_target,
)
from keras_spiking_nengo.simulator.keys import (
    in_order,
    keyed,
    named_by_label,
    received,
)

__all__ = ["CLOCK", "Examples", "not_both"]

CLOCK = "steps"


class Examples:
    """How data of a network are keyed.

    Args:
        network: of Nengo, for messages.
        nodes: that may be given data.
        probes: of all targets.
        all_needed: whether each node needs data. If not, a constant that is not 0
            stands.
        dtype: of data, `"float32"` or `"float64"`.

    Attributes:
        inputs: nodes by name.
        outputs: probes by name.
        features: shapes of the probes' values in each step, by name.
        losses: of the outputs, by name.
        graded: names of the outputs that have a loss or metrics; None before these are
            known.
    """

    def __init__(
        self,
        network: nengo.Network | None,
        nodes: Iterable[nengo.Node],
        probes: Iterable[nengo.Probe],
        all_needed: bool,
        dtype: str,
    ):
        self._network, self._dtype = network, dtype
        self.inputs, self.outputs = named_by_label(nodes), named_by_label(probes)
        self._needed = [
            name
            for name, node in self.inputs.items()
            if all_needed or not np.any(node.output)
        ]
        self.features: dict[str, tuple] = {}
        self.losses: Mapping[str, Any] = {}
        self.graded: set[str] | None = None

    def arguments(
        self, x, y=None, weight=None, n_steps=None, classes=None, name="x"
    ) -> tuple:
        """Data, targets and weights for `fit` or `evaluate`; a data set alone.

        Args:
            x, y, weight: as the user gives them.
            n_steps: int, where no node is given data.
            classes: weights of classes, for those in a data set.
            name: what `x` is called in messages.
        """
        n_steps = None if n_steps is None else checked_count("n_steps", n_steps)
        if is_data_set(x) and not isinstance(x, Mapping):
            for argument, value in (("y", y), ("sample_weight", weight)):
                if value is not None:
                    raise ValidationError(
                        f"{name} is a data set of (x, y[, sample_weight]), which holds"
                        f" it; received {received(value)} beside it.",
                        attr=argument,
                    )
            if classes is not None and hasattr(x, "element_spec"):
                raise ValidationError(
                    "weights of classes are for arrays, PyDataset and generators. Map"
                    " a tf.data.Dataset to (x, y, sample_weight) instead.",
                    attr="class_weight",
                )
            change = partial(self._element, n_steps=n_steps, classes=classes)
            return (with_elements(x, change, name),)
        data = self.data(x, n_steps, y)
        targets = self._targets(y, data)
        if weight is None:
            return data, targets
        return data, targets, self._weights(weight, targets)

    def inputs_alone(self, x, n_steps=None):
        """Data for `predict`, which may be in a data set with targets."""
        n_steps = None if n_steps is None else checked_count("n_steps", n_steps)
        if is_data_set(x) and not isinstance(x, Mapping):
            return with_elements(x, self._element_alone, "x")
        return self.data(x, n_steps)

    def keyed(self, value: Mapping, argument: str) -> dict[str, Any]:
        """What is keyed by probes, by their names."""
        return keyed(value, self.outputs, argument, self._network)

    # --- parts of examples ----------------------------------------------------------

    def data(self, x, n_steps: int | None = None, y=None) -> dict[str, Any]:
        """Data of all nodes, by name."""
        empty = x is None or isinstance(x, Mapping) and not x
        if not self._needed and empty:
            ticks = _ticks(n_steps, y, self._dtype)
            return _with_constants({}, self.inputs, ticks) or {CLOCK: ticks}
        by_name = self._by_name(x, "x", self.inputs, self._needed or list(self.inputs))
        if by_name is None:
            raise ValidationError(
                f"x is a dict keyed by the nodes {sorted(self.inputs)}, a list in the"
                f" order {list(self.inputs)}, an array where one needs data, or a data"
                f" set of such; received {received(x)}.",
                attr="x",
            )
        data = {n: _as_array(f"x, for {n},", value) for n, value in by_name.items()}
        self._check_data(data)
        return _with_constants(data, self.inputs, next(iter(data.values())))

    def _by_name(
        self, value, argument: str, objects: Mapping[str, Any], wanted: list[str]
    ) -> dict[str, Any] | None:
        """Of a dict, an array for the one wanted, or a list; None of anything else."""
        if isinstance(value, Mapping):
            return keyed(value, objects, argument, self._network)
        if len(wanted) == 1 and hasattr(value, "shape"):
            return dict.fromkeys(wanted, value)
        return in_order(value, list(objects), wanted) or None

    def _check_data(self, data: Mapping[str, Any]) -> None:
        # Before Keras sees it: on JAX, a model is lost if a call of it fails.
        missing = sorted(set(self._needed) - set(data))
        if missing:
            raise ValidationError(
                f"Data lack {missing}. All input nodes are given some:"
                f" {sorted(self._needed)}.",
                attr="x",
            )
        for name, value in data.items():
            size, shape = self.inputs[name].size_out, shape_of(value)
            if len(shape) != 3 or shape[2] not in (size, None):
                raise ValidationError(
                    f"{name} takes (items, steps, {size}); received {shape}.", attr="x"
                )
        lengths = {name: shape_of(value)[:2] for name, value in data.items()}
        first = next(iter(lengths.values()))
        if not all(agree(length, first) for length in lengths.values()):
            raise ValidationError(
                f"All nodes need one number of items and steps; received {lengths}"
                " as (items, steps).",
                attr="x",
            )

    def _targets(self, y, data: Mapping[str, Any]) -> dict[str, Any] | None:
        """Targets by name, with something for outputs that nobody grades."""
        graded = [n for n in self.outputs if self.graded is None or n in self.graded]
        if y is None and not self.graded:
            return None
        by_name = self._by_name(y, "y", self.outputs, graded)
        if by_name is None:
            raise ValidationError(
                f"y is a dict keyed by the probes {sorted(self.outputs)}, a list in the"
                f" order {list(self.outputs)}, or an array where one has a loss;"
                f" received {received(y)}.",
                attr="y",
            )
        y = {n: _as_array(f"y, for {n},", value) for n, value in by_name.items()}
        lacking = sorted(set(self.graded or ()) - set(y))
        if lacking:
            raise ValidationError(
                f"Targets lack {lacking}, which have a loss or metrics. Name others in"
                " compile, as in loss={probe: 'mse'}.",
                attr="y",
            )
        lead = shape_of(next(iter(data.values())))[:2]
        for name, target in y.items():
            shape = (*lead, *self.features[name])
            check_target(name, target, self.losses.get(name), shape)
        if self.graded is None:
            return y
        return {**without_target(set(self.outputs) - set(y), y), **y}

    def _weights(self, weight, targets) -> dict[str, Any]:
        """Weights of the items, or of their steps, by name of the output."""
        targets = targets or {}
        if isinstance(weight, Mapping):
            weight = self.keyed(weight, "sample_weight")
        else:
            graded = [n for n in self.outputs if n in (self.graded or targets)]
            by_name = in_order(weight, list(self.outputs), graded)
            weight = by_name or dict.fromkeys(targets, weight)
        weight = {name: _as_array("sample_weight", w) for name, w in weight.items()}
        for name, numbers in weight.items():
            if name in targets:
                check_weight(name, numbers, targets[name])
        weight = {name: of_all_steps(numbers) for name, numbers in weight.items()}
        if not weight:
            return weight
        ones = next(iter(weight.values()))[:, :1] * 0 + 1
        return {**dict.fromkeys(targets, ones), **weight}

    def _element_alone(self, element) -> tuple:
        """The data in an element of a data set."""
        return (self.data(_parts(element)[0]),)

    def _element(self, element, n_steps: int | None, classes) -> tuple:
        """An element of a data set."""
        x, y, weight = _parts(element)
        data = self.data(x, n_steps, y)
        targets = self._targets(y, data)
        if classes is not None and targets is not None:
            if weight is not None:
                raise not_both()
            weight = self.class_weights(classes, targets)
        elif weight is not None:
            weight = self._weights(weight, targets)
        whole = keras.utils.pack_x_y_sample_weight(data, targets, weight)
        return whole if isinstance(whole, tuple) else (whole,)

    def class_weights(self, classes, targets: Mapping[str, Any]) -> dict[str, Any]:
        """Weights of items, or of their steps, by the classes that targets say."""
        if not isinstance(classes, Mapping):
            raise ValidationError(
                "a dict from classes to weights, or from probes to such dicts; received"
                f" {received(classes)}.",
                attr="class_weight",
            )
        if any(isinstance(weights, Mapping) for weights in classes.values()):
            classes = self.keyed(classes, "class_weight")
        each = [w for w in classes.values() if isinstance(w, Mapping)] or [classes]
        for weights in each:
            for label, weight in weights.items():
                if not is_whole(label):
                    raise ValidationError(
                        f"its keys are whole numbers, of classes; received {label!r}.",
                        attr="class_weight",
                    )
                checked_number(f"class_weight of {label!r}", weight)
        return class_weighted(classes, targets, self.graded or set(targets))


def not_both() -> ValidationError:
    """The error that two kinds of weights are."""
    return ValidationError(
        "Give sample_weight or class_weight, not both.", attr="class_weight"
    )


def _parts(element) -> tuple:
    """Data, targets and weights of an element of a data set."""
    if isinstance(element, tuple | list) and not 1 <= len(element) <= 3:
        raise ValidationError(
            "an element of a data set is x, or (x, y), or (x, y, sample_weight);"
            f" received {received(element)}.",
            attr="x",
        )
    return keras.utils.unpack_x_y_sample_weight(element)


def _as_array(name: str, value) -> Any:
    if not hasattr(value, "shape"):
        return checked_array(name, value, finite=False)
    check_float(f"{name} is an array, and", getattr(value, "dtype", float))
    return value


def _with_constants(data: Mapping, nodes: Mapping[str, nengo.Node], frames) -> dict:
    """Data of all nodes, with the constants of those that have none.

    Args:
        data: arrays by name of the node.
        nodes: by name.
        frames: array of as many items and steps.
    """
    # By what all arrays and symbols can do; the division makes fractions of integers.
    nothing = frames[..., :1] * 0 / 1
    constants = {
        name: nothing + np.asarray(node.output, float).tolist()
        for name, node in nodes.items()
        if name not in data
    }
    return {**data, **constants}


def _ticks(n_steps: int | None, y, dtype: str) -> np.ndarray:
    """Data for a network that is given none: as many items as there are targets."""
    if n_steps is None:
        raise ValidationError(
            "No node of this network is given data, as x: say n_steps.", attr="n_steps"
        )
    arrays = list(y.values()) if isinstance(y, Mapping) else y
    if not isinstance(arrays, list | tuple):
        arrays = [arrays]
    shapes = [shape_of(array) for array in arrays if array is not None]
    items = shapes[0][0] if shapes and shapes[0] else 1
    if items is None:
        raise ValidationError(
            "a network without inputs takes arrays, a PyDataset or a generator, whose"
            " number of items is known.",
            attr="x",
        )
    return np.zeros((items, n_steps, 1), dtype=dtype)
