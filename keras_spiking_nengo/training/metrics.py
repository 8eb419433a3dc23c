"""What the neurons of a model do, as Keras metrics.

Of an activity `y (batch, time, *features)` with steps of length `dt` and spikes
`amplitude / dt` high:

    rate     mean |y| / amplitude                  in Hz, over all there is
    spikes   sum_t |y[t]| dt / amplitude           of an item, summed over neurons
    silent   y = 0                                 of a neuron in a step
    right    argmax sum_t y[t] is the label        of an item; or of its populations,
             the first spike, the highest step, the last step

`watch` gives a model the activities of its inner layers as outputs.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

import keras
from keras import ops

from keras_spiking_nengo.checks import (
    check_kind,
    check_policy,
    checked_count,
    checked_dt,
    checked_items,
    checked_name,
    positive,
)
from keras_spiking_nengo.layers import Neurons
from keras_spiking_nengo.layers.masks import weighted_by_mask
from keras_spiking_nengo.models.calls import calls
from keras_spiking_nengo.models.replay import called, replay
from keras_spiking_nengo.saving import registered
from keras_spiking_nengo.training.losses import (
    checked_labels,
    checked_window,
    highest,
    latency,
    per_step,
    summed,
    weights_and_shares,
)

__all__ = [
    "DeadNeurons",
    "FiringRate",
    "LastStepAccuracy",
    "LatencyAccuracy",
    "MaxOverTimeAccuracy",
    "PopulationAccuracy",
    "RateAccuracy",
    "Sparsity",
    "SpikesPerInference",
    "watch",
]


# Regularizers have a FiringRate, too.
@registered("FiringRateMetric")
class FiringRate(keras.metrics.Mean):
    """Mean firing rate, in Hz, over items, steps and neurons.

    Args:
        amplitude: float. Of the neuron type: a spike is `amplitude / dt` high.
            `FiringRate.of(layer)` takes it from a layer. Defaults to 1.
        name, dtype: as in `keras.metrics.Metric`.

    Call arguments:
        y_true: not used.
        y_pred: `(batch, time, *features)`. Spikes, or rates times the amplitude.
        sample_weight: `(batch,)` or `(batch, time)`. A mask that Keras hands on takes
            steps out, as a weight of 0 does.

    Output shape:
        `()`.

    Raises:
        ValueError: if `amplitude` is not above 0, or `y_pred` has no axis of time.

    Example:
        >>> import numpy as np
        >>> metric = FiringRate()
        >>> metric.update_state(None, np.array([[[1000.0], [0.0], [0.0], [0.0]]]))
        >>> float(metric.result())
        250.0

    Reference:
        Dayan and Abbott (2001), *Theoretical neuroscience*, MIT Press, chapter 1 (the
        spike-count rate).
    """

    def __init__(self, amplitude: float = 1.0, name: str = "firing_rate", dtype=None):
        super().__init__(**_checked_options(name, dtype))
        self.amplitude = positive("amplitude", amplitude)

    @classmethod
    def of(cls, layer: keras.Layer, **kwargs: Any) -> "FiringRate":
        """The metric for the spikes of a `Neurons` layer."""
        return cls(amplitude=_amplitude_of(layer), **kwargs)

    def update_state(self, y_true, y_pred, sample_weight=None):
        activity = _checked_activity(self, y_pred)
        weights = weighted_by_mask(sample_weight, y_pred, self.dtype)
        super().update_state(ops.abs(activity) / self.amplitude, weights)

    def get_config(self):
        return {**super().get_config(), "amplitude": self.amplitude}


@registered()
class Sparsity(keras.metrics.Mean):
    """Share of silent steps, over items, steps and neurons.

    Args:
        name, dtype: as in `keras.metrics.Metric`.

    Call arguments:
        y_true: not used.
        y_pred: `(batch, time, *features)`. Spikes.
        sample_weight: `(batch,)` or `(batch, time)`; see `FiringRate`.

    Output shape:
        `()`.

    Raises:
        ValueError: if `y_pred` has no axis of time.

    Example:
        >>> import numpy as np
        >>> metric = Sparsity()
        >>> metric.update_state(None, np.array([[[1000.0], [0.0], [0.0], [0.0]]]))
        >>> float(metric.result())
        0.75

    Reference:
        Yik et al. (2025), *The NeuroBench framework for benchmarking neuromorphic
        computing algorithms and systems*, Nature Communications 16 (activation
        sparsity).
    """

    def __init__(self, name: str = "sparsity", dtype=None):
        super().__init__(**_checked_options(name, dtype))

    def update_state(self, y_true, y_pred, sample_weight=None):
        silent = ops.equal(_checked_activity(self, y_pred), 0)
        weights = weighted_by_mask(sample_weight, y_pred, self.dtype)
        super().update_state(ops.cast(silent, self.dtype), weights)


@registered()
class SpikesPerInference(keras.metrics.Mean):
    """Mean number of spikes that all neurons together send for an item.

    Args:
        dt: float, seconds. Length of a step.
        amplitude: float. Of the neuron type: a spike is `amplitude / dt` high.
            `SpikesPerInference.of(layer)` takes both from a layer. Defaults to 1.
        name, dtype: as in `keras.metrics.Metric`.

    Call arguments:
        y_true: not used.
        y_pred: `(batch, time, *features)`. Spikes.
        sample_weight: `(batch,)`; or `(batch, time)`, by which spikes count, an item by
            the largest of its own. See `FiringRate`.

    Output shape:
        `()`.

    Raises:
        ValueError: if a number is not above 0, or `y_pred` has no axis of time.

    Example:
        >>> import numpy as np
        >>> metric = SpikesPerInference(dt=0.001)
        >>> metric.update_state(None, np.array([[[1000.0, 1000.0], [0.0, 1000.0]]]))
        >>> float(metric.result())
        3.0

    Reference:
        Yik et al. (2025), *The NeuroBench framework for benchmarking neuromorphic
        computing algorithms and systems*, Nature Communications 16.
    """

    def __init__(
        self,
        dt: float,
        amplitude: float = 1.0,
        name: str = "spikes_per_inference",
        dtype=None,
    ):
        super().__init__(**_checked_options(name, dtype))
        self.dt = checked_dt(dt)
        self.amplitude = positive("amplitude", amplitude)

    @classmethod
    def of(cls, layer: keras.Layer, **kwargs: Any) -> "SpikesPerInference":
        """The metric for the spikes of a `Neurons` layer, with its present `dt`."""
        amplitude = _amplitude_of(layer)
        return cls(dt=layer.cell.dt, amplitude=amplitude, **kwargs)

    def update_state(self, y_true, y_pred, sample_weight=None):
        activity = ops.abs(_checked_activity(self, y_pred)) * (self.dt / self.amplitude)
        spikes = ops.sum(activity, axis=tuple(range(2, len(activity.shape))))
        sample_weight, share = weights_and_shares(sample_weight, y_pred, self.dtype)
        if share is not None:
            spikes = spikes * share[..., 0]
        super().update_state(ops.sum(spikes, axis=1), sample_weight)

    def get_config(self):
        return {**super().get_config(), "dt": self.dt, "amplitude": self.amplitude}


class _Accuracy(keras.metrics.Mean, ABC):
    """Share of items whose class has the highest of what is read from their steps."""

    def __init__(self, name: str, dtype: Any, population: int = 1):
        super().__init__(**_checked_options(name, dtype))
        self.population = checked_count("population", population)

    def update_state(self, y_true, y_pred, sample_weight=None):
        activity = _checked_activity(self, y_pred)
        sample_weight, share = weights_and_shares(sample_weight, y_pred, self.dtype)
        if len(activity.shape) > 3:
            self._refuse(y_true, activity)
        scores = self._scores(activity, share)
        labels, classes = checked_labels(y_true, scores), scores.shape[-1]
        if labels.shape[1:] not in ((), (1,), (classes,)):
            self._refuse(labels, activity)
        if classes > 1 and labels.shape[1:] == (classes,):
            labels = ops.argmax(labels, axis=-1)
        chosen = ops.cast(ops.argmax(scores, axis=-1), "int32")
        # As fractions: a label that is no class, where it was not known, is not hit.
        labels = ops.cast(ops.reshape(labels, (-1,)), "float32")
        same = ops.equal(ops.cast(chosen, "float32"), labels)
        super().update_state(ops.cast(same, self.dtype), sample_weight)

    def _refuse(self, labels, activity) -> None:
        raise ValueError(
            f"{type(self).__name__} takes labels (batch,), (batch, 1) or (batch,"
            " classes) and outputs (batch, time, classes); received the shapes"
            f" {tuple(ops.shape(labels))} and {tuple(activity.shape)}."
        )

    @abstractmethod
    def _scores(self, activity, share):
        """Scores `(batch, classes)` of `activity (batch, time, classes)`.

        Of each step, `share (batch, time, 1)` counts, from 0 to 1; None for all.
        """


class _RateAccuracy(_Accuracy):
    """One of the steps of a window, added up."""

    def __init__(self, dt: float, window, name: str, dtype, population: int = 1):
        super().__init__(name, dtype, population)
        self.dt = checked_dt(dt)
        self.window = None if window is None else checked_window(window, self.dt)

    def _scores(self, activity, share):
        return summed(activity, share, self.window, self.dt, self.population)

    def get_config(self):
        window = None if self.window is None else list(self.window)
        return {**super().get_config(), "dt": self.dt, "window": window}


@registered()
class RateAccuracy(_RateAccuracy):
    """Share of items for which the class of their label fires most, over all steps.

    What `metrics=["accuracy"]` is in `compile` beside a loss of ours for classes:
    Keras's own compares a label with every step, and takes no labels `(batch,)` for
    sequences.

    Args:
        dt: float, seconds. Length of a step, by which `window` is counted. Defaults to
            1 ms.
        window: `(start, stop)` in seconds: steps after `start`, up to and with `stop`,
            count, as in `losses.SpikeCountCrossEntropy`. Defaults to None, all of them.
        name, dtype: as in `keras.metrics.Metric`.

    Call arguments:
        y_true: integer labels `(batch,)` or `(batch, 1)`; or `(batch, classes)`,
            one-hot or probabilities.
        y_pred: `(batch, time, classes)`. Spikes, rates or currents.
        sample_weight: `(batch,)`; or `(batch, time)`, by which steps count, an item by
            the largest of its own. A mask that Keras hands on takes steps out, as a
            weight of 0 does.

    Output shape:
        `()`.

    Raises:
        ValueError: if `window` has no step or goes beyond a sequence of known length,
            `y_pred` is no sequence of classes, or labels have another shape.

    Example:
        >>> import numpy as np
        >>> metric = RateAccuracy()
        >>> spikes = np.array([[[1000.0, 0.0], [0.0, 1000.0], [1000.0, 0.0]]])
        >>> metric.update_state(np.array([0]), spikes)
        >>> float(metric.result())
        1.0

    Reference:
        Eshraghian et al. (2023), *Training spiking neural networks using lessons from
        deep learning*, Proceedings of the IEEE 111(9) (accuracy of rates).
    """

    def __init__(
        self,
        dt: float = 0.001,
        window: Sequence[float] | None = None,
        name: str = "rate_accuracy",
        dtype=None,
    ):
        super().__init__(dt, window, name, dtype)


@registered()
class PopulationAccuracy(_RateAccuracy):
    """Share of items for which the population of their label fires most.

    What `metrics=["accuracy"]` is in `compile` beside a loss of ours with `population`.

    Args:
        population: int. So many neurons, next to each other, stand for a class.
        dt: float, seconds. Length of a step, by which `window` is counted. Defaults to
            1 ms.
        window: as in `RateAccuracy`.
        name, dtype: as in `keras.metrics.Metric`.

    Call arguments:
        y_true: integer labels `(batch,)` or `(batch, 1)`; or `(batch, classes)`,
            one-hot or probabilities.
        y_pred: `(batch, time, classes * population)`. Spikes, rates or currents.
        sample_weight: as in `RateAccuracy`.

    Output shape:
        `()`.

    Raises:
        ValueError: if the outputs are no whole number of populations, and as
            `RateAccuracy`.

    Example:
        >>> import numpy as np
        >>> metric = PopulationAccuracy(population=2)
        >>> spikes = np.array([[[1000.0, 0.0, 0.0, 0.0], [0.0, 1000.0, 1000.0, 0.0]]])
        >>> metric.update_state(np.array([0]), spikes)
        >>> float(metric.result())
        1.0

    Reference:
        Eshraghian et al. (2023), *Training spiking neural networks using lessons from
        deep learning*, Proceedings of the IEEE 111(9) (population codes).
    """

    def __init__(
        self,
        population: int,
        dt: float = 0.001,
        window: Sequence[float] | None = None,
        name: str = "population_accuracy",
        dtype=None,
    ):
        super().__init__(dt, window, name, dtype, population)

    def get_config(self):
        return {**super().get_config(), "population": self.population}


@registered()
class LatencyAccuracy(_Accuracy):
    """Share of items for which the class of their label fires first.

    What `metrics=["accuracy"]` is in `compile` beside `losses.LatencyCrossEntropy`. Of
    classes that fire in one step, the first is taken, and so it is if none fires.

    Args:
        population: int. So many neurons, next to each other, stand for a class; the
            mean of their latencies counts. Defaults to 1.
        name, dtype: as in `keras.metrics.Metric`.

    Call arguments:
        y_true: integer labels `(batch,)` or `(batch, 1)`; or `(batch, classes)`,
            one-hot or probabilities.
        y_pred: `(batch, time, classes * population)`. Spikes; what is not 0 is one.
        sample_weight: `(batch,)`; or `(batch, time)`, where steps of weight 0 send no
            spike, and an item counts by the largest of its own. A mask that Keras hands
            on takes steps out, as a weight of 0 does.

    Output shape:
        `()`.

    Raises:
        ValueError: if `y_pred` is no sequence of classes, or labels have another shape.

    Example:
        >>> import numpy as np
        >>> metric = LatencyAccuracy()
        >>> spikes = np.array([[[0.0, 0.0], [1000.0, 0.0], [0.0, 1000.0]]])
        >>> metric.update_state(np.array([0]), spikes)
        >>> float(metric.result())
        1.0

    Reference:
        Mostafa (2018), *Supervised learning based on temporal coding in spiking neural
        networks*, IEEE Transactions on Neural Networks and Learning Systems 29(7).
    """

    def __init__(self, population: int = 1, name: str = "latency_accuracy", dtype=None):
        super().__init__(name, dtype, population)

    def _scores(self, activity, share):
        return -latency(activity, share, self.population)

    def get_config(self):
        return {**super().get_config(), "population": self.population}


@registered()
class MaxOverTimeAccuracy(_Accuracy):
    """Share of items for which the class of their label is highest in any step.

    What `metrics=["accuracy"]` is in `compile` beside `losses.MaxOverTimeCrossEntropy`.

    Args:
        name, dtype: as in `keras.metrics.Metric`.

    Call arguments:
        y_true: integer labels `(batch,)` or `(batch, 1)`; or `(batch, classes)`,
            one-hot or probabilities.
        y_pred: `(batch, time, classes)`. Voltages, or currents.
        sample_weight: `(batch,)`; or `(batch, time)`, where steps of weight 0 are not
            looked at, and an item counts by the largest of its own. A mask that Keras
            hands on takes steps out, as a weight of 0 does.

    Output shape:
        `()`.

    Raises:
        ValueError: if `y_pred` is no sequence of classes, or labels have another shape.

    Example:
        >>> import numpy as np
        >>> metric = MaxOverTimeAccuracy()
        >>> metric.update_state(np.array([1]), np.array([[[0.2, 0.1], [0.5, 1.5]]]))
        >>> float(metric.result())
        1.0

    Reference:
        Cramer, Stradmann, Schemmel and Zenke (2022), *The Heidelberg spiking data sets
        for the systematic evaluation of spiking neural networks*, IEEE Transactions on
        Neural Networks and Learning Systems 33(7).
    """

    def __init__(self, name: str = "max_over_time_accuracy", dtype=None):
        super().__init__(name, dtype)

    def _scores(self, activity, share):
        return highest(activity, share)


@registered()
class LastStepAccuracy(_Accuracy):
    """Share of items for which the class of their label is highest in the last step.

    Args:
        name, dtype: as in `keras.metrics.Metric`.

    Call arguments:
        y_true: integer labels `(batch,)` or `(batch, 1)`; or `(batch, classes)`,
            one-hot or probabilities.
        y_pred: `(batch, time, classes)`. Of a filtered output, a `Synapse` at the end
            of the model, say; of spikes, a single step tells little.
        sample_weight: `(batch,)`; or `(batch, time)`: the last step whose weight is
            not 0 is taken, and an item counts by the largest of its own. A mask that
            Keras hands on takes steps out, as a weight of 0 does.

    Output shape:
        `()`.

    Raises:
        ValueError: if `y_pred` is no sequence of classes, or labels have another shape.

    Example:
        >>> import numpy as np
        >>> metric = LastStepAccuracy()
        >>> metric.update_state(np.array([1]), np.array([[[0.9, 0.1], [0.2, 0.8]]]))
        >>> float(metric.result())
        1.0

    Reference:
        Bellec et al. (2018), *Long short-term memory and learning-to-learn in networks
        of spiking neurons*, NeurIPS, arXiv:1803.09574 (readout at the end).
    """

    def __init__(self, name: str = "last_step_accuracy", dtype=None):
        super().__init__(name, dtype)

    def _scores(self, activity, share):
        if share is None:
            return activity[:, -1]
        n = ops.reshape(ops.arange(1, ops.shape(share)[1] + 1), (1, -1, 1))
        n = ops.where(share > 0, n, 0)
        last = ops.logical_and(n > 0, n == ops.max(n, axis=1, keepdims=True))
        return ops.sum(ops.where(last, activity, 0), axis=1)


@registered()
class DeadNeurons(keras.metrics.Metric):
    """Share of neurons that have not fired at all since the last reset.

    In `fit` and `evaluate`, a reset is the begin of an epoch and of an evaluation, so
    it is the share of neurons that are silent on all of the data.

    Args:
        name, dtype: as in `keras.metrics.Metric`.

    Call arguments:
        y_true: not used.
        y_pred: `(batch, time, *features)`. Spikes, of known features.
        sample_weight: `(batch,)` or `(batch, time)`. What fires with a weight of 0 does
            not count.

    Output shape:
        `()`.

    Raises:
        ValueError: if `y_pred` has no axis of time, or features of unknown size.

    Example:
        >>> import numpy as np
        >>> metric = DeadNeurons()
        >>> metric.update_state(None, np.array([[[1000.0, 0.0], [0.0, 0.0]]]))
        >>> metric.update_state(None, np.array([[[1000.0, 0.0], [0.0, 0.0]]]))
        >>> float(metric.result())
        0.5

    Reference:
        Eshraghian et al. (2023), *Training spiking neural networks using lessons from
        deep learning*, Proceedings of the IEEE 111(9) (dead neurons).
    """

    def __init__(self, name: str = "dead_neurons", dtype=None):
        super().__init__(**_checked_options(name, dtype))
        # Made by the first call, which tells its shape, as in Keras's own metrics.
        self.fired: Any = None

    def update_state(self, y_true, y_pred, sample_weight=None):
        activity = _checked_activity(self, y_pred)
        if self.fired is None:
            self.fired = self._zeros(tuple(activity.shape[2:]))
        fires = ops.not_equal(activity, 0)
        sample_weight = weighted_by_mask(sample_weight, y_pred, self.dtype)
        if sample_weight is not None:
            counts = ops.not_equal(sample_weight, 0)
            fires = ops.logical_and(fires, per_step(counts, ops.shape(activity)))
        fires = ops.cast(ops.any(fires, axis=(0, 1)), self.dtype)
        self.fired.assign(ops.maximum(self.fired, fires))

    def _zeros(self, features):
        if None in features:
            raise ValueError(
                f"DeadNeurons needs features of known size; received {features}."
            )
        return self.add_variable(features, "zeros", dtype=self.dtype, name="fired")

    def result(self):
        if self.fired is None:
            return ops.zeros((), dtype=self.dtype)
        # Replicas of a distributed run are summed.
        return ops.mean(ops.cast(ops.equal(self.fired, 0), self.dtype))


def _checked_options(name: str | None, dtype: Any) -> dict[str, Any]:
    """Arguments of every metric of Keras's."""
    check_policy(dtype)
    return {"name": checked_name("name", name), "dtype": dtype}


def _checked_activity(metric, y_pred):
    if len(y_pred.shape) < 3:
        raise ValueError(
            f"{type(metric).__name__} needs an activity (batch, time, *features);"
            f" received the shape {tuple(y_pred.shape)}. Give the layer"
            " return_sequences=True."
        )
    return ops.cast(y_pred, metric.dtype)


def _amplitude_of(layer) -> float:
    if not isinstance(layer, Neurons):
        raise ValueError(
            f"of() takes a ksn.layers.Neurons layer; received {layer!r}. Give the"
            " numbers themselves for another."
        )
    if "amplitude" in layer.cell.trainable_parameters:
        raise ValueError(
            f"The amplitude of {layer.name!r} is trained, so that its spikes have no"
            " fixed height. Use Sparsity or DeadNeurons, which need none."
        )
    return float(getattr(layer.cell.neuron_type, "amplitude", 1.0))


# --- inner layers -----------------------------------------------------------------


@registered("WatchedModel")
class _Watched(keras.Model):
    """A functional model with further outputs, which have no targets.

    Its outputs are a dict. `targeted` has the structure of the outputs of the model
    that is watched, with the names that they have in that dict; to a loss, they are
    all.
    """

    targeted: Any = None

    def compute_loss(
        self, x=None, y=None, y_pred=None, sample_weight=None, training=True
    ):
        outputs = keras.tree.map_structure(lambda name: y_pred[name], self.targeted)
        return super().compute_loss(x, y, outputs, sample_weight, training)

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        # Keras wants a target for every output. That of an activity is not used.
        names = keras.tree.flatten(self.targeted)
        targets = keras.tree.flatten(y) if y is not None else [None] * len(names)
        if isinstance(y, dict):
            targets = [y.get(name) for name in names]
        targets = {**y_pred, **dict(zip(names, targets, strict=True))}
        return super().compute_metrics(x, targets, y_pred, sample_weight)

    def get_config(self):
        # Files know it by this name.
        return {**super().get_config(), "own": self.targeted}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        targeted = config.pop("own")
        model = super().from_config(config, custom_objects)
        return _with_targets(model, targeted)


def _with_targets(model: _Watched, targeted) -> _Watched:
    # Keras would wrap a list or dict.
    object.__setattr__(model, "targeted", targeted)
    # By these Keras finds losses that are given by name.
    model.output_names = keras.tree.flatten(targeted)
    return model


def watch(model: keras.Model, layers: Iterable | None = None) -> keras.Model:
    """The model with the activities of inner layers as further outputs.

    The two share all weights: training one trains the other. What is returned is
    compiled with the losses of `model`, and is fitted and evaluated on the data of
    `model`. Its outputs are a dict, so metrics go by name: of a layer for its activity,
    and of the output (for a model with one, of its last layer) for the others.

    Args:
        model: functional or `keras.Sequential`, built. Layers within a model that is
            itself a layer of it are not reached.
        layers: layers of it, or their names. The output of each, of its first call in
            the model, has to be `(batch, time, *features)`; of one with
            `return_state=True`, the sequence counts. Defaults to all
            `ksn.layers.Neurons` that return sequences.

    Returns:
        `keras.Model`, not compiled.

    Raises:
        ValueError: if the model is not built, there is no layer to watch, one is not
            of the model or has no activity over time, or an output has the name of a
            layer that it is not of.

    Example:
        >>> import keras, numpy as np, keras_spiking_nengo as ksn
        >>> model = keras.Sequential([
        ...     keras.Input((20, 3)),
        ...     ksn.layers.Neurons("lif", return_sequences=True, name="hidden"),
        ...     keras.layers.GlobalAveragePooling1D(name="rates"),
        ... ])
        >>> watched = ksn.metrics.watch(model)
        >>> watched.compile(
        ...     loss="mse", metrics={"hidden": [ksn.metrics.Sparsity()], "rates": "mae"}
        ... )
        >>> x, y = np.ones((2, 20, 3)), np.zeros((2, 3))
        >>> sorted(watched.evaluate(x, y, verbose=0, return_dict=True))
        ['hidden_sparsity', 'loss', 'rates_mae']
    """
    if not getattr(model, "inputs", None):
        raise ValueError(
            "model: watch takes a functional or Sequential model that is built;"
            f" received {model!r}. Give a Sequential a keras.Input first."
        )
    targeted, chosen = _output_names(model), chosen_layers(model, layers)
    model_outputs, of_layers = _called_again(model)
    outputs = dict(zip(keras.tree.flatten(targeted), model_outputs, strict=True))
    for layer in chosen:
        activity = _over_time(layer, of_layers.get(id(layer), layer.output))
        if outputs.setdefault(layer.name, activity) is not activity:
            raise ValueError(
                f"An output of the model is called {layer.name!r}, as is the layer to"
                " watch, and is not its activity. Give one of them another name."
            )
    # A Sequential has no `input` of its own.
    inputs = model.inputs[0] if isinstance(model, keras.Sequential) else model.input
    return _with_targets(_Watched(inputs, outputs, name=model.name), targeted)


def _called_again(model) -> tuple[list, dict[int, Any]]:
    """A model's outputs for its inputs, and those of the first call of each layer.

    A layer's `output` is that of its first call of all, which another model may have.
    """
    first: dict[int, Any] = {}

    def note(call, args, kwargs):
        outputs = called(call, args, kwargs)
        first.setdefault(id(call.called), outputs)
        return outputs

    return replay(calls(model, nested=False), model.inputs, note), first


def _output_names(model):
    """Names of the outputs, in the structure of the outputs."""
    if isinstance(model, keras.Sequential):
        return model.layers[-1].name
    structure = model.output
    if isinstance(structure, dict):
        return {name: name for name in structure}
    names = list(model.output_names)
    if len(set(names)) < len(names):
        raise ValueError(
            f"watch needs a name for each output; those of the model are {names}. Make"
            " its outputs a dict."
        )
    return names if isinstance(structure, list | tuple) else names[0]


def chosen_layers(model: keras.Model, layers) -> list[keras.Layer]:
    """The layers that `watch` takes `layers` for."""
    if layers is None:
        spiking = [layer for layer in model.layers if _is_spiking(layer)]
        if not spiking:
            raise ValueError(
                f"{model.name!r} has no Neurons layer that returns sequences. Give one"
                " return_sequences=True, or name other layers to watch."
            )
        return spiking
    named = {layer.name: layer for layer in model.layers}
    chosen = []
    for layer in listed(layers):
        if isinstance(layer, str) and layer not in named:
            raise ValueError(f"layers: No such layer: {layer}. There are {[*named]}.")
        chosen.append(named[layer] if isinstance(layer, str) else layer)
        if not any(chosen[-1] is one for one in model.layers):
            raise ValueError(
                f"layers: {layer!r} is not among the model's layers {[*named]}."
            )
    return chosen


def listed(layers) -> tuple:
    """Layers, or their names, as a user gives one or several of them.

    Raises:
        TypeError: for what is neither.
    """
    if isinstance(layers, keras.Layer):
        return (layers,)
    possible = "layers, or their names, or None"
    several = checked_items("layers", layers, possible)
    for layer in several:
        check_kind(f"Each of layers={layers!r}", layer, (keras.Layer, str), possible)
    return several


def _is_spiking(layer) -> bool:
    return isinstance(layer, Neurons) and layer.return_sequences


def _over_time(layer, output):
    """What of a layer's output is over time."""
    if isinstance(output, list | tuple) and getattr(layer, "return_state", False):
        output = output[0]
    if len(getattr(output, "shape", ())) < 3:
        raise ValueError(
            f"{layer.name!r} has no activity (batch, time, *features) to watch; its"
            f" output is {output}. Give it return_sequences=True."
        )
    return output
