"""Barrage's own words on the command line: score."""
