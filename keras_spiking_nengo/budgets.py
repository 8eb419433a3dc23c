"""How much memory what is read may ask for, beyond the numbers that it holds.

A configuration of a hundred bytes can ask for a matrix of a terabyte. Whatever is read
opens an account of `max_bytes`; before anything is drawn whose size is no more than a
number of the configuration, its bytes are taken from the account. Where none is open,
as when you make a layer yourself, nothing is counted.
"""

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from threading import RLock
from typing import Any
from unittest import mock
from weakref import WeakKeyDictionary

import keras

__all__ = [
    "Bounded",
    "allowed_bytes",
    "bounded",
    "budget",
    "build_held",
    "remembered",
    "spend",
    "weighed",
]

# A nested object of the codec takes three levels of JSON at most, and 64 are possible.
_MAX_NESTING = 256
# More than any machine has, and a float: the numbers of a file have no bound.
_MOST = 1e18


class _Account:
    """What may still be asked for."""

    def __init__(self, max_bytes: float):
        self.max_bytes = self.left = max_bytes


_MAX_BYTES: ContextVar[int] = ContextVar("max_bytes", default=2**30)
_OPEN: ContextVar[_Account | None] = ContextVar("open", default=None)
# Of layers that were read, and are not built yet.
_ACCOUNTS: WeakKeyDictionary[Any, _Account] = WeakKeyDictionary()
_WEIGHING = RLock()


def budget(max_bytes: int) -> AbstractContextManager[None]:
    """Within the block, what is read may ask for up to `max_bytes` of memory.

    A layer, network or object that is read from a configuration may ask for this much
    beyond the numbers which stand in the configuration; 1 GiB by default. So it is for
    `keras.models.load_model`, layer by layer. What asks for more is refused before
    anything is drawn.

    Args:
        max_bytes: int, above 0. Of one layer, network or object.

    Returns:
        A context manager, for `with`.

    Raises:
        ValueError: for another `max_bytes`.

    Example:
        >>> import nengo, keras_spiking_nengo as ksn
        >>> wide = nengo.Dense((20_000, 20_000), init=nengo.dists.Uniform(-1, 1))
        >>> config = ksn.serialization.to_config(wide)
        >>> with ksn.serialization.budget(max_bytes=4 * 2**30):
        ...     ksn.serialization.from_config(config).size_out
        20000
    """
    number = isinstance(max_bytes, int) and not isinstance(max_bytes, bool)
    if not number or max_bytes < 1:
        raise ValueError(
            f"max_bytes is a number of bytes, at least 1; received {max_bytes!r}."
        )
    return _within(max_bytes)


@contextmanager
def _within(max_bytes: int) -> Iterator[None]:
    token = _MAX_BYTES.set(max_bytes)
    try:
        yield
    finally:
        _MAX_BYTES.reset(token)


@contextmanager
def bounded(config: Any = None) -> Iterator[None]:
    """Opens an account for what is read in the block, unless one is open.

    Args:
        config: what is read, if it is plain JSON: it may not be nested too deep.

    Raises:
        ValueError: if it is nested more than 256 levels deep, or lacks what is looked
            for in it.
    """
    _check_nesting(config)
    try:
        with _opened(_OPEN.get() or _Account(_MAX_BYTES.get())):
            yield
    except (AttributeError, LookupError) as error:
        if config is None:
            raise
        raise ValueError(
            f"This is no configuration that is known: {error!r}."
        ) from error


@contextmanager
def _opened(account: _Account) -> Iterator[None]:
    token = _OPEN.set(account)
    try:
        yield
    finally:
        _OPEN.reset(token)


class Bounded:
    """Mixin of a Keras object whose configuration is read within an account."""

    @classmethod
    def from_config(cls, config: dict) -> Any:
        """Keras's; `bounded` says what is refused."""
        with bounded(config):
            return super().from_config(config)  # type: ignore[misc]


def allowed_bytes() -> int:
    """What an account holds that is opened now."""
    return _MAX_BYTES.get()


def spend(n_bytes: float, what: str) -> None:
    """Takes bytes from the account that is open, if one is.

    Args:
        n_bytes: what will be asked for.
        what: asks for it, for the message.

    Raises:
        ValueError: if that is more than is left.

    Example:
        >>> with budget(1000), bounded():
        ...     spend(600, "A matrix that is read")
        >>> spend(10**30, "What a program makes itself")
    """
    account = _OPEN.get()
    if account is None:
        return
    n_bytes = min(n_bytes, _MOST)
    account.left -= n_bytes
    if not account.left >= 0:  # as NaN is not
        raise ValueError(
            f"{what} asks for {n_bytes:,.0f} bytes of memory, and what is read"
            f" may take max_bytes={account.max_bytes:,} in all. If you trust where it"
            " comes from, raise max_bytes: read it in a block of"
            " `with ksn.serialization.budget(max_bytes=...):`."
        )


# --- layers of Keras that ours hold ---------------------------------------------------


@contextmanager
def weighed() -> Iterator[None]:
    """Within the block, each weight of a layer is taken from the account that is open.

    Layers of Keras know no account, and make weights in their constructor, when they
    are built, and when they are called.

    Example:
        >>> with budget(1000), bounded(), weighed():
        ...     keras.layers.Dense(3).build((None, 2))
    """
    if _OPEN.get() is None:
        yield
        return
    make = keras.Layer.add_weight

    def add_weight(layer, shape=None, *args, **kwargs):
        numbers = 1 if shape is None else _numbers_in(shape)
        # Of single precision: most are, and a network of images has 1e8.
        spend(4 * numbers, f"A weight of {layer.name}, of shape {shape},")
        return make(layer, shape, *args, **kwargs)

    # The lock, as threads may read at once and would put back each other's.
    with _WEIGHING, mock.patch.object(keras.Layer, "add_weight", add_weight):
        yield


def _numbers_in(shape: Any) -> float:
    sizes = [shape] if isinstance(shape, int) else shape
    return math.prod(float(min(n, _MOST)) for n in sizes if isinstance(n, int))


def remembered(layer: Any) -> Any:
    """The layer; `build_held` knows from now on whether it was read."""
    account = _OPEN.get()
    if account is not None and isinstance(layer, keras.Layer):
        _ACCOUNTS[layer] = account
    return layer


def build_held(layer: Any, input_shape: Any) -> None:
    """Builds a layer that another one holds, unless it is built.

    Raises:
        ValueError: if it was read, and its weights ask for more than is left of what
            its reader may take; or for what else it cannot be built.
    """
    if layer.built:
        return
    account = _ACCOUNTS.pop(layer, None)
    if account is None:
        layer.build(input_shape)
        return
    try:
        with _opened(account), weighed():
            layer.build(input_shape)
    except (ValueError, TypeError, NotImplementedError):
        raise
    except Exception as error:  # whatever the layers of Keras raise
        raise ValueError(f"{layer.name}: {str(error) or repr(error)}") from error


def _check_nesting(config: Any) -> None:
    """Refuses what is nested deeper than any configuration, without recursion."""
    level, depth = [config], 0
    while level:
        if depth > _MAX_NESTING:
            raise ValueError(
                f"The configuration is nested more than {_MAX_NESTING} levels deep."
                " None that this package writes is."
            )
        # Each once: a circle would otherwise double from level to level.
        once = {id(inner): inner for value in level for inner in _containers(value)}
        level, depth = list(once.values()), depth + 1


def _containers(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, list | tuple):
        return
    yield from (inner for inner in value if isinstance(inner, dict | list | tuple))
