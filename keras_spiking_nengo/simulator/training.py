"""A simulator's network as a Keras model, which trains."""

import inspect
from collections.abc import Mapping
from typing import Any

import keras
import nengo
import numpy as np
from nengo.builder import Model
from nengo.exceptions import SimulatorClosed, ValidationError

from keras_spiking_nengo.checks import checked_number, checked_switch
from keras_spiking_nengo.dynamics.loops import precision
from keras_spiking_nengo.layers.network import Network
from keras_spiking_nengo.layers.ports import held
from keras_spiking_nengo.models.predictions import traced_ahead
from keras_spiking_nengo.optimizers import checked_optimizer, in_own_units, steps_alike
from keras_spiking_nengo.simulator.data_sets import is_data_set
from keras_spiking_nengo.simulator.examples import CLOCK, Examples, not_both
from keras_spiking_nengo.simulator.frames import nodes_of
from keras_spiking_nengo.simulator.grading import (
    by_output,
    check_grades,
    graded_outputs,
    losses_by_output,
    split_off,
)
from keras_spiking_nengo.simulator.keys import received

__all__ = ["TrainableModel", "Training"]


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
        self._examples: Examples | None = None
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
        examples = Examples(
            self._network, nodes, self._built.probes, inputs is not None, self._dtype
        )
        self._layer = Network(
            self._network,
            inputs=dict(examples.inputs),
            outputs=dict(examples.outputs),
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
            for name, node in examples.inputs.items()
        }
        clock = keras.Input((None, 1), name=CLOCK, dtype=self._dtype)
        outputs = self._layer(symbols or clock)
        self._model = keras.Model(symbols or {CLOCK: clock}, outputs)
        examples.features = {n: tuple(v.shape[2:]) for n, v in outputs.items()}
        self._examples = examples
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
        examples = self._made
        for name in ("loss", "metrics", "loss_weights", "weighted_metrics"):
            if isinstance(options.get(name), Mapping):
                options[name] = examples.keyed(options[name], name)
        check_grades(options)
        optimizer = options.get("optimizer", "rmsprop")
        options["optimizer"] = checked_optimizer("optimizer", optimizer)
        if own_units is None:
            named = isinstance(optimizer, str)
            own_units = named or steps_alike(options["optimizer"])
        if own_units:
            in_own_units(
                options["optimizer"],
                self.model,
                _built_variables(self.model, self._layer),
            )
        options = by_output(options, list(examples.outputs))
        examples.losses = losses_by_output(options.get("loss"), examples.outputs)
        examples.graded = graded_outputs(options, examples.outputs)
        with precision(self._dtype):
            self.model.compile(**options)

    def fit(self, x=None, y=None, *, n_steps: int | None = None, **kwargs):
        """As `Simulator.fit`."""
        _check_open(self, "fit")
        validation = kwargs.get("validation_data")
        if validation is not None:
            kwargs["validation_data"] = self._held_out(validation, n_steps)
        return self._call("fit", x, y, n_steps, kwargs)

    def evaluate(self, x=None, y=None, *, n_steps: int | None = None, **kwargs):
        """As `Simulator.evaluate`."""
        _check_open(self, "evaluate")
        return self._call("evaluate", x, y, n_steps, kwargs)

    def predict(
        self, x=None, *, n_steps: int | None = None, **kwargs
    ) -> dict[nengo.Probe, np.ndarray]:
        """As `Simulator.predict`."""
        _check_open(self, "predict")
        data = self._made.inputs_alone(x, n_steps)
        with precision(self._dtype), traced_ahead(self.model) as model:
            arrays = model.predict(data, **kwargs)
        return {probe: arrays[name] for name, probe in self._made.outputs.items()}

    def _call(self, method: str, x, y, n_steps, kwargs):
        weight, classes = kwargs.pop("sample_weight", None), kwargs.get("class_weight")
        if classes is not None:
            if weight is not None:
                raise not_both()
            del kwargs["class_weight"]
        data, *rest = self._made.arguments(x, y, weight, n_steps, classes)
        if rest and classes is not None and rest[0] is not None:
            targets, share = rest[0], kwargs.pop("validation_split", None)
            if share:  # is not weighted, as in Keras
                share = checked_number("validation_split", share, 0, 1)
                data, targets, kwargs["validation_data"] = split_off(
                    share, data, targets
                )
            rest = [targets, self._made.class_weights(classes, targets)]
        if len(rest) == 2:
            kwargs["sample_weight"] = rest.pop()
        with precision(self._dtype):
            return getattr(self.model, method)(data, *rest, **kwargs)

    def _held_out(self, validation, n_steps):
        """`validation_data` as Keras takes them."""
        if is_data_set(validation):
            return self._made.arguments(validation, name="validation_data")[0]
        if not isinstance(validation, tuple | list) or len(validation) not in (2, 3):
            raise ValidationError(
                "is (x, y), (x, y, sample_weight), or a data set of such; received"
                f" {received(validation)}.",
                attr="validation_data",
            )
        try:
            x, y, weight = (*validation, None)[:3]
            return self._made.arguments(x, y, weight, n_steps)
        except ValueError as error:
            raise ValidationError(str(error), attr="validation_data") from error

    @property
    def _made(self) -> Examples:
        """How data are keyed by the names of the model, which is made if need be."""
        assert self.model is not None and self._examples is not None
        return self._examples


def _built_variables(model, layer) -> list[keras.Variable]:
    """Those that are trained and that Nengo has drawn or solved."""
    paths = layer.cell.built_paths
    return [v for v in model.trainable_variables if v.path in paths]


def _check_open(training: Training, method: str) -> None:
    if training.closed:
        raise SimulatorClosed(f"{method} needs a simulator that is not closed.")
