"""What is known of each Keras layer, a file for each family."""

from keras_spiking_nengo.convert.rules import (
    activations,
    adding,
    affine,
    dense,
    encoders,
    images,
    legendre_memory,
    rearranging,
    sequences,
)

__all__ = ["FAMILIES"]

# Each puts its rules into the registry.
FAMILIES = (
    activations,
    adding,
    affine,
    dense,
    encoders,
    images,
    legendre_memory,
    rearranging,
    sequences,
)
