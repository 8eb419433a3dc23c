"""A Keras model as the graph."""

import warnings
from collections.abc import Collection

import keras

from keras_spiking_nengo.convert import rules  # noqa: F401 - of every layer
from keras_spiking_nengo.convert.graph import Graph, Port, fuse
from keras_spiking_nengo.convert.keras.sites import Sites, sites_of
from keras_spiking_nengo.convert.layer_rules import kind_of
from keras_spiking_nengo.convert.quantized_by_keras import rounds_inputs

__all__ = ["read"]


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
    sites = sites_of(model, strict, options)
    _warn_of_substitutes(sites)
    parts = [site.read() for site in sites]
    graph = Graph(
        name=model.name,
        vertices=tuple(vertex for vertex, _ in parts),
        edges=tuple(edge for _, edges in parts for edge in edges),
        inputs=_ports_of(sites.inputs, sites),
        outputs=_ports_of(sites.outputs, sites),
        dt=sites.dt(),
        n_steps=sites.timed.n_steps(),
        keyed=sites.timed.calls.gives_dict,
    )
    return fuse(graph)


def _warn_of_substitutes(sites: Sites) -> None:
    """Warns of what is not as the layers have it."""
    for site in sites:
        if site.hosted and site.port is None:
            own = site.rule.in_node
            runs = "A node computes it" if own else "Keras runs it, in a Python node"
            warnings.warn(
                f"Layer {site.path!r} ({kind_of(site.layer)}) cannot be expressed by"
                f" Nengo's objects: {site.hosted.rstrip('.')}. {runs}.",
                stacklevel=4,
            )
    rounding = [site.path for site in sites if rounds_inputs(site.layer)]
    if rounding:
        warnings.warn(
            f"{', '.join(map(repr, rounding))}: the weights are exported as they are"
            " quantized. Keras also rounds what these layers are given to 8 bits, anew"
            " in each call, and Nengo does not.",
            stacklevel=4,
        )
    means = [site.path for site in sites if not site.hosted and site.rule.option]
    if means:
        warnings.warn(
            f"Nengo takes means where {', '.join(map(repr, means))} pool maxima. These"
            " are other numbers.",
            stacklevel=4,
        )


def _ports_of(names: dict[str, str], sites: Sites) -> tuple[Port, ...]:
    return tuple(
        Port(name, site, site in sites.temporal, sites.sites[site].reads)
        for name, site in names.items()
    )
