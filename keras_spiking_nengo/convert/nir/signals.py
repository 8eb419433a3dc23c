"""Nodes and edges of a NIR graph that is written, and the signals between them."""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from keras_spiking_nengo.convert.graph import layer_name
from keras_spiking_nengo.convert.nir.cycles import Edge, backward
from keras_spiking_nengo.convert.nir.primitives import channels_first
from keras_spiking_nengo.graphs import components, unused

__all__ = ["MAX_ELEMENTS", "Drawing", "Signal", "images"]

Shape = tuple[int, ...]

# Entries of a matrix that stands for what NIR has no node for.
MAX_ELEMENTS = 2**24


@dataclass(frozen=True, eq=False)
class Signal:
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
    shape: Shape
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


def images(shape: Shape) -> tuple[Shape, np.ndarray]:
    """NIR's shape of what Keras has in `shape`, and its order."""
    first = channels_first(shape)
    numbers = np.arange(math.prod(first)).reshape(first)
    return first, np.moveaxis(numbers, 0, -1).ravel()


class Drawing:
    """A NIR graph while it is written.

    Attributes:
        nir: the package.
        dt: float, seconds.
        nodes, edges: of the graph.
        lags: nodes that delay by the one step by which a synapse lags.
        waiting: nodes that only pass on what was not there yet.
    """

    def __init__(self, nir, dt: float):
        self.nir = nir
        self.dt = dt
        self.nodes: dict[str, Any] = {}
        self.edges: list[Edge] = []
        self.lags: set[str] = set()
        self.waiting: set[str] = set()

    def add(self, name: str, node) -> str:
        """Adds a node; its name, made unique."""
        name = unused(layer_name(name), self.nodes)
        self.nodes[name] = node
        return name

    def connect(self, signal: Signal, name: str) -> None:
        """Leads a signal to a node; a node that is in it twice by a scale."""
        for source in signal.nodes:
            if (source, name) in self.edges:
                ones = np.ones(signal.shape)
                again = self.add(f"{source}_again", self.nir.Scale(ones))
                self.edges.append((source, again))
                source = again
            self.edges.append((source, name))

    def after(self, signal: Signal, name: str, node) -> Signal:
        """What an elementwise node makes of a signal without a constant."""
        name = self.add(name, node)
        self.connect(signal, name)
        return replace(signal, nodes=(name,))

    def arranged(self, values, signal: Signal) -> np.ndarray:
        """Numbers for Keras's elements, as NIR has them; one number for all of them."""
        if np.ndim(values) == 0:
            return np.full(signal.shape, float(values))
        found = np.empty(signal.size)
        found[signal.order] = np.ravel(values)
        return found.reshape(signal.shape)

    def scaled(self, signal: Signal, name: str, values) -> Signal:
        """A signal times numbers, for Keras's elements."""
        scale = self.arranged(values, signal)
        if np.all(scale == 1):
            return signal
        found = self.after(signal, name, self.nir.Scale(scale))
        if signal.constant is None:
            return found
        return replace(found, constant=scale * signal.constant)

    def vector(self, signal: Signal, name: str) -> Signal:
        """The signal as a vector, in the order that it has."""
        if len(signal.shape) == 1:
            return signal
        shape = {"input": np.array(signal.shape)}
        name = self.add(name, self.nir.Flatten(shape, 0, -1))
        self.connect(signal, name)
        constant = None if signal.constant is None else signal.constant.ravel()
        return replace(signal, nodes=(name,), shape=(signal.size,), constant=constant)

    def multiplied(self, signal: Signal, name: str, matrix, bias=None) -> Signal:
        """A matrix for Keras's elements times the signal, as a vector.

        Raises:
            ValueError: if the matrix has too many entries.
        """
        if matrix.size > MAX_ELEMENTS:
            raise ValueError(
                f"it would be a matrix of {matrix.shape}, more than {MAX_ELEMENTS:,}"
                " numbers"
            )
        signal = self.vector(signal, f"{name}_flat")
        turned = np.empty(matrix.shape)
        turned[:, signal.order] = matrix
        total = np.zeros(len(matrix)) if bias is None else np.asarray(bias, float)
        if signal.constant is not None:
            total = total + turned @ signal.constant
        biased = bias is not None or np.any(total)
        node = self.nir.Affine(turned, total) if biased else self.nir.Linear(turned)
        name = self.add(name, node)
        self.connect(signal, name)
        return Signal((name,), (len(matrix),), np.arange(len(matrix)))

    def ordered(self, signal: Signal, name: str) -> Signal:
        """The signal as a vector in Keras's order."""
        if signal.plain:
            return signal
        return self.multiplied(signal, f"{name}_order", np.eye(signal.size))

    def settled(self, signal: Signal, name: str) -> Signal:
        """The signal with its constant in a node.

        Raises:
            ValueError: if it is nothing but a constant.
        """
        if not signal.nodes:
            raise ValueError("it takes a constant, and NIR has no constants")
        if signal.constant is None or not np.any(signal.constant):
            return replace(signal, constant=None)
        if len(signal.shape) in (2, 3):
            flat = signal.constant.reshape(signal.shape[0], -1)
            if np.all(flat == flat[:, :1]):
                return self._shifted(signal, name, flat[:, 0])
        return self.multiplied(signal, f"{name}_bias", np.eye(signal.size))

    def _shifted(self, signal: Signal, name: str, offset) -> Signal:
        """Images with a number added to each channel, by filters of one pixel."""
        channels, *space = signal.shape
        weight = np.ones((channels, 1, *(1 for _ in space)))
        make = self.nir.Conv1d if len(space) == 1 else self.nir.Conv2d
        size = space[0] if len(space) == 1 else tuple(space)
        node = make(size, weight, 1, 0, 1, channels, offset)
        return replace(self.after(signal, f"{name}_bias", node), constant=None)

    def standing(self, signal: Signal, name: str, shape: Shape) -> Signal:
        """The signal in the shape and order of Keras's images of `shape`.

        Raises:
            ValueError: if it would have to be an image again.
        """
        wanted, order = images(shape)
        signal = self.settled(signal, name)
        if signal.shape == wanted and np.array_equal(signal.order, order):
            return signal
        if len(wanted) > 1:
            raise ValueError(
                "it needs images, and what leads to it is no image any more"
            )
        return self.ordered(signal, name)

    # --- the whole ------------------------------------------------------------------

    def graph(self, metadata: dict):
        """The `nir.NIRGraph`.

        A cycle without a `Delay` node has a delay of one step, so that lags which are
        where such a delay is need no node.
        """
        for name in sorted(self.waiting):
            self._skip(name)
        for members in components(sorted(self.nodes), self.edges):
            self._without_lags(set(members))
        return self.nir.NIRGraph(self.nodes, self.edges, metadata, type_check=False)

    def _skip(self, name: str) -> None:
        """Leaves out a node that only passes on."""
        before = [a for a, b in self.edges if b == name]
        after = [b for a, b in self.edges if a == name]
        short = [(a, b) for a in before for b in after]
        if not {*short} & {*self.edges} and len({*short}) == len(short):
            self.edges = [e for e in self.edges if name not in e] + short
            del self.nodes[name]

    def _without_lags(self, members: set[str]) -> None:
        lags = members & self.lags
        if not lags or len(members) == 1:
            return
        kept = [edge for edge in self.edges if not lags & {*edge}]
        short = [
            (a, b)
            for lag in lags
            for a, own in self.edges
            if own == lag
            for other, b in self.edges
            if other == lag
        ]
        ends = [name for edge in short for name in edge]
        if lags & {*ends} or {*short} & {*kept} or len({*short}) < len(short):
            return
        edges = [*kept, *short]
        cut = set()
        for inner in components(sorted(members - lags), _within(edges, members)):
            if len(inner) > 1 or (inner[0], inner[0]) in edges:
                cut |= backward(inner, edges)
        if cut == {*short}:
            self.edges = edges
            self.nodes = {n: node for n, node in self.nodes.items() if n not in lags}


def _within(edges: list[Edge], members: set[str]) -> list[Edge]:
    return [edge for edge in edges if {*edge} <= members]
