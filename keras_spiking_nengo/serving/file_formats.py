"""Kinds of files for other runtimes: how each is written, and how it is run.

All are made of TensorFlow's graph of a `TensorFunction`. Of what converters and
runtimes raise, only what says that they lack something becomes `Lacking`; a full disk
or a fault stays what it is.
"""

import contextlib
import logging
import re
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_spiking_nengo.serving import saved_model
from keras_spiking_nengo.serving.exported import TensorFunction

__all__ = ["FILE_FORMATS", "Format", "Lacking"]

TensorsByName = dict[str, Any]


@dataclass(frozen=True)
class Format:
    """One kind of file.

    Attributes:
        suffix: of its files.
        extra: of this package, which brings what it needs.
        needs: modules that make and run it.
        write: `(program, path)`. Raises `Lacking` for what has no form in it.
        run: `(path, inputs by name) -> outputs by name`. Raises `Lacking` if the
            runtime refuses the file.
        open: whether sizes of batch and time may stay open.
    """

    suffix: str
    extra: str
    needs: tuple[str, ...]
    write: Callable[[TensorFunction, Path], None]
    run: Callable[[Path, TensorsByName], TensorsByName]
    open: bool = True


class Lacking(Exception):
    """A format, or its runtime, has no form for something in a model."""


# How converters say which of TensorFlow's operations they do not know.
_OPERATIONS = re.compile(
    r"(?:TF Select ops|Custom ops|Unsupported ops|found for operations): *(.*)"
)


def _unknown_operations(text: str) -> str:
    """What a converter said of operations that it does not know, in short, or ""."""
    lists = _OPERATIONS.findall(text)
    names = {name for listed in lists for name in re.findall(r"[A-Z]\w+", listed)}
    names -= {"Counter"}
    return f"it has no TensorFlow operation {', '.join(sorted(names))}" if names else ""


@contextlib.contextmanager
def _naming_operations(refusal: type[Exception]) -> Iterator[None]:
    """Raises `Lacking` where a converter refuses operations by name."""
    try:
        yield
    except refusal as error:
        unknown = _unknown_operations(str(error))
        if not unknown:
            raise
        raise Lacking(unknown) from error


@contextlib.contextmanager
def _refusing(runtime: type[Exception] | tuple[type[Exception], ...]) -> Iterator[None]:
    """Makes a runtime's own errors `Lacking`."""
    try:
        yield
    except (OSError, MemoryError):
        raise
    except runtime as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = lines[0][:300] if lines else "no reason given"
        raise Lacking(f"{type(error).__name__}: {reason}") from error


# --- ONNX -------------------------------------------------------------------------


def _write_onnx(program: TensorFunction, path: Path) -> None:
    import tensorflow as tf
    import tf2onnx

    specs = saved_model.specs_of(program.inputs)
    function = tf.function(program.function, input_signature=specs, autograph=False)
    saved_model.check_python(function.get_concrete_function())
    with _heard("tf2onnx.tfonnx") as messages:
        try:
            model, _ = tf2onnx.convert.from_function(
                function,
                input_signature=specs,
                opset=18,
                custom_op_handlers={"SelectV2": (_as_where, [])},
            )
        except (ValueError, NotImplementedError, RuntimeError) as error:
            # It goes on after a node that it cannot convert, and raises in the end.
            nodes = [text for text in messages if text.startswith(_FAILED)]
            unknown = _unknown_operations("\n".join(messages))
            if not nodes and not unknown:
                raise
            raise Lacking(unknown or f"{type(error).__name__}: {error}") from error
    unknown = _unknown_operations("\n".join(messages))
    if unknown:  # It says so and makes a file that no runtime takes.
        raise Lacking(unknown)
    path.write_bytes(model.SerializeToString())


_FAILED = "Failed to convert node"


def _as_where(context, node, name, args) -> None:
    """A choice between tensors.

    Otherwise tf2onnx adds products with 0 and 1, and what is not chosen may be
    infinite: a neuron whose current is just 1 would be NaN from then on.
    """
    node.type = "Where"
    node.domain = ""


@contextlib.contextmanager
def _heard(name: str) -> Iterator[list[str]]:
    """What a logger says, in the place of printing it."""
    logger, messages = logging.getLogger(name), []
    handler = logging.Handler(logging.ERROR)
    handler.emit = lambda record: messages.append(record.getMessage())  # type: ignore[method-assign]
    propagates, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        yield messages
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagates


def _run_onnx(path: Path, inputs: TensorsByName) -> TensorsByName:
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    kinds = [kind for kind in vars(state).values() if isinstance(kind, type)]
    with _refusing(tuple(kind for kind in kinds if issubclass(kind, Exception))):
        session = onnxruntime.InferenceSession(str(path))
        outputs = session.run(None, inputs)
    return dict(zip([o.name for o in session.get_outputs()], outputs, strict=True))


# --- LiteRT -----------------------------------------------------------------------


def _write_litert(program: TensorFunction, path: Path) -> None:
    import tensorflow as tf

    with tempfile.TemporaryDirectory() as folder:
        saved_model.write_saved_model(program, Path(folder))
        # By way of a SavedModel a loop stays a loop, of LiteRT's own operations.
        converter = tf.lite.TFLiteConverter.from_saved_model(
            folder, signature_keys=["serve"]
        )
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        with _naming_operations(Exception):  # ConverterError, whose module is private
            model = converter.convert()
    path.write_bytes(model)


def _run_litert(path: Path, inputs: TensorsByName) -> TensorsByName:
    from ai_edge_litert.interpreter import Interpreter

    with _refusing((RuntimeError, ValueError)):
        interpreter = Interpreter(model_path=str(path))
        return interpreter.get_signature_runner("serve")(**inputs)


# --- OpenVINO ---------------------------------------------------------------------


def _write_openvino(program: TensorFunction, path: Path) -> None:
    import openvino

    with tempfile.TemporaryDirectory() as folder:
        saved_model.write_saved_model(program, Path(folder))
        with _naming_operations(RuntimeError):
            # Not openvino.convert_model, which reports its use to a server.
            model = openvino.Core().read_model(folder)
        try:
            openvino.save_model(model, str(path), compress_to_fp16=False)
        except RuntimeError as error:
            if "iostream" not in str(error):
                raise
            raise OSError(f"OpenVINO could not write {path}: {error}") from error


def _run_openvino(path: Path, inputs: TensorsByName) -> TensorsByName:
    import openvino

    core = openvino.Core()
    # By default it computes in bfloat16 where it can: spikes would differ.
    exact = {"INFERENCE_PRECISION_HINT": "f32"}
    with _refusing(RuntimeError):
        compiled = core.compile_model(core.read_model(str(path)), "CPU", exact)
        outputs = compiled(inputs)
    return {name: outputs[port] for port in compiled.outputs for name in port.names}


FILE_FORMATS = {
    "onnx": Format(".onnx", "onnx", ("tf2onnx", "onnxruntime"), _write_onnx, _run_onnx),
    "litert": Format(
        ".tflite", "litert", ("ai_edge_litert",), _write_litert, _run_litert, open=False
    ),
    "openvino": Format(
        ".xml", "openvino", ("openvino",), _write_openvino, _run_openvino
    ),
}
