"""Keras layers that Nengo has no objects for, as nodes which run them in Python."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import nengo
import numpy as np
from keras import ops

from keras_spiking_nengo.convert.graph import Subnet
from keras_spiking_nengo.convert.layer_rules import LayerRule, Part, Site, Time, refusal

__all__ = ["KerasLayer", "hosted_rule", "unhostable"]

Shapes = Sequence[tuple[int, ...]]


class KerasLayer(nengo.Process):
    """A Keras layer, one call per step; one with a cell is stepped by its cell.

    Args:
        layer: built `keras.Layer`.
        inputs: shapes of its inputs in one step, which come one after the other.
        leading: number of axes of size 1 before them that the layer takes.
    """

    def __init__(self, layer: keras.Layer, inputs: Shapes, leading: int):
        self.layer = layer
        self.inputs = tuple(inputs)
        self.leading = leading
        size = len(self._flat(self._call(np.zeros(self._size), self._started())[0]))
        super().__init__(default_size_in=self._size, default_size_out=size)

    def make_step(self, shape_in, shape_out, dt, rng, state):
        """What nengo calls in each step; every simulator starts anew."""
        states = self._started()

        def step(t, x):
            nonlocal states
            y, states = self._call(x, states)
            return self._flat(y)

        return step

    @property
    def _size(self) -> int:
        return sum(math.prod(shape) for shape in self.inputs)

    def _started(self):
        cell = getattr(self.layer, "cell", None)
        return None if cell is None else cell.get_initial_state(batch_size=1)

    def _call(self, x: np.ndarray, states) -> tuple[Any, Any]:
        ends = np.cumsum([math.prod(shape) for shape in self.inputs])
        given: Any = [
            ops.convert_to_tensor(
                part.reshape((1,) * self.leading + shape), dtype=keras.config.floatx()
            )
            for part, shape in zip(np.split(x, ends[:-1]), self.inputs, strict=True)
        ]
        given = given[0] if len(given) == 1 else given
        if states is None:
            return self.layer(given), None
        return self.layer.cell(given, states)

    @staticmethod
    def _flat(y) -> np.ndarray:
        return np.ravel(ops.convert_to_numpy(y)).astype(float)


def unhostable(layer: keras.Layer) -> str:
    """Why a node cannot run `layer`, or ""."""
    for flag in ("go_backwards", "return_state", "stateful"):
        if getattr(layer, flag, False):
            return f"it has {flag}=True"
    if isinstance(layer, keras.layers.Masking) or getattr(layer, "mask_zero", False):
        return "its mask does not reach other layers"
    return ""


def hosted_rule(layer: keras.Layer) -> LayerRule:
    """The rule for a call of `layer` that a node runs."""
    if not hasattr(layer, "cell"):
        return _KEEPS
    return _RUNS if getattr(layer, "n_steps", None) is None else _PRESENTS


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
        for own, edge in zip(nodes, edges, strict=True):
            nengo.Connection(own, node[edge.slice or slice(None)], synapse=None)
        probe = nengo.Probe(node, synapse=None)
    return site.vertex(subnet=Subnet(net, tuple(nodes), (probe,))), edges


_KEEPS = LayerRule(Time.KEEPS, _read, outputs=lambda layer: {})
_RUNS = LayerRule(Time.RUNS, _read, outputs=lambda layer: {})
_PRESENTS = LayerRule(Time.PRESENTS, _read, outputs=lambda layer: {})


def _check_steps(site: Site) -> None:
    """Refuses a layer whose output at a step depends on other steps."""
    rng = np.random.RandomState(0)
    data = [
        ops.convert_to_tensor(
            rng.uniform(-1, 1, (2, 3, *shape)), dtype=keras.config.floatx()
        )
        for shape in site.inputs
    ]

    def call(values):
        return ops.convert_to_numpy(
            site.layer(values[0] if len(values) == 1 else values)
        )

    whole = call(data)
    steps = [call([x[:, i : i + 1] for x in data]) for i in range(3)]
    apart = np.concatenate(steps, axis=1)
    if apart.shape != whole.shape or not np.allclose(apart, whole, 1e-4, 1e-5):
        raise refusal(
            site.path,
            type(site.layer).__name__,
            "it mixes steps of time, and a node sees one of them at a time",
        )
