"""Penalties on what neurons do, for the `activity_regularizer` of a layer.

With `r` the rates of a layer's neurons, each the mean of its activity over time, and
a band of rates `[lo, hi]`:

    below = max(lo - r, 0);    above = max(r - hi, 0)
    penalty = sum(l1 (below + above) + l2 (below^2 + above^2))
"""

import math
from collections.abc import Sequence

import keras
from keras import ops

from keras_spiking_nengo.checks import checked_number, is_number, positive
from keras_spiking_nengo.saving import registered

__all__ = ["FiringRate"]

Bound = float | None


# Metrics have a FiringRate, too.
@registered("FiringRateRegularizer")
class FiringRate(keras.regularizers.Regularizer):
    """Keeps the firing rates of a layer's neurons in a band.

    As the `activity_regularizer` of `ksn.layers.Neurons(return_sequences=True)`. The
    penalty is summed over neurons, so that each is pushed alike, however many there
    are. Keras divides it by the size of the batch: what is added to the loss is,
    without a percentile, the mean over the batch. With one it is multiplied by that
    size first, so that it does not depend on it.

    A spike counts through its surrogate gradient, so a silent neuron below the band is
    pushed up as far as the surrogate reaches. The gradient of a percentile goes to the
    one or two items of the batch that it is read from. Steps that a mask has taken out
    count as the layer puts them out: see its `zero_output_for_mask`.

    `target=0` with `l1` or `l2` makes a plain penalty on rates, for sparse firing.

    Args:
        target: `(lo, hi)`, in Hz, or one rate, for both. None for no bound.
        l1: float. Penalty of each Hz outside of the band. Defaults to 0.
        l2: float. Penalty of the square of that. Defaults to 0.
        percentile: float from 0 to 100. Of each neuron, penalise this percentile of
            its rates over the batch, interpolated linearly: 100 is the item of the
            batch for which it fires most. Defaults to None, each item for itself.
        amplitude: float. Of the neuron type: a spike is `amplitude / dt` high.
            Defaults to 1.

    Call arguments:
        x: `(batch, time, *features)`. Activity; spikes of height `amplitude / dt`, or
            rates times the amplitude. Of types that fire with both signs the mean of
            the signed activity counts.

    Raises:
        ValueError: if `target` is no band, a number is out of its range, both `l1` and
            `l2` are 0, or `x` has no axis of time.

    Example:
        >>> import keras, keras_spiking_nengo as ksn
        >>> regularizer = FiringRate((50, 200), l1=0.1)
        >>> float(regularizer(keras.ops.full((1, 100, 2), 30.0)))  # 0.1 * 20 Hz, twice
        4.0
        >>> layer = ksn.layers.Neurons(
        ...     return_sequences=True, activity_regularizer=regularizer
        ... )

    Reference:
        Zenke and Vogels (2021), *The remarkable robustness of surrogate gradient
        learning for instilling complex function in spiking neural networks*, Neural
        Computation 33(4) (penalties below and above a band).
    """

    def __init__(
        self,
        target: float | Sequence[Bound],
        l1: float = 0.0,
        l2: float = 0.0,
        percentile: float | None = None,
        amplitude: float = 1.0,
    ):
        self.target = _band(target)
        self.l1, self.l2 = checked_number("l1", l1, 0), checked_number("l2", l2, 0)
        if not (self.l1 or self.l2):
            raise ValueError("l1 and l2 are both 0, so nothing is penalised.")
        if percentile is not None:
            percentile = checked_number(
                "percentile", percentile, 0, 100, advice="None takes each item."
            )
        self.percentile = percentile
        self.amplitude = positive("amplitude", amplitude)

    def __call__(self, x):
        if len(x.shape) < 3:
            raise ValueError(
                "FiringRate needs an activity (batch, time, *features); received the"
                f" shape {tuple(x.shape)}. Give the layer return_sequences=True, and"
                " return_state=False."
            )
        wide = keras.backend.standardize_dtype(x.dtype) == "float64"
        # In half precision a sum of spikes, each 1/dt high, overflows.
        x = x if wide else ops.cast(x, "float32")
        rates = ops.mean(x, axis=1) / self.amplitude
        if self.percentile is None:
            return self._penalty(rates)
        batch = ops.cast(ops.shape(rates)[0], rates.dtype)
        return batch * self._penalty(ops.quantile(rates, self.percentile / 100, axis=0))

    def _penalty(self, rates):
        lo, hi = self.target
        outside = [] if lo is None else [ops.relu(lo - rates)]
        outside += [] if hi is None else [ops.relu(rates - hi)]
        return sum(
            ops.sum(self.l1 * excess + self.l2 * ops.square(excess))
            for excess in outside
        )

    def get_config(self):
        return {
            "target": list(self.target),
            "l1": self.l1,
            "l2": self.l2,
            "percentile": self.percentile,
            "amplitude": self.amplitude,
        }


def _band(target) -> tuple[Bound, Bound]:
    if is_number(target):
        target = (target, target)
    several = isinstance(target, Sequence) and not isinstance(target, str | bytes)
    bounds = tuple(target) if several else ()
    numbers = [bound for bound in bounds if bound is not None]
    finite = all(is_number(bound) and math.isfinite(bound) for bound in numbers)
    if len(bounds) != 2 or not numbers or not finite:
        raise ValueError(
            "target is a rate in Hz, or a band (lo, hi) of which one may be None;"
            f" received {target!r}."
        )
    if min(numbers) < 0:
        raise ValueError(f"target is a rate, from 0 Hz on; received {target!r}.")
    if numbers[0] > numbers[-1]:
        raise ValueError(
            f"target is (lo, hi), the lower rate first; received {target}."
        )
    lo, hi = (None if bound is None else float(bound) for bound in bounds)
    return lo, hi
