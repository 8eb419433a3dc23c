"""A client of exported streams, with TensorFlow and NumPy alone.

This file imports nothing else: where neither Keras nor this package is installed, a
copy of it does. Nothing that is loaded is Python, and a graph is loaded only if it is
made of operations that are known to compute, and to do nothing else.
"""

import hashlib
import json
import logging
import math
import os
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["Stream", "loaded_quietly"]

Array = Any
SIGNATURES = ("sequence", "step", "initial_state")
MANIFEST = Path("assets.extra", "stream.json")
# What exports are made of, as `python -m tests.serving.operations` lists it. None of
# it reaches beyond the graph: no file, no process, no device, no Python.
# fmt: off
ALLOWED = frozenset((
    "Abs", "AddV2", "Any", "Atan", "AvgPool", "AvgPool3D", "BatchMatMulV2",
    "BatchToSpaceND", "BiasAdd", "BitwiseAnd", "BitwiseXor", "BroadcastTo", "Bucketize",
    "Cast", "Ceil", "ConcatV2", "Const", "Conv2D", "Conv2DBackpropInput", "Conv3D",
    "Conv3DBackpropInputV2", "Cos", "Cumsum", "DepthwiseConv2dNative", "Einsum", "Elu",
    "Erf", "Erfc", "Erfinv", "Exp", "ExpandDims", "Expm1", "Fill", "Floor", "FloorMod",
    "GatherV2", "Greater", "GreaterEqual", "Identity", "IdentityN", "LeakyRelu", "Less",
    "LessEqual", "Log", "Log1p", "LogSoftmax", "LogicalAnd", "LogicalNot", "MatMul",
    "MatrixDiagV3", "Max", "MaxPool", "MaxPool3D", "Maximum", "Mean", "Minimum", "Mul",
    "Neg", "NoOp", "NotEqual", "OneHot", "OnesLike", "Pack", "Pad", "PartitionedCall",
    "Placeholder", "Pow", "PreventGradient", "Prod", "Range", "ReadVariableOp",
    "RealDiv", "Reciprocal", "Relu", "Relu6", "Reshape", "ResizeBilinear", "ReverseV2",
    "RightShift", "Round", "Rsqrt", "SelectV2", "Selu", "Shape", "Sigmoid", "Sign",
    "Sin", "Softmax", "Softplus", "Softsign", "SpaceToBatchND", "Split", "Sqrt",
    "Square", "SquaredDifference", "Squeeze", "StatefulPartitionedCall",
    "StatelessWhile", "StopGradient", "StridedSlice", "Sub", "Sum", "Tan", "Tanh",
    "TensorListFromTensor", "TensorListGetItem", "TensorListReserve",
    "TensorListSetItem", "TensorListStack", "Tile", "TopKV2", "Transpose",
    "UnsortedSegmentSum", "VarHandleOp", "While", "XlaCallModule", "ZerosLike",
))
# Every SavedModel reads and writes its checkpoint with these, in two functions.
CHECKPOINT = frozenset((
    "AssignVariableOp", "Const", "DisableCopyOnRead", "Identity", "MergeV2Checkpoints",
    "NoOp", "Pack", "ReadVariableOp", "RestoreV2", "SaveV2", "Select",
    "ShardedFilename", "StaticRegexFullMatch", "StringJoin",
))
# Attributes that hold text. Paths of files would be among others.
TEXTS = frozenset((
    "_gradient_op_type", "config_proto", "debug_name", "equation", "message", "module",
    "padding", "pattern", "platforms", "shared_name",
))
# Of modules that JAX compiled.
CUSTOM_CALLS = frozenset((
    "shape_assertion", "stablehlo.dynamic_reduce_window",
))
# fmt: on
# What is laid out by a number alone: parts of a split, and values of a constant.
MOST_PARTS, MOST_VALUES = 2**16, 2**28
_CHECKPOINT = re.compile(r"__inference__traced_(save|restore)_\d+")


def loaded_quietly(path: Path):
    """A SavedModel, without TensorFlow's warning that nobody can differentiate it."""
    import tensorflow as tf

    def is_news(record: logging.LogRecord) -> bool:
        return "unsaved custom gradients" not in record.getMessage()

    logger = logging.getLogger("absl")
    logger.addFilter(is_news)
    try:
        return tf.saved_model.load(str(path))
    finally:
        logger.removeFilter(is_news)


class Stream:
    """What `ksn.export_streaming` wrote, ready to run.

    It keeps no state: states go in and come out, as dicts of arrays by name.

    Args:
        path: folder of the SavedModel.
        allow: names of operations, or of XLA's custom calls, that layers of your own
            bring, and that may run though streams of other layers have none of them.

    Attributes:
        inputs, outputs, states: from names to `(shape, dtype)` of one step.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: if files are missing, truncated or changed, if a signature is
            another, or if the graph has operations that are not allowed.

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

    def __init__(self, path: str | Path, allow: Collection[str] = ()):
        import tensorflow as tf

        # This file is read without the package, too: the checks stand here.
        if not isinstance(path, str | os.PathLike):
            raise TypeError(f"path is the path of a folder; received {path!r}.")
        texts = isinstance(allow, Collection) and not isinstance(allow, str | bytes)
        if not texts or not all(isinstance(name, str) for name in allow):
            raise TypeError(f"allow is names, as in ['Angle']; received {allow!r}.")
        self.path = Path(path)
        _check_files(self.path)
        _check_graph(self.path, frozenset(allow))
        try:
            self._loaded = loaded_quietly(self.path)
        except Exception as error:
            raise ValueError(
                f"{self.path} cannot be loaded by TensorFlow {tf.__version__}:"
                f" {error}. Export it anew with ksn.export_streaming."
            ) from error
        self._functions = _signatures_of(self._loaded, self.path)
        taken, sent = _specs(self._functions["step"])
        self.states = {k: v for k, v in taken.items() if k.startswith("state_")}
        self.inputs = {k: v for k, v in taken.items() if k not in self.states}
        self.outputs = {k: v for k, v in sent.items() if k not in self.states}
        self._check_signatures(sent)

    def _check_signatures(self, sent) -> None:
        begun = _specs(self._functions["initial_state"])[1]
        carried = {k: v for k, v in sent.items() if k not in self.outputs}
        begun = {k: v for k, v in begun.items() if k in self.states}
        taken = set(_specs(self._functions["sequence"])[0])
        if carried != self.states or begun != self.states:
            raise ValueError(
                f"{self.path} is no stream: the states that go in are {self.states},"
                f" those that come out {carried}, and those to begin with {begun}."
            )
        if taken != {*self.inputs, *self.states} or not self.inputs:
            raise ValueError(
                f"{self.path} is no stream: `sequence` takes {sorted(taken)}, `step`"
                f" {sorted({*self.inputs, *self.states})}."
            )

    # --- running ------------------------------------------------------------------

    def initial_state(self, batch_size: int = 1) -> dict[str, Array]:
        """States before the first step.

        Args:
            batch_size: number of streams that run side by side, at least 1.
        """
        import tensorflow as tf

        # This file is read without the package, too: the check stands here.
        whole = isinstance(batch_size, int | np.integer)
        if not whole or isinstance(batch_size, bool) or batch_size < 1:
            raise ValueError(
                f"batch_size is an integer of at least 1; received {batch_size!r}."
            )
        begun = self._functions["initial_state"](batch_size=tf.constant(batch_size))
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
        inputs = _inputs_by_name(x, self.inputs)
        inputs = _arrays_for(self.inputs, inputs, lead)
        if not isinstance(state, Mapping) or set(state) != set(self.states):
            keys = sorted(state) if isinstance(state, Mapping) else type(state)
            raise ValueError(
                f"state is a dict with the keys {sorted(self.states)}; received"
                f" {keys}. Begin with initial_state(batch_size), and go on with what"
                " the last call returned."
            )
        states = _arrays_for(self.states, state, 1)
        _check_lead(inputs, states, lead)
        tensors = {key: tf.constant(value) for key, value in (inputs | states).items()}
        sent = self._functions[name](**tensors)
        outputs = {key: sent[key].numpy() for key in self.outputs}
        y = next(iter(outputs.values())) if len(outputs) == 1 else outputs
        return y, {key: sent[key].numpy() for key in self.states}


# --- what is given ----------------------------------------------------------------


def _inputs_by_name(x, ports) -> dict:
    if not isinstance(x, Mapping) and len(ports) == 1:
        return dict.fromkeys(ports, x)
    if not isinstance(x, Mapping) or set(x) != set(ports):
        keys = sorted(x) if isinstance(x, Mapping) else type(x).__name__
        raise ValueError(
            f"The inputs are a dict with the keys {sorted(ports)}; received {keys}."
        )
    return dict(x)


def _arrays_for(ports, values: Mapping, lead: int) -> dict[str, Array]:
    return {k: _array_for(k, values[k], port, lead) for k, port in ports.items()}


def _array_for(name: str, value, port, lead: int) -> Array:
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


def digests_of(path: Path) -> dict[str, str]:
    """What a manifest notes of each file of a folder, but of itself."""
    files = [f for f in path.rglob("*") if f.is_file() and f != path / MANIFEST]
    return {
        file.relative_to(path).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(files)
    }


def _check_files(path: Path) -> None:
    if not path.is_dir():
        raise FileNotFoundError(f"There is no folder {path}. Export a model there.")
    notes = path / MANIFEST
    if not notes.is_file():
        raise ValueError(
            f"path: {path} has no assets.extra/stream.json, so it was not written by"
            " ksn.export_streaming, or not copied whole."
        )
    try:
        digests = json.loads(notes.read_text())["sha256"]
        noted = {name: str(digest) for name, digest in digests.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{notes} cannot be read: {error!r}.") from error
    present = digests_of(path)
    if present != noted:
        names = {*present, *noted}
        odd = sorted(n for n in names if present.get(n) != noted.get(n))
        raise ValueError(
            f"{path} is not as it was exported; missing, truncated or changed: {odd}."
            " Copy it anew, or export it anew with ksn.export_streaming."
        )


def _check_graph(path: Path, allow: frozenset[str]) -> None:
    """Refuses what reaches beyond the graph: digests do not say who wrote it."""
    for graph in _graphs(path):
        objects = graph.object_graph_def
        # Without objects, TensorFlow 1 would run what it finds in the graph.
        if not objects.nodes or any(
            map(_CHECKPOINT.fullmatch, objects.concrete_functions)
        ):
            raise ValueError(
                f"{path} is no stream: it has no objects, or hands out its checkpoint."
            )
        for function, node in _nodes(graph):
            _check_node(path, function, node, allow)


def _graphs(path: Path):
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import saved_model_pb2

    saved = saved_model_pb2.SavedModel()
    try:
        saved.ParseFromString((path / "saved_model.pb").read_bytes())
    except (OSError, DecodeError) as error:
        raise ValueError(f"{path}/saved_model.pb cannot be read: {error}.") from error
    return saved.meta_graphs


def _nodes(graph) -> Iterator[tuple[str, Any]]:
    """All nodes, each with the name of the function that it stands in."""
    for node in graph.graph_def.node:
        yield "", node
    for function in graph.graph_def.library.function:
        for node in function.node_def:
            yield function.signature.name, node


def _check_node(path: Path, function: str, node, allow: frozenset[str]) -> None:
    saves = _CHECKPOINT.fullmatch(function)
    permitted = CHECKPOINT if saves else ALLOWED | allow
    texts, functions = _attributes(node)
    reason = ""
    if node.op not in permitted:
        reason = f"is a {node.op}, which may reach beyond the graph"
    elif function and any(map(_CHECKPOINT.fullmatch, functions)):
        reason = f"is a {node.op} of the checkpoint's functions, beyond the graph"
    elif node.op not in allow and not {*texts} <= TEXTS:
        reason = f"is a {node.op} with text in {sorted({*texts} - TEXTS)}"
    elif node.op not in allow and _excess(node):
        reason = f"is a {node.op} {_excess(node)}"
    elif node.op == "XlaCallModule":
        calls = {*custom_calls(texts.get("module", b""))} - CUSTOM_CALLS - allow
        reason = f"calls {sorted(calls)} beyond the graph" if calls else ""
    if reason:
        raise ValueError(
            f"{path} is refused: {node.name!r} {reason}. No stream has one that"
            " ksn.export_streaming wrote of Keras's layers and ours. If it is of a"
            " layer of your own, Stream(path, allow=[its name]) runs it."
        )


def _excess(node) -> str:
    """What a few bytes of a node make TensorFlow lay out, where that is too much."""
    counts = {
        name: node.attr[name].i for name in ("N", "num_split") if name in node.attr
    }
    if counts.get("N", 0) > len(node.input) or counts.get("num_split", 0) > MOST_PARTS:
        return f"of {counts}, and names {len(node.input)} inputs"
    value = node.attr["value"].tensor if "value" in node.attr else None
    shape = [] if value is None else [axis.size for axis in value.tensor_shape.dim]
    # One number may stand for all.
    return f"of the shape {shape}" if math.prod(shape) > MOST_VALUES else ""


def _attributes(node) -> tuple[dict[str, bytes], list[str]]:
    """Texts by the names of attributes, and names of functions that it calls."""
    texts = {}
    functions = []
    for name, value in node.attr.items():
        lines = [line for line in (value.s, *value.list.s) if line]
        if lines:
            texts[name] = b"\n".join(lines)
        functions += [f.name for f in (value.func, *value.list.func) if f.name]
    return texts, functions


def contents(path: Path) -> tuple[set[str], set[str], set[str]]:
    """Operations, attributes with texts, and custom calls of a stream's functions."""
    operations, names, calls = set(), set(), set()
    for graph in _graphs(path):
        for function, node in _nodes(graph):
            texts, _ = _attributes(node)
            names |= {*texts}
            if not _CHECKPOINT.fullmatch(function):
                operations.add(node.op)
            if node.op == "XlaCallModule":
                calls |= {*custom_calls(texts.get("module", b""))}
    return operations, names, calls


def _signatures_of(loaded, path: Path) -> dict:
    functions = dict(getattr(loaded, "signatures", {}))
    missing = [name for name in SIGNATURES if name not in functions]
    if missing:
        raise ValueError(
            f"{path} is no stream: it has the signatures {sorted(functions)}, and not"
            f" {missing}. Export the model with ksn.export_streaming."
        )
    return {name: functions[name] for name in SIGNATURES}


def _specs(function) -> tuple[dict, dict]:
    """Names, shapes without the batch, and dtypes of what goes in and comes out."""

    def ports(specs):
        return {k: (tuple(v.shape[1:]), v.dtype.name) for k, v in specs.items()}

    _, taken = function.structured_input_signature
    return ports(taken), ports(function.structured_outputs)


def unusual(path: Path) -> list[str]:
    """Operations and custom calls that `Stream` runs only if they are in `allow`."""
    operations, _, calls = contents(path)
    return sorted((operations - ALLOWED) | (calls - CUSTOM_CALLS))


# --- modules of JAX ---------------------------------------------------------------

# Sections of the bytecode.
_STRINGS, _DIALECTS, _VALUES, _OFFSETS, _PROPERTIES = 0, 1, 2, 3, 8
_TEXT = 14  # VHLO's code of an attribute that is a string
_SIGNATURE = 8  # attributes of a custom call, by their names; the third is its target


def custom_calls(module: bytes) -> list[str]:
    """Names of the custom calls of a StableHLO module.

    Reads as much of MLIR's bytecode as that needs. Refuses what it cannot read.

    Raises:
        ValueError: if it is no such module, or if calls in it cannot be told.

    Source:
        https://mlir.llvm.org/docs/BytecodeFormat, and StableHLO's VhloBytecode.cpp.
    """
    try:
        sections = _sections(_Bytes(module))
        strings = _strings(_Bytes(sections[_STRINGS]))
        dialects, operations = _dialects(_Bytes(sections[_DIALECTS]), strings)
        texts = _texts(sections, strings, dialects)
        if "custom_call_v1" not in operations:
            return []
        properties = _Bytes(sections.get(_PROPERTIES, b"\0"))
        calls = []
        for _ in range(properties.number()):
            numbers = _Bytes(properties.take(properties.number())).numbers()
            if len(numbers) == _SIGNATURE and numbers[2] in texts:
                calls.append(texts[numbers[2]])
        if not calls:
            raise ValueError("custom calls without a target")
    except (IndexError, KeyError, ValueError) as error:
        raise ValueError(f"No StableHLO module that can be read: {error!r}.") from error
    return calls


class _Bytes:
    """Reads bytecode from its start."""

    def __init__(self, data: bytes):
        self.data, self.at = data, 0

    def take(self, size: int) -> bytes:
        chunk = self.data[self.at : self.at + size]
        if len(chunk) < size:
            raise IndexError("it ends too soon")
        self.at += size
        return chunk

    def number(self) -> int:
        """As many bytes as the first one has zeros at its end, and one more."""
        first = self.take(1)[0]
        if not first:
            return int.from_bytes(self.take(8), "little")
        more = (first & -first).bit_length() - 1
        return int.from_bytes(bytes([first]) + self.take(more), "little") >> more + 1

    def numbers(self) -> list[int]:
        numbers = []
        while self.at < len(self.data):
            numbers.append(self.number())
        return numbers


def _sections(reader: _Bytes) -> dict[int, bytes]:
    if reader.take(4) != b"ML\xefR" or reader.number() != 6:
        raise ValueError("not the bytecode of version 6")
    reader.at = reader.data.index(0, reader.at) + 1  # who made it
    sections: dict[int, bytes] = {}
    while reader.at < len(reader.data):
        kind, size = reader.take(1)[0], reader.number()
        if kind & 128:
            reader.at += -reader.at % reader.number()
        if kind & 127 in sections:
            raise ValueError("a section stands twice")
        sections[kind & 127] = reader.take(size)
    return sections


def _strings(reader: _Bytes) -> list[str]:
    sizes = [reader.number() for _ in range(reader.number())]
    return [reader.take(size)[:-1].decode() for size in reversed(sizes)]


def _dialects(reader: _Bytes, strings) -> tuple[list[str], set[str]]:
    """Names of dialects, and of all operations."""
    dialects = []
    for _ in range(reader.number()):
        mark = reader.number()
        dialects.append(strings[mark >> 1])
        if mark & 1:
            reader.take(reader.number())
    operations = set()
    reader.number()  # of operations
    while reader.at < len(reader.data):
        reader.number()  # of the dialect
        for _ in range(reader.number()):
            operations.add(strings[reader.number() >> 1])
    return dialects, operations


def _texts(sections, strings, dialects) -> dict[int, str]:
    """Attributes that are strings, by their number."""
    offsets, values = _Bytes(sections[_OFFSETS]), _Bytes(sections[_VALUES])
    size, _ = offsets.number(), offsets.number()
    texts, number = {}, 0
    while number < size:
        dialect = dialects[offsets.number()]
        for _ in range(offsets.number()):
            mark = offsets.number()
            value = _Bytes(values.take(mark >> 1))
            if not mark & 1:
                raise ValueError("an attribute as text")
            if dialect == "vhlo" and value.number() == _TEXT:
                texts[number] = strings[value.number()]
            number += 1
    return texts
