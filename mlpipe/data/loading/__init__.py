"""Batches for training and prediction, read from the cache."""
