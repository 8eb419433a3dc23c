"""A Keras model as a flat list of calls of its layers.

Submodels and `TimeDistributed` are taken apart, and a layer that is used twice is
two calls. All is read from what Keras documents: `layers` of a `Sequential`, and
the configuration of a functional model, which is also its file format.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import keras

from keras_spiking_nengo.convert import configs
from keras_spiking_nengo.convert.configs import (
    functional_config,
    is_tensor,
    leaves,
    output_shape,
)
from keras_spiking_nengo.convert.layer_rules import (
    LAYERS,
    LayerRule,
    Time,
    kind_of,
    refusal,
    rule_of,
)
from keras_spiking_nengo.convert.rules.arithmetic import OPERATIONS, Operation
from keras_spiking_nengo.convert.rules.hosted import hosted_rule, unhostable
from keras_spiking_nengo.graphs import unused
from keras_spiking_nengo.layers import PerStep
from keras_spiking_nengo.layers.models import check_built

__all__ = ["Call", "Calls", "calls"]

Shape = tuple[int | None, ...]


@dataclass(frozen=True, eq=False)
class Call:
    """One call of one layer.

    Attributes:
        layer: the layer, or an operation that stands for one.
        name: unique; the path, and a number from the second call on.
        path: of the layer, such as `"encoder/dense"`.
        sources: names of the calls whose outputs it takes.
        shape: of its output, with the batch and, if temporal, time.
        per_step: whether it is within a `TimeDistributed`.
        port: number of the output, for a layer whose outputs are calls of their own,
            which take the call of the layer itself.
        hosted: why Python runs the layer, in a node, or "".
    """

    layer: keras.Layer
    name: str
    path: str
    sources: tuple[str, ...]
    shape: Shape
    per_step: bool = False
    port: int | None = None
    hosted: str = ""

    @property
    def rule(self) -> LayerRule:
        """The rule that holds for it."""
        return hosted_rule(self.layer) if self.hosted else _rule(self.layer)

    @property
    def time(self) -> Time:
        """How it treats time. What presents has outputs that run."""
        time = self.rule.time
        outputs = time is Time.PRESENTS and self.port is not None
        return Time.RUNS if outputs else time

    @property
    def enters(self) -> bool:
        """Whether it stands for the inputs only, and others for the outputs."""
        return self.port is None and self.rule.outputs is not None

    def refusal(self, reason: str) -> NotImplementedError:
        """The error for this call, with its reason."""
        return refusal(self.path, kind_of(self.layer), reason)


@dataclass(frozen=True, eq=False)
class Calls:
    """The calls of a model, sources first.

    Attributes:
        calls: by name.
        inputs, outputs: from the names that Keras gives them to those of calls.
        keyed: whether the model returns its outputs by name, as a dict.
        by_name: whether it takes its inputs so.
    """

    calls: dict[str, Call]
    inputs: dict[str, str]
    outputs: dict[str, str]
    keyed: bool = False
    by_name: bool = False

    def __iter__(self) -> Iterator[Call]:
        return iter(self.calls.values())

    def __getitem__(self, name: str) -> Call:
        return self.calls[name]

    def __contains__(self, name: str) -> bool:
        return name in self.calls


def calls(
    model: keras.Model,
    strict: bool = True,
    objections: bool = True,
    options: Collection[str] = (),
) -> Calls:
    """The calls of `model`.

    Args:
        model: functional or `keras.Sequential`.
        strict: whether to refuse what only Python can run.
        objections: whether what a rule says against a layer counts, and not only
            whether there is one.
        options: names of what rules may do that is not what the layer does.

    Raises:
        TypeError: if `model` is no Keras model.
        ValueError: if it is not built, so that its shapes are not known.
        NotImplementedError: if it is neither functional nor `Sequential`, or holds
            a layer without a rule.
    """
    check_built(model)
    return _Walk(strict, objections, options).model(model)


class _Walk:
    """Collects the calls of a model."""

    def __init__(self, strict: bool, objections: bool, options: Collection[str]):
        self.strict = strict
        self.objections = objections
        self.options = options
        self.calls: dict[str, Call] = {}

    def model(self, model) -> Calls:
        """The calls of the outermost model."""
        reason = _model_objection(model)
        if reason:  # no node can run what is all of the network
            raise refusal(model.name, type(model).__name__, reason)
        self._check_layers(model, "")
        if isinstance(model, keras.Sequential):
            first = configs.config(model)["layers"][0]["config"]
            name = first["name"] if "batch_shape" in first else "input"
            shape = tuple(model.inputs[0].shape)
            source = self._input(keras.layers.InputLayer(batch_shape=shape), name)
            (output,) = self.sequential(model, [source], "", False)
            last = model.layers[-1].name if model.layers else name
            return Calls(self.calls, {name: source}, {last: output})
        config = functional_config(model, model.name)
        inputs = leaves(config["input_layers"])
        sources = {
            name: self._input(model.get_layer(name), name) for _, (name, *_) in inputs
        }
        outputs: dict[str, str] = {}
        found = self.functional(model, sources, "", False)
        for (key, (name, *_)), made in zip(
            leaves(config["output_layers"]), found, strict=True
        ):
            outputs[unused(key or name, outputs, ":")] = made
        keyed = isinstance(config["output_layers"], dict)
        named = {key or name: sources[name] for key, (name, *_) in inputs}
        by_name = isinstance(config["input_layers"], dict)
        return Calls(self.calls, named, outputs, keyed, by_name)

    def _input(self, layer, name: str) -> str:
        return self._add(layer, name, (), tuple(layer.batch_shape), False)

    def functional(self, model, sources: dict[str, str], prefix: str, per_step: bool):
        """Adds the calls of a functional model; names of its outputs, in order.

        Args:
            sources: from the names of the model's inputs to calls.
        """
        config = functional_config(model, prefix.rstrip("/") or model.name)
        nodes = {entry["name"]: entry["inbound_nodes"] for entry in config["layers"]}
        layers = {layer.name: layer for layer in model.operations}
        made: dict[tuple[str, int], list[str]] = {}

        def find(name, node, tensor) -> str:
            if name in sources:
                return sources[name]
            if _is_functional(layers.get(name)):
                # Keras counts the node inside, between inputs and outputs.
                node -= 1
            if (name, node) not in made:
                layer, tensors = self._bound(
                    layers[name], prefix + name, nodes[name][node]
                )
                taken = [(key, find(*history)) for key, history in tensors]
                made[name, node] = self.layer(layer, taken, prefix, per_step)
            return made[name, node][tensor]

        # In Keras's order, so that `find` need not go deep.
        for name, calls_ in nodes.items():
            for node in range(len(calls_)):
                find(name, node + _is_functional(layers.get(name)), 0)
        return [find(*leaf) for _, leaf in leaves(config["output_layers"])]

    def sequential(self, model, sources: list[str], prefix: str, per_step: bool):
        """Adds the calls of a `Sequential`; its one output, as a list."""
        for layer in model.layers:
            taken = [("", source) for source in sources]
            sources = self.layer(layer, taken, prefix, per_step)
        return sources

    def layer(self, layer, taken, prefix: str, per_step: bool) -> list[str]:
        """Adds the calls that one layer stands for; names of its outputs.

        Args:
            taken: `(key, call)` of each input.
        """
        path = prefix + layer.name
        if _is_time_distributed(layer):
            if per_step:
                raise refusal(
                    path,
                    "TimeDistributed",
                    "it is within another one, and there is one axis of time only",
                )
            layer, per_step = layer.layer, True
        if self._is_hosted(layer):
            return [self._host(layer, taken, path, per_step)]
        if isinstance(layer, keras.Model):
            return self._submodel(layer, taken, path, per_step)
        self._check(layer, path)
        rule = _rule(layer)
        if rule.inputs is not None:
            by_key = dict(taken)
            keys = rule.inputs(layer)
            taken = [(key, by_key[key]) for key in keys] if keys else taken
        sources = tuple(source for _, source in taken)
        if rule.outputs is not None:
            return self._ports(layer, rule.outputs(layer), path, sources, per_step)
        return [self._call(layer, path, sources, per_step)]

    def _ports(self, layer, sizes: dict, path, sources, per_step) -> list[str]:
        """Adds a call of a layer, and one for each of its outputs."""
        lead = self.calls[sources[0]].shape[:2]
        hub = self._add(layer, path, sources, lead, per_step)
        lead = lead if layer.return_sequences else lead[:1]
        # In Keras's order of a structure's leaves.
        return [
            self._add(
                layer,
                f"{hub}:{key}" if key else f"{hub}:out",
                (hub,),
                (*lead, *size),
                per_step,
                port,
            )
            for port, (key, size) in enumerate(sizes.items())
        ]

    def _objection(self, layer) -> str:
        """Why Nengo's objects cannot express a layer or model, or ""."""
        if isinstance(layer, keras.Model):
            return _model_objection(layer)
        if isinstance(layer, Operation) and layer.operation_kind not in OPERATIONS:
            return "it is an operation without a rule"
        if isinstance(layer, Operation) or layer in LAYERS:
            return self._objection_of(_rule(layer), layer) if self.objections else ""
        # What cells are run by is not what a layer with another cell is made of.
        kinds = set(LAYERS) - {keras.layers.RNN}
        if kinds & set(type(layer).__mro__):
            return "its class has a call of its own"
        return "its class has no rule"

    def _objection_of(self, rule: LayerRule, layer) -> str:
        if rule.option and rule.option not in self.options:
            return (
                f"it takes a maximum. ksn.to_nengo(model, {rule.option}=True) takes the"
                " mean instead, which gives other numbers"
            )
        return rule.objection(layer)

    def _is_hosted(self, layer) -> bool:
        """Whether a node runs a layer, which is no wrapper."""
        return (
            not self.strict and bool(self._objection(layer)) and not unhostable(layer)
        )

    def _host(self, layer, taken, path, per_step) -> str:
        """Adds a call of a layer that Python runs, and one for its output."""
        reason = self._objection(layer)
        sources = tuple(source for _, source in taken)
        shape = self._shape(layer, sources, per_step)
        if shape and not isinstance(shape[0], int | None):
            raise refusal(
                path, kind_of(layer), "it has several outputs, and a node has one"
            )
        lead = self.calls[sources[0]].shape[:2]
        hub = self._add(layer, path, sources, lead, per_step, hosted=reason)
        name = f"{hub}:out"
        return self._add(layer, name, (hub,), shape, per_step, 0, reason)

    def _check(self, layer, path: str) -> None:
        """Raises for what is neither expressed nor hosted."""
        reason = self._objection(layer)
        if not reason or self._is_hosted(layer):
            return
        why = unhostable(layer)
        if not self.strict:
            reason = f"{reason.rstrip('.')}. No node can run it either: {why}"
        elif not why:
            reason = (
                f"{reason.rstrip('.')}. ksn.to_nengo(model, strict=False) lets a Python"
                " node run it"
            )
        raise refusal(path, kind_of(layer), reason)

    def _check_layers(self, model, prefix: str) -> None:
        """Raises unless the layers of a model can be read.

        Before Keras is asked for a configuration, which not every layer can give.
        """
        for layer in model.layers:
            if not isinstance(layer, keras.Model) and not _is_time_distributed(layer):
                self._check(layer, prefix + layer.name)

    def _submodel(self, model, taken, path, per_step) -> list[str]:
        self._check(model, path)
        self._check_layers(model, f"{path}/")
        if isinstance(model, keras.Sequential):
            only = [name for _, name in taken]
            return self.sequential(model, only, f"{path}/", per_step)
        inputs = leaves(functional_config(model, path)["input_layers"])
        if [key for key, _ in inputs] != [key for key, _ in taken]:
            raise refusal(
                path,
                type(model).__name__,
                "it is called with inputs of another structure than it declares."
                " Pass the same list or dict",
            )
        pairs = zip(inputs, taken, strict=True)
        sources = {name: source for (_, (name, *_)), (_, source) in pairs}
        return self.functional(model, sources, f"{path}/", per_step)

    def _call(self, layer, path, sources, per_step) -> str:
        shape = self._shape(layer, sources, per_step)
        return self._add(layer, path, sources, shape, per_step)

    def _shape(self, layer, sources, per_step) -> Shape:
        """Of the output of a layer for given inputs."""
        shapes = [self.calls[name].shape for name in sources]
        outer = shapes[0]
        if per_step:
            shapes = [(shape[0], *shape[2:]) for shape in shapes]
        shape = output_shape(layer, shapes[0] if len(shapes) == 1 else shapes)
        return (*outer[:2], *shape[1:]) if per_step else tuple(shape)

    def _add(self, layer, path, sources, shape, per_step, port=None, hosted="") -> str:
        name = unused(path, self.calls, ":")
        path = path.rpartition(":")[0] if port is not None else path
        self.calls[name] = Call(
            layer, name, path, sources, shape, per_step, port, hosted
        )
        return name

    def _bound(self, layer, path, arguments: dict[str, Any]):
        """A layer, and `(key, history)` of the tensors that it is called with."""
        values = dict(enumerate(arguments["args"])) | arguments["kwargs"]
        first, *rest = values
        other = [name for name in rest if values[name] not in (None, False)]
        if not isinstance(layer, keras.Layer) or (
            other and self._is_hosted(layer) and all(map(is_tensor, values.values()))
        ):
            operation = Operation(layer, arguments)
            return operation, [("", history) for history in operation.histories]
        if other:
            raise refusal(
                path,
                type(layer).__name__,
                f"it is called with a further argument, {other[0]!r}. It can be given"
                " tensors to act on only: no mask, initial_state or training=True",
            )
        return layer, leaves(values[first])


def _rule(layer) -> LayerRule:
    return (
        OPERATIONS[layer.operation_kind]
        if isinstance(layer, Operation)
        else rule_of(layer)
    )


def _model_objection(model) -> str:
    base = keras.Sequential if isinstance(model, keras.Sequential) else keras.Model
    own = [klass for klass in type(model).__mro__ if not _is_keras(klass)]
    if any("call" in vars(klass) for klass in own) or not model.inputs:
        return (
            "it has a call of its own, which only Python can run. Build it with"
            f" keras.{base.__name__}(...) from layers"
        )
    return ""


def _is_keras(klass: type) -> bool:
    return klass.__module__.split(".")[0] == "keras"


def _is_functional(layer) -> bool:
    return isinstance(layer, keras.Model) and not isinstance(layer, keras.Sequential)


def _is_time_distributed(layer) -> bool:
    kind = keras.layers.TimeDistributed
    known = (kind.call, PerStep.call)
    return isinstance(layer, kind) and type(layer).call in known
