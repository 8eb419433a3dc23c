"""Keras models with spiking neurons in the place of activations."""
