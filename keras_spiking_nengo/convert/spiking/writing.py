"""A Keras model over time, with spiking neurons in the place of activations."""

import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import nengo
import numpy as np

from keras_spiking_nengo import layers, serialization, types
from keras_spiking_nengo.checks import one_of, positive
from keras_spiking_nengo.convert import axes
from keras_spiking_nengo.convert.calls import Call, Calls, calls
from keras_spiking_nengo.convert.graph import layer_name
from keras_spiking_nengo.convert.replay import outputs_of
from keras_spiking_nengo.convert.spiking.calibration import NeuronType, drives_of, skew
from keras_spiking_nengo.graphs import unused

__all__ = ["activation_name", "to_spiking"]

OUTPUTS = ("mean", "last", "sequence")
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
    _check_options(
        scale_firing_rates, calibration_data, output, percentile, target_rate
    )
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
    drives = drives_of(
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


def _check_options(scale, data, output, percentile, target_rate) -> None:
    values = scale.values() if isinstance(scale, Mapping) else [scale]
    for value in values:
        if value is None or value == "calibrate":
            continue
        advice = 'It may be a dict of numbers by layer, "calibrate" or None, too.'
        positive("scale_firing_rates", value, advice=advice)
    if (scale == "calibrate") != (data is not None):
        raise ValueError(
            'scale_firing_rates="calibrate" needs calibration_data, and nothing else'
            f" does; received scale_firing_rates={scale!r} and calibration_data"
            f" {'None' if data is None else 'of type ' + type(data).__name__}."
        )
    one_of("output", output, OUTPUTS)
    if not 0 < percentile <= 100:
        raise ValueError(f"percentile is in (0, 100]; received {percentile!r}.")
    if target_rate is not None:
        positive("target_rate", target_rate, "Hz")


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
        for name, source in self.found.inputs.items():
            self.tensors[source] = self._input(name, self.found[source])
        ends = self._ends()
        for call in self.found:
            if call.name not in self.tensors:
                self.tensors[call.name] = self._tensor(call, call.name in ends)
        outputs = {
            name: self._output(name, made, made in ends)
            for name, made in self.found.outputs.items()
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
