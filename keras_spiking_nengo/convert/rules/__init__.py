"""What is known of each Keras layer, a file for each family."""

# Each puts its rules into the registry.
from keras_spiking_nengo.convert.rules import (  # noqa: F401
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
