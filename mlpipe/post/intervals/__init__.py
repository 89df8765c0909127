"""Intervals around metrics and differences that hold with few rows."""
