"""A nengo network with all of its numbers written out.

Building draws encoders and solves decoders. `freeze` copies a network with what was
drawn and solved, or trained since, in the place of distributions, functions and
solvers: built again, it gives the same numbers, and needs no code of the user's but
functions of nodes. `engine.stored` makes plain data of it.
"""

import warnings
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from functools import cached_property
from typing import Any

import keras
import nengo
import numpy as np
from nengo.builder import Model
from nengo.connection import LearningRule
from nengo.ensemble import Neurons
from nengo.params import Default

from keras_spiking_nengo.engine.keras_layers import KerasLayer
from keras_spiking_nengo.engine.signals import elements, probe_connections

__all__ = [
    "Freezer",
    "FullWeights",
    "freeze",
    "key_of_rule",
    "moved",
    "networks_in",
    "rule_at",
    "transform_of",
    "twin",
]

Objects = dict[Any, Any]

# Attributes of Nengo's objects that no copy needs a copy of.
_SHARED = (
    *("output", "neuron_type", "noise", "encoders", "gain", "bias", "eval_points"),
    *("transform", "function_info", "solver", "synapse", "learning_rule_type"),
)


class FullWeights(nengo.solvers.NoSolver):
    """Given weights from neurons to neurons, which no encoders multiply.

    Stored as the `NoSolver` that it is, with `weights=True`.
    """

    compositional = False


class Freezer:
    """Makes copies of a built network, or of parts of it, with numbers written out.

    Args:
        net: what `model` was built from; it is not changed.
        model: nengo's, built.
        values: present values of constant signals, by base signal; what was built
            for those that are not there.

    Attributes:
        parents: the network that each network stands in.
        homes: the network that each object stands in, objects in order of creation.
    """

    def __init__(self, net: nengo.Network, model: Model, values: Mapping | None = None):
        self.net, self.model = net, model
        self.values = {} if values is None else values
        nets = networks_in(net)
        self.parents: dict[nengo.Network, nengo.Network] = {}
        for outer in nets:
            for inner in outer.networks:
                self.parents.setdefault(inner, outer)
        self.homes = {
            obj: n
            for kinds in (("ensembles", "nodes"), ("connections",), ("probes",))
            for n in nets
            for kind in kinds
            for obj in getattr(n, kind)
        }
        self._nets = nets
        self._places = {obj: i for i, obj in enumerate((*nets, *self.homes))}

    @cached_property
    def of_probes(self) -> dict:
        return probe_connections(self.model)

    def copy(self, only: Iterable | None = None) -> tuple[nengo.Network, Objects]:
        """A new network, and a dict from each old object to the new one.

        Args:
            only: ensembles, nodes, connections and probes to copy; all by default.
                What a connection leads to without its being copied is a node in its
                place.
        """
        if only is None:
            return _Copy(self).of(self._nets, self.homes)
        objects = sorted(only, key=self._places.__getitem__)
        nets = {self.net}
        for obj in objects:
            around = self.homes[obj]
            while around not in nets:
                nets.add(around)
                around = self.parents[around]
        return _Copy(self).of(sorted(nets, key=self._places.__getitem__), objects)

    def value(self, signal) -> np.ndarray:
        """The present value of a constant signal."""
        return _value_now(signal, self.values)


def freeze(
    net: nengo.Network, model: Model, values: Mapping | None = None
) -> tuple[nengo.Network, Objects]:
    """A copy of a built network with its numbers written out.

    Args:
        net, model, values: as for `Freezer`.

    Returns:
        The new network, and a dict from each old object to the new one.
    """
    return Freezer(net, model, values).copy()


def twin(net: nengo.Network) -> tuple[nengo.Network, Callable]:
    """A copy of a network as it is, and a function from each old object to the new.

    What cannot change is shared: Nengo's frozen objects, arrays, functions. The copy
    is in no other network.
    """
    memo: dict[int, Any] = {}
    for obj in (*net.all_nodes, *net.all_ensembles, *net.all_connections):
        shared = [getattr(obj, name, None) for name in _SHARED]
        memo |= {id(value): value for value in shared if value is not None}
    with warnings.catch_warnings():
        # Of sizes that are set once more, and of objects not being put into a network
        # that is open here.
        warnings.simplefilter("ignore")
        copy = deepcopy(net, memo)
    return copy, lambda obj: memo[id(obj)]


def moved(obj, new: Mapping):
    """What stands for an object in a copy, also for a learning rule.

    Args:
        obj: of the network that was copied.
        new: what `freeze` returned.
    """
    if isinstance(obj, LearningRule) and obj not in new:
        return rule_at(new[obj.connection], key_of_rule(obj))
    return new[obj]


def transform_of(connection: nengo.Connection, model: Model):
    """The transform of a connection that decodes nothing, with numbers, or None."""
    weights = model.sig[connection]["weights"]
    return _with_numbers(connection.transform, weights, {})


def _value_now(signal, values: Mapping) -> np.ndarray:
    base = signal.base
    array = np.asarray(values.get(base, base.initial_value), dtype=float)
    return array.ravel()[elements(signal)].reshape(signal.shape)


def _with_numbers(transform, weights, values: Mapping):
    """A transform with its present weights, or None."""
    if isinstance(transform, nengo.transforms.NoTransform):
        if weights is None:
            return None
        return nengo.Dense(weights.shape, _value_now(weights, values))
    if isinstance(transform, nengo.Sparse):
        matrix = weights.initial_value
        coo = matrix.tocoo() if hasattr(matrix, "tocoo") else None
        indices = matrix.indices if coo is None else np.stack([coo.row, coo.col], 1)
        data = matrix.data if coo is None else coo.data
        data = np.asarray(values.get(weights.base, data), dtype=float)
        return nengo.Sparse(transform.shape, indices=indices, init=data.ravel())
    array = _value_now(weights, values)
    if isinstance(transform, nengo.Dense):
        return nengo.Dense(transform.shape, init=array)
    names = ["strides", "padding", "channels_last", "kernel_size"]
    is_convolution = type(transform) is nengo.Convolution
    names.append("groups" if is_convolution else "output_shape")
    options = {name: getattr(transform, name) for name in names}
    kind = type(transform)
    return kind(transform.n_filters, transform.input_shape, init=array, **options)


class _Copy:
    """One copy, object by object.

    Attributes:
        new: what stands for each old object.
    """

    def __init__(self, source: Freezer):
        self.source, self.model = source, source.model
        self.new: Objects = {}
        self._layers: dict[keras.layers.Layer, keras.layers.Layer] = {}

    def of(self, nets: Iterable, objects: Iterable) -> tuple[nengo.Network, Objects]:
        """The copy of networks, outer ones first, and of objects in them, in order."""
        for net in nets:
            self._network(net)
        for obj in objects:
            with self.new[self.source.homes[obj]]:
                self.new[obj] = self._object(obj)
        return self.new[self.source.net], self.new

    def _network(self, net: nengo.Network) -> None:
        copy = nengo.Network(
            label=net.label, seed=self.model.seeds[net], add_to_container=False
        )
        if net in self.source.parents:
            parent = self.new[self.source.parents[net]]
            with parent:
                parent.add(copy)
        self.new[net] = copy

    def _object(self, obj):
        if isinstance(obj, nengo.Ensemble):
            ensemble = self._ensemble(obj)
            self.new[obj.neurons] = ensemble.neurons
            return ensemble
        if isinstance(obj, nengo.Node):
            return self._node(obj)
        if isinstance(obj, nengo.Connection):
            self._stand_in(obj.post_obj)
            return self._connection(obj)
        return self._probe(obj)

    def _node(self, node) -> nengo.Node:
        plain = node.output is None or isinstance(node.output, np.ndarray)
        size_out = None if plain else node.size_out
        output = node.output
        if isinstance(output, KerasLayer):
            output = output.taking(self.source.values, self._layers)
        return nengo.Node(
            output, size_in=node.size_in, size_out=size_out, label=node.label
        )

    def _ensemble(self, ens) -> nengo.Ensemble:
        built = self.model.params[ens]
        numbers: dict[str, Any] = {}
        if not isinstance(ens.neuron_type, nengo.Direct):
            scaled = self.source.value(self.model.sig[ens]["encoders"])
            scale = (built.gain / ens.radius)[:, None]
            numbers = {
                "encoders": np.where(scale == 0, built.encoders, scaled / scale),
                "gain": built.gain,
                "bias": self.source.value(self.model.sig[ens.neurons]["bias"]),
                "intercepts": Default,
                "max_rates": Default,
            }
        return nengo.Ensemble(
            ens.n_neurons,
            ens.dimensions,
            radius=ens.radius,
            neuron_type=ens.neuron_type,
            noise=ens.noise,
            eval_points=built.eval_points / ens.radius,
            normalize_encoders=False,
            label=ens.label,
            seed=self.model.seeds[ens],
            **numbers,
        )

    def _connection(self, conn) -> nengo.Connection:
        pre, post = (moved(obj, self.new) for obj in (conn.pre_obj, conn.post_obj))
        common = {
            "synapse": conn.synapse,
            "learning_rule_type": conn.learning_rule_type,
            "label": conn.label,
            "seed": self.model.seeds[conn],
        }
        weights = self.model.sig[conn]["weights"]
        end = _view(post, conn.post_slice)
        if not _is_decoded(conn):
            transform = _with_numbers(conn.transform, weights, self.source.values)
            if conn.function is not None:
                common["function"] = conn.function
            start = _view(pre, conn.pre_slice)
            return nengo.Connection(start, end, transform=transform, **common)
        matrix = self.source.value(weights)
        solved = _decoders(pre, matrix)
        if conn.solver.weights and isinstance(conn.post_obj, nengo.Ensemble):
            solved = _full_weights(pre, matrix, end.size_in)
        return nengo.Connection(pre, end, **solved, **common)

    def _probe(self, probe) -> nengo.Probe:
        solved: dict[str, Any] = {}
        ens = probe.obj
        decoded = isinstance(ens, nengo.Ensemble) and probe.attr == "decoded_output"
        if decoded and not isinstance(ens.neuron_type, nengo.Direct):
            # The probe's own connection is known to the builder alone.
            conn = self.source.of_probes[probe]
            matrix = self.source.value(self.model.sig[conn]["weights"])
            solved["solver"] = nengo.solvers.NoSolver(matrix.T)
        return nengo.Probe(
            _view(moved(probe.obj, self.new), probe.slice),
            probe.attr,
            sample_every=probe.sample_every,
            synapse=probe.synapse,
            label=probe.label,
            seed=self.model.seeds[probe],
            **solved,
        )

    def _stand_in(self, obj) -> None:
        """A node for what is not copied, if it is not there yet."""
        target = obj.connection if isinstance(obj, LearningRule) else obj
        if target not in self.new:
            self.new[obj] = nengo.Node(size_in=obj.size_in, label=f"to {_title(obj)}")


def _title(obj) -> str:
    if isinstance(obj, LearningRule):
        return f"rule of {obj.connection}"
    return _title(obj.ensemble) if isinstance(obj, Neurons) else obj.label or str(obj)


def networks_in(net: nengo.Network) -> list[nengo.Network]:
    """A network and all in it, outer ones first, each once: it may be listed twice."""
    inner = [deeper for listed in net.networks for deeper in networks_in(listed)]
    return list(dict.fromkeys([net, *inner]))


def _is_decoded(conn) -> bool:
    pre = conn.pre_obj
    ensemble = isinstance(pre, nengo.Ensemble)
    return ensemble and not isinstance(pre.neuron_type, nengo.Direct)


def _decoders(pre, matrix: np.ndarray) -> dict[str, Any]:
    """Arguments of a connection that decodes by a given matrix.

    One point, whose image has the right size, stands for the function.
    """
    return {
        "function": np.zeros((1, len(matrix))),
        "eval_points": np.zeros((1, pre.size_out)),
        "solver": nengo.solvers.NoSolver(matrix.T),
    }


def _full_weights(pre, matrix: np.ndarray, size: int) -> dict[str, Any]:
    """The same for weights from neurons to neurons of an ensemble."""
    return {
        "function": np.zeros((1, size)),
        "eval_points": np.zeros((1, pre.size_out)),
        "transform": nengo.Dense((size, size), init=np.eye(size)),
        "solver": FullWeights(matrix.T, weights=True),
    }


def _view(obj, where):
    whole = isinstance(where, slice) and where == slice(None)
    return obj if whole or where is None else obj[where]


def rule_at(conn: nengo.Connection, key):
    """A learning rule of a connection, by what `key_of_rule` gives."""
    rules = conn.learning_rule
    return rules if key is None else rules[key]


def key_of_rule(rule: LearningRule):
    """Key or number of a rule among those of its connection; None for a single one."""
    rules = rule.connection.learning_rule
    if isinstance(rules, Mapping):
        return next(key for key, value in rules.items() if value == rule)
    if isinstance(rules, list | tuple):
        return next(i for i, value in enumerate(rules) if value == rule)
    return None
