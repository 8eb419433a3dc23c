"""Functions of a model's weights as a TensorFlow SavedModel, from TensorFlow or JAX.

The weights are variables of the SavedModel and are read only: what is served has no
state of its own.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras

from keras_spiking_nengo.dynamics.kernels import not_exported
from keras_spiking_nengo.serving.ports import Port

__all__ = [
    "Endpoint",
    "check_backend",
    "check_free",
    "check_python",
    "of_batch",
    "specs_of",
    "write",
    "write_manifest",
]

Endpoint = tuple[Callable, Sequence[Any]]


def check_backend(kind: str, known: Sequence[str]) -> None:
    """Refuses to export from a backend that has no way to a format."""
    backend = keras.backend.backend()
    if backend not in known:
        raise NotImplementedError(
            f"{kind} is exported from {' or '.join(known)}; the backend is {backend!r}."
            " Save the model with model.save('model.keras'), and export it in a process"
            f" with KERAS_BACKEND={known[0]}."
        )


def check_free(path: Path) -> None:
    """Refuses to write where something is: a server may read it now."""
    if path.exists():
        raise FileExistsError(
            f"{path} is there already. Remove it, or give another path."
        )


def write(model, endpoints: dict[str, Endpoint], path: Path) -> None:
    """Write a SavedModel with a signature for each endpoint, the first by default.

    Args:
        model: whose weights the endpoints read.
        endpoints: from names to a function of tensors that gives a dict of tensors,
            and the `tf.TensorSpec`s of its arguments.
        path: folder that is made.
    """
    import tensorflow as tf

    module = tf.Module()
    weights = model.variables
    on_jax = keras.backend.backend() == "jax"
    module.weights = [tf.Variable(w.value) if on_jax else w.value for w in weights]
    signatures = {}
    for name, (function, specs) in endpoints.items():
        if on_jax:
            function = _from_jax(function, specs, weights, module.weights)
        traced = tf.function(function, input_signature=specs, autograph=False)
        setattr(module, name, traced)
        signatures[name] = traced.get_concrete_function()
        check_python(signatures[name])
    signatures["serving_default"] = next(iter(signatures.values()))
    tf.saved_model.save(module, str(path), signatures=signatures)


def check_python(traced) -> None:
    """Refuses a graph that would call Python, which is not where it is run."""
    graph = traced.graph.as_graph_def()
    nodes = [*graph.node, *(n for f in graph.library.function for n in f.node_def)]
    for node in nodes:
        if "PyFunc" in node.op:
            raise NotImplementedError(not_exported(node.name))


def _from_jax(function, specs, weights, variables):
    """A function of TensorFlow's tensors that runs one of JAX's."""
    from jax.experimental import jax2tf

    if not specs[0].shape.rank:
        return function  # it is TensorFlow's already

    def stateless(values, *inputs):
        scope = keras.StatelessScope(state_mapping=zip(weights, values, strict=True))
        with scope:
            return function(*inputs)

    shapes = [_polymorphic(tuple(spec.shape)) for spec in specs]
    converted = jax2tf.convert(
        stateless, polymorphic_shapes=[None, *shapes], with_gradient=False
    )
    return lambda *inputs: converted(list(variables), *inputs)


def _polymorphic(shape) -> str:
    """The shape in JAX's notation; what is open in two inputs is the same."""
    names = iter(("batch", "time"))
    return ", ".join(next(names) if n is None else str(n) for n in shape)


def of_batch(function: Callable) -> Callable:
    """From a function of a batch's size to one of TensorFlow's scalar of it."""
    import tensorflow as tf

    if keras.backend.backend() != "jax":
        return function
    from jax.experimental import jax2tf

    converted = jax2tf.convert(
        lambda like: function(like.shape[0]),
        polymorphic_shapes=["batch"],
        with_gradient=False,
    )
    return lambda size: converted(tf.zeros(tf.reshape(size, (1,))))


def specs_of(ports: Sequence[Port], time: int = 0) -> list:
    """`tf.TensorSpec`s of named tensors; the first `time` of them are sequences."""
    import tensorflow as tf

    found = []
    for i, port in enumerate(ports):
        batch, *rest = port.shape
        shape = (batch, None, *rest) if i < time else port.shape
        found.append(tf.TensorSpec(shape, port.dtype, name=port.name))
    return found


# --- what was written -------------------------------------------------------------


def write_manifest(path: Path) -> None:
    """Notes the digests of all files, by which a reader sees whether they are whole."""
    files = sorted(file for file in path.rglob("*") if file.is_file())
    digests = {
        file.relative_to(path).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in files
    }
    folder = path / "assets.extra"
    folder.mkdir(exist_ok=True)
    text = json.dumps({"version": 1, "sha256": digests}, indent=1)
    (folder / "stream.json").write_text(text + "\n")
