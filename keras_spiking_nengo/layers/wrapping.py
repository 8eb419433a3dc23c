"""Layers of Keras that are held by one of ours, and read with it."""

from keras_spiking_nengo.budgets import Bounded, bounded, remembered, weighed
from keras_spiking_nengo.saving import unbuilt

__all__ = ["Wrapping"]


class Wrapping(Bounded):
    """Mixin of a `keras.layers.Wrapper` that builds its layer by `budgets.build_held`.

    Example:
        >>> import keras
        >>> class Same(Wrapping, keras.layers.Wrapper):
        ...     def call(self, inputs):
        ...         return self.layer(inputs)
        >>> Same.from_config(Same(keras.layers.Dense(3)).get_config()).layer.units
        3
    """

    @classmethod
    def from_config(cls, config):
        """Keras's; the layer is built for inputs of this one, not those in a file."""
        with bounded(config), weighed():
            wrapper = super().from_config(unbuilt(config))
            remembered(wrapper.layer)
        return wrapper
