"""A frozen network as plain JSON, and back."""

from collections.abc import Callable, Mapping
from typing import Any

import nengo
import numpy as np
from nengo.connection import LearningRule

from keras_spiking_nengo import serialization
from keras_spiking_nengo.engine.demands import spend_on
from keras_spiking_nengo.engine.frozen import (
    FullWeights,
    key_of_rule,
    networks_in,
    rule_at,
)

__all__ = ["network_from_config", "network_to_config"]

# Nengo's builder, and what writes networks, go from network to network by recursion.
_MAX_NESTED = 64


def network_to_config(net: nengo.Network, silent: frozenset = frozenset()) -> dict:
    """A frozen network as plain JSON.

    Args:
        net: what `freeze` returned.
        silent: nodes whose output is not stored: it will be given from outside.

    Raises:
        TypeError: for a function, by the name of its node or connection.
    """
    nets = list(networks_in(net))
    number = {id(n): i for i, n in enumerate(nets)}
    refs: dict[Any, list] = {}
    for kind, objects in _all(net).items():
        for i, obj in enumerate(objects):
            refs[obj] = [kind, i]
            if kind == "ensembles":
                refs[obj.neurons] = ["neurons", i]
    places = {id(inner): number[id(n)] for n in nets for inner in n.networks}
    parents = [places.get(id(n)) for n in nets]
    _check_nested(parents)
    return {
        "networks": [
            {"label": n.label, "seed": _seed(n), "parent": parent}
            for n, parent in zip(nets, parents, strict=True)
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
    nets = list(networks_in(net))
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
    sent = {"output": _encoded(output, node), "size_out": size}
    return _fields(node, "size_in", "label") | sent


def _of_connection(conn, refs, silent) -> dict:
    function = conn.function
    if callable(function):
        raise TypeError(
            f"{conn} cannot be stored, as it computes a Python function without"
            " decoders. Decode it from an ensemble of neurons."
        )
    fields = _fields(conn, "transform", "synapse", "learning_rule_type", "label")
    solver = conn.solver
    if isinstance(solver, FullWeights):
        solver = nengo.solvers.NoSolver(solver.values, weights=True)
    fields["solver"] = _encoded(solver, conn)
    if function is not None:
        fields |= _fields(conn, "eval_points", "function")
    pre = _ref(conn.pre_obj, conn.pre_slice, refs)
    post = _ref(conn.post_obj, conn.post_slice, refs)
    return fields | {"pre": pre, "post": post, "seed": _seed(conn)}


def _of_probe(probe, refs, silent) -> dict:
    fields = _fields(probe, "attr", "sample_every", "synapse", "label", "solver")
    target = _ref(probe.obj, probe.slice, refs)
    return fields | {"target": target, "seed": _seed(probe)}


def _ref(obj, where, refs) -> dict:
    if isinstance(obj, LearningRule):
        kind, i = refs[obj.connection]
        ref: dict[str, Any] = {"kind": "rule", "index": i, "rule": key_of_rule(obj)}
    else:
        kind, i = refs[obj]
        ref = {"kind": kind, "index": i}
    if where is None or (isinstance(where, slice) and where == slice(None)):
        return ref
    if isinstance(where, slice):
        ends = (where.start, where.stop, where.step)
        return ref | {"slice": [None if n is None else int(n) for n in ends]}
    return ref | {"elements": np.atleast_1d(where).tolist()}


_FIELDS: dict[str, Callable[..., dict]] = {
    "ensembles": _of_ensemble,
    "nodes": _of_node,
    "connections": _of_connection,
    "probes": _of_probe,
}


def network_from_config(config: Mapping[str, Any], dt: float = 0.001) -> nengo.Network:
    """The network that `network_to_config` was given, as new objects.

    Args:
        config: what it returned.
        dt: float, seconds. Length of a step that the network will be built with.
            Defaults to 0.001.

    Raises:
        ValueError: for anything that it does not return, and for what asks for more
            than is left of the account that is open.
    """
    try:
        return _restored(config, dt)
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise ValueError(f"This is no stored network: {error!r}.") from error


def _restored(config, dt: float) -> nengo.Network:
    nets: list[nengo.Network] = []
    parents = [stored["parent"] for stored in config["networks"]]
    _check_nested(parents)
    for stored, outer in zip(config["networks"], parents, strict=True):
        net = nengo.Network(
            label=stored["label"], seed=stored["seed"], add_to_container=False
        )
        if outer is not None:
            with nets[outer]:
                nets[outer].add(net)
        nets.append(net)
    restored: dict[str, list] = {}
    for kind, make in _RESTORERS.items():
        restored[kind] = []
        for stored in config[kind]:
            with nets[stored["network"]]:
                obj = make(stored, restored)
            spend_on(obj, dt)
            restored[kind].append(obj)
    return nets[0]


def _check_nested(parents: list[int | None]) -> None:
    depths: list[int] = []
    for outer in parents:
        depths.append(0 if outer is None else depths[outer] + 1)
    if max(depths, default=0) > _MAX_NESTED:
        raise ValueError(
            f"A network is stored with others in it {_MAX_NESTED} levels deep at most;"
            f" received {max(depths)}. Let some hold what is in the ones within them."
        )


def _decoded(stored: dict, *omitted) -> dict:
    names = [name for name in stored if name not in ("network", *omitted)]
    return {name: serialization.from_config(stored[name]) for name in names}


def _make_ensemble(stored, restored):
    return nengo.Ensemble(normalize_encoders=False, **_decoded(stored))


def _make_node(stored, restored):
    return nengo.Node(**_decoded(stored))


def _make_connection(stored, restored):
    fields = _decoded(stored, "pre", "post")
    pre, post = (_found(stored[end], restored) for end in ("pre", "post"))
    if isinstance(fields["transform"], nengo.transforms.NoTransform):
        fields["transform"] = None
    solver = fields["solver"]
    if isinstance(solver, nengo.solvers.NoSolver) and solver.weights:
        fields["solver"] = FullWeights(solver.values, weights=True)
    return nengo.Connection(pre, post, **fields)


def _make_probe(stored, restored):
    target = _found(stored["target"], restored)
    return nengo.Probe(target, **_decoded(stored, "target"))


def _found(ref, restored):
    kind, i = ref["kind"], ref["index"]
    if kind == "rule":
        obj: Any = rule_at(restored["connections"][i], ref["rule"])
    elif kind == "neurons":
        obj = restored["ensembles"][i].neurons
    else:
        obj = restored[kind][i]
    if "slice" in ref:
        return obj[slice(*ref["slice"])]
    return obj[ref["elements"]] if "elements" in ref else obj


_RESTORERS: dict[str, Callable] = {
    "ensembles": _make_ensemble,
    "nodes": _make_node,
    "connections": _make_connection,
    "probes": _make_probe,
}
