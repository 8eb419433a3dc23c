"""Functions of a model's weights as a TensorFlow SavedModel, from TensorFlow or JAX.

The weights are variables of the SavedModel and are read only: what is served has no
state of its own.
"""

import contextlib
import errno
import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import keras

from keras_spiking_nengo.dynamics.loops import (
    backend_name,
    becomes_tensorflow,
    not_exported,
)
from keras_spiking_nengo.serving.stream import MANIFEST, digests_of
from keras_spiking_nengo.serving.tensors import NamedTensor

__all__ = [
    "Archive",
    "check_backend",
    "check_free",
    "check_python",
    "looped",
    "named",
    "of_batch",
    "polymorphic",
    "specs_of",
    "system_errors",
    "write_saved_model",
    "write_manifest",
]


def check_backend(kind: str, possible: Sequence[str]) -> None:
    """Refuses to export from a backend that has no way to a format."""
    backend = backend_name()
    if backend not in possible:
        raise NotImplementedError(
            f"{kind} is exported from {' or '.join(possible)}; the backend is"
            f" {backend!r}. Save the model with model.save('model.keras'), and export"
            f" it in a process with KERAS_BACKEND={possible[0]}."
        )


def check_free(path: Path) -> None:
    """Refuses to write where something is: a server may read it now."""
    if path.exists():
        raise FileExistsError(
            f"{path} is there already. Remove it, or give another path."
        )


class Archive:
    """A SavedModel in the making.

    Args:
        model: whose weights its functions read.
    """

    def __init__(self, model: keras.Model):
        import tensorflow as tf

        translated = becomes_tensorflow()
        self._weights = model.variables
        self._module = tf.Module()
        self._module.weights = [
            tf.Variable(w.value) if translated else w.value for w in self._weights
        ]

    def traced(self, function: Callable, specs: Sequence) -> Any:
        """A `tf.function` of a function of the backend's tensors."""
        import tensorflow as tf

        if becomes_tensorflow():
            function = self._from_jax(function, specs)
        return tf.function(function, input_signature=specs, autograph=False)

    def _from_jax(self, function, specs):
        from jax.experimental import jax2tf

        def stateless(values, *inputs):
            pairs = zip(self._weights, values, strict=True)
            with keras.StatelessScope(state_mapping=pairs):
                return function(*inputs)

        shapes = [polymorphic(tuple(spec.shape)) for spec in specs]
        converted = jax2tf.convert(
            stateless, polymorphic_shapes=[None, *shapes], with_gradient=False
        )
        return lambda *inputs: converted(list(self._module.weights), *inputs)

    def write(self, functions: dict[str, Any], path: Path) -> None:
        """Write a signature for each `tf.function`, the first by default."""
        import tensorflow as tf

        signatures = {}
        for name, function in functions.items():
            setattr(self._module, name, function)
            signatures[name] = function.get_concrete_function()
            check_python(signatures[name])
        signatures["serving_default"] = next(iter(signatures.values()))
        with system_errors(path):
            tf.saved_model.save(self._module, str(path), signatures=signatures)


@contextlib.contextmanager
def system_errors(path: Path) -> Iterator[None]:
    """What TensorFlow says of a full disk and its like, as the system's own error."""
    import tensorflow as tf

    try:
        yield
    except tf.errors.OpError as error:
        codes = [n for n in errno.errorcode if os.strerror(n) in str(error)]
        if not codes:
            raise
        raise OSError(codes[0], os.strerror(codes[0]), str(path)) from error


def write_saved_model(program, path: Path) -> None:
    """Write a SavedModel with the one signature `serve`."""
    archive = Archive(program.model)
    serve = archive.traced(program.function, specs_of(program.inputs))
    archive.write({"serve": serve}, path)


def check_python(traced) -> None:
    """Refuses a graph that would call Python, which is not where it is run."""
    graph = traced.graph.as_graph_def()
    nodes = [*graph.node, *(n for f in graph.library.function for n in f.node_def)]
    for node in nodes:
        if "PyFunc" in node.op:
            raise NotImplementedError(not_exported(node.name))


def polymorphic(shape) -> str:
    """The shape in JAX's notation; what is open in two inputs is the same."""
    names = iter(("batch", "time"))
    return ", ".join(next(names) if n is None else str(n) for n in shape)


def named(function: Callable, names: Sequence[str], specs: Sequence) -> Any:
    """A `tf.function` that gives its tensors by name."""
    import tensorflow as tf

    def by_name(*tensors):
        return dict(zip(names, function(*tensors), strict=True))

    return tf.function(by_name, input_signature=specs, autograph=False)


def of_batch(function: Callable) -> Callable:
    """From a function of a batch's size to one of TensorFlow's scalar of it."""
    import tensorflow as tf

    if not becomes_tensorflow():
        return function
    from jax.experimental import jax2tf

    converted = jax2tf.convert(
        lambda like: function(like.shape[0]),
        polymorphic_shapes=["batch"],
        with_gradient=False,
    )
    return lambda size: converted(tf.zeros(tf.reshape(size, (1,))))


def specs_of(ports: Sequence[NamedTensor], time: int = 0) -> list:
    """`tf.TensorSpec`s of named tensors; the first `time` of them are sequences."""
    import tensorflow as tf

    specs = []
    for i, port in enumerate(ports):
        batch, *rest = port.shape
        shape = (batch, None, *rest) if i < time else port.shape
        specs.append(tf.TensorSpec(shape, port.dtype, name=port.name))
    return specs


def looped(step: Callable, inputs: int, outputs: Sequence[NamedTensor]) -> Callable:
    """A function of sequences that calls that of one step, over and over.

    Args:
        step: `tf.function` of so many inputs, and of states.
        inputs: number of its inputs.
        outputs: that come before the states in what it returns.
    """
    import tensorflow as tf

    def many(*tensors):
        xs, states = tensors[:inputs], tensors[inputs:]
        length = tf.shape(xs[0])[1]
        arrays = [
            tf.TensorArray(p.dtype, length, element_shape=p.shape) for p in outputs
        ]

        def body(t, states, arrays):
            sent = step(*[x[:, t] for x in xs], *states)
            now, new = sent[: len(outputs)], sent[len(outputs) :]
            for value, old in zip(new, states, strict=True):
                value.set_shape(old.shape)
            arrays = [a.write(t, y) for a, y in zip(arrays, now, strict=True)]
            return t + 1, tuple(new), arrays

        start = 0, tuple(states), arrays
        _, states, arrays = tf.while_loop(
            lambda t, *_: t < length, body, start, maximum_iterations=length
        )
        stacked = [_stacked(*pair) for pair in zip(arrays, outputs, strict=True)]
        return (*stacked, *states)

    return many


def _stacked(array, port: NamedTensor):
    import tensorflow as tf

    steps = array.stack()
    if port.last:
        return steps[-1]
    return tf.transpose(steps, (1, 0, *range(2, len(steps.shape))))


# --- what was written -------------------------------------------------------------


def write_manifest(path: Path) -> None:
    """Notes the digests of all files, by which a reader sees whether they are whole."""
    text = json.dumps({"version": 1, "sha256": digests_of(path)}, indent=1)
    (path / MANIFEST).parent.mkdir(exist_ok=True)
    (path / MANIFEST).write_text(text + "\n")
