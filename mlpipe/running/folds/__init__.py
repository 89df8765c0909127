"""Folds of a cross-validation: their plan, their training, their predictions, and the stored ones."""
