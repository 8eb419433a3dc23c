"""A Keras model as a NIR graph."""

import warnings
from collections import defaultdict

import keras
import numpy as np

from keras_spiking_nengo.convert.composition import NoProductError
from keras_spiking_nengo.convert.keras.sites import sites_of
from keras_spiking_nengo.convert.nir.graph_nodes import by_graph
from keras_spiking_nengo.convert.nir.sketch import Sketch, Writer
from keras_spiking_nengo.convert.nir.table import WRITERS

__all__ = ["graph_of"]


def graph_of(model: keras.Model, nir, dt: float | None, strict: bool):
    """The `nir.NIRGraph` of a model.

    Raises:
        NotImplementedError: for a layer that has no form in NIR.
    """
    sites = sites_of(model, strict=False)
    followers: dict[str, list] = defaultdict(list)
    for site in sites:
        for source in site.sources:
            followers[source].append(site.layer)
    for name in sites.outputs.values():
        followers[name].append(None)
    sketch = Sketch(nir, sites.dt() if dt is None else dt, strict)
    writers: dict[str, Writer] = {}
    for site in sites:
        writer = Writer(sketch, site, tuple(followers[site.name]))
        if site.hosted:
            raise writer.refusal(site.hosted)
        writers[site.name] = writer
        try:
            write = by_graph if site.reads else WRITERS.get(site.layer, by_graph)
            bundle = write(writer)
        except (ValueError, NoProductError) as error:
            raise writer.refusal(str(error)) from error
        if bundle is not None:
            sketch.bundles[site.name] = bundle
        if site.reads:
            sketch.warnings.append(
                f"Layer {site.path!r} takes the {site.reads} over time, for which NIR"
                " has no node: the graph ends before it. Take it where outputs are"
                " read."
            )
    for name, site_name in sites.outputs.items():
        _write_output(writers[site_name], name)
    for text in sketch.warnings:
        warnings.warn(text, stacklevel=3)
    return sketch.graph({"dt": sketch.dt, "keras_spiking_nengo": model.name})


def _write_output(writer: Writer, name: str) -> None:
    """Adds an output of the model."""
    sketch, site = writer.sketch, writer.site
    try:
        bundle = sketch.standing(sketch.bundles[site.name], name, site.output)
    except ValueError as error:
        raise writer.refusal(str(error)) from error
    node = writer.nir.Output({"output": np.array(bundle.shape)})
    # Keras calls an output as the layer that makes it.
    taken = name in sketch.nodes
    name = sketch.add(f"{name}_output" if taken else name, node)
    sketch.connect(bundle, name)
