"""What a file holds."""

from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_spiking_nengo.commands.output import Finding, table
from keras_spiking_nengo.convert.nir.file import read_file
from keras_spiking_nengo.serving import Stream

__all__ = ["describe", "load"]


def load(path: Path) -> keras.Model:
    """The Keras model of a `.keras` file.

    Raises:
        OSError: if there is no such file.
        ValueError: if it is none of Keras's.
    """
    if not path.exists():
        raise FileNotFoundError(f"There is no {path}.")
    return keras.saving.load_model(path, safe_mode=True, compile=False)


def describe(path: Path) -> Finding:
    """What `ksn info` says of a `.keras` or `.nir` file, or of a stream's folder."""
    if not path.exists():
        raise FileNotFoundError(f"There is no {path}.")
    if path.suffix == ".keras":
        return _of_model(path, load(path))
    if path.suffix == ".nir":
        return _of_graph(path)
    if (path / "saved_model.pb").exists():
        return _of_stream(path)
    raise ValueError(
        f"{path} is neither a .keras or .nir file nor a folder that"
        " ksn.export_streaming made."
    )


def _of_model(path: Path, model: keras.Model) -> Finding:
    rows = [_layer_row(layer) for layer in model.layers]
    shown = table(
        f"{path.name}: {model.name}",
        *("layer", "class", "what", "output", "weights", "trained"),
        numbers=2,
    )
    for row in rows:
        shown.add_row(
            *(row["name"], row["class"], row["what"], str(row["output"])),
            *(f"{row['weights']:,}", f"{row['trained']:,}"),
        )
    shown.add_section()
    total = model.count_params()
    trained = sum(row["trained"] for row in rows)
    shown.add_row("total", "", "", "", f"{total:,}", f"{trained:,}")
    values = {
        "file": str(path),
        "kind": "keras",
        "name": model.name,
        "inputs": {t.name: list(t.shape) for t in model.inputs},
        "layers": rows,
        "weights": total,
        "trained": trained,
    }
    return Finding(values, [shown])


def _layer_row(layer: keras.Layer) -> dict[str, Any]:
    cell = getattr(layer, "cell", layer)
    parts = []
    for name in ("neuron_type", "synapse"):
        part = getattr(cell, name, None)
        if part is not None:
            parts.append(str(part))
    if getattr(cell, "dt", None) is not None:
        parts.append(f"dt={cell.dt:g}")
    outputs = keras.tree.flatten(layer.output)
    shapes = [list(each.shape) for each in outputs]
    return {
        "name": layer.name,
        "class": type(layer).__name__,
        "what": ", ".join(parts),
        "output": shapes[0] if len(shapes) == 1 else shapes,
        "weights": layer.count_params(),
        "trained": sum(int(np.prod(v.shape)) for v in layer.trainable_variables),
    }


def _of_graph(path: Path) -> Finding:
    root = read_file(path)
    shown = table(f"{path.name}: NIR", "node", "primitive", "parameters")
    nodes = []
    for name, node in root["nodes"].items():
        kind = str(node["type"])
        shapes = {k: list(v.shape) for k, v in node.items() if hasattr(v, "shape")}
        nodes.append({"name": name, "primitive": kind, "shapes": shapes})
        shown.add_row(name, kind, ", ".join(f"{k} {v}" for k, v in shapes.items()))
    edges = [[str(name) for name in edge] for edge in root["edges"]]
    values = {"file": str(path), "kind": "nir", "nodes": nodes, "edges": edges}
    return Finding(values, [shown], [f"{len(edges)} edges"])


def _of_stream(path: Path) -> Finding:
    stream = Stream(path)
    shown = table(f"{path.name}: stream", "", "name", "shape", "dtype")
    values: dict[str, Any] = {"file": str(path), "kind": "stream"}
    for kind in ("inputs", "outputs", "states"):
        values[kind] = []
        for name, (shape, dtype) in getattr(stream, kind).items():
            whole = ["batch", *shape]
            values[kind].append({"name": name, "shape": whole, "dtype": dtype})
            shown.add_row(kind, name, ", ".join(map(str, whole)), dtype)
    return Finding(values, [shown])
