"""The state of a simulation as a file, from which it goes on with equal spikes.

The file is NumPy's `.npz`: arrays, and one text in JSON. It holds no code, and reading
it runs none. What an array's shape and type must be is known from the simulator that
reads it, and is looked up before the array is.
"""

import functools
import hashlib
import json
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FunctionType
from typing import Any

import numpy as np
from nengo.builder import Model
from nengo.builder.node import SimPyFunc
from nengo.builder.operator import Operator
from nengo.builder.processes import SimProcess
from nengo.params import FrozenObject

from keras_spiking_nengo.checks import checked_seed, is_whole
from keras_spiking_nengo.engine.functions import is_tensor_function
from keras_spiking_nengo.engine.signals import written_bases
from keras_spiking_nengo.files import written_whole

__all__ = [
    "arrays_in",
    "check_form",
    "check_notes",
    "fingerprint",
    "keeps_of_its_own",
    "read_arrays",
    "read_notes",
    "with_arrays",
    "write_state",
]

_FORMAT = 1
_ABOUT = "about"
# Bytes that the text may have.
_LONGEST_TEXT = 2**14
_BROKEN = (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error)


def write_state(path: str | Path, notes: Mapping, arrays: Sequence[np.ndarray]) -> None:
    """Write arrays, and what is noted of them, whole or not at all.

    Args:
        path: of the file.
        notes: what JSON can hold.
        arrays: in order.
    """
    form = _of_text(notes["form"])
    notes = {**notes, "form": form, "format": _FORMAT, "digest": _digest(arrays)}
    text = np.frombuffer(json.dumps(notes).encode(), np.uint8)
    named = {_member_name(i): array for i, array in enumerate(arrays)}
    with written_whole(path) as unfinished, open(unfinished, "wb") as file:
        np.savez(file, allow_pickle=False, **{_ABOUT: text}, **named)


def read_notes(path: str | Path) -> dict[str, Any]:
    """What was noted of a state.

    Raises:
        ValueError: for what is no such file.
        OSError: as the system raises it.
    """
    with open(path, "rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                text = _member(archive, _ABOUT, _is_text)
            notes = json.loads(text.tobytes())
        except (*_BROKEN, RecursionError) as error:
            raise ValueError(f"{path} is no state of a simulation: {error}.") from error
    if not isinstance(notes, dict) or notes.get("format") != _FORMAT:
        raise ValueError(f"{path} is no state of a simulation, or of a later version.")
    return notes


def check_notes(notes: Mapping[str, Any], identity: Mapping[str, Any]) -> None:
    """Whether a state is that of a simulator.

    Args:
        notes: of the state.
        identity: of the simulator.

    Raises:
        ValueError: for another one's, and for numbers that no simulator has.
    """
    for name, own in identity.items():
        if notes.get(name) != own:
            what = f"{name}={notes.get(name)!r}, and this simulator has {own!r}"
            if name == "network":
                what = "another network, or one with another seed or other weights"
            raise ValueError(f"The state is that of a simulator with {what}.")
    numbers: dict[str, Any] = {name: notes.get(name) for name in ("seed", "n_steps")}
    right = {name: is_whole(n) and bool(n >= 0) for name, n in numbers.items()}
    right["compiled"] = isinstance(notes.get("compiled"), bool)
    for name in right:
        if not right[name]:
            raise ValueError(f"No state has {name}={notes.get(name)!r}.")
    checked_seed(notes["seed"])


def check_form(notes: Mapping[str, Any], form: str) -> None:
    """Whether steps of this form can go on from a state.

    Raises:
        ValueError: if not.
    """
    if notes.get("form") != _of_text(form):
        raise ValueError(
            "The state is that of a program which went on from single steps, and has"
            " another form than one that starts anew. Make both simulators with"
            " compile=True, or with compile=False."
        )


def read_arrays(
    path: str | Path, notes: Mapping[str, Any], like: Sequence[np.ndarray]
) -> list[np.ndarray]:
    """The arrays of a state.

    Args:
        path: of the file.
        notes: that `read_notes` has read from it.
        like: arrays of the shapes and types that they must have.

    Raises:
        ValueError: for others, and for what was changed or cut off.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = {f"{_member_name(i)}.npy" for i in range(len(like))}
            if set(archive.namelist()) != names | {f"{_ABOUT}.npy"}:
                raise ValueError(f"it has not {len(like)} arrays")
            arrays = [
                _member(archive, _member_name(i), functools.partial(_is_like, array))
                for i, array in enumerate(like)
            ]
    except _BROKEN as error:
        raise ValueError(
            f"{path} is no state of this simulator: {error}. It was cut off or changed,"
            " or is another network's."
        ) from error
    if _digest(arrays) != notes.get("digest"):
        raise ValueError(f"{path} was changed after it was written.")
    return arrays


def _of_text(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _member_name(number: int) -> str:
    return f"array_{number}"


def _is_text(shape: tuple[int, ...], dtype: np.dtype) -> bool:
    return dtype == np.uint8 and len(shape) == 1 and shape[0] <= _LONGEST_TEXT


def _is_like(array: np.ndarray, shape: tuple[int, ...], dtype: np.dtype) -> bool:
    return (shape, dtype) == (array.shape, array.dtype)


def _member(archive: zipfile.ZipFile, name: str, is_right: Callable) -> np.ndarray:
    """An array of a file, whose shape and type are right: it is as large as that."""
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    with archive.open(f"{name}.npy") as member:
        shape, _, dtype = readers[np.lib.format.read_magic(member)](member)
    if not is_right(shape, dtype):
        raise ValueError(f"{name} is {dtype} of shape {shape}, which it should not be")
    with archive.open(f"{name}.npy") as member:
        return np.lib.format.read_array(member, allow_pickle=False)


def _digest(arrays: Sequence[np.ndarray]) -> str:
    total = hashlib.blake2b(digest_size=16)
    for array in arrays:
        total.update(f"{array.dtype.str}{array.shape}".encode())
        total.update(np.ascontiguousarray(array).tobytes())
    return total.hexdigest()


# --- what is remembered, as arrays ----------------------------------------------------


def arrays_in(memory: Any) -> Iterator[np.ndarray]:
    """The arrays of nested lists, tuples and dicts, in order."""
    if isinstance(memory, Mapping):
        memory = list(memory.values())
    if isinstance(memory, list | tuple):
        for part in memory:
            yield from arrays_in(part)
    else:
        yield np.asarray(memory)


def with_arrays(memory: Any, arrays: Iterator[np.ndarray]) -> Any:
    """The same lists, tuples and dicts with other arrays."""
    if isinstance(memory, Mapping):
        return {key: with_arrays(part, arrays) for key, part in memory.items()}
    if isinstance(memory, list | tuple):
        return type(memory)(with_arrays(part, arrays) for part in memory)
    return next(arrays)


# --- whose state it is ----------------------------------------------------------------


def fingerprint(model: Model, values: Mapping[Any, np.ndarray]) -> str:
    """Equal for models that Nengo built alike, with the same parameters.

    Args:
        model: built.
        values: of the parameters that were trained since.
    """
    total = hashlib.blake2b(digest_size=16)
    written = written_bases(model.operators)
    seen = set()
    for op in model.operators:
        total.update(type(op).__name__.encode())
        for name, value in sorted(vars(op).items()):
            if isinstance(value, FrozenObject | int | float):
                total.update(f"{name}={_spelled(value)}".encode())
        for signal in op.all_signals:
            total.update(f"{signal.shape}{signal.offset}{signal.dtype}".encode())
            if signal.base not in written and signal.base not in seen:
                seen.add(signal.base)
                value = values.get(signal.base, signal.base.initial_value)
                total.update(_bytes(value))
    return total.hexdigest()


def _spelled(value: Any) -> str:
    text = repr(value)
    # Of a function, a place in memory.
    return type(value).__name__ if " at 0x" in text else text


def _bytes(value: Any) -> bytes:
    array = value.tocoo().data if hasattr(value, "tocoo") else value
    return np.ascontiguousarray(array).tobytes() if np.size(array) else b""


def keeps_of_its_own(op: Operator) -> bool:
    """Whether Python may remember something for an operator that Nengo does not see."""
    if isinstance(op, SimPyFunc):
        return not (isinstance(op.fn, FunctionType | np.ufunc) or _is_safe(op.fn))
    if isinstance(op, SimProcess):
        known = type(op.process).__module__.split(".")[0] == "nengo"
        return op.input is not None and not known
    return False


def _is_safe(function: Any) -> bool:
    return is_tensor_function(function) or isinstance(function, type(len))
