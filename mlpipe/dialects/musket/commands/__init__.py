"""Musket's own words on the command line: fit, task, analyze."""
