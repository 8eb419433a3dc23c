"""Nengo's frozen objects as plain JSON, and back.

A frozen object becomes its class's name and the state that nengo itself pickles,
`{"nengo": "nengo.neurons.LIF", "state": {"tau_rc": 0.02, ...}}`, without what its
constructor derives from the rest. What JSON lacks is tagged:

    array   {"array": <base64 of little-endian bytes>, "dtype": "<f8", "shape": [2]}
    scalar  {"scalar": <array of shape []>}, a numpy number
    csr     {"csr": [<data>, <indices>, <indptr>], "shape": [2, 2]}, scipy's matrix
    tuple   {"tuple": [...]}
    dict    {"dict": [[key, value], ...]}, where a plain dict would be ambiguous
    float   {"float": "inf"}, also "-inf" and "nan"
    keras   {"keras": <text of Keras's own JSON>}, a layer or model, without weights

The rest is JSON already and passes through. Nothing is pickled, evaluated or
imported: a class's name is looked up in one table, and what is decoded has passed
the checks of nengo's constructor and of its parameters. Layers are made by Keras, in
its safe mode: its own classes, and those that are registered.
"""

import base64
import inspect
import json
import math
from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

import keras
import nengo
import numpy as np
import scipy.sparse
from nengo.params import FrozenObject, iter_params
from nengo.utils import least_squares_solvers

from keras_spiking_nengo import types
from keras_spiking_nengo.budgets import bounded, budget, spend, weighed
from keras_spiking_nengo.checks import brief, is_count

__all__ = [
    "altered",
    "budget",
    "from_config",
    "register",
    "supported",
    "to_config",
]

C = TypeVar("C", bound=type)
Frozen = TypeVar("Frozen", bound=FrozenObject)
State = dict[str, Any]

_MAX_DEPTH = 64
_DTYPES = ["|b1", "|i1", "<i2", "<i4", "<i8", "|u1", "<u2", "<u4", "<u8"]
_DTYPES += ["<f2", "<f4", "<f8", "<c8", "<c16"]
# What stale or hostile states make constructors, parameters and scipy raise.
_REFUSALS = (
    *(ArithmeticError, AssertionError, AttributeError, LookupError, StopIteration),
    *(TypeError, ValueError),
)
_ABSTRACT = {
    *(nengo.neurons.NeuronType, nengo.neurons.RatesToSpikesNeuronType),
    *(nengo.synapses.Synapse, nengo.dists.Distribution, nengo.solvers.Solver),
    *(nengo.transforms.Transform, nengo.learning_rules.LearningRuleType),
    least_squares_solvers.LeastSquaresSolver,
}
# What these constructors derive: in a file it could only contradict the rest.
_DERIVED: dict[type, set[str]] = {
    nengo.synapses.Lowpass: {"num", "den"},
    nengo.synapses.Alpha: {"num", "den"},
    nengo.dists.CosineSimilarity: {"m"},
    nengo.processes.Piecewise: {"sp_interpolate"},
}
# Parameters that came later, with what they are in files of before.
_LATER: dict[type, State] = {types.Elementwise: {"amplitude": 1}}
# These do not keep their constructor's arguments under the arguments' names.
_ARGUMENTS: dict[type, Callable[[State], State]] = {
    nengo.dists.CosineSimilarity: lambda s: {"dimensions": s["n"] + 1},
    nengo.dists.SubvectorLength: lambda s: {
        "dimensions": s["n"] + s["m"],
        "subdimensions": s["m"],
    },
    nengo.transforms.Sparse: lambda s: (
        {"shape": s["shape"]}
        | (
            {"init": s["init"]}
            if scipy.sparse.issparse(s["init"])
            else {"indices": s["init"].indices, "init": s["init"].data}
        )
    ),
}
# What nengo itself does not check.
_CHECKS: dict[type, tuple[str, Callable[[Any], bool]]] = {
    nengo.transforms.NoTransform: ("size_in", lambda t: is_count(t.size_in)),
    nengo.transforms.Sparse: ("init", lambda t: t.init.shape == t.shape),
    nengo.solvers.LstsqL1: ("max_iter", lambda s: is_count(s.max_iter)),
}


def to_config(obj: Any) -> Any:
    """A frozen object, or a value which holds some, as plain JSON.

    Args:
        obj: instance of a class in `supported()`, numpy array or number, scipy
            sparse matrix, or None, bool, number, string, and lists, tuples and
            dicts of these.

    Returns:
        None, bool, finite number, string, or lists and string-keyed dicts of these;
        nothing that Keras's own deserialisation would take for an object.

    Raises:
        TypeError: for what has no encoding: an unregistered class, a function, an
            array of Python objects.
        ValueError: if it is nested more than 64 levels deep.

    Example:
        >>> import nengo
        >>> to_config(nengo.dists.Uniform(-1, 1))["state"]
        {'high': 1, 'integer': False, 'low': -1}
    """
    return _encode(obj, 0)


def from_config(config: Any) -> Any:
    """What `to_config` was given.

    Args:
        config: what `to_config` returned, also after a passage through JSON.

    Returns:
        New objects, equal to those encoded. A sparse matrix of any format comes
        back as the equal `csr` matrix.

    Raises:
        ValueError: if `config` is nothing that `to_config` returns, names an
            unknown class, holds a state which nengo refuses, or asks for more
            memory than `budget` allows.

    Example:
        >>> import nengo
        >>> from_config(to_config(nengo.LIF(tau_rc=0.1)))
        LIF(tau_rc=0.1)
    """
    with bounded():
        return _decode(config, 0)


def altered(frozen: Frozen, **changes: Any) -> Frozen:
    """A copy of a frozen object with other values of some attributes.

    Args:
        frozen: instance of a class in `supported()`.
        **changes: values by name of the attribute.

    Returns:
        `frozen` itself, if nothing changes.

    Raises:
        TypeError, ValueError: as `to_config` and `from_config`.

    Example:
        >>> import nengo
        >>> altered(nengo.LIF(), tau_rc=0.1)
        LIF(tau_rc=0.1)
    """
    if not isinstance(frozen, FrozenObject):
        raise TypeError(
            "frozen is an object of Nengo's such as nengo.LIF(), of a class in"
            f" supported(); received {frozen!r}."
        )
    if not changes:
        return frozen
    cls = type(frozen)
    _check_class(frozen)
    try:
        state = _reread(_state(frozen) | changes, 1)
    except TypeError as error:
        raise TypeError(f"{_class_name(cls)}: {error}") from error
    try:
        return _restore(cls, state)
    except _REFUSALS as error:
        raise ValueError(f"{_class_name(cls)}: {str(error) or repr(error)}") from error


def _reread(value: Any, depth: int) -> Any:
    """What a passage through JSON makes of a value; arrays are just copied."""
    _check_depth(depth)
    if isinstance(value, np.ndarray):
        dtype = np.dtype(_dtype_of(value))
        return np.array(value, dtype.newbyteorder("="), order="C")
    if isinstance(value, dict):
        items = value.items()
        return {_reread(key, depth): _reread(v, depth + 1) for key, v in items}
    return from_config(to_config(value))


def register(cls: C) -> C:
    """Let a frozen class be encoded and decoded; usable as a decorator.

    The class keeps each argument of its constructor under the argument's name, or
    that name after an underscore, as nengo's own `repr` expects. Its constructor
    computes other attributes again.

    Args:
        cls: subclass of `nengo.params.FrozenObject`. A class defined once more
            under the same name, as in a notebook, replaces the former one.

    Returns:
        `cls`.

    Raises:
        TypeError: if `cls` is no such class.
        ValueError: if the name is that of another class of nengo or this package.

    Example:
        >>> from keras_spiking_nengo.types import SoftLIFRate
        >>> register(SoftLIFRate) is SoftLIFRate  # one of yours, as a decorator
        True
    """
    if not (isinstance(cls, type) and issubclass(cls, FrozenObject)):
        raise TypeError(
            f"Received {brief(cls)}; only subclasses of nengo.params.FrozenObject can"
            " be registered. Derive from one, such as nengo.neurons.NeuronType."
        )
    if _BUILT_IN.get(_class_name(cls), cls) is not cls:
        raise ValueError(f"{_class_name(cls)} is taken. Give the class another name.")
    _TABLE[_class_name(cls)] = cls
    return cls


def supported() -> list[str]:
    """Names of the classes that can be encoded, sorted.

    Returns:
        List of strings, such as `"nengo.neurons.LIF"`.

    Example:
        >>> "nengo.neurons.LIF" in supported()
        True
    """
    return sorted(_TABLE)


def _class_name(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _built_in() -> dict[str, type]:
    """Every concrete frozen class of nengo and of this package, by name."""
    modules = [nengo.neurons, nengo.synapses, nengo.dists, nengo.solvers]
    modules += [nengo.transforms, nengo.processes, nengo.learning_rules]
    modules += [least_squares_solvers, types]
    frozen = [
        cls
        for module in modules
        for cls in vars(module).values()
        if isinstance(cls, type) and issubclass(cls, FrozenObject)
        if cls.__module__ == module.__name__ and not cls.__name__.startswith("_")
    ]
    # The one class that frozen objects hold without its being frozen itself.
    concrete = {*frozen, nengo.transforms.ChannelShape} - _ABSTRACT
    return {_class_name(cls): cls for cls in concrete}


_BUILT_IN = _built_in()
_TABLE = dict(_BUILT_IN)


def _arguments(cls: type, state: State) -> State:
    """The constructor's named arguments, from the state."""
    if cls in _ARGUMENTS:
        return _ARGUMENTS[cls](state)
    keys = {name: name if name in state else f"_{name}" for name in _signature(cls)[0]}
    missing = sorted(name for name, key in keys.items() if key not in state)
    if missing:
        raise TypeError(
            f"there is no attribute for the constructor's arguments {missing}. Keep "
            "each under its own name."
        )
    return {name: state[key] for name, key in keys.items()}


@cache
def _signature(cls: type) -> tuple[set[str], bool]:
    """Names of a constructor's arguments, and whether it takes others as well."""
    parameters = inspect.signature(cls).parameters.values()
    named = {p.name for p in parameters if p.kind is not p.VAR_KEYWORD}
    return named, len(named) < len(parameters)


def _state(obj: Any) -> State:
    """The attributes of a frozen object which the rest derives from."""
    cls: type = type(obj)
    full = dict(obj.__getstate__() if isinstance(obj, FrozenObject) else vars(obj))
    for key in _DERIVED.get(cls, set()) | {"_FrozenObject__argreprs"}:
        full.pop(key, None)
    named, open_ended = _signature(cls)
    stored = set(iter_params(cls)) | named | {f"_{name}" for name in named}
    state = {key: value for key, value in full.items() if key in stored}
    _arguments(cls, state)
    lost = sorted(full.keys() - state.keys())
    if lost and open_ended:
        # What came in through **kwargs is unknown, so these cannot be recomputed.
        raise TypeError(
            f"the attributes {lost} are no nengo parameters and the constructor takes "
            "**kwargs. Make them parameters, or write the arguments out."
        )
    return state


def _restore(cls: Any, state: State) -> Any:
    state = _LATER.get(cls, {}) | state
    missing = set(iter_params(cls)) - _DERIVED.get(cls, set()) - state.keys()
    if missing:
        raise ValueError(f"the state lacks {sorted(missing)}.")
    # The constructor checks parameters against each other, and computes the rest.
    obj = cls(**_arguments(cls, state))
    extra = state.keys() - _state(obj).keys()
    if extra:
        raise ValueError(
            f"the state holds {brief(sorted(extra))}; possible: {sorted(_state(obj))}."
        )
    sizes = (getattr(obj, "size_in", None), state.get("size_in"))
    if isinstance(obj, nengo.learning_rules.LearningRuleType) and sizes[0] != sizes[1]:
        raise ValueError(
            f"the size_in of its errors is {sizes[0]!r}; received {brief(sizes[1])}."
        )
    if isinstance(obj, FrozenObject):
        # What came in through **kwargs is set here, and dtypes are kept.
        full = {**obj.__getstate__(), **state}
        obj = cls.__new__(cls)
        obj.__setstate__(full)
    attribute, holds = _CHECKS.get(cls, ("", lambda _: True))
    if not holds(obj):
        raise ValueError(
            f"wrong type or shape of {attribute}; received {brief(state)}."
        )
    return obj


def _encode(value: Any, depth: int) -> Any:
    _check_depth(depth)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, np.generic):  # before float, as np.float64 is one
        return {"scalar": _encode_array(np.asarray(value))}
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {"float": str(float(value))}
    if isinstance(value, np.ndarray):
        return _encode_array(value)
    if scipy.sparse.isspmatrix(value):
        return _encode_csr(value)
    if isinstance(value, keras.layers.Layer):
        return {"keras": json.dumps(keras.saving.serialize_keras_object(value))}
    if isinstance(value, list):
        return [_encode(item, depth + 1) for item in value]
    if isinstance(value, tuple):
        return {"tuple": [_encode(item, depth + 1) for item in value]}
    if isinstance(value, dict):
        return _encode_dict(value, depth)
    return _encode_object(value, depth)


def _encode_array(value: np.ndarray) -> State:
    dtype = _dtype_of(value)
    data = base64.b64encode(value.astype(dtype, copy=False).tobytes())
    return {"array": data.decode(), "dtype": dtype, "shape": list(value.shape)}


def _dtype_of(value: np.ndarray) -> str:
    """Name of the dtype that an array is stored as."""
    dtype = value.dtype.newbyteorder("<").str
    if dtype not in _DTYPES or isinstance(value, np.ma.MaskedArray):
        raise TypeError(
            f"Received a {type(value).__name__} of dtype {value.dtype}. Arrays are "
            f"stored unmasked as one of {_DTYPES}; convert it with "
            "np.array(values, dtype)."
        )
    return dtype


def _encode_csr(value: Any) -> State:
    matrix = value.tocsr()
    parts = (matrix.data, matrix.indices, matrix.indptr)
    return {
        "csr": [_encode_array(part) for part in parts],
        "shape": [int(n) for n in matrix.shape],
    }


def _encode_dict(value: dict, depth: int) -> State:
    items = {key: _encode(item, depth + 1) for key, item in value.items()}
    plain = all(type(key) is str for key in value) and not _TAGS.keys() & value.keys()
    # Keras revives any dict with both of these keys.
    if plain and not {"class_name", "config"} <= value.keys():
        return items
    return {"dict": [[_encode(key, depth + 1), item] for key, item in items.items()]}


def _encode_object(value: Any, depth: int) -> State:
    cls = type(value)
    _check_class(value)
    try:
        state = _state(value)
        return {
            "nengo": _class_name(cls),
            "state": {key: _encode(state[key], depth + 1) for key in sorted(state)},
        }
    except TypeError as error:
        raise TypeError(f"{_class_name(cls)}: {error}") from error


def _check_class(value: Any) -> None:
    cls = type(value)
    if _TABLE.get(_class_name(cls)) is not cls:
        raise TypeError(
            f"Received {brief(value)} of type {_class_name(cls)}."
            f" {_how_to_store(value)} Registered: {', '.join(supported())}."
        )


def _how_to_store(value: Any) -> str:
    if isinstance(value, FrozenObject):
        return "Register its class with keras_spiking_nengo.serialization.register."
    if isinstance(value, type):
        return f"Pass an instance, such as {value.__name__}(...)."
    if callable(value):
        return "A callable cannot be stored as data; pass the numbers it returns."
    return "Pass numbers, numpy arrays or an object of a registered class."


def _check_depth(depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise ValueError(f"Nested more than {_MAX_DEPTH} levels deep.")


def _decode(config: Any, depth: int) -> Any:
    _check_depth(depth)
    if config is None or isinstance(config, bool | int | float | str):
        return config
    if isinstance(config, list):
        return [_decode(item, depth + 1) for item in config]
    if not isinstance(config, dict) or not all(type(key) is str for key in config):
        raise ValueError(
            f"Received {brief(config)}, which is not plain JSON. Pass what to_config"
            " made."
        )
    tags = sorted(_TAGS.keys() & config.keys())
    if not tags:
        return {key: _decode(item, depth + 1) for key, item in config.items()}
    tag = tags[0]
    keys, decode = _TAGS[tag]
    if config.keys() != keys:
        raise ValueError(
            f"Received the keys {brief(sorted(config))}; {tag!r} stands with exactly "
            f"{sorted(keys)}. Pass what to_config made."
        )
    try:
        return decode(config, depth)
    except _REFUSALS as error:
        name = config.get("nengo")
        where = name if isinstance(name, str) and name in _TABLE else tag
        raise ValueError(f"{where}: {str(error) or repr(error)}") from error


def _decode_object(config: State, depth: int) -> Any:
    name, state = config["nengo"], config["state"]
    if not isinstance(name, str) or name not in _TABLE:
        raise ValueError(
            f"Received the class {brief(name)}. Known: {', '.join(supported())}. "
            "Import the module that registers it before loading."
        )
    if not isinstance(state, dict):
        raise ValueError(f"Received the state {brief(state)}; it is a dict.")
    obj = _restore(
        _TABLE[name], {key: _decode(item, depth + 1) for key, item in state.items()}
    )
    # A constructor may make an array of anything, such as of text.
    _check_arrays(_state(obj))
    spend(8 * _numbers_drawn(obj), name)
    return obj


def _check_arrays(value: Any) -> None:
    """Raises TypeError where an array in a state cannot be stored."""
    if isinstance(value, np.ndarray):
        _dtype_of(value)
    elif isinstance(value, dict | list | tuple):
        for inner in value.values() if isinstance(value, dict) else value:
            _check_arrays(inner)


def _numbers_drawn(obj: Any) -> int:
    """How many numbers an object asks for wherever it is used."""
    if isinstance(obj, nengo.LinearFilter):
        # State matrices; an analog one is exponentiated, which takes time as well.
        order = max(obj.num.size, obj.den.size) - 1
        return (25 if obj.analog else 4) * order**2
    if isinstance(obj, nengo.Sparse):
        return sum(obj.shape)  # rows and columns have pointers
    if isinstance(getattr(obj, "init", None), nengo.dists.Distribution):
        shape = obj.shape if isinstance(obj, nengo.Dense) else obj.kernel_shape
        return math.prod(int(n) for n in shape)
    return 0


def _decode_array(config: State, depth: int) -> np.ndarray:
    data, name, shape = config["array"], config["dtype"], _shape(config["shape"])
    if not isinstance(name, str) or name not in _DTYPES:
        raise ValueError(f"Received dtype {brief(name)}; possible: {_DTYPES}.")
    dtype = np.dtype(name)
    raw = base64.b64decode(data, validate=True)
    # Python integers, which don't overflow, and before any memory is asked for.
    if len(raw) != math.prod(shape) * dtype.itemsize:
        raise ValueError(
            f"Received {len(raw)} bytes for shape {shape} of {name}, which takes "
            f"{math.prod(shape) * dtype.itemsize}."
        )
    if dtype.kind == "b" and not set(raw) <= {0, 1}:
        raise ValueError("Received bytes other than 0 and 1 for booleans.")
    return np.ndarray(shape, dtype, raw).astype(dtype.newbyteorder("="))


def _decode_scalar(config: State, depth: int) -> Any:
    array = _decode(config["scalar"], depth + 1)
    if not isinstance(array, np.ndarray) or array.ndim:
        raise ValueError(f"Received {brief(array)}; it is an array of shape [].")
    return array[()]


def _decode_csr(config: State, depth: int) -> Any:
    parts = _decode(_list(config["csr"]), depth + 1)
    if [part.dtype.kind for part in parts[1:]] != ["i", "i"]:
        raise ValueError("Received other parts than data, indices and indptr.")
    matrix = scipy.sparse.csr_matrix(tuple(parts), shape=_shape(config["shape"]))
    # An index out of bounds would read foreign memory in scipy's compiled code.
    matrix.check_format(full_check=True)
    return matrix


def _decode_tuple(config: State, depth: int) -> tuple:
    return tuple(_decode(_list(config["tuple"]), depth))


def _decode_dict(config: State, depth: int) -> dict:
    pairs = [_list(pair) for pair in _list(config["dict"])]
    items = {_decode(k, depth + 1): _decode(v, depth + 1) for k, v in pairs}
    if len(items) != len(pairs):
        raise ValueError(f"Received a key twice among {brief(list(items))}.")
    return items


def _decode_float(config: State, depth: int) -> float:
    if config["float"] not in ("inf", "-inf", "nan"):
        raise ValueError(
            f"Received {brief(config['float'])}; possible: inf, -inf, nan."
        )
    return float(config["float"])


def _decode_keras(config: State, depth: int) -> keras.layers.Layer:
    stored = json.loads(config["keras"])
    try:
        with weighed():
            layer = keras.saving.deserialize_keras_object(stored, safe_mode=True)
    except Exception as error:  # whatever the layers of Keras raise
        raise ValueError(f"Keras: {str(error) or repr(error)}") from error
    if not isinstance(layer, keras.layers.Layer):
        raise ValueError(f"Received {brief(stored)}, which is no layer of Keras.")
    return layer


def _list(value: Any) -> list:
    if not isinstance(value, list):
        raise ValueError(f"Received {brief(value)}; it is a list.")
    return value


def _shape(value: Any) -> tuple[int, ...]:
    if not all(type(n) is int and n >= 0 for n in _list(value)):
        raise ValueError(f"Received the shape {brief(value)}; it lists integers >= 0.")
    return tuple(value)


# The keys of each kind of encoded value, and what takes it back.
_TAGS: dict[str, tuple[set[str], Callable[[State, int], Any]]] = {
    "nengo": ({"nengo", "state"}, _decode_object),
    "array": ({"array", "dtype", "shape"}, _decode_array),
    "scalar": ({"scalar"}, _decode_scalar),
    "csr": ({"csr", "shape"}, _decode_csr),
    "tuple": ({"tuple"}, _decode_tuple),
    "dict": ({"dict"}, _decode_dict),
    "float": ({"float"}, _decode_float),
    "keras": ({"keras"}, _decode_keras),
}
