"""Decoding of image files to pixels, the same on every machine."""
