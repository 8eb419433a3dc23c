"""A nengo network with all of its numbers written out, and such a network as JSON.

Building draws encoders and solves decoders. `freeze` copies a network with what was
drawn and solved, or trained since, in the place of distributions, functions and
solvers: built again, it gives the same numbers, and needs no code of the user's but
functions of nodes. `to_config` stores it as plain data.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import nengo
import numpy as np
from nengo.builder import Model
from nengo.connection import LearningRule
from nengo.ensemble import Neurons
from nengo.params import Default

from keras_spiking_nengo import serialization
from keras_spiking_nengo.engine.signals import elements, probe_connections

__all__ = [
    "freeze",
    "moved",
    "network_from_config",
    "network_to_config",
    "transform_of",
]

Objects = dict[Any, Any]


class _FullWeights(nengo.solvers.NoSolver):
    """Given weights from neurons to neurons, which no encoders multiply.

    Stored as the `NoSolver` that it is, with `weights=True`.
    """

    compositional = False


def freeze(
    net: nengo.Network,
    model: Model,
    values: Mapping | None = None,
    only: Collection | None = None,
) -> tuple[nengo.Network, Objects]:
    """A copy of a built network with its numbers written out.

    Args:
        net: what `model` was built from; it is not changed.
        model: nengo's, built.
        values: present values of constant signals, by base signal; what was built
            for those that are not there.
        only: ensembles, nodes, connections and probes to copy; all by default. What
            a connection leads to without its being copied is a node in its place.

    Returns:
        The new network, and a dict from each old object to the new one.
    """
    return _Freezer(model, values or {}, only).network(net)


def moved(obj, new: Mapping):
    """What stands for an object in a copy, also for a learning rule.

    Args:
        obj: of the network that was copied.
        new: what `freeze` returned.
    """
    if isinstance(obj, LearningRule) and obj not in new:
        return _learning_rule(new[obj.connection], _rule_key(obj))
    return new[obj]


def transform_of(connection: nengo.Connection, model: Model):
    """The transform of a connection that decodes nothing, with numbers, or None."""
    weights = model.sig[connection]["weights"]
    return _Freezer(model, {}, None)._transform(connection.transform, weights)


class _Freezer:
    def __init__(self, model: Model, values: Mapping, only: Collection | None):
        self.model = model
        self.values = values
        self.only = only
        self.new: Objects = {}
        self.of_probes = probe_connections(model)

    def copied(self, objects) -> list:
        return [obj for obj in objects if self.only is None or obj in self.only]

    def value(self, signal) -> np.ndarray:
        base = signal.base
        array = np.asarray(self.values.get(base, base.initial_value), dtype=float)
        return array.ravel()[elements(signal)].reshape(signal.shape)

    def network(self, net: nengo.Network):
        copy = self._objects(net, None)
        for old in _networks(net):
            with self.new[old]:
                for connection in self.copied(old.connections):
                    self._stand_in(connection.post_obj)
                    self.new[connection] = self._connection(connection)
        for old in _networks(net):
            with self.new[old]:
                for probe in self.copied(old.probes):
                    self.new[probe] = self._probe(probe)
        return copy, self.new

    def _objects(self, net, parent) -> nengo.Network:
        copy = nengo.Network(
            label=net.label, seed=self.model.seeds[net], add_to_container=False
        )
        if parent is not None:
            with parent:
                parent.add(copy)
        self.new[net] = copy
        with copy:
            for ens in self.copied(net.ensembles):
                self.new[ens] = self._ensemble(ens)
                self.new[ens.neurons] = self.new[ens].neurons
            for node in self.copied(net.nodes):
                plain = node.output is None or isinstance(node.output, np.ndarray)
                self.new[node] = nengo.Node(
                    node.output,
                    size_in=node.size_in,
                    size_out=None if plain else node.size_out,
                    label=node.label,
                )
        for inner in net.networks:
            self._objects(inner, copy)
        return copy

    def _ensemble(self, ens) -> nengo.Ensemble:
        built = self.model.params[ens]
        arguments: dict[str, Any] = {}
        if not isinstance(ens.neuron_type, nengo.Direct):
            scaled = self.value(self.model.sig[ens]["encoders"])
            scale = (built.gain / ens.radius)[:, None]
            arguments = {
                "encoders": np.where(scale == 0, built.encoders, scaled / scale),
                "gain": built.gain,
                "bias": self.value(self.model.sig[ens.neurons]["bias"]),
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
            **arguments,
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
        if not _is_decoded(conn):
            arguments = {"transform": self._transform(conn.transform, weights)}
            if conn.function is not None:
                arguments |= {"function": conn.function}
            ends = _view(pre, conn.pre_slice), _view(post, conn.post_slice)
            return nengo.Connection(*ends, **arguments, **common)
        matrix = self.value(weights)
        end = _view(post, conn.post_slice)
        arguments = _decoders(pre, matrix)
        if conn.solver.weights and isinstance(conn.post_obj, nengo.Ensemble):
            arguments = _full_weights(pre, matrix, end.size_in)
        return nengo.Connection(pre, end, **arguments, **common)

    def _transform(self, transform, weights):
        if isinstance(transform, nengo.transforms.NoTransform):
            if weights is None:
                return None
            return nengo.Dense(weights.shape, self.value(weights))
        if isinstance(transform, nengo.Sparse):
            matrix = weights.initial_value
            coo = matrix.tocoo() if hasattr(matrix, "tocoo") else None
            indices = matrix.indices if coo is None else np.stack([coo.row, coo.col], 1)
            data = matrix.data if coo is None else coo.data
            data = np.asarray(self.values.get(weights.base, data), dtype=float)
            return nengo.Sparse(transform.shape, indices=indices, init=data.ravel())
        array = self.value(weights)
        if isinstance(transform, nengo.Dense):
            return nengo.Dense(transform.shape, init=array)
        kind = type(transform)
        names = ("strides", "padding", "channels_last", "kernel_size")
        arguments = {name: getattr(transform, name) for name in names}
        if kind is nengo.Convolution:
            arguments["groups"] = transform.groups
        else:
            arguments["output_shape"] = transform.output_shape
        return kind(transform.n_filters, transform.input_shape, init=array, **arguments)

    def _probe(self, probe) -> nengo.Probe:
        arguments: dict[str, Any] = {}
        ens = probe.obj
        decoded = isinstance(ens, nengo.Ensemble) and probe.attr == "decoded_output"
        if decoded and not isinstance(ens.neuron_type, nengo.Direct):
            # The probe's arguments connection is known to the builder alone.
            conn = self.of_probes[probe]
            matrix = self.value(self.model.sig[conn]["weights"])
            arguments["solver"] = nengo.solvers.NoSolver(matrix.T)
        return nengo.Probe(
            _view(moved(probe.obj, self.new), probe.slice),
            probe.attr,
            sample_every=probe.sample_every,
            synapse=probe.synapse,
            label=probe.label,
            seed=self.model.seeds[probe],
            **arguments,
        )

    def _stand_in(self, obj) -> None:
        """A node for what is not copied, if it is not there yet."""
        target = obj.connection if isinstance(obj, LearningRule) else obj
        if target not in self.new:
            self.new[obj] = nengo.Node(
                size_in=obj.size_in, label=f"to {_object_label(obj)}"
            )


def _object_label(obj) -> str:
    if isinstance(obj, LearningRule):
        return f"rule of {obj.connection}"
    return (
        _object_label(obj.ensemble)
        if isinstance(obj, Neurons)
        else obj.label or str(obj)
    )


def _networks(net: nengo.Network) -> Iterator[nengo.Network]:
    yield net
    for inner in net.networks:
        yield from _networks(inner)


def _is_decoded(conn) -> bool:
    pre = conn.pre_obj
    direct = isinstance(pre, nengo.Ensemble) and isinstance(
        pre.neuron_type, nengo.Direct
    )
    return isinstance(pre, nengo.Ensemble) and not direct


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
        "solver": _FullWeights(matrix.T, weights=True),
    }


def _view(obj, where):
    whole = isinstance(where, slice) and where == slice(None)
    return obj if whole or where is None else obj[where]


def _learning_rule(conn, key):
    rules = conn.learning_rule
    return rules if key is None else rules[key]


def _rule_key(rule: LearningRule):
    rules = rule.connection.learning_rule
    if isinstance(rules, Mapping):
        return next(key for key, value in rules.items() if value == rule)
    if isinstance(rules, list | tuple):
        return next(i for i, value in enumerate(rules) if value == rule)
    return None


# --- as data --------------------------------------------------------------------


def network_to_config(net: nengo.Network, silent: frozenset = frozenset()) -> dict:
    """A frozen network as plain JSON.

    Args:
        net: what `freeze` returned.
        silent: nodes whose output is not stored: it will be given from outside.

    Raises:
        TypeError: for a function, by the name of its node or connection.
    """
    nets = list(_networks(net))
    number = {id(n): i for i, n in enumerate(nets)}
    refs: dict[Any, list] = {}
    for kind, objects in _all(net).items():
        for i, obj in enumerate(objects):
            refs[obj] = [kind, i]
            if kind == "ensembles":
                refs[obj.neurons] = ["neurons", i]
    parents = {id(inner): number[id(n)] for n in nets for inner in n.networks}
    return {
        "networks": [
            {"label": n.label, "seed": _seed(n), "parent": parents.get(id(n))}
            for n in nets
        ],
        **{
            kind: [
                {"network": number[id(n)], **_FIELDS[kind](obj, refs, silent)}
                for n in nets
                for obj in getattr(n, kind)
            ]
            for kind in _FIELDS
        },
    }


def _all(net) -> dict[str, list]:
    nets = list(_networks(net))
    return {kind: [o for n in nets for o in getattr(n, kind)] for kind in _FIELDS}


def _seed(obj):
    return None if obj.seed is None else int(obj.seed)


def _encoded(value, owner):
    try:
        return serialization.to_config(value)
    except TypeError as error:
        raise TypeError(f"{owner} cannot be stored: {error}") from error


def _fields(obj, *names) -> dict:
    return {name: _encoded(getattr(obj, name), obj) for name in names}


def _of_ensemble(ens, refs, silent) -> dict:
    names = ("n_neurons", "dimensions", "radius", "neuron_type", "noise", "label")
    direct = isinstance(ens.neuron_type, nengo.Direct)
    drawn = () if direct else ("encoders", "gain", "bias")
    return _fields(ens, *names, "eval_points", *drawn) | {"seed": _seed(ens)}


def _of_node(node, refs, silent) -> dict:
    output = np.zeros(node.size_out) if node in silent else node.output
    if callable(output) and not isinstance(output, nengo.Process):
        raise TypeError(
            f"{node} cannot be stored, as its output is a Python function. Make the"
            " node an input of the layer, or give it a nengo.Process."
        )
    size = int(node.size_out) if callable(output) else None
    config = {"output": _encoded(output, node), "size_out": size}
    return _fields(node, "size_in", "label") | config


def _of_connection(conn, refs, silent) -> dict:
    function = conn.function
    if callable(function):
        raise TypeError(
            f"{conn} cannot be stored, as it computes a Python function without"
            " decoders. Decode it from an ensemble of neurons."
        )
    config = _fields(conn, "transform", "synapse", "learning_rule_type", "label")
    solver = conn.solver
    if isinstance(solver, _FullWeights):
        solver = nengo.solvers.NoSolver(solver.values, weights=True)
    config["solver"] = _encoded(solver, conn)
    if function is not None:
        config |= _fields(conn, "eval_points") | {"function": _encoded(function, conn)}
    return config | _ends(conn, refs) | {"seed": _seed(conn)}


def _ends(conn, refs) -> dict:
    return {
        "pre": _ref(conn.pre_obj, conn.pre_slice, refs),
        "post": _ref(conn.post_obj, conn.post_slice, refs),
    }


def _of_probe(probe, refs, silent) -> dict:
    config = _fields(probe, "attr", "sample_every", "synapse", "label", "solver")
    target = _ref(probe.obj, probe.slice, refs)
    return config | {"target": target, "seed": _seed(probe)}


def _ref(obj, where, refs) -> dict:
    if isinstance(obj, LearningRule):
        kind, i = refs[obj.connection]
        reference: dict[str, Any] = {"kind": "rule", "index": i, "rule": _rule_key(obj)}
    else:
        kind, i = refs[obj]
        reference = {"kind": kind, "index": i}
    if where is None or (isinstance(where, slice) and where == slice(None)):
        return reference
    if isinstance(where, slice):
        ends = (where.start, where.stop, where.step)
        return reference | {"slice": [None if n is None else int(n) for n in ends]}
    return reference | {"elements": np.atleast_1d(where).tolist()}


_FIELDS: dict[str, Callable[..., dict]] = {
    "ensembles": _of_ensemble,
    "nodes": _of_node,
    "connections": _of_connection,
    "probes": _of_probe,
}


def network_from_config(config: Mapping[str, Any]) -> nengo.Network:
    """The network that `network_to_config` was given, as new objects.

    Raises:
        ValueError: for anything that it does not return.
    """
    try:
        return _restored(config)
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise ValueError(f"This is no stored network: {error!r}.") from error


def _restored(config) -> nengo.Network:
    nets: list[nengo.Network] = []
    for stored in config["networks"]:
        net = nengo.Network(
            label=stored["label"], seed=stored["seed"], add_to_container=False
        )
        if stored["parent"] is not None:
            with nets[stored["parent"]]:
                nets[stored["parent"]].add(net)
        nets.append(net)
    objects: dict[str, list] = {}
    for kind, make in _RESTORERS.items():
        objects[kind] = []
        for stored in config[kind]:
            with nets[stored["network"]]:
                objects[kind].append(make(dict(stored), objects))
    return nets[0]


def _decoded(stored: dict, *omitted) -> dict:
    drop = {"network", *omitted}
    return {
        key: serialization.from_config(value)
        for key, value in stored.items()
        if key not in drop
    }


def _make_ensemble(stored, objects):
    return nengo.Ensemble(normalize_encoders=False, **_decoded(stored))


def _make_node(stored, objects):
    return nengo.Node(**_decoded(stored))


def _make_connection(stored, objects):
    arguments = _decoded(stored, "pre", "post")
    pre, post = (_looked_up(stored[end], objects) for end in ("pre", "post"))
    if isinstance(arguments["transform"], nengo.transforms.NoTransform):
        arguments["transform"] = None
    solver = arguments["solver"]
    if isinstance(solver, nengo.solvers.NoSolver) and solver.weights:
        arguments["solver"] = _FullWeights(solver.values, weights=True)
    return nengo.Connection(pre, post, **arguments)


def _make_probe(stored, objects):
    arguments = _decoded(stored, "target")
    return nengo.Probe(_looked_up(stored["target"], objects), **arguments)


def _looked_up(ref, objects):
    kind, i = ref["kind"], ref["index"]
    if kind == "rule":
        obj: Any = _learning_rule(objects["connections"][i], ref["rule"])
    elif kind == "neurons":
        obj = objects["ensembles"][i].neurons
    else:
        obj = objects[kind][i]
    if "slice" in ref:
        return obj[slice(*ref["slice"])]
    return obj[ref["elements"]] if "elements" in ref else obj


_RESTORERS: dict[str, Callable] = {
    "ensembles": _make_ensemble,
    "nodes": _make_node,
    "connections": _make_connection,
    "probes": _make_probe,
}
