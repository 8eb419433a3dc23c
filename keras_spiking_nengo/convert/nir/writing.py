"""A Keras model as a NIR graph."""

import warnings
from collections import defaultdict

import keras
import numpy as np

from keras_spiking_nengo.convert import axes
from keras_spiking_nengo.convert.calls import calls
from keras_spiking_nengo.convert.composition import NoProductError
from keras_spiking_nengo.convert.keras.reading import dt_of, site_of
from keras_spiking_nengo.convert.nir.graph_nodes import by_graph
from keras_spiking_nengo.convert.nir.sketch import Bundle, Sketch, Writer
from keras_spiking_nengo.convert.nir.table import WRITERS

__all__ = ["graph_of"]


def graph_of(model: keras.Model, nir, dt: float | None, strict: bool):
    """The `nir.NIRGraph` of a model.

    Raises:
        NotImplementedError: for a layer that has no form in NIR.
    """
    walk = calls(model, strict=False)
    temporal = axes.temporal(walk)
    followers: dict[str, list] = defaultdict(list)
    for call in walk:
        for source in call.sources:
            followers[source].append(call.layer)
    for name in walk.outputs.values():
        followers[name].append(None)
    sketch = Sketch(nir, dt_of(walk) if dt is None else dt, strict)
    bundles: dict[str, Bundle] = {}
    writers: dict[str, Writer] = {}
    ports: dict[tuple[str, int], Bundle] = {}
    for call in walk:
        site = site_of(call, walk, temporal)
        writer = Writer(
            sketch, site, call.rule, tuple(followers[call.name]), bundles, ports
        )
        if call.hosted:
            raise writer.refusal(call.hosted)
        writers[call.name] = writer
        try:
            bundle = WRITERS.get(call.layer, by_graph)(writer)
        except (ValueError, NoProductError) as error:
            raise writer.refusal(str(error)) from error
        if bundle is not None:
            bundles[call.name] = bundle
    for name, call_name in walk.outputs.items():
        _write_output(writers[call_name], name)
    for text in sketch.warnings:
        warnings.warn(text, stacklevel=3)
    return sketch.graph({"dt": sketch.dt, "keras_spiking_nengo": model.name})


def _write_output(writer: Writer, name: str) -> None:
    """Adds an output of the model."""
    sketch, site = writer.sketch, writer.site
    try:
        bundle = sketch.standing(writer.bundles[site.name], name, site.output)
    except ValueError as error:
        raise writer.refusal(str(error)) from error
    node = writer.nir.Output({"output": np.array(bundle.shape)})
    # Keras calls an output as the layer that makes it.
    taken = name in sketch.nodes
    name = sketch.add(f"{name}_output" if taken else name, node)
    sketch.connect(bundle, name)
