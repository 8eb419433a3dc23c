"""State that stays on the device while compiled functions renew it, call by call.

What counts here is what a call costs before it computes anything: a step of 20,000
neurons takes about as long.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from keras_spiking_nengo.dynamics.loops.backends import backend_name

__all__ = ["Store", "store"]

# `(state, parameters, x) -> (renewed state, results)`, lists of tensors.
Renewal: TypeAlias = Callable[[list, list, list], tuple[list, list]]


class Store:
    """Tensors that functions renew: an ordinary list of them.

    Functions are compiled where the backend is JAX, and then reuse the memory of what
    they renew.
    """

    def fill(self, state: Sequence, parameters: Sequence) -> None:
        """Begin with other tensors, which are still there afterwards."""
        self._state, self._parameters = list(state), list(parameters)
        self._borrowed = set(range(len(self._state)))

    def state(self) -> list:
        """The present tensors."""
        return list(self._state)

    def compiled(self, function: Renewal, renewed: Sequence[int]) -> Callable:
        """A function of a list of tensors or arrays to results, which renews the state.

        Args:
            function: pure.
            renewed: positions of the states that it renews.
        """
        places = set(renewed)
        others = [i for i in range(len(self._state)) if i not in places]

        def of_parts(mine, rest, parameters, x):
            known = dict(zip([*renewed, *others], [*mine, *rest], strict=True))
            return function([known[i] for i in range(len(known))], parameters, x)

        run = _spending(of_parts)

        def call(x):
            for i in self._borrowed & places:
                self._state[i] = _copied(self._state[i])
            self._borrowed -= places
            state = self._state
            mine, rest = [state[i] for i in renewed], [state[i] for i in others]
            new, results = run(mine, rest, self._parameters, x)
            for i, tensor in zip(renewed, new, strict=True):
                state[i] = tensor
            return results

        return call


def _spending(function: Callable) -> Callable:
    """The function, compiled to take the memory of its first argument if it can."""
    if backend_name() != "jax":
        return function
    import jax

    return jax.jit(function, donate_argnums=0)


def _copied(tensor):
    if backend_name() != "jax":
        return tensor
    from jax import numpy as jnp

    return jnp.array(tensor, copy=True)


class VariableStore(Store):
    """Variables of TensorFlow, which XLA renews in place.

    A call of a `tf.function` begins with work for each argument, but for variables that
    it has captured with little.
    """

    def __init__(self) -> None:
        self._variables: list = []
        self._weights: list = []
        self._given: list = []

    def fill(self, state, parameters):
        import tensorflow as tf

        if not self._variables and not self._weights:
            self._variables = [tf.Variable(x, trainable=False) for x in state]
            self._weights = [tf.Variable(x, trainable=False) for x in parameters]
        else:
            for variable, x in zip(self._variables, state, strict=True):
                variable.assign(x)
            pairs = zip(self._weights, parameters, self._given, strict=True)
            for variable, x, before in pairs:
                if x is not before:
                    variable.assign(x)
        self._given = list(parameters)

    def state(self):
        return [variable.read_value() for variable in self._variables]

    def compiled(self, function, renewed):
        import tensorflow as tf

        def traced(*x):
            state = [variable.read_value() for variable in self._variables]
            weights = [variable.read_value() for variable in self._weights]
            new, results = function(state, weights, list(x))
            for i, tensor in zip(renewed, new, strict=True):
                self._variables[i].assign(tensor)
            return results

        whole = tf.function(traced, jit_compile=True, autograph=False)
        made: list[Any] = []

        def call(x):
            tensors = [tf.convert_to_tensor(value) for value in x]
            if not made:
                made.append(whole.get_concrete_function(*tensors))
            return made[0](*tensors)

        return call


def store() -> Store:
    """An empty one, of the kind that suits the backend."""
    return VariableStore() if backend_name() == "tensorflow" else Store()
