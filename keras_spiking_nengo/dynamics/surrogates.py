"""Surrogate derivatives for the spike, a step function of the membrane.

A spike is `H(x)`, where `x` is the distance of the membrane from its
threshold in units of the distance from reset to threshold. `H` has no useful
derivative; each surrogate replaces it, in the backward pass only, by the
derivative `gradient(x)` of a function `smooth(x)`.
"""

import abc
import math
from collections.abc import Callable
from typing import ClassVar

from keras import ops

from keras_spiking_nengo.checks import positive
from keras_spiking_nengo.dynamics.loops import precise
from keras_spiking_nengo.saving import registered

__all__ = [
    "Arctan",
    "FastSigmoid",
    "SoftLIF",
    "StraightThrough",
    "Surrogate",
    "Triangle",
    "surrogate",
]


class Surrogate(abc.ABC):
    """A smooth stand-in for the spike in the backward pass.

    Args:
        width: float > 0. Scale of `x` over which the derivative is spread;
            each class says how it enters.

    Raises:
        ValueError: if `width` is not positive and finite.

    Example:
        >>> import keras
        >>> @keras.saving.register_keras_serializable("mine")
        ... class Box(Surrogate):
        ...     def smooth(self, x):
        ...         return keras.ops.clip(x / self.width, -0.5, 0.5) + 0.5
        ...     def gradient(self, x):
        ...         inside = keras.ops.abs(x) < self.width / 2
        ...         return keras.ops.cast(inside, x.dtype) / self.width
        >>> Box(0.5)
        Box(width=0.5)

    Reference:
        Neftci, Mostafa and Zenke (2019), *Surrogate gradient learning in spiking neural
        networks*, IEEE Signal Processing Magazine 36(6).
    """

    differentiable: ClassVar[bool] = True

    def __init__(self, width: float):
        self.width = positive(
            f"The width of {type(self).__name__}",
            width,
            advice="Membranes are scaled so that the threshold is 1 above reset:"
            " widths from 0.05 to 1 are usual.",
        )

    @abc.abstractmethod
    def smooth(self, x):
        """The function whose derivative stands in for that of the spike."""

    @abc.abstractmethod
    def gradient(self, x):
        """Derivative of `smooth` at `x`; same shape and dtype as `x`."""

    def spike(self, x):
        """1 where `x > 0`, else 0, with `gradient(x)` as its derivative."""
        return self._with_gradient(x, lambda x: ops.cast(x > 0, x.dtype), lambda x: x)

    def trunc(self, x):
        """`x` rounded towards zero, for neurons that can fire more than once.

        It is differentiated about the nearest threshold: 1, 2, ...
        """

        def distance(x):
            return ops.abs(x) - ops.maximum(ops.round(ops.abs(x)), 1)

        return self._with_gradient(x, ops.trunc, distance)

    def floor(self, x):
        """`x` rounded down, likewise; every integer is a threshold."""

        def floor(x):
            # On JAX, keras.ops.floor rounds float64 to float32 first.
            whole = ops.trunc(x)
            return whole - ops.cast(whole > x, x.dtype)

        return self._with_gradient(x, floor, lambda x: x - ops.round(x))

    def _with_gradient(self, x, forward, distance):
        @ops.custom_gradient
        def function(x):
            # Torch passes the upstream gradient by keyword, TF and JAX by place.
            def grad(*args, upstream=None):
                upstream = args[0] if upstream is None else upstream
                return upstream * self.gradient(distance(x))

            return forward(x), grad

        return function(x)

    def inline(self) -> "Surrogate":
        """The same surrogate, written with plain operations.

        A little slower, as the derivative is also computed going forward; but a
        graph without custom gradients can be exported without a warning.
        """
        return _Inline(self)

    def plain(self) -> "Surrogate":
        """The spike alone, without a derivative and what it costs."""
        return _Plain(self)

    def get_config(self) -> dict:
        return {"width": self.width}

    @classmethod
    def from_config(cls, config: dict) -> "Surrogate":
        return cls(**config)

    def __eq__(self, other):
        return type(self) is type(other) and self.width == other.width

    def __hash__(self):
        return hash((type(self), self.width))

    def __repr__(self):
        return f"{type(self).__name__}(width={self.width:g})"


class _Inline(Surrogate):
    def __init__(self, surrogate: Surrogate):
        super().__init__(surrogate.width)
        self._surrogate = surrogate

    def smooth(self, x):
        return self._surrogate.smooth(x)

    def gradient(self, x):
        return self._surrogate.gradient(x)

    def _with_gradient(self, x, forward, distance):
        frozen = ops.stop_gradient(x)
        # x - frozen is 0, with a derivative of 1.
        return forward(frozen) + (x - frozen) * self.gradient(distance(frozen))


class _Plain(_Inline):
    differentiable = False

    def _with_gradient(self, x, forward, distance):
        return forward(x)


@registered()
class SoftLIF(Surrogate):
    """Softplus smoothing with scale `width`: `smooth(x) = sigmoid(x / width)`.

    The soft LIF curve replaces `max(x, 0)` by `width * log(1 + exp(x / width))`;
    the step is the derivative of the former, the sigmoid that of the latter.
    With `forward="rate"` or `"spike_aware"`, `width` is the smoothing of the
    rate curve itself.

    Args:
        width: float > 0. As in the formula.

    Raises:
        ValueError: if `width` is not positive and finite.

    Example:
        >>> import keras
        >>> float(SoftLIF().gradient(keras.ops.zeros(())))
        12.5

    Reference:
        Hunsberger and Eliasmith (2015), *Spiking deep networks with LIF
        neurons*, arXiv:1510.08829.
    """

    def __init__(self, width: float = 0.02):
        super().__init__(width)

    def smooth(self, x):
        return ops.sigmoid(x / self.width)

    def gradient(self, x):
        s = ops.sigmoid(x / self.width)
        return s * (1 - s) / self.width


@registered()
class Arctan(Surrogate):
    """`smooth(x) = atan(pi * x / width) / pi + 1/2`; the peak is `1 / width`.

    Args:
        width: float > 0. As in the formula.

    Raises:
        ValueError: if `width` is not positive and finite.

    Example:
        >>> import keras
        >>> float(Arctan().gradient(keras.ops.zeros(())))
        1.0

    Reference:
        Fang et al. (2021), *Incorporating learnable membrane time constant to
        enhance learning of spiking neural networks*, ICCV.
    """

    def __init__(self, width: float = 1.0):
        super().__init__(width)

    def smooth(self, x):
        return precise("arctan", math.pi / self.width * x) / math.pi + 0.5

    def gradient(self, x):
        return 1 / (self.width * (1 + ops.square(math.pi / self.width * x)))


@registered()
class FastSigmoid(Surrogate):
    """SuperSpike: `smooth(x) = x / (1 + |x| / width)`; the peak is 1.

    Args:
        width: float > 0. As in the formula.

    Raises:
        ValueError: if `width` is not positive and finite.

    Example:
        >>> import keras
        >>> float(FastSigmoid().gradient(keras.ops.zeros(())))
        1.0

    Reference:
        Zenke and Ganguli (2018), *SuperSpike: supervised learning in
        multilayer spiking neural networks*, Neural Computation 30(6).
    """

    def __init__(self, width: float = 0.1):
        super().__init__(width)

    def smooth(self, x):
        return x / (1 + ops.abs(x) / self.width)

    def gradient(self, x):
        return 1 / ops.square(1 + ops.abs(x) / self.width)


@registered()
class Triangle(Surrogate):
    """Derivative `max(0, 1 - |x| / width) / width`, zero beyond `width`.

    Args:
        width: float > 0. As in the formula.

    Raises:
        ValueError: if `width` is not positive and finite.

    Example:
        >>> import keras
        >>> float(Triangle().gradient(keras.ops.zeros(())))
        1.0

    Reference:
        Bellec et al. (2018), *Long short-term memory and learning-to-learn in
        networks of spiking neurons*, NeurIPS.
    """

    def __init__(self, width: float = 1.0):
        super().__init__(width)

    def smooth(self, x):
        z = ops.clip(x / self.width, -1, 1)
        return 0.5 + z - 0.5 * z * ops.abs(z)

    def gradient(self, x):
        return ops.maximum(1 - ops.abs(x) / self.width, 0) / self.width


@registered()
class StraightThrough(Surrogate):
    """`smooth(x) = x / width`: the gradient passes as if the spike were linear.

    Args:
        width: float > 0. As in the formula.

    Raises:
        ValueError: if `width` is not positive and finite.

    Example:
        >>> import keras
        >>> float(StraightThrough().gradient(keras.ops.zeros(())))
        1.0

    Reference:
        Bengio, Leonard and Courville (2013), *Estimating or propagating
        gradients through stochastic neurons*, arXiv:1308.3432.
    """

    def __init__(self, width: float = 1.0):
        super().__init__(width)

    def smooth(self, x):
        return x / self.width

    def gradient(self, x):
        return ops.ones_like(x) / self.width


_NAMES: dict[str, Callable[[], Surrogate]] = {
    "soft_lif": SoftLIF,
    "arctan": Arctan,
    "fast_sigmoid": FastSigmoid,
    "triangle": Triangle,
    "straight_through": StraightThrough,
}


def surrogate(value: "str | Surrogate") -> Surrogate:
    """A surrogate from an instance or a name.

    Args:
        value: `Surrogate`, or one of `"soft_lif"`, `"arctan"`, `"fast_sigmoid"`,
            `"triangle"` and `"straight_through"`.

    Returns:
        `value` if it is a `Surrogate`, or one of that name with its default width.

    Raises:
        ValueError: for anything else.

    Example:
        >>> surrogate("arctan")
        Arctan(width=1)
    """
    if isinstance(value, Surrogate):
        return value
    if isinstance(value, str) and value in _NAMES:
        return _NAMES[value]()
    raise ValueError(
        f"Unknown surrogate {value!r}. Pass one of {', '.join(map(repr, _NAMES))},"
        " or an instance such as ksn.surrogates.Arctan(width=0.5)."
    )
