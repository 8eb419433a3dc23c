"""Sizes of sequences and of states: what a layer over time refuses, and why."""

import warnings

import keras
import numpy as np
from keras import ops

from keras_spiking_nengo.checks import check_float, checked_array

__all__ = [
    "Shape",
    "check_batch",
    "check_mask",
    "check_precision",
    "check_states",
    "check_steps",
    "checked_states",
    "static_features",
    "vector_size",
    "warn_of_two_precisions",
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


def vector_size(name: str, features: tuple[int, ...]) -> int:
    """The size of features that are vectors.

    Raises:
        ValueError: for others.
    """
    if len(features) != 1:
        raise ValueError(
            f"{name} needs vectors, (batch, time, size); received features {features}."
            " Flatten them with keras.layers.Reshape((time, size))."
        )
    return features[0]


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


def check_mask(name: str, mask, shape: Shape) -> None:
    """Refuses a mask of other items or steps than those of a sequence.

    Args:
        name: of the layer.
        mask: `(batch, time)`, or None.
        shape: of the sequence.

    Raises:
        ValueError: for it.
    """
    if mask is None:
        return
    received = tuple(np.shape(mask))
    lead, extra = received[:2], received[2:]
    pairs = zip(lead, shape[:2], strict=False)
    differ = any(isinstance(m, int) and isinstance(n, int) and m != n for m, n in pairs)
    if differ or len(lead) < 2 or {*extra} - {1}:
        raise ValueError(
            f"{name} needs a mask (batch, time) for its input of shape {tuple(shape)};"
            f" received a mask of shape {received}."
        )


def checked_states(name: str, cell, states, batch) -> list:
    """The states that the layer of that name was called with, in their dtypes.

    Args:
        name: of the layer.
        cell: that has the states.
        states: what was received as `initial_state`.
        batch: number of items of the sequence, or None.

    Raises:
        ValueError: if their number or a shape is not that of the cell's, or they are
            of other items.
    """
    states = states if isinstance(states, list | tuple) else [states]
    states = [
        state if hasattr(state, "shape") else checked_array("initial_state", state)
        for state in states
    ]
    for state in states:
        check_float("initial_state", state.dtype)
    states = list(map(ops.convert_to_tensor, states))
    check_states(name, cell, states, "initial_state", batch)
    pairs = zip(states, cell.state_dtypes(), strict=True)
    return [ops.cast(state, dtype) for state, dtype in pairs]


def check_states(name: str, cell, states: list, argument: str, batch) -> None:
    """Refuses states of another number, shape or number of items.

    Args:
        name, cell, batch: as for `checked_states`.
        states: tensors.
        argument: what the user knows them by.

    Raises:
        ValueError: for them.
    """
    if not cell.state_names and argument == "states":
        return  # Keras cannot do without one
    names, shapes = cell.state_names, cell.state_shapes()
    if len(states) != len(names):
        raise ValueError(
            f"{name} has {len(names)} states {names}; received {argument}"
            f" with {len(states)}."
        )
    for state_name, shape, state in zip(names, shapes, states, strict=True):
        items = state.shape[0] if len(state.shape) else 0
        same = not (isinstance(items, int) and isinstance(batch, int)) or items == batch
        if tuple(state.shape[1:]) != tuple(shape) or not same:
            raise ValueError(
                f"{name} needs its state {state_name!r} in the shape"
                f" {(None, *shape)}, for as many items as its input has, {batch};"
                f" received {tuple(state.shape)}. Pass as {argument} what it returned"
                " with return_state=True."
            )
        check_float(f"{argument} {state_name!r} of {name}", state.dtype)


def warn_of_two_precisions(name: str) -> None:
    """Warns where one of Keras's two settings is float64 and the other is not.

    Args:
        name: of a layer that is made by default, with the policy.
    """
    floatx, policy = keras.config.floatx(), keras.config.dtype_policy()
    if (floatx == "float64") != (policy.variable_dtype == "float64"):
        warnings.warn(
            f"{name} computes in {policy.name}, Keras's dtype policy, while"
            f" keras.config.floatx() is {floatx}. set_floatx changes what data and"
            " keras.Input are, and the policy only where no layer was made before."
            ' For double precision call keras.config.set_dtype_policy("float64"), too,'
            " before the layers are made, or give each of them its dtype.",
            stacklevel=4,
        )


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
