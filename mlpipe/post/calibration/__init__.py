"""Calibrated probabilities and numbers: methods, their fits, and the errors that are left."""
