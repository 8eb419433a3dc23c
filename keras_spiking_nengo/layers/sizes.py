"""Sizes of sequences and of states: what a layer over time refuses, and why."""

import keras
from keras import ops

__all__ = [
    "Shape",
    "check_batch",
    "check_precision",
    "check_steps",
    "checked_states",
    "static_features",
]

Shape = tuple[int | None, ...]


def static_features(name: str, features: Shape) -> tuple[int, ...]:
    """Features whose sizes are all known.

    Raises:
        ValueError: if one is not, or there are none.
    """
    sizes = tuple(size for size in features if size is not None)
    if len(sizes) < len(features) or not features:
        raise ValueError(
            f"{name} needs inputs (batch, time, *features) with every feature"
            f" dimension known; received features {tuple(features)}. Give keras.Input"
            " a shape such as (None, 128), or add a feature axis with"
            " keras.layers.Reshape."
        )
    return sizes


def check_steps(layer, shape: Shape) -> None:
    """Refuses a sequence that has no steps, or too few known to unroll them.

    Raises:
        ValueError: for it.
    """
    if layer.unroll and not isinstance(shape[1], int):
        raise ValueError(
            f"{layer.name} cannot unroll an unknown number of steps; received an"
            f" input of shape {tuple(shape)}. Give the time dimension in"
            " keras.Input, or leave unroll=False."
        )
    if isinstance(shape[1], int) and shape[1] < 1:
        raise ValueError(
            f"{layer.name} needs at least one step of time; received an input of"
            f" shape {tuple(shape)}."
        )


def check_batch(layer, shape: Shape, expected: int | None) -> None:
    """Refuses a batch of another size than that of a stateful layer's states.

    Raises:
        ValueError: for it.
    """
    actual = shape[0]
    if layer.stateful and not isinstance(actual, int | None):
        # JAX exports with symbolic sizes unless told.
        raise ValueError(
            f"{layer.name} is stateful with batch size {expected}; received"
            f" {actual}. Name the sizes when exporting: model.export(path,"
            " input_signature=[keras.InputSpec(shape=(...))])."
        )
    if layer.stateful and isinstance(actual, int) and actual != expected:
        raise ValueError(
            f"{layer.name} is stateful with batch size {expected}; received"
            f" {actual}. Choose a batch_size that divides the data, and"
            f" keras.Input(batch_shape=({actual}, ...)) to change it."
        )


def checked_states(name: str, cell, states) -> list:
    """The states that the layer of that name was called with, in their dtypes.

    Raises:
        ValueError: if their number or a shape is not that of the cell's.
    """
    states = states if isinstance(states, list | tuple) else [states]
    names, shapes = cell.state_names, cell.state_shapes()
    if len(states) != len(names):
        raise ValueError(
            f"{name} has {len(names)} states {names}; received initial_state"
            f" with {len(states)}."
        )
    for state_name, shape, state in zip(names, shapes, states, strict=True):
        if tuple(state.shape[1:]) != tuple(shape):
            raise ValueError(
                f"{name} needs its state {state_name!r} in the shape"
                f" {(None, *shape)}; received {tuple(state.shape)}. Pass what it"
                " returned with return_state=True."
            )
    pairs = zip(states, cell.state_dtypes(), strict=True)
    return [ops.cast(ops.convert_to_tensor(s), dtype) for s, dtype in pairs]


def check_precision(cell, states: list) -> None:
    """Refuses states in half precision.

    Raises:
        ValueError: if there are any.
    """
    for name, state in zip(cell.state_names, states, strict=False):
        actual = keras.backend.standardize_dtype(state.dtype)
        if actual in ("float16", "bfloat16"):
            kind, dtype = type(cell).__name__, cell.state_dtype
            raise ValueError(
                f"{kind} needs its state {name!r} in {dtype}; received {actual}."
                " Half-precision membranes lose spikes. Use"
                f" ksn.layers.{kind.removesuffix('Cell')}, which keeps the state's"
                f" dtype under mixed precision, or give the cell dtype={dtype!r}."
            )
