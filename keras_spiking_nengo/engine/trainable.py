"""Which numbers of a network training may change, and what they are called.

Every connection's weights, ensemble's encoders and biases, and all weights of the
Keras layers in its nodes, are weights by a name made
of nengo labels. By default all are trained but those of probes, of connections and
encoders that an online rule changes, and of objects that `configure` excludes.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any

import nengo
import numpy as np
from nengo.builder import Model
from nengo.config import Config
from nengo.exceptions import ConfigError
from nengo.params import BoolParam

from keras_spiking_nengo.checks import check_kind
from keras_spiking_nengo.engine.keras_layers import KerasLayer, KerasWeight
from keras_spiking_nengo.engine.signals import probe_connections

__all__ = ["NamedWeight", "configure", "weights_of"]

_CLASSES = (nengo.Ensemble, nengo.Connection, nengo.Probe, nengo.Node)
_PARAMETER = "trainable"


def configure(net: nengo.Network, *targets: Any, trainable: bool | None = None) -> None:
    """Say in a network's config what training may change.

    Args:
        net: `nengo.Network`; what is said holds for its subnetworks, too, unless
            they are configured themselves.
        *targets: ensembles (their encoders and biases), connections (their weights),
            probes (the decoders of a decoded probe) and nodes (the weights of a Keras
            layer, see `ksn.keras_node`), or their classes. Defaults to all four
            classes.
        trainable: bool, or None for the default of each kind.

    Raises:
        TypeError: for a target of another kind.
        ValueError: for an object that is not in the network, or a `trainable` that
            is neither a bool nor None.

    Example:
        >>> import nengo
        >>> with nengo.Network() as net:
        ...     ens = nengo.Ensemble(10, 1)
        >>> configure(net, trainable=False)
        >>> configure(net, ens, trainable=True)
    """
    check_kind("net", net, nengo.Network, "a nengo.Network")
    if trainable is not None and not isinstance(trainable, bool | np.bool_):
        raise ValueError(f"trainable is True, False or None; received {trainable!r}.")
    for target in targets or _CLASSES:
        _check_target(net, target)
        cls = target if isinstance(target, type) else type(target)
        if cls not in net.config.params:
            net.config.configures(cls)
        parameters = net.config[cls]
        if _PARAMETER not in parameters._extra_params:
            parameters.set_param(
                _PARAMETER, BoolParam(_PARAMETER, default=None, optional=True)
            )
        value = None if trainable is None else bool(trainable)
        net.config[target].trainable = value


def _check_target(net, target) -> None:
    cls = target if isinstance(target, type) else type(target)
    if cls not in _CLASSES:
        names = ", ".join(c.__name__ for c in _CLASSES)
        raise TypeError(
            f"targets: Received {target!r}; possible: {names}, and their instances."
        )
    if not isinstance(target, type) and target not in net.all_objects:
        raise ValueError(f"targets: {target} is not in {net}.")


def _configured(configs: list[Config], obj) -> bool | None:
    """What the innermost config says of an object, then of its class."""
    for config in reversed(configs):
        for key in (obj, type(obj)):
            if type(obj) not in config.params:
                continue
            try:
                value = getattr(config[key], _PARAMETER)
            except (AttributeError, ConfigError):
                continue
            if value is not None:
                return value
    return None


@dataclass(frozen=True)
class NamedWeight:
    """A constant signal that can be a weight.

    Attributes:
        name: unique within the network.
        signal: base signal.
        trainable: whether training may change it.
        built: whether Nengo has drawn or solved it: encoders, biases and decoders.
    """

    name: str
    signal: Any
    trainable: bool
    built: bool


def weights_of(net: nengo.Network, model: Model) -> list[NamedWeight]:
    """Weights of a built network, in nengo's order."""
    ruled, of_probes = _ruled(net), probe_connections(model)
    weights: list[tuple[str, Any, bool, bool]] = []
    for obj, configs in _each_once(_walk(net, [])):
        said = _configured(configs, obj)
        for kind, signal in _signals(obj, model, of_probes):
            default = (kind, obj) not in ruled and not isinstance(obj, nengo.Probe)
            trained = bool(default if said is None else said)
            if isinstance(signal, KerasWeight):
                trained &= signal.variable.trainable
            source = getattr(obj, "pre_obj", getattr(obj, "obj", obj))
            built = isinstance(source, nengo.Ensemble)
            weights.append((f"{_weight_label(obj)}.{kind}", signal, trained, built))
    names = _unique([name for name, *_ in weights])
    by_signal: dict[Any, NamedWeight] = {}
    for name, (_, signal, *flags) in zip(names, weights, strict=True):
        by_signal.setdefault(signal.base, NamedWeight(name, signal.base, *flags))
    return list(by_signal.values())


def _each_once(walked) -> Iterator[tuple[Any, list[Config]]]:
    """Of a network that is listed twice, Nengo builds every object once."""
    first: dict[Any, list[Config]] = {}
    for obj, configs in walked:
        first.setdefault(obj, configs)
    yield from first.items()


def _walk(net, configs):
    configs = [*configs, net.config]
    for obj in (*net.ensembles, *net.nodes, *net.connections, *net.probes):
        yield obj, configs
    for inner in net.networks:
        yield from _walk(inner, configs)


def _signals(obj, model: Model, of_probes):
    if isinstance(obj, nengo.Ensemble):
        yield "encoders", model.sig[obj]["encoders"]
        if model.sig[obj.neurons].get("bias") is not None:
            yield "bias", model.sig[obj.neurons]["bias"]
        return
    if isinstance(obj, nengo.Node):
        if isinstance(obj.output, KerasLayer):
            yield from ((weight.name, weight) for weight in obj.output.weights)
        return
    source = of_probes.get(obj) if isinstance(obj, nengo.Probe) else obj
    weights = model.sig[source].get("weights") if source is not None else None
    if weights is not None:
        yield "weights", weights


def _ruled(net) -> set[tuple[str, Any]]:
    """What online rules change."""
    changed: set[tuple[str, Any]] = set()
    for conn in net.all_connections:
        rules = conn.learning_rule or ()
        rules = rules.values() if isinstance(rules, Mapping) else rules
        for rule in rules if not hasattr(rules, "modifies") else (rules,):
            if rule.modifies == "encoders":
                post = conn.post_obj
                ens = post if isinstance(post, nengo.Ensemble) else post.ensemble
                changed.add(("encoders", ens))
            else:
                changed.add(("weights", conn))
    return changed


def _weight_label(obj) -> str:
    if isinstance(obj, nengo.Connection) and obj.label is None:
        return f"{_end(obj.pre_obj)}_to_{_end(obj.post_obj)}"
    if isinstance(obj, nengo.Probe) and obj.label is None:
        return f"probe_of_{_end(obj.obj)}"
    return (obj.label or type(obj).__name__.lower()).replace("/", "_")


def _end(obj) -> str:
    if isinstance(obj, nengo.ensemble.Neurons):
        return f"{_end(obj.ensemble)}.neurons"
    if isinstance(obj, nengo.connection.LearningRule):
        return f"{_weight_label(obj.connection)}.rule"
    return _weight_label(obj)


def _unique(names: list[str]) -> list[str]:
    total, taken = Counter(names), set(names)
    unique = []
    for name in names:
        if total[name] > 1:
            head, _, kind = name.rpartition(".")
            name = next(
                new for i in count(1) if (new := f"{head}_{i}.{kind}") not in taken
            )
            taken.add(name)
        unique.append(name)
    return unique
