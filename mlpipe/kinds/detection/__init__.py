"""Boxes around objects, each with a class."""

IS_DENSE, HAS_CLASSES, HAS_PROBABILITIES = False, False, False
DRAWS = False
ROWS_ARE_LOSSES = False
COLUMNS = ("x0", "y0", "x1", "y1", "score", "class")
