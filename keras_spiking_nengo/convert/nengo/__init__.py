"""Nengo networks as the graph, and the graph as a Nengo network."""
