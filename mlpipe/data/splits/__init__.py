"""Folds, test parts and variants of them: which rows learn, validate and test."""
