"""What is asked of a Keras model before it is taken apart, call by call."""

import keras

__all__ = ["check_built", "layers_of"]


def check_built(model) -> None:
    """Raises unless it is a Keras model whose shapes are known.

    Raises:
        TypeError: if it is no Keras model.
        ValueError: if it is not built.
    """
    if not isinstance(model, keras.Model):
        raise TypeError(
            f"model: Expected a keras.Model; received {model!r} of type"
            f" {type(model).__name__}. Put a layer into keras.Sequential([keras.Input"
            "(shape), layer])."
        )
    if isinstance(model, keras.Sequential) and not model.built:
        raise ValueError(
            f"Model {model.name!r} is not built, so the shapes of its layers are not"
            " known. Put a keras.Input(shape) first, or call model.build((None,"
            " *shape))."
        )


def layers_of(model: keras.Model) -> list[keras.layers.Layer]:
    """All layers of a model, with those of models in it in their place.

    Example:
        >>> inner = keras.Sequential([keras.layers.Dense(2, name="a")])
        >>> outer = keras.Sequential([inner, keras.layers.Dense(2, name="b")])
        >>> [layer.name for layer in layers_of(outer)]
        ['a', 'b']
    """
    layers = []
    for layer in model.layers:
        layers += layers_of(layer) if isinstance(layer, keras.Model) else [layer]
    return layers
