"""What a file for another runtime computes: a function from named to named tensors."""

from collections.abc import Callable
from dataclasses import dataclass

import keras

from keras_spiking_nengo.serving.step import Step
from keras_spiking_nengo.serving.tensors import NamedTensor, model_tensors

__all__ = ["TensorFunction", "of_step", "of_whole", "structure_of"]


@dataclass(frozen=True)
class TensorFunction:
    """A function of tensors, with the names and shapes of what goes in.

    Attributes:
        function: from as many tensors as there are inputs to a dict of tensors.
        inputs: `NamedTensor`s with their whole shapes, None where a size is open.
        outputs: names, in the order of Keras.
        model: whose weights it reads.
        step: where it is one step of the model, that step.
    """

    function: Callable
    inputs: tuple[NamedTensor, ...]
    outputs: tuple[str, ...]
    model: keras.Model
    step: Step | None = None


def of_whole(
    model: keras.Model, batch_size: int | None = None, n_steps: int | None = None
) -> TensorFunction:
    """The whole model, on sequences.

    Args:
        model: the model.
        batch_size, n_steps: what to put where the model's inputs have None.
    """
    inputs, outputs = model_tensors(model)
    inputs = [_sized(port, batch_size, n_steps) for port in inputs]

    def function(*tensors):
        x = keras.tree.pack_sequence_as(structure_of(model), list(tensors))
        y = keras.tree.flatten(model(x, training=False))
        return dict(zip(outputs, y, strict=True))

    return TensorFunction(function, tuple(inputs), tuple(outputs), model)


def of_step(step: Step, batch_size: int | None = None) -> TensorFunction:
    """One step, with all states among the inputs and, as `next_<name>`, the outputs.

    In ONNX and OpenVINO an output cannot have the name of an input.
    """
    n = len(step.inputs)
    ports = [_sized(port, batch_size, None) for port in (*step.inputs, *step.states)]
    names = [port.name for port in step.outputs]
    names += [f"next_{port.name}" for port in step.states]

    def function(*tensors):
        outputs, states = step(list(tensors[:n]), list(tensors[n:]))
        return dict(zip(names, (*outputs, *states), strict=True))

    return TensorFunction(function, tuple(ports), tuple(names), step.model, step)


def structure_of(model):
    """How a model takes its inputs."""
    return model.inputs[0] if isinstance(model, keras.Sequential) else model.input


def _sized(port: NamedTensor, batch_size, n_steps) -> NamedTensor:
    batch, *rest = port.shape
    if rest and rest[0] is None:
        rest[0] = n_steps
    return NamedTensor(port.name, (batch_size or batch, *rest), port.dtype)
