"""One way to all formats.

Each file is run by its own runtime and compared with the model before `export` returns.
"""

import importlib
import re
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_spiking_nengo.checks import (
    check_switches,
    checked_count,
    checked_path,
    one_of,
)
from keras_spiking_nengo.dynamics.loops import backend_name, becomes_tensorflow
from keras_spiking_nengo.files import written_whole
from keras_spiking_nengo.layers.base import SequenceLayer
from keras_spiking_nengo.models.building import check_built, layers_of
from keras_spiking_nengo.models.states import states_restored
from keras_spiking_nengo.serving import agreement, file_formats, saved_model
from keras_spiking_nengo.serving.exported import (
    TensorFunction,
    of_step,
    of_whole,
    structure_of,
)
from keras_spiking_nengo.serving.step import Step
from keras_spiking_nengo.serving.stream import loaded_quietly
from keras_spiking_nengo.serving.streaming import export_streaming

__all__ = ["export"]


FORMATS = ("savedmodel", "streaming", *file_formats.FILE_FORMATS)

# --- all of them ------------------------------------------------------------------


def export(
    model: keras.Model,
    path: str | Path,
    format: str = "savedmodel",
    step: bool = False,
    batch_size: int | None = None,
    n_steps: int | None = None,
    verify: bool = True,
) -> Path:
    """Write a model for another runtime, and compare what it computes there.

    | format | made | sizes of batch and time |
    |---|---|---|
    | `"savedmodel"` | a folder, as `model.export` makes it; TensorFlow, JAX | open |
    | `"streaming"` | a folder: see `export_streaming`; TensorFlow, JAX | open |
    | `"onnx"` | `.onnx`, for ONNX Runtime; TensorFlow | open |
    | `"openvino"` | `.xml` and `.bin`; TensorFlow | open |
    | `"litert"` | `.tflite`, without Flex; TensorFlow | fixed |

    With `step=True` the last three hold one step, which takes and gives all states, by
    name; initial states of a batch of one are put beside it, in `<name>.state.npz`.
    OpenVINO has to be told `INFERENCE_PRECISION_HINT="f32"` when it runs a file.

    Args:
        model: functional or Sequential `keras.Model`.
        path: file or folder to make.
        format: a name from the table.
        step: whether the file holds one step instead of whole sequences.
        batch_size: a fixed size of batches. Defaults to an open one, or 1 for LiteRT.
        n_steps: a fixed number of steps, which LiteRT asks for unless `step`.
        verify: whether to run what was written, and to compare. Needs the runtime.

    Returns:
        The path.

    Raises:
        ValueError: for an unknown format, sizes or a suffix that do not fit it, or a
            file that gives other numbers than the model; none is left then.
        NotImplementedError: for what a format or backend cannot express.
        ImportError: if a package is missing, naming the extra that brings it.

    Example:
        >>> import tempfile, keras_spiking_nengo as ksn
        >>> model = keras.Sequential([
        ...     keras.Input((None, 3)),
        ...     ksn.layers.Neurons("lif", seed=0, return_sequences=True),
        ... ])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     ksn.export(model, folder + "/model").name
        'model'
    """
    check_built(model)
    path = checked_path("path", path)
    check_switches(step=step, verify=verify)
    for name, size in (("batch_size", batch_size), ("n_steps", n_steps)):
        if size is not None:
            checked_count(name, size)
    one_of("format", format, FORMATS)
    if format in ("savedmodel", "streaming"):
        _check_plain(format, step, batch_size, n_steps)
        if format == "streaming":
            return export_streaming(model, path, verify)
        return _saved_model(model, path, verify)
    kind = file_formats.FILE_FORMATS[format]
    saved_model.check_backend(f"format={format!r}", ("tensorflow",))
    _check_suffix(path, format, kind.suffix)
    _check_needs(format, kind)
    if not kind.open:
        batch_size = batch_size or 1
    if step:
        program = of_step(Step(model), batch_size)
    else:
        program = of_whole(model, batch_size, n_steps)
    if not kind.open:
        _check_fixed(format, program)
    with written_whole(path) as unfinished:
        _convert(format, kind, program, unfinished)
        if verify:
            _verify(kind, program, unfinished)
        if step:
            _write_states(program, unfinished)
    return path


def _convert(
    format: str, kind: file_formats.Format, program: TensorFunction, path: Path
) -> None:
    try:
        kind.write(program, path)
    except file_formats.Lacking as error:
        raise NotImplementedError(
            f"{program.model.name!r} has no form in {format}: {error}. Leave out the"
            " layer that brings it, or use format='savedmodel', which takes all but"
            " Python."
        ) from error


def _write_states(program: TensorFunction, path: Path) -> None:
    assert program.step is not None
    names = [port.name for port in program.step.states]
    values = map(keras.ops.convert_to_numpy, program.step.initial_state(1))
    np.savez(path.with_suffix(".state.npz"), **dict(zip(names, values, strict=True)))


# --- verifying --------------------------------------------------------------------


def _verify(kind: file_formats.Format, program: TensorFunction, path: Path) -> None:
    shapes: list[tuple[int, ...]] = [(2, agreement.STEPS)] if kind.open else [()]
    if kind.open and program.step is None:
        shapes.append((3, agreement.STEPS + 5))  # another size, through the same file
    for sizes in shapes:
        inputs = {port.name: _sample_for(port, sizes) for port in program.inputs}
        if program.step is None:
            rounds = 1
        else:
            rounds, states = 4, _initial_states(program, inputs)
            inputs |= states
        _compare(kind, program, path, inputs, rounds)


def _compare(
    kind,
    program: TensorFunction,
    path: Path,
    inputs: file_formats.TensorsByName,
    rounds: int,
) -> None:
    with states_restored(program.model):
        for _ in range(rounds):
            expected = program.function(*inputs.values())
            names = program.outputs
            arrays = {n: keras.ops.convert_to_numpy(expected[n]) for n in names}
            received = _run_file(kind, path, inputs)
            missing = sorted({*names} - {*received})
            if missing:
                raise ValueError(f"{path.name} lacks the outputs {missing}.")
            outputs = [received[name] for name in names]
            agreement.require_same(path.name, names, outputs, list(arrays.values()))
            inputs |= {k: arrays[f"next_{k}"] for k in inputs if f"next_{k}" in arrays}


def _run_file(
    kind: file_formats.Format, path: Path, inputs: file_formats.TensorsByName
) -> file_formats.TensorsByName:
    try:
        return kind.run(path, inputs)
    except file_formats.Lacking as error:
        raise NotImplementedError(
            f"{path.name} was made, but its runtime refuses it:"
            f" {str(error).replace(f'{path.parent}/', '')}. It was removed. Use"
            " format='savedmodel', which takes all but Python."
        ) from error


def _sample_for(port, sizes) -> Any:
    left = list(sizes)
    shape = [left.pop(0) if n is None else n for n in port.shape]
    return agreement.sample(shape, port.dtype)


def _initial_states(
    program: TensorFunction, inputs: file_formats.TensorsByName
) -> file_formats.TensorsByName:
    assert program.step is not None
    batch = len(next(iter(inputs.values())))
    values = program.step.initial_state(batch)
    return {
        port.name: keras.ops.convert_to_numpy(value)
        for port, value in zip(program.step.states, values, strict=True)
    }


# --- SavedModel -------------------------------------------------------------------


def _saved_model(model: keras.Model, path: Path, verify: bool) -> Path:
    saved_model.check_backend("A SavedModel", ("tensorflow", "jax"))
    saved_model.check_free(path)
    program = of_whole(model)
    options: dict[str, Any] = {}
    stateful = [layer for layer in layers_of(model) if _is_stateful(layer)]
    _check_stateful(stateful)
    if stateful:
        # States have a size of batch, which Keras would leave open.
        specs = [keras.InputSpec(x.dtype, tuple(x.shape)) for x in model.inputs]
        structure = keras.tree.pack_sequence_as(structure_of(model), specs)
        options["input_signature"] = [structure]
    with written_whole(path) as unfinished:
        with states_restored(model), saved_model.system_errors(unfinished):
            _by_keras(model, unfinished, options)
        if verify:
            _verify_saved_model(program, unfinished, calls=2 if stateful else 1)
    return path


def _by_keras(model: keras.Model, path: Path, options: dict[str, Any]) -> None:
    if becomes_tensorflow() and len(model.inputs) > 1:
        # Or lengths of inputs would be open one by one, and could not be joined.
        shapes = [saved_model.polymorphic(tuple(x.shape)) for x in model.inputs]
        structure = keras.tree.pack_sequence_as(structure_of(model), shapes)
        options["jax2tf_kwargs"] = {"polymorphic_shapes": [structure]}
    try:
        model.export(path, format="tf_saved_model", verbose=False, **options)
    except TypeError as error:
        if "_DimExpr" not in str(error):  # JAX's name for a size that is open
            raise
        raise NotImplementedError(
            f"{model.name!r} has no form in a SavedModel from"
            f" {backend_name()}: TypeError: {_dimension(error)}. Use"
            " ksn.layers.PerStep in the place of TimeDistributed, or another backend."
        ) from error


def _dimension(error: TypeError) -> str:
    """What Keras says of an error below a line about the layer."""
    lines = re.sub(r"\x1b\[\d+m", "", str(error)).splitlines()
    return next(line.strip() for line in lines if "_DimExpr" in line)


def _is_stateful(layer) -> bool:
    return bool(getattr(layer, "stateful", False))


def _check_stateful(stateful: list) -> None:
    theirs = [x.name for x in stateful if not isinstance(x, SequenceLayer)]
    if theirs and becomes_tensorflow():
        raise NotImplementedError(
            f"{', '.join(map(repr, theirs))}: Keras's own stateful layers begin anew in"
            " every call of a SavedModel that is made from JAX. Use"
            " format='streaming', or export it in a process with"
            " KERAS_BACKEND=tensorflow."
        )


def _verify_saved_model(program: TensorFunction, path: Path, calls: int) -> None:
    inputs = [_sample_for(port, (2, agreement.STEPS)) for port in program.inputs]
    packed = keras.tree.pack_sequence_as(structure_of(program.model), inputs)
    loaded = loaded_quietly(path)  # its variables live as long as it
    with states_restored(program.model):
        for _ in range(calls):
            expected = program.function(*inputs).values()
            arrays = list(map(keras.ops.convert_to_numpy, expected))
            outputs = [np.asarray(y) for y in keras.tree.flatten(loaded.serve(packed))]
            agreement.require_same(path.name, program.outputs, outputs, arrays)


# --- checks -----------------------------------------------------------------------


def _check_plain(format: str, step, batch_size, n_steps) -> None:
    sizes = {"step": step, "batch_size": batch_size, "n_steps": n_steps}
    odd = [name for name, value in sizes.items() if value]
    if odd:
        raise ValueError(
            f"format={format!r} takes no {', '.join(odd)}: its sizes are open, and"
            " format='streaming' is what runs step by step."
        )


def _check_suffix(path: Path, format: str, suffix: str) -> None:
    if path.suffix != suffix:
        raise ValueError(
            f"format={format!r} makes files that end in {suffix!r}; received"
            f" {str(path)!r}."
        )


def _check_needs(format: str, kind: file_formats.Format) -> None:
    for name in kind.needs:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise ImportError(
                f"format={format!r} needs the package {name!r}: pip install"
                f' "keras_spiking_nengo[{kind.extra}]".'
            ) from error


def _check_fixed(format: str, program: TensorFunction) -> None:
    for port in program.inputs:
        if None in port.shape:
            raise ValueError(
                f"format={format!r} needs fixed sizes; input {port.name!r} has"
                f" {port.shape}. Give n_steps, or step=True for one step with its"
                " states outside."
            )
