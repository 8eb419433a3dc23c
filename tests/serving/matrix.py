"""The matrix of exports: rows, columns, and how a cell is filled.

A cell is empty where the export runs elsewhere with the model's numbers, and else the
reason for which the format refuses. Outcomes are kept in `results/<backend>.json`.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np

import keras_spiking_nengo as ksn
from keras_spiking_nengo.serving import agreement
from keras_spiking_nengo.serving.exported import structure_of
from keras_spiking_nengo.serving.tensors import model_tensors
from tests.builders import randomise
from tests.cases import LAYERS, MODELS

HERE = Path(__file__).parent
RESULTS = HERE / "results"
STEPS = 16
layers = keras.layers

# Layers of Keras's own beside ours.
KERAS = {
    "keras LSTM": (layers.LSTM, {"units": 4}, (3,)),
    "keras GRU": (layers.GRU, {"units": 4}, (3,)),
    "keras SimpleRNN": (layers.SimpleRNN, {"units": 4}, (3,)),
    "keras Conv1D(causal)": (
        layers.Conv1D,
        {"filters": 4, "kernel_size": 3, "padding": "causal", "dilation_rate": 2},
        (3,),
    ),
    "keras Bidirectional(SimpleRNN)": (
        lambda **kwargs: layers.Bidirectional(layers.SimpleRNN(4, **kwargs)),
        {},
        (3,),
    ),
}
# Ours that are no layers over time, on each step of a sequence.
STEPWISE = {
    "Quantized(Dense)": (
        lambda: ksn.layers.Quantized(layers.Dense(4, "relu"), bits=4),
        (3,),
    ),
    "Quantized(Conv1D, causal)": (
        lambda: ksn.layers.Quantized(
            layers.Conv1D(4, 3, padding="causal"), bits=5, per_channel=False
        ),
        (3,),
    ),
    "Quantized(Conv2D)": (
        lambda: ksn.layers.PerStep(ksn.layers.Quantized(layers.Conv2D(4, 3), bits=8)),
        (6, 6, 2),
    ),
}
ROWS = [*LAYERS, *KERAS, *STEPWISE, *MODELS]
# Folder or file, options of `ksn.export`, and what runs it without Keras.
COLUMNS = {
    "savedmodel": ("m", {"format": "savedmodel"}, "saved_model"),
    "stateful": ("m", {"format": "savedmodel"}, "saved_model"),
    "streaming": ("m", {"format": "streaming"}, "stream"),
    "onnx": ("m.onnx", {"format": "onnx"}, "onnx"),
    "onnx step": ("m.onnx", {"format": "onnx", "step": True}, "onnx"),
    "litert": ("m.tflite", {"format": "litert", "n_steps": STEPS}, "litert"),
    "litert step": ("m.tflite", {"format": "litert", "step": True}, "litert"),
    "openvino": ("m.xml", {"format": "openvino"}, "openvino"),
    "openvino step": ("m.xml", {"format": "openvino", "step": True}, "openvino"),
}
ON_JAX = ("savedmodel", "stateful", "streaming")


def columns(backend: str) -> list[str]:
    return list(ON_JAX if backend == "jax" else COLUMNS)


def rows(column: str) -> list[str]:
    """A model is stateful if its layers are: those are the rows."""
    return [*LAYERS, *KERAS] if column == "stateful" else ROWS


def made(row: str, stateful: bool = False) -> keras.Model:
    """The model of a row."""
    if row in MODELS:
        return randomise(MODELS[row]())
    if row in STEPWISE:
        make, features = STEPWISE[row]
        inputs = keras.Input((None, *features))
        return randomise(keras.Model(inputs, make()(inputs)))
    cls, arguments, features = (LAYERS | KERAS)[row]
    flags = {} if cls is layers.Conv1D else {"return_sequences": True}
    if not stateful:
        inputs = keras.Input((None, *features))
        return keras.Model(inputs, cls(**arguments, **flags)(inputs))
    if cls is not layers.Conv1D:
        flags["stateful"] = True
    inputs = keras.Input(batch_shape=(2, STEPS // 2, *features))
    return keras.Model(inputs, cls(**arguments, **flags)(inputs))


# --- one column -------------------------------------------------------------------


def filled(column: str, names: list[str], folder: Path) -> dict[str, str]:
    """Outcomes of a column: "", a reason to refuse, or what is wrong."""
    name, options, runtime = COLUMNS[column]
    found, jobs = {}, {}
    for i, row in enumerate(names):
        place = folder / str(i)
        place.mkdir()
        keras.backend.clear_session(free_memory=False)  # names count from one
        keras.utils.set_random_seed(0)
        model = made(row, column == "stateful")
        calls = calls_of(model, column)
        if column == "stateful":
            halves = [
                x[:, i : i + STEPS // 2] for x in calls[0] for i in (0, STEPS // 2)
            ]
            expected = [answers(model, [x]) for x in halves]
            for layer in model.layers:
                if hasattr(layer, "reset_state") and layer.stateful:
                    layer.reset_state()
            calls = [[x] for x in halves]
        else:
            expected = [answers(model, call) for call in calls]
        try:
            ksn.export(model, place / name, **options)
        except NotImplementedError as error:
            found[row] = str(error)
            continue
        except Exception as error:
            checked = "It was not exported" in str(error)
            found[row] = str(error) if checked else f"WRONG: {error!r}"
            continue
        jobs[str(place / name)] = (row, expected)
        write_calls(place, model, calls)
    run(runtime, list(jobs), bool(options.get("step")))
    for path, (row, expected) in jobs.items():
        found[row] = compared(Path(path), expected)
    return {row: found[row] for row in names}


def calls_of(model, column: str) -> list[list[np.ndarray]]:
    """Inputs of each call: of open sizes, two, of different batches and lengths."""
    if column in ("litert", "litert step", "onnx step", "openvino step"):
        sizes = [(1, STEPS)]
    elif column == "stateful":
        sizes = [(2, STEPS)]
    else:
        sizes = [(2, STEPS), (3, STEPS + 5)]
    if any(x.shape[1] not in (None, STEPS) for x in model.inputs if len(x.shape) > 2):
        sizes = [(batch, None) for batch, _ in sizes]
    return [
        [data(x, batch, steps, column) for x in model.inputs] for batch, steps in sizes
    ]


def data(x, batch: int, steps: int | None, column: str) -> np.ndarray:
    shape = list(x.shape)
    shape[0] = batch
    if len(shape) > 1 and (shape[1] is None or column == "stateful"):
        shape[1] = steps or STEPS
    return agreement.sample(shape, "float32")


def answers(model, inputs: list) -> list[np.ndarray]:
    packed = keras.tree.pack_sequence_as(structure_of(model), inputs)
    found = keras.tree.flatten(model(packed, training=False))
    return [np.asarray(keras.ops.convert_to_numpy(y)) for y in found]


def write_calls(place: Path, model, calls) -> None:
    """Inputs for the other process, and how the model takes and names them."""
    structure = structure_of(model)
    kind = "dict" if isinstance(structure, dict) else "list"
    single = not isinstance(structure, dict | list | tuple)
    keys = list(map(str, keras.tree.flatten(_names(structure))))
    inputs, outputs = model_tensors(model)
    notes = {
        "structure": "single" if single else kind,
        "keys": keys,
        "inputs": [port.name for port in inputs],
        "outputs": outputs,
        "frames": _frames(model),
        "calls": len(calls),
    }
    (place / "notes.json").write_text(json.dumps(notes))
    arrays = {f"{i}.{j}": x for i, call in enumerate(calls) for j, x in enumerate(call)}
    np.savez(place / "calls.npz", **arrays)


def _names(structure):
    if isinstance(structure, dict):
        return {key: key for key in structure}
    return [x.name for x in keras.tree.flatten(structure)]


def _frames(model) -> list[int]:
    """For each input, how often a value without time is presented, else 0."""
    try:
        step = ksn.serving.Step(model)
    except (NotImplementedError, TypeError):
        return [0] * len(model.inputs)
    return [(step.steps or STEPS) if frame else 0 for frame in step.frames]


def run(runtime: str, paths: list[str], step: bool) -> None:
    """Answers by a process that has neither Keras nor this package."""
    if not paths:
        return
    stream = Path(ksn.serving.stream.__file__)
    listed = Path(paths[0]).parents[1] / "jobs.json"
    listed.write_text(json.dumps(paths))
    done = subprocess.run(
        [sys.executable, HERE / "runtimes.py", runtime, listed, stream, str(int(step))],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": ""},
        cwd=Path(paths[0]).parents[1],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def compared(path: Path, expected: list[list[np.ndarray]]) -> str:
    """ "" if the answers are the model's within 1e-5, else by how much they differ."""
    found = np.load(path.parent / "answers.npz")
    if "error" in found:
        return f"WRONG: {found['error']}"
    worst = 0.0
    for i, outputs in enumerate(expected):
        for j, y in enumerate(outputs):
            answer = found[f"{i}.{j}"]
            if answer.ndim > y.ndim:  # step by step; the model has the last one
                answer = answer[:, -1]
            if answer.shape != y.shape:
                return f"WRONG: shape {answer.shape}, expected {y.shape}"
            error = np.max(np.abs(answer.astype(float) - y), initial=0)
            worst = max(worst, error / max(1.0, np.max(np.abs(y), initial=0)))
    return (
        "" if worst <= 1e-5 else f"WRONG: differs by {worst:.2g} of the largest value"
    )


# --- what is kept -----------------------------------------------------------------


def kept(backend: str) -> dict[str, dict[str, str]]:
    path = RESULTS / f"{backend}.json"
    return json.loads(path.read_text()) if path.exists() else {}


def keep(backend: str, column: str, outcomes: dict[str, str]) -> None:
    results = kept(backend) | {column: outcomes}
    ordered = {name: results[name] for name in columns(backend) if name in results}
    text = json.dumps(ordered, indent=1, ensure_ascii=False)
    (RESULTS / f"{backend}.json").write_text(text + "\n")
