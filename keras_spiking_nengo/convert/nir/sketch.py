"""A NIR graph while it is written: its nodes, and the signals between them."""

import math
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np

from keras_spiking_nengo.convert.layer_rules import Site, kind_of
from keras_spiking_nengo.convert.nir.layout import Axes, image_order
from keras_spiking_nengo.graphs import back_edges, bypass, components, unused
from keras_spiking_nengo.names import keras_name

__all__ = ["MAX_ELEMENTS", "Bundle", "Sketch", "Writer", "fed_back"]

# Entries of a matrix that stands for what NIR has no node for.
MAX_ELEMENTS = 2**24


@dataclass(frozen=True, eq=False)
class Bundle:
    """The sum of what nodes send.

    Attributes:
        nodes: their names.
        shape: of each, in NIR's order of axes.
        order: for each element of what Keras has, row by row, its number in NIR.
        constant: added to it, in NIR's order, or None.
        padding: of the images that it stands for, before and after them along each
            axis of space.
    """

    nodes: tuple[str, ...]
    shape: Axes
    order: np.ndarray
    constant: np.ndarray | None = None
    padding: tuple[tuple[int, int], ...] = ()

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def plain(self) -> bool:
        """Whether it is a vector in Keras's order."""
        return len(self.shape) == 1 and np.array_equal(self.order, np.arange(self.size))

    def alike(self, other: "Bundle") -> bool:
        """Whether another one has its elements in the same places."""
        return self.shape == other.shape and np.array_equal(self.order, other.order)

    def arranged(self, values) -> np.ndarray:
        """Numbers for Keras's elements, as NIR has them; one number for all of them."""
        if np.ndim(values) == 0:
            return np.full(self.shape, float(values))
        numbers = np.empty(self.size)
        numbers[self.order] = np.ravel(values)
        return numbers.reshape(self.shape)

    def shifted(self, bias) -> "Bundle":
        """With numbers added, for Keras's elements."""
        if bias is None:
            return self
        constant = 0 if self.constant is None else self.constant
        return replace(self, constant=self.arranged(bias) + constant)


class Sketch:
    """Nodes and edges, added one after the other.

    Attributes:
        nir: the package.
        dt: float, seconds.
        strict: whether what NIR has not is refused, or left out with a warning.
        nodes, edges: of the graph.
        bundles: what calls send, by name; of those that are networks, by name and
            number of the output.
        lags: nodes that delay by the one step by which a synapse lags.
        waiting: nodes that only pass on what was not there yet.
        warnings: texts.
    """

    def __init__(self, nir, dt: float, strict: bool):
        self.nir, self.dt, self.strict = nir, dt, strict
        self.nodes: dict[str, Any] = {}
        self.edges: list[tuple[str, str]] = []
        self.bundles: dict[str | tuple[str, int], Bundle] = {}
        self.lags: set[str] = set()
        self.waiting: set[str] = set()
        self.warnings: list[str] = []

    def add(self, name: str, node) -> str:
        """Adds a node; its name, made unique."""
        name = unused(keras_name(name), self.nodes)
        self.nodes[name] = node
        return name

    def connect(self, bundle: Bundle, name: str) -> None:
        """Leads a bundle to a node; a node that is in it twice by a scale."""
        for source in bundle.nodes:
            if (source, name) in self.edges:
                ones = np.ones(bundle.shape)
                again = self.add(f"{source}_again", self.nir.Scale(ones))
                self.edges.append((source, again))
                source = again
            self.edges.append((source, name))

    def after(self, bundle: Bundle, name: str, node) -> Bundle:
        """What an elementwise node makes of a bundle without a constant."""
        name = self.add(name, node)
        self.connect(bundle, name)
        return replace(bundle, nodes=(name,))

    def scaled(self, bundle: Bundle, name: str, values) -> Bundle:
        """A bundle times numbers, for Keras's elements."""
        scale = bundle.arranged(values)
        if np.all(scale == 1):
            return bundle
        after = self.after(bundle, name, self.nir.Scale(scale))
        if bundle.constant is None:
            return after
        return replace(after, constant=scale * bundle.constant)

    def vector(self, bundle: Bundle, name: str) -> Bundle:
        """The bundle as a vector, in the order that it has."""
        if len(bundle.shape) == 1:
            return bundle
        shape = {"input": np.array(bundle.shape)}
        after = self.after(bundle, name, self.nir.Flatten(shape, 0, -1))
        constant = None if bundle.constant is None else bundle.constant.ravel()
        return replace(after, shape=(bundle.size,), constant=constant)

    def multiplied(self, bundle: Bundle, name: str, matrix, bias=None) -> Bundle:
        """A matrix for Keras's elements times the bundle, as a vector.

        Raises:
            ValueError: if the matrix has too many entries.
        """
        if matrix.size > MAX_ELEMENTS:
            raise ValueError(
                f"it would be a matrix of {matrix.shape}, more than {MAX_ELEMENTS:,}"
                " numbers"
            )
        bundle = self.vector(bundle, f"{name}_flat")
        turned = np.empty(matrix.shape)
        turned[:, bundle.order] = matrix
        total = np.zeros(len(matrix)) if bias is None else np.asarray(bias, float)
        if bundle.constant is not None:
            total = total + turned @ bundle.constant
        biased = bias is not None or np.any(total)
        node = self.nir.Affine(turned, total) if biased else self.nir.Linear(turned)
        nodes = self.after(bundle, name, node).nodes
        return Bundle(nodes, (len(matrix),), np.arange(len(matrix)))

    def ordered(self, bundle: Bundle, name: str) -> Bundle:
        """The bundle as a vector in Keras's order."""
        if bundle.plain:
            return bundle
        return self.multiplied(bundle, f"{name}_order", np.eye(bundle.size))

    def settled(self, bundle: Bundle, name: str) -> Bundle:
        """The bundle with its constant in a node.

        Raises:
            ValueError: if it is nothing but a constant.
        """
        if not bundle.nodes:
            raise ValueError("it takes a constant, and NIR has no constants")
        if bundle.constant is None or not np.any(bundle.constant):
            return replace(bundle, constant=None)
        if len(bundle.shape) in (2, 3):
            channels = bundle.constant.reshape(bundle.shape[0], -1)
            if np.all(channels == channels[:, :1]):
                return self._shifted(bundle, name, channels[:, 0])
        return self.multiplied(bundle, f"{name}_bias", np.eye(bundle.size))

    def _shifted(self, bundle: Bundle, name: str, offset) -> Bundle:
        """Images with a number added to each channel, by filters of one pixel."""
        channels, *space = bundle.shape
        weight = np.ones((channels, 1, *(1 for _ in space)))
        make = self.nir.Conv1d if len(space) == 1 else self.nir.Conv2d
        size = space[0] if len(space) == 1 else tuple(space)
        node = make(size, weight, 1, 0, 1, channels, offset)
        return replace(self.after(bundle, f"{name}_bias", node), constant=None)

    def standing(self, bundle: Bundle, name: str, shape: Axes) -> Bundle:
        """The bundle in the shape and order of Keras's images of `shape`.

        Raises:
            ValueError: if it would have to be an image again.
        """
        bundle = self.settled(bundle, name)
        if bundle.alike(Bundle((), *image_order(shape))):
            return bundle
        if len(shape) > 1:
            raise ValueError(
                "it needs images, and what leads to it is no image any more"
            )
        return self.ordered(bundle, name)

    # --- the whole ------------------------------------------------------------------

    def graph(self, metadata: dict):
        """The `nir.NIRGraph`.

        A cycle without a `Delay` node has a delay of one step, so that lags which are
        where such a delay is need no node.
        """
        for name in sorted(self.waiting):
            rest, short = bypass(self.edges, {name})
            if not {*short} & {*rest} and len({*short}) == len(short):
                self.edges = rest + short
                del self.nodes[name]
        for members in components(sorted(self.nodes), self.edges):
            self._leave_out(members, self.lags & {*members})
        return self.nir.NIRGraph(self.nodes, self.edges, metadata, type_check=False)

    def _leave_out(self, members: Collection[str], lags: set[str]) -> None:
        """Leaves out the lags of a component, if a reader puts them there again."""
        if not lags or len(members) == 1:
            return
        rest, short = bypass(self.edges, sorted(lags))
        ends = {name for edge in short for name in edge}
        if lags & ends or {*short} & {*rest} or len({*short}) < len(short):
            return
        edges = [*rest, *short]
        inside = [edge for edge in edges if {*edge} <= {*members}]
        cut: set[tuple[str, str]] = set()
        for inner in components(sorted({*members} - lags), inside):
            if len(inner) > 1 or (inner[0], inner[0]) in edges:
                cut |= fed_back(inner, edges)
        if cut == {*short}:
            self.edges = edges
            self.nodes = {n: node for n, node in self.nodes.items() if n not in lags}


def fed_back(
    members: Collection[str],
    edges: Collection[tuple[str, str]],
    delays: Collection[str] = (),
) -> set[tuple[str, str]]:
    """The edges of a cycle that are seen a step later.

    A cycle that passes a `Delay` node has its delay there; any other is given one of a
    single step, on the edge that leads back: depth first from where signals enter, by
    name, the one that leads to a node which is still on the way.

    Args:
        members: nodes of a strongly connected component.
        edges: of the whole graph.
        delays: nodes that delay by a step or more. What leads to them leads back.
    """
    entering = {b for a, b in edges if b in members and a not in members}
    inner = sorted((a, b) for a, b in {*edges} if a in members and b in members)
    late = {(a, b) for a, b in inner if b in delays}
    # What delays sends what came before, as if it came from outside.
    starts = sorted(entering | {b for _, b in late}, key=lambda n: (n in delays, n))
    open_edges = [edge for edge in inner if edge not in late]
    return late | back_edges([*starts, *sorted(members)], open_edges)


@dataclass(frozen=True, eq=False)
class Writer:
    """What writes one call of a layer.

    Attributes:
        sketch: of the graph.
        site: the layer, and where it is called.
        followers: layers that take what it sends; None stands for an output.
    """

    sketch: Sketch
    site: Site
    followers: tuple[keras.layers.Layer | None, ...]

    @property
    def nir(self) -> Any:
        return self.sketch.nir

    @property
    def source(self) -> Bundle:
        """What the layer takes, or the first of it."""
        return self.sketch.bundles[self.site.sources[0]]

    def settled(self) -> Bundle:
        """What the layer takes, its constant in a node."""
        return self.sketch.settled(self.source, self.site.name)

    def refusal(self, reason: str) -> NotImplementedError:
        """The error for this layer, with its reason."""
        return NotImplementedError(
            f"Layer {self.site.path!r} ({kind_of(self.site.layer)}) has no form in NIR:"
            f" {reason.rstrip('.')}. NIR has linear maps, convolutions, sums and means"
            " over windows, delays, and integrators and neurons without a refractory"
            " period."
        )

    def lax(self, reason: str, instead: str) -> None:
        """Refuses what NIR has not, or warns of what is written instead."""
        if self.sketch.strict:
            raise self.refusal(f"{reason}. ksn.to_nir(model, strict=False) {instead}")
        self.sketch.warnings.append(
            f"Layer {self.site.path!r}: {reason}; ksn.to_nir {instead}."
        )
