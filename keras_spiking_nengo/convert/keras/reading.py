"""Keras layers as parts of the graph: the rules of all rooms, and `read`."""

import math
import warnings
from collections.abc import Collection

import keras

from keras_spiking_nengo.convert import axes
from keras_spiking_nengo.convert.calls import Call, Calls, calls
from keras_spiking_nengo.convert.graph import Graph, Port, fuse
from keras_spiking_nengo.convert.layer_rules import Site, kind_of
from keras_spiking_nengo.convert.rules import (
    activations,
    adding,
    affine,
    dense,
    encoders,
    images,
    legendre_memory,
    rearranging,
    sequences,
)

__all__ = ["ROOMS", "dt_of", "read", "site_of"]

# Each puts its rules into the registry.
ROOMS = (
    activations,
    adding,
    affine,
    dense,
    encoders,
    images,
    legendre_memory,
    rearranging,
    sequences,
)


def read(
    model: keras.Model, strict: bool = True, options: Collection[str] = ()
) -> Graph:
    """The graph of a functional or `Sequential` model, as it acts at inference.

    Args:
        model: the model.
        strict: whether to refuse layers that only Python can run.
        options: names of what rules may do that is not what the layer does.

    Raises:
        TypeError: if `model` is no Keras model.
        ValueError: if it is not built.
        NotImplementedError: if a layer cannot be expressed.
    """
    found = calls(model, strict, options=options)
    _warn(found)
    known = axes.temporal(found)
    parts = [call.rule.read(site_of(call, found, known)) for call in found]
    graph = Graph(
        name=model.name,
        vertices=tuple(vertex for vertex, _ in parts),
        edges=tuple(edge for _, edges in parts for edge in edges),
        inputs=_ports(found.inputs, known),
        outputs=_ports(found.outputs, known),
        dt=dt_of(found),
        n_steps=axes.n_steps(found, known),
        keyed=found.keyed,
    )
    return fuse(graph)


def _warn(found: Calls) -> None:
    """Warns of what is not as the layers have it."""
    for call in found:
        if call.hosted and call.enters:
            warnings.warn(
                f"Layer {call.path!r} ({kind_of(call.layer)}) cannot be expressed by"
                f" Nengo's objects: {call.hosted.rstrip('.')}. Keras runs it, in a"
                " Python node.",
                stacklevel=4,
            )
    means = [call.path for call in found if not call.hosted and call.rule.option]
    if means:
        warnings.warn(
            f"Nengo takes means where {', '.join(map(repr, means))} pool maxima. These"
            " are other numbers.",
            stacklevel=4,
        )


def _ports(names: dict[str, str], known: dict[str, bool]) -> tuple[Port, ...]:
    return tuple(Port(name, call, known[call]) for name, call in names.items())


def site_of(call: Call, found: Calls, known: dict[str, bool]) -> Site:
    """Where a call stands in the model, with the shapes of one step."""

    def features(name: str) -> tuple[int, ...]:
        shape = found[name].shape[2 if known[name] else 1 :]
        sizes = tuple(size for size in shape if size is not None)
        if len(sizes) < len(shape):
            raise call.refusal(
                f"{name!r} has features of unknown size, {found[name].shape}. Give"
                " keras.Input a shape of which only time is None"
            )
        return sizes

    inputs = tuple(map(features, call.sources))
    total = sum(math.prod(shape) for shape in inputs)
    return Site(
        layer=call.layer,
        name=call.name,
        path=call.path,
        sources=call.sources,
        inputs=inputs,
        output=(total,) if call.enters else features(call.name),
        leading=2 if known[call.name] and not call.per_step else 1,
        port=call.port,
    )


def dt_of(found: Calls) -> float:
    """Length of the step of a model, in seconds.

    Raises:
        NotImplementedError: if layers differ.
    """
    first: Call | None = None
    for call in found:
        if not hasattr(getattr(call.layer, "cell", None), "dt"):
            continue
        first = first or call
        if call.layer.cell.dt != first.layer.cell.dt:
            raise call.refusal(
                f"its step is dt={call.layer.cell.dt:g} s, and that of"
                f" {first.path!r} is dt={first.layer.cell.dt:g} s. A Nengo network"
                " has one dt"
            )
    return first.layer.cell.dt if first else 0.001
