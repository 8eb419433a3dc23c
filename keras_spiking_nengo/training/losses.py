"""Losses of outputs over time, `y (batch, time, classes)`.

With the steps of length `dt`, `N` of them, spikes `amplitude / dt` high, and
`CE(z) = -log softmax(z)[label]`:

    rate of a class    r = mean_t y[t] / amplitude,        CE(r / temperature)
    count of spikes    n = sum_t y[t] dt / amplitude,      CE(n)
    latency            l = time of the first spike,        CE(-l / temperature)
    highest step       h = max_t y[t],                     CE(h / temperature)
    temporal (TET)     mean_t (1 - weight) CE(y[t]) + weight mean (y[t] - target)^2

A spike counts through its surrogate gradient.

Reference:
    Deng, Li, Zhang and Gu (2022), *Temporal efficient training of spiking neural
    network via gradient re-weighting*, ICLR, arXiv:2202.11946 (TET).
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_spiking_nengo.checks import (
    check_float,
    check_policy,
    checked_array,
    checked_count,
    checked_dt,
    checked_name,
    checked_number,
    is_number,
    one_of,
    positive,
)
from keras_spiking_nengo.layers.masks import weighted_by_mask
from keras_spiking_nengo.saving import registered

__all__ = [
    "LatencyCrossEntropy",
    "MaskedMeanSquaredError",
    "MaxOverTimeCrossEntropy",
    "SpikeCountCrossEntropy",
    "SpikeRateCrossEntropy",
    "TemporalCrossEntropy",
]


# Keras's.
_REDUCTIONS = (
    *("sum_over_batch_size", "sum", "mean", "mean_with_sample_weight", "none"),
    None,
)


def per_step(weights, shape):
    """Weights of items or of their first axes, in the whole shape of the values."""
    missing = len(shape) - len(weights.shape)
    weights = ops.reshape(weights, (*ops.shape(weights), *(1 for _ in range(missing))))
    return ops.broadcast_to(weights, shape)


class _Loss(keras.losses.Loss):
    """Keras's, which leaves its dtype out of its configuration."""

    def __init__(self, name: str | None, reduction: str | None, dtype: Any):
        one_of("reduction", reduction, _REDUCTIONS)
        check_policy(dtype)
        name = checked_name("name", name)
        super().__init__(name=name, reduction=reduction, dtype=dtype)

    def get_config(self):
        return {**super().get_config(), "dtype": self.dtype}


@registered()
class MaskedMeanSquaredError(_Loss):
    """Mean squared error where there is a target: elsewhere, the target is NaN.

    A step's error is the mean over those of its features that have a target, and the
    loss is the mean over those steps that have one; the others have neither error nor
    gradient. A mask that Keras hands on, of a `Masking` layer say, takes steps out in
    the same way, and so does a `sample_weight` of 0.

    Args:
        reduction: as in `keras.losses.Loss`. Defaults to `"mean_with_sample_weight"`,
            the mean over steps with a target, weighted; of several batches, or of the
            shares of several devices, Keras takes the mean of their means.
            `"sum_over_batch_size"` and `"mean"` divide by the number of all steps,
            without a target as well, but for those that a mask of Keras's takes out.
        name, dtype: as in `keras.losses.Loss`.

    Call arguments:
        y_true: `(batch, time, features)`, NaN where there is no target. Any axes may be
            between the first and the last, and all of them but the last are steps.
        y_pred: the same shape.
        sample_weight: `(batch,)` or `(batch, time)`.

    Output shape:
        `()`, or that of the steps with `reduction=None`.

    Raises:
        ValueError: if the shapes differ.

    Example:
        >>> import numpy as np
        >>> target = np.array([[[np.nan], [np.nan], [1.0]]])
        >>> float(MaskedMeanSquaredError()(target, np.array([[[7.0], [8.0], [3.0]]])))
        4.0

    Reference:
        Rasmussen (2019), *NengoDL: combining deep learning and neuromorphic modelling
        methods*, Neuroinformatics 17, arXiv:1805.11144 (targets that are NaN).
    """

    def __init__(
        self,
        reduction: str | None = "mean_with_sample_weight",
        name: str = "masked_mean_squared_error",
        dtype=None,
    ):
        super().__init__(name=name, reduction=reduction, dtype=dtype)

    def __call__(self, y_true, y_pred, sample_weight=None):
        y_true = ops.cast(_as_numbers(y_true), self.dtype)
        _check_alike(y_true.shape, y_pred.shape)
        there = _has_target(y_true)
        weights = ops.cast(ops.any(there, axis=-1), self.dtype)
        if sample_weight is not None:
            weights = weights * per_step(
                ops.cast(sample_weight, self.dtype), ops.shape(weights)
            )
        return super().__call__(y_true, y_pred, weights)

    def call(self, y_true, y_pred):
        there = _has_target(y_true)
        # Not the error of a NaN times 0: its gradient is a NaN as well.
        error = ops.where(there, y_pred - ops.where(there, y_true, 0), 0)
        there = ops.cast(there, error.dtype)
        return ops.divide_no_nan(
            ops.sum(ops.square(error), axis=-1), ops.sum(there, axis=-1)
        )


def _has_target(y_true):
    return ops.logical_not(ops.isnan(y_true))


def _check_alike(true, pred) -> None:
    sizes = [] if len(true) != len(pred) else zip(true, pred, strict=True)
    if len(true) != len(pred) or any(None not in s and s[0] != s[1] for s in sizes):
        raise ValueError(
            "MaskedMeanSquaredError needs targets in the shape of the outputs; received"
            f" {tuple(true)} and {tuple(pred)}."
        )


class _ItemLoss(_Loss, ABC):
    """A cross-entropy of what is read from the steps of an item, `(batch,)`."""

    def __call__(self, y_true, y_pred, sample_weight=None):
        y_true = _as_numbers(y_true)
        _check_time(self, y_pred)
        sample_weight, share = weights_and_shares(sample_weight, y_pred, self.dtype)
        # A copy has no mask, which Keras would apply to the values of items.
        y_pred = ops.copy(ops.cast(y_pred, self.dtype))
        logits = self._logits(y_pred, share)
        return super().__call__(y_true, logits, sample_weight)

    def call(self, y_true, logits):
        return _entropy(_one_hot(y_true, logits), logits)

    @abstractmethod
    def _logits(self, y_pred, share):
        """Logits `(batch, classes)` of `y_pred (batch, time, classes)`.

        Of each step, `share (batch, time, 1)` counts, from 0 to 1; None for all.
        """


def weights_and_shares(weights, y, dtype: str):
    """Weights of items, and what shares of them their steps have.

    Args:
        weights: `(batch,)`, `(batch, time)`, or None.
        y: `(batch, time, *features)`. A mask that Keras hands on with it counts.
        dtype: of the result.

    Returns:
        Weights `(batch,)`, of an item the largest of its steps; and, if steps have
        weights or a mask, shares `(batch, time, 1)`, else None.
    """
    weights = weighted_by_mask(weights, y, dtype)
    if weights is None or len(weights.shape) == 1:
        return weights, None
    items = ops.max(weights, axis=1)
    return items, ops.divide_no_nan(weights, items[:, None])[..., None]


class _SpikeLoss(_ItemLoss):
    """One of spikes, which have a height, of populations that stand for classes."""

    def __init__(self, amplitude: float, population: int, name, reduction, dtype):
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.amplitude = positive("amplitude", amplitude)
        self.population = checked_count("population", population)

    def get_config(self):
        own = {"amplitude": self.amplitude, "population": self.population}
        return {**super().get_config(), **own}


def mean_of_populations(values, population: int):
    """`(..., classes * population)` as the means `(..., classes)`.

    Raises:
        ValueError: if the last axis is no whole number of populations.
    """
    classes, rest = divmod(values.shape[-1], population)
    if rest:
        raise ValueError(
            f"With population={population}, outputs are of so many neurons for each"
            f" class; received outputs of {values.shape[-1]} neurons."
        )
    apart = ops.reshape(values, (*ops.shape(values)[:-1], classes, population))
    return ops.mean(apart, axis=-1)


@registered()
class SpikeRateCrossEntropy(_SpikeLoss):
    """Cross-entropy of the classes' mean firing rates.

    The rates, divided by `temperature`, are the logits: the class that fires
    `temperature` Hz faster than another is `e` times as likely.

    Args:
        temperature: float, Hz. Defaults to 10, which for sequences of 0.1 s is one
            spike.
        amplitude: float. Of the neuron type: a spike is `amplitude / dt` high.
            Defaults to 1.
        population: int. So many neurons, next to each other, stand for a class; their
            mean counts. Defaults to 1.
        reduction, name, dtype: as in `keras.losses.Loss`.

    Call arguments:
        y_true: integer labels `(batch,)` or `(batch, 1)`; or `(batch, classes)`,
            one-hot or probabilities. The last dimension decides. A label that
            is no class, below 0 or too high, is refused; where it is not known yet,
            as in a compiled step, its loss is NaN, whatever its weight.
        y_pred: `(batch, time, classes)`, or `(batch, time, classes * population)`.
            Spikes, or rates times the amplitude.
        sample_weight: `(batch,)`; or `(batch, time)`, by which steps count in the mean,
            an item by the largest of its own. A mask that Keras hands on takes steps
            out, as a weight of 0 does.

    Output shape:
        `()`, or `(batch,)` with `reduction=None`.

    Raises:
        ValueError: if a number is not positive, a label is no class, the outputs are no
            whole number of populations, or shapes do not fit.

    Example:
        >>> import numpy as np
        >>> rates = np.array([[[30.0, 10.0]]])
        >>> loss = SpikeRateCrossEntropy(temperature=20)
        >>> round(float(loss(np.array([0]), rates)), 4)  # log(1 + 1/e)
        0.3133

    Reference:
        Eshraghian et al. (2023), *Training spiking neural networks using lessons from
        deep learning*, Proceedings of the IEEE 111(9) (cross-entropy of rates).
    """

    def __init__(
        self,
        temperature: float = 10.0,
        amplitude: float = 1.0,
        reduction: str | None = "sum_over_batch_size",
        name: str = "spike_rate_cross_entropy",
        dtype=None,
        population: int = 1,
    ):
        super().__init__(amplitude, population, name, reduction, dtype)
        self.temperature = positive("temperature", temperature)

    def _logits(self, y_pred, share):
        if share is not None:
            whole = ops.mean(share, axis=1, keepdims=True)
            y_pred = y_pred * ops.divide_no_nan(share, whole)
        rates = mean_of_populations(ops.mean(y_pred, axis=1), self.population)
        return rates / (self.amplitude * self.temperature)

    def get_config(self):
        return {**super().get_config(), "temperature": self.temperature}


@registered()
class SpikeCountCrossEntropy(_SpikeLoss):
    """Cross-entropy of the numbers of spikes that the classes send.

    The counts are the logits: one spike more makes a class `e` times as likely.

    Args:
        dt: float, seconds. Length of a step.
        window: `(start, stop)` in seconds: spikes after `start`, up to and with `stop`,
            are counted. The first step ends at `dt`. Defaults to None, all of them.
        amplitude: float. Of the neuron type: a spike is `amplitude / dt` high.
            Defaults to 1.
        population: int. So many neurons, next to each other, stand for a class; their
            mean counts. Defaults to 1.
        reduction, name, dtype: as in `keras.losses.Loss`.

    Call arguments:
        y_true: integer labels `(batch,)` or `(batch, 1)`; or `(batch, classes)`,
            one-hot or probabilities. The last dimension decides. A label that
            is no class, below 0 or too high, is refused; where it is not known yet,
            as in a compiled step, its loss is NaN, whatever its weight.
        y_pred: `(batch, time, classes)`, or `(batch, time, classes * population)`.
            Spikes.
        sample_weight: `(batch,)`; or `(batch, time)`, by which spikes count, an item by
            the largest of its own. A mask that Keras hands on takes steps out, as a
            weight of 0 does.

    Output shape:
        `()`, or `(batch,)` with `reduction=None`.

    Raises:
        ValueError: if a number is not positive, the window has no step or goes beyond
            a sequence of known length, or shapes do not fit.

    Example:
        >>> import numpy as np
        >>> spikes = np.array([[[1000.0, 0.0], [1000.0, 1000.0]]])
        >>> loss = SpikeCountCrossEntropy(dt=0.001)
        >>> round(float(loss(np.array([0]), spikes)), 4)  # log(1 + 1/e)
        0.3133

    Reference:
        Eshraghian et al. (2023), *Training spiking neural networks using lessons from
        deep learning*, Proceedings of the IEEE 111(9) (cross-entropy of counts).
    """

    def __init__(
        self,
        dt: float,
        window: Sequence[float] | None = None,
        amplitude: float = 1.0,
        reduction: str | None = "sum_over_batch_size",
        name: str = "spike_count_cross_entropy",
        dtype=None,
        population: int = 1,
    ):
        super().__init__(amplitude, population, name, reduction, dtype)
        self.dt = checked_dt(dt)
        self.window = None if window is None else checked_window(window, self.dt)

    def _logits(self, y_pred, share):
        sums = summed(y_pred, share, self.window, self.dt, self.population)
        return sums * (self.dt / self.amplitude)

    def get_config(self):
        window = None if self.window is None else list(self.window)
        return {**super().get_config(), "dt": self.dt, "window": window}


def checked_window(window, dt: float) -> tuple[float, float]:
    """A window as an argument gives it, `(start, stop)` in seconds."""
    several = isinstance(window, Sequence) and not isinstance(window, str | bytes)
    times = tuple(window) if several else ()
    if len(times) != 2 or not all(is_number(t) and math.isfinite(t) for t in times):
        raise ValueError(
            f"window is (start, stop) in seconds, or None; received {window!r}."
        )
    start, stop = times
    if not 0 <= round(start / dt) < round(stop / dt):
        raise ValueError(
            f"window is (start, stop) in seconds, with a step of dt={dt:g} s between"
            f" them and start from 0 on; received {window!r}."
        )
    return float(start), float(stop)


def summed(y, share, window: tuple[float, float] | None, dt: float, population: int):
    """What classes send in a window, by the shares of steps, `(batch, classes)`."""
    y = _of_window(y if share is None else y * share, window, dt)
    return mean_of_populations(ops.sum(y, axis=1), population)


def _of_window(y_pred, window: tuple[float, float] | None, dt: float):
    """The steps after the start of a window, up to and with its end."""
    if window is None:
        return y_pred
    start, stop = (round(t / dt) for t in window)
    length = y_pred.shape[1]
    if isinstance(length, int) and stop > length:
        raise ValueError(
            f"window={window} s ends at step {stop} of {dt:g} s; received a sequence"
            f" of {length} steps."
        )
    return y_pred[:, start:stop]


@registered()
class LatencyCrossEntropy(_SpikeLoss):
    """Cross-entropy of latencies: the class that fires first is meant.

    The latency of a class is the time of its first spike, and one step after the last
    if it sends none; that of a population is the mean of its neurons'. Latencies,
    divided by `-temperature`, are the logits: the class that fires `temperature`
    seconds before another is `e` times as likely.

    The gradient is exact, for the latency that is expected if a spike `s` of each step
    is sent with probability `s`: a spike more at step `n`, before the first one at `f`,
    would be `f - n` steps earlier; without the first one, the next at `g` would be
    `g - f` steps later. After the first spike, nothing counts.

    Args:
        dt: float, seconds. Length of a step; the first ends at `dt`.
        temperature: float, seconds. Defaults to 0.01.
        amplitude: float. Of the neuron type: a spike is `amplitude / dt` high.
            Defaults to 1.
        population: int. So many neurons, next to each other, stand for a class.
            Defaults to 1.
        reduction, name, dtype: as in `keras.losses.Loss`.

    Call arguments:
        y_true: integer labels `(batch,)` or `(batch, 1)`; or `(batch, classes)`,
            one-hot or probabilities. The last dimension decides. A label that
            is no class, below 0 or too high, is refused; where it is not known yet,
            as in a compiled step, its loss is NaN, whatever its weight.
        y_pred: `(batch, time, classes)`, or `(batch, time, classes * population)`.
            Spikes; what is not 0 is one.
        sample_weight: `(batch,)`; or `(batch, time)`, where steps of weight 0 send no
            spike, and an item counts by the largest of its own. A mask that Keras hands
            on takes steps out, as a weight of 0 does; time goes on in them.

    Output shape:
        `()`, or `(batch,)` with `reduction=None`.

    Raises:
        ValueError: if a number is not positive, a label is no class, the outputs are no
            whole number of populations, or shapes do not fit.

    Example:
        >>> import numpy as np
        >>> spikes = np.array([[[0.0, 0.0], [1000.0, 0.0], [0.0, 1000.0]]])
        >>> loss = LatencyCrossEntropy(dt=0.001, temperature=0.001)
        >>> round(float(loss(np.array([0]), spikes)), 4)  # log(1 + 1/e)
        0.3133

    Reference:
        Mostafa (2018), *Supervised learning based on temporal coding in spiking neural
        networks*, IEEE Transactions on Neural Networks and Learning Systems 29(7)
        (cross-entropy of spike times).
    """

    def __init__(
        self,
        dt: float,
        temperature: float = 0.01,
        amplitude: float = 1.0,
        population: int = 1,
        reduction: str | None = "sum_over_batch_size",
        name: str = "latency_cross_entropy",
        dtype=None,
    ):
        super().__init__(amplitude, population, name, reduction, dtype)
        self.dt = checked_dt(dt)
        self.temperature = positive("temperature", temperature)

    def _logits(self, y_pred, share):
        spikes = y_pred * (self.dt / self.amplitude)
        steps = latency(spikes, share, self.population)
        return steps * (-self.dt / self.temperature)

    def get_config(self):
        own = {"dt": self.dt, "temperature": self.temperature}
        return {**super().get_config(), **own}


def latency(spikes, share, population: int):
    """Steps to the end of that with the first spike, `(batch, classes)`.

    Args:
        spikes: `(batch, time, neurons)`, 1 for a spike. Without any, it is one step
            more than there are.
        share: `(batch, time, 1)`, above 0 where a spike counts; None for all.
        population: neurons of a class, whose mean it is.
    """
    if share is not None:
        spikes = ops.where(share > 0, spikes, 0)
    length = ops.shape(spikes)[1]
    n = ops.reshape(ops.arange(1, length + 1), (1, -1, 1))
    fires, never = ops.not_equal(spikes, 0), length + 1
    first = ops.min(ops.where(fires, n, never), axis=1, keepdims=True)
    later = ops.logical_and(fires, n > first)
    second = ops.min(ops.where(later, n, never), axis=1, keepdims=True)
    # By how many steps a spike more, or this one, makes it earlier.
    earlier = ops.where(n < first, first - n, ops.where(n == first, second - first, 0))
    earlier, steps = (ops.cast(value, spikes.dtype) for value in (earlier, first))
    change = spikes - ops.stop_gradient(spikes)
    steps = steps[:, 0] - ops.sum(ops.stop_gradient(earlier) * change, axis=1)
    return mean_of_populations(steps, population)


@registered()
class MaxOverTimeCrossEntropy(_ItemLoss):
    """Cross-entropy of what is highest of each class in all steps.

    It is meant for membranes that do not fire, such as those of a `Synapse` at the end
    of a model: a class is recognised in whatever step its voltage is highest, which
    alone has a gradient.

    Args:
        temperature: float, in units of the outputs, which it divides. Defaults to 1.
        reduction, name, dtype: as in `keras.losses.Loss`.

    Call arguments:
        y_true: integer labels `(batch,)` or `(batch, 1)`; or `(batch, classes)`,
            one-hot or probabilities. The last dimension decides. A label that
            is no class, below 0 or too high, is refused; where it is not known yet,
            as in a compiled step, its loss is NaN, whatever its weight.
        y_pred: `(batch, time, classes)`. Voltages, or currents.
        sample_weight: `(batch,)`; or `(batch, time)`, where steps of weight 0 are not
            looked at, and an item counts by the largest of its own. A mask that Keras
            hands on takes steps out, as a weight of 0 does.

    Output shape:
        `()`, or `(batch,)` with `reduction=None`.

    Raises:
        ValueError: if `temperature` is not positive, a label is no class, or shapes do
            not fit.

    Example:
        >>> import numpy as np
        >>> voltages = np.array([[[0.2, 0.1], [1.5, 0.5], [0.1, 0.4]]])
        >>> loss = MaxOverTimeCrossEntropy()
        >>> round(float(loss(np.array([0]), voltages)), 4)  # log(1 + 1/e)
        0.3133

    Reference:
        Cramer, Stradmann, Schemmel and Zenke (2022), *The Heidelberg spiking data sets
        for the systematic evaluation of spiking neural networks*, IEEE Transactions on
        Neural Networks and Learning Systems 33(7) (maximum over time of readouts).
    """

    def __init__(
        self,
        temperature: float = 1.0,
        reduction: str | None = "sum_over_batch_size",
        name: str = "max_over_time_cross_entropy",
        dtype=None,
    ):
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.temperature = positive("temperature", temperature)

    def _logits(self, y_pred, share):
        return highest(y_pred, share) / self.temperature

    def get_config(self):
        return {**super().get_config(), "temperature": self.temperature}


def highest(y, share):
    """The largest `(batch, classes)` of all steps that count; 0 if none does."""
    if share is None:
        return ops.max(y, axis=1)
    counts = share > 0
    some = ops.any(counts, axis=1)
    # The lowest there is takes the place of what does not count.
    return ops.where(
        some, ops.max(ops.where(counts, y, ops.min(y, axis=1, keepdims=True)), 1), 0
    )


@registered()
class TemporalCrossEntropy(_Loss):
    """Temporal efficient training (TET): the cross-entropy of every step.

    The output of each step is to be right, and not that of their mean only. It is meant
    for what enters the output neurons, their currents, of which the paper's second term
    keeps the distribution near a constant, such as the threshold: 1 for a LIF neuron.

    Args:
        weight: float from 0 to 1, the paper's lambda. Share of the squared distance
            from `target`, to 1 - `weight` of the cross-entropy. Defaults to 0.05.
        target: float, the paper's phi. Defaults to 1.
        reduction, name, dtype: as in `keras.losses.Loss`.

    Call arguments:
        y_true: integer labels `(batch,)` or `(batch, 1)`; or `(batch, classes)`,
            one-hot or probabilities. The last dimension decides; labels hold for all
            steps. A label that is no class, below 0 or too high, is refused; where it
            is not known yet, as in a compiled step, its loss is NaN, whatever its
            weight.
        y_pred: `(batch, time, classes)`. Logits of each step.
        sample_weight: `(batch,)` or `(batch, time)`.

    Output shape:
        `()`, or `(batch, time)` with `reduction=None`.

    Raises:
        ValueError: if `weight` is not from 0 to 1, `target` no number, or shapes do not
            fit.

    Example:
        >>> import numpy as np
        >>> loss = TemporalCrossEntropy(weight=0.5, target=1.0)
        >>> y = np.zeros((1, 3, 2))  # cross-entropy log(2), squared distance 1
        >>> round(float(loss(np.array([0]), y)), 4)
        0.8466

    Reference:
        Deng, Li, Zhang and Gu (2022), *Temporal efficient training of spiking neural
        network via gradient re-weighting*, ICLR, arXiv:2202.11946.
    """

    def __init__(
        self,
        weight: float = 0.05,
        target: float = 1.0,
        reduction: str | None = "sum_over_batch_size",
        name: str = "temporal_cross_entropy",
        dtype=None,
    ):
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.weight = checked_number("weight", weight, 0, 1)
        self.target = checked_number("target", target)

    def __call__(self, y_true, y_pred, sample_weight=None):
        y_true = _as_numbers(y_true)
        _check_time(self, y_pred)
        if sample_weight is not None:
            sample_weight = per_step(
                ops.cast(sample_weight, self.dtype), ops.shape(y_pred)[:2]
            )
        return super().__call__(y_true, y_pred, sample_weight)

    def call(self, y_true, y_pred):
        labels = _one_hot(y_true, y_pred)[:, None]
        distance = ops.mean(ops.square(y_pred - self.target), axis=-1)
        entropy = _entropy(labels, y_pred)
        return (1 - self.weight) * entropy + self.weight * distance

    def get_config(self):
        config = super().get_config()
        return {**config, "weight": self.weight, "target": self.target}


def _entropy(labels, logits):
    return -ops.sum(labels * ops.log_softmax(logits, axis=-1), axis=-1)


def _one_hot(labels, logits):
    """Labels `(batch,)`, `(batch, 1)` or `(batch, classes)` in the last form."""
    labels = checked_labels(labels, logits)
    shape, classes = tuple(labels.shape), logits.shape[-1]
    if classes > 1 and shape[1:] in ((), (1,)):
        labels = ops.cast(ops.reshape(labels, (-1, 1)), "int32")
        one_hot = ops.cast(labels == ops.arange(classes), logits.dtype)
        # Of a label that is no class all are 0, which would be no error.
        is_class = ops.any(one_hot > 0, axis=-1, keepdims=True)
        return ops.where(is_class, one_hot, np.nan)
    if classes > 1 and shape[1:] == (classes,):
        return labels
    raise ValueError(
        f"Labels are integers (batch,) or (batch, 1), or (batch, {classes}) for the"
        f" {classes} classes of the outputs, of which there are 2 or more; received"
        f" labels of shape {shape}."
    )


def checked_labels(labels, outputs):
    """Labels as a tensor.

    Args:
        labels: `(batch,)` or `(batch, 1)`, of classes; or of any other shape.
        outputs: `(batch, ..., classes)`.

    Raises:
        ValueError: for what is no number, labels of other items, and labels of classes
            that are none, where their values are known.
    """
    labels = ops.convert_to_tensor(_as_numbers(labels))
    shape, classes = tuple(labels.shape), outputs.shape[-1]
    pairs = zip(shape[:1], outputs.shape[:1], strict=True) if shape else ()
    if any(isinstance(m, int) and isinstance(n, int) and m != n for m, n in pairs):
        raise ValueError(
            f"Labels are of as many items as the outputs, {outputs.shape[0]}; received"
            f" labels of shape {shape}."
        )
    if classes > 1 and shape[1:] in ((), (1,)):
        _check_classes(labels, classes)
    return labels


def _as_numbers(y_true):
    """Labels or targets, which are numbers."""
    if not hasattr(y_true, "dtype"):
        return checked_array("y_true", y_true, finite=False)
    check_float("y_true", y_true.dtype)
    return y_true


def _check_classes(labels, classes: int) -> None:
    """Refuses labels that are no class, where their values are known."""
    try:
        values = np.ravel(ops.convert_to_numpy(labels)).astype(float)
    except (NotImplementedError, TypeError, ValueError):  # not computed yet
        return
    wrong = values[~((values >= 0) & (values < classes) & (values == np.rint(values)))]
    if len(wrong):
        raise ValueError(
            f"Labels are integers from 0 to {classes - 1}, for the {classes} classes of"
            f" the outputs; received {wrong[0]:g}."
        )


def _check_time(loss, y_pred) -> None:
    if len(y_pred.shape) != 3:
        raise ValueError(
            f"{type(loss).__name__} needs outputs (batch, time, classes); received"
            f" {tuple(y_pred.shape)}. Give the last layer return_sequences=True."
        )
