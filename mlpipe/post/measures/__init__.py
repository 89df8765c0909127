"""Metric formulas of outputs and targets, one file per kind of target."""
