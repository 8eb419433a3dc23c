"""`metrics=["accuracy"]` in `compile`, beside a loss of ours for classes.

Keras chooses an accuracy by the shapes of labels and outputs and asks the loss nothing;
for labels of items and outputs over time none of its own is right. So `compile` puts
the metric that reads an output as its loss does in the place of the word, and Keras
sees the word no more. Models without a loss of ours are compiled as they were.
"""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras

from keras_spiking_nengo.training.losses import (
    LatencyCrossEntropy,
    MaxOverTimeCrossEntropy,
    SpikeCountCrossEntropy,
    SpikeRateCrossEntropy,
    TemporalCrossEntropy,
)
from keras_spiking_nengo.training.metrics import (
    LatencyAccuracy,
    MaxOverTimeAccuracy,
    PopulationAccuracy,
    RateAccuracy,
)

__all__ = ["install"]

_WORDS = ("accuracy", "acc")  # Keras's, in any case
_METRIC_ARGUMENTS = ("metrics", "weighted_metrics")


def install() -> None:
    """Let `keras.Model.compile` find accuracies, in every model."""
    # Where it is defined: a class that overrides it is not restored from files.
    owner: Any = next(kind for kind in keras.Model.__mro__ if "compile" in vars(kind))
    owner.compile = _finding_accuracy(owner.compile)


def _finding_accuracy(compile_model: Callable[..., None]) -> Callable[..., None]:
    signature = inspect.signature(compile_model)

    @functools.wraps(compile_model)
    def compile(self, *args, **kwargs):
        try:
            given = dict(signature.bind(self, *args, **kwargs).arguments)
        except TypeError:  # which Keras words itself
            return compile_model(self, *args, **kwargs)
        names = getattr(self, "output_names", None) or ["output"]
        for name in _METRIC_ARGUMENTS:
            given[name] = _without_words(given.get(name), given.get("loss"), names)
        return compile_model(**given)

    return compile


def _without_words(metrics: Any, loss: Any, names: Sequence[str]) -> Any:
    """Metrics as `compile` takes them, without words for outputs of losses of ours."""
    if metrics is None or loss is None:
        return metrics
    if isinstance(loss, keras.losses.Loss):
        return keras.tree.map_structure(
            lambda each: _metric_beside(each, loss), metrics
        )
    if isinstance(loss, list | tuple) and len(loss) == len(names):
        loss = dict(zip(names, loss, strict=True))
    if not isinstance(loss, Mapping):
        return metrics
    if isinstance(metrics, Mapping):
        return {
            name: _without_words(each, loss.get(name), [name])
            for name, each in metrics.items()
        }
    if len(loss) == len(names) == 1:
        return _without_words(metrics, next(iter(loss.values())), names)
    if len(metrics) != len(names):
        return metrics
    pairs = zip(metrics, names, strict=True)
    return [_without_words(each, loss.get(name), [name]) for each, name in pairs]


def _metric_beside(metric: Any, loss: keras.losses.Loss) -> Any:
    if not isinstance(metric, str) or metric.lower() not in _WORDS:
        return metric
    make = next((m for kind, m in _READ_ALIKE.items() if isinstance(loss, kind)), None)
    return metric if make is None else make(loss, metric)


def _of_counts(loss: SpikeCountCrossEntropy, name: str) -> keras.metrics.Metric:
    options = (loss.dt, loss.window, name)
    if loss.population == 1:
        return RateAccuracy(*options)
    return PopulationAccuracy(loss.population, *options)


def _of_rates(loss: SpikeRateCrossEntropy, name: str) -> keras.metrics.Metric:
    if loss.population == 1:
        return RateAccuracy(name=name)
    return PopulationAccuracy(loss.population, name=name)


# What reads an output as a loss does.
_READ_ALIKE: dict[type, Callable[[Any, str], keras.metrics.Metric]] = {
    SpikeCountCrossEntropy: _of_counts,
    SpikeRateCrossEntropy: _of_rates,
    TemporalCrossEntropy: lambda loss, name: RateAccuracy(name=name),
    LatencyCrossEntropy: lambda loss, name: LatencyAccuracy(loss.population, name),
    MaxOverTimeCrossEntropy: lambda loss, name: MaxOverTimeAccuracy(name),
}
