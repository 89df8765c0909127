"""Folds of a cross-validation: plans, training, predictions, and stored folds."""
