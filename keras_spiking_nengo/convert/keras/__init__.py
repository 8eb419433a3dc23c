"""Keras models as the graph, and the graph as a Keras model."""
