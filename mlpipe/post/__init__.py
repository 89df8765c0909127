"""Calibration, ensembles, intervals and decisions, from predictions alone."""
