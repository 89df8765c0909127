"""Optimizers, a file for each family."""
