"""What Keras documents of models and layers: configurations, and shapes."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import keras

from keras_spiking_nengo.convert.layer_rules import refusal

__all__ = ["config", "functional_config", "is_tensor", "leaves", "output_shape"]


def output_shape(layer, shape):
    """Of what a layer makes of one shape, or of a list of them."""
    if keras.Layer.compute_output_shape is not type(layer).compute_output_shape:
        return layer.compute_output_shape(shape)
    # What a layer does not say, Keras finds out.
    several = not isinstance(shape, tuple)
    tensors = [keras.KerasTensor(one) for one in (shape if several else [shape])]
    found = layer.compute_output_spec(tensors if several else tensors[0])
    return keras.tree.map_structure(lambda tensor: tensor.shape, found)


def config(model) -> dict:
    """Keras's description of a model, without that of its layers."""
    with _unwritten(model.layers):
        return model.get_config()


def functional_config(model, path: str) -> dict:
    """How the layers of a functional model are called."""
    found = config(model)
    if "input_layers" not in found:
        raise refusal(
            path,
            type(model).__name__,
            "its constructor has arguments of its own, so that Keras does not describe"
            " its layers. Pass keras.Model(model.inputs, model.outputs)",
        )
    return found


@contextmanager
def _unwritten(layers: Sequence[keras.Layer]) -> Iterator[None]:
    """Layers give no configuration of their own, which not every one can."""
    for layer in layers:
        vars(layer)["get_config"] = lambda name=layer.name: {"name": name}
    try:
        yield
    finally:
        for layer in layers:
            del vars(layer)["get_config"]


def is_tensor(tree) -> bool:
    """Whether a part of a configuration stands for a tensor."""
    kind = tree.get("class_name") if isinstance(tree, dict) else None
    return kind == "__keras_tensor__"


def leaves(tree, key="") -> list:
    """`(key, leaf)` of a structure of layer outputs or serialised tensors."""
    if isinstance(tree, dict):
        if is_tensor(tree):
            return [(key, tuple(tree["config"]["keras_history"]))]
        return [leaf for k in sorted(tree) for leaf in leaves(tree[k], k)]
    if tree and isinstance(tree[0], str):
        return [(key, tuple(tree))]
    return [leaf for item in tree for leaf in leaves(item, key)]
