"""A simulator's network as a Keras model, and data keyed by nengo's objects."""

import inspect
from collections.abc import Mapping
from itertools import count
from typing import Any

import keras
import nengo
import numpy as np
from nengo.builder import Model
from nengo.exceptions import SimulatorClosed, ValidationError

from keras_spiking_nengo.checks import check_float, checked_count, checked_switch
from keras_spiking_nengo.dynamics.loops import precision
from keras_spiking_nengo.layers.network import Network
from keras_spiking_nengo.layers.ports import held
from keras_spiking_nengo.models.predictions import traced_ahead
from keras_spiking_nengo.optimizers import in_own_units
from keras_spiking_nengo.simulator.frames import nodes_of
from keras_spiking_nengo.simulator.grading import (
    by_output,
    class_weighted,
    graded_outputs,
    of_all_steps,
    split_off,
    without_target,
)

__all__ = ["TrainableModel", "Training"]

_CLOCK = "steps"


class TrainableModel(Model):
    """Nengo's built model, which also trains.

    `compile`, `fit`, `evaluate` and `predict` are those of its simulator.
    """

    _training: "Training | None" = None

    def attach(self, training: "Training") -> None:
        """Say which simulator's training it is."""
        self._training = training

    def __getstate__(self) -> dict:
        return {k: v for k, v in vars(self).items() if k != "_training"}

    def compile(self, *args, **kwargs) -> None:
        self._attached.compile(*args, **kwargs)

    def fit(self, *args, **kwargs):
        return self._attached.fit(*args, **kwargs)

    def evaluate(self, *args, **kwargs):
        return self._attached.evaluate(*args, **kwargs)

    def predict(self, *args, **kwargs):
        return self._attached.predict(*args, **kwargs)

    @property
    def _attached(self) -> "Training":
        if self._training is None:
            raise ValidationError("This model has no simulator yet.", attr="model")
        return self._training


class Training:
    """The Keras model of a simulator's network.

    Args:
        network: of Nengo; None where a built model is all there is.
        built: what Nengo has built of it.
        dtype: `"float32"` or `"float64"`.

    Attributes:
        seed: of random processes, for the next model that is made.
        closed: whether the simulator is.
    """

    def __init__(self, network: nengo.Network | None, built: Model, dtype: str):
        self._network, self._built, self._dtype = network, built, dtype
        self.seed: int | None = None
        self.closed = False
        self._layer: Network | None = None
        self._model: keras.Model | None = None
        self._inputs: dict[str, nengo.Node] = {}
        self._outputs: dict[str, nengo.Probe] = {}
        self._open: set[str] = set()
        self._graded: set[str] | None = None  # unless `compile` here has said it
        self._restored: dict[Any, np.ndarray] = {}

    @property
    def model(self) -> keras.Model:
        if self._model is None:
            with precision(self._dtype):
                self._make(None, "spikes", None)
        assert self._model is not None
        return self._model

    def values(self) -> dict[Any, np.ndarray]:
        """Present weights by nengo's signals; empty where nothing was trained."""
        return self._restored if self._layer is None else self._layer.cell.values()

    def keep(self, values: Mapping[Any, np.ndarray]) -> None:
        """Take over what another simulator's training has made of the weights."""
        self._restored = dict(values)

    def _make(self, inputs, forward, surrogate) -> None:
        if self._network is None:
            raise ValidationError(
                "Training needs the network itself; this simulator was given a built"
                " model alone.",
                attr="network",
            )
        before = self.values()
        nodes = (
            held(self._network) if inputs is None else nodes_of(inputs, self._network)
        )
        self._inputs, self._outputs = _by_label(nodes), _by_label(self._built.probes)
        # Nodes that need data: without any, a constant that is not 0 stands.
        self._open = {
            name
            for name, node in self._inputs.items()
            if inputs is not None or not np.any(node.output)
        }
        self._graded = None
        self._layer = Network(
            self._network,
            inputs=dict(self._inputs),
            outputs=dict(self._outputs),
            dt=self._built.dt,
            forward=forward,
            surrogate=surrogate,
            seed=self.seed,
            model=self._built,
            return_sequences=True,
            dtype=self._dtype,
        )
        symbols = {
            name: keras.Input((None, node.size_out), name=name, dtype=self._dtype)
            for name, node in self._inputs.items()
        }
        clock = keras.Input((None, 1), name=_CLOCK, dtype=self._dtype)
        outputs = self._layer(symbols or clock)
        self._model = keras.Model(symbols or {_CLOCK: clock}, outputs)
        self._layer.cell.assign(before)

    def compile(
        self,
        *args,
        inputs=None,
        forward="spikes",
        surrogate=None,
        own_units=None,
        **kwargs,
    ) -> None:
        """As `Simulator.compile`."""
        _check_open(self, "compile")
        if own_units is not None:
            own_units = checked_switch("own_units", own_units)
        with precision(self._dtype):
            self._make(inputs, forward, surrogate)
        signature = inspect.signature(self.model.compile)
        options = signature.bind(*args, **kwargs).arguments
        for name in ("loss", "metrics", "loss_weights", "weighted_metrics"):
            if isinstance(options.get(name), Mapping):
                options[name] = self._keyed(options[name], self._outputs, name)
        optimizer = options.get("optimizer", "rmsprop")
        if isinstance(optimizer, str) if own_units is None else own_units:
            options["optimizer"] = in_own_units(
                optimizer, self.model, _built_variables(self.model, self._layer)
            )
        options = by_output(options, list(self._outputs))
        self._graded = graded_outputs(options, self._outputs)
        with precision(self._dtype):
            self.model.compile(**options)

    def fit(self, x=None, y=None, *, n_steps: int | None = None, **kwargs):
        """As `Simulator.fit`."""
        validation = kwargs.get("validation_data")
        if isinstance(validation, tuple | list):
            kwargs["validation_data"] = self._examples(n_steps, *validation)
        return self._call("fit", x, y, n_steps, kwargs)

    def evaluate(self, x=None, y=None, *, n_steps: int | None = None, **kwargs):
        """As `Simulator.evaluate`."""
        return self._call("evaluate", x, y, n_steps, kwargs)

    def _call(self, method: str, x, y, n_steps, kwargs):
        _check_open(self, method)
        weight = kwargs.pop("sample_weight", None)
        data, targets, *weights = self._examples(n_steps, x, y, weight)
        classes = kwargs.get("class_weight")
        if classes is not None and isinstance(targets, Mapping):
            if weight is not None:
                raise ValidationError(
                    "Give sample_weight or class_weight, not both.", attr="class_weight"
                )
            del kwargs["class_weight"]
            if any(key in self._outputs.values() for key in classes):
                classes = self._keyed(classes, self._outputs, "class_weight")
            share = kwargs.pop("validation_split", None)
            if share:  # is not weighted, as in Keras
                data, targets, kwargs["validation_data"] = split_off(
                    share, data, targets
                )
            weights = [class_weighted(classes, targets, self._graded or set(targets))]
        if weights and weights[0] is not None:
            kwargs["sample_weight"] = weights[0]
        with precision(self._dtype):
            return getattr(self.model, method)(data, targets, **kwargs)

    def _examples(self, n_steps, x, y=None, weight=None) -> tuple:
        """Data, targets, and weights if there are any, as Keras takes them."""
        n_steps = None if n_steps is None else checked_count("n_steps", n_steps)
        data = self._data(x, n_steps, y)
        targets = self._targets(y, _is_data_set(x) and not isinstance(x, Mapping))
        _check_items(data, targets)
        if weight is None:
            return data, targets
        if isinstance(weight, Mapping):
            weight = self._keyed(weight, self._outputs, "sample_weight")
            ones = {name: np.ones(len(target)) for name, target in targets.items()}
            weight = {**ones, **weight}
        elif isinstance(targets, Mapping) and len(self._outputs) == 1:
            weight = dict.fromkeys(targets, weight)
        return data, targets, keras.tree.map_structure(of_all_steps, weight)

    def predict(
        self, x=None, *, n_steps: int | None = None, **kwargs
    ) -> dict[nengo.Probe, np.ndarray]:
        """As `Simulator.predict`."""
        _check_open(self, "predict")
        n_steps = None if n_steps is None else checked_count("n_steps", n_steps)
        data = self._data(x, n_steps, None)
        with precision(self._dtype), traced_ahead(self.model) as model:
            arrays = model.predict(data, **kwargs)
        return {probe: arrays[name] for name, probe in self._outputs.items()}

    # --- data -------------------------------------------------------------------

    def _data(self, x, n_steps, y):
        model = self.model  # makes it, and so the names, if there was none
        assert model is not None
        empty = x is None or isinstance(x, Mapping) and not x
        if not self._open and empty:
            ticks = _ticks(n_steps, y, self._dtype)
            return _with_constants({}, self._inputs, ticks) or {_CLOCK: ticks}
        if isinstance(x, Mapping):
            return self._checked_data(self._keyed(x, self._inputs, "x"))
        names = self._open or set(self._inputs)
        if len(names) == 1 and hasattr(x, "shape"):
            return self._checked_data(dict.fromkeys(names, x))
        if not _is_data_set(x):
            raise ValidationError(
                f"x is a dict keyed by the nodes {sorted(self._inputs)}; received"
                f" {type(x).__name__}.",
                attr="x",
            )
        return x  # a data set, whose elements are keyed by labels

    def _checked_data(self, data: dict[str, Any]) -> dict[str, Any]:
        missing = sorted(self._open - set(data))
        if missing:
            raise ValidationError(
                f"Data lack {missing}. All input nodes are given some:"
                f" {sorted(self._open)}.",
                attr="x",
            )
        for name, value in data.items():
            _check_frames(name, self._inputs[name], value)
        lengths = {name: np.shape(value)[:2] for name, value in data.items()}
        if len(set(lengths.values())) > 1:
            raise ValidationError(
                f"All nodes need one number of items and steps; received {lengths}"
                " as (items, steps, size).",
                attr="x",
            )
        return _with_constants(data, self._inputs, next(iter(data.values())))

    def _targets(self, y, in_data: bool):
        """Targets by name.

        Args:
            y: as the user gives them.
            in_data: whether they may be in the data set that `x` is.
        """
        if isinstance(y, Mapping):
            y = self._keyed(y, self._outputs, "y")
        elif hasattr(y, "shape") and len(names := self._graded or self._outputs) == 1:
            y = dict.fromkeys(names, y)
        absent = y is None and (in_data or not self._graded)
        if not absent and not isinstance(y, Mapping) and not hasattr(y, "shape"):
            raise ValidationError(
                f"y is a dict keyed by the probes {sorted(self._outputs)}, or an array"
                f" where one has a loss; received {y!r}.",
                attr="y",
            )
        for target in y.values() if isinstance(y, Mapping) else [y]:
            check_float("y is an array, and", getattr(target, "dtype", float))
        if not isinstance(y, Mapping) or self._graded is None:
            return y
        lacking = sorted(self._graded - set(y))
        if lacking:
            raise ValidationError(
                f"Targets lack {lacking}, which have a loss or metrics. Name others in"
                " compile, as in loss={probe: 'mse'}.",
                attr="y",
            )
        return {**without_target(set(self._outputs) - set(y), y), **y}

    def _keyed(
        self, data: Mapping, objects: Mapping[str, Any], argument: str
    ) -> dict[str, Any]:
        """Data by the names of objects, from objects or labels."""
        names = {obj: name for name, obj in objects.items()}
        keyed: dict[str, Any] = {}
        for key, value in data.items():
            by_label = isinstance(key, str)
            name = names.get(key, "")
            if by_label:
                name = _name_by_label(key, objects, argument)
            if name not in objects:
                hint = _hint(self._network, key)
                raise ValidationError(
                    f"{key} is not among {sorted(objects)}: {hint}", attr=argument
                )
            if name in keyed:
                raise ValidationError(f"{key} is given twice.", attr=argument)
            keyed[name] = value
        return keyed


def _built_variables(model, layer) -> list[keras.Variable]:
    """Those that are trained and that Nengo has drawn or solved."""
    paths = layer.cell.built_paths
    return [v for v in model.trainable_variables if v.path in paths]


def _check_open(training: Training, method: str) -> None:
    if training.closed:
        raise SimulatorClosed(f"{method} needs a simulator that is not closed.")


def _with_constants(data: Mapping, nodes: Mapping[str, nengo.Node], frames) -> dict:
    """Data of all nodes, with the constants of those that have none.

    Args:
        data: arrays by name of the node.
        nodes: by name.
        frames: array of as many items and steps, and of the type that is wanted.
    """
    lead = np.shape(frames)[:2]
    dtype = keras.backend.standardize_dtype(getattr(frames, "dtype", None))
    constants = {
        name: np.broadcast_to(np.asarray(node.output, dtype), (*lead, node.size_out))
        for name, node in nodes.items()
        if name not in data
    }
    return {**data, **constants}


def _check_frames(name: str, node: nengo.Node, value) -> None:
    # Before Keras sees it: on JAX, a model is lost if a call of it fails.
    size, shape = node.size_out, np.shape(value)
    if len(shape) != 3 or shape[2] != size:
        raise ValidationError(
            f"{name} takes (items, steps, {size}); received {shape}.", attr="x"
        )
    check_float(f"x, for {name}, is an array, and", getattr(value, "dtype", float))


def _check_items(data, targets) -> None:
    if isinstance(data, Mapping) and isinstance(targets, Mapping):
        items = len(next(iter(data.values())))
        for name, target in targets.items():
            shape = np.shape(target)
            if not shape or shape[0] != items:
                raise ValidationError(
                    f"{name} takes targets for {items} items, as many as x has;"
                    f" received the shape {shape}.",
                    attr="y",
                )


def _is_data_set(x) -> bool:
    """Whether Keras can take elements, keyed by labels, from it."""
    if isinstance(x, list | tuple):
        return bool(x) and all(hasattr(value, "shape") for value in x)
    if hasattr(x, "shape") or isinstance(x, str | bytes | type):
        return False
    return any(hasattr(x, way) for way in ("__iter__", "__getitem__", "__next__"))


def _ticks(n_steps: int | None, y, dtype: str) -> np.ndarray:
    """Data for a network that is given none: as many items as there are targets."""
    if n_steps is None:
        raise ValidationError(
            "No node of this network is given data, as x: say n_steps.", attr="n_steps"
        )
    arrays = y.values() if isinstance(y, Mapping) else [y]
    items = next((len(array) for array in arrays if array is not None), 1)
    return np.zeros((items, n_steps, 1), dtype=dtype)


def _hint(network: nengo.Network | None, key) -> str:
    nodes = [] if network is None else network.all_nodes
    outputs = [node.output for node in nodes if key in (node, node.label)]
    output = outputs[0] if outputs else None
    if callable(output) or isinstance(output, nengo.Process):
        return "its output is a function or process. Name it in compile(inputs=...)."
    return "key data by source nodes, targets by probes, or by their labels."


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


def _by_label(objects) -> dict[str, Any]:
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
