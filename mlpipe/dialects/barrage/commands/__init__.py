"""Barrage's own commands: score."""
