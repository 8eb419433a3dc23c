"""TensorFlow's functions, one for each signature.

One function of several signatures is traced again for each, and so are equal functions
that are made for one object after another: TensorFlow warns of both. A function that
is traced for the one signature it has is not among those.
"""

from collections.abc import Callable, Sequence

import keras
import tensorflow as tf

__all__ = ["by_signature", "traced_for"]


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
