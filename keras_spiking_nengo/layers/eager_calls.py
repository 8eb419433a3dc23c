"""Eager calls of a layer over time: each is compiled once, and then repeated.

What a compiled call depends on is, besides the numbers in its tensors and in the
layer's variables: their shapes and dtypes, `training`, and whatever the layer reads in
Python (`settings`).
"""

import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

from keras_spiking_nengo.dynamics.loops.eager import EagerCall, are_eager, is_recorded
from keras_spiking_nengo.layers.settings import Settings

__all__ = ["CalledEagerly", "EagerCalls"]

# Programs that a layer holds, and settings that they were compiled with, at most.
_MOST_CALLS = 32
_MOST_SETTINGS = 8


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
    """The compiled calls of a layer: of those shapes and settings that came last.

    Attributes:
        n_compiled: number of calls that were compiled so far.

    Args:
        layer: a `SequenceLayer`, which this does not keep alive.
    """

    def __init__(self, layer):
        self.n_compiled = 0
        self._layer: Callable[[], Any] = weakref.ref(layer)
        # None for one that cannot be compiled.
        self._calls: OrderedDict[tuple, EagerCall | None] = OrderedDict()
        # Those of one tensor, by what it takes least to tell.
        self._plain: dict[tuple, _PlainCall] = {}
        # The present ones first.
        self._settings: list[Settings] = []
        self._lock = threading.RLock()

    def __len__(self) -> int:
        return len(self._calls)

    def repeated(self, sequences, training) -> tuple:
        """The result, in a tuple, of a call to which Keras has nothing to add; or ().

        Of one tensor without a mask, which the layer was called with like this before,
        and not from another layer's call. Keras's own way takes longer than many a
        program does.
        """
        plain = self._plain and self._plain.get(_plain_key(sequences, training))
        if (
            not plain
            or type(sequences) is not plain.tensor_type
            or getattr(sequences, "_keras_mask", None) is not None
            or not plain.key[0].hold()
        ):
            return ()
        layer, call = self._layer(), plain.call
        tensors, _ = _with_tables(layer.cell, [sequences], training)
        values = [variable.value for variable in call.variables]
        if (
            not call.fits(values)
            or not are_eager([*tensors, *values])
            or not _is_outermost(layer)
        ):
            return ()
        try:
            self._calls.move_to_end(plain.key)
        except KeyError:  # dropped by another thread
            return ()
        return (call(values, tensors),)

    def run(self, arguments: tuple, training):
        """What the layer computes; compiled, if all tensors have values now.

        Args:
            arguments: sequences, initial state and mask, as nested tensors and None.
            training: as in the layer's call.
        """
        layer = self._layer()
        given = [x for x in keras.tree.flatten(arguments) if x is not None]
        values = [variable.value for variable in layer.variables]
        if (
            not (training is None or isinstance(training, bool))
            or not all(ops.is_tensor(x) and len(x.shape) > 1 for x in given)
            or not are_eager([*given, *values])
        ):
            return layer.computed(*arguments, training)
        tensors, known = _with_tables(layer.cell, given, training)
        form = keras.tree.map_structure(_is_there, arguments)
        with self._lock:
            key = _key(self._present(), form, training, tensors)
            results, call = (), self._calls.get(key)
            if key not in self._calls or (call and not call.fits(values)):
                program = _program(self._layer, form, known, bool(training))
                host = layer.cell.tables.calls_python or not all(known)
                call = EagerCall(program, layer.variables, host, is_recorded())
                results = _first_results(call, values, tensors)
                key = _key(self._present(), form, training, tensors)
                call = call if results else None
                self._hold(key, call)
            self._calls.move_to_end(key)
            if call and form == (True, None, None):
                self._add_plain(key, call, arguments[0], training)
        if results:
            return results[0]
        return call(values, tensors) if call else layer.computed(*arguments, training)

    def _hold(self, key: tuple, call: EagerCall | None) -> None:
        self._calls[key] = call
        if call:
            self.n_compiled += 1
        while len(self._calls) > _MOST_CALLS:
            self._drop(next(iter(self._calls)))

    def _drop(self, key: tuple) -> None:
        del self._calls[key]
        self._plain.clear()

    def _present(self) -> Settings:
        """The layer's settings; those that it had before are found again."""
        settings = next((s for s in self._settings if s.hold()), None)
        if settings is None:
            settings = Settings(self._layer())
        else:
            self._settings.remove(settings)
        self._settings.insert(0, settings)
        while len(self._settings) > _MOST_SETTINGS:
            old = self._settings.pop()
            for key in [key for key in self._calls if key[0] is old]:
                self._drop(key)
        return settings

    def _add_plain(self, key: tuple, call: EagerCall, sequences, training) -> None:
        """Makes it one to find at once, if that may be left to us alone."""
        # What has no attributes has its mask elsewhere.
        if key[0].plain and hasattr(sequences, "__dict__"):
            plain = _PlainCall(type(sequences), key, call)
            for same in (training,) if training else (None, False):
                self._plain[_plain_key(sequences, same)] = plain


@dataclass(frozen=True)
class _PlainCall:
    """A compiled call of one tensor.

    Attributes:
        tensor_type: of that tensor, which has attributes.
        key: of the call.
        call: the call.
    """

    tensor_type: type
    key: tuple
    call: EagerCall


def _plain_key(sequences, training) -> tuple:
    shape, dtype = getattr(sequences, "shape", None), getattr(sequences, "dtype", None)
    return shape, dtype, training, keras.config.floatx(), is_recorded()


def _key(settings: Settings, form, training, tensors: Sequence) -> tuple:
    kinds = [(x.shape, x.dtype) for x in tensors]
    context = keras.config.floatx(), is_recorded()
    return settings, repr(form), bool(training), *context, *kinds


def _first_results(call: EagerCall, values: Sequence, tensors: Sequence) -> tuple:
    """The result, in a tuple, of a call that is compiled now; () if it cannot be.

    Whatever is wrong with it is then said by running the layer as it is.
    """
    try:
        return (call(values, tensors),)
    except Exception:
        return ()


def _program(layer_reference, form, known: list[bool], training: bool) -> Callable:
    """What a layer computes, as a function of its tensors and then of its tables."""
    there = [leaf is not None for leaf in keras.tree.flatten(form)]

    def program(tensors):
        layer, rest = layer_reference(), iter(tensors)
        leaves = [next(rest) if is_there else None for is_there in there]
        arguments = keras.tree.pack_sequence_as(form, leaves)
        with layer.cell.tables.given([next(rest) if k else None for k in known]):
            return layer.computed(*arguments, training)

    return program


def _with_tables(cell, given: list, training) -> tuple[list, list[bool]]:
    """Tensors, then those that Python computes; and which of the latter there are."""
    tables = cell.tables.computed(given[0].shape[1], bool(training))
    if not tables:
        return given, []
    dtype = cell.state_dtype
    tensors = [ops.convert_to_tensor(t, dtype=dtype) for t in tables if t is not None]
    return [*given, *tensors], [table is not None for table in tables]


def _is_there(argument) -> bool | None:
    return None if argument is None else True


def _is_outermost(layer) -> bool:
    """Whether the layer is called by none other, which could say that it trains.

    Where Keras no longer has these two methods, it is left to Keras each time.
    """
    enter = getattr(layer, "_get_call_context", None)
    leave = getattr(layer, "_maybe_reset_call_context", None)
    if enter is None or leave is None:
        return False
    outer = enter()
    leave()
    return getattr(outer, "entry_layer", None) is layer
