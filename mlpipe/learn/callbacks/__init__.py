"""Callbacks: work beside the training steps, a file for each family."""
