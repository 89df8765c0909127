"""Trains a fold and predicts with it: the one place where data meets networks."""
