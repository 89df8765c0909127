"""Folds, test parts and their variants: the rows to train, validate and test on."""
