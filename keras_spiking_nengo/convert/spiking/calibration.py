"""How neurons are driven in the place of an activation.

Neurons with the rate curve `r` (spikes per second and unit of amplitude) stand in for
an activation `f`:

    f(x)  ~  height r(gain x + bias)

Without scaling, `gain = 1`, `bias = 0` and `height` is the neurons' own amplitude.
A scale `s` makes `gain = s` and `height = amplitude / s`. Calibration takes from data
how high activations become, `h`, and from the inverse of the rate curve the current
`gain h + bias` that fires at the rate wanted for it. Where a neuron begins to fire, as
a share `c` of `h`, and `height` are those with the least square error on the data: a
curve with a threshold, as that of LIF neurons, crosses a straight line, and a straight
one is met by `c = 0` and `height = h / rate`.

Where the neurons have the very curve of the activation, which need not be a line, a
scale of their input would bend it: they fire `factor` times as fast for the same input.

    f(x)  =  height (factor f(x)),     height = 1 / factor

Reference:
    Rueckauer et al. (2017), *Conversion of continuous-valued deep networks to
    efficient event-driven networks for image classification*, Front. Neurosci. 11
    (percentiles of activations); Eliasmith and Anderson (2003), *Neural Engineering*,
    MIT Press (gain and bias from a maximal rate).
"""

import math
import warnings
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, TypeAlias

import keras
import nengo
import numpy as np

from keras_spiking_nengo import serialization
from keras_spiking_nengo.models.calls import Calls
from keras_spiking_nengo.models.data import arrays_of
from keras_spiking_nengo.models.predictions import traced_ahead
from keras_spiking_nengo.models.replay import Replay

__all__ = [
    "Drive",
    "NeuronType",
    "calibrated",
    "driven",
    "drives_of",
    "highest_rate",
    "rate_half",
    "skew",
]

NeuronType: TypeAlias = nengo.neurons.NeuronType

# What calibration aims at: spikes per step where neurons may fire any number, and a
# share of the highest rate where a refractory period limits them. A curve bends what
# it sees in each step, so that the coarser the spikes that come in, the more it is off.
_PER_STEP, _PER_STEP_OF_CURVES = 4, 16
_SHARE = 0.5
# Shares of the highest activation at which neurons may begin to fire, 0 first.
_BEGINS = np.linspace(0, 0.3, 16)
# Values of one layer that percentiles are taken of.
_SAMPLES = 2_000_000


@dataclass(frozen=True, eq=False)
class Drive:
    """How neurons are driven in the place of an activation.

    Attributes:
        gain, bias: floats, or arrays over the last axis: current for an input.
        height: what a spike per second counts.
        high: activation at the target rate, or None where nothing was calibrated.
        factor: on the rate curve of neurons with the very curve of the activation.
    """

    gain: Any = 1.0
    bias: Any = 0.0
    height: Any = 1.0
    high: Any = None
    factor: float = 1.0


def rate_half(neuron_type: NeuronType) -> NeuronType:
    """What computes the rates, of types that make spikes of them."""
    return getattr(neuron_type, "base_type", neuron_type)


def driven(neuron_type: NeuronType, drive: Drive) -> NeuronType:
    """The neuron type as it is driven."""
    if drive.factor != 1:
        curve = rate_half(neuron_type)
        changed = (
            {"amplitude": drive.factor}
            if hasattr(curve, "amplitude")
            else {"tau_ref": 1 / drive.factor}  # of a sigmoid or tanh
        )
        curve = serialization.altered(curve, **changed)
        neuron_type = serialization.altered(neuron_type, base_type=curve)
    if not hasattr(neuron_type, "amplitude"):
        return neuron_type
    one = np.ndim(drive.height) == 0
    amplitude = float(drive.height) if one else 1.0
    return serialization.altered(neuron_type, amplitude=amplitude)


def drives_of(
    old: Calls,
    replaced: Mapping[str, NeuronType],
    curves: Collection[str],
    scale: float | Mapping[str, float] | str | None,
    data: Any,
    options: tuple[float, bool, float | None, float],
) -> dict[str, Drive]:
    """How the neurons of each call are driven.

    Args:
        old: the calls of the model.
        replaced: neuron types by call.
        curves: calls whose neurons have the very curve of the activation.
        scale: as for `to_spiking`.
        data: to calibrate on.
        options: percentile, whether per channel, target rate and length of a step.
    """
    if scale is None:
        return {
            name: Drive(height=getattr(kind, "amplitude", 1.0))
            for name, kind in replaced.items()
        }
    for name, kind in replaced.items():
        if name not in curves and not hasattr(kind, "amplitude"):
            raise NotImplementedError(
                f"The neurons of layer {name!r}, {kind}, have no amplitude, so their"
                " rates cannot be scaled. Use scale_firing_rates=None."
            )
    if scale == "calibrate":
        percentile, per_channel, rate, dt = options
        seen = _activations_on(old, tuple(replaced), data)
        axis = 0 if per_channel else None
        drives = {}
        # A curve may fire with both signs.
        seen |= {name: np.abs(seen[name]) for name in curves}
        _warn_of_silence({old[name].path: seen[name] for name in replaced})
        for name, kind in replaced.items():
            if name in curves:
                high = float(np.percentile(seen[name], percentile)) or 1.0
                target = rate or _PER_STEP_OF_CURVES / dt
                drives[name] = _faster(kind, target / high, high)
                continue
            high = np.percentile(seen[name], percentile, axis=axis)
            drives[name] = calibrated(kind, high, rate, dt, _shares(seen[name], high))
        return drives
    scales = _scales_by_call(old, replaced, scale)
    return {
        name: _faster(kind, scales[name])
        if name in curves
        else Drive(scales[name], 0.0, kind.amplitude / scales[name])
        for name, kind in replaced.items()
    }


def _faster(kind: NeuronType, factor: float, high: float | None = None) -> Drive:
    """The drive of neurons with the very curve of an activation."""
    if not kind.spiking:
        return Drive(high=high)
    return Drive(height=1 / factor, high=high, factor=factor)


def _warn_of_silence(seen: Mapping[str, np.ndarray]) -> None:
    dead = [path for path, values in seen.items() if not np.any(values > 0)]
    if dead:
        warnings.warn(
            f"No activation of {', '.join(map(repr, dead))} is above 0 on"
            " calibration_data, so there is no scale to find. Give data on which it is"
            " active; if there is none, the layer is dead: train it again.",
            stacklevel=4,
        )


def _scales_by_call(old: Calls, replaced, scale) -> dict[str, float]:
    if not isinstance(scale, Mapping):
        return dict.fromkeys(replaced, float(scale))
    possible = sorted({old[name].path for name in replaced})
    _check_names(scale, possible)
    return {name: float(scale.get(old[name].path, 1.0)) for name in replaced}


def _check_names(scale: Mapping, possible: list[str]) -> None:
    for key in scale:
        if not isinstance(key, str):
            instead = f" {key.name!r}" if isinstance(key, keras.Layer) else ""
            raise TypeError(
                "The keys of scale_firing_rates are names of layers; received"
                f" {key!r}. Use its name{instead}, one of {possible}."
            )
    unknown = sorted(set(scale) - set(possible))
    if unknown:
        nearest = get_close_matches(unknown[0], possible, n=3, cutoff=0)
        raise ValueError(
            f"scale_firing_rates names {unknown}; of the {len(possible)} layers whose"
            f" activation is replaced the nearest by name are {nearest}."
        )


def calibrated(
    neuron_type: NeuronType,
    high: Any,
    rate: float | None = None,
    dt: float = 0.001,
    shares: Any = None,
) -> Drive:
    """How neurons fire at `rate` for an activation of `high`.

    Args:
        neuron_type: of the neurons.
        high: highest activation, a float or an array over channels.
        rate: target rate in Hz, or None for the default.
        dt: length of a step, in seconds.
        shares: activations above 0 as shares of `high`, which the rate curve is to
            follow. All from 0 to 1 by default.

    Raises:
        ValueError: for a rate that the neurons cannot reach.
    """
    limit = highest_rate(neuron_type)
    rate = rate or min(_PER_STEP / dt, _SHARE * limit)
    if rate >= limit:
        raise ValueError(
            f"target_rate={rate:g} Hz: {neuron_type} fires below {limit:g} Hz."
        )
    unit = serialization.altered(neuron_type, amplitude=1.0)
    shares = np.linspace(0.02, 1, 50) if shares is None else np.asarray(shares)
    fits = [_fitted(unit, rate, begin, shares) for begin in _BEGINS]
    _, gain, bias, height = min(fits)
    # A layer that is silent on all of the data keeps the scale of one.
    high = np.where(np.asarray(high) > 0, high, 1.0)
    if np.ndim(high) == 0:
        high = float(high)
    return Drive(gain / high, bias, height * high, high)


def _fitted(unit: NeuronType, rate: float, begin: float, shares: np.ndarray):
    """Error, gain, bias and height where neurons begin to fire at a share."""
    gain, bias = unit.gain_bias(np.array([rate]), np.array([begin]))
    rates = unit.rates(shares, gain, bias)[:, 0]
    height = float(rates @ shares / max(rates @ rates, 1e-12))
    error = float(np.mean((height * rates - shares) ** 2))
    return error, float(gain[0]), float(bias[0]), height


def highest_rate(neuron_type: NeuronType) -> float:
    """Rate in Hz that neurons cannot exceed, by their refractory period."""
    tau_ref = getattr(rate_half(neuron_type), "tau_ref", 0.0)
    return 1 / tau_ref if tau_ref else math.inf


def skew(
    neuron_type: NeuronType,
    drive: Drive,
    function: Callable,
    bounded: Callable[[Any], Any] | None = None,
) -> float:
    """Largest difference of neurons' rate curve from an activation.

    Args:
        neuron_type: of the neurons.
        drive: how they are driven.
        function: the activation.
        bounded: what is made of their input before; None for nothing.

    Returns:
        As a share of the activation at the top: `drive.high`, or 1 without it.
    """
    high = 1.0 if drive.high is None else float(np.max(drive.high))
    gain = float(np.min(drive.gain)) if np.ndim(drive.gain) else drive.gain
    height = float(np.max(drive.height)) if np.ndim(drive.height) else drive.height
    x = np.linspace(-high, high, 201)
    unit = driven(neuron_type, Drive(factor=drive.factor))
    seen = x if bounded is None else bounded(x.astype("float32"))
    seen = np.asarray(keras.ops.convert_to_numpy(seen), float)
    rates = unit.rates(seen, np.array([gain]), np.array([drive.bias]))[:, 0]
    wanted = np.asarray(keras.ops.convert_to_numpy(function(x.astype("float32"))))
    scale = np.max(np.abs(wanted)) or 1.0
    return float(np.max(np.abs(height * rates - wanted)) / scale)


def _activations_on(old: Calls, names, data) -> dict[str, np.ndarray]:
    """Outputs of calls on data, `(some, channels)`."""
    arrays = arrays_of(old, data, "calibration_data", finite=True)
    policy = old.model.dtype_policy
    replay = Replay(old, names, name="calibration", dtype=policy)
    batches = max(math.ceil(len(arrays[0]) / 32), 1)
    rng = np.random.RandomState(0)
    samples: dict[str, list] = {name: [] for name in names}
    for part in zip(*(np.array_split(a, batches) for a in arrays), strict=True):
        with traced_ahead(replay):
            sent = replay.predict_on_batch(list(part))
        for name, value in sent.items():
            rows = np.reshape(value, (-1, np.shape(value)[-1]))
            count = max(_SAMPLES // (batches * rows.shape[1]), 1)
            if len(rows) > count:
                rows = rows[rng.choice(len(rows), count, replace=False)]
            samples[name].append(rows)
    return {name: np.concatenate(rows) for name, rows in samples.items()}


def _shares(values: np.ndarray, high) -> np.ndarray | None:
    """Quantiles of what is above 0, as shares of the highest."""
    shares = values / np.where(high > 0, high, np.inf)
    shares = shares[shares > 0]
    return np.quantile(shares, np.linspace(0, 1, 500)) if shares.size else None
