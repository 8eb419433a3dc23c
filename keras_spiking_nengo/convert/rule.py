"""What is known of each Keras layer: how it treats time, and its part of the graph.

One rule per class of layers, in the registry `LAYERS`. A rule is data: `read` makes
a vertex, and an edge from each input, of a call of the layer. What a rule says of a
layer's weights it says in one place, so that the opposite direction can be read from
the same rule.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from itertools import accumulate, pairwise

import keras

from keras_spiking_nengo.convert.graph import Edge, Vertex
from keras_spiking_nengo.rules import Rules

__all__ = ["HINTS", "LAYERS", "LayerRule", "Part", "Site", "Time", "refusal"]

Part = tuple[Vertex, tuple[Edge, ...]]


class Time(Enum):
    """How a layer treats time, the axis after the batch of a temporal tensor."""

    KEEPS = "acts on every step alike, and on a static tensor too"
    MIXES = "would mix steps: acts on static tensors only"
    RUNS = "runs over the steps of a temporal tensor"
    STARTS = "presents a static tensor for a number of steps"


@dataclass(frozen=True, eq=False)
class Site:
    """A layer where it is called.

    Attributes:
        layer: the layer.
        name: of the vertex.
        path: of the layer in its model, such as `"encoder/dense"`.
        sources: names of the vertices it takes.
        inputs: their shapes in one step.
        output: shape of its own vertex.
        leading: number of axes before the features: batch, or batch and time.
        port: number of an output, where a call has several vertices; None for the
            first of them, which takes the inputs.
    """

    layer: keras.Layer
    name: str
    path: str
    sources: tuple[str, ...]
    inputs: tuple[tuple[int, ...], ...]
    output: tuple[int, ...]
    leading: int
    port: int | None = None

    def vertex(self, **attributes) -> Vertex:
        """The vertex of this call."""
        return Vertex(self.name, self.output, layers=(self.path,), **attributes)

    def edge(self, source: str, **attributes) -> Edge:
        """An edge from `source` to the vertex of this call."""
        # A plain edge is no layer's own; its vertex stands for the layer.
        named = any(attributes.get(key) for key in ("transform", "synapse"))
        layers = (self.path,) if named else ()
        return Edge(source, self.name, layers=layers, **attributes)

    def entering(self) -> tuple[Edge, ...]:
        """Edges to a vertex that takes the inputs one after the other."""
        if len(self.sources) == 1:
            return (self.edge(self.sources[0]),)
        ends = list(accumulate(map(math.prod, self.inputs), initial=0))
        return tuple(
            self.edge(source, slice=slice(start, stop))
            for source, (start, stop) in zip(self.sources, pairwise(ends), strict=True)
        )


def _sum(site: Site) -> Part:
    return site.vertex(), tuple(site.edge(source) for source in site.sources)


@dataclass(frozen=True)
class LayerRule:
    """What is known of one class of layers.

    Attributes:
        time: how it treats time.
        read: `(site) -> (vertex, edges)`; the sum of the inputs by default.
        objection: `(layer) -> reason` why this layer cannot be expressed, or "".
        inputs: `(layer) -> keys` of the inputs in the order in which `read` takes
            them, where they may come as a dict.
        outputs: `(layer, shape) -> shapes` of the outputs by key, where a call has a
            vertex for its inputs and one for each output.
    """

    time: Time
    read: Callable[[Site], Part] = _sum
    objection: Callable[[keras.Layer], str] = lambda layer: ""
    inputs: Callable[[keras.Layer], list] | None = None
    outputs: Callable[[keras.Layer], dict] | None = None


# A subclass of a sequence layer with another cell has other physics.
LAYERS: Rules[LayerRule] = Rules("layer", governing=("call", "cell_class"))

_WRAPPERS = ("Sequential", "TimeDistributed", "functional models")

_SPARSE = "Use ksn.layers.Transform(nengo.Sparse(...)), which puts elements anywhere."
_LOOP = "Use ksn.layers.Ensemble(recurrent=...) or a ksn.layers.Network."
_DEEP = "Use ksn.layers.Transform(nengo.Convolution(...)), which takes any axes."
_BACK = "Use ksn.layers.Transform(nengo.transforms.ConvolutionTranspose(...))."
_SINGLE = "Use Conv{0}D(filters, size, groups=channels)."
_GLOBAL = "Use AveragePooling2D with the size of the image, and Flatten."
_NORM = "Leave it out: neurons bound their rates themselves."

# The nearest thing that is possible, by class.
HINTS = {
    "AdditiveAttention": "Use a ksn.layers.Ensemble with a product as its function.",
    "Attention": "Use a ksn.layers.Ensemble with a product as its function.",
    "Average": "Use keras.layers.Add, and divide in the Dense that follows.",
    "BatchNormalization": "Fold it into the weights of the layer before.",
    "Bidirectional": "Nengo runs forwards only.",
    "Conv1DTranspose": _BACK,
    "Conv2DTranspose": _BACK,
    "Conv3D": _DEEP,
    "ConvLSTM2D": _LOOP,
    "Cropping1D": _SPARSE,
    "Cropping2D": _SPARSE,
    "DepthwiseConv1D": _SINGLE.format(1),
    "DepthwiseConv2D": _SINGLE.format(2),
    "ELU": "Use keras.layers.ReLU(negative_slope=...).",
    "EinsumDense": "Use keras.layers.Dense.",
    "Embedding": "Look its vectors up before, and give them as the input.",
    "GRU": _LOOP,
    "GlobalAveragePooling1D": "Average over time with a ksn.layers.Synapse.",
    "GlobalAveragePooling2D": _GLOBAL,
    "GlobalMaxPooling1D": "Average over time with a ksn.layers.Synapse.",
    "GlobalMaxPooling2D": _GLOBAL,
    "GroupNormalization": _NORM,
    "LSTM": _LOOP,
    "LayerNormalization": _NORM,
    "LeakyReLU": "Use keras.layers.ReLU(negative_slope=...).",
    "Masking": "Nengo presents every step: cut sequences to their length.",
    "MaxPooling1D": "Use AveragePooling1D.",
    "MaxPooling2D": "Use AveragePooling2D.",
    "MultiHeadAttention": "Use a ksn.layers.Ensemble with a product as its function.",
    "Multiply": "Use Concatenate, and a ksn.layers.Ensemble with function=np.prod.",
    "PReLU": "Use keras.layers.ReLU(negative_slope=...).",
    "Permute": _SPARSE,
    "RNN": "Use ksn.layers.Neurons or ksn.layers.Synapse.",
    "RepeatVector": "Use ksn.layers.Repeat.",
    "Rescaling": "Use ksn.layers.Transform(nengo.Dense(...)), or scale the data.",
    "SeparableConv1D": f"{_SINGLE.format(1)} A Conv1D of size 1 comes after it.",
    "SeparableConv2D": f"{_SINGLE.format(2)} A Conv2D of size 1 comes after it.",
    "SimpleRNN": _LOOP,
    "Softmax": "Leave it out and train on logits: the largest stays the largest.",
    "Subtract": "Use keras.layers.Add after a Dense or Transform of -1.",
    "UpSampling1D": _SPARSE,
    "UpSampling2D": _SPARSE,
    "ZeroPadding1D": 'Use padding="same" in the layer after it.',
    "ZeroPadding2D": 'Use padding="same" in the layer after it.',
}


def refusal(name: str, kind: str, reason: str) -> NotImplementedError:
    """The error for a layer that cannot be expressed.

    Args:
        name: of the layer.
        kind: name of its class.
        reason: a clause, and what to do instead in sentences of its own.
    """
    known = sorted({klass.__name__ for klass in LAYERS} | set(_WRAPPERS))
    hint = HINTS.get(kind, "")
    return NotImplementedError(
        f"Layer {name!r} ({kind}) cannot be expressed as a Nengo network:"
        f" {reason.rstrip('.')}. {hint}{' ' * bool(hint)}Possible are"
        f" {', '.join(known)}."
    )
