"""Products of signals with each other, by a node: Nengo has no object for them.

What `nengo.networks.Product` computes is near a product; that of a node is exact.
"""

import math
from dataclasses import replace
from functools import reduce

import nengo
import numpy as np
from keras import layers as L

from keras_spiking_nengo.convert.graph import Subnet
from keras_spiking_nengo.convert.layer_rules import LAYERS, LayerRule, Part, Site
from keras_spiking_nengo.convert.rules.adding import spread
from keras_spiking_nengo.engine.functions import half_times_half

__all__ = ["PRODUCT"]


def _product_of_inputs(site: Site) -> Part:
    """Of a call that takes inputs the network, else its one output."""
    if site.port is not None:
        return site.vertex(output=(site.sources[0], site.port)), ()
    # The vertex has all of the inputs.
    product = replace(site, output=np.broadcast_shapes(*site.inputs))
    size = math.prod(product.output)
    spreading = [spread(product, shape) for shape in site.inputs]
    with nengo.Network(label=site.path, add_to_container=False) as net:
        nodes = [nengo.Node(np.zeros(math.prod(shape))) for shape in site.inputs]
        factors = [nengo.Node(size_in=size) for _ in nodes]
        for node, factor, transform in zip(nodes, factors, spreading, strict=True):
            options = {} if transform is None else {"transform": transform}
            nengo.Connection(node, factor, synapse=None, **options)
        probe = nengo.Probe(reduce(_times, factors), synapse=None)
    return site.vertex(subnet=Subnet(net, tuple(nodes), (probe,))), site.entering()


def _times(one: nengo.Node, other: nengo.Node) -> nengo.Node:
    """In the network that is open, the product of two signals of a size."""
    size = one.size_out
    node = nengo.Node(half_times_half, size_in=2 * size, size_out=size)
    nengo.Connection(one, node[:size], synapse=None)
    nengo.Connection(other, node[size:], synapse=None)
    return node


PRODUCT = LayerRule(
    _product_of_inputs,
    outputs=lambda layer: {},
    in_node="it multiplies signals with each other, for which there is no object",
)
LAYERS.add(PRODUCT, L.Multiply)
