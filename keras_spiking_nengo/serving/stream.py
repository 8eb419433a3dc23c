"""A client of exported streams, with TensorFlow and NumPy alone.

This file imports nothing else: where neither Keras nor this package is installed, a
copy of it does. Nothing that is loaded is Python, and a graph that would touch files,
processes or Python is not run.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from keras_spiking_nengo.checks import checked_count

__all__ = ["Stream"]

Array = Any
SIGNATURES = ("sequence", "step", "initial_state")
# Operations that reach beyond the graph. Reading and writing checkpoints is left to
# the two functions with which every SavedModel does it.
_OUTSIDE = re.compile(
    "PyFunc|File|Restore|Save|Record|Reader|Dataset|Iterator|Checkpoint|Print|Summary"
    "|Dump|Debug|Rpc|Send|Recv|Outfeed|Infeed|LoadLibrary|Queue|CompilationResult"
)
_SAVES = ("SaveV2", "RestoreV2", "MergeV2Checkpoints", "ShardedFilename")
_CHECKPOINT = re.compile(r"__inference__traced_(save|restore)_\d+")


class Stream:
    """What `ksn.export_streaming` wrote, ready to run.

    It keeps no state: states go in and come out, as dicts of arrays by name.

    Args:
        path: folder of the SavedModel.

    Attributes:
        inputs, outputs, states: from names to `(shape, dtype)` of one step.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: if files are missing, truncated or changed, if a signature is
            another, or if the graph would reach beyond itself.

    Example:
        >>> import tempfile, keras, numpy as np, keras_spiking_nengo as ksn
        >>> layer = ksn.layers.Synapse(0.01, return_sequences=True)
        >>> model = keras.Sequential([keras.Input((None, 2)), layer])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = ksn.export_streaming(model, folder + "/filter")
        ...     stream = ksn.serving.Stream(folder + "/filter")
        >>> state = stream.initial_state(1)
        >>> y, state = stream.step(np.ones((1, 2), "float32"), state)
        >>> y.shape
        (1, 2)
    """

    def __init__(self, path: str | Path):
        import tensorflow as tf

        self.path = Path(path)
        _check_files(self.path)
        _check_graph(self.path)
        try:
            self._loaded = tf.saved_model.load(str(self.path))
        except Exception as error:
            raise ValueError(
                f"{self.path} cannot be loaded by TensorFlow {tf.__version__}:"
                f" {error}. Export it anew with ksn.export_streaming."
            ) from error
        self._functions = _functions(self._loaded, self.path)
        given, sent = _ports(self._functions["step"])
        self.states = {k: v for k, v in given.items() if k.startswith("state_")}
        self.inputs = {k: v for k, v in given.items() if k not in self.states}
        self.outputs = {k: v for k, v in sent.items() if k not in self.states}
        self._check_signatures(sent)

    def _check_signatures(self, sent) -> None:
        begun = _ports(self._functions["initial_state"])[1]
        carried = {k: v for k, v in sent.items() if k not in self.outputs}
        begun = {k: v for k, v in begun.items() if k in self.states}
        given = set(_ports(self._functions["sequence"])[0])
        if carried != self.states or begun != self.states:
            raise ValueError(
                f"{self.path} is no stream: the states that go in are {self.states},"
                f" those that come out {carried}, and those to begin with {begun}."
            )
        if given != {*self.inputs, *self.states} or not self.inputs:
            raise ValueError(
                f"{self.path} is no stream: `sequence` takes {sorted(given)}, `step`"
                f" {sorted({*self.inputs, *self.states})}."
            )

    # --- running ------------------------------------------------------------------

    def initial_state(self, batch_size: int = 1) -> dict[str, Array]:
        """States before the first step.

        Args:
            batch_size: number of streams that run side by side, at least 1.
        """
        import tensorflow as tf

        size = tf.constant(checked_count("batch_size", batch_size))
        begun = self._functions["initial_state"](batch_size=size)
        return {name: begun[name].numpy() for name in self.states}

    def step(self, x: Any, state: Mapping[str, Array]) -> tuple[Any, dict[str, Array]]:
        """One step of all streams.

        Args:
            x: `(batch, *features)`, or a dict of such arrays for several inputs.
            state: what `initial_state` or the last call returned.

        Returns:
            The output, or a dict of outputs, and the states to go on with.

        Raises:
            ValueError: for other names, shapes or kinds of numbers.
        """
        return self._call("step", x, state)

    def sequence(
        self, x: Any, state: Mapping[str, Array]
    ) -> tuple[Any, dict[str, Array]]:
        """Many steps; the numbers are those of `step`, to the last bit.

        Args:
            x: `(batch, time, *features)`, or a dict of such arrays.
            state: as in `step`.
        """
        return self._call("sequence", x, state)

    def _call(self, name: str, x, state):
        import tensorflow as tf

        lead = 2 if name == "sequence" else 1
        inputs = _named(x, self.inputs)
        inputs = {
            key: _checked(key, inputs[key], port, lead)
            for key, port in self.inputs.items()
        }
        if not isinstance(state, Mapping) or set(state) != set(self.states):
            found = sorted(state) if isinstance(state, Mapping) else type(state)
            raise ValueError(
                f"state is a dict with the keys {sorted(self.states)}; received"
                f" {found}. Begin with initial_state(batch_size), and go on with what"
                " the last call returned."
            )
        states = {
            key: _checked(key, state[key], port, 1) for key, port in self.states.items()
        }
        _check_lead(inputs, states, lead)
        sent = self._functions[name](
            **{key: tf.constant(value) for key, value in {**inputs, **states}.items()}
        )
        outputs = {key: sent[key].numpy() for key in self.outputs}
        y = next(iter(outputs.values())) if len(outputs) == 1 else outputs
        return y, {key: sent[key].numpy() for key in self.states}


# --- what is given ----------------------------------------------------------------


def _named(x, ports) -> dict:
    if not isinstance(x, Mapping) and len(ports) == 1:
        return dict.fromkeys(ports, x)
    if not isinstance(x, Mapping) or set(x) != set(ports):
        found = sorted(x) if isinstance(x, Mapping) else type(x).__name__
        raise ValueError(
            f"The inputs are a dict with the keys {sorted(ports)}; received {found}."
        )
    return dict(x)


def _checked(name: str, value, port, lead: int) -> Array:
    """The value as an array of the kind and shape that a port takes."""
    shape, dtype = port
    array = np.asarray(value)
    if not np.can_cast(array.dtype, dtype, "same_kind"):
        raise ValueError(f"{name} takes {dtype}; received numbers of {array.dtype}.")
    axes = ("batch", "time")[:lead]
    if array.ndim != lead + len(shape) or array.shape[lead:] != shape:
        wanted = ", ".join(map(str, (*axes, *shape)))
        raise ValueError(f"{name} has the shape ({wanted}); received {array.shape}.")
    return array.astype(dtype)


def _check_lead(inputs, states, lead: int) -> None:
    sizes = {name: array.shape[0] for name, array in {**inputs, **states}.items()}
    steps = {name: array.shape[1] for name, array in inputs.items() if lead == 2}
    if len({*sizes.values()}) > 1:
        raise ValueError(
            f"All have one batch size; received {sizes}. Begin with"
            " initial_state(batch_size) of the number of streams."
        )
    if 0 in sizes.values() or 0 in steps.values() or len({*steps.values()}) > 1:
        raise ValueError(
            "There is at least one stream and one step, and all inputs have the same"
            f" number of steps; received batches {sizes} and steps {steps}."
        )


# --- what is loaded ---------------------------------------------------------------


def _check_files(path: Path) -> None:
    if not path.is_dir():
        raise FileNotFoundError(f"There is no folder {path}. Export a model there.")
    notes = path / "assets.extra" / "stream.json"
    if not notes.is_file():
        raise ValueError(
            f"{path} has no assets.extra/stream.json, so it was not written by"
            " ksn.export_streaming, or not copied whole."
        )
    try:
        digests = json.loads(notes.read_text())["sha256"]
        known = {name: str(digest) for name, digest in digests.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{notes} cannot be read: {error!r}.") from error
    files = [f for f in path.rglob("*") if f.is_file() and f != notes]
    found = {
        f.relative_to(path).as_posix(): hashlib.sha256(f.read_bytes()).hexdigest()
        for f in files
    }
    if found != known:
        odd = sorted(
            name for name in {*found, *known} if found.get(name) != known.get(name)
        )
        raise ValueError(
            f"{path} is not as it was exported; missing, truncated or changed: {odd}."
            " Copy it anew, or export it anew with ksn.export_streaming."
        )


def _check_graph(path: Path) -> None:
    """Refuses what reaches beyond the graph: digests do not say who wrote it."""
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import saved_model_pb2

    saved = saved_model_pb2.SavedModel()
    try:
        saved.ParseFromString((path / "saved_model.pb").read_bytes())
    except (OSError, DecodeError) as error:
        raise ValueError(f"{path}/saved_model.pb cannot be read: {error}.") from error
    for graph in saved.meta_graphs:
        objects = graph.object_graph_def
        # Without objects, TensorFlow 1 would run what it finds in the graph.
        if not objects.nodes or any(
            map(_CHECKPOINT.fullmatch, objects.concrete_functions)
        ):
            raise ValueError(
                f"{path} is no stream: it has no objects, or hands out its checkpoint."
            )
        _check_nodes(path, graph.graph_def.node, calls=True)
        for function in graph.graph_def.library.function:
            saves = _CHECKPOINT.fullmatch(function.signature.name)
            _check_nodes(path, function.node_def, saves=bool(saves))


def _check_nodes(path: Path, nodes, calls=False, saves=False) -> None:
    """Refuses operations; `saves` are those of checkpoints, which `calls` may call."""
    for node in nodes:
        called = [value.func.name for value in node.attr.values()]
        odd = _OUTSIDE.search(node.op) and not (saves and node.op in _SAVES)
        if odd or (not calls and any(map(_CHECKPOINT.fullmatch, called))):
            raise ValueError(
                f"{path} is refused: {node.name!r} is a {node.op}, which reaches beyond"
                " the graph. No stream that ksn.export_streaming writes has one."
            )


def _functions(loaded, path: Path) -> dict:
    found = dict(getattr(loaded, "signatures", {}))
    missing = [name for name in SIGNATURES if name not in found]
    if missing:
        raise ValueError(
            f"{path} is no stream: it has the signatures {sorted(found)}, and not"
            f" {missing}. Export the model with ksn.export_streaming."
        )
    return {name: found[name] for name in SIGNATURES}


def _ports(function) -> tuple[dict, dict]:
    """Names, shapes without the batch, and dtypes of what goes in and comes out."""
    _, given = function.structured_input_signature
    sent = function.structured_outputs

    def port(spec):
        return tuple(spec.shape[1:]), spec.dtype.name

    return (
        {name: port(spec) for name, spec in given.items()},
        {name: port(spec) for name, spec in sent.items()},
    )
