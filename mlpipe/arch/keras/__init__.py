"""Keras networks as torch modules: their JSON, layers and weights."""
