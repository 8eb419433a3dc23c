"""Where each layer of a model is called, and the rule that holds for it there.

The calls of a model, from `models.calls`, are judged: each is expressed by the rule of
its layer, or run by Python in a node, or refused. A layer with several outputs has a
site where its inputs go, and one for each output.
"""

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import keras

from keras_spiking_nengo.convert.layer_rules import (
    LAYERS,
    LayerRule,
    Site,
    kind_of,
    refusal,
    rule_of,
    stand_in,
)
from keras_spiking_nengo.convert.rules.arithmetic import OPERATIONS
from keras_spiking_nengo.convert.rules.hosted import HOSTED, unhostable
from keras_spiking_nengo.graphs import unused
from keras_spiking_nengo.models.building import check_built
from keras_spiking_nengo.models.calls import Call, Symbol, calls, is_opaque, symbols_in
from keras_spiking_nengo.models.operations import OperationLayer
from keras_spiking_nengo.models.temporal import Temporal, temporal
from keras_spiking_nengo.models.time import Time, reading_of, time_of

__all__ = ["Sites", "sites_of"]


@dataclass(frozen=True, eq=False)
class Sites:
    """The sites of a model, sources first.

    Attributes:
        sites: by name.
        inputs, outputs: from the names that Keras gives them to those of sites.
        temporal: names of the sites whose signal is a sequence.
        timed: the calls that the sites are of, and which tensors are sequences.
    """

    sites: dict[str, Site]
    inputs: dict[str, str]
    outputs: dict[str, str]
    temporal: frozenset[str]
    timed: Temporal

    def __iter__(self) -> Iterator[Site]:
        return iter(self.sites.values())

    def dt(self) -> float:
        """Length of the step of the model, in seconds.

        Raises:
            NotImplementedError: if layers differ.
        """
        first: Site | None = None
        for site in self:
            if not hasattr(getattr(site.layer, "cell", None), "dt"):
                continue
            first = first or site
            dt, of_first = site.layer.cell.dt, first.layer.cell.dt
            if dt != of_first:
                raise site.refusal(
                    f"its step is dt={dt:g} s, and that of {first.path!r} is"
                    f" dt={of_first:g} s. A Nengo network has one dt"
                )
        return first.layer.cell.dt if first else 0.001


def sites_of(
    model: keras.Model, strict: bool = True, options: Collection[str] = ()
) -> Sites:
    """The sites of a model.

    Args:
        model: functional or `keras.Sequential`.
        strict: whether to refuse what only Python can run.
        options: names of what rules may do that is not what the layer does.

    Raises:
        TypeError: if `model` is no Keras model.
        ValueError: if it is not built, so that its shapes are not known.
        NotImplementedError: if it has a call of its own, or a layer without a rule.
    """
    check_built(model)
    reason = _model_objection(model)
    if reason:  # no node can run what is all of the network
        raise refusal(model.name, type(model).__name__, reason)
    model_calls = calls(model)
    taken = {id(symbol) for call in model_calls for symbol in call.inputs}
    judge = _Judge(strict, options, taken)
    # Layers first: what a mask is made by is named after the layer that asks for it.
    in_turn = sorted(
        model_calls, key=lambda call: not isinstance(call.operation, keras.Layer)
    )
    reading = [c for c in in_turn if reading_of(c.operation) and not c.per_step]
    rulings = {c.name: judge.ruling(c) for c in in_turn if c not in reading}

    def time(call: Call) -> Time:
        return Time.READS if call in reading else rulings[call.name].time

    timed = temporal(model_calls, time, refusal)
    # What reads is a matter of whether it is given a sequence.
    rulings |= {
        c.name: judge.reading(c) if timed[c.inputs[0]] else judge.ruling(c)
        for c in reading
    }
    placing = _Placing(rulings, timed)
    inputs, outputs = (
        {name: placing.names[id(symbol)] for name, symbol in ends.items()}
        for ends in (model_calls.inputs, model_calls.outputs)
    )
    temporal_sites = frozenset(placing.temporal)
    return Sites(placing.sites, inputs, outputs, temporal_sites, timed)


# --- rulings ------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Ruling:
    """What holds for a call.

    Attributes:
        layer: the layer, or what stands for an operation.
        rule: of the layer.
        hosted: why a node runs the layer, or "".
        reads: what it makes of all steps, or "".
    """

    layer: keras.Layer
    rule: LayerRule
    hosted: str = ""
    reads: str = ""

    @property
    def rest(self) -> tuple[LayerRule, str, str]:
        """What a site has besides the layer and its place."""
        return self.rule, self.hosted, self.reads

    @property
    def time(self) -> Time:
        """How it treats time."""
        # What only Python runs acts on every step alike, unless it has a cell.
        plain = self.hosted and not hasattr(self.layer, "cell")
        operands = getattr(self.layer, "operands", ())
        return Time.KEEPS if plain else time_of(self.layer, operands)


class _Judge:
    """Says what holds for each call.

    Args:
        strict, options: as for `sites_of`.
        taken: `id`s of the symbols that calls take.
    """

    def __init__(self, strict: bool, options: Collection[str], taken: Collection[int]):
        self.strict = strict
        self.taken = taken
        self.options = options

    def ruling(self, call: Call) -> _Ruling:
        """The rule that holds for a call; raises if there is none."""
        if len(call.wrappers) > 1:
            raise refusal(
                call.path,
                "TimeDistributed",
                "it is within another one, and there is one axis of time only",
            )
        layer = self._layer(call)
        reason = self._objection(layer) or self._unread(call, layer)
        if not reason:
            rule = _rule(layer)
            return _Ruling(layer, rule, rule.in_node)
        why = unhostable(layer)
        if not self.strict and not why and len(call.symbols) > 1:
            why = "it has several outputs, and a node has one"
        if not self.strict and not why:
            return _Ruling(layer, HOSTED, reason)
        if not self.strict:
            reason = f"{reason.rstrip('.')}. No node can run it either: {why}"
        elif not why:
            reason = (
                f"{reason.rstrip('.')}. ksn.to_nengo(model, strict=False) lets a Python"
                " node run it"
            )
        raise refusal(call.path, kind_of(layer), reason)

    def reading(self, call: Call) -> _Ruling:
        """What holds for a call that reads a sequence; raises if any takes it."""
        kind, layer = reading_of(call.operation), self._layer(call)
        if id(call.symbols[0]) not in self.taken:
            return _Ruling(layer, LayerRule(), reads=kind)
        raise refusal(
            call.path,
            kind_of(layer),
            f"it takes the {kind} over time, which is known only when the sequence is"
            " over, and others take that. In Nengo, outputs are read so. Export the"
            " model up to this layer, and apply the rest to what export.run returns",
        )

    def _layer(self, call: Call) -> keras.Layer:
        """The layer of a call, or one that stands for the operation."""
        layer = call.operation
        if not isinstance(layer, keras.Layer):
            return OperationLayer.of(call)
        layer = stand_in(layer)
        arguments: dict[Any, Any] = dict(enumerate(call.args))
        arguments |= call.kwargs
        _, *further = [
            name for name, value in arguments.items() if not _is_left_out(value)
        ]
        if not further:
            return layer
        hosted = not self.strict and self._objection(layer) and not unhostable(layer)
        if hosted and all(symbols_in(arguments[name]) for name in further):
            return OperationLayer.of(call)
        raise refusal(
            call.path,
            type(layer).__name__,
            f"it is called with a further argument, {further[0]!r}. It can be given"
            " tensors to act on only: no mask, initial_state or training=True",
        )

    def _objection(self, layer) -> str:
        """Why Nengo's objects cannot express a layer or model, or ""."""
        if isinstance(layer, keras.Model):
            return _model_objection(layer)
        if isinstance(layer, OperationLayer) and layer.operation_kind not in OPERATIONS:
            return "it is an operation without a rule"
        if isinstance(layer, OperationLayer) or layer in LAYERS:
            return self._objection_of(_rule(layer), layer)
        # What cells are run by is not what a layer with another cell is made of.
        kinds = set(LAYERS) - {keras.layers.RNN}
        if kinds & set(type(layer).__mro__):
            return "its class has a call of its own"
        return "its class has no rule"

    def _unread(self, call: Call, layer) -> str:
        """Why other layers cannot take what they take of a call, or ""."""
        shows = _rule(layer).shows
        if shows is None:
            return ""
        reasons = zip(call.symbols, shows(layer), strict=True)
        return next((why for x, why in reasons if why and id(x) in self.taken), "")

    def _objection_of(self, rule: LayerRule, layer) -> str:
        if rule.option and rule.option not in self.options:
            return (
                f"it takes a maximum. ksn.to_nengo(model, {rule.option}=True) takes the"
                " mean instead, which gives other numbers"
            )
        return rule.objection(layer)


def _is_left_out(value: Any) -> bool:
    return all(item is None or item is False for item in keras.tree.flatten(value))


def _rule(layer) -> LayerRule:
    if isinstance(layer, OperationLayer):
        rule = OPERATIONS[layer.operation_kind]
        return rule if rule.chosen is None else rule.chosen(layer)
    return rule_of(layer)


def _model_objection(model) -> str:
    if not is_opaque(model):
        return ""
    base = keras.Sequential if isinstance(model, keras.Sequential) else keras.Model
    return (
        "it has a call of its own, which only Python can run. Build it with"
        f" keras.{base.__name__}(...) from layers"
    )


# --- sites --------------------------------------------------------------------------


class _Placing:
    """Makes the sites of all calls.

    Attributes:
        sites: by name.
        names: of sites, by the `id` of the symbols that stand for their signals.
        temporal: names of the sites whose signal is a sequence.
    """

    def __init__(self, rulings: dict[str, _Ruling], timed: Temporal):
        self.timed = timed
        self.sites: dict[str, Site] = {}
        self.names: dict[int, str] = {}
        self.temporal: set[str] = set()
        for name, symbol in timed.calls.inputs.items():
            layer = keras.layers.InputLayer(batch_shape=symbol.shape, name=name)
            self._add(symbol, name, name, _Ruling(layer, rule_of(layer)))
        for call in timed.calls:
            self._call(call, rulings[call.name])

    def _call(self, call: Call, ruling: _Ruling) -> None:
        taken = _ordered(call, ruling.rule)
        sources = tuple(self.names[id(x)] for x in taken)
        pairs = zip(taken, sources, strict=True)
        inputs = tuple(self._features(call.path, ruling, x, name) for x, name in pairs)
        common = call.path, ruling, call.per_step
        if ruling.rule.outputs is None:
            self._add(call.symbols[0], call.name, *common, sources, inputs)
            return
        # A site that takes the inputs, and one for each output.
        leading = self._leading(call.inputs[0], call.per_step)
        output = (sum(map(math.prod, inputs)),)
        name = unused(call.name, self.sites, ":")
        place = name, call.path, sources, inputs, output, leading, None
        self.sites[name] = Site(ruling.layer, *place, *ruling.rest)
        if self.timed[call.inputs[0]] or not ruling.hosted:
            self.temporal.add(name)
        keys = ruling.rule.outputs(ruling.layer) or ("",)
        for port, (key, symbol) in enumerate(zip(keys, call.symbols, strict=True)):
            self._add(
                symbol, f"{name}:{key or 'out'}", *common, (name,), (output,), port
            )

    def _add(
        self,
        symbol: Symbol,
        name: str,
        path: str,
        ruling: _Ruling,
        per_step: bool = False,
        sources: tuple = (),
        inputs: tuple = (),
        port: int | None = None,
    ) -> None:
        name = unused(name, self.sites, ":")
        output = self._features(path, ruling, symbol, name)
        leading = self._leading(symbol, per_step)
        place = name, path, sources, inputs, output, leading, port
        self.sites[name] = Site(ruling.layer, *place, *ruling.rest)
        self.names[id(symbol)] = name
        if self.timed[symbol]:
            self.temporal.add(name)

    def _leading(self, symbol: Symbol, per_step: bool) -> int:
        return 2 if self.timed[symbol] and not per_step else 1

    def _features(self, path, ruling, symbol: Symbol, name: str) -> tuple[int, ...]:
        """Shape of one step of a tensor."""
        shape = tuple(symbol.shape)[2 if self.timed[symbol] else 1 :]
        sizes = tuple(size for size in shape if size is not None)
        if len(sizes) < len(shape):
            raise refusal(
                path,
                kind_of(ruling.layer),
                f"{name!r} has features of unknown size, {tuple(symbol.shape)}. Give"
                " keras.Input a shape of which only time is None",
            )
        return sizes


def _ordered(call: Call, rule: LayerRule) -> list[Symbol]:
    """The tensors that a call acts on, in the order of its rule."""
    keys = rule.inputs(call.operation) if rule.inputs is not None else []
    if keys:
        return [call.args[0][key] for key in keys]
    if isinstance(call.operation, keras.Layer) and rule is not HOSTED:
        return symbols_in(call.args[0])
    return list({id(symbol): symbol for symbol in call.inputs}.values())
