"""Python in a network whose state is made anew for each sequence and each item."""

from collections.abc import Callable
from typing import Any

import nengo
import numpy as np

from keras_spiking_nengo.checks import checked_count

__all__ = ["MadeAnew", "per_item"]


class MadeAnew(nengo.Process):
    """A process whose steps are calls of what a factory makes. `per_item` makes one.

    Attributes:
        factory: makes a function `(t)` or `(t, x)` with a state of its own.
    """

    def __init__(self, factory: Callable[[], Callable], size_in: int, size_out: int):
        super().__init__(default_size_in=size_in, default_size_out=size_out)
        self.factory = factory

    def make_step(self, shape_in, shape_out, dt, rng, state):
        """A function with a state of its own, as a step."""
        function = self.factory()
        if not callable(function):
            raise TypeError(
                "factory makes a function of (t) or, with size_in, of (t, x); received"
                f" {function!r}."
            )
        takes_input = int(np.prod(shape_in)) > 0

        def step(t, x=None):
            value = function(t, np.array(x)) if takes_input else function(t)
            return _checked_value(self.factory, value, shape_out)

        return step


def _checked_value(factory: Callable, value: Any, shape: tuple[int, ...]) -> np.ndarray:
    name = getattr(factory, "__name__", repr(factory))
    try:
        # Copied, as the function may go on changing what it returned.
        numbers = np.array(value, float).reshape(-1)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"What {name} made returns numbers; received {value!r}."
        ) from error
    if not np.all(np.isfinite(numbers)):
        raise ValueError(
            f"What {name} made returns finite numbers; received {value!r}."
        )
    if numbers.size not in (1, int(np.prod(shape))):
        raise ValueError(
            f"What {name} made returns {int(np.prod(shape))} numbers, size_out;"
            f" received {numbers.size}."
        )
    return np.broadcast_to(numbers, shape)


def per_item(
    factory: Callable[[], Callable], size_in: int = 0, size_out: int = 1
) -> MadeAnew:
    """The output of a node whose state belongs to one run, and one item of a batch.

    A function that remembers, as an environment or an arm does, is shared by the items
    of a minibatch, and remembers the last run. What `factory` makes is not: it is
    called once for each item, and again with each `reset` and each sequence. In Nengo
    it is a process, which every simulator runs.

    Args:
        factory: without arguments, such as a class, that makes a function of `(t)` or,
            with `size_in`, of `(t, x)`, with `t` in seconds and `x` of shape
            `(size_in,)`.
        size_in, size_out: ints. Numbers that the function takes and returns.

    Returns:
        A `nengo.Process`, for `nengo.Node(output, size_in=...)`.

    Raises:
        TypeError: if `factory` is not callable.
        ValueError: for sizes that are none.

    Example:
        >>> import nengo, keras_spiking_nengo as ksn
        >>> class Counter:
        ...     count = 0
        ...     def __call__(self, t, x):
        ...         self.count += x
        ...         return self.count
        >>> with nengo.Network():
        ...     node = nengo.Node(ksn.per_item(Counter, size_in=1), size_in=1)
        >>> node.size_out
        1
    """
    if not callable(factory):
        raise TypeError(
            "factory makes a function when it is called, such as a class with a"
            f" __call__; received {factory!r}."
        )
    takes_nothing = type(size_in) is int and size_in == 0
    return MadeAnew(
        factory,
        0 if takes_nothing else checked_count("size_in", size_in, "Or 0, for none."),
        checked_count("size_out", size_out),
    )
