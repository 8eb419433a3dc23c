"""Keras layers that Nengo has no objects for, as nodes which run them in Python."""

import math

import keras
import nengo
import numpy as np
from keras import ops

from keras_spiking_nengo.convert.graph import Subnet
from keras_spiking_nengo.convert.layer_rules import LayerRule, Part, Site, refusal
from keras_spiking_nengo.engine.keras_layers import KerasLayer

__all__ = ["HOSTED", "unhostable"]


def unhostable(layer: keras.Layer) -> str:
    """Why a node cannot run `layer`, or ""."""
    for flag in ("go_backwards", "return_state", "stateful"):
        if getattr(layer, flag, False):
            return f"it has {flag}=True"
    if isinstance(layer, keras.layers.Masking) or getattr(layer, "mask_zero", False):
        return "its mask does not reach other layers"
    return ""


def _read(site: Site) -> Part:
    """Of a call that takes inputs the network, else its one output."""
    if site.port is not None:
        return site.vertex(output=(site.sources[0], site.port)), ()
    runs = hasattr(site.layer, "cell")
    leading = 1 if runs else site.leading
    if leading == 2:
        _check_steps(site)
    process = KerasLayer(site.layer, site.inputs, leading)
    with nengo.Network(label=site.path, add_to_container=False) as net:
        nodes = [nengo.Node(np.zeros(math.prod(shape))) for shape in site.inputs]
        node = nengo.Node(process, label=site.path)
        edges = site.entering()
        for source, edge in zip(nodes, edges, strict=True):
            nengo.Connection(source, node[edge.slice or slice(None)], synapse=None)
        probe = nengo.Probe(node, synapse=None)
    return site.vertex(subnet=Subnet(net, tuple(nodes), (probe,))), edges


HOSTED = LayerRule(_read, outputs=lambda layer: {})


def _check_steps(site: Site) -> None:
    """Refuses a layer whose output at a step depends on other steps."""
    rng = np.random.RandomState(0)
    arrays = [rng.uniform(-1, 1, (2, 3, *shape)) for shape in site.inputs]
    dtype = site.layer.variable_dtype
    data = [ops.convert_to_tensor(x, dtype=dtype) for x in arrays]

    def call(values):
        y = site.layer(values[0] if len(values) == 1 else values)
        return ops.convert_to_numpy(y)

    whole = call(data)
    steps = [call([x[:, i : i + 1] for x in data]) for i in range(3)]
    apart = np.concatenate(steps, axis=1)
    if apart.shape != whole.shape or not np.allclose(apart, whole, 1e-4, 1e-5):
        raise refusal(
            site.path,
            type(site.layer).__name__,
            "it mixes steps of time, and a node sees one of them at a time",
        )
