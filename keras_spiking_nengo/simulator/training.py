"""A simulator's network as a Keras model, and data keyed by nengo's objects."""

from collections.abc import Mapping
from itertools import count
from typing import TYPE_CHECKING, Any

import keras
import nengo
import numpy as np
from nengo.builder import Model
from nengo.exceptions import ValidationError

from keras_spiking_nengo.dynamics.loops import precision
from keras_spiking_nengo.layers.network import Network
from keras_spiking_nengo.layers.ports import held

if TYPE_CHECKING:
    from keras_spiking_nengo.simulator.simulator import Simulator

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
        self._simulator.compile(*args, **kwargs)

    def fit(self, *args, **kwargs):
        return self._simulator.fit(*args, **kwargs)

    def evaluate(self, *args, **kwargs):
        return self._simulator.evaluate(*args, **kwargs)

    def predict(self, *args, **kwargs):
        return self._simulator.predict(*args, **kwargs)

    @property
    def _simulator(self) -> "Simulator":
        if self._training is None:
            raise ValidationError("This model has no simulator yet.", attr="model")
        return self._training.sim


class Training:
    """The Keras model of a simulator's network.

    Attributes:
        sim: the simulator.
    """

    def __init__(self, sim: "Simulator"):
        self.sim = sim
        self._layer: Network | None = None
        self._model: keras.Model | None = None
        self._inputs: dict[str, nengo.Node] = {}
        self._outputs: dict[str, nengo.Probe] = {}
        self._kept: dict[Any, np.ndarray] = {}

    @property
    def model(self) -> keras.Model:
        if self._model is None:
            with precision(self.sim.dtype):
                self._make(None, "spikes", None)
        assert self._model is not None
        return self._model

    def values(self) -> dict[Any, np.ndarray]:
        """Present weights by nengo's signals; empty where nothing was trained."""
        return self._kept if self._layer is None else self._layer.cell.values()

    def keep(self, values: Mapping[Any, np.ndarray]) -> None:
        """Take over what another simulator's training has made of the weights."""
        self._kept = dict(values)

    def _make(self, inputs, forward, surrogate) -> None:
        net = self.sim.network_given
        if net is None:
            raise ValidationError(
                "Training needs the network itself; this simulator was given a built"
                " model alone.",
                attr="network",
            )
        before = self.values()
        nodes = held(net) if inputs is None else list(inputs)
        self._inputs, self._outputs = _named(nodes), _named(self.sim.model.probes)
        self._layer = Network(
            net,
            inputs=dict(self._inputs),
            outputs=dict(self._outputs),
            dt=self.sim.dt,
            forward=forward,
            surrogate=surrogate,
            seed=self.sim.seed,
            model=self.sim.model,
            return_sequences=True,
            dtype=self.sim.dtype,
        )
        given = {
            name: keras.Input((None, node.size_out), name=name, dtype=self.sim.dtype)
            for name, node in self._inputs.items()
        }
        clock = keras.Input((None, 1), name=_CLOCK, dtype=self.sim.dtype)
        outputs = self._layer(given or clock)
        self._model = keras.Model(given or {_CLOCK: clock}, outputs)
        self._restore(before)

    def _restore(self, before: Mapping) -> None:
        assert self._layer is not None
        self._layer.cell.assign(before)

    def compile(self, args, kwargs, inputs, forward, surrogate) -> None:
        with precision(self.sim.dtype):
            self._make(inputs, forward, surrogate)
        for name in ("loss", "metrics", "loss_weights", "weighted_metrics"):
            if isinstance(kwargs.get(name), Mapping):
                kwargs = {**kwargs, name: self._keyed(kwargs[name], self._outputs)}
        if args[1:] and isinstance(args[1], Mapping):
            args = (args[0], self._keyed(args[1], self._outputs), *args[2:])
        with precision(self.sim.dtype):
            self.model.compile(*args, **kwargs)

    def call(self, method: str, x, y, n_steps, kwargs):
        kwargs = dict(kwargs)
        held_out = kwargs.get("validation_data")
        if isinstance(held_out, tuple | list):
            kwargs["validation_data"] = (
                self._given(held_out[0], n_steps, held_out[1]),
                self._targets(held_out[1]),
                *held_out[2:],
            )
        given, targets = self._given(x, n_steps, y), self._targets(y)
        with precision(self.sim.dtype):
            result = getattr(self.model, method)(given, targets, **kwargs)
        return result

    def predict(self, x, n_steps, kwargs) -> dict[nengo.Probe, np.ndarray]:
        given = self._given(x, n_steps, None)
        with precision(self.sim.dtype):
            found = self.model.predict(given, **kwargs)
        return {probe: found[name] for name, probe in self._outputs.items()}

    # --- data -------------------------------------------------------------------

    def _given(self, x, n_steps, y):
        model = self.model  # makes it, and so the names, if there was none
        assert model is not None
        if x is None and not self._inputs:
            return {_CLOCK: self._ticks(n_steps, y)}
        if isinstance(x, Mapping):
            found = self._keyed(x, self._inputs)
            missing = sorted(set(self._inputs) - set(found))
            if missing:
                raise ValidationError(
                    f"Data lack {missing}. All input nodes are given some:"
                    f" {sorted(self._inputs)}.",
                    attr="data",
                )
            for name, value in found.items():
                self._check_size(name, np.shape(value))
            lengths = {name: np.shape(value)[:2] for name, value in found.items()}
            if len(set(lengths.values())) > 1:
                raise ValidationError(
                    f"All nodes need one number of items and steps; received {lengths}"
                    " as (items, steps, size).",
                    attr="data",
                )
            return found
        if len(self._inputs) == 1 and hasattr(x, "shape"):
            (name,) = self._inputs
            self._check_size(name, np.shape(x))
            return {name: x}
        if hasattr(x, "shape") or x is None:
            raise ValidationError(
                f"x is a dict keyed by the nodes {sorted(self._inputs)}; received"
                f" {type(x).__name__}.",
                attr="data",
            )
        return x  # a data set, whose elements are keyed by labels

    def _check_size(self, name: str, shape: tuple) -> None:
        # Before Keras sees it: on JAX, a model is lost if a call of it fails.
        size = self._inputs[name].size_out
        if len(shape) != 3 or shape[2] != size:
            raise ValidationError(
                f"{name} takes (items, steps, {size}); received {shape}.", attr="data"
            )

    def _ticks(self, n_steps, y):
        if n_steps is None:
            raise ValidationError(
                "No node of this network is given data: say n_steps.", attr="n_steps"
            )
        arrays = y.values() if isinstance(y, Mapping) else [y]
        items = next((len(array) for array in arrays if array is not None), 1)
        return np.zeros((items, n_steps, 1), dtype=self.sim.dtype)

    def _targets(self, y):
        if isinstance(y, Mapping):
            return self._keyed(y, self._outputs)
        if y is not None and len(self._outputs) == 1 and hasattr(y, "shape"):
            return {next(iter(self._outputs)): y}
        return y

    def _keyed(self, data: Mapping, objects: Mapping[str, Any]) -> dict[str, Any]:
        """Data by the names of objects, from objects or labels."""
        names = {obj: name for name, obj in objects.items()}
        found: dict[str, Any] = {}
        for key, value in data.items():
            name = names.get(key, "") if not isinstance(key, str) else key
            if isinstance(key, str):
                same = [n for n, obj in objects.items() if obj.label == key]
                if len(same) > 1:
                    raise ValidationError(
                        f"{len(same)} objects have the label {key!r}. Key the data by"
                        " the objects themselves.",
                        attr="data",
                    )
                name = same[0] if same else key
            if name not in objects:
                raise ValidationError(
                    f"{key} is not among {sorted(objects)}: {self._hint(key)}",
                    attr="data",
                )
            if name in found:
                raise ValidationError(f"{key} is given twice.", attr="data")
            found[name] = value
        return found

    def _hint(self, key) -> str:
        net = self.sim.network_given
        nodes = [] if net is None else net.all_nodes
        found = [node for node in nodes if key in (node, node.label)]
        output = found[0].output if found else None
        if callable(output) or isinstance(output, nengo.Process):
            return (
                "its output is a function or process. Name it in compile(inputs=...)."
            )
        return "key data by source nodes, targets by probes, or by their labels."


def _named(objects) -> dict[str, Any]:
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
