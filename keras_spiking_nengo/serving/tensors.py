"""Named tensors that go into a model and come out of it, as other runtimes see them."""

import re
from dataclasses import dataclass

import keras

from keras_spiking_nengo import graphs
from keras_spiking_nengo.layers.sizes import Shape

__all__ = [
    "NamedTensor",
    "check_model",
    "dtype_of",
    "model_tensors",
    "identifier",
    "without_time",
]


@dataclass(frozen=True)
class NamedTensor:
    """A named tensor that goes into a step or comes out of it.

    Attributes:
        name: by which a server knows it.
        shape: of one step, `(None, *features)`.
        dtype: as Keras names it.
        last: whether a whole sequence has it once, for its last step.

    Example:
        >>> NamedTensor("x", (None, 3), "float32").shape
        (None, 3)
    """

    name: str
    shape: Shape
    dtype: str
    last: bool = False


def model_tensors(model: keras.Model) -> tuple[list[NamedTensor], list[str]]:
    """Inputs of a model and names of its outputs, as they are named elsewhere.

    One input is `x` and one output `y`; several have Keras's names.

    Raises:
        TypeError, ValueError: unless it is functional or Sequential, and built.
    """
    check_model(model)
    names = _identifiers("x", [x.name for x in model.inputs])
    inputs = [
        NamedTensor(name, tuple(x.shape), dtype_of(x))
        for name, x in zip(names, model.inputs, strict=True)
    ]
    if isinstance(model, keras.Sequential):
        outputs = ["y"]
    elif isinstance(model.output, dict):
        outputs = sorted(model.output)  # as Keras flattens it
    else:
        outputs = list(model.output_names)
    return inputs, _identifiers("y", outputs)


def check_model(model) -> None:
    """Refuses what is not functional or Sequential, or not built."""
    functional = isinstance(model, keras.Model) and hasattr(model, "operations")
    if not functional and not isinstance(model, keras.Sequential):
        raise TypeError(
            "model: Only functional and Sequential models are cut into steps; received"
            f" {model!r} of type {type(model).__name__}. Build it with keras.Input and"
            " keras.Model(inputs, outputs)."
        )
    if not model.built:
        raise ValueError(
            f"Model {model.name!r} is not built, so its shapes are not known. Put a"
            " keras.Input(shape) first."
        )


def _identifiers(alone: str, names: list[str]) -> list[str]:
    if len(names) == 1:
        return [alone]
    taken: set[str] = set()
    return [identifier(name, taken) for name in names]


def identifier(name: str, taken: set[str]) -> str:
    """A name that is an identifier and not taken; it is, then."""
    unique = graphs.unused(re.sub(r"\W", "_", name), taken)
    taken.add(unique)
    return unique


def without_time(shape: Shape, frame: bool) -> Shape:
    """Shape of one step."""
    rest = shape[1:] if frame else shape[2:]
    if None in rest:
        raise NotImplementedError(
            f"A stream needs every dimension of a step; an input has {shape}. Give"
            " keras.Input a shape in which only time is None."
        )
    return (None, *rest)


def dtype_of(tensor) -> str:
    """As Keras names it."""
    return keras.backend.standardize_dtype(tensor.dtype)
