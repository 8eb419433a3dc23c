"""A Keras model over time, with spiking neurons in the place of activations.

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

Reference:
    Rueckauer et al. (2017), *Conversion of continuous-valued deep networks to
    efficient event-driven networks for image classification*, Front. Neurosci. 11
    (percentiles of activations); Eliasmith and Anderson (2003), *Neural Engineering*,
    MIT Press (gain and bias from a maximal rate).
"""

import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import nengo
import numpy as np

from keras_spiking_nengo import layers, serialization, types
from keras_spiking_nengo.convert import axes
from keras_spiking_nengo.convert.calls import Call, Calls, calls
from keras_spiking_nengo.convert.graph import layer_name, unused
from keras_spiking_nengo.convert.replay import Replay, outputs_of

__all__ = ["Drive", "activation_name", "calibrated", "skew", "to_spiking"]

NeuronType = nengo.neurons.NeuronType
OUTPUTS = ("mean", "last", "sequence")
# What calibration aims at: spikes per step where neurons may fire any number, and a
# share of the highest rate where a refractory period limits them.
_PER_STEP = 4
_SHARE = 0.5
# Shares of the highest activation at which neurons may begin to fire, 0 first.
_BEGINS = np.linspace(0, 0.3, 16)
# Values of one layer that percentiles are taken of.
_SAMPLES = 2_000_000
# Of the highest activation: where neurons differ by more, the user is told.
_TOLERANCE = 0.05


def to_spiking(
    model: keras.Model,
    activations: Mapping[str | Callable, NeuronType | str] | None = None,
    synapse: Any = None,
    scale_firing_rates: float | Mapping[str, float] | str | None = None,
    calibration_data: Any = None,
    n_steps: int | None = None,
    dt: float = 0.001,
    output: str = "mean",
    percentile: float = 99.9,
    per_channel: bool = False,
    target_rate: float | None = None,
    seed: int | None = 0,
) -> keras.Model:
    """A Keras model as a spiking one over time, with the same weights.

    Activations become spiking neurons, which see a static input for a number of steps.
    A neuron can say no more than a few spikes in that time: `"calibrate"` scales what
    goes into each layer of neurons so that its highest activations, on data that you
    give, fire fast, and what comes out back again.

    A model that has time already, through `ksn.layers.Repeat` or our layers, keeps it:
    what is static in it stays as it is. Only then are activations within
    `TimeDistributed` replaced.

    Args:
        model: functional or `keras.Sequential`, built. It is not changed.
        activations: from activations, by Keras's name or function, to spiking neurons.
            Defaults to `{"relu": nengo.SpikingRectifiedLinear()}`. The layers `ReLU`,
            `LeakyReLU` and `ELU` count as `"relu"`, `"leaky_relu"` and `"elu"`.
        synapse: filter after each layer of neurons, as for `ksn.layers.Synapse`: a
            Nengo synapse, or a time constant in seconds. Defaults to none.
        scale_firing_rates: float > 0 that multiplies what goes into neurons, and
            divides what comes out; a dict of them by layer; or `"calibrate"`.
        calibration_data: inputs of `model`, some hundreds of items: an array, or a
            list or dict of them. For `"calibrate"`.
        n_steps: int. Number of steps to present a static input for. Without, the
            inputs of the new model are sequences `(batch, time, *features)`.
        dt: float, seconds. Length of a step.
        output: `"mean"` over time, `"last"` step, or the `"sequence"`. An activation
            that ends the model and stays, such as softmax, is taken of the mean.
        percentile: float in (0, 100]. Of the activations of a layer on the data; what
            is above may fire faster than the target rate.
        per_channel: bool. Calibrate each element of the last axis by itself.
        target_rate: float, Hz. Rate for the percentile. Defaults to four spikes per
            step, and where a refractory period limits the rate to half of that limit.
            With a `synapse` less is enough, such as one spike per step, `1 / dt`.
        seed: int. Seed of the neurons' initial states, plus one per layer.

    Returns:
        A `keras.Model`. The neurons of a layer `"x"` are called `"x_neurons"`.

    Raises:
        TypeError: for what is no model, or no neuron type.
        ValueError: for activations, scales, data or outputs that do not fit.
        NotImplementedError: for a layer that cannot run on every step, and for scaling
            neurons that cannot be scaled.

    Example:
        >>> import keras, numpy as np, keras_spiking_nengo as ksn
        >>> model = keras.Sequential([
        ...     keras.Input((4,)), keras.layers.Dense(8, "relu", name="hidden"),
        ...     keras.layers.Dense(3, name="logits")])
        >>> x = np.random.RandomState(0).uniform(size=(16, 4))
        >>> spiking = ksn.to_spiking(model, scale_firing_rates="calibrate",
        ...                          calibration_data=x, n_steps=50)
        >>> [layer.name for layer in spiking.layers][2:5]
        ['hidden', 'hidden_gain', 'hidden_neurons']
        >>> error = spiking.predict(x, verbose=0) - model.predict(x, verbose=0)
        >>> bool(abs(error).max() < 0.2)
        True
    """
    swaps = _swaps(activations)
    _check(scale_firing_rates, calibration_data, output, percentile, target_rate)
    found = calls(model, strict=False, objections=False)
    time = axes.temporal(found)
    over_time = any(time.values())
    if over_time and n_steps is not None:
        raise ValueError(
            f"Model {model.name!r} has time already; received n_steps={n_steps}. Leave"
            " it out, or change the n_steps of its ksn.layers.Repeat."
        )
    replaced = {
        call.name: swaps[activation_name(call.layer)]
        for call in found
        if activation_name(call.layer) in swaps and (time[call.name] or not over_time)
    }
    if not replaced:
        raise ValueError(
            f"Model {model.name!r} has no activation to replace; received"
            f" {sorted(swaps)}, and its layers have {_activations(found)}."
        )
    drives = _drives(
        model,
        found,
        replaced,
        scale_firing_rates,
        calibration_data,
        (percentile, per_channel, target_rate, dt),
    )
    _warn(found, replaced, drives, scale_firing_rates, n_steps, dt)
    options = _Options(synapse, n_steps, dt, output, seed)
    return _Writer(found, time, over_time, replaced, drives, options).model(model)


# --- what was asked for ---------------------------------------------------------


def _swaps(activations) -> dict[str, NeuronType]:
    given = {"relu": nengo.SpikingRectifiedLinear()}
    given = given if activations is None else dict(activations)
    swaps = {}
    for key, value in given.items():
        # Raises for what Keras does not know.
        name = keras.activations.serialize(keras.activations.get(key))
        neurons = types.neuron_type(value)
        if not neurons.spiking:
            raise ValueError(
                f"activations[{name!r}] is {neurons}, which does not spike. Possible"
                " are nengo.SpikingRectifiedLinear(), nengo.LIF() and other spiking"
                " types."
            )
        swaps[name] = neurons
    return swaps


def _check(scale, data, output, percentile, target_rate) -> None:
    values = scale.values() if isinstance(scale, Mapping) else [scale]
    for value in values:
        if value is None or value == "calibrate":
            continue
        if isinstance(value, str) or not 0 < value < math.inf:
            raise ValueError(
                "scale_firing_rates is a number above 0, a dict of them by layer,"
                f' "calibrate" or None; received {value!r}.'
            )
    if (scale == "calibrate") != (data is not None):
        raise ValueError(
            'scale_firing_rates="calibrate" needs calibration_data, and nothing else'
            f" does; received scale_firing_rates={scale!r} and calibration_data"
            f" {'None' if data is None else 'of type ' + type(data).__name__}."
        )
    if output not in OUTPUTS:
        raise ValueError(f"output is one of {OUTPUTS}; received {output!r}.")
    if not 0 < percentile <= 100:
        raise ValueError(f"percentile is in (0, 100]; received {percentile!r}.")
    if target_rate is not None and not 0 < target_rate < math.inf:
        raise ValueError(f"target_rate is above 0, in Hz; received {target_rate!r}.")


_OF_LAYERS = {
    keras.layers.ReLU: "relu",
    keras.layers.LeakyReLU: "leaky_relu",
    keras.layers.ELU: "elu",
}


def activation_name(layer: keras.Layer) -> str:
    """Keras's name of the activation of a layer, or ""."""
    if type(layer) in _OF_LAYERS:
        plain = not isinstance(layer, keras.layers.ReLU) or not (
            layer.max_value is not None or layer.threshold or layer.negative_slope
        )
        return _OF_LAYERS[type(layer)] if plain else ""
    function = getattr(layer, "activation", None)
    # What runs over time by itself has its activation in its recurrence.
    if function is None or hasattr(layer, "cell"):
        return ""
    name = keras.activations.serialize(function)
    return name if isinstance(name, str) else ""


def _activations(found: Calls) -> list[str]:
    return sorted({activation_name(call.layer) for call in found} - {"", "linear"})


# --- scales -----------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Drive:
    """How neurons are driven in the place of an activation.

    Attributes:
        gain, bias: floats, or arrays over the last axis: current for an input.
        height: what a spike per second counts.
        high: activation at the target rate, or None where nothing was calibrated.
    """

    gain: Any = 1.0
    bias: Any = 0.0
    height: Any = 1.0
    high: Any = None


def _drives(model, found, replaced, scale, data, options) -> dict[str, Drive]:
    if scale is None:
        return {
            name: Drive(height=getattr(kind, "amplitude", 1.0))
            for name, kind in replaced.items()
        }
    for name, kind in replaced.items():
        if not hasattr(kind, "amplitude"):
            raise NotImplementedError(
                f"The neurons of layer {name!r}, {kind}, have no amplitude, so their"
                " rates cannot be scaled. Use scale_firing_rates=None."
            )
    if scale == "calibrate":
        percentile, per_channel, rate, dt = options
        seen = _activity(model, found, tuple(replaced), data)
        axis = 0 if per_channel else None
        drives = {}
        for name, kind in replaced.items():
            high = np.percentile(seen[name], percentile, axis=axis)
            drives[name] = calibrated(kind, high, rate, dt, _shares(seen[name], high))
        return drives
    return _scaled(found, replaced, scale)


def _scaled(found, replaced, scale) -> dict[str, Drive]:
    if isinstance(scale, Mapping):
        known = {found[name].path for name in replaced}
        unknown = sorted(set(scale) - known)
        if unknown:
            raise ValueError(
                f"scale_firing_rates names {unknown}; layers whose activation is"
                f" replaced: {sorted(known)}."
            )
        by_call = {name: scale.get(found[name].path, 1.0) for name in replaced}
    else:
        by_call = dict.fromkeys(replaced, scale)
    return {
        name: Drive(float(s), 0.0, replaced[name].amplitude / float(s))
        for name, s in by_call.items()
    }


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
    base = getattr(neuron_type, "base_type", neuron_type)
    tau_ref = getattr(base, "tau_ref", 0.0)
    return 1 / tau_ref if tau_ref else math.inf


def skew(neuron_type: NeuronType, drive: Drive, function: Callable) -> float:
    """Largest difference of neurons' rate curve from an activation.

    Args:
        neuron_type: of the neurons.
        drive: how they are driven.
        function: the activation.

    Returns:
        As a share of the activation at the top: `drive.high`, or 1 without it.
    """
    high = 1.0 if drive.high is None else float(np.max(drive.high))
    gain = float(np.min(drive.gain)) if np.ndim(drive.gain) else drive.gain
    height = float(np.max(drive.height)) if np.ndim(drive.height) else drive.height
    x = np.linspace(-high, high, 201)
    unit = neuron_type
    if hasattr(neuron_type, "amplitude"):
        unit = serialization.altered(neuron_type, amplitude=1.0)
    rates = unit.rates(x, np.array([gain]), np.array([drive.bias]))[:, 0]
    wanted = np.asarray(keras.ops.convert_to_numpy(function(x.astype("float32"))))
    scale = np.max(np.abs(wanted)) or 1.0
    return float(np.max(np.abs(height * rates - wanted)) / scale)


def _activity(model, found, names, data) -> dict[str, np.ndarray]:
    """Outputs of calls on data, `(some, channels)`."""
    arrays = _data(model, found, data)
    replay = Replay(found, names, name="calibration", dtype=model.dtype_policy)
    batches = max(math.ceil(len(arrays[0]) / 32), 1)
    rng = np.random.RandomState(0)
    kept: dict[str, list] = {name: [] for name in names}
    for part in zip(*(np.array_split(a, batches) for a in arrays), strict=True):
        sent = replay.predict_on_batch(list(part))
        for name, value in sent.items():
            rows = np.reshape(value, (-1, np.shape(value)[-1]))
            count = max(_SAMPLES // (batches * rows.shape[1]), 1)
            if len(rows) > count:
                rows = rows[rng.choice(len(rows), count, replace=False)]
            kept[name].append(rows)
    return {name: np.concatenate(rows) for name, rows in kept.items()}


def _shares(values: np.ndarray, high) -> np.ndarray | None:
    """Quantiles of what is above 0, as shares of the highest."""
    shares = values / np.where(high > 0, high, np.inf)
    shares = shares[shares > 0]
    return np.quantile(shares, np.linspace(0, 1, 500)) if shares.size else None


def _data(model, found: Calls, data) -> list[np.ndarray]:
    names = list(found.inputs)
    if isinstance(data, Mapping):
        if set(data) != set(names):
            raise ValueError(
                f"calibration_data has the keys {sorted(data)}; the inputs of"
                f" {model.name!r} are {names}."
            )
        given = [data[name] for name in names]
    else:
        given = list(data) if isinstance(data, list | tuple) else [data]
    arrays = [np.asarray(value) for value in given]
    shapes = [found[call].shape for call in found.inputs.values()]
    fit = len(arrays) == len(shapes) and all(
        a.ndim == len(s)
        and all(n in (None, m) for n, m in zip(s[1:], a.shape[1:], strict=True))
        for a, s in zip(arrays, shapes, strict=True)
    )
    if not fit or len({len(a) for a in arrays}) > 1 or not len(arrays[0]):
        raise ValueError(
            f"calibration_data needs the shapes {shapes}, of one batch size; received"
            f" {[a.shape for a in arrays]}."
        )
    if not all(np.all(np.isfinite(a)) for a in arrays):
        raise ValueError("calibration_data has values that are not finite.")
    return arrays


def _warn(found, replaced, drives, scale, n_steps, dt) -> None:
    """Says where spikes will not tell what activations did."""
    for name, kind in replaced.items():
        function = keras.activations.get(activation_name(found[name].layer))
        error = skew(kind, drives[name], function)
        if error > _TOLERANCE:
            warnings.warn(
                f"Layer {found[name].path!r}: the rates of {kind} differ from"
                f" {function.__name__} by up to {100 * error:.0f} % of the highest"
                " activation. Train with the neurons' own rate curve"
                f" (ksn.layers.Neurons, forward='rate'), or use"
                " nengo.SpikingRectifiedLinear().",
                stacklevel=3,
            )
    if scale is None:
        count = "few spikes" if n_steps is None else f"{n_steps * dt:g} spikes"
        steps = "" if n_steps is None else f" in {n_steps} steps"
        warnings.warn(
            f"Firing rates are not scaled: an activation of 1 is 1 Hz, {count}{steps}."
            ' Use scale_firing_rates="calibrate" with calibration_data, or a number.',
            stacklevel=3,
        )


# --- the model --------------------------------------------------------------------


@dataclass(frozen=True)
class _Options:
    synapse: Any
    n_steps: int | None
    dt: float
    output: str
    seed: int | None


class _Writer:
    """Makes the tensors of the calls, over time.

    Attributes:
        clones: new layers by the old ones, so that what is shared stays shared.
        tensors: by call; lists of them for calls with several outputs.
    """

    def __init__(self, found: Calls, time, over_time, replaced, drives, options):
        self.found = found
        self.time = time
        self.over_time = over_time
        self.replaced = replaced
        self.drives = drives
        self.options = options
        self.clones: dict[int, keras.Layer] = {}
        self.taken = {layer_name(call.path) for call in found}
        self.named: set[str] = set()
        self.tensors: dict[str, Any] = {}
        self.inputs: dict[str, Any] = {}
        self.seeds = self._seeds()

    def model(self, old: keras.Model) -> keras.Model:
        for name, call in self.found.inputs.items():
            self.tensors[call] = self._input(name, self.found[call])
        ends = self._ends()
        for call in self.found:
            if call.name not in self.tensors:
                self.tensors[call.name] = self._tensor(call, call.name in ends)
        outputs = {
            name: self._output(name, call, call in ends)
            for name, call in self.found.outputs.items()
        }
        inputs = list(self.inputs.values())
        return keras.Model(
            self.inputs if self.found.by_name else _one(inputs),
            outputs if self.found.keyed else _one(list(outputs.values())),
            name=old.name,
        )

    def _seeds(self) -> Iterator[int | None]:
        seed = self.options.seed
        while True:
            yield seed
            seed = None if seed is None else seed + 1

    def _name(self, name: str) -> str:
        """A name for a layer that the old model has not."""
        unique = unused(layer_name(name), self.taken)
        self.taken.add(unique)
        return unique

    # --- inputs and outputs -----------------------------------------------------------

    def _input(self, name: str, call: Call):
        shape, dtype = call.shape, getattr(call.layer, "dtype", None)
        if self.over_time:
            self.inputs[name] = keras.Input(batch_shape=shape, name=name, dtype=dtype)
            return self.inputs[name]
        _check_static(call)
        if self.options.n_steps is None:
            shape = (shape[0], None, *shape[1:])
        self.inputs[name] = keras.Input(batch_shape=shape, name=name, dtype=dtype)
        if self.options.n_steps is None:
            return self.inputs[name]
        steps = layers.Repeat(self.options.n_steps, name=self._name(f"{name}_steps"))
        return steps(self.inputs[name])

    def _ends(self) -> set[str]:
        """Calls at the end whose activation can wait until time is averaged."""
        used = {source for call in self.found for source in call.sources}
        return {
            call.name
            for call in self.found
            if self.options.output != "sequence"
            and call.name in self.found.outputs.values()
            and call.name not in used | set(self.replaced)
            and activation_name(call.layer) not in ("", "linear")
            and "activation" in call.layer.get_config()
        }

    def _output(self, name: str, call: str, waits: bool):
        x = self.tensors[call]
        if self.time[call] != self.over_time and self.over_time:
            return x
        if self.over_time or self.options.output == "sequence":
            return x
        name = layer_name(name)
        if self.options.output == "last":
            last = layers.Synapse(None, name=self._name(f"{name}_last"))
            x = last(x)
        else:
            x = self._mean(x, name)
        if waits:
            layer = self.found[call].layer
            after = keras.layers.Activation(
                layer.activation, name=self._name(f"{name}_activation")
            )
            x = after(x)
        return x

    def _mean(self, x, name: str):
        """Over time, by layers of Keras alone."""
        features = tuple(x.shape[2:])
        if len(features) != 1:
            flat = keras.layers.Reshape((-1, math.prod(features)))
            x = flat(x)
        x = keras.layers.GlobalAveragePooling1D(name=self._name(f"{name}_mean"))(x)
        return x if len(features) == 1 else keras.layers.Reshape(features)(x)

    # --- calls ------------------------------------------------------------------------

    def _tensor(self, call: Call, waits: bool):
        sources = [self.tensors[name] for name in call.sources]
        if call.port is not None:
            return sources[0][call.port]
        if call.name in self.replaced:
            return self._neurons(call, sources)
        layer = self._clone(call.layer, call, linear=waits)
        y = self._applied(call, layer, sources)
        return y

    def _applied(self, call: Call, layer, sources: list):
        if call.enters and not call.hosted:
            return outputs_of(layer, sources)
        given = sources[0] if len(sources) == 1 else sources
        if call.per_step or not (self.time[call.name] or self.over_time):
            y = _wrapped(layer)(given)
        else:
            y = layer(given)
        return [y] if call.hosted else y

    def _neurons(self, call: Call, sources: list):
        """The layer without its activation, and neurons."""
        drive, kind = self.drives[call.name], self.replaced[call.name]
        name = call.path if call.name == call.path else call.name
        x = sources[0]
        if type(call.layer) not in (*_OF_LAYERS, keras.layers.Activation):
            x = self._applied(call, self._clone(call.layer, call, linear=True), sources)
        if np.any(drive.gain != 1) or drive.bias:
            gain = keras.layers.Rescaling(
                _plain(drive.gain), drive.bias, name=self._name(f"{name}_gain")
            )
            x = gain(x)
        one = np.ndim(drive.height) == 0
        if hasattr(kind, "amplitude"):
            amplitude = float(drive.height) if one else 1.0
            kind = serialization.altered(kind, amplitude=amplitude)
        x = layers.Neurons(
            kind,
            dt=self.options.dt,
            seed=next(self.seeds),
            return_sequences=True,
            name=self._name(f"{name}_neurons"),
        )(x)
        if not one:
            x = keras.layers.Rescaling(
                _plain(drive.height), name=self._name(f"{name}_height")
            )(x)
        if self.options.synapse is None:
            return x
        return layers.Synapse(
            self.options.synapse,
            dt=self.options.dt,
            return_sequences=True,
            name=self._name(f"{name}_synapse"),
        )(x)

    def _clone(self, layer, call: Call, linear: bool) -> keras.Layer:
        """A layer with the same weights, made once."""
        if id(layer) in self.clones:
            return self.clones[id(layer)]
        try:
            config = layer.get_config()
        except NotImplementedError as error:
            raise call.refusal(
                f"it cannot be copied, as Keras cannot write it down: {error}"
            ) from error
        if linear:
            config["activation"] = "linear"
        name = layer_name(call.path)
        # Layers of different submodels may have one name.
        config["name"] = name if name not in self.named else self._name(name)
        self.named.add(config["name"])
        clone = type(layer).from_config(config)
        if layer.built:
            clone.build_from_config(layer.get_build_config())
            clone.set_weights(layer.get_weights())
        self.clones[id(layer)] = clone
        return clone


# Layers which do to each step of a sequence what they do without time.
_ON_SEQUENCES = (
    keras.layers.Activation,
    keras.layers.Add,
    keras.layers.Average,
    keras.layers.Dense,
    keras.layers.Dropout,
    keras.layers.Maximum,
    keras.layers.Minimum,
    keras.layers.Multiply,
    keras.layers.Subtract,
)


def _wrapped(layer: keras.Layer) -> keras.Layer:
    """A layer for sequences."""
    if type(layer) in _ON_SEQUENCES:
        return layer
    return layers.PerStep(layer, name=layer.name)


def _one(tensors: list):
    return tensors if len(tensors) > 1 else tensors[0]


def _plain(value):
    return value.tolist() if isinstance(value, np.ndarray) else value


def _check_static(call: Call) -> None:
    if None in call.shape[1:]:
        raise call.refusal(
            f"its shape {call.shape} is not known but for the batch, and each step of"
            " time needs one. Give keras.Input a shape without None"
        )
