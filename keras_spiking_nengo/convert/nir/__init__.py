"""Models and networks as NIR graphs, and back."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import nengo
import numpy as np

from keras_spiking_nengo.budgets import allowed_bytes, bounded, budget
from keras_spiking_nengo.checks import (
    check_switches,
    checked_count,
    checked_dt,
    one_of,
)
from keras_spiking_nengo.convert.export import NengoExport
from keras_spiking_nengo.convert.keras.reading import read
from keras_spiking_nengo.convert.keras.writing import from_nengo
from keras_spiking_nengo.convert.nengo.writing import write
from keras_spiking_nengo.convert.nir.file import file_node, read_file
from keras_spiking_nengo.convert.nir.primitives import StepOptions
from keras_spiking_nengo.convert.nir.reading import model_of
from keras_spiking_nengo.convert.nir.shapes import flat_graph
from keras_spiking_nengo.convert.nir.table import PRIMITIVES, STRUCTURES
from keras_spiking_nengo.convert.nir.writing import graph_of

__all__ = ["PRIMITIVES", "STRUCTURES", "from_nir", "to_nir"]


def _nir() -> Any:
    try:
        import nir
    except ImportError as error:
        raise ImportError(
            "NIR needs the package nir: pip install 'keras-spiking-nengo[nir]'."
        ) from error
    return nir


def from_nir(
    graph: Any,
    dt: float | None = None,
    discretization: str = "exact",
    reset: str = "value",
    max_bytes: int | None = None,
    to: str = "keras",
) -> keras.Model | NengoExport:
    """A NIR graph as a functional Keras model over time, or as a Nengo network.

    Linear nodes become Keras's layers and may be trained; neurons become
    `ksn.layers.Neurons` that start from voltages of 0. Channels, which come first in
    NIR, are the last axis of the model's inputs and outputs. What runs in a cycle
    becomes one `ksn.layers.Network`: a cycle without a `Delay` node has a delay of one
    step, on the edge that leads back. Spikes are 1 high, as in NIR.

    Args:
        graph: `nir.NIRGraph`, or path of a file.
        dt: float, seconds. Length of one step. Defaults to what `ksn.to_nir` noted in
            the graph's metadata, else to 0.001.
        discretization: `"exact"`, the solution for inputs that are constant within a
            step, or `"euler"`. For nodes that note none in their metadata.
        reset: `"value"`, to `v_reset` as NIR says it, or `"subtract"`, as some
            frameworks do it. For nodes that note none in their metadata.
        max_bytes: int. Most that the arrays of a file, and the values that one node
            sends, may take in memory. Defaults to what `ksn.serialization.budget`
            says, 1 GiB.
        to: `"keras"`; or `"nengo"`, for what `ksn.to_nengo` makes of the model.

    Returns:
        A `keras.Model` from `(batch, time, *shape)` to `(batch, time, *shape)`, by
        name where there are several; or a `NengoExport`, with the network as `net`.

    Raises:
        ImportError: if the package `nir` is not installed.
        FileNotFoundError, TypeError: if there is no such file, or no graph.
        ValueError: for a `dt` that is not above 0 and finite, a file that cannot be
            read or is too large, a node that is not known or has wrong fields, and
            edges and shapes that do not fit; the message names the node.

    Example:
        >>> import keras, nir, numpy as np, keras_spiking_nengo as ksn
        >>> one = np.ones(1)
        >>> graph = nir.NIRGraph.from_list(
        ...     nir.LIF(tau=0.02 * one, r=one, v_leak=0 * one, v_threshold=one))
        >>> model = ksn.from_nir(graph)
        >>> int(keras.ops.sum(model(np.full((1, 100, 1), 2.0))))
        7

    Reference:
        Pedersen et al. (2024), *Neuromorphic intermediate representation: a unified
        instruction set for interoperable brain-inspired computing*, Nature
        Communications 15.
    """
    one_of("discretization", discretization, ("exact", "euler"))
    one_of("reset", reset, ("value", "subtract"))
    one_of("to", to, ("keras", "nengo"))
    dt = None if dt is None else checked_dt(dt)
    limit = None if max_bytes is None else checked_count("max_bytes", max_bytes)
    with budget(limit or allowed_bytes()):
        graph, name = _graph_and_name(graph)
        options = StepOptions(dt or _noted_dt(graph), discretization, reset)
        with bounded():
            flat = flat_graph(graph, allowed_bytes() // 8)
            model = model_of(flat, name, options)
    return model if to == "keras" else replace(write(read(model)), model=model)


def to_nir(
    model: keras.Model | nengo.Network, dt: float | None = None, strict: bool = True
) -> Any:
    """A Keras model or a Nengo network as a NIR graph.

    Channels come first in NIR, so that kernels, and the parameters of neurons, are
    turned. Spikes are 1 high; where those of a layer are not, a `Scale` follows it. A
    synapse lags by a step: by a `Delay` node or, in a cycle, by the step that a cycle
    has. NIR's neurons start from voltages of 0.

    Write the graph to a file with `nir.write(path, graph)`.

    Args:
        model: functional or `keras.Sequential`, built; or `nengo.Network`.
        dt: float, seconds. Length of one step, for lags and heights of spikes.
            Defaults to that of the model's layers.
        strict: bool. If False, leave out refractory periods and bounds of voltages,
            which NIR has not, and write subtracting resets as resets to a value, each
            with a warning.

    Returns:
        A `nir.NIRGraph`, whose metadata hold `dt`.

    Raises:
        ImportError: if the package `nir` is not installed.
        TypeError: if `model` is neither.
        ValueError: if a model is not built, or `dt` not above 0 and finite.
        NotImplementedError: for a layer that has no form in NIR; the message names it,
            the reason, and what is possible.

    Example:
        >>> import keras, keras_spiking_nengo as ksn
        >>> model = keras.Sequential([
        ...     keras.Input((None, 4)), keras.layers.Dense(8, name="weights"),
        ...     ksn.layers.Neurons("integrate_and_fire", return_sequences=True,
        ...                        name="spikes")])
        >>> graph = ksn.to_nir(model)
        >>> [type(node).__name__ for node in graph.nodes.values()]
        ['Input', 'Affine', 'LIF', 'Scale', 'Output']

    Reference:
        Pedersen et al. (2024), *Neuromorphic intermediate representation: a unified
        instruction set for interoperable brain-inspired computing*, Nature
        Communications 15.
    """
    nir = _nir()
    dt = None if dt is None else checked_dt(dt)
    check_switches(strict=strict)
    if isinstance(model, nengo.Network):
        model = from_nengo(model, dt=0.001 if dt is None else dt)
    if not isinstance(model, keras.Model):
        raise TypeError(
            f"model is a keras.Model or a nengo.Network; received {model!r} of type"
            f" {type(model).__name__}."
        )
    return graph_of(model, nir, dt, strict)


def _noted_dt(graph) -> float:
    """The length of a step that a graph's metadata say, else the default."""
    metadata = graph.metadata if isinstance(graph.metadata, dict) else {}
    dt = metadata.get("dt", 0.001)
    try:
        return checked_dt(dt.item() if isinstance(dt, np.ndarray) else dt)
    except ValueError as error:
        raise ValueError(f"The graph's metadata say dt={dt!r}: {error}") from error


def _graph_and_name(graph: Any) -> tuple[Any, str]:
    """The graph, and a name for it."""
    nir = _nir()
    if isinstance(graph, nir.NIRGraph):
        return graph, "nir"
    if not isinstance(graph, str | Path):
        raise TypeError(
            "graph is a nir.NIRGraph, or the path of a file; received"
            f" {graph!r} of type {type(graph).__name__}."
        )
    path = Path(graph)
    node = file_node(nir, read_file(path), "node", str(path))
    if not isinstance(node, nir.NIRGraph):
        raise ValueError(
            f"{str(path)!r} holds a single node, {type(node).__name__}. Write a graph,"
            " which leads from an nir.Input to an nir.Output."
        )
    return node, path.stem
