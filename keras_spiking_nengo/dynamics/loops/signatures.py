"""TensorFlow's functions, one for each signature.

One function of several signatures is traced again for each, and so are equal functions
that are made for one object after another: TensorFlow warns of both. A function that
is traced for the one signature it has is not among those.
"""

from collections.abc import Callable, Sequence
from functools import partial

import keras
import tensorflow as tf

from keras_spiking_nengo.dynamics.loops.stacks import private
from keras_spiking_nengo.dynamics.loops.structures import floats_of, is_float

__all__ = ["by_signature", "differentiable", "is_recording", "traced_for"]


def traced_for(function: Callable, tensors: Sequence, host: bool) -> Callable:
    """`function` of flat tensors, compiled for the shapes and dtypes of these.

    Args:
        function: of as many tensors.
        tensors: which it is compiled for.
        host: whether it calls Python, which XLA refuses.
    """
    compiled = tf.function(function, jit_compile=not host, autograph=False)
    specs = [tf.TensorSpec(x.shape, x.dtype) for x in tensors]
    return compiled.get_concrete_function(*specs)


def by_signature(function: Callable, host: bool) -> Callable:
    """`function` of nested tensors, compiled for those that it is called with.

    Those of the same shapes and dtypes have the same structure.
    """
    programs: dict[tuple, Callable] = {}

    def run(*arguments):
        tensors = list(map(tf.convert_to_tensor, keras.tree.flatten(arguments)))
        kinds = tuple((x.shape, x.dtype) for x in tensors)
        if kinds not in programs:
            # Only for their places: what it holds are no tensors.
            form = keras.tree.map_structure(lambda _: 0, arguments)

            def flat(*tensors):
                return function(*keras.tree.pack_sequence_as(form, tensors))

            programs[kinds] = traced_for(flat, tensors, host)
        return programs[kinds](*tensors)

    return run


def differentiable(function: Callable) -> Callable:
    """`function` of flat tensors, whose derivatives of any order are compiled, too.

    Each is a program of its own that computes again what it needs: what TensorFlow
    would hand from one to the next, XLA can neither give nor take.

    Args:
        function: from tensors, of the same shapes and dtypes each time, to a list.
    """
    programs: dict[str, Callable] = {}

    def back(n: int, *values):
        tensors, upstream = values[:n], values[n:]
        floats = floats_of(tensors, tensors)
        with tf.GradientTape() as tape:
            tape.watch(floats)
            results = function(*tensors)
            results = floats_of(results, results)
        return tape.gradient(
            results, floats, list(upstream), unconnected_gradients="zero"
        )

    def ahead(*tensors):
        if "ahead" not in programs:
            programs["ahead"] = traced_for(function, tensors, host=False)
        return list(programs["ahead"](*tensors))

    @tf.custom_gradient
    def recorded(*tensors):
        # What tapes are told of is this function, and nothing that it does.
        results = ahead(*map(tf.stop_gradient, tensors))

        def grad(*upstream):
            if "back" not in programs:
                programs["back"] = differentiable(partial(back, len(tensors)))
            slopes = iter(programs["back"](*tensors, *floats_of(upstream, results)))
            return [next(slopes) if is_float(x) else None for x in tensors]

        return results, grad

    def run(*tensors):
        return recorded(*tensors) if is_recording() else ahead(*tensors)

    return run


def is_recording() -> bool:
    """Whether a tape may record what runs now; True where TensorFlow does not say."""
    records = private("tensorflow.python.eager.record", "could_possibly_record")
    return records is None or records()
