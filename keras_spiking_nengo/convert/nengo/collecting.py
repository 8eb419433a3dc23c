"""Vertices and edges that are collected one by one, each under a name of its own."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import nengo
import numpy as np

from keras_spiking_nengo.convert.composition import matrix_of
from keras_spiking_nengo.convert.graph import Edge, Names, Vertex, as_slice
from keras_spiking_nengo.names import keras_name

__all__ = ["Collection", "full"]


class Collection:
    """A graph in the making.

    Attributes:
        vertices: by name, in the order in which they were added.
        edges: in the order in which they were added.
    """

    def __init__(self) -> None:
        self.vertices: dict[str, Vertex] = {}
        self.edges: list[Edge] = []
        self._names, self._layers = Names(), Names()
        self._behind: dict[str, list[str]] = defaultdict(list)

    def vertex(self, name: str, size: int, **attributes: Any) -> str:
        """Adds a vertex; its name, made unique."""
        unique = self._names.new(name)
        vertex = Vertex(unique, (int(size),), **attributes)
        if not vertex.passes and vertex.output is None:
            layer = self._layers.new(keras_name(unique))
            vertex = replace(vertex, layers=(layer,))
        self.vertices[unique] = vertex
        return unique

    def edge(
        self,
        source: str,
        target: str,
        transform=None,
        synapse=None,
        where=None,
        name="",
    ) -> None:
        """Adds an edge, to the elements `where` of the target, or to all."""
        size = self.vertices[target].size
        everything = where is None or np.array_equal(where, np.arange(size))
        self.edges.append(
            Edge(
                source,
                target,
                transform=transform,
                synapse=synapse,
                slice=None if everything else as_slice(where),
                layers=(name,) if name else (),
            )
        )

    def picked(self, source: str, transform, elements) -> tuple[str, Any]:
        """A source, and the transform of it that takes some elements of it alone."""
        size = self.vertices[source].size
        if np.array_equal(elements, np.arange(size)):
            return source, transform
        picks = np.eye(size)[np.atleast_1d(elements)]
        if transform is None:
            return source, full(picks)
        if isinstance(transform, nengo.Dense):
            return source, full(matrix_of(transform) @ picks)
        return self._between(source, full(picks)), transform

    def scaled(self, source: str, transform, gain: np.ndarray) -> tuple[str, Any]:
        """A source, and the transform of it with gains on what comes out."""
        scale = nengo.Dense((len(gain), len(gain)), init=gain)
        if transform is None:
            return source, scale
        if isinstance(transform, nengo.Dense):
            return source, full(gain[:, None] * matrix_of(transform))
        return self._between(source, transform), scale

    def _between(self, source: str, transform) -> str:
        """A vertex with what a transform makes of a source."""
        name = self.vertex(f"{source}.part", transform.size_out)
        self._behind[source].append(name)
        self.edge(source, name, transform)
        return name

    def ordered(self) -> list[Vertex]:
        """All vertices: those between others right behind their source."""
        inserted = {name for names in self._behind.values() for name in names}
        starts = [name for name in self.vertices if name not in inserted]
        return [self.vertices[name] for start in starts for name in self._from(start)]

    def _from(self, name: str) -> Iterator[str]:
        yield name
        for behind in reversed(self._behind.get(name, ())):
            yield from self._from(behind)


def full(matrix) -> nengo.Dense:
    """A matrix as a transform."""
    matrix = np.atleast_2d(np.asarray(matrix, float))
    return nengo.Dense(matrix.shape, init=matrix)
