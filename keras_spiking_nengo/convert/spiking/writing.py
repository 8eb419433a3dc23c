"""A Keras model over time, with spiking neurons in the place of activations."""

import functools
import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import count, repeat
from typing import Any

import keras
import numpy as np

from keras_spiking_nengo import layers
from keras_spiking_nengo.checks import (
    check_switches,
    checked_count,
    checked_dt,
    checked_seed,
    is_number,
    one_of,
    positive,
)
from keras_spiking_nengo.convert.layer_rules import refusal
from keras_spiking_nengo.convert.spiking.calibration import (
    NeuronType,
    driven,
    drives_of,
    skew,
)
from keras_spiking_nengo.convert.spiking.forms import Form, form_of
from keras_spiking_nengo.convert.spiking.replacements import (
    has_curve,
    label_of,
    replacement,
    swaps_of,
    warn_of_unused,
)
from keras_spiking_nengo.graphs import unused
from keras_spiking_nengo.layers.parameters import checked_synapse
from keras_spiking_nengo.models.calls import Call, Calls, Symbol, calls, symbols_in
from keras_spiking_nengo.models.operations import OperationLayer
from keras_spiking_nengo.models.replay import replay
from keras_spiking_nengo.models.temporal import Temporal, temporal
from keras_spiking_nengo.models.time import acting, takes_any_rank
from keras_spiking_nengo.names import keras_name
from keras_spiking_nengo.types import NEURON_TYPES

__all__ = ["to_spiking"]

OUTPUTS = ("mean", "last", "sequence")
_ADVICE = (
    "a sequence (batch, time, *features); ksn.to_spiking(model, n_steps=...) takes"
    " static inputs"
)
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
        activations: from activations, by Keras's name or function, to neurons or their
            names. Defaults to `{"relu": nengo.SpikingRectifiedLinear()}`. Neurons with
            the very curve of the activation, such as `{"elu": "spiking_elu"}`, have
            its parameters, and fire with both signs. Rate neurons, such as
            `nengo.LIFRate()`, send their rate as it is. Layers such as
            `LeakyReLU` and `ELU`, operations such as `keras.ops.relu`, and functions
            that give the same numbers, such as `tf.nn.relu`, count as the activation
            of that name; any other function is a key itself. A rectified line with a
            largest value, such as `ReLU(6.0)`, is `"relu6"`, and one with a slope
            below zero is `"leaky_relu"`, which `ksn.types.SpikingLeakyReLU()` gets.
        synapse: filter after each layer of neurons, as for `ksn.layers.Synapse`: a
            Nengo synapse, or a time constant in seconds. Defaults to none.
        scale_firing_rates: float > 0 that multiplies what goes into neurons, and
            divides what comes out; where they have the very curve of the activation,
            it multiplies their rate, and divides what a spike counts; a dict of them by
            layer; or `"calibrate"`.
        calibration_data: inputs of `model`, some hundreds of items: an array, or a
            list or dict of them. For `"calibrate"`.
        n_steps: int. Number of steps to present a static input for. Without, the
            inputs of the new model are sequences `(batch, time, *features)`.
        dt: float, seconds. Length of a step.
        output: `"mean"` over time, `"last"` step, or the `"sequence"`. An activation
            that ends the model and stays, such as softmax, is taken of the mean.
        percentile: float in (0, 100]. Of the activations of a layer on the data; what
            is above may fire faster than the target rate.
        per_channel: bool. Calibrate each element of the last axis by itself, but for
            neurons with the very curve of the activation.
        target_rate: float, Hz. Rate for the percentile. Defaults to four spikes per
            step, and where a refractory period limits the rate to half of that limit;
            to 16 for neurons with the very curve of the activation, which see their
            input step by step: where many of these follow each other, a higher rate
            makes the bend of the curve exact.
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
    swaps = swaps_of(activations)
    _check_scale(scale_firing_rates, calibration_data)
    _check_options(output, percentile, target_rate, per_channel)
    dt, seed = checked_dt(dt), checked_seed(seed)
    synapse = checked_synapse("synapse", synapse)
    if n_steps is not None:
        n_steps = checked_count("n_steps", n_steps)
    old = calls(model)
    timed = temporal(old)
    if timed and n_steps is not None:
        raise ValueError(
            f"Model {model.name!r} has time already; received n_steps={n_steps}. Leave"
            " it out, or change the n_steps of its ksn.layers.Repeat."
        )
    forms = {call.name: form_of(call.operation) for call in old}
    replaced = {
        call.name: kind
        for call in old
        if (timed.of(call) or not timed)
        and (kind := replacement(forms[call.name], swaps)) is not None
    }
    labels = sorted({form.label for form in forms.values() if form is not None})
    if not replaced:
        raise ValueError(_no_activation(model, swaps, labels))
    if activations is not None:
        used = [forms[name] for name in replaced]
        warn_of_unused(swaps, [form for form in used if form], labels)
    aims = percentile, per_channel, target_rate, dt
    curves = [name for name, kind in replaced.items() if has_curve(kind, forms[name])]
    drives = drives_of(
        old, replaced, curves, scale_firing_rates, calibration_data, aims
    )
    _warn_of_differences(old, replaced, drives)
    if scale_firing_rates is None and any(kind.spiking for kind in replaced.values()):
        _warn_of_slowness(n_steps, dt)
    options = _Options(synapse, n_steps, dt, output, seed)
    return _SpikingModel(timed, replaced, drives, options).model()


def _no_activation(model: keras.Model, swaps, labels: list[str]) -> str:
    return (
        f"Model {model.name!r} has no activation to replace; received"
        f" {sorted(map(label_of, swaps))}, and its layers have {labels}. A function of"
        " your own is replaced if it is a key of activations itself; for curves that"
        ' are no rectified lines there are "spiking_elu", "spiking_tanh" and so on.'
    )


# --- what was asked for ---------------------------------------------------------


def _check_scale(scale, data) -> None:
    values = scale.values() if isinstance(scale, Mapping) else [scale]
    for value in values:
        if value is None or isinstance(value, str) and value == "calibrate":
            continue
        advice = 'It is a number above 0, a dict of them by layer, "calibrate" or None.'
        positive("scale_firing_rates", value, advice=advice)
    calibrates = isinstance(scale, str)  # no other text has come as far
    if calibrates != (data is not None):
        raise ValueError(
            'scale_firing_rates="calibrate" needs calibration_data, and nothing else'
            f" does; received scale_firing_rates={scale!r} and calibration_data"
            f" {'None' if data is None else 'of type ' + type(data).__name__}."
        )


def _check_options(output, percentile, target_rate, per_channel) -> None:
    one_of("output", output, OUTPUTS)
    check_switches(per_channel=per_channel)
    if not is_number(percentile) or not 0 < percentile <= 100:
        raise ValueError(f"percentile is in (0, 100]; received {percentile!r}.")
    if target_rate is not None:
        positive("target_rate", target_rate, "Hz")


def _warn_of_differences(old: Calls, replaced, drives) -> None:
    """Says where spikes will not tell what activations did."""
    for name, kind in replaced.items():
        form = form_of(old[name].operation)
        assert form is not None, f"{name} has nothing to replace"
        error = skew(kind, drives[name], form.function, form.bounded)
        if error > _TOLERANCE:
            warnings.warn(
                f"Layer {old[name].path!r}: the rates of {kind} differ from"
                f" {form.label} by up to {100 * error:.0f} % of the highest"
                " activation. Train with the neurons' own rate curve"
                f" (ksn.layers.Neurons, forward='rate'), or use {_alternative(form)}.",
                stacklevel=3,
            )


def _alternative(form: Form) -> str:
    """Neurons with the curve of an activation."""
    if form.curve is not None and f"spiking_{form.name}" in NEURON_TYPES:
        return f"{{{form.name!r}: 'spiking_{form.name}'}}"
    return "nengo.SpikingRectifiedLinear()"


def _warn_of_slowness(n_steps: int | None, dt: float) -> None:
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


class _SpikingModel:
    """Makes the calls of a model again, over time.

    Args:
        timed: the calls, and which tensors are sequences.
        replaced: neuron types by call.
        drives: how these neurons are driven.
        options: what the user asked for.

    Attributes:
        clones: old layers and new ones by the `id`s of the old ones, so that what is
            shared stays shared.
        wrappers: of new layers, by their `id`s.
    """

    def __init__(self, timed: Temporal, replaced, drives, options: _Options):
        self.old, self.timed = timed.calls, timed
        self.over_time = bool(timed)
        self.takes_sequences = not self.over_time and options.n_steps is None
        self.replaced = replaced
        self.drives = drives
        self.options = options
        self.clones: dict[int, tuple[keras.Layer, keras.Layer]] = {}
        self.wrappers: dict[int, keras.Layer] = {}
        self.taken = {keras_name(call.path) for call in self.old}
        self.taken |= {keras_name(name) for name in self.old.inputs}
        self.named: set[str] = set()
        seed = options.seed
        self.seeds = repeat(None) if seed is None else count(seed)
        self.ends = self._ends()

    def model(self) -> keras.Model:
        """The spiking model."""
        inputs = {name: self._input(name, x) for name, x in self.old.inputs.items()}
        presented = [self._presented(name, x) for name, x in inputs.items()]
        values = replay(self.old, presented, self._made)
        pairs = zip(self.old.outputs.items(), values, strict=True)
        outputs = {name: self._output(name, old, new) for (name, old), new in pairs}
        model = keras.Model(
            inputs if self.old.takes_dict else _one(list(inputs.values())),
            outputs if self.old.gives_dict else _one(list(outputs.values())),
            name=self.old.model.name,
        )
        if self.takes_sequences:
            # By its names Keras finds the data of a dict: it stays what it is.
            keyed = self.old.takes_dict
            model.input_spec = [
                _sequence_spec(name, x, said=not keyed) for name, x in inputs.items()
            ]
            for method in ("predict", "predict_on_batch"):
                checked = _of_sequences(getattr(model, method), inputs)
                setattr(model, method, checked)
        return model

    def _name(self, name: str) -> str:
        """A name for a layer that the old model has not."""
        unique = unused(keras_name(name), self.taken)
        self.taken.add(unique)
        return unique

    # --- inputs and outputs -----------------------------------------------------------

    def _input(self, name: str, old: Symbol) -> Symbol:
        shape = tuple(old.shape)
        if not self.over_time:
            _check_static(name, shape)
        if self.takes_sequences:
            shape = (shape[0], None, *shape[1:])
        return keras.Input(batch_shape=shape, name=name, dtype=old.dtype)

    def _presented(self, name: str, x: Symbol) -> Symbol:
        if self.over_time or self.options.n_steps is None:
            return x
        return layers.Repeat(self.options.n_steps, name=self._name(f"{name}_steps"))(x)

    def _ends(self) -> dict[int, Call]:
        """Calls whose activation can wait until time is averaged, by their symbols."""
        if self.over_time or self.options.output == "sequence":
            return {}
        used = {id(symbol) for call in self.old for symbol in call.inputs}
        makers = (self.old.makers.get(id(y)) for y in self.old.outputs.values())
        return {
            id(call.symbols[0]): call
            for call in filter(None, makers)
            if id(call.symbols[0]) not in used
            and call.name not in self.replaced
            and hasattr(call.operation, "activation")
            and form_of(call.operation) is not None
            and "activation" in acting(call.operation).get_config()
        }

    def _output(self, name: str, old: Symbol, x: Symbol) -> Symbol:
        if self.over_time or self.options.output == "sequence":
            return x
        name = keras_name(name)
        if self.options.output == "last":
            x = layers.Synapse(None, name=self._name(f"{name}_last"))(x)
        else:
            x = self._mean(x, name)
        if id(old) in self.ends:
            activation = self.ends[id(old)].operation.activation
            name = self._name(f"{name}_activation")
            x = keras.layers.Activation(activation, name=name)(x)
        return x

    def _mean(self, x, name: str):
        """Over time, by layers of Keras alone."""
        features = tuple(x.shape[2:])
        if len(features) != 1:
            x = keras.layers.Reshape((-1, math.prod(features)))(x)
        x = keras.layers.GlobalAveragePooling1D(name=self._name(f"{name}_mean"))(x)
        return x if len(features) == 1 else keras.layers.Reshape(features)(x)

    # --- calls ------------------------------------------------------------------------

    def _made(self, call: Call, args: tuple, kwargs: dict) -> Any:
        if call.name in self.replaced:
            return self._neurons(call, args, kwargs)
        waits = id(call.symbols[0]) in self.ends
        return self._applied(call, args, kwargs, linear=waits)

    def _applied(self, call: Call, args: tuple, kwargs: dict, linear: bool) -> Any:
        """What the layer makes of other tensors, of each step if it is made for one."""
        layer, stepwise = call.operation, call.per_step or not self.over_time
        if not isinstance(layer, keras.Layer) or (stepwise and _further(args, kwargs)):
            layer = OperationLayer.of(call)
            tensors = list({id(x): x for x in symbols_in((args, kwargs))}.values())
            args, kwargs = (_one(tensors),), {}
        clone = self._clone(layer, call, linear)
        if not stepwise or takes_any_rank(clone):
            return clone(*args, **kwargs)
        if id(clone) not in self.wrappers:
            wrapper = layers.PerStep(clone, name=clone.name)
            if self.takes_sequences and any(
                call.inputs[0] is x for x in self.old.inputs.values()
            ):
                # On JAX, predict does not look at what the model takes.
                wrapper.input_spec = _sequence_spec("frames", args[0])
            self.wrappers[id(clone)] = wrapper
        return self.wrappers[id(clone)](args[0])

    def _neurons(self, call: Call, args: tuple, kwargs: dict) -> Any:
        """The layer without its activation, and neurons."""
        name = call.name
        drive, kind = self.drives[name], self.replaced[name]
        form = form_of(call.operation)
        x = symbols_in((args, kwargs))[0]
        if not _only_acts(call.operation):
            x = self._applied(call, args, kwargs, linear=True)
        if form is not None and form.bound:
            bound = keras.layers.ReLU(**form.bound, name=self._name(f"{name}_bound"))
            x = bound(x)
        if np.any(drive.gain != 1) or drive.bias:
            x = self._rescaled(x, drive.gain, drive.bias, f"{call.name}_gain")
        kind, seed = driven(kind, drive), next(self.seeds)
        x = self._over_time(layers.Neurons, kind, call, "neurons", seed=seed)(x)
        if np.ndim(drive.height):
            x = self._rescaled(x, drive.height, 0.0, f"{call.name}_height")
        synapse = self.options.synapse
        if synapse is None:
            return x
        return self._over_time(layers.Synapse, synapse, call, "synapse")(x)

    def _rescaled(self, x: Symbol, scale, offset, name: str) -> Symbol:
        scale = scale.tolist() if isinstance(scale, np.ndarray) else scale
        return keras.layers.Rescaling(scale, offset, name=self._name(name))(x)

    def _over_time(self, kind, dynamics, call: Call, suffix: str, **arguments: Any):
        name = self._name(f"{call.name}_{suffix}")
        dt = self.options.dt
        return kind(dynamics, dt=dt, return_sequences=True, name=name, **arguments)

    def _clone(self, layer, call: Call, linear: bool) -> keras.Layer:
        """A layer with the same weights, made once."""
        if id(layer) in self.clones:
            return self.clones[id(layer)][1]
        try:
            config = layer.get_config()
        except NotImplementedError as error:
            reason = f"it cannot be copied, as Keras cannot write it down: {error}"
            raise refusal(call.path, type(call.operation).__name__, reason) from error
        form = form_of(layer)
        own = form is not None and form.is_own
        if linear or own:
            # Of what is wrapped, the configuration is within that of the wrapper.
            inner = config if acting(layer) is layer else config["layer"]["config"]
            inner["activation"] = "linear"
        name = keras_name(call.path)
        # Layers of different submodels may have one name.
        config["name"] = name if name not in self.named else self._name(name)
        self.named.add(config["name"])
        clone = type(layer).from_config(config)
        if own and not linear:
            # Keras writes its name down, which may be that of another function.
            acting(clone).activation = layer.activation
        if layer.built:
            clone.build_from_config(layer.get_build_config())
            clone.set_weights(layer.get_weights())
        self.clones[id(layer)] = layer, clone
        return clone


def _sequence_spec(name: str, x: Symbol, said: bool = True) -> keras.InputSpec:
    """What an input has to be, so that no static one is taken for a sequence.

    Keras would add an axis to a picture of one channel. Its message has the name, and
    there it says what to do.
    """
    return keras.InputSpec(
        shape=(None, *x.shape[1:]),
        min_ndim=len(x.shape) if tuple(x.shape[2:]) != (1,) else None,
        name=f"{name}, {_ADVICE}" if said else name,
        allow_last_axis_squeeze=True,
    )


def _of_sequences(method: Callable, inputs: Mapping[str, Symbol]) -> Callable:
    """A method of a model that refuses arrays that are no sequences.

    On JAX `predict` does not look at the specification, and a model is lost if its call
    fails there.
    """
    ranks = [len(x.shape) if tuple(x.shape[2:]) != (1,) else 0 for x in inputs.values()]

    @functools.wraps(method)
    def checked(x, *args, **kwargs):
        arrays = keras.tree.flatten(x if isinstance(x, dict | list | tuple) else [x])
        if len(arrays) == len(ranks):  # else, Keras says so
            for array, rank in zip(arrays, ranks, strict=True):
                shape = getattr(array, "shape", None)
                if shape is not None and len(shape) < rank:
                    raise ValueError(
                        f"x is {_ADVICE}, without which the model takes {rank} axes;"
                        f" received the shape {tuple(shape)}."
                    )
        return method(x, *args, **kwargs)

    return checked


def _only_acts(operation) -> bool:
    """Whether there is nothing in it but its activation."""
    kinds = ("Activation", "ELU", "LeakyReLU", "ReLU")
    alone = type(operation) in [getattr(keras.layers, kind) for kind in kinds]
    return alone or not isinstance(operation, keras.Layer)


def _further(args: tuple, kwargs: dict) -> bool:
    """Whether there is more than the first argument."""
    rest = keras.tree.flatten((args[1:], kwargs))
    return not all(value is None or value is False for value in rest)


def _one(tensors: list):
    return tensors if len(tensors) > 1 else tensors[0]


def _check_static(name: str, shape: tuple) -> None:
    if None in shape[1:]:
        raise refusal(
            name,
            "InputLayer",
            f"its shape {shape} is not known but for the batch, and each step of time"
            " needs one. Give keras.Input a shape without None",
        )
