"""Musket's own commands: fit, task, analyze."""
