"""Calibration of probabilities and numbers: methods, their fits, and calibration errors."""
