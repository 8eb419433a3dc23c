"""Keras models taken apart: what other rooms ask of a model is answered here, once."""
