"""Kinds of files for other runtimes: how each is written, and how it is run.

All are made of TensorFlow's graph of a `Program`.
"""

import contextlib
import logging
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_spiking_nengo.serving.exported import Program
from keras_spiking_nengo.serving.saved_model import check_python, specs_of, write

__all__ = ["FORMATS", "Format"]

Arrays = dict[str, Any]


@dataclass(frozen=True)
class Format:
    """One kind of file.

    Attributes:
        suffix: of its files.
        extra: of this package, which brings what it needs.
        needs: modules that make and run it.
        write: `(program, path)`.
        run: `(path, inputs by name) -> outputs by name`.
        open: whether sizes of batch and time may stay open.
    """

    suffix: str
    extra: str
    needs: tuple[str, ...]
    write: Callable[[Program, Path], None]
    run: Callable[[Path, Arrays], Arrays]
    open: bool = True


# --- ONNX -------------------------------------------------------------------------


def _write_onnx(program: Program, path: Path) -> None:
    import tensorflow as tf
    import tf2onnx

    specs = specs_of(program.inputs)
    function = tf.function(program.function, input_signature=specs, autograph=False)
    check_python(function.get_concrete_function())
    with _heard("tf2onnx.tfonnx") as messages:
        tf2onnx.convert.from_function(
            function,
            input_signature=specs,
            output_path=str(path),
            opset=18,
            custom_op_handlers={"SelectV2": (_as_where, [])},
        )
    # It says so and writes a file that no runtime takes.
    lacking = [text for text in messages if text.startswith("Unsupported ops")]
    if lacking:
        raise RuntimeError(lacking[0])


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


def _run_onnx(path: Path, inputs: Arrays) -> Arrays:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path))
    found = session.run(None, inputs)
    return dict(zip([o.name for o in session.get_outputs()], found, strict=True))


# --- LiteRT -----------------------------------------------------------------------


def _write_litert(program: Program, path: Path) -> None:
    import tensorflow as tf

    with tempfile.TemporaryDirectory() as folder:
        write(program, Path(folder))
        # By way of a SavedModel a loop stays a loop, of LiteRT's own operations.
        converter = tf.lite.TFLiteConverter.from_saved_model(
            folder, signature_keys=["serve"]
        )
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        path.write_bytes(converter.convert())


def _run_litert(path: Path, inputs: Arrays) -> Arrays:
    from ai_edge_litert.interpreter import Interpreter

    return Interpreter(model_path=str(path)).get_signature_runner("serve")(**inputs)


# --- OpenVINO ---------------------------------------------------------------------


def _write_openvino(program: Program, path: Path) -> None:
    import openvino

    with tempfile.TemporaryDirectory() as folder:
        write(program, Path(folder))
        # Not openvino.convert_model, which reports its use to a server.
        made = openvino.Core().read_model(folder)
        openvino.save_model(made, str(path), compress_to_fp16=False)


def _run_openvino(path: Path, inputs: Arrays) -> Arrays:
    import openvino

    core = openvino.Core()
    # By default it computes in bfloat16 where it can: spikes would differ.
    exact = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = core.compile_model(core.read_model(str(path)), "CPU", exact)
    found = compiled(inputs)
    return {name: found[port] for port in compiled.outputs for name in port.names}


FORMATS = {
    "onnx": Format(".onnx", "onnx", ("tf2onnx", "onnxruntime"), _write_onnx, _run_onnx),
    "litert": Format(
        ".tflite", "litert", ("ai_edge_litert",), _write_litert, _run_litert, open=False
    ),
    "openvino": Format(
        ".xml", "openvino", ("openvino",), _write_openvino, _run_openvino
    ),
}
