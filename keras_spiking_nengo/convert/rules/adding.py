"""Layers that add signals, put them side by side, or pass them on."""

import math

import nengo
import numpy as np
from keras import layers as L

from keras_spiking_nengo.convert.composition import composed
from keras_spiking_nengo.convert.graph import as_slice
from keras_spiking_nengo.convert.layer_rules import LAYERS, LayerRule, Part, Site
from keras_spiking_nengo.convert.rules.affine import constant, diagonal
from keras_spiking_nengo.convert.rules.rearranging import gathered

__all__ = ["joined", "spread", "weighted_sum"]


def weighted_sum(site: Site, factors, bias=None) -> Part:
    """The sum of the inputs, each of them times a number.

    Args:
        factors: one number for each input.
        bias: numbers that meet the output, or None.

    Raises:
        NotImplementedError: for an input that does not fit the others.
    """
    edges = []
    for source, shape, factor in zip(site.sources, site.inputs, factors, strict=True):
        scale = diagonal(np.array(factor), math.prod(site.output))
        transform = composed(scale, spread(site, shape))
        edges.append(site.edge(source, transform=transform))
    if bias is not None:
        bias = constant(site, bias).ravel()
        bias = bias if np.any(bias) else None
    return site.vertex(bias=bias), tuple(edges)


def spread(site: Site, shape: tuple[int, ...]) -> nengo.transforms.Transform | None:
    """Repeats features of `shape` along axes of length 1, up to the output's."""
    if shape == site.output:
        return None
    if len(shape) != len(site.output):
        raise site.refusal(f"it joins different numbers of axes, {site.inputs}")
    numbers = np.arange(math.prod(shape)).reshape(shape)
    return gathered(np.broadcast_to(numbers, site.output), numbers.size)


def _input_layer(site: Site) -> Part:
    return site.vertex(), ()


def _add(site: Site) -> Part:
    return weighted_sum(site, [1.0] * len(site.sources))


def _subtract(site: Site) -> Part:
    return weighted_sum(site, [1.0, -1.0])


def _average(site: Site) -> Part:
    count = len(site.sources)
    return weighted_sum(site, [1 / count] * count)


def joined(site: Site) -> Part:
    """The inputs side by side, along the layer's axis."""
    axis = site.axis(site.layer.axis)
    if axis < 0:
        raise site.refusal("it concatenates over the batch or over time")
    places = np.arange(np.prod(site.output)).reshape(site.output)
    ends = np.cumsum([shape[axis] for shape in site.inputs])
    parts = np.split(places, ends[:-1], axis=axis)
    return site.vertex(), tuple(
        site.edge(source, slice=as_slice(part.ravel()))
        for source, part in zip(site.sources, parts, strict=True)
    )


LAYERS.add(LayerRule(_input_layer), L.InputLayer)
LAYERS.add(LayerRule(_add), L.Add)
LAYERS.add(LayerRule(_subtract), L.Subtract)
LAYERS.add(LayerRule(_average), L.Average)
LAYERS.add(LayerRule(joined), L.Concatenate)
# What these do besides, they do in training only.
LAYERS.add(
    LayerRule(),
    *(L.ActivityRegularization, L.AlphaDropout, L.AugMix, L.CutMix, L.Dropout),
    *(L.GaussianDropout, L.GaussianNoise, L.Identity, L.MixUp, L.RandAugment),
    *(L.RandomBrightness, L.RandomColorDegeneration, L.RandomColorJitter),
    *(L.RandomContrast, L.RandomElasticTransform, L.RandomErasing, L.RandomFlip),
    *(L.RandomGaussianBlur, L.RandomGrayscale, L.RandomHue, L.RandomInvert),
    *(L.RandomPerspective, L.RandomPosterization, L.RandomRotation),
    *(L.RandomSaturation, L.RandomSharpness, L.RandomShear, L.RandomTranslation),
    *(L.RandomZoom, L.Solarization, L.SpatialDropout1D, L.SpatialDropout2D),
    L.SpatialDropout3D,
)
