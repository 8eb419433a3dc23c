"""What was exported is run beside the model, before anyone is told that it is there."""

from collections.abc import Sequence

import keras
import numpy as np

from keras_spiking_nengo.serving.exported import structure_of
from keras_spiking_nengo.serving.step import Step
from keras_spiking_nengo.serving.stream import Stream

__all__ = ["require_same", "sample", "require_same_stream"]

# Reordered sums may move a spike by a step; a wrong program moves many.
NEAR, ODD = 1e-5, 0.02
STEPS = 16


def sample(shape: Sequence[int | None], dtype: str) -> np.ndarray:
    """Data of a known shape: multiples of 1/8, whose sums are exact in any order."""
    values = np.random.RandomState(0).randint(0, 33, tuple(n or 1 for n in shape))
    if dtype.startswith(("float", "bfloat")):
        return (values / 8).astype("float32" if dtype == "bfloat16" else dtype)
    return (values % 2).astype(dtype)


def require_same(
    path, names: Sequence[str], outputs: Sequence, expected: Sequence
) -> None:
    """Raises unless arrays agree.

    Raises:
        ValueError: naming the output and the difference.
    """
    for name, y, ours in zip(names, outputs, expected, strict=True):
        y, ours = np.asarray(y), np.asarray(ours)
        if y.shape != ours.shape:
            raise ValueError(
                f"{path} gives {name!r} in the shape {y.shape}; the model in"
                f" {ours.shape}. It was not exported."
            )
        y, ours = y.astype("float64"), ours.astype("float64")
        scale = max(1.0, float(np.max(np.abs(ours), initial=0)))
        error = np.abs(y - ours) / scale
        odd = ~(error <= NEAR)
        if np.mean(odd) > ODD:
            raise ValueError(
                f"{path} gives other numbers than the model: {np.mean(odd):.1%} of"
                f" {name!r} differ, by up to {np.max(error):.3g} of the largest value."
                " It was not exported. If the model is right in model.predict, please"
                " report its layers; verify=False exports it as it is."
            )


def require_same_stream(loaded: Stream, step: Step) -> None:
    """Compares a stream with the model that it is of, and its two ways to run."""
    xs, steps = _sequences_of(step)
    names = [port.name for port in step.inputs]
    whole, _ = loaded.sequence(
        dict(zip(names, xs, strict=True)), loaded.initial_state(2)
    )
    pairs = zip(xs, step.frames, strict=True)
    inputs = [x[:, 0] if frame else x for x, frame in pairs]
    model = step.model
    expected = model(keras.tree.pack_sequence_as(structure_of(model), inputs))
    outputs = [port.name for port in step.outputs]
    sequences = _outputs_of_names(whole, outputs)
    arrays = list(map(keras.ops.convert_to_numpy, keras.tree.flatten(expected)))
    require_same(loaded.path, outputs, sequences, arrays)
    state = loaded.initial_state(2)
    for t in range(steps):
        now = [x[:, t] for x in xs]
        y, state = loaded.step(dict(zip(names, now, strict=True)), state)
    ends = zip(sequences, step.outputs, strict=True)
    last = [x if port.last else x[:, -1] for x, port in ends]
    require_same(loaded.path, outputs, _outputs_of_names(y, outputs), last)


def _outputs_of_names(y, names) -> list:
    return [y[name] for name in names] if isinstance(y, dict) else [y]


def _sequences_of(step: Step) -> tuple[list[np.ndarray], int]:
    """Sequences of all inputs, of a length that the model itself takes."""
    steps = step.steps or STEPS
    xs = []
    for port, frame in zip(step.inputs, step.frames, strict=True):
        x = sample((2, steps, *port.shape[1:]), port.dtype)
        xs.append(np.repeat(x[:, :1], steps, axis=1) if frame else x)
    return xs, steps
