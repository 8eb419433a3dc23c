"""What is known of each Keras layer: its part of the graph.

One rule per class of layers, in the registry `LAYERS`. A rule is data: `read` makes
a vertex, and an edge from each input, of a call of the layer. What a rule says of a
layer's weights it says in one place, so that the opposite direction can be read from
the same rule.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import accumulate, pairwise
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_spiking_nengo.checks import one_of
from keras_spiking_nengo.convert.graph import Edge, Vertex
from keras_spiking_nengo.models.time import Time, teach
from keras_spiking_nengo.registry import Registry

__all__ = [
    "HINTS",
    "LAYERS",
    "LayerRule",
    "Part",
    "Site",
    "array",
    "first_of",
    "kind_of",
    "layer_rule",
    "refusal",
    "rule_of",
    "stand_in",
]

Part = tuple[Vertex, tuple[Edge, ...]]


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
        rule: that holds for the layer.
        hosted: why Python runs the layer, in a node, or "".
        reads: what it makes of all steps where the model ends, such as `"mean"`, or "":
            its signal is what is read.
    """

    layer: keras.Layer
    name: str
    path: str
    sources: tuple[str, ...]
    inputs: tuple[tuple[int, ...], ...]
    output: tuple[int, ...]
    leading: int
    port: int | None = None
    rule: Any = None
    hosted: str = ""
    reads: str = ""

    def read(self) -> Part:
        """Its vertex and edges, by its rule."""
        return _sum_of_inputs(self) if self.reads else self.rule.read(self)

    def vertex(self, **attributes) -> Vertex:
        """The vertex of this call."""
        return Vertex(self.name, self.output, layers=(self.path,), **attributes)

    def edge(self, source: str, **attributes) -> Edge:
        """An edge from `source` to the vertex of this call."""
        # A plain edge is no layer's own; its vertex stands for the layer.
        named = any(attributes.get(key) for key in ("transform", "synapse"))
        layers = (self.path,) if named else ()
        return Edge(source, self.name, layers=layers, **attributes)

    def axis(self, axis: int) -> int:
        """An axis of the layer's, counted among the features; below 0 before them."""
        rank = self.leading + len(self.output)
        return (axis + rank if axis < 0 else axis) - self.leading

    def through(self, transform=None, **attributes) -> Part:
        """Its vertex, and an edge from its one source with that transform."""
        edge = self.edge(self.sources[0], transform=transform)
        return self.vertex(**attributes), (edge,)

    def refusal(self, reason: str) -> NotImplementedError:
        """The error for this layer, with its reason."""
        return refusal(self.path, kind_of(self.layer), reason)

    def entering(self) -> tuple[Edge, ...]:
        """Edges to a vertex that takes the inputs one after the other."""
        if len(self.sources) == 1:
            return (self.edge(self.sources[0]),)
        ends = list(accumulate(map(math.prod, self.inputs), initial=0))
        return tuple(
            self.edge(source, slice=slice(start, stop))
            for source, (start, stop) in zip(self.sources, pairwise(ends), strict=True)
        )


def _sum_of_inputs(site: Site) -> Part:
    return site.vertex(), tuple(site.edge(source) for source in site.sources)


@dataclass(frozen=True)
class LayerRule:
    """What is known of one class of layers.

    Attributes:
        read: `(site) -> (vertex, edges)`; the sum of the inputs by default.
        objection: `(layer) -> reason` why this layer cannot be expressed, or "".
        inputs: `(layer) -> keys` of the inputs in the order in which `read` takes
            them, where they may come as a dict.
        outputs: `(layer, shape) -> shapes` of the outputs by key, where a call has a
            vertex for its inputs and one for each output.
        shows: `(layer) -> reasons` for each output why no other layer can take it, or
            "". A model may end in it.
        option: name of the argument of `to_nengo` that has to be True, as what `read`
            makes is not what the layer does.
        stand_in: `(layer) -> layer` that is converted in its place, by its own rule.
        chosen: `(layer) -> rule` that holds for this layer instead, where layers of
            one class differ.
        in_node: why a node computes it, in Python unless it is compiled in, or "".
    """

    read: Callable[[Site], Part] = _sum_of_inputs
    objection: Callable[[keras.Layer], str] = lambda layer: ""
    inputs: Callable[[keras.Layer], list] | None = None
    outputs: Callable[[keras.Layer], dict] | None = None
    shows: Callable[[keras.Layer], list[str]] | None = None
    option: str = ""
    stand_in: Callable[[keras.Layer], keras.Layer] | None = None
    chosen: Callable[[keras.Layer], "LayerRule"] | None = None
    in_node: str = ""


# A subclass of a sequence layer with another cell has other physics.
LAYERS: Registry[LayerRule] = Registry("layer", governing=("call", "cell_class"))


def rule_of(layer: keras.Layer) -> LayerRule:
    """The rule that holds for a layer; raises as `LAYERS[layer]`."""
    rule = LAYERS[layer]
    return rule if rule.chosen is None else rule.chosen(layer)


def stand_in(layer: keras.Layer) -> keras.Layer:
    """The layer that is converted in the place of another one, or that one itself."""
    make = LAYERS[layer].stand_in if layer in LAYERS else None
    return layer if make is None else make(layer)


_WRAPPERS = ("Sequential", "TimeDistributed", "functional models")


def layer_rule(*classes: type, time: str = "keeps") -> Callable:
    """Teaches `ksn.to_nengo` a layer of your own: a decorator.

    What it decorates is called with the place where the layer stands, `site`, and
    returns a vertex, and the edges that lead to it, with Nengo's objects in them:
    `site.vertex(neuron_type=..., bias=...)` and
    `site.edge(site.sources[0], transform=..., synapse=...)`. `site.layer` is the
    layer; `site.inputs` and `site.output` are shapes of one step, which Nengo has
    flat.

    Args:
        *classes: of layers. Subclasses without a `call` of their own take the rule.
        time: `"keeps"` if the layer does to each step of a sequence what it does to
            a static input; `"mixes"` if it acts on static inputs only.

    Returns:
        A decorator, which returns the function that it is given.

    Raises:
        TypeError: unless `classes` are classes.
        ValueError: for another `time`, or a class that has a rule.

    Example:
        >>> import keras, nengo, numpy as np, keras_spiking_nengo as ksn
        >>> class Scale(keras.layers.Layer):
        ...     factor = 3.0
        ...     def call(self, x):
        ...         return self.factor * x
        >>> @ksn.layer_rule(Scale)
        ... def scale(site):
        ...     size = int(np.prod(site.output))
        ...     transform = nengo.Dense((size, size), init=site.layer.factor)
        ...     return site.vertex(), [site.edge(site.sources[0], transform=transform)]
        >>> model = keras.Sequential([keras.Input((2,)), Scale()])
        >>> ksn.to_nengo(model).run(np.ones((1, 2)))
        array([[3., 3.]])
    """
    possible = {"keeps": Time.KEEPS, "mixes": Time.MIXES}
    one_of("time", time, sorted(possible))
    for cls in classes:
        if not isinstance(cls, type) or not issubclass(cls, keras.layers.Layer):
            raise TypeError(
                "classes are of layers, as in @ksn.layer_rule(MyLayer); received"
                f" {cls!r}."
            )

    def keep(read: Callable[[Site], Part]) -> Callable[[Site], Part]:
        LAYERS.add(LayerRule(read), *classes)
        teach(possible[time], *classes)
        return read

    return keep


# --- what rules have in common ----------------------------------------------------


def array(value: Any) -> np.ndarray:
    """A weight, or other numbers, in double precision."""
    return np.asarray(ops.convert_to_numpy(value), dtype=np.float64)


def first_of(*objections: Callable[[Any], str]) -> Callable[[Any], str]:
    """The first of several objections to a layer that holds, or ""."""
    return lambda layer: next(filter(None, (o(layer) for o in objections)), "")


def kind_of(layer) -> str:
    """What a layer is called in messages: its class, or the operation it stands for."""
    return getattr(layer, "operation_kind", type(layer).__name__)


# --- refusals -----------------------------------------------------------------------


_LOOP = "Use ksn.layers.Ensemble(recurrent=...) or a ksn.layers.Network."
_NORM = "Leave it out: neurons bound their rates themselves."
_PRODUCT = "Use a ksn.layers.Ensemble with a product as its function."
_LARGEST = "Use a ksn.layers.Ensemble with function=np.max."

# The nearest thing that is possible, by class.
HINTS = {
    "AdditiveAttention": _PRODUCT,
    "Attention": _PRODUCT,
    "Bidirectional": "Nengo runs forwards only.",
    "ConvLSTM1D": _LOOP,
    "ConvLSTM2D": _LOOP,
    "ConvLSTM3D": _LOOP,
    "Dot": _PRODUCT,
    "Embedding": "Look its vectors up before, and give them as the input.",
    "GRU": _LOOP,
    "GroupNormalization": _NORM,
    "GroupQueryAttention": _PRODUCT,
    "LSTM": _LOOP,
    "LayerNormalization": _NORM,
    "Masking": "Nengo presents every step: cut sequences to their length.",
    "Maximum": _LARGEST,
    "Minimum": _LARGEST.replace("max", "min"),
    "MultiHeadAttention": _PRODUCT,
    "RMSNormalization": _NORM,
    "Softmax": "Leave it out and train on logits: the largest stays the largest.",
    "SpectralNormalization": "Take the layer that it wraps.",
    "UnitNormalization": _NORM,
}


def refusal(name: str, kind: str, reason: str) -> NotImplementedError:
    """The error for a layer that cannot be expressed.

    Args:
        name: of the layer.
        kind: name of its class.
        reason: a clause, and what to do instead in sentences of its own.
    """
    possible = sorted({klass.__name__ for klass in LAYERS} | set(_WRAPPERS))
    nearest = get_close_matches(kind, possible, n=3, cutoff=0)
    hint = HINTS.get(kind, "")
    return NotImplementedError(
        f"Layer {name!r} ({kind}) cannot be expressed as a Nengo network:"
        f" {reason.rstrip('.')}. {hint}{' ' * bool(hint)}Of what can be, the nearest"
        f" by name are {', '.join(nearest)}; docs/supported.md has the whole table."
    )
