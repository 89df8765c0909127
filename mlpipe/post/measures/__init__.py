"""Metric formulas of outputs and targets, a file for each kind of target."""
