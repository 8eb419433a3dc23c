"""A Nengo network in components: what is simple, and what has to run together.

An ensemble or a node is simple if all that it does is linear, or neurons, and it is on
no cycle, but for one connection of neurons to themselves. Everything else becomes a
network of its own, cut out with all its numbers: what lies on one cycle, learns, calls
Python, is random, or shows its states. A synapse of the user's own is Python, too.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import nengo
import numpy as np
from nengo.connection import LearningRule
from nengo.ensemble import Neurons
from nengo.transforms import NoTransform

from keras_spiking_nengo.dynamics.neurons import NEURONS
from keras_spiking_nengo.dynamics.synapses import SYNAPSES
from keras_spiking_nengo.engine.functions import is_one
from keras_spiking_nengo.graphs import components

__all__ = [
    "Component",
    "apart",
    "divided",
    "is_direct",
    "is_plain",
    "owner",
    "stays",
    "watched",
]

Object: TypeAlias = nengo.Ensemble | nengo.Node


@dataclass(eq=False)
class Component:
    """Ensembles and nodes of a network that are dealt with together.

    Attributes:
        objects: in the order of the network.
        simple: whether it is one object that needs no network of its own.
    """

    objects: list[Object]
    simple: bool


def owner(thing) -> Object | nengo.Connection:
    """The ensemble or node that something belongs to; of a rule, its connection."""
    if isinstance(thing, LearningRule):
        return thing.connection
    return thing.ensemble if isinstance(thing, Neurons) else thing


def stays(connection: nengo.Connection) -> bool:
    """Whether a connection has to run where its source does."""
    decoded = isinstance(connection.pre_obj, nengo.Ensemble) and not is_direct(
        connection.pre_obj
    )
    calls = callable(connection.function) and not decoded
    return connection.learning_rule is not None or calls or _is_own(connection.synapse)


def _is_own(synapse: nengo.synapses.Synapse | None) -> bool:
    """Whether a synapse is of a class that only Nengo can step."""
    return synapse is not None and synapse not in SYNAPSES


def is_direct(ensemble) -> bool:
    """Whether an ensemble has no neurons to compute with."""
    return isinstance(ensemble.neuron_type, nengo.Direct)


def divided(
    net: nengo.Network,
    inputs: Iterable[nengo.Node],
    outputs: Iterable[nengo.Probe],
) -> list[Component]:
    """The components of a network, in an order in which sources come first.

    Args:
        net: `nengo.Network`.
        inputs: source nodes whose output is given from outside.
        outputs: probes that are looked at.
    """
    # A network may be listed twice, and is one.
    objects = list(dict.fromkeys((*net.all_ensembles, *net.all_nodes)))
    edges = list(_dependences(net, outputs))
    bound = set(_bound(net, frozenset(inputs), outputs))
    bound |= {a for a, b in edges if a is b} - _recurrent(net)
    return [
        Component(members, len(members) == 1 and members[0] not in bound)
        for members in components(objects, edges)
    ]


def _recurrent(net) -> set[Object]:
    """Ensembles that lie on no cycle but that of one connection between neurons."""
    cycles = Counter(owner(c.pre_obj) for c in net.all_connections if _is_of_one(c))
    return {
        owner(connection.pre_obj)
        for connection in net.all_connections
        if _is_of_one(connection)
        and isinstance(connection.pre_obj, Neurons)
        and isinstance(connection.post_obj, Neurons)
        and isinstance(connection.transform, nengo.Dense | NoTransform)
        and connection.pre_slice == slice(None)
        and cycles[owner(connection.pre_obj)] == 1
    }


def _is_of_one(connection) -> bool:
    """Whether a connection leads from an ensemble or node to itself."""
    return owner(connection.pre_obj) is owner(connection.post_obj)


def apart(
    net: nengo.Network,
    inputs: Iterable[nengo.Node],
    outputs: Iterable[nengo.Probe],
) -> list[Component]:
    """Each object of a network by itself, whatever cycles it is on.

    Raises:
        NotImplementedError: if one learns, calls Python, draws numbers, or shows what
            it does not send.
    """
    bound = next(iter(_bound(net, frozenset(inputs), outputs)), None)
    if bound is not None:
        raise NotImplementedError(
            f"{bound} learns, calls Python, draws numbers, or shows what it does not"
            " send to others, which only Nengo knows"
        )
    objects = dict.fromkeys((*net.all_ensembles, *net.all_nodes))
    return [Component([obj], True) for obj in objects]


def _dependences(net, outputs) -> Iterator[tuple[Object, Object]]:
    looked_into = {owner(probe.obj) for probe in outputs}
    for connection in net.all_connections:
        pre, post = owner(connection.pre_obj), owner(connection.post_obj)
        if isinstance(post, nengo.Connection):
            # An error goes to where the rule is: to the source of its connection.
            post = owner(post.pre_obj)
        yield pre, post
        # What is looked into, or changes with both of its ends, stays between them.
        rules = _rule_types(connection)
        apart = all(rule.modifies == "decoders" for rule in rules)
        if connection in looked_into or not apart:
            yield post, pre


def _rule_types(connection) -> list:
    rules = connection.learning_rule_type
    if rules is None:
        return []
    if isinstance(rules, Mapping):
        return list(rules.values())
    return list(rules) if isinstance(rules, list | tuple) else [rules]


def _bound(net, inputs: frozenset, outputs) -> Iterator[Object]:
    """Objects that need a network of their own by what they are."""
    for ensemble in net.all_ensembles:
        kind = ensemble.neuron_type
        ruled = kind in NEURONS and not hasattr(kind, "base_type")
        if ensemble.noise is not None or not ruled:
            yield ensemble
    for node in net.all_nodes:
        plain = node.output is None or isinstance(node.output, np.ndarray)
        if isinstance(node.output, nengo.synapses.Synapse):
            plain = not _is_own(node.output)
        if not plain and node not in inputs and not is_one(node.output):
            yield node
    for connection in net.all_connections:
        if stays(connection):
            yield owner(connection.pre_obj)
    for probe in outputs:
        if not is_plain(probe):
            yield watched(probe)


def watched(probe) -> Object:
    """The ensemble or node that a probe looks into."""
    thing = owner(probe.obj)
    while isinstance(thing, nengo.Connection):
        thing = owner(thing.pre_obj)
    return thing


def is_plain(probe) -> bool:
    """Whether a probe shows at every step what its target sends to others."""
    sent = {nengo.Ensemble: "decoded_output", nengo.Node: "output", Neurons: "output"}
    is_sent = sent.get(type(probe.obj)) == probe.attr
    return is_sent and probe.sample_every is None and not _is_own(probe.synapse)
