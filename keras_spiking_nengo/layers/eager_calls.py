"""Eager calls of a layer over time: each is compiled once, and then repeated.

What a compiled call depends on, besides the numbers in its tensors and in the layer's
variables, is their shapes and dtypes, `training`, and whatever the layer reads in
Python: its settings.
"""

import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from operator import is_
from typing import Any

import keras
from keras import ops

from keras_spiking_nengo.dynamics.loops.eager import (
    EagerCall,
    are_eager,
    is_compiled_eagerly,
)
from keras_spiking_nengo.dynamics.surrogates import Surrogate

__all__ = ["CalledEagerly", "EagerCalls"]

# Programs that a layer holds at most.
_MOST_CALLS = 32
# Of Keras, for `_is_outermost`.
_enter = getattr(keras.Layer, "_get_call_context", None)
_leave = getattr(keras.Layer, "_maybe_reset_call_context", None)


class CalledEagerly:
    """Mixin of a layer over time: what it has `computed` once is repeated.

    It has `eager_calls`, and computes what a call gives, `computed(sequences,
    initial_state, mask, training)`.
    """

    eager_calls: "EagerCalls"

    def __call__(self, *args, **kwargs):
        if len(args) == 1 and kwargs.keys() <= {"training"}:
            repeated = self.eager_calls.repeated(*args, kwargs.get("training"))
            if repeated:
                return repeated[0]
        return super().__call__(*args, **kwargs)  # type: ignore[misc]

    def call(self, sequences, initial_state=None, mask=None, training=False):
        """As of `keras.layers.RNN`."""
        return self.eager_calls.run((sequences, initial_state, mask), training)


class EagerCalls:
    """The compiled calls of a layer: of its present settings, the last few.

    Attributes:
        n_compiled: number of calls that were compiled so far.

    Args:
        layer: a `SequenceLayer`, which this does not keep alive.
    """

    def __init__(self, layer):
        self.n_compiled = 0
        self._layer: Callable[[], Any] = weakref.ref(layer)
        self._settings: _Settings | None = None
        self._calls: OrderedDict[tuple, EagerCall] = OrderedDict()
        # Keys of those to which Keras has nothing to add, by what takes least to tell.
        self._plain: dict[tuple, tuple] = {}
        self._lock = threading.RLock()

    def __len__(self) -> int:
        return len(self._calls)

    def repeated(self, sequences, training) -> tuple:
        """The result, in a tuple, of a call that is held, past Keras; or ().

        Keras's own way of calling a layer takes longer than many a program does. It has
        nothing to add to a call of one tensor without a mask, which no other layer
        makes.
        """
        if not (self._plain and (training is None or isinstance(training, bool))):
            return ()
        key = self._plain.get(_plain_key(sequences, training))
        if key is None:
            return ()
        layer = self._layer()
        if (
            getattr(sequences, "_keras_mask", None) is not None
            or not are_eager((sequences,))
            or not _is_outermost(layer)
        ):
            return ()
        with self._lock:
            call, settings = self._calls.get(key), self._settings
            if call is None or settings is None or not settings.hold():
                return ()
            self._calls.move_to_end(key)
        tables = layer.cell.tables.ahead(sequences.shape[1], bool(training))
        return (call(_with_tables(layer, [sequences], tables)),)

    def run(self, arguments: tuple, training):
        """What the layer computes; compiled, if that is possible.

        Not for tensors without values, nor for layers that call Python meanwhile or
        that hold others which Keras would not compile.

        Args:
            arguments: sequences, initial state and mask, as nested tensors and None.
            training: as in the layer's call.
        """
        layer = self._layer()
        tensors = [x for x in keras.tree.flatten(arguments) if x is not None]
        eager = (
            (training is None or isinstance(training, bool))
            and all(ops.is_tensor(x) and len(x.shape) > 1 for x in tensors)
            and are_eager(tensors)
            and is_compiled_eagerly(tensors[0].shape[1])
        )
        training = bool(training) if eager else training
        tables = (
            layer.cell.tables.ahead(tensors[0].shape[1], training) if eager else None
        )
        if tables is None:
            return layer.computed(*arguments, training)
        tensors = _with_tables(layer, tensors, tables)
        form = keras.tree.map_structure(lambda x: None if x is None else 0, arguments)
        with self._lock:
            settings = self._present_settings(layer)
            if not settings.compile:
                return layer.computed(*arguments, training)
            key = _key(form, training, [*tensors, *(v.value for v in layer.variables)])
            call = self._calls.get(key)
            if call is None:
                program = _program(self._layer, form, training)
                call = EagerCall(program, layer.variables)
                results = call(tensors)
                # What a first call sets is no change.
                settings = self._settings = _Settings(layer)
                self._hold(key, call)
                if settings.plain and form == (0, None, None):
                    self._add_plain(key, arguments[0], training)
                return results
            self._calls.move_to_end(key)
        return call(tensors)

    def _present_settings(self, layer) -> "_Settings":
        """The layer's settings; calls that were compiled with others are dropped."""
        if self._settings is None or not self._settings.hold():
            self._calls.clear()
            self._plain.clear()
            self._settings = _Settings(layer)
        return self._settings

    def _hold(self, key: tuple, call: EagerCall) -> None:
        self._calls[key] = call
        self.n_compiled += 1
        if len(self._calls) > _MOST_CALLS:
            self._calls.popitem(last=False)
            self._plain = {k: v for k, v in self._plain.items() if v in self._calls}

    def _add_plain(self, key: tuple, sequences, training: bool) -> None:
        # What has no attributes has its mask elsewhere.
        if hasattr(sequences, "__dict__"):
            for same in (True,) if training else (None, False):
                self._plain[_plain_key(sequences, same)] = key


class _Settings:
    """All attributes of a layer and of its parts, as they are now.

    They are compared one by one. Lists, dicts and arrays that are changed in place are
    not seen.

    Attributes:
        compile: whether all parts can be compiled, by what they say to Keras.
        plain: whether Keras adds nothing to what the layer computes.
    """

    def __init__(self, layer: keras.Layer):
        parts = _parts_of(layer)
        self.compile = all(getattr(part, "supports_jit", True) for part in parts)
        self.plain = (
            layer.activity_regularizer is None
            and layer.compute_dtype == layer.variable_dtype
        )
        self._attributes = [(vars(part), list(vars(part).values())) for part in parts]

    def hold(self) -> bool:
        """Whether they are what they were."""
        for now, before in self._attributes:
            if len(now) != len(before) or not all(map(is_, now.values(), before)):
                return False
        return True


def _parts_of(layer: keras.Layer) -> list:
    """A layer, and the layers and surrogates that it is made of."""
    parts: list = [layer]
    for part in parts:
        for other in _direct_parts(part):
            if not any(other is known for known in parts):
                parts.append(other)
    return parts


def _direct_parts(part) -> Iterator[Any]:
    for value in vars(part).values():
        for item in value if isinstance(value, list | tuple) else (value,):
            if isinstance(item, keras.Layer | Surrogate):
                yield item


def _plain_key(sequences, training: bool | None) -> tuple:
    shape, dtype = getattr(sequences, "shape", None), getattr(sequences, "dtype", None)
    return type(sequences), shape, dtype, training, keras.config.floatx()


def _key(form, training: bool, tensors: Sequence) -> tuple:
    kinds = [(x.shape, x.dtype) for x in tensors]
    return repr(form), training, keras.config.floatx(), *kinds


def _with_tables(layer, tensors: list, tables: list) -> list:
    if not tables:
        return tensors
    dtype = layer.cell.state_dtype
    return [*tensors, *(ops.convert_to_tensor(table, dtype=dtype) for table in tables)]


def _program(layer_reference: Callable, form, training: bool) -> Callable:
    """What a layer computes, as a function of its tensors and then of its tables."""
    places = keras.tree.flatten(form)

    def program(tensors):
        layer, rest = layer_reference(), iter(tensors)
        leaves = [None if place is None else next(rest) for place in places]
        arguments = keras.tree.pack_sequence_as(form, leaves)
        with layer.cell.tables.passed(list(rest)):
            return layer.computed(*arguments, training)

    return program


def _is_outermost(layer) -> bool:
    """Whether the layer is called by none other, which could say that it trains.

    Where Keras no longer has these two methods, it is left to Keras each time.
    """
    if _enter is None or _leave is None:
        return False
    outer = _enter(layer)
    _leave(layer)
    return getattr(outer, "entry_layer", None) is layer
