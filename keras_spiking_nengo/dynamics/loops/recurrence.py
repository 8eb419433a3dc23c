"""`scan`: one step of any nested structures, run over a sequence."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_spiking_nengo.dynamics.loops.backends import backend_name
from keras_spiking_nengo.dynamics.loops.memory import Memory
from keras_spiking_nengo.dynamics.loops.structures import tensors_of, with_product
from keras_spiking_nengo.dynamics.loops.unrolled import (
    first_steps_unrolled,
    scan_unrolled,
)

__all__ = ["scan", "static_length"]

# `(parameters, x, state) -> (y, state)`
StepFunction = Callable[[Any, Any, Any], tuple[Any, Any]]


def static_length(inputs) -> int | None:
    """Number of time steps of `(batch, time, ...)`, or None if not known now."""
    length = inputs.shape[1]
    # JAX exports with symbolic dimensions, which are not integers.
    return length if isinstance(length, int) else None


def scan(
    step: StepFunction,
    parameters: Any,
    inputs: Any,
    state: Any,
    save: bool = True,
    unroll: bool = False,
    shapes: Sequence[tuple[int, ...]] | None = None,
    forward: StepFunction | None = None,
    kernel: Any = None,
    checkpoint: bool | int | None = None,
    local: bool = False,
    count: Any = None,
) -> tuple[Any, Any]:
    """Run `step` along axis 1 of `inputs`.

    `parameters`, `inputs`, `state` and what `step` returns are tensors, or any nested
    dicts, lists and tuples of them.

    Args:
        step: `(parameters, x, state) -> (y, state)` for one step of time, which gets
            the structures that were given. It may use `parameters` and constants, but
            no other tensors.
        parameters: tensors, which get gradients, and constants: Python numbers, NumPy
            arrays and None reach `step` as they are.
        inputs: tensors or arrays `(batch, time, ...)`, at least one. Python numbers
            and None are constants.
        state: tensors or arrays `(batch, ...)`, or None for a place that stays empty.
            The next state has the same structure.
        save: keep the states for the reverse pass. Without, the gradient is that of
            TensorFlow's own reverse pass, as a loop without a custom gradient can be
            exported without a warning; where XLA compiles it, states are computed
            again for ours.
        unroll: write the steps out one by one; needs a static length.
        shapes: of the tensors that a step puts out, without the batch, where they are
            known and of the first input's dtype. TensorFlow then traces the step once
            less.
        forward: the same numbers as `step`, without a useful derivative and what it
            costs: what runs forward. States that were not saved are then computed
            again for the reverse pass, which is ours with `save` or without.
        kernel: `(n, n)`, which the last tensor of the state is multiplied by from the
            right, between one step and the next, its features in a row; None for no
            product. Its gradient is one product over all steps.
        checkpoint: keep the states for the reverse pass at every so many-th step only,
            True for about the root of the number of steps, and compute those between
            once more: the same gradients from less memory. Steps that are written out
            one by one (`unroll`, Torch) keep all.
        local: no gradient goes from one step to another through the state, nor to the
            first state or from the final one. The reverse pass then keeps no state: it
            runs from the first step to the last. Without `kernel`.
        count: integer tensor >= 1, known when it runs: only so many steps are taken,
            and what follows them in the outputs is of no interest. There is no
            gradient then, and `save` and what comes after `shapes` has no meaning.

    Returns:
        Outputs `(batch, time, ...)`, in the structure of a step's, and the final
        state, in that of `state`.

    Raises:
        ValueError: if no input is a sequence, or the next state has another
            structure.

    Example:
        >>> import keras
        >>> def decay(p, x, s):
        ...     y = p["d"] * s["y"] + x
        ...     return y, {"y": y}
        >>> y, _ = scan(decay, {"d": 0.5}, keras.ops.ones((1, 3, 1)),
        ...             {"y": keras.ops.zeros((1, 1))})
        >>> [float(v) for v in y[0, :, 0]]
        [1.0, 1.5, 1.75]
    """
    values, with_values = tensors_of(_mapped_leaves(_from_variable, parameters))
    sequences, with_inputs = tensors_of(_mapped_leaves(_from_array, inputs))
    states, with_states = tensors_of(_mapped_leaves(_from_number, state))
    if not sequences:
        raise ValueError(
            "scan runs over axis 1 of its inputs, (batch, time, ...), and received no"
            f" tensor among them: {inputs!r}. Give it one, of zeros if need be."
        )
    form = _Form()

    def flat(step):
        def of_tensors(values, x, s):
            y, new = step(with_values(values), with_inputs(x), with_states(s))
            return form.flattened(y, x), _next_tensors(new, with_states(s), s)

        return of_tensors

    if local:
        step = _with_given_state(step)
    fed = kernel is not None
    values = [*values, ops.convert_to_tensor(kernel)] if fed else values
    looped = backend_name() in _LOOPS
    if count is not None:
        first = _LOOPS[backend_name()]()[1] if looped else first_steps_unrolled
        outputs, final = first(flat(step), values, sequences, states, count, shapes)
    elif unroll or not looped:
        once = with_product(flat(step)) if fed else flat(step)
        outputs, final = scan_unrolled(once, values, sequences, states)
    else:
        steps = flat(step), flat(forward) if forward else None
        loop, _ = _LOOPS[backend_name()]()
        how = Memory(checkpoint, local)
        outputs, final = loop(*steps, values, sequences, states, save, shapes, fed, how)
    final = list(map(ops.stop_gradient, final)) if local else final
    return form.nested(outputs), with_states(final)


def _with_given_state(step: StepFunction) -> StepFunction:
    """`step` of a state that counts as given."""

    def local(parameters, x, state):
        given = [
            s if s is None else ops.stop_gradient(s) for s in keras.tree.flatten(state)
        ]
        return step(parameters, x, keras.tree.pack_sequence_as(state, given))

    return local


def _of_tensorflow():
    from keras_spiking_nengo.dynamics.loops import tensorflow

    return tensorflow.scan_tensorflow, tensorflow.first_steps_tensorflow


def _of_jax():
    from keras_spiking_nengo.dynamics.loops import jax

    return jax.scan_jax, jax.first_steps_jax


# Of all steps, and of so many.
_LOOPS = {"tensorflow": _of_tensorflow, "jax": _of_jax}


class _Form:
    """The structure of a step's output, which is known once the step has run."""

    def flattened(self, y, x: list) -> list:
        """Tensors of the output; numbers are the same for all items of a batch."""
        self.structure = keras.tree.map_structure(lambda _: 0, y)
        return [
            leaf if ops.is_tensor(leaf) else _for_all_items(leaf, ops.shape(x[0])[0])
            for leaf in keras.tree.flatten(y)
        ]

    def nested(self, outputs: list):
        return keras.tree.pack_sequence_as(self.structure, outputs)


def _for_all_items(value, batch):
    value = ops.convert_to_tensor(value)
    return value if len(value.shape) else ops.zeros((batch,), value.dtype) + value


def _next_tensors(new, state, tensors: list) -> list:
    """The next state as the tensors that it consists of."""
    leaves, before = keras.tree.flatten(new), keras.tree.flatten(state)
    if len(leaves) != len(before):
        raise ValueError(
            f"step returns the next state in the structure of the one it gets,"
            f" {_outline(state)}; received {_outline(new)}."
        )
    pairs = zip(leaves, before, strict=True)
    changed = (leaf for leaf, old in pairs if ops.is_tensor(old))
    return [
        value if ops.is_tensor(value) else ops.zeros_like(tensor) + value
        for value, tensor in zip(changed, tensors, strict=True)
    ]


def _outline(structure) -> str:
    return str(keras.tree.map_structure(lambda leaf: type(leaf).__name__, structure))


def _mapped_leaves(convert, structure):
    return keras.tree.map_structure(convert, structure)


def _from_variable(leaf):
    return ops.convert_to_tensor(leaf) if isinstance(leaf, keras.Variable) else leaf


def _from_array(leaf):
    array = isinstance(leaf, np.ndarray | keras.Variable)
    return ops.convert_to_tensor(leaf) if array else leaf


def _from_number(leaf):
    return leaf if leaf is None else ops.convert_to_tensor(leaf)
