"""Callbacks of the training, one file for each family."""
