"""The calls of a Keras model, and running them one by one.

Keras itself walks a functional model when it clones one: `keras.models.clone_model`
asks how each layer is to be called. Here it is called on symbols, and only noted down.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras

from keras_spiking_nengo.models.building import check_built

__all__ = ["Call", "Graph", "data", "graph", "run", "submodel"]


@dataclass(frozen=True, eq=False)
class Call:
    """One call of one layer, or operation, on symbols.

    Attributes:
        operation: the layer.
        args, kwargs: what it is called with, structures that hold symbols.
        outputs: structure of symbols.
    """

    operation: Any
    args: tuple
    kwargs: dict[str, Any]
    outputs: Any


@dataclass(frozen=True, eq=False)
class Graph:
    """A functional model: its calls in order, and the symbols at both ends."""

    inputs: list
    calls: list[Call]
    outputs: list


class _Noted(keras.Operation):
    """Stands for an operation that is not to be called itself, which would show."""

    def __init__(self, operation):
        super().__init__()
        self.operation = operation

    def compute_output_spec(self, *args, **kwargs):
        return self.operation.compute_output_spec(*args, **kwargs)

    def call(self, *args, **kwargs):
        return self.operation(*args, **kwargs)


def graph(model: keras.Model) -> Graph:
    """The calls of a functional model, sources first; nested models are one call."""
    calls: list[Call] = []

    def note(operation, *args, **kwargs):
        outputs = _Noted(operation)(*args, **kwargs)
        calls.append(Call(operation, args, kwargs, outputs))
        return outputs

    # Without what the model was compiled with, which would be cloned, too.
    bare = keras.Model(model.inputs, model.outputs)
    clone = keras.models.clone_model(
        bare, clone_function=lambda operation: operation, call_function=note
    )
    return Graph(clone.inputs, calls, clone.outputs)


def submodel(operation) -> bool:
    """Whether an operation is a model that can be taken apart."""
    if not isinstance(operation, keras.Model) or not getattr(operation, "inputs", ()):
        return False
    own = [k for k in type(operation).__mro__ if k.__module__.split(".")[0] != "keras"]
    return not any("call" in vars(klass) for klass in own)


def check(model) -> None:
    """Raises unless a model can be taken apart.

    Raises:
        TypeError: if it is no Keras model.
        ValueError: if it is not built.
        NotImplementedError: if it has a call of its own.
    """
    check_built(model)
    if not submodel(model):
        raise NotImplementedError(
            f"Model {model.name!r} ({type(model).__name__}) has a call of its own,"
            " whose layers cannot be told apart. Build it with keras.Model(inputs,"
            " outputs) or keras.Sequential from layers."
        )


def run(model, inputs: list, apply: Callable, prefix: str = "") -> Any:
    """Run a model call by call.

    Args:
        model: functional or `keras.Sequential`.
        inputs: one value for each of the model's inputs; any objects.
        apply: `(name, operation, args, kwargs) -> outputs` for a call that is not of a
            model, with values in the place of tensors. Names are paths such as
            `"encoder/dense"`, with a number from a layer's second call on.
        prefix: of the names.

    Returns:
        The structure of values that the model returns; flat for a functional one.
    """
    name = _namer(prefix)

    def called(operation, args, kwargs):
        if submodel(operation):
            return run(
                operation, keras.tree.flatten(args), apply, f"{name(operation)}/"
            )
        return apply(name(operation), operation, args, kwargs)

    if isinstance(model, keras.Sequential):
        value = inputs[0]
        for layer in model.layers:
            value = called(layer, (value,), {})
        return value
    found = graph(model)
    values = dict(zip(map(id, found.inputs), inputs, strict=True))
    last = _last_uses(found)
    for position, call in enumerate(found.calls):
        args, kwargs = _filled((call.args, call.kwargs), values)
        made = keras.tree.flatten(called(call.operation, args, kwargs))
        symbols = keras.tree.flatten(call.outputs)
        values |= dict(zip(map(id, symbols), made, strict=True))
        for key in last.get(position, ()):
            del values[key]
    outputs = [values[id(symbol)] for symbol in found.outputs]
    return outputs[0] if len(outputs) == 1 else outputs


def _namer(prefix: str) -> Callable[[Any], str]:
    seen: dict[str, int] = {}

    def name(operation):
        path = prefix + operation.name
        seen[path] = seen.get(path, 0) + 1
        return path if seen[path] == 1 else f"{path}:{seen[path]}"

    return name


def _symbols(structure) -> list:
    leaves = keras.tree.flatten(structure)
    return [leaf for leaf in leaves if isinstance(leaf, keras.KerasTensor)]


def _last_uses(found: Graph) -> dict[int, list[int]]:
    """From the position of a call to the symbols that nothing uses after it."""
    position = {}
    for i, call in enumerate(found.calls):
        for symbol in _symbols((call.args, call.kwargs, call.outputs)):
            position[id(symbol)] = i
    kept = set(map(id, found.outputs))
    last: dict[int, list[int]] = {}
    for key, i in position.items():
        if key not in kept:
            last.setdefault(i, []).append(key)
    return last


def _filled(structure, values):
    return keras.tree.map_structure(
        lambda leaf: values[id(leaf)] if isinstance(leaf, keras.KerasTensor) else leaf,
        structure,
    )


def data(model, x) -> list:
    """One array for each of the model's inputs.

    Args:
        x: array; or a list, tuple or dict of them, in the structure of the model's
            inputs or by their names.

    Raises:
        ValueError: if their number or shapes are not those of the model's inputs.
    """
    if isinstance(x, dict) and not _keyed(model):
        names = [symbol.name for symbol in model.inputs]
        missing = [name for name in names if name not in x]
        if missing:
            raise ValueError(
                f"x has no {', '.join(missing)}; the inputs of {model.name!r} are"
                f" {', '.join(names)}."
            )
        x = [x[name] for name in names]
    structured = isinstance(x, list | tuple | dict)
    arrays = keras.tree.flatten(x) if structured and len(model.inputs) > 1 else [x]
    arrays = list(map(keras.ops.convert_to_numpy, arrays))
    shapes = [tuple(symbol.shape) for symbol in model.inputs]
    fit = len(arrays) == len(shapes) and all(map(_fits, arrays, shapes))
    if not fit or any(len(a) != len(arrays[0]) or not len(a) for a in arrays):
        raise ValueError(
            f"{model.name!r} takes {', '.join(map(str, shapes))}, and at least one"
            f" item; received {', '.join(str(a.shape) for a in arrays)}."
        )
    return arrays


def _keyed(model) -> bool:
    return not isinstance(model, keras.Sequential) and isinstance(model.input, dict)


def _fits(array, shape) -> bool:
    pairs = zip(shape[1:], array.shape[1:], strict=False)
    return array.ndim == len(shape) and all(m in (None, n) for m, n in pairs)
