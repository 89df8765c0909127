"""Intervals of metrics and differences that remain valid with few rows."""
