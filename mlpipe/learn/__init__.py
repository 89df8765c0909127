"""Fit a fold and predict with it: the one place where data meets networks."""
